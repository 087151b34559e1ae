//! Calls that come to us: ringing, answered or refused, cancelled, acknowledged (RFC 3261 §13.3, §9.2).

use std::time::{Duration, Instant};

use super::arrival::Arrival;
use super::call::{Accepted, Call, Exchange, Incoming, Live};
use super::guard::{ALLOW, Refused};
use super::{Endpoint, body};
use crate::dialog::Dialog;
use crate::event::{CallError, CallHandle, Cause, Event, Headers, Invite};
use crate::flow::Flow;
use crate::message::{Message, Name, NameAddr, Uri, UriError};
use crate::refusal::{Refusal, phrase};
use crate::timer::{Owner, Timer};
use crate::transaction::{MergeKey, ServerKey, ServerKind};

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
        let sdp = match body::description(request) {
            Ok(sdp) => sdp,
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
        self.calls.insert(id, Call::Incoming(Incoming { server, invite: arrival, tag, late }));
        self.events.push_back(Event::Incoming { call: CallHandle(id), invite: Box::new(invite) });
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
            (Timer::Cancelled, Some(Call::Outgoing(outgoing))) => {
                let client = outgoing.client;
                self.close_client(client);
                self.forget(id);
            }
            _ => {}
        }
    }

    /// Rings: 180, or 183 with a description for early media. Ignored once the call is answered.
    pub fn ring(&mut self, now: Instant, call: CallHandle, early_sdp: Option<String>) {
        let Some(Call::Incoming(incoming)) = self.calls.get(&call.0) else {
            return;
        };
        let status = if early_sdp.is_some() { 183 } else { 180 };
        let mut printer = incoming.invite.dialog_answer(status, phrase(status), &incoming.tag);
        printer.header(Name::Contact, self.contact(&incoming.invite.from));
        self.decorate(&mut printer);
        let bytes = match early_sdp {
            Some(sdp) => printer.finish_with(body::ACCEPT, sdp.as_bytes()),
            None => printer.finish(),
        };
        let (server, flow) = (incoming.server, incoming.invite.from);
        self.out.timers.stop(Owner::Call(call.0), Timer::Trying);
        self.respond(now, server, status, bytes);
        self.out.start(now, Owner::Call(call.0), flow, &[Timer::Ringing]);
    }

    /// Answers a call or a re-INVITE with 200 and a description, which is repeated until its ACK comes.
    pub fn answer(&mut self, now: Instant, call: CallHandle, sdp: String) -> Result<(), CallError> {
        let id = call.0;
        match self.calls.remove(&id).ok_or(CallError::NoSuchCall)? {
            Call::Incoming(Incoming { server, invite, tag, late }) => {
                let owner = Owner::Call(id);
                self.out.timers.stop_each(owner, &[Timer::Trying, Timer::Ringing, Timer::Expires]);
                let dialog = Dialog::as_server(&invite.message, &tag, invite.from);
                let accepted = self.accept(now, id, server, &invite, &tag, &sdp, (true, late));
                self.calls.insert(id, Call::Live(Live { dialog, tag, exchange: Exchange::Accepted(accepted) }));
                Ok(())
            }
            Call::Live(Live { mut dialog, tag, exchange: Exchange::Asked { server, invite, late } }) => {
                dialog.refresh(&invite.message);
                let accepted = self.accept(now, id, server, &invite, &tag, &sdp, (false, late));
                self.calls.insert(id, Call::Live(Live { dialog, tag, exchange: Exchange::Accepted(accepted) }));
                Ok(())
            }
            other => {
                self.calls.insert(id, other);
                Err(CallError::NothingToAnswer)
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one 200, from two states")]
    fn accept(
        &mut self,
        now: Instant,
        id: u64,
        server: u64,
        invite: &Arrival,
        tag: &str,
        sdp: &str,
        (first, late): (bool, bool),
    ) -> Accepted {
        let mut printer = invite.dialog_answer(200, "OK", tag);
        printer.header(Name::Contact, self.contact(&invite.from)).header(Name::Allow, ALLOW);
        self.decorate(&mut printer);
        let answer = printer.finish_with(body::ACCEPT, sdp.as_bytes());
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
        if let Some((name, value)) = &refused.header {
            printer.header(*name, value);
        }
        self.explain(&mut printer, refusal, &arrival.from, true);
        self.respond(now, server, status, printer.finish());
    }

    /// The last answer to a call that was never accepted.
    pub(super) fn finish_incoming(&mut self, now: Instant, id: u64, refusal: &Refusal, cause: Cause) {
        if let Some(Call::Incoming(incoming)) = self.forget(id) {
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
        let Some(Call::Live(Live { exchange: Exchange::Accepted(accepted), .. })) = self.calls.get(&id) else {
            return;
        };
        if !accepted.hang_up {
            self.tell_end(id, Cause::NoAck);
        }
        self.leave(now, id);
    }
}

fn late_answer(ack: &Message) -> Option<crate::sdp::Sdp> {
    body::description(ack).ok().flatten()
}
