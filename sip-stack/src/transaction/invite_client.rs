//! The INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §8.4).

use std::time::Instant;

use super::{Fate, Outbox, Received};
use crate::flow::Flow;
use crate::timer::{Owner, Timer};

/// A 2xx that was acknowledged already, kept so that its repetition gets the same ACK.
#[derive(Debug)]
pub(crate) struct RepeatedAccept {
    /// The To tag: another one is another branch of a forked call.
    pub(crate) tag: Vec<u8>,
    pub(crate) flow: Flow,
    pub(crate) ack: Vec<u8>,
}

/// Its states; each holds only what it may still send.
#[derive(Debug)]
pub(crate) enum InviteClient {
    /// Sent, nothing heard.
    Calling { request: Vec<u8> },
    /// A provisional answer came.
    Proceeding,
    /// Refused; the ACK is kept for repeated refusals.
    Completed { ack: Vec<u8> },
    /// Accepted, perhaps by several.
    Accepted { accepts: Vec<RepeatedAccept> },
}

impl InviteClient {
    /// Takes an answer; `ack` builds the ACK of a refusal.
    pub(crate) fn handle_response(
        &mut self,
        now: Instant,
        out: &mut Outbox,
        (owner, flow): (Owner, Flow),
        (status, tag): (u16, &[u8]),
        ack: impl FnOnce() -> Vec<u8>,
    ) -> Received {
        match (&mut *self, status) {
            (InviteClient::Calling { .. }, 100..200) => {
                out.timers.stop_each(owner, &[Timer::A, Timer::B]);
                *self = InviteClient::Proceeding;
                Received::New
            }
            (InviteClient::Proceeding, 100..200) => Received::New,
            (InviteClient::Calling { .. } | InviteClient::Proceeding, 200..300) => {
                out.timers.stop_each(owner, &[Timer::A, Timer::B]);
                out.start(now, owner, flow, &[Timer::M]);
                *self = InviteClient::Accepted { accepts: Vec::new() };
                Received::New
            }
            (InviteClient::Calling { .. } | InviteClient::Proceeding, _) => {
                out.timers.stop_each(owner, &[Timer::A, Timer::B]);
                out.start(now, owner, flow, &[Timer::D]);
                let ack = ack();
                out.send(flow, &ack);
                *self = InviteClient::Completed { ack };
                Received::New
            }
            (InviteClient::Completed { ack }, 300..) => {
                out.send(flow, ack);
                Received::Absorbed
            }
            (InviteClient::Accepted { accepts }, 200..300) => match accepts.iter().find(|accept| accept.tag == tag) {
                Some(accept) => {
                    out.send(accept.flow, &accept.ack);
                    Received::Absorbed
                }
                None => Received::New,
            },
            (InviteClient::Completed { .. } | InviteClient::Accepted { .. }, _) => Received::Absorbed,
        }
    }

    pub(crate) fn handle_timer(&mut self, out: &mut Outbox, flow: Flow, timer: Timer) -> Fate {
        match (timer, &*self) {
            (Timer::A, InviteClient::Calling { request }) => {
                out.send(flow, request);
                Fate::Lives
            }
            (Timer::B, InviteClient::Calling { .. }) => Fate::TimedOut,
            (Timer::D, InviteClient::Completed { .. }) | (Timer::M, InviteClient::Accepted { .. }) => Fate::Done,
            _ => Fate::Lives,
        }
    }
}
