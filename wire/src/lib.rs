//! Carrier-side sockets and the 20 ms clock: [`sip`] drives the SIP endpoint on tokio, [`media`] drives RTP legs on
//! their own threads. No decision about a call is made here.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clock;
mod counters;
pub mod media;
mod media_counts;
mod media_thread;
mod patch;
mod ports;
mod resolve;
mod ring;
mod seat;
pub mod sip;
mod sip_calls;
mod sip_outside;
mod sip_stream;
mod sip_task;
mod sip_tls;
mod sip_udp;
mod sip_ws;
mod stun;
mod trace;
mod urgent;
