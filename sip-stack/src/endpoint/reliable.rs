//! Reliable provisional answers and their PRACK, both ways (RFC 3262).

use std::time::Instant;

use super::Endpoint;
use super::arrival::Arrival;
use super::body;
use super::call::{Call, Fork, Incoming, Unheard};
use super::session::supports;
use crate::dialog::Dialog;
use crate::event::{CallHandle, Cause, Event};
use crate::message::{Message, Name, trim};
use crate::refusal::{Refusal, phrase};
use crate::timer::{Owner, Timer};
use crate::transaction::{Client, Errand};

/// Provisional answers that may wait for the PRACK of the one before.
const WAITING: usize = 8;
/// Places a call may ring in; a hostile peer might fork without end.
const FORKS: usize = 16;

/// The three parts of a RAck header: RSeq, CSeq number, and whether the method is INVITE.
fn rack(message: &Message) -> Option<(u32, u32)> {
    let text = message.text(Name::RAck)?.into_owned();
    let mut words = text.split_whitespace();
    let (sequence, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next() == Some("INVITE") && words.next().is_none()).then_some((sequence, number))
}

impl Endpoint {
    /// Rings: 180, or 183 with a description for early media. Ignored once the call is answered.
    ///
    /// It is sent reliably when the caller requires it, and with a description when he can take it.
    pub fn ring(&mut self, now: Instant, call: CallHandle, early_sdp: Option<String>) {
        let Some(Call::Incoming(incoming)) = self.calls.get_mut(&call.0) else {
            return;
        };
        let request = &incoming.invite.message;
        let required = request.elements(Name::Require).any(|element| element.eq_ignore_ascii_case(b"100rel"));
        let wished = self.config.reliable_early_media && early_sdp.is_some() && supports(request, "100rel");
        if !required && !wished {
            return self.provide(now, call.0, early_sdp, false);
        }
        let reliable = &mut incoming.reliable;
        if reliable.unheard.is_none() {
            self.provide(now, call.0, early_sdp, true);
        } else if reliable.waiting.len() < WAITING {
            // RFC 3262 §3: the second waits for the PRACK of the first.
            reliable.waiting.push_back(early_sdp);
        }
    }

    fn provide(&mut self, now: Instant, id: u64, early_sdp: Option<String>, reliable: bool) {
        let fresh = u32::try_from(self.random.next() & 0x0fff_ffff).unwrap_or(0) + 1;
        let Some(Call::Incoming(incoming)) = self.calls.get(&id) else { return };
        let status = if early_sdp.is_some() { 183 } else { 180 };
        let mut printer = incoming.invite.dialog_answer(status, phrase(status), &incoming.tag);
        printer.header(Name::Contact, self.contact(&incoming.invite.from));
        let sequence = match incoming.reliable.sequence {
            0 => fresh,
            last => last + 1,
        };
        if reliable {
            printer.header(Name::Require, "100rel").header(Name::RSeq, sequence.to_string());
        }
        self.decorate(&mut printer);
        let bytes = match &early_sdp {
            Some(sdp) => printer.finish_with(body::ACCEPT, sdp.as_bytes()),
            None => printer.finish(),
        };
        let (server, flow) = (incoming.server, incoming.invite.from);
        self.out.timers.stop(Owner::Call(id), Timer::Trying);
        self.respond(now, server, status, bytes.clone());
        self.out.start(now, Owner::Call(id), flow, &[Timer::Ringing]);
        if !reliable {
            return;
        }
        if let Some(Call::Incoming(Incoming { reliable, invite, .. })) = self.calls.get_mut(&id) {
            reliable.sequence = sequence;
            reliable.unheard = Some(Unheard { bytes, flow: invite.answer_flow(), described: early_sdp.is_some() });
            reliable.settled = early_sdp.or(reliable.settled.take());
            // Over a stream as well: a proxy behind it may lose what we cannot.
            self.out.start(now, Owner::Call(id), flow, &[Timer::Reliable, Timer::NoPrack]);
        }
    }

    pub(super) fn handle_prack(&mut self, now: Instant, id: u64, arrival: &Arrival) {
        let request = &arrival.message;
        let heard = rack(request);
        let Some(Call::Incoming(incoming)) = self.calls.get_mut(&id) else {
            return self.refuse(arrival, &Refusal::new(481).into());
        };
        let number = incoming.invite.message.cseq().map_or(0, |cseq| cseq.number);
        let (reliable, late) = (&mut incoming.reliable, incoming.late);
        if reliable.unheard.is_none() || heard != Some((reliable.sequence, number)) {
            return self.refuse(arrival, &Refusal::new(481).into());
        }
        let sdp = match body::description(request) {
            Ok(sdp) => sdp,
            Err(refused) => return self.refuse(arrival, &refused),
        };
        // A further offer inside PRACK is not taken (RFC 3262 §5 lets the caller use UPDATE or re-INVITE later).
        if sdp.is_some() && !late {
            return self.refuse(arrival, &Refusal::new(488).with_warning(399, "No offer in PRACK").into());
        }
        let described = reliable.unheard.take().is_some_and(|unheard| unheard.described);
        let next = reliable.waiting.pop_front();
        let answer = if next.is_none() { reliable.answer.take() } else { None };
        self.out.timers.stop_each(Owner::Call(id), &[Timer::Reliable, Timer::NoPrack]);
        self.say_ok(now, arrival);
        if let Some(sdp) = sdp.filter(|_| described) {
            self.events.push_back(Event::EarlyAnswer { call: CallHandle(id), sdp });
        }
        if let Some(early_sdp) = next {
            self.provide(now, id, early_sdp, true);
        } else if let Some(sdp) = answer {
            // The user was told that it is answered; there is nobody left to hear of a failure.
            let _ = self.answer(now, CallHandle(id), sdp);
        }
    }

    pub(super) fn handle_reliable_timer(&mut self, now: Instant, id: u64, timer: Timer) {
        let Some(Call::Incoming(Incoming { reliable: super::call::Reliable { unheard: Some(unheard), .. }, .. })) =
            self.calls.get(&id)
        else {
            return;
        };
        if timer == Timer::Reliable {
            self.out.send(unheard.flow, &unheard.bytes);
        } else {
            // RFC 3262 §3: a caller who requires PRACK and sends none cannot be served.
            self.finish_incoming(now, id, &Refusal::new(504), Cause::NoAck);
        }
    }

    /// An early dialog of a call of ours; a reliable answer gets its PRACK. False when it is one that came before, or
    /// before its turn: the user has heard it, or will.
    pub(super) fn hear_progress(&mut self, now: Instant, id: u64, invite: &Message, response: &Message) -> bool {
        let Some(tag) = response.to_tag() else { return true };
        let Some(Call::Outgoing(outgoing)) = self.calls.get_mut(&id) else { return true };
        let flow = self.clients.get(&outgoing.client).map(|client| client.flow);
        let known = outgoing.forks.iter().position(|fork| fork.dialog.remote_tag == tag);
        let index = match (known, flow) {
            (Some(index), _) => index,
            (None, Some(flow)) if outgoing.forks.len() < FORKS => {
                outgoing.forks.push(Fork { dialog: Dialog::as_client(invite, response, flow), sequence: 0 });
                outgoing.forks.len() - 1
            }
            (None, _) => return true,
        };
        let required = response.elements(Name::Require).any(|element| element.eq_ignore_ascii_case(b"100rel"));
        let Some(sequence) = response.number(Name::RSeq).filter(|_| required) else { return true };
        let fork = &mut outgoing.forks[index];
        if fork.sequence != 0 && Some(sequence) != fork.sequence.checked_add(1) {
            return false;
        }
        fork.sequence = sequence;
        fork.dialog.refresh(response);
        let branch = self.random.branch();
        let (mut printer, flow) = fork.dialog.request("PRACK", &branch);
        let uri = fork.dialog.request_uri();
        let number = String::from_utf8_lossy(trim(response.header(Name::CSeq).unwrap_or_default())).into_owned();
        printer.header(Name::RAck, format!("{sequence} {number}"));
        if let Some((name, value)) = self.authorize(id, "PRACK", &uri) {
            printer.header(name, value);
        }
        let client = self.fresh_id();
        let machine =
            Client::other(now, &mut self.out, client, flow, (&branch, "PRACK", Errand::Prack), printer.finish());
        self.open_client(client, machine, Some(id));
        true
    }
}
