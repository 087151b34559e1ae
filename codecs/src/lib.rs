//! Sample maths: no clock, no socket, no allocation per frame.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod g711;
pub mod pcm;
pub mod resample;
pub mod tone;
pub mod wav;
