//! Whole calls with real clients: starts the built binaries on free ports, calls them, and reads what the calls left behind.
//!
//! The harness panics with a sentence where a test cannot go on; that is what tests do.
#![allow(clippy::unwrap_used)]

mod api;
mod client;
pub mod flite;
mod home;
pub mod kamailio;
mod line;
mod linphone;
mod phone;
#[allow(dead_code, reason = "the suite of the control plane shares one cluster, here each test has its own")]
#[path = "../../control-api/tests/suite/postgres.rs"]
mod postgres;
mod sidetone;
pub mod sound;

pub use api::Api;
pub use client::{Baresip, Handset, Sipp};
pub use home::{elsewhere, enter};
pub use line::{Line, SSRC, Sip, header, request, rtp_header};
pub use linphone::Linphone;
pub use phone::{Phone, Spoken};
pub use postgres::Cluster;
pub use sidetone::{GREETING, Plan, Sidetone, binary, free_port, workspace};
