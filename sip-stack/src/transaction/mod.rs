//! Transactions (RFC 3261 §17, RFC 6026): each a small machine that is handed messages and timers.

mod client;
mod invite_client;
mod invite_server;
mod key;
mod server;

pub(crate) use client::{Client, ClientKind, Errand, Received};
pub(crate) use invite_client::{InviteClient, RepeatedAccept};
pub(crate) use invite_server::{AckFate, InviteServer};
pub(crate) use key::{MergeKey, ServerKey, client_key};
pub(crate) use server::{OtherServer, Server, ServerKind};

use std::collections::VecDeque;
use std::time::Instant;

use crate::flow::{Flow, Transmit};
use crate::timer::{Owner, Timer, Timers};

/// Where machines put what they send and the timers they start.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) transmits: VecDeque<Transmit>,
    pub(crate) timers: Timers,
}

impl Outbox {
    pub(crate) fn send(&mut self, flow: Flow, bytes: &[u8]) {
        self.transmits.push_back(Transmit { flow, bytes: bytes.to_vec() });
    }

    pub(crate) fn start(&mut self, now: Instant, owner: Owner, flow: Flow, timers: &[Timer]) {
        for timer in timers {
            self.timers.start(now, owner, *timer, flow.transport);
        }
    }
}

/// Whether a machine lives on after a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lives,
    /// It did all it had to.
    Done,
    /// Nobody answered.
    TimedOut,
}
