//! Whether a peer lives: OPTIONS at intervals, taken out and back only after several answers agree (RFC 3261 §11).

use std::time::Instant;

use super::Endpoint;
use crate::dialog;
use crate::event::Event;
use crate::message::{Name, Printer};
use crate::outside::{Peer, PeerHandle};
use crate::timer::{Owner, Timer};
use crate::transaction::{Client, Errand};

/// One watched peer.
#[derive(Debug)]
pub(super) struct Watched {
    peer: Peer,
    up: bool,
    /// Answers in a row that speak against `up`.
    against: u32,
    /// When it was asked last.
    asked: Instant,
}

impl Endpoint {
    /// Watches a peer; it counts as up until it proves otherwise. `PeerDown` and `PeerUp` tell.
    pub fn watch(&mut self, now: Instant, peer: Peer) -> PeerHandle {
        let id = self.fresh_id();
        self.peers.insert(id, Watched { peer, up: true, against: 0, asked: now });
        self.send_ping(now, id);
        PeerHandle(id)
    }

    /// Watches no longer.
    pub fn unwatch(&mut self, peer: PeerHandle) {
        self.peers.remove(&peer.0);
        self.out.timers.stop(Owner::Peer(peer.0), Timer::Ping);
    }

    pub(super) fn send_ping(&mut self, now: Instant, id: u64) {
        let (branch, tag, call_id) = (self.random.branch(), self.random.tag(), self.random.tag());
        let Some(watched) = self.peers.get_mut(&id) else { return };
        watched.asked = now;
        let Peer { uri, flow, .. } = watched.peer.clone();
        let mut printer = Printer::request(b"OPTIONS", uri.as_str().as_bytes());
        printer
            .header(Name::Via, dialog::via(&flow, &branch))
            .header(Name::MaxForwards, "70")
            .header(Name::From, format!("<sip:{}@{}>;tag={tag}", self.config.contact_user, flow.local))
            .header(Name::To, format!("<{uri}>"))
            .header(Name::CallId, call_id)
            .header(Name::CSeq, "1 OPTIONS")
            .header(Name::Contact, self.contact(&flow))
            .header(Name::Accept, super::body::ACCEPT);
        if let Some(agent) = &self.config.user_agent {
            printer.header(Name::UserAgent, agent);
        }
        let client = self.fresh_id();
        let errand = Errand::Ping(id);
        let machine = Client::other(now, &mut self.out, client, flow, (&branch, "OPTIONS", errand), printer.finish());
        self.open_client(client, machine, None);
    }

    /// Any final answer proves life, but those by which a peer says that it takes no calls; 408 stands for none.
    pub(super) fn handle_ping_answer(&mut self, now: Instant, id: u64, status: u16) {
        let Some(watched) = self.peers.get_mut(&id) else { return };
        let well = !matches!(status, 408 | 500..600);
        let rtt = now.saturating_duration_since(watched.asked);
        self.events.push_back(Event::Pinged { peer: PeerHandle(id), status, rtt });
        if well == watched.up {
            watched.against = 0;
        } else {
            watched.against += 1;
            let needed = if watched.up { watched.peer.down_after } else { watched.peer.up_after };
            if watched.against >= needed.max(1) {
                watched.up = well;
                watched.against = 0;
                let peer = PeerHandle(id);
                let event = if well { Event::PeerUp { peer } } else { Event::PeerDown { peer, status } };
                self.events.push_back(event);
            }
        }
        let every = watched.peer.every;
        // Not all peers at the same moment.
        let every = every.mul_f64(0.9 + (self.random.next() % 200) as f64 / 1000.0);
        self.out.timers.start_for(now, Owner::Peer(id), Timer::Ping, every);
    }
}
