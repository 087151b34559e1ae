//! Sample maths: no clock, no socket, no allocation per frame.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod g711;
#[cfg(feature = "opus")]
pub mod ogg_opus;
pub mod pcm;
pub mod resample;
pub mod tone;
pub mod wav;
