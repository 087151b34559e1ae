//! Local stand-ins for the vendors: the same words on the wire as Deepgram, OpenAI and ElevenLabs, with knobs for latency and faults.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod deepgram;
mod elevenlabs;
mod knobs;
mod mulaw;
mod openai;
mod running;
mod socket;

pub use deepgram::Deepgram;
pub use elevenlabs::ElevenLabs;
pub use knobs::{Fault, Knobs, Reply, ToolCall};
pub use openai::OpenAi;
pub use running::{Running, start_all};
