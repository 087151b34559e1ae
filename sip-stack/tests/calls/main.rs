//! Whole calls between endpoints in virtual time, one behaviour per test, one kind of trouble per file.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code, reason = "a test may fail loudly")]

mod bad_network;
mod called;
mod caller;
mod changes;
mod digest;
mod happy;
mod keyed;
mod keyed_offers;
mod mutated;
mod prack;
mod registered;
mod relayed;
mod scanners;
mod session_timers;
mod strangers;
mod timers;
mod transfer;
mod world;
