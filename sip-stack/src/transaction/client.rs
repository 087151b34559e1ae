//! Client transactions: the one for INVITE, and the one for everything else (RFC 3261 §17.1.2).

use std::time::Instant;

use super::{Fate, InviteClient, Outbox};
use crate::flow::Flow;
use crate::timer::{Owner, Timer};

/// What a response means to the user of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    New,
    Absorbed,
}

/// The client transaction of a request other than INVITE.
#[derive(Debug)]
pub(crate) enum OtherClient {
    Trying,
    Completed,
}

/// What a request is for: who hears of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    Invite,
    Reinvite,
    Bye,
    Cancel,
    Prack,
    Update,
    Info,
    Refer,
    Notify,
    /// Belongs to a registration.
    Register(u64),
    /// Belongs to a peer whose health is watched.
    Ping(u64),
}

#[derive(Debug)]
pub(crate) enum ClientKind {
    Invite(InviteClient),
    Other(OtherClient),
}

/// One request of ours.
#[derive(Debug)]
pub(crate) struct Client {
    /// Branch and method.
    pub(crate) key: (Vec<u8>, Vec<u8>),
    pub(crate) flow: Flow,
    pub(crate) kind: ClientKind,
    /// The call that wants to know.
    pub(crate) call: Option<u64>,
    /// The request as sent: an ACK for a refusal, a CANCEL and another try are made from it.
    pub(crate) request: Vec<u8>,
    pub(crate) errand: Errand,
    /// How often the same wish was sent before this request: challenges are not answered for ever.
    pub(crate) tries: u8,
}

impl Client {
    /// Whose credentials it may carry.
    pub(crate) fn owner(&self) -> Option<u64> {
        match self.errand {
            Errand::Register(id) | Errand::Ping(id) => Some(id),
            _ => self.call,
        }
    }

    /// Nothing at all was heard of it.
    pub(crate) fn is_unheard(&self) -> bool {
        matches!(self.kind, ClientKind::Invite(InviteClient::Calling { .. }) | ClientKind::Other(OtherClient::Trying))
    }

    /// A request other than INVITE whose final answer has come.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.kind, ClientKind::Other(OtherClient::Completed))
    }

    /// Sends an INVITE for the first time.
    pub(crate) fn invite(now: Instant, out: &mut Outbox, id: u64, flow: Flow, branch: &str, request: Vec<u8>) -> Self {
        out.send(flow, &request);
        if !flow.transport.is_reliable() {
            out.start(now, Owner::Client(id), flow, &[Timer::A]);
        }
        out.start(now, Owner::Client(id), flow, &[Timer::B]);
        Client {
            key: (branch.as_bytes().to_vec(), b"INVITE".to_vec()),
            flow,
            kind: ClientKind::Invite(InviteClient::Calling { request: request.clone() }),
            call: None,
            request,
            errand: Errand::Invite,
            tries: 0,
        }
    }

    /// Sends another request for the first time.
    pub(crate) fn other(
        now: Instant,
        out: &mut Outbox,
        id: u64,
        flow: Flow,
        (branch, method, errand): (&str, &str, Errand),
        request: Vec<u8>,
    ) -> Self {
        out.send(flow, &request);
        if !flow.transport.is_reliable() {
            out.start(now, Owner::Client(id), flow, &[Timer::E]);
        }
        out.start(now, Owner::Client(id), flow, &[Timer::F]);
        Client {
            key: (branch.as_bytes().to_vec(), method.as_bytes().to_vec()),
            flow,
            kind: ClientKind::Other(OtherClient::Trying),
            call: None,
            request,
            errand,
            tries: 0,
        }
    }

    /// A response to a request other than INVITE.
    pub(crate) fn handle_other_response(
        &mut self,
        now: Instant,
        out: &mut Outbox,
        owner: Owner,
        status: u16,
    ) -> Received {
        let ClientKind::Other(other) = &mut self.kind else {
            return Received::Absorbed;
        };
        match other {
            OtherClient::Trying if status >= 200 => {
                out.timers.stop_each(owner, &[Timer::E, Timer::F]);
                out.start(now, owner, self.flow, &[Timer::K]);
                *other = OtherClient::Completed;
                Received::New
            }
            OtherClient::Trying => {
                // RFC 3261 §17.1.2.2: once heard, a request is repeated only every T2.
                if !self.flow.transport.is_reliable() {
                    let gap = out.timers.on.t2;
                    out.timers.start_for(now, owner, Timer::E, gap);
                }
                Received::Absorbed
            }
            OtherClient::Completed => Received::Absorbed,
        }
    }

    pub(crate) fn handle_timer(&mut self, out: &mut Outbox, timer: Timer) -> Fate {
        match (&mut self.kind, timer) {
            (ClientKind::Invite(invite), timer) => invite.handle_timer(out, self.flow, timer),
            (ClientKind::Other(OtherClient::Trying), Timer::E) => {
                out.send(self.flow, &self.request);
                Fate::Lives
            }
            (ClientKind::Other(OtherClient::Trying), Timer::F) => Fate::TimedOut,
            (ClientKind::Other(OtherClient::Completed), Timer::K) => Fate::Done,
            _ => Fate::Lives,
        }
    }
}
