//! Voice by level alone: whatever is louder than the quietest moment of the last seconds.

use codecs::pcm::rms_dbov;

use super::CHUNK;

/// Chunks whose quietest gives the background: 2.56 s.
const MEMORY: usize = 80;
/// A chunk this much louder than the background is voice, in dB.
const ABOVE: f32 = 8.0;
/// Nothing quieter than this is voice, in dBov.
const FLOOR: f32 = -58.0;

/// Background level of one call.
#[derive(Clone, Debug)]
pub struct Energy {
    levels: [f32; MEMORY],
    next: usize,
}

impl Default for Energy {
    fn default() -> Self {
        Self { levels: [f32::INFINITY; MEMORY], next: 0 }
    }
}

impl Energy {
    /// 1 when this chunk is louder than the background, else 0.
    pub fn evaluate(&mut self, chunk: &[i16; CHUNK]) -> f32 {
        let level = rms_dbov(chunk);
        self.levels[self.next] = level;
        self.next = (self.next + 1) % MEMORY;
        let quietest = self.levels.iter().copied().fold(f32::INFINITY, f32::min);
        if level > (quietest + ABOVE).max(FLOOR) { 1.0 } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(amplitude: i16) -> [i16; CHUNK] {
        std::array::from_fn(|n| if n % 2 == 0 { amplitude } else { -amplitude })
    }

    #[test]
    fn louder_than_the_background_is_voice() {
        let mut energy = Energy::default();
        for _ in 0..10 {
            assert_eq!(energy.evaluate(&square(60)), 0.0);
        }
        assert_eq!(energy.evaluate(&square(110)), 0.0);
        assert_eq!(energy.evaluate(&square(600)), 1.0);
        assert_eq!(energy.evaluate(&square(60)), 0.0);
    }

    #[test]
    fn a_steady_sound_becomes_background() {
        let mut energy = Energy::default();
        energy.evaluate(&[0; CHUNK]);
        let voiced: f32 = (0..200).map(|_| energy.evaluate(&square(600))).sum();
        assert_eq!(voiced, (MEMORY - 1) as f32);
    }

    #[test]
    fn whispers_below_the_floor_are_not_voice() {
        let mut energy = Energy::default();
        energy.evaluate(&[0; CHUNK]);
        assert_eq!(energy.evaluate(&square(30)), 0.0);
    }
}
