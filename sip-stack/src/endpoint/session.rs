//! Session timers (RFC 4028): both sides agree who proves that he still lives, and how often.

use std::time::{Duration, Instant};

use super::Endpoint;
use super::call::{Asking, Call, Exchange, Live};
use super::guard::Refused;
use crate::event::Cause;
use crate::message::{Message, Name, Params, Printer, trim};
use crate::refusal::Refusal;
use crate::timer::{Owner, Timer};

/// How a session is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beat {
    /// Seconds after which a session that nobody refreshed is over.
    pub(super) interval: u32,
    /// We refresh.
    pub(super) ours: bool,
}

/// The interval of a Session-Expires header, and whether its refresher is the client of that transaction.
fn wanted(message: &Message) -> Option<(u32, Option<bool>)> {
    let value = message.header(Name::SessionExpires)?;
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    let interval = std::str::from_utf8(trim(&value[..end])).ok()?.parse().ok()?;
    let refresher = match Params(&value[end..]).get("refresher") {
        Some(role) if role.eq_ignore_ascii_case(b"uac") => Some(true),
        Some(role) if role.eq_ignore_ascii_case(b"uas") => Some(false),
        _ => None,
    };
    Some((interval, refresher))
}

pub(super) fn supports(message: &Message, extension: &str) -> bool {
    [Name::Supported, Name::Require]
        .into_iter()
        .flat_map(|name| message.elements(name))
        .any(|element| element.eq_ignore_ascii_case(extension.as_bytes()))
}

/// True when the peer's Allow names the method.
pub(super) fn allows(message: &Message, method: &str) -> bool {
    message.elements(Name::Allow).any(|element| element == method.as_bytes())
}

/// Min-SE, parameters left out.
pub(super) fn min_se(message: &Message) -> Option<u32> {
    let value = message.header(Name::MinSe)?;
    let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
    std::str::from_utf8(trim(&value[..end])).ok()?.parse().ok()
}

impl Endpoint {
    fn seconds(&self) -> u32 {
        u32::try_from(self.config.session_expires.as_secs()).unwrap_or(u32::MAX)
    }

    fn floor(&self) -> u32 {
        u32::try_from(self.config.min_se.as_secs()).unwrap_or(u32::MAX)
    }

    /// RFC 4028 §9: an interval below ours is refused, if the peer understands the refusal.
    pub(super) fn too_brief(&self, request: &Message) -> Option<Refused> {
        let (interval, _) = wanted(request)?;
        let brief = interval < self.floor() && supports(request, "timer");
        brief.then(|| Refused::with(Refusal::new(422), Name::MinSe, self.floor().to_string()))
    }

    /// What our 2xx to this request grants (RFC 4028 §9, table 2).
    pub(super) fn grant(&self, request: &Message) -> Option<Beat> {
        let theirs = supports(request, "timer");
        let floor = self.floor().max(min_se(request).unwrap_or(0));
        match wanted(request) {
            Some((interval, refresher)) => {
                let ceiling = if self.seconds() == 0 { interval } else { self.seconds() };
                let by_them = if theirs { refresher.unwrap_or(true) } else { false };
                Some(Beat { interval: interval.min(ceiling).max(floor), ours: !by_them })
            }
            None if self.seconds() > 0 => Some(Beat { interval: self.seconds().max(floor), ours: true }),
            None => None,
        }
    }

    /// Says in a 2xx what was granted.
    pub(super) fn print_grant(printer: &mut Printer, beat: Option<Beat>) {
        let Some(beat) = beat else { return };
        let role = if beat.ours { "uas" } else { "uac" };
        printer.header(Name::SessionExpires, format!("{};refresher={role}", beat.interval));
        if !beat.ours {
            printer.header(Name::Require, "timer");
        }
    }

    /// What a request of ours asks for.
    pub(super) fn session_headers(&self, beat: Option<Beat>, wished: Option<Duration>) -> Vec<(Name, String)> {
        let wished = wished.map_or(self.seconds(), |wished| u32::try_from(wished.as_secs()).unwrap_or(u32::MAX));
        let interval = match beat {
            Some(beat) => beat.interval,
            None if wished > 0 => wished.max(self.floor()),
            None => return Vec::new(),
        };
        // A refresher keeps his role; the first INVITE leaves the choice open (RFC 4028 §7.1, §7.4).
        let role = beat.map_or("", |beat| if beat.ours { ";refresher=uac" } else { ";refresher=uas" });
        vec![(Name::SessionExpires, format!("{interval}{role}")), (Name::MinSe, self.floor().to_string())]
    }

    /// What the peer's 2xx grants us; nothing means that the session has no timer.
    pub(super) fn granted(&self, answer: &Message) -> Option<Beat> {
        let (interval, refresher) = wanted(answer)?;
        Some(Beat { interval: interval.max(1), ours: refresher.unwrap_or(true) })
    }

    /// Begins the interval anew after each 2xx (RFC 4028 §10).
    pub(super) fn keep(&mut self, now: Instant, id: u64, beat: Option<Beat>) {
        self.out.timers.stop_each(Owner::Call(id), &[Timer::Refresh, Timer::Expired]);
        if let Some(Call::Live(live)) = self.calls.get_mut(&id) {
            live.beat = beat;
        }
        let Some(beat) = beat else { return };
        let interval = Duration::from_secs(u64::from(beat.interval));
        let margin = (interval / 3).min(Duration::from_secs(32));
        if beat.ours {
            self.out.timers.start_for(now, Owner::Call(id), Timer::Refresh, interval / 2);
        }
        self.out.timers.start_for(now, Owner::Call(id), Timer::Expired, interval - margin);
    }

    /// Half the interval is over and it is our turn.
    pub(super) fn refresh(&mut self, now: Instant, id: u64) {
        let Some(Call::Live(live)) = self.calls.get(&id) else { return };
        if !matches!(live.exchange, Exchange::Quiet) {
            // An exchange under way refreshes as well, or fails and ends the call; look again soon.
            return self.out.timers.start_for(now, Owner::Call(id), Timer::Refresh, Duration::from_secs(5));
        }
        let sdp = if live.updates { String::new() } else { live.local.clone() };
        self.ask(now, id, Asking { sdp, by_user: false });
    }

    pub(super) fn expire(&mut self, now: Instant, id: u64) {
        let Some(Call::Live(Live { exchange, .. })) = self.calls.get(&id) else { return };
        let told = matches!(exchange, Exchange::Accepted(accepted) if accepted.hang_up);
        if !told {
            self.tell_end(id, Cause::Expired);
        }
        self.leave(now, id);
    }
}
