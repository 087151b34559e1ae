//! The INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §8.5).

use std::time::Instant;

use super::{Fate, Outbox};
use crate::flow::Flow;
use crate::timer::{Owner, Timer};

/// Its states; each holds only what it may still send.
#[derive(Debug)]
pub(crate) enum InviteServer {
    /// No final answer yet.
    Proceeding { last: Option<Vec<u8>> },
    /// Refused; the ACK is awaited.
    Completed { answer: Vec<u8> },
    /// Refused and acknowledged.
    Confirmed,
    /// Accepted; the call repeats the 2xx, this absorbs repeated INVITEs.
    Accepted,
}

/// Whose ACK it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckFate {
    /// Ours: the refusal is acknowledged.
    Absorbed,
    /// The call's: some peers acknowledge a 2xx with the INVITE's own branch.
    ForCall,
}

impl InviteServer {
    /// The same INVITE again.
    pub(crate) fn handle_repeat(&self, out: &mut Outbox, flow: Flow) {
        match self {
            InviteServer::Proceeding { last: Some(last) } => out.send(flow, last),
            InviteServer::Completed { answer } => out.send(flow, answer),
            InviteServer::Proceeding { last: None } | InviteServer::Confirmed | InviteServer::Accepted => {}
        }
    }

    pub(crate) fn handle_ack(&mut self, now: Instant, out: &mut Outbox, owner: Owner, flow: Flow) -> AckFate {
        match self {
            InviteServer::Completed { .. } => {
                *self = InviteServer::Confirmed;
                out.timers.stop_each(owner, &[Timer::G, Timer::H]);
                out.start(now, owner, flow, &[Timer::I]);
                AckFate::Absorbed
            }
            InviteServer::Accepted => AckFate::ForCall,
            InviteServer::Proceeding { .. } | InviteServer::Confirmed => AckFate::Absorbed,
        }
    }

    /// Sends an answer and moves on; a second final answer is ignored.
    pub(crate) fn respond(
        &mut self,
        now: Instant,
        out: &mut Outbox,
        owner: Owner,
        flow: Flow,
        status: u16,
        answer: Vec<u8>,
    ) {
        let InviteServer::Proceeding { last } = self else {
            return;
        };
        out.send(flow, &answer);
        match status {
            100..200 => *last = Some(answer),
            200..300 => {
                *self = InviteServer::Accepted;
                out.start(now, owner, flow, &[Timer::L]);
            }
            _ => {
                // Until a provisional answer stops him, the caller repeats his INVITE and so fetches a lost refusal
                // himself. A stranger's forged address thereby gets one packet for each of his, not eleven.
                if last.is_some() && !flow.transport.is_reliable() {
                    out.start(now, owner, flow, &[Timer::G]);
                }
                out.start(now, owner, flow, &[Timer::H]);
                *self = InviteServer::Completed { answer };
            }
        }
    }

    pub(crate) fn handle_timer(&mut self, out: &mut Outbox, flow: Flow, timer: Timer) -> Fate {
        match (timer, &*self) {
            (Timer::G, InviteServer::Completed { answer }) => {
                out.send(flow, answer);
                Fate::Lives
            }
            (Timer::H, InviteServer::Completed { .. }) => Fate::TimedOut,
            (Timer::I, InviteServer::Confirmed) | (Timer::L, InviteServer::Accepted) => Fate::Done,
            _ => Fate::Lives,
        }
    }
}
