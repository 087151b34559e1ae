//! The numbers of turn taking, all in milliseconds; the defaults are for telephone speech and were chosen from published measurements.

use serde::{Deserialize, Serialize};

use super::ends::Ends;
use crate::Ms;

/// Every number the machine waits by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TurnConfig {
    /// Whether there is a recogniser; without one voice alone confirms an interruption and the vendor ends turns.
    pub recogniser: bool,
    /// What an agent asks for about the ends of turns.
    pub ends: Ends,
    /// Whether the caller may interrupt at all.
    pub interruptible: bool,
    /// Whether voice alone interrupts after `voice_only`; without a recogniser it always does.
    pub voice_confirms: bool,
    /// So many words that say something interrupt, together with voice where it is only one.
    pub min_words: u8,
    /// Further words or phrases that never interrupt.
    pub never: Vec<String>,
    /// Further words or phrases that always do.
    pub always: Vec<String>,
    /// How long after the last voice a final may come before a turn is committed without one (vendor's p99 + 150).
    pub stt_final: Ms,
    /// Voice without any word is dropped this long after its end.
    pub no_words: Ms,
    /// Words this soon after a commit may still belong to it.
    pub late_window: Ms,
    /// Paused speech goes on this long after a burst of voice under 120 ms.
    pub resume_click: Ms,
    /// The same after a burst under 600 ms.
    pub resume_quiet: Ms,
    /// The same after a longer one.
    pub resume_long: Ms,
    /// Voice that pauses the agent for this long without a word is noise.
    pub contest: Ms,
    /// Voice in the caller's own turn for this long without a new word is noise.
    pub stuck: Ms,
    /// Voice that starts this soon after the agent's first sample was no reaction to it.
    pub collision: Ms,
    /// In this last part of the agent's speech an answer to its question is an answer.
    pub answer_tail: Ms,
    /// A single word interrupts after this much voice.
    pub one_word: Ms,
    /// Where voice alone interrupts, it takes this much of it.
    pub voice_only: Ms,
    /// A fresh partial must stand still for this long before an answer is prepared.
    pub speculate: Ms,
    /// Answers prepared per turn at most.
    pub speculations: u8,
    /// Silence after a commit until a filler.
    pub think_filler: Ms,
    /// Time after a commit without a token until the second provider is asked.
    pub think_hedge: Ms,
    /// Time after a commit without audio until the apology.
    pub think_fail: Ms,
    /// Time between the first token and the first audio.
    pub voice_stall: Ms,
    /// Empty playout in mid-speech until the backup voice takes over.
    pub underrun: Ms,
    /// Silence until the first filler while a tool runs.
    pub tool_filler: Ms,
    /// Silence until the next ones.
    pub tool_filler_again: Ms,
    /// Longest run of a tool.
    pub tool_cap: Ms,
    /// Silence until the second prompt.
    pub silence_second: Ms,
    /// Silence after the second prompt until the goodbye.
    pub silence_last: Ms,
    /// Silence after the caller asked for time.
    pub silence_asked: Ms,
    /// Replaces the first silence of every field; `None` keeps the table of the fields.
    pub silence_first: Option<Ms>,
    /// Silence after a hold until we ask.
    pub silence_back: Ms,
    /// Gap between keys that ends a number which is long enough.
    pub key_gap: Ms,
    /// Gap between keys that ends a number which is too short.
    pub key_gap_short: Ms,
    /// A turn this long is closed at its next short gap; 0 is off.
    pub too_long: Ms,
    /// A turn this long is closed where it is; 0 is off.
    pub too_long_hard: Ms,
    /// Room after the goodbye for "one more thing".
    pub linger: Ms,
    /// How late a playout mark may be.
    pub mark_slack: Ms,
    /// How long a line of our own is taken to last while nobody says how long it is.
    pub unknown_line: Ms,
    /// The same for a model's answer.
    pub unknown_answer: Ms,
    /// Outbound: speech longer than this is probably a machine.
    pub screen_speech: Ms,
    /// Outbound: silence after a short greeting that makes it a person.
    pub screen_human: Ms,
    /// Outbound: silence after a service's question, or after a long greeting in few words.
    pub screen_words: Ms,
    /// Outbound: silence after an announcement that has no beep.
    pub screen_machine: Ms,
    /// Outbound: silence from the start until we greet.
    pub screen_silent: Ms,
    /// Outbound: silence after the beep.
    pub screen_beep: Ms,
    /// Longest call.
    pub max_call: Ms,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            recogniser: true,
            ends: Ends::default(),
            interruptible: true,
            voice_confirms: false,
            min_words: 1,
            never: Vec::new(),
            always: Vec::new(),
            stt_final: 500,
            no_words: 1500,
            late_window: 1500,
            resume_click: 200,
            resume_quiet: 400,
            resume_long: 900,
            contest: 2500,
            stuck: 6000,
            collision: 400,
            answer_tail: 1000,
            one_word: 400,
            voice_only: 600,
            speculate: 200,
            speculations: 3,
            think_filler: 1500,
            think_hedge: 2500,
            think_fail: 6000,
            voice_stall: 1500,
            underrun: 300,
            tool_filler: 1000,
            tool_filler_again: 7000,
            tool_cap: 20_000,
            silence_second: 8000,
            silence_last: 6000,
            silence_asked: 30_000,
            silence_first: None,
            silence_back: 1000,
            key_gap: 2500,
            key_gap_short: 4000,
            too_long: 45_000,
            too_long_hard: 90_000,
            linger: 600,
            mark_slack: 2000,
            unknown_line: 5000,
            unknown_answer: 60_000,
            screen_speech: 2500,
            screen_human: 500,
            screen_words: 700,
            screen_machine: 1500,
            screen_silent: 2000,
            screen_beep: 200,
            max_call: 3_600_000,
        }
    }
}
