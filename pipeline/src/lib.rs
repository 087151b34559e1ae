//! The conversation: what the caller says becomes turns, turns become answers, answers become sound.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
pub mod conversation;
pub mod flow;
pub mod heard;
pub mod herald;
pub mod line;
pub mod link;
pub mod llm;
pub mod offline;
pub mod roster;
pub mod sentence;
pub mod stt;
pub mod tts;
pub mod turn;
pub mod vad;
pub mod voice_thread;

/// A number that every request to a model gets; agent frames carry it, so that what is older than the current one is dropped where it stands.
pub type Gen = u64;
/// Milliseconds since the call was answered, on the caller's audio clock.
pub type Ms = u64;
