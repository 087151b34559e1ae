//! Calls that we make: INVITE, its answers, ACK and CANCEL (RFC 3261 §13.2, §9.1).

use std::time::Instant;

use super::call::{Call, Exchange, Live, Outgoing as Calling};
use super::guard::ALLOW;
use super::{Endpoint, body};
use crate::dialog::{self, Dialog};
use crate::event::{CallHandle, Cause, Event, Headers, Outgoing};
use crate::flow::{Flow, Transport};
use crate::message::{Message, Method, Name, Printer};
use crate::timer::{Owner, Timer};
use crate::transaction::{Client, ClientKind, InviteClient, Received, RepeatedAccept};

/// A request made from our own INVITE: the ACK of a refusal (RFC 3261 §17.1.1.3) and CANCEL (§9.1) share its
/// Request-URI, top Via, Call-ID, From, sequence number and route.
fn derived(method: Method, invite: &Message, to: &[u8]) -> Vec<u8> {
    let mut printer = Printer::request(method.as_str().as_bytes(), invite.request_uri());
    let sequence = invite.cseq().map_or(1, |cseq| cseq.number);
    for name in [Name::Via, Name::MaxForwards, Name::Route, Name::From] {
        for value in invite.headers(name) {
            printer.header(name, value);
        }
    }
    printer
        .header(Name::To, to)
        .header(Name::CallId, invite.call_id().unwrap_or_default())
        .header(Name::CSeq, format!("{sequence} {}", method.as_str()));
    printer.finish()
}

impl Endpoint {
    /// Calls somebody over a path that is already resolved.
    pub fn invite(&mut self, now: Instant, outgoing: Outgoing) -> CallHandle {
        let Outgoing { to, from, flow, sdp, headers } = outgoing;
        let (id, client) = (self.fresh_id(), self.fresh_id());
        let (tag, branch) = (self.random.tag(), self.random.branch());
        let call_id = format!("{:016x}{:016x}", self.random.next(), self.random.next());
        let print = |stack: &Self, compact: bool| {
            let mut printer = Printer::request(b"INVITE", to.as_str().as_bytes()).compact(compact);
            printer
                .header(Name::Via, dialog::via(&flow, &branch))
                .header(Name::MaxForwards, "70")
                .header(Name::From, format!("{from};tag={tag}"))
                .header(Name::To, format!("<{to}>"))
                .header(Name::CallId, &call_id)
                .header(Name::CSeq, "1 INVITE")
                .header(Name::Contact, stack.contact(&flow))
                .header(Name::Allow, ALLOW);
            if let Some(agent) = &stack.config.user_agent {
                printer.header(Name::UserAgent, agent);
            }
            for (name, value) in &headers {
                printer.extension(name.as_bytes(), value);
            }
            printer.finish_with(body::ACCEPT, sdp.as_bytes())
        };
        let mut bytes = print(self, false);
        if flow.transport == Transport::Udp && bytes.len() > self.config.udp_mtu {
            bytes = print(self, true);
        }
        let machine = Client::invite(now, &mut self.out, client, flow, &branch, bytes);
        self.open_client(client, machine, Some(id));
        self.tags.insert(tag.as_bytes().to_vec(), id);
        self.calls.insert(id, Call::Outgoing(Calling { client, tag, heard: false, early: None, given_up: false }));
        CallHandle(id)
    }

    pub(super) fn handle_invite_response(&mut self, now: Instant, client_id: u64, status: u16, response: &Message) {
        let Some(client) = self.clients.get_mut(&client_id) else {
            return;
        };
        let Ok(invite) = Message::parse(client.request.as_slice()) else {
            return;
        };
        let (call, flow) = (client.call, client.flow);
        let ClientKind::Invite(machine) = &mut client.kind else {
            return;
        };
        let tag = response.to_tag().unwrap_or_default();
        let to = response.header(Name::To).unwrap_or_default();
        let parties = (Owner::Client(client_id), flow);
        let ack = || derived(Method::Ack, &invite, to);
        if machine.handle_response(now, &mut self.out, parties, (status, tag), ack) == Received::Absorbed {
            return;
        }
        match status {
            100..200 => self.handle_progress(now, call, status, response),
            200..300 => self.handle_accept(now, client_id, &invite, response, flow),
            _ => {
                let Some(id) = call else { return };
                if let Some(Call::Outgoing(outgoing)) = self.forget(id)
                    && !outgoing.given_up
                {
                    self.tell_end(id, Cause::Rejected(status));
                }
            }
        }
    }

    fn handle_progress(&mut self, now: Instant, call: Option<u64>, status: u16, response: &Message) {
        let Some((id, Some(Call::Outgoing(outgoing)))) = call.map(|id| (id, self.calls.get_mut(&id))) else {
            return;
        };
        let first = !std::mem::replace(&mut outgoing.heard, true);
        if outgoing.given_up {
            if first {
                self.cancel(now, id);
            }
            return;
        }
        if status > 100 {
            let sdp = body::answer(response);
            if sdp.is_some() {
                outgoing.early = sdp.clone();
            }
            self.events.push_back(Event::Ringing { call: CallHandle(id), status, sdp });
        }
    }

    /// Each 2xx gets an ACK. The first one makes the call; others come from a fork and are hung up on (RFC 3261 §13.2.2.4).
    fn handle_accept(&mut self, now: Instant, client_id: u64, invite: &Message, response: &Message, flow: Flow) {
        let dialog = Dialog::as_client(invite, response, flow);
        let branch = self.random.branch();
        let (ack, ack_flow) = dialog.ack(&branch);
        let ack = ack.finish();
        self.out.send(ack_flow, &ack);
        let mut call = None;
        if let Some(client) = self.clients.get_mut(&client_id) {
            call = client.call;
            if let ClientKind::Invite(InviteClient::Accepted { accepts }) = &mut client.kind {
                // A hostile peer might fork without end; nobody rings in sixteen places.
                if accepts.len() >= 16 {
                    return;
                }
                accepts.push(RepeatedAccept { tag: dialog.remote_tag.clone(), flow: ack_flow, ack });
            }
        }
        let waiting = call.filter(|id| matches!(self.calls.get(id), Some(Call::Outgoing(_))));
        let Some((id, Some(Call::Outgoing(outgoing)))) = waiting.map(|id| (id, self.calls.remove(&id))) else {
            self.send_bye(now, dialog, None);
            return;
        };
        self.out.timers.stop(Owner::Call(id), Timer::Cancelled);
        self.calls.insert(id, Call::Live(Live { dialog, tag: outgoing.tag, exchange: Exchange::Quiet }));
        if outgoing.given_up {
            // Our CANCEL crossed their answer.
            return self.leave(now, id);
        }
        match body::answer(response).or(outgoing.early) {
            Some(sdp) => {
                self.events.push_back(Event::Answered { call: CallHandle(id), sdp, headers: Headers::of(response) })
            }
            None => {
                self.tell_end(id, Cause::Rejected(488));
                self.leave(now, id);
            }
        }
    }

    pub(super) fn cancel(&mut self, now: Instant, id: u64) {
        let Some(Call::Outgoing(outgoing)) = self.calls.get(&id) else {
            return;
        };
        let Some(client) = self.clients.get(&outgoing.client) else {
            return;
        };
        let Ok(invite) = Message::parse(client.request.as_slice()) else {
            return;
        };
        let branch =
            invite.top_via().and_then(|via| via.branch()).map(|branch| String::from_utf8_lossy(branch).into_owned());
        let (flow, branch) = (client.flow, branch.unwrap_or_default());
        let bytes = derived(Method::Cancel, &invite, invite.header(Name::To).unwrap_or_default());
        let cancel = self.fresh_id();
        let machine = Client::other(now, &mut self.out, cancel, flow, (&branch, "CANCEL"), bytes);
        self.open_client(cancel, machine, None);
        self.out.start(now, Owner::Call(id), flow, &[Timer::Cancelled]);
    }
}
