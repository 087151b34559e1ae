//! Transfers: REFER and its NOTIFYs in both roles, Replaces, and keys sent by INFO (RFC 3515, 4488, 3891, 6086).

use std::time::Instant;

use super::Endpoint;
use super::arrival::Arrival;
use super::call::{Call, Live, Referral};
use super::guard::Refused;
use crate::event::{CallError, CallHandle, Event, Refer};
use crate::message::{Message, Method, Name, NameAddr, Params, Uri, escaped, trim};
use crate::refusal::{Refusal, phrase};
use crate::transaction::Errand;

const SIPFRAG: &str = "message/sipfrag";

/// The status in a NOTIFY's body (RFC 3420): a status line, perhaps with more behind it.
fn sipfrag(message: &Message) -> Option<u16> {
    let line = message.body().split(|byte| *byte == b'\n').next()?;
    let digits = line.strip_prefix(b"SIP/2.0 ")?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|status| (100..700).contains(status))
}

fn referral(request: &Message) -> Result<Refer, Refused> {
    let mut targets = request.elements(Name::ReferTo);
    let (Some(target), None) = (targets.next(), targets.next()) else {
        return Err(Refusal::because(400, "One Refer-To Wanted").into());
    };
    let to = NameAddr::parse(target).map_err(|_| Refusal::because(400, "Malformed Refer-To"))?;
    if to.uri.param("method").is_some_and(|method| !method.eq_ignore_ascii_case("INVITE")) {
        return Err(Refusal::because(501, "Only INVITE Can Be Referred").into());
    }
    let replaces = to.uri.header("Replaces");
    let to = NameAddr { uri: to.uri.bare(), ..to };
    let referred_by = request.header(Name::ReferredBy).and_then(|value| NameAddr::parse(value).ok());
    Ok(Refer { to, referred_by, replaces })
}

impl Endpoint {
    pub(super) fn handle_refer(&mut self, now: Instant, id: u64, arrival: Arrival) {
        let request = &arrival.message;
        let refer = match referral(request) {
            Ok(refer) => refer,
            Err(refused) => return self.refuse(&arrival, &refused),
        };
        let busy = matches!(self.calls.get(&id), Some(Call::Live(Live { refer: Some(_), .. })));
        if busy {
            return self.refuse(&arrival, &Refusal::new(491).into());
        }
        let silent = request.header(Name::ReferSub).is_some_and(|value| value.eq_ignore_ascii_case(b"false"));
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let Some(server) = self.open_server(&arrival, Some(id), "") else { return };
        let bytes = arrival.answer(100, phrase(100), None, false).finish();
        self.respond(now, server, 100, bytes);
        if let Some(Call::Live(live)) = self.calls.get_mut(&id) {
            live.refer = Some(Referral { id: number, asked: Some((server, arrival)), silent });
        }
        self.events.push_back(Event::Refer { call: CallHandle(id), refer: Box::new(refer) });
    }

    /// Takes a REFER on: 202, and a NOTIFY that says so. `refer_progress` tells the rest.
    ///
    /// # Errors
    /// [`CallError::NothingToAnswer`] when none waits.
    pub fn accept_refer(&mut self, now: Instant, call: CallHandle) -> Result<(), CallError> {
        let (server, arrival) = self.take_refer(call)?;
        let Some(Call::Live(live)) = self.calls.get(&call.0) else { return Err(CallError::NoSuchCall) };
        let silent = live.refer.as_ref().is_some_and(|refer| refer.silent);
        let mut printer = arrival.answer(202, phrase(202), None, false);
        printer.header(Name::Contact, self.contact(&arrival.from));
        if silent {
            printer.header(Name::ReferSub, "false");
        }
        self.decorate(&mut printer);
        self.respond(now, server, 202, printer.finish());
        self.refer_progress(now, call, 100);
        Ok(())
    }

    /// Declines a REFER.
    ///
    /// # Errors
    /// [`CallError::NothingToAnswer`] when none waits.
    pub fn refuse_refer(&mut self, now: Instant, call: CallHandle, refusal: Refusal) -> Result<(), CallError> {
        let (server, arrival) = self.take_refer(call)?;
        if let Some(Call::Live(live)) = self.calls.get_mut(&call.0) {
            live.refer = None;
        }
        self.respond_refusal(now, server, &arrival, None, &refusal.into());
        Ok(())
    }

    fn take_refer(&mut self, call: CallHandle) -> Result<(u64, Arrival), CallError> {
        let Some(Call::Live(live)) = self.calls.get_mut(&call.0) else { return Err(CallError::NoSuchCall) };
        live.refer.as_mut().and_then(|refer| refer.asked.take()).ok_or(CallError::NothingToAnswer)
    }

    /// Tells the one who asked for a transfer what the target says; a final status ends the story.
    pub fn refer_progress(&mut self, now: Instant, call: CallHandle, status: u16) {
        let Some(Call::Live(live)) = self.calls.get_mut(&call.0) else { return };
        let Some(refer) = live.refer.as_ref().filter(|refer| refer.asked.is_none()) else { return };
        let (id, silent, over) = (refer.id, refer.silent, status >= 200);
        if over {
            live.refer = None;
        }
        if silent {
            return;
        }
        let state = if over { "terminated;reason=noresource" } else { "active;expires=180" };
        let headers = [(Name::Event, format!("refer;id={id}")), (Name::SubscriptionState, state.to_owned())];
        let body = format!("SIP/2.0 {status} {}\r\n", phrase(status));
        let kind = format!("{SIPFRAG};version=2.0");
        self.send_inside(now, call.0, (Method::Notify, Errand::Notify), &headers, Some((&kind, body.as_bytes())));
    }

    /// Asks the peer to call somebody else; `replaces` names a call of his target, as [`Endpoint::replaces`] gives it.
    ///
    /// # Errors
    /// [`CallError::Busy`] while another transfer is under way.
    pub fn refer(&mut self, now: Instant, call: CallHandle, to: &Uri, replaces: Option<&str>) -> Result<(), CallError> {
        let live = match self.calls.get_mut(&call.0) {
            Some(Call::Live(live)) => live,
            Some(_) => return Err(CallError::NotAnswered),
            None => return Err(CallError::NoSuchCall),
        };
        if std::mem::replace(&mut live.transfer, true) {
            return Err(CallError::Busy);
        }
        let replaces = replaces.map_or(String::new(), |replaces| format!("?Replaces={}", escaped(replaces)));
        let headers = [
            (Name::ReferTo, format!("<{to}{replaces}>")),
            (Name::ReferredBy, format!("<{}>", live.dialog.local_uri())),
        ];
        self.send_inside(now, call.0, (Method::Refer, Errand::Refer), &headers, None);
        Ok(())
    }

    /// The Replaces value that names this call at its peer (RFC 3891 §6.1).
    pub fn replaces(&self, call: CallHandle) -> Option<String> {
        let Some(Call::Live(live)) = self.calls.get(&call.0) else { return None };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (call_id, theirs) = (text(&live.dialog.call_id), text(&live.dialog.remote_tag));
        Some(format!("{call_id};to-tag={theirs};from-tag={}", live.dialog.local_tag()))
    }

    /// The call that a Replaces header means, or why it means none (RFC 3891 §3).
    pub(super) fn replaced(&self, request: &Message) -> Result<Option<u64>, Refused> {
        let mut values = request.headers(Name::Replaces);
        let Some(value) = values.next() else { return Ok(None) };
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        let (call_id, params) = (trim(&value[..end]), Params(&value[end..]));
        let (Some(ours), Some(theirs), None) = (params.get("to-tag"), params.get("from-tag"), values.next()) else {
            return Err(Refusal::because(400, "Malformed Replaces").into());
        };
        let id = self.tags.get(ours).copied();
        match id.and_then(|id| self.calls.get(&id)) {
            Some(Call::Live(live)) if live.dialog.call_id == call_id && live.dialog.remote_tag == theirs => {
                // RFC 3891 §3: it wanted a call that is not answered yet, and this one is.
                if params.get("early-only").is_some() { Err(Refusal::new(486).into()) } else { Ok(id) }
            }
            _ => Err(Refusal::new(481).into()),
        }
    }

    pub(super) fn handle_refer_answer(&mut self, now: Instant, id: u64, status: u16) {
        let Some(Call::Live(live)) = self.calls.get_mut(&id) else { return };
        let accepted = status < 300;
        live.transfer = accepted;
        let status = if accepted { 100 } else { status };
        self.events.push_back(Event::Transfer { call: CallHandle(id), status, over: !accepted });
        if status == 481 {
            self.lost(now, id);
        }
    }

    pub(super) fn handle_notify(&mut self, now: Instant, id: u64, arrival: &Arrival) {
        let request = &arrival.message;
        let event = request.text(Name::Event).unwrap_or_default().into_owned();
        let package = event.split(';').next().unwrap_or_default().trim();
        if !package.eq_ignore_ascii_case("refer") {
            return self.refuse(arrival, &Refused::with(Refusal::new(489), Name::AllowEvents, "refer"));
        }
        let Some(Call::Live(live)) = self.calls.get_mut(&id) else { return };
        if !live.transfer {
            return self.refuse(arrival, &Refusal::new(481).into());
        }
        let state = request.header(Name::SubscriptionState).unwrap_or_default().to_ascii_lowercase();
        let status = sipfrag(request);
        let over = state.starts_with(b"terminated") || status.is_some_and(|status| status >= 200);
        live.transfer = !over;
        self.say_ok(now, arrival);
        let status = status.unwrap_or(if over { 500 } else { 100 });
        self.events.push_back(Event::Transfer { call: CallHandle(id), status, over });
    }

    /// Sends one key by INFO, for a peer that takes no RFC 4733 events.
    ///
    /// # Errors
    /// [`CallError::NotAnswered`] before the answer; a key that is none is [`CallError::NothingToAnswer`].
    pub fn send_key(&mut self, now: Instant, call: CallHandle, key: char, duration_ms: u32) -> Result<(), CallError> {
        if !key.is_ascii_digit() && !matches!(key, '*' | '#' | 'A'..='D') {
            return Err(CallError::NothingToAnswer);
        }
        match self.calls.get(&call.0) {
            Some(Call::Live(_)) => {}
            Some(_) => return Err(CallError::NotAnswered),
            None => return Err(CallError::NoSuchCall),
        }
        let body = format!("Signal={key}\r\nDuration={duration_ms}\r\n");
        let body = Some(("application/dtmf-relay", body.as_bytes()));
        self.send_inside(now, call.0, (Method::Info, Errand::Info), &[], body);
        Ok(())
    }
}
