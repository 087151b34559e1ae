//! One turn of a conversation as it stands in a transcript, with what it cost in time.

use serde::{Deserialize, Serialize};

use crate::call::words;

words! {
    /// Whose turn it is.
    Speaker {
        /// The person on the line.
        Caller = "caller",
        /// The agent.
        Agent = "agent",
        /// The outcome of a tool.
        Tool = "tool",
        /// A note to the model.
        System = "system",
    }
}

/// A turn. Times are milliseconds since answer on the media clock. Its number is given by the journal, 1, 2, 3 … per call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Whose turn it is.
    pub speaker: Speaker,
    /// What was said, or generated.
    pub text: String,
    /// What the caller heard of an agent's turn that was cut: a prefix of `text`. `None` = all of it.
    pub heard_text: Option<String>,
    /// Cut by a barge-in.
    pub interrupted: bool,
    /// BCP 47 tag of the language spoken.
    pub lang: Option<String>,
    /// The recogniser's confidence, 0 to 1.
    pub confidence: Option<f64>,
    /// First sample.
    pub start_ms: u64,
    /// Last sample.
    pub end_ms: u64,
    /// Word times, where the engine gives them.
    #[serde(default)]
    pub words: Vec<Word>,
    /// What the agent's answer took; for agent turns that answer something.
    pub latency: Option<Latency>,
    /// Who asked for it to be said, where somebody did: the id that `calls/{id}/say` gave.
    #[serde(default)]
    pub say_id: Option<String>,
}

impl Turn {
    /// A turn of plain words; everything else is empty.
    pub fn new(speaker: Speaker, text: impl Into<String>, start_ms: u64, end_ms: u64) -> Self {
        Self {
            speaker,
            text: text.into(),
            heard_text: None,
            interrupted: false,
            lang: None,
            confidence: None,
            start_ms,
            end_ms,
            words: Vec::new(),
            latency: None,
            say_id: None,
        }
    }

    /// Characters of `text` that were heard, where less than all of it was.
    pub fn heard_chars(&self) -> Option<usize> {
        let heard = self.heard_text.as_deref()?;
        Some(heard.chars().count().min(self.text.chars().count()))
    }
}

/// A word and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// The word as written.
    pub w: String,
    /// Start, ms since answer.
    pub s: u64,
    /// End, ms since answer.
    pub e: u64,
}

/// Where the time of an answer went. All in milliseconds: `caller_stopped_ms` since answer, the others since that moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Latency {
    /// The caller's last speech frame, by the media clock.
    pub caller_stopped_ms: Option<i64>,
    /// The decision that the caller had finished.
    pub end_of_turn_ms: Option<i64>,
    /// The last final that was needed.
    pub stt_final_ms: Option<i64>,
    /// The request left for the model; before `end_of_turn_ms` when `eager`.
    pub llm_request_ms: Option<i64>,
    /// The model's first token.
    pub llm_first_token_ms: Option<i64>,
    /// The first piece that could be spoken.
    pub first_sentence_ms: Option<i64>,
    /// The voice's first byte.
    pub tts_first_byte_ms: Option<i64>,
    /// The first RTP packet with speech.
    pub first_rtp_ms: Option<i64>,
    /// The same moment, by its usual name.
    pub voice_to_voice_ms: Option<i64>,
    /// Waited for vendors after `end_of_turn_ms`; 0 for a cached answer.
    pub vendor_ms: Option<i64>,
    /// `first_rtp_ms − (end_of_turn_ms + vendor_ms)`.
    pub own_overhead_ms: Option<i64>,
    /// Waited for tools.
    pub tool_ms: Option<i64>,
    /// The answer was begun before the turn was certain.
    pub eager: bool,
    /// The speech came from the cache.
    pub cached_tts: bool,
    /// Recogniser used.
    pub stt: Option<String>,
    /// Model used.
    pub llm: Option<String>,
    /// Voice used.
    pub tts: Option<String>,
    /// Stages that changed vendor in this turn.
    pub failed_over: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heard_counts_characters_and_never_more_than_were_said() {
        let mut turn = Turn::new(Speaker::Agent, "Grüß Gott", 0, 900);
        assert_eq!(turn.heard_chars(), None);
        turn.heard_text = Some("Grüß".into());
        assert_eq!(turn.heard_chars(), Some(4));
        turn.heard_text = Some("Grüß Gott und guten Tag".into());
        assert_eq!(turn.heard_chars(), Some(9));
    }
}
