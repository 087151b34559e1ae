//! Calls that we make: INVITE, its answers, ACK and CANCEL (RFC 3261 §13.2, §9.1).

use std::collections::VecDeque;
use std::time::Instant;

use super::call::{Call, Exchange, Live, Outgoing as Calling};
use super::guard::{ALLOW, SUPPORTED};
use super::session::{allows, min_se};
use super::{Endpoint, body};
use crate::auth::ClientAuth;
use crate::dialog::{self, Dialog};
use crate::event::{CallError, CallHandle, Cause, Event, Headers, Outgoing, Reliable};
use crate::flow::{Flow, Transport};
use crate::message::{Message, Method, Name, Printer};
use crate::timer::{Owner, Timer};
use crate::transaction::{Client, ClientKind, Errand, InviteClient, Received, RepeatedAccept};

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
        let Outgoing { to, from, mut flow, sdp, headers, routes, alternates, credentials, .. } = outgoing;
        let Outgoing { max_forwards, session_expires, reliable, .. } = outgoing;
        let (id, client) = (self.fresh_id(), self.fresh_id());
        let (tag, branch) = (self.random.tag(), self.random.branch());
        let call_id = format!("{:016x}{:016x}", self.random.next(), self.random.next());
        // A reliable answer to no offer is an offer, which PRACK would have to answer: better not to invite it.
        let reliable = if sdp.is_some() { reliable } else { Reliable::Off };
        let supported = if reliable == Reliable::Off { "norefersub, replaces, timer" } else { SUPPORTED };
        let session = self.session_headers(None, session_expires);
        let print = |stack: &Self, flow: &Flow, compact: bool| {
            let mut printer = Printer::request(b"INVITE", to.as_str().as_bytes()).compact(compact);
            printer.header(Name::Via, dialog::via(flow, &branch)).header(Name::MaxForwards, max_forwards.to_string());
            for route in &routes {
                printer.header(Name::Route, route);
            }
            printer
                .header(Name::From, format!("{from};tag={tag}"))
                .header(Name::To, format!("<{to}>"))
                .header(Name::CallId, &call_id)
                .header(Name::CSeq, "1 INVITE")
                .header(Name::Contact, stack.contact(flow))
                .header(Name::Allow, ALLOW)
                .header(Name::Supported, supported);
            if reliable == Reliable::Required {
                printer.header(Name::Require, "100rel");
            }
            for (name, value) in &session {
                printer.header(*name, value);
            }
            if let Some(agent) = &stack.config.user_agent {
                printer.header(Name::UserAgent, agent);
            }
            for (name, value) in &headers {
                printer.extension(name.as_bytes(), value);
            }
            match &sdp {
                Some(sdp) => printer.finish_with(body::ACCEPT, sdp.as_bytes()),
                None => printer.finish(),
            }
        };
        let mut alternates: VecDeque<Flow> = alternates.into();
        let mut bytes = print(self, &flow, false);
        if flow.transport == Transport::Udp && bytes.len() > self.config.udp_mtu {
            bytes = print(self, &flow, true);
            if self.config.large_by_tcp && bytes.len() > self.config.udp_mtu {
                // RFC 3261 §18.1.1; the datagram remains the last resort.
                alternates.push_front(flow);
                flow = Flow { transport: Transport::Tcp, connection: 0, ..flow };
                bytes = print(self, &flow, false);
            }
        }
        if let Some(credentials) = credentials {
            self.auths.insert(id, ClientAuth::new(credentials, flow.remote.ip()));
        }
        let machine = Client::invite(now, &mut self.out, client, flow, &branch, bytes);
        self.open_client(client, machine, Some(id));
        if !alternates.is_empty() {
            let time = self.config.failover_after;
            self.out.timers.start_for(now, Owner::Call(id), Timer::Failover, time);
        }
        self.tags.insert(tag.as_bytes().to_vec(), id);
        let sdp = sdp.unwrap_or_default();
        let calling =
            Calling { client, tag, heard: false, early: None, given_up: false, forks: Vec::new(), sdp, alternates };
        self.calls.insert(id, Call::Outgoing(calling));
        CallHandle(id)
    }

    /// Tries the next path of a call that nobody answered; false when there is none (RFC 3263 §4.3).
    pub(super) fn fail_over(&mut self, now: Instant, client: u64) -> bool {
        let Some(id) = self.clients.get(&client).filter(|client| client.errand == Errand::Invite).and_then(|c| c.call)
        else {
            return false;
        };
        let Some(Call::Outgoing(outgoing)) = self.calls.get_mut(&id) else { return false };
        if outgoing.given_up || outgoing.client != client {
            return false;
        }
        let Some(flow) = outgoing.alternates.pop_front() else { return false };
        let more = !outgoing.alternates.is_empty();
        outgoing.forks.clear();
        self.out.timers.stop(Owner::Call(id), Timer::Failover);
        if more {
            let time = self.config.failover_after;
            self.out.timers.start_for(now, Owner::Call(id), Timer::Failover, time);
        }
        self.again(now, client, Some(flow), Vec::new())
    }

    pub(super) fn handle_invite_response(
        &mut self,
        now: Instant,
        client_id: u64,
        status: u16,
        response: &Message,
        from: Flow,
    ) {
        let Some(client) = self.clients.get_mut(&client_id) else {
            return;
        };
        let Ok(invite) = Message::parse(client.request.as_slice()) else {
            return;
        };
        let (call, flow, errand) = (client.call, client.flow, client.errand);
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
        match (status, errand) {
            (100..200, Errand::Invite) => self.handle_progress(now, call, status, &invite, response),
            (200..300, Errand::Invite) => self.handle_accept(now, client_id, &invite, response, flow),
            (100..200, _) => {}
            (200..300, _) => self.handle_reaccept(now, client_id, &invite, response, flow),
            _ if self.challenged(now, client_id, response, from.remote.ip()) => {}
            (_, Errand::Invite) => self.handle_refusal(now, client_id, call, status, response),
            _ => {
                if let Some(id) = call {
                    self.handle_change_answer(now, client_id, id, response);
                }
            }
        }
    }

    fn handle_refusal(&mut self, now: Instant, client: u64, call: Option<u64>, status: u16, response: &Message) {
        let Some((id, Some(Call::Outgoing(outgoing)))) = call.map(|id| (id, self.calls.get(&id))) else { return };
        if !outgoing.given_up {
            // RFC 4028 §7.4: too brief; ask again for what they want.
            let tries = self.clients.get(&client).map_or(u8::MAX, |client| client.tries);
            if let (422, Some(floor), ..2) = (status, min_se(response), tries) {
                let changes = vec![(Name::SessionExpires, floor.to_string()), (Name::MinSe, floor.to_string())];
                if self.again(now, client, None, changes) {
                    return;
                }
            }
            if status == 503 && self.fail_over(now, client) {
                return;
            }
        }
        if let Some(Call::Outgoing(outgoing)) = self.forget(id)
            && !outgoing.given_up
        {
            self.tell_end(id, Cause::Rejected(status));
        }
    }

    fn handle_progress(&mut self, now: Instant, call: Option<u64>, status: u16, invite: &Message, response: &Message) {
        let Some((id, Some(Call::Outgoing(outgoing)))) = call.map(|id| (id, self.calls.get_mut(&id))) else {
            return;
        };
        self.out.timers.stop(Owner::Call(id), Timer::Failover);
        let first = !std::mem::replace(&mut outgoing.heard, true);
        if outgoing.given_up {
            if first {
                self.cancel(now, id);
            }
            return;
        }
        if status > 100 && self.hear_progress(now, id, invite, response) {
            let sdp = body::answer(response);
            if let (Some(_), Some(Call::Outgoing(outgoing))) = (&sdp, self.calls.get_mut(&id)) {
                outgoing.early.clone_from(&sdp);
            }
            self.events.push_back(Event::Ringing { call: CallHandle(id), status, sdp });
        }
    }

    /// The ACK of a 2xx; it carries the credentials of its INVITE (RFC 3261 §22.1).
    fn ack(&mut self, dialog: &Dialog, invite: &Message, sdp: Option<&str>) -> (Flow, Vec<u8>) {
        let branch = self.random.branch();
        let (mut printer, flow) = dialog.ack(invite.cseq().map_or(1, |cseq| cseq.number), &branch);
        for name in [Name::Authorization, Name::ProxyAuthorization] {
            for value in invite.headers(name) {
                printer.header(name, value);
            }
        }
        let bytes = match sdp {
            Some(sdp) => printer.finish_with(body::ACCEPT, sdp.as_bytes()),
            None => printer.finish(),
        };
        self.out.send(flow, &bytes);
        (flow, bytes)
    }

    /// Remembers an ACK for repetitions of its 2xx; false when too many answered.
    fn remember(&mut self, client: u64, tag: &[u8], (flow, ack): (Flow, Vec<u8>)) -> bool {
        if let Some(Client { kind: ClientKind::Invite(InviteClient::Accepted { accepts }), .. }) =
            self.clients.get_mut(&client)
        {
            // A hostile peer might fork without end; nobody rings in sixteen places.
            if accepts.len() >= 16 {
                return false;
            }
            accepts.push(RepeatedAccept { tag: tag.to_vec(), flow, ack });
        }
        true
    }

    /// Each 2xx gets an ACK. The first one makes the call; others come from a fork and are hung up on (RFC 3261 §13.2.2.4).
    fn handle_accept(&mut self, now: Instant, client_id: u64, invite: &Message, response: &Message, flow: Flow) {
        let mut dialog = Dialog::as_client(invite, response, flow);
        let call = self.clients.get(&client_id).and_then(|client| client.call);
        let waiting = call.filter(|id| matches!(self.calls.get(id), Some(Call::Outgoing(_))));
        let Some((id, Some(Call::Outgoing(outgoing)))) = waiting.map(|id| (id, self.calls.remove(&id))) else {
            if let Some(Call::Live(Live { exchange: Exchange::Offered { client, .. }, dialog: ours, .. })) =
                call.and_then(|id| self.calls.get(&id))
                && *client == client_id
                && ours.remote_tag == dialog.remote_tag
            {
                // The same 200 again, while our user still thinks about its offer.
                return;
            }
            let ack = self.ack(&dialog, invite, None);
            if self.remember(client_id, &dialog.remote_tag, ack) {
                self.send_bye(now, dialog, None);
            }
            return;
        };
        if let Some(fork) = outgoing.forks.iter().find(|fork| fork.dialog.remote_tag == dialog.remote_tag) {
            dialog.count_on(&fork.dialog);
        }
        let late = outgoing.sdp.is_empty();
        let answer = body::answer(response).or(outgoing.early);
        let exchange = if late && answer.is_some() && !outgoing.given_up {
            self.out.start(now, Owner::Call(id), flow, &[Timer::NoAck]);
            Exchange::Offered { client: client_id }
        } else {
            let ack = self.ack(&dialog, invite, None);
            self.remember(client_id, &dialog.remote_tag, ack);
            Exchange::Quiet
        };
        self.out.timers.stop_each(Owner::Call(id), &[Timer::Cancelled, Timer::Failover]);
        let beat = self.granted(response);
        let live = Live {
            dialog,
            tag: outgoing.tag,
            exchange,
            local: outgoing.sdp,
            again: None,
            beat,
            updates: allows(response, "UPDATE"),
            ours: true,
            refer: None,
            transfer: false,
            reliable: 0,
        };
        self.calls.insert(id, Call::Live(live));
        self.keep(now, id, beat);
        if outgoing.given_up {
            // Our CANCEL crossed their answer.
            return self.leave(now, id);
        }
        match answer {
            Some(sdp) => {
                self.events.push_back(Event::Answered { call: CallHandle(id), sdp, headers: Headers::of(response) })
            }
            None => {
                self.tell_end(id, Cause::Rejected(488));
                self.leave(now, id);
            }
        }
    }

    /// Answers the offer that came with the 200 of a call without one of ours: the ACK goes out with it. `None` ends the
    /// matter without an answer; a BYE should follow.
    ///
    /// # Errors
    /// [`CallError::NothingToAnswer`] when no such offer waits.
    pub fn acknowledge(&mut self, now: Instant, call: CallHandle, sdp: Option<String>) -> Result<(), CallError> {
        let Some(Call::Live(live)) = self.calls.get_mut(&call.0) else { return Err(CallError::NoSuchCall) };
        let Exchange::Offered { client, .. } = live.exchange else { return Err(CallError::NothingToAnswer) };
        live.exchange = Exchange::Quiet;
        live.local = sdp.clone().unwrap_or_default();
        let dialog = live.dialog.clone();
        self.out.timers.stop(Owner::Call(call.0), Timer::NoAck);
        let invite = self.clients.get(&client).and_then(|client| Message::parse(client.request.as_slice()).ok());
        // Timer M keeps the transaction for 64·T1, and NoAck ends the call before that.
        let Some(invite) = invite else {
            self.lost(now, call.0);
            return Err(CallError::NothingToAnswer);
        };
        let ack = self.ack(&dialog, &invite, sdp.as_deref());
        self.remember(client, &dialog.remote_tag, ack);
        Ok(())
    }

    /// The 2xx of our re-INVITE.
    fn handle_reaccept(&mut self, now: Instant, client: u64, invite: &Message, response: &Message, flow: Flow) {
        let call = self.clients.get(&client).and_then(|client| client.call);
        let dialog = match call.and_then(|id| self.calls.get_mut(&id)) {
            // The same 200 again, while our user still thinks about its offer.
            Some(Call::Live(Live { exchange: Exchange::Offered { client: asked }, .. })) if *asked == client => return,
            Some(Call::Live(live)) => {
                live.dialog.refresh(response);
                if let (Exchange::Asking(asking), Some(sdp), Some(id)) = (&live.exchange, body::answer(response), call)
                    && asking.is_late()
                {
                    live.exchange = Exchange::Offered { client };
                    self.out.start(now, Owner::Call(id), flow, &[Timer::NoAck]);
                    let beat = self.granted(response);
                    self.keep(now, id, beat);
                    return self.events.push_back(Event::Offered { call: CallHandle(id), sdp });
                }
                live.dialog.clone()
            }
            Some(Call::Leaving(leaving)) => leaving.dialog.clone(),
            _ => Dialog::as_client(invite, response, flow),
        };
        let ack = self.ack(&dialog, invite, None);
        self.remember(client, &dialog.remote_tag, ack);
        if let Some(id) = call {
            self.handle_change_answer(now, client, id, response);
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
        let machine = Client::other(now, &mut self.out, cancel, flow, (&branch, "CANCEL", Errand::Cancel), bytes);
        self.open_client(cancel, machine, None);
        self.out.start(now, Owner::Call(id), flow, &[Timer::Cancelled]);
    }
}
