//! The load generator's parts: SIP callers, paced RTP, and what they measure.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod caller;
pub mod gauge;
pub mod histogram;
pub mod report;
pub mod stream;
