//! A session that changes: re-INVITE and UPDATE, ours and the peer's, and what happens when they meet
//! (RFC 3261 §14, RFC 3311, RFC 6337).

use std::time::{Duration, Instant};

use super::arrival::Arrival;
use super::call::{Asking, Call, Exchange, Live};
use super::guard::{ALLOW, SUPPORTED};
use super::session::min_se;
use super::{Endpoint, body};
use crate::event::{CallError, CallHandle, Cause, Event};
use crate::message::{Message, Method, Name};
use crate::refusal::Refusal;
use crate::timer::{Owner, Timer};
use crate::transaction::{Client, Errand};

impl Endpoint {
    /// Offers another description: hold, resume, another port. `Changed` or `ChangeRefused` tells how it went; when it
    /// meets an offer of the peer it is sent again by itself (RFC 3261 §14.1).
    ///
    /// # Errors
    /// [`CallError::Busy`] while another offer is under way.
    pub fn reinvite(&mut self, now: Instant, call: CallHandle, sdp: String) -> Result<(), CallError> {
        self.wish(now, call, Asking { sdp, by_user: true })
    }

    /// Asks the peer for an offer by a re-INVITE without one: `Offered` or `ChangeRefused` follows. The offer is answered by
    /// [`Endpoint::acknowledge`], as that of a late 200 is; so somebody else can be asked first (RFC 3725 §4.1).
    ///
    /// # Errors
    /// As [`Endpoint::reinvite`].
    pub fn ask_for_offer(&mut self, now: Instant, call: CallHandle) -> Result<(), CallError> {
        self.wish(now, call, Asking { sdp: String::new(), by_user: true })
    }

    fn wish(&mut self, now: Instant, call: CallHandle, asking: Asking) -> Result<(), CallError> {
        match self.calls.get(&call.0) {
            Some(Call::Live(Live { exchange: Exchange::Quiet, again: None, .. })) => {
                self.ask(now, call.0, asking);
                Ok(())
            }
            Some(Call::Live(_)) => Err(CallError::Busy),
            Some(_) => Err(CallError::NotAnswered),
            None => Err(CallError::NoSuchCall),
        }
    }

    /// Sends a re-INVITE, or an UPDATE where only the session is to be refreshed.
    pub(super) fn ask(&mut self, now: Instant, id: u64, asking: Asking) {
        let Some(Call::Live(live)) = self.calls.get_mut(&id) else { return };
        let (beat, sdp) = (live.beat, asking.sdp.clone());
        let refresh = sdp.is_empty() && !asking.is_late();
        live.exchange = Exchange::Asking(asking);
        let (method, errand) =
            if refresh { (Method::Update, Errand::Update) } else { (Method::Invite, Errand::Reinvite) };
        let mut headers = vec![(Name::Allow, ALLOW.to_owned()), (Name::Supported, SUPPORTED.to_owned())];
        headers.extend(self.session_headers(beat, None));
        let body = Some((body::ACCEPT, sdp.as_bytes())).filter(|(_, sdp)| !sdp.is_empty());
        self.send_inside(now, id, (method, errand), &headers, body);
    }

    /// Sends a request inside an answered call.
    pub(super) fn send_inside(
        &mut self,
        now: Instant,
        id: u64,
        (method, errand): (Method, Errand),
        headers: &[(Name, String)],
        body: Option<(&str, &[u8])>,
    ) {
        let branch = self.random.branch();
        let dialog = match self.calls.get_mut(&id) {
            Some(Call::Live(live)) => &mut live.dialog,
            Some(Call::Leaving(leaving)) => &mut leaving.dialog,
            _ => return,
        };
        let (mut printer, flow) = dialog.request(method.as_str(), &branch);
        let uri = dialog.request_uri();
        if matches!(method, Method::Invite | Method::Update | Method::Refer | Method::Notify) {
            printer.header(Name::Contact, self.contact(&flow));
        }
        for (name, value) in headers {
            printer.header(*name, value);
        }
        if let Some((name, value)) = self.authorize(id, method.as_str(), &uri) {
            printer.header(name, value);
        }
        if let Some(agent) = &self.config.user_agent {
            printer.header(Name::UserAgent, agent);
        }
        let bytes = match body {
            Some((kind, body)) => printer.finish_with(kind, body),
            None => printer.finish(),
        };
        let client = self.fresh_id();
        let mut machine = match method {
            Method::Invite => Client::invite(now, &mut self.out, client, flow, &branch, bytes),
            _ => Client::other(now, &mut self.out, client, flow, (&branch, method.as_str(), errand), bytes),
        };
        machine.errand = errand;
        self.open_client(client, machine, Some(id));
    }

    /// The final answer to our re-INVITE or UPDATE, its ACK already sent.
    pub(super) fn handle_change_answer(&mut self, now: Instant, client: u64, id: u64, response: &Message) {
        let status = response.status().unwrap_or(500);
        let Some(Call::Live(live)) = self.calls.get_mut(&id) else { return };
        let Exchange::Asking(asking) = &live.exchange else { return };
        let asking = asking.clone();
        if status == 422
            && let Some(floor) = min_se(response).filter(|_| self.clients.get(&client).is_some_and(|c| c.tries < 2))
        {
            let changes = vec![(Name::SessionExpires, floor.to_string()), (Name::MinSe, floor.to_string())];
            self.again(now, client, None, changes);
            return;
        }
        live.exchange = Exchange::Quiet;
        match status {
            200..300 => {
                live.dialog.refresh(response);
                if !asking.sdp.is_empty() {
                    live.local.clone_from(&asking.sdp);
                }
                let beat = self.granted(response);
                self.keep(now, id, beat);
                match body::answer(response) {
                    Some(sdp) => self.events.push_back(Event::Changed { call: CallHandle(id), sdp }),
                    None if asking.by_user => {
                        self.events.push_back(Event::ChangeRefused { call: CallHandle(id), status: 488 });
                    }
                    None => {}
                }
            }
            491 => {
                // RFC 3261 §14.1: the owner of the Call-ID waits longer, so that they do not meet again.
                let (least, most) = if live.ours { (2100, 4000) } else { (0, 2000) };
                live.again = Some(asking);
                let time = least + self.random.next() % (most - least + 1) / 10 * 10;
                self.out.timers.start_for(now, Owner::Call(id), Timer::Glare, Duration::from_millis(time));
            }
            408 | 481 => self.lost(now, id),
            status if asking.by_user => {
                self.events.push_back(Event::ChangeRefused { call: CallHandle(id), status });
            }
            // A refresh that was refused is tried again; if nothing helps the session expires.
            _ => self.out.timers.start_for(now, Owner::Call(id), Timer::Refresh, Duration::from_secs(10)),
        }
    }

    /// RFC 3261 §12.2.1.2: no answer, or 481, to a request inside a call means that the other side is gone.
    pub(super) fn lost(&mut self, now: Instant, id: u64) {
        if matches!(self.calls.get(&id), Some(Call::Live(_))) {
            self.tell_end(id, Cause::Timeout);
            self.leave(now, id);
        }
    }

    /// The wait after a glare is over.
    pub(super) fn ask_again(&mut self, now: Instant, id: u64) {
        let Some(Call::Live(live)) = self.calls.get_mut(&id) else { return };
        if !matches!(live.exchange, Exchange::Quiet) {
            return self.out.timers.start_for(now, Owner::Call(id), Timer::Glare, Duration::from_secs(1));
        }
        if let Some(asking) = live.again.take() {
            self.ask(now, id, asking);
        }
    }

    /// Whether an offer of the peer can be looked at now (RFC 3261 §14.2, RFC 3311 §5.2).
    fn room(&mut self, id: u64, arrival: &Arrival) -> bool {
        let Some(Call::Live(live)) = self.calls.get(&id) else { return false };
        let refusal = match live.exchange {
            Exchange::Quiet => return true,
            // His own earlier offer is not answered yet.
            Exchange::Asked { .. } => {
                let seconds = u32::try_from(self.random.next() % 10).unwrap_or(0) + 1;
                Refusal::because(500, "Offer Pending").with_retry_after(seconds)
            }
            Exchange::Accepted(_) | Exchange::Asking(_) | Exchange::Offered { .. } => Refusal::new(491),
        };
        self.refuse(arrival, &refusal.into());
        false
    }

    pub(super) fn handle_reinvite(&mut self, now: Instant, id: u64, arrival: Arrival) {
        if !self.room(id, &arrival) {
            return;
        }
        if let Some(refused) = self.too_brief(&arrival.message) {
            return self.refuse(&arrival, &refused);
        }
        let sdp = match body::description(&arrival.message) {
            Ok(sdp) => sdp,
            Err(refused) => return self.refuse(&arrival, &refused),
        };
        let Some(server) = self.open_asked(id, &arrival) else { return };
        let bytes = arrival.answer(100, "Trying", None, false).finish();
        self.respond(now, server, 100, bytes);
        self.asked(id, server, arrival, sdp);
    }

    pub(super) fn handle_update(&mut self, now: Instant, id: u64, arrival: Arrival) {
        if let Some(refused) = self.too_brief(&arrival.message) {
            return self.refuse(&arrival, &refused);
        }
        let sdp = match body::description(&arrival.message) {
            Ok(sdp) => sdp,
            Err(refused) => return self.refuse(&arrival, &refused),
        };
        if sdp.is_some() && !self.room(id, &arrival) {
            return;
        }
        let Some(server) = self.open_asked(id, &arrival) else { return };
        if sdp.is_some() {
            return self.asked(id, server, arrival, sdp);
        }
        if let Some(Call::Live(live)) = self.calls.get_mut(&id) {
            live.dialog.refresh(&arrival.message);
        }
        self.agree_update(now, id, server, &arrival, None);
    }

    /// An UPDATE before the call is answered: without an offer it is only a sign of life (RFC 3311 §5.2).
    pub(super) fn handle_early_update(&mut self, now: Instant, arrival: &Arrival) {
        match body::description(&arrival.message) {
            Ok(None) => self.say_ok(now, arrival),
            Ok(Some(_)) => {
                self.refuse(arrival, &Refusal::because(500, "Offer Pending").with_retry_after(2).into());
            }
            Err(refused) => self.refuse(arrival, &refused),
        }
    }

    /// The 200 of an UPDATE; it needs no ACK.
    pub(super) fn agree_update(&mut self, now: Instant, id: u64, server: u64, arrival: &Arrival, sdp: Option<&str>) {
        let beat = self.grant(&arrival.message);
        let mut printer = arrival.answer(200, "OK", None, false);
        printer.header(Name::Contact, self.contact(&arrival.from)).header(Name::Allow, ALLOW);
        Self::print_grant(&mut printer, beat);
        self.decorate(&mut printer);
        let bytes = match sdp {
            Some(sdp) => printer.finish_with(body::ACCEPT, sdp.as_bytes()),
            None => printer.finish(),
        };
        self.respond(now, server, 200, bytes);
        self.keep(now, id, beat);
    }

    fn open_asked(&mut self, id: u64, arrival: &Arrival) -> Option<u64> {
        let Some(Call::Live(live)) = self.calls.get(&id) else { return None };
        let tag = live.tag.clone();
        self.open_server(arrival, Some(id), &tag)
    }

    fn asked(&mut self, id: u64, server: u64, arrival: Arrival, sdp: Option<crate::sdp::Sdp>) {
        if let Some(Call::Live(live)) = self.calls.get_mut(&id) {
            live.exchange = Exchange::Asked { server, late: sdp.is_none(), invite: arrival };
        }
        self.events.push_back(Event::Reinvite { call: CallHandle(id), sdp });
    }
}
