//! Server transactions: the one for INVITE, and the one for everything else (RFC 3261 §17.2.2).

use std::time::Instant;

use super::{Fate, InviteServer, MergeKey, Outbox, ServerKey};
use crate::flow::Flow;
use crate::timer::{Owner, Timer};

/// The server transaction of a request other than INVITE.
#[derive(Debug)]
pub(crate) enum OtherServer {
    Trying,
    Completed { answer: Vec<u8> },
}

#[derive(Debug)]
pub(crate) enum ServerKind {
    Invite(InviteServer),
    Other(OtherServer),
}

/// One request being answered.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) key: ServerKey,
    pub(crate) merge: MergeKey,
    /// Where answers go.
    pub(crate) flow: Flow,
    pub(crate) kind: ServerKind,
    /// The call it belongs to, if any.
    pub(crate) call: Option<u64>,
    /// Our To tag in its answers.
    pub(crate) tag: String,
}

impl Server {
    pub(crate) fn handle_repeat(&self, out: &mut Outbox) {
        match &self.kind {
            ServerKind::Invite(invite) => invite.handle_repeat(out, self.flow),
            ServerKind::Other(OtherServer::Completed { answer }) => out.send(self.flow, answer),
            ServerKind::Other(OtherServer::Trying) => {}
        }
    }

    pub(crate) fn respond(&mut self, now: Instant, out: &mut Outbox, owner: Owner, status: u16, answer: Vec<u8>) {
        match &mut self.kind {
            ServerKind::Invite(invite) => invite.respond(now, out, owner, self.flow, status, answer),
            ServerKind::Other(other @ OtherServer::Trying) => {
                out.send(self.flow, &answer);
                if status >= 200 {
                    *other = OtherServer::Completed { answer };
                    out.start(now, owner, self.flow, &[Timer::J]);
                }
            }
            ServerKind::Other(OtherServer::Completed { .. }) => {}
        }
    }

    pub(crate) fn handle_timer(&mut self, out: &mut Outbox, timer: Timer) -> Fate {
        match &mut self.kind {
            ServerKind::Invite(invite) => invite.handle_timer(out, self.flow, timer),
            ServerKind::Other(_) if timer == Timer::J => Fate::Done,
            ServerKind::Other(_) => Fate::Lives,
        }
    }
}
