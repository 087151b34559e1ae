//! Carrier-side sockets: [`sip`] drives the SIP endpoint on tokio. No decision about a call is made here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod counters;
pub mod sip;
mod sip_stream;
mod sip_task;
mod sip_udp;
