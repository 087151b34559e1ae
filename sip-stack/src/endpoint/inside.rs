//! Requests inside a dialog, and the end of a call (RFC 3261 §12.2, §14.2, §15).

use std::time::Instant;

use super::arrival::Arrival;
use super::call::{Call, Exchange, Leaving, Live};
use super::{Endpoint, OF_A_CALL, body};
use crate::dialog::Dialog;
use crate::event::{CallHandle, Cause, Event};
use crate::message::{Method, Name};
use crate::refusal::Refusal;
use crate::timer::Owner;
use crate::transaction::{Client, Errand};

impl Endpoint {
    pub(super) fn handle_inside(&mut self, now: Instant, arrival: Arrival) {
        let request = &arrival.message;
        let found = request.to_tag().and_then(|tag| self.tags.get(tag).copied());
        let Some((id, call)) = found.and_then(|id| Some((id, self.calls.get_mut(&id)?))) else {
            return self.refuse(&arrival, &Refusal::new(481).into());
        };
        let of_dialog = match call {
            Call::Live(live) => live.dialog.is_of(request),
            Call::Leaving(leaving) => leaving.dialog.is_of(request),
            Call::Incoming(incoming) => {
                let invite = &incoming.invite.message;
                invite.call_id() == request.call_id() && invite.from_tag() == request.from_tag()
            }
            Call::Outgoing(outgoing) => outgoing.forks.iter().any(|fork| fork.dialog.is_of(request)),
        };
        if !of_dialog {
            return self.refuse(&arrival, &Refusal::new(481).into());
        }
        let method = request.method();
        match call {
            Call::Live(live) => {
                // RFC 3261 §12.2.2. Some peers count BYE and INFO badly; only INVITE must be strictly newer.
                let sequence = request.cseq().map_or(0, |cseq| cseq.number);
                let known = live.dialog.remote_sequence;
                if sequence < known || (sequence == known && method == Some(Method::Invite)) {
                    return self.refuse(&arrival, &Refusal::because(500, "Out of Order").into());
                }
                live.dialog.remote_sequence = sequence;
                live.dialog.flow = arrival.from;
                match method {
                    Some(Method::Bye) => self.handle_bye(now, id, &arrival),
                    Some(Method::Invite) => self.handle_reinvite(now, id, arrival),
                    Some(Method::Info) => self.handle_info(now, id, &arrival),
                    Some(Method::Update) => self.handle_update(now, id, arrival),
                    Some(Method::Refer) => self.handle_refer(now, id, arrival),
                    Some(Method::Notify) => self.handle_notify(now, id, &arrival),
                    Some(Method::Prack) => self.handle_late_prack(now, id, &arrival),
                    _ => self.handle_ping(now, &arrival),
                }
            }
            // RFC 3261 §15: the caller may also end an early dialog with BYE.
            Call::Incoming(_) if method == Some(Method::Bye) => {
                self.say_ok(now, &arrival);
                self.finish_incoming(now, id, &Refusal::new(487), Cause::Bye);
            }
            Call::Incoming(_) if method == Some(Method::Options) => self.handle_ping(now, &arrival),
            Call::Incoming(_) if method == Some(Method::Prack) => self.handle_prack(now, id, &arrival),
            Call::Incoming(_) | Call::Outgoing(_) if method == Some(Method::Update) => {
                self.handle_early_update(now, &arrival);
            }
            Call::Incoming(_) => self.refuse(&arrival, &Refusal::new(491).into()),
            // Both sides said BYE at once.
            Call::Leaving(_) if method == Some(Method::Bye) => self.say_ok(now, &arrival),
            Call::Leaving(_) | Call::Outgoing(_) => self.refuse(&arrival, &Refusal::new(481).into()),
        }
    }

    pub(super) fn say_ok(&mut self, now: Instant, arrival: &Arrival) {
        let Some(server) = self.open_server(arrival, None, "") else {
            return;
        };
        let mut printer = arrival.answer(200, "OK", None, false);
        self.decorate(&mut printer);
        self.respond(now, server, 200, printer.finish());
    }

    fn handle_ping(&mut self, now: Instant, arrival: &Arrival) {
        let Some(server) = self.open_server(arrival, None, "") else {
            return;
        };
        let mut printer = arrival.answer(200, "OK", None, false);
        self.abilities(&mut printer, true);
        self.respond(now, server, 200, printer.finish());
    }

    fn handle_bye(&mut self, now: Instant, id: u64, arrival: &Arrival) {
        self.say_ok(now, arrival);
        let Some(Call::Live(live)) = self.forget(id) else {
            return;
        };
        let told = matches!(&live.exchange, Exchange::Accepted(accepted) if accepted.hang_up);
        if let Exchange::Asked { server, invite, .. } = &live.exchange {
            // RFC 3261 §15.1.2: what is still open is answered 487.
            self.respond_refusal(now, *server, invite, None, &Refusal::new(487).into());
        }
        if !told {
            self.tell_end(id, Cause::Bye);
        }
    }

    /// A PRACK that comes after the 200 did: right, only late (RFC 3262 §3).
    fn handle_late_prack(&mut self, now: Instant, id: u64, arrival: &Arrival) {
        let text = arrival.message.text(Name::RAck).unwrap_or_default().into_owned();
        let sequence = text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match self.calls.get(&id) {
            Some(Call::Live(live)) if sequence != 0 && live.reliable == sequence => self.say_ok(now, arrival),
            _ => self.refuse(arrival, &Refusal::new(481).into()),
        }
    }

    fn handle_info(&mut self, now: Instant, id: u64, arrival: &Arrival) {
        let keys = body::keys(&arrival.message);
        let Some(server) = self.open_server(arrival, None, "") else {
            return;
        };
        match keys {
            Err(refused) => self.respond_refusal(now, server, arrival, None, &refused),
            Ok(keys) => {
                let bytes = arrival.answer(200, "OK", None, false).finish();
                self.respond(now, server, 200, bytes);
                if let Some((digits, duration_ms)) = keys {
                    self.events.push_back(Event::Info { call: CallHandle(id), digits, duration_ms });
                }
            }
        }
    }

    /// Ends a call in whatever state it is: 603, CANCEL or BYE. `Ended` is told at once; the network is tidied up behind.
    pub fn end(&mut self, now: Instant, call: CallHandle) {
        let id = call.0;
        match self.calls.get_mut(&id) {
            Some(Call::Incoming(_)) => self.finish_incoming(now, id, &Refusal::new(603), Cause::Local),
            Some(Call::Outgoing(outgoing)) if !outgoing.given_up => {
                outgoing.given_up = true;
                if outgoing.heard {
                    self.cancel(now, id);
                }
                self.tell_end(id, Cause::Local);
            }
            Some(Call::Live(live)) => match &mut live.exchange {
                // RFC 3261 §15: the called side waits for the ACK of its first answer.
                Exchange::Accepted(accepted) if accepted.first => {
                    if !std::mem::replace(&mut accepted.hang_up, true) {
                        self.tell_end(id, Cause::Local);
                    }
                }
                Exchange::Offered { .. } => {
                    // RFC 3261 §13.2.2.4: the 200 is acknowledged in any case; without an answer, then BYE.
                    let _ = self.acknowledge(now, call, None);
                    self.tell_end(id, Cause::Local);
                    self.leave(now, id);
                }
                _ => {
                    self.tell_end(id, Cause::Local);
                    self.leave(now, id);
                }
            },
            Some(Call::Outgoing(_) | Call::Leaving(_)) | None => {}
        }
    }

    /// Sends BYE and keeps the dialog until it is answered; the user has been told already.
    pub(super) fn leave(&mut self, now: Instant, id: u64) {
        if !matches!(self.calls.get(&id), Some(Call::Live(_))) {
            return;
        }
        let Some(Call::Live(Live { dialog, tag, exchange, .. })) = self.calls.remove(&id) else {
            return;
        };
        self.out.timers.stop_each(Owner::Call(id), &OF_A_CALL);
        if let Exchange::Asked { server, invite, .. } = &exchange {
            self.respond_refusal(now, *server, invite, None, &Refusal::new(487).into());
        }
        let dialog = self.send_bye(now, dialog, Some(id));
        self.calls.insert(id, Call::Leaving(Leaving { dialog, tag }));
    }

    pub(super) fn send_bye(&mut self, now: Instant, mut dialog: Dialog, call: Option<u64>) -> Dialog {
        let branch = self.random.branch();
        let (mut printer, flow) = dialog.request("BYE", &branch);
        if let Some((name, value)) = call.and_then(|id| self.authorize(id, "BYE", &dialog.request_uri())) {
            printer.header(name, value);
        }
        if let Some(agent) = &self.config.user_agent {
            printer.header(Name::UserAgent, agent);
        }
        let client = self.fresh_id();
        let machine = Client::other(now, &mut self.out, client, flow, (&branch, "BYE", Errand::Bye), printer.finish());
        self.open_client(client, machine, call);
        dialog
    }
}
