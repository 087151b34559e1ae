//! A sans-IO RTP leg: packets, commands and time go in; packets, frames and events come out.
//!
//! Deterministic: no network, no clock and no thread of its own. [`Leg`] assembles the whole audio path in one place.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod conceal;
mod dtmf;
pub mod event;
pub mod jitter;
pub mod leg;
mod playout;
mod reception;
pub mod rtcp;
pub mod rtp;
mod source;
pub mod stats;
mod stretch;
#[cfg(test)]
mod testing;

pub use conceal::Conceal;
pub use event::{CallerAudio, Channel, Dial, LegCommand, LegEvent, Outward, Spent, Tick, Transmit};
pub use leg::{Leg, LegConfig};
pub use stats::Stats;
