//! Calls that come to us: ringing, answered or refused, cancelled, acknowledged (RFC 3261 §13.3, §9.2).

use std::time::{Duration, Instant};

use super::arrival::Arrival;
use super::call::{Accepted, Call, Exchange, Incoming, Live, Reliable};
use super::guard::{ALLOW, Refused, SUPPORTED};
use super::session::{Beat, allows};
use super::{Endpoint, body};
use crate::dialog::Dialog;
use crate::event::{CallError, CallHandle, Cause, Event, Headers, Invite};
use crate::flow::Flow;
use crate::message::{Message, Method, Name, NameAddr, Uri, UriError, Via};
use crate::refusal::{Refusal, phrase};
use crate::timer::{Owner, Timer};
use crate::transaction::{Client, MergeKey, ServerKey, ServerKind};

/// The parts of one 200, from two states.
struct Accept<'a> {
    server: u64,
    invite: &'a Arrival,
    tag: &'a str,
    sdp: Option<&'a str>,
    first: bool,
    late: bool,
    beat: Option<Beat>,
}

/// From or To as an address; one of a scheme we do not speak stands for somebody unknown (RFC 4475 §3.3.4).
fn person(value: Option<&[u8]>) -> Result<NameAddr, UriError> {
    match NameAddr::parse(value.unwrap_or_default()) {
        Err(UriError::Scheme) => Uri::parse(b"sip:anonymous@anonymous.invalid").map(NameAddr::new),
        parsed => parsed,
    }
}

impl Endpoint {
    pub(super) fn handle_invite(&mut self, now: Instant, arrival: Arrival) {
        let request = &arrival.message;
        if self.merge_keys.contains_key(&MergeKey::of(request)) {
            return self.refuse(&arrival, &Refusal::new(482).into());
        }
        if self.draining || self.calls.len() >= self.config.max_calls {
            let refusal = Refusal::new(503).with_retry_after(self.config.retry_after);
            return self.refuse(&arrival, &refusal.into());
        }
        if self.is_loop(request) {
            return self.refuse(&arrival, &Refusal::new(482).into());
        }
        if let Some(refused) = self.too_brief(request) {
            return self.refuse(&arrival, &refused);
        }
        let (sdp, replaces) = match body::description(request).and_then(|sdp| Ok((sdp, self.replaced(request)?))) {
            Ok(both) => both,
            Err(refused) => return self.refuse(&arrival, &refused),
        };
        let people =
            (person(request.header(Name::To)), person(request.header(Name::From)), Uri::parse(request.request_uri()));
        let (Ok(to), Ok(from), Ok(request_uri)) = people else {
            return self.refuse(&arrival, &Refusal::new(400).into());
        };
        let invite = Invite {
            to: to.uri,
            from,
            request_uri,
            call_id: request.text(Name::CallId).unwrap_or_default().into_owned(),
            source: arrival.from.remote,
            headers: Headers::of(request),
            max_forwards: request.number(Name::MaxForwards).unwrap_or(70),
            replaces: replaces.map(CallHandle),
            sdp,
        };
        let late = invite.sdp.is_none();
        let expires = request.number(Name::Expires);
        let (id, tag) = (self.fresh_id(), self.random.tag());
        let Some(server) = self.open_server(&arrival, Some(id), &tag) else {
            return;
        };
        if self.config.trying_after.is_zero() {
            self.try_call(now, server, &arrival);
        } else {
            self.out.timers.start_for(now, Owner::Call(id), Timer::Trying, self.config.trying_after);
        }
        if let Some(seconds) = expires.filter(|seconds| *seconds > 0) {
            let time = Duration::from_secs(u64::from(seconds));
            self.out.timers.start_for(now, Owner::Call(id), Timer::Expires, time);
        }
        self.tags.insert(tag.as_bytes().to_vec(), id);
        let incoming = Incoming { server, invite: arrival, tag, late, replaces, reliable: Reliable::default() };
        self.calls.insert(id, Call::Incoming(incoming));
        self.events.push_back(Event::Incoming { call: CallHandle(id), invite: Box::new(invite) });
    }

    /// A request of our own that came back (RFC 3261 §16.3): its Via names a branch that we made.
    fn is_loop(&self, request: &Message) -> bool {
        request.elements(Name::Via).skip(1).filter_map(Via::parse).any(|via| {
            let branch = via.branch().unwrap_or_default().to_vec();
            self.client_keys.contains_key(&(branch, request.method_name().to_vec()))
        })
    }

    fn try_call(&mut self, now: Instant, server: u64, invite: &Arrival) {
        let bytes = invite.answer(100, phrase(100), None, false).finish();
        self.respond(now, server, 100, bytes);
    }

    pub(super) fn handle_call_timer(&mut self, now: Instant, id: u64, timer: Timer) {
        match (timer, self.calls.get(&id)) {
            (Timer::Trying, Some(Call::Incoming(incoming))) => {
                let (server, bytes) = (incoming.server, incoming.invite.answer(100, phrase(100), None, false).finish());
                self.respond(now, server, 100, bytes);
            }
            (Timer::Ringing, Some(Call::Incoming(incoming))) => {
                if let Some(server) = self.servers.get(&incoming.server) {
                    server.handle_repeat(&mut self.out);
                }
            }
            (Timer::Expires, Some(Call::Incoming(_))) => {
                self.finish_incoming(now, id, &Refusal::new(487), Cause::Timeout)
            }
            (Timer::Accept, Some(Call::Live(Live { exchange: Exchange::Accepted(accepted), .. }))) => {
                self.out.send(accepted.flow, &accepted.answer);
            }
            (Timer::NoAck, Some(Call::Live(_))) => self.give_up_ack(now, id),
            (Timer::Reliable | Timer::NoPrack, Some(Call::Incoming(_))) => self.handle_reliable_timer(now, id, timer),
            (Timer::Refresh, Some(Call::Live(_))) => self.refresh(now, id),
            (Timer::Expired, Some(Call::Live(_))) => self.expire(now, id),
            (Timer::Glare, Some(Call::Live(_))) => self.ask_again(now, id),
            (Timer::Failover, Some(Call::Outgoing(outgoing))) => {
                let client = outgoing.client;
                if self.clients.get(&client).is_some_and(Client::is_unheard) && self.fail_over(now, client) {
                    self.close_client(client);
                }
            }
            (Timer::Cancelled, Some(Call::Outgoing(outgoing))) => {
                let client = outgoing.client;
                self.close_client(client);
                self.forget(id);
            }
            _ => {}
        }
    }

    /// Answers a call, a re-INVITE or an UPDATE with 200 and a description; a 200 to INVITE is repeated until its ACK
    /// comes. While a reliable provisional answer with a description waits for its PRACK, the 200 waits with it.
    ///
    /// # Errors
    /// [`CallError::Settled`] when a reliable provisional answer already gave another description.
    pub fn answer(&mut self, now: Instant, call: CallHandle, sdp: String) -> Result<(), CallError> {
        let id = call.0;
        if let Some(Call::Incoming(Incoming { reliable, .. })) = self.calls.get_mut(&id) {
            if reliable.settled.as_ref().is_some_and(|settled| *settled != sdp) {
                return Err(CallError::Settled);
            }
            if reliable.unheard.as_ref().is_some_and(|unheard| unheard.described) {
                reliable.answer = Some(sdp);
                return Ok(());
            }
        }
        match self.calls.remove(&id).ok_or(CallError::NoSuchCall)? {
            Call::Incoming(incoming) => self.answer_first(now, id, incoming, sdp),
            Call::Live(live) if matches!(live.exchange, Exchange::Asked { .. }) => {
                self.answer_again(now, id, live, sdp)
            }
            other => {
                self.calls.insert(id, other);
                return Err(CallError::NothingToAnswer);
            }
        }
        Ok(())
    }

    fn answer_first(&mut self, now: Instant, id: u64, incoming: Incoming, sdp: String) {
        let Incoming { server, invite, tag, late, replaces, reliable } = incoming;
        let all = [Timer::Trying, Timer::Ringing, Timer::Expires, Timer::Reliable, Timer::NoPrack];
        self.out.timers.stop_each(Owner::Call(id), &all);
        let settled = reliable.settled.is_some();
        let beat = self.grant(&invite.message);
        let body = Some(sdp.as_str()).filter(|_| !settled);
        let accept =
            Accept { server, invite: &invite, tag: &tag, sdp: body, first: true, late: late && !settled, beat };
        let accepted = self.accept(now, id, &accept);
        let live = Live {
            dialog: Dialog::as_server(&invite.message, &tag, invite.from),
            tag,
            exchange: Exchange::Accepted(accepted),
            local: sdp,
            again: None,
            beat,
            updates: allows(&invite.message, "UPDATE"),
            ours: false,
            refer: None,
            transfer: false,
            reliable: reliable.unheard.map_or(0, |_| reliable.sequence),
        };
        self.calls.insert(id, Call::Live(live));
        self.keep(now, id, beat);
        if let Some(old) = replaces.filter(|old| matches!(self.calls.get(old), Some(Call::Live(_)))) {
            self.tell_end(old, Cause::Replaced);
            self.leave(now, old);
        }
    }

    fn answer_again(&mut self, now: Instant, id: u64, mut live: Live, sdp: String) {
        let Exchange::Asked { server, invite, late } = std::mem::replace(&mut live.exchange, Exchange::Quiet) else {
            return;
        };
        live.dialog.refresh(&invite.message);
        live.local.clone_from(&sdp);
        if invite.message.method() == Some(Method::Update) {
            self.calls.insert(id, Call::Live(live));
            return self.agree_update(now, id, server, &invite, Some(&sdp));
        }
        let beat = self.grant(&invite.message);
        let (tag, body) = (live.tag.clone(), Some(sdp.as_str()));
        let accept = Accept { server, invite: &invite, tag: &tag, sdp: body, first: false, late, beat };
        live.exchange = Exchange::Accepted(self.accept(now, id, &accept));
        self.calls.insert(id, Call::Live(live));
        self.keep(now, id, beat);
    }

    fn accept(&mut self, now: Instant, id: u64, accept: &Accept<'_>) -> Accepted {
        let Accept { server, invite, tag, sdp, first, late, beat } = *accept;
        let mut printer = invite.dialog_answer(200, "OK", tag);
        printer
            .header(Name::Contact, self.contact(&invite.from))
            .header(Name::Allow, ALLOW)
            .header(Name::Supported, SUPPORTED);
        Self::print_grant(&mut printer, beat);
        self.decorate(&mut printer);
        let answer = match sdp {
            Some(sdp) => printer.finish_with(body::ACCEPT, sdp.as_bytes()),
            None => printer.finish(),
        };
        self.respond(now, server, 200, answer.clone());
        let flow: Flow = invite.answer_flow();
        self.out.start(now, Owner::Call(id), flow, &[Timer::Accept, Timer::NoAck]);
        let sequence = invite.message.cseq().map_or(0, |cseq| cseq.number);
        Accepted { sequence, flow, answer, first, late, hang_up: false }
    }

    /// Refuses a call, which ends it, or a re-INVITE, which leaves the call as it was.
    pub fn reject(&mut self, now: Instant, call: CallHandle, refusal: Refusal) {
        match self.calls.get_mut(&call.0) {
            Some(Call::Incoming(_)) => {
                let cause = Cause::Rejected(refusal.status);
                self.finish_incoming(now, call.0, &refusal, cause);
            }
            Some(Call::Live(live)) => {
                if let Exchange::Asked { server, invite, .. } = std::mem::replace(&mut live.exchange, Exchange::Quiet) {
                    self.respond_refusal(now, server, &invite, None, &refusal.into());
                }
            }
            _ => {}
        }
    }

    /// Refuses a call of somebody who has proved nothing yet: the answer goes out once, is not repeated, and is no longer than it must
    /// be (RFC 3261 §8.2.7). Whoever means it asks again.
    pub fn dismiss(&mut self, now: Instant, call: CallHandle, refusal: Refusal) {
        if !matches!(self.calls.get(&call.0), Some(Call::Incoming(_))) {
            return;
        }
        if let Some(Call::Incoming(incoming)) = self.forget(call.0) {
            self.offended(now, incoming.invite.from.remote.ip());
            self.close_server(incoming.server);
            let cause = Cause::Rejected(refusal.status);
            self.refuse(&incoming.invite, &refusal.into());
            self.tell_end(call.0, cause);
        }
    }

    pub(super) fn respond_refusal(
        &mut self,
        now: Instant,
        server: u64,
        arrival: &Arrival,
        tag: Option<&str>,
        refused: &Refused,
    ) {
        let refusal = &refused.refusal;
        let status = refusal.status.clamp(300, 699);
        let mut printer = arrival.answer(status, &refusal.reason, tag, false);
        if let Some((name, value)) = refused.header.as_deref() {
            printer.header(*name, value);
        }
        self.explain(&mut printer, refusal, &arrival.from, true);
        self.respond(now, server, status, printer.finish());
    }

    /// The last answer to a call that was never accepted.
    pub(super) fn finish_incoming(&mut self, now: Instant, id: u64, refusal: &Refusal, cause: Cause) {
        if let Some(Call::Incoming(incoming)) = self.forget(id) {
            // What the user turns away for who or what it is counts against its source; a busy line does not.
            if matches!((cause, refusal.status), (Cause::Rejected(_), 401 | 403 | 404 | 407 | 484 | 604)) {
                self.offended(now, incoming.invite.from.remote.ip());
            }
            self.respond_refusal(now, incoming.server, &incoming.invite, Some(&incoming.tag), &refusal.clone().into());
            self.tell_end(id, cause);
        }
    }

    /// RFC 3261 §9.2: CANCEL gets its own 200, the INVITE a 487 if it has no final answer yet.
    pub(super) fn handle_cancel(&mut self, now: Instant, arrival: Arrival) {
        let Some(via) = arrival.message.top_via() else {
            return;
        };
        let key = ServerKey::cancelled(&arrival.message, &via);
        let found = self
            .server_keys
            .get(&key)
            .and_then(|id| self.servers.get(id))
            .filter(|server| matches!(server.kind, ServerKind::Invite(_)));
        let Some((call, tag)) = found.map(|server| (server.call, server.tag.clone())) else {
            return self.refuse(&arrival, &Refusal::new(481).into());
        };
        let Some(server) = self.open_server(&arrival, None, &tag) else {
            return;
        };
        let bytes = arrival.answer(200, "OK", Some(&tag), false).finish();
        self.respond(now, server, 200, bytes);
        let Some(id) = call else { return };
        match self.calls.get_mut(&id) {
            Some(Call::Incoming(_)) => self.finish_incoming(now, id, &Refusal::new(487), Cause::Cancel),
            // A re-INVITE taken back: the call stays as it was.
            Some(Call::Live(live)) if matches!(&live.exchange, Exchange::Asked { server, .. } if self.server_keys.get(&key) == Some(server)) => {
                if let Exchange::Asked { server, invite, .. } = std::mem::replace(&mut live.exchange, Exchange::Quiet) {
                    self.respond_refusal(now, server, &invite, None, &Refusal::new(487).into());
                }
            }
            _ => {}
        }
    }

    /// The ACK of a 2xx (RFC 3261 §13.3.1.4).
    pub(super) fn handle_ack(&mut self, now: Instant, arrival: &Arrival) {
        let request = &arrival.message;
        let sequence = request.cseq().map(|cseq| cseq.number);
        let id = request.to_tag().and_then(|tag| self.tags.get(tag).copied());
        let Some((id, live)) = id.and_then(|id| match self.calls.get_mut(&id) {
            Some(Call::Live(live)) if live.dialog.is_of(request) => Some((id, live)),
            _ => None,
        }) else {
            self.counters.stray += 1;
            return;
        };
        let Exchange::Accepted(accepted) = &live.exchange else {
            return;
        };
        if Some(accepted.sequence) != sequence {
            return;
        }
        let (first, late, hang_up) = (accepted.first, accepted.late, accepted.hang_up);
        live.exchange = Exchange::Quiet;
        live.dialog.flow = arrival.from;
        self.out.timers.stop_each(Owner::Call(id), &[Timer::Accept, Timer::NoAck]);
        if hang_up {
            return self.leave(now, id);
        }
        let sdp = if late { late_answer(request) } else { None };
        if late && sdp.is_none() {
            // Our offer was never answered: there is nothing to talk over.
            self.tell_end(id, Cause::Rejected(488));
            return self.leave(now, id);
        }
        if first || late {
            self.events.push_back(Event::Established { call: CallHandle(id), sdp });
        }
    }

    fn give_up_ack(&mut self, now: Instant, id: u64) {
        let told = match self.calls.get(&id) {
            Some(Call::Live(Live { exchange: Exchange::Accepted(accepted), .. })) => accepted.hang_up,
            // Our own user never answered the offer of a late 200.
            Some(Call::Live(Live { exchange: Exchange::Offered { .. }, .. })) => false,
            _ => return,
        };
        if !told {
            self.tell_end(id, Cause::NoAck);
        }
        self.leave(now, id);
    }
}

fn late_answer(ack: &Message) -> Option<crate::sdp::Sdp> {
    body::description(ack).ok().flatten()
}
