//! Sample maths: no clock, no socket, no allocation per frame.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod pcm;
