//! How voice detection is configured.

use serde::{Deserialize, Serialize};

/// What decides whether 32 ms contain speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The neural network: not fooled by tones, music or knocks.
    #[default]
    Silero,
    /// Level above the quietest of the last seconds: for debugging, fires on any sound.
    Energy,
}

/// Thresholds of the ear. Defaults are the measured ones: no false onset on tones, music, knocks or noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VadConfig {
    /// What judges a chunk.
    pub engine: Engine,
    /// Probability at which speech may begin.
    pub start: f32,
    /// Probability below which a chunk of running speech counts as a pause; not above `start`.
    pub stop: f32,
    /// Chunks of 32 ms in a row at or above `start` that begin speech.
    pub start_chunks: u32,
    /// Chunks of 32 ms in a row below `stop` that end speech.
    pub end_chunks: u32,
}

impl Default for VadConfig {
    fn default() -> Self {
        Self { engine: Engine::Silero, start: 0.5, stop: 0.35, start_chunks: 2, end_chunks: 3 }
    }
}

/// Why a [`VadConfig`] cannot work.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum VadConfigError {
    /// The start threshold is no probability.
    #[error("vad.start {0} is not above 0 and at most 1")]
    Start(f32),
    /// The stop threshold would end what just began, or never end it.
    #[error("vad.stop {stop} is not above 0 and at most vad.start {start}")]
    Stop {
        /// `stop` as configured.
        stop: f32,
        /// `start` as configured.
        start: f32,
    },
    /// A number of chunks is out of range.
    #[error("vad.{field} {value} is not between 1 and 100")]
    Chunks {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
}

impl VadConfig {
    /// Tells what is wrong with these numbers.
    pub fn check(&self) -> Result<(), VadConfigError> {
        if !(self.start > 0.0 && self.start <= 1.0) {
            return Err(VadConfigError::Start(self.start));
        }
        if !(self.stop > 0.0 && self.stop <= self.start) {
            return Err(VadConfigError::Stop { stop: self.stop, start: self.start });
        }
        for (field, value) in [("start_chunks", self.start_chunks), ("end_chunks", self.end_chunks)] {
            if !(1..=100).contains(&value) {
                return Err(VadConfigError::Chunks { field, value });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_means_the_defaults() {
        let config: VadConfig = toml::from_str("").unwrap();
        assert_eq!(config, VadConfig::default());
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(toml::from_str::<VadConfig>("hangover_ms = 480").is_err());
        assert_eq!(toml::from_str::<VadConfig>("engine = \"energy\"").unwrap().engine, Engine::Energy);
    }

    #[test]
    fn impossible_numbers_are_named() {
        let config = |text: &str| toml::from_str::<VadConfig>(text).unwrap().check().unwrap_err().to_string();
        assert_eq!(config("start = 1.5"), "vad.start 1.5 is not above 0 and at most 1");
        assert_eq!(config("start = nan"), "vad.start NaN is not above 0 and at most 1");
        assert_eq!(config("stop = 0.6"), "vad.stop 0.6 is not above 0 and at most vad.start 0.5");
        assert_eq!(config("end_chunks = 0"), "vad.end_chunks 0 is not between 1 and 100");
    }
}
