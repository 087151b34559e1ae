//! The media of two joined legs goes past us while both trunks allow it and nobody here needs it, and comes back when somebody does.
//!
//! The caller is asked for an offer, the other side gets it, and its answer goes to the caller in the ACK (RFC 3725 §4.1): until that ACK
//! nothing has changed for the caller, so whatever goes wrong before, it is answered with our own place and the bridge goes on. To take
//! the media back both are offered our own place. Whose media is elsewhere sends us nothing, and is not missed: his session timer watches.

use std::net::SocketAddr;
use std::time::Duration;

use control_api::Entry;
use domain::EndedReason;
use domain::event::Name;
use media_core::Dial;
use serde_json::json;
use sip_stack::offer::{self, Keys, relay};
use sip_stack::{CallHandle, Direction, Plan, Sdp};
use tokio::time::Instant;

use super::party::{Far, Media, Party};
use super::session::Session;
use super::steer::Grip;

/// How often it is looked who needs the media.
const LOOK: Duration = Duration::from_millis(500);
/// What two who were just joined have for themselves before.
const SETTLE: Duration = Duration::from_millis(500);
/// How long it stays here at least when it came back.
const REST: Duration = Duration::from_secs(5);
/// The other side takes no longer to answer the caller's offer, two offers that meet included.
const PATIENCE: Duration = Duration::from_secs(8);
/// When a refusal to send here again is questioned, and how often.
const AGAIN: Duration = Duration::from_secs(2);
const TRIES: u8 = 3;
/// How often the media of one bridge is released: a peer that answers each change with one of its own must not go on for ever.
const RELEASES: u8 = 3;
/// Keys that wait for the media to come back.
const PRESSES: usize = 16;

/// The course of a call's media.
pub(super) struct Course {
    /// The caller's trunk allows it to go past us, and nothing is recorded.
    allowed: bool,
    /// The other one's, too, and the two are joined.
    both: bool,
    /// How often it may still be released.
    left: u8,
    caller: Caller,
    /// Why it comes back, until it has.
    returning: Option<&'static str>,
    presses: Vec<Dial>,
    look: Option<Instant>,
}

/// Where the caller's media is.
enum Caller {
    Here,
    /// It was asked for an offer.
    Asked,
    /// The other side has its offer, and so long to answer.
    Offers(Box<Sdp>, Instant),
    /// Elsewhere; the caller takes it there.
    Past(SocketAddr),
    /// Elsewhere, until it is asked again to send here.
    Due(u8, Instant),
    /// Elsewhere; it was asked to send here.
    Called(u8),
}

impl Course {
    pub(super) fn new(allowed: bool) -> Self {
        let (both, left, caller) = (false, RELEASES, Caller::Here);
        Self { allowed, both, left, caller, returning: None, presses: Vec::new(), look: None }
    }

    /// The caller is joined to somebody.
    pub(super) fn joined(&mut self, theirs: bool) {
        (self.both, self.left) = (self.allowed && theirs, RELEASES);
        self.look = self.both.then(|| Instant::now() + SETTLE);
    }

    /// Media goes past us, and nobody has asked for it.
    fn is_past(&self) -> bool {
        matches!(self.caller, Caller::Past(_))
    }

    /// What is sent from here does not reach the caller.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self.caller, Caller::Past(_) | Caller::Due(..) | Caller::Called(_))
    }

    /// When it is to be looked at next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.look
    }

    fn is_here(&self) -> bool {
        matches!(self.caller, Caller::Here)
    }
}

impl Grip {
    fn party(&mut self) -> Option<&mut Party> {
        self.transfer.as_mut().and_then(|transfer| transfer.joined())
    }
}

impl Session {
    /// Looks who needs the media, and does what is due; the reason when the call cannot go on.
    pub(super) async fn look_at_media(&mut self, grip: &mut Grip) -> Option<EndedReason> {
        let now = Instant::now();
        if grip.party().is_none() {
            grip.course.both = false;
        }
        let free = self.may_release(grip);
        match grip.course.caller {
            Caller::Here if free => {
                grip.course.left -= 1;
                if self.desk.sip.ask_for_offer(self.call).await.is_ok() {
                    grip.course.caller = Caller::Asked;
                }
            }
            Caller::Offers(_, until) if now >= until => self.stay_here(grip).await,
            Caller::Past(_) => {
                if let Some(why) = self.needs_media(grip) {
                    self.fetch_media(grip, why).await;
                }
            }
            Caller::Due(tries, _) if tries >= TRIES => {
                tracing::warn!(call_id = %self.seat.id, "the caller does not send its media here again");
                return Some(EndedReason::CodecMismatch);
            }
            Caller::Due(tries, at) if now >= at => self.call_home(grip, tries).await,
            _ => {}
        }
        if let Some(party) = grip.party() {
            party.call_again().await;
        }
        let watched = grip.course.both || !grip.course.is_here() || grip.course.returning.is_some();
        // What was done here may have chosen a later time.
        let next = grip.course.look.filter(|look| *look > now).unwrap_or(now + LOOK);
        grip.course.look = watched.then_some(next);
        None
    }

    /// Why the media is needed here.
    fn needs_media(&self, grip: &Grip) -> Option<&'static str> {
        let listeners = self.heard.as_ref().and_then(|heard| heard.upgrade()).map_or(0, |heard| heard.receiver_count());
        match () {
            () if listeners > 0 => Some("listen"),
            () if self.held => Some("hold"),
            () if grip.muted.contains(&true) => Some("mute"),
            () if !grip.course.presses.is_empty() => Some("keys"),
            () => None,
        }
    }

    fn may_release(&self, grip: &mut Grip) -> bool {
        let free = grip.course.both && grip.course.left > 0 && !grip.gone && self.needs_media(grip).is_none();
        // Who speaks from another place than he says is behind a NAT: nobody else would find him.
        let ours = is_plain(&grip.plan) && !grip.control.stats().displaced;
        let theirs = grip.party().is_some_and(|party| {
            party.releases && party.far == Far::Here && is_plain(&party.plan) && !party.control.stats().displaced
        });
        free && ours && theirs
    }

    /// The caller has made its offer: it goes to whom the caller is joined to.
    pub(super) async fn offered(&mut self, sdp: Sdp, grip: &mut Grip) {
        // With one stream only: our own offers, by which it comes back, have no more.
        let wanted =
            matches!(grip.course.caller, Caller::Asked) && sdp.media.len() == 1 && self.needs_media(grip).is_none();
        let place = relay::place(&sdp).filter(|place| wanted && is_same_host(*place, &grip.plan));
        let passed = match (grip.party(), place) {
            (Some(party), Some(place)) if party.reach.permits(place.ip()) => party.pass_on(&sdp).await,
            _ => false,
        };
        grip.course.caller = Caller::Offers(Box::new(sdp), Instant::now() + PATIENCE);
        if !passed {
            self.stay_here(grip).await;
        }
    }

    /// The caller's offer is answered with our own place, and the bridge goes on; it is not asked again.
    async fn stay_here(&mut self, grip: &mut Grip) {
        let Caller::Offers(sdp, _) = std::mem::replace(&mut grip.course.caller, Caller::Here) else { return };
        grip.course.left = 0;
        grip.ability.version += 1;
        match offer::answer(&sdp, &grip.ability) {
            Ok((answer, plan)) => {
                let _ = self.desk.sip.acknowledge(self.call, answer).await;
                self.agreed(plan, grip);
            }
            // It has nothing any more that we could take: the ACK goes out without an answer, and a BYE behind it.
            Err(_) => self.desk.sip.end(self.call),
        }
        self.settle(grip);
    }

    /// What the other side says of its media.
    pub(super) async fn party_media(&mut self, media: Media, grip: &mut Grip) {
        match media {
            Media::Accepted(answer) => self.join(&answer, grip).await,
            Media::Declined => self.stay_here(grip).await,
            Media::Moved => self.fetch_media(grip, "moved").await,
            Media::Here(why) => {
                if grip.course.is_past() {
                    grip.course.returning = Some(why);
                    self.call_home(grip, 0).await;
                }
                self.settle(grip);
            }
        }
    }

    /// The other side has taken the caller's offer: its answer makes the way free.
    async fn join(&mut self, answer: &Sdp, grip: &mut Grip) {
        let known = |party: &mut Party| relay::place(answer).filter(|place| is_same_host(*place, &party.plan));
        let place = grip.party().and_then(known);
        let text = match (&grip.course.caller, place) {
            (Caller::Offers(asked, _), Some(place)) if grip.reach.permits(place.ip()) => {
                grip.ability.version += 1;
                relay::answer(asked, answer, &grip.ability).zip(relay::place(asked))
            }
            _ => None,
        };
        let Some((text, place)) = text else {
            // Too late, or not what the caller offered.
            if let Some(party) = grip.party() {
                party.call_home().await;
            }
            return self.stay_here(grip).await;
        };
        // It fails only when the call has ended.
        let _ = self.desk.sip.acknowledge(self.call, text).await;
        grip.course.caller = Caller::Past(place);
        grip.control.update(grip.reach.nowhere(&grip.plan, Direction::Inactive));
        if let Some(party) = grip.party() {
            party.control.update(party.reach.nowhere(&party.plan, Direction::Inactive));
        }
        tracing::info!(call_id = %self.seat.id, "the media goes past us");
        self.tell_media(grip, Name::MediaReleased, None);
    }

    /// Takes the media back, if it is not here.
    pub(super) async fn fetch_media(&mut self, grip: &mut Grip, why: &'static str) {
        match grip.course.caller {
            Caller::Past(_) => {
                grip.course.returning = Some(why);
                self.call_home(grip, 0).await;
                if let Some(party) = grip.party() {
                    party.call_home().await;
                }
            }
            Caller::Offers(..) => self.stay_here(grip).await,
            // Whoever was asked for an offer is answered with our place.
            Caller::Here | Caller::Asked | Caller::Due(..) | Caller::Called(_) => {}
        }
    }

    /// Offers the caller our own place.
    async fn call_home(&mut self, grip: &mut Grip, tries: u8) {
        grip.ability.version += 1;
        let called = match offer::offer(&grip.ability) {
            Ok(text) => self.desk.sip.reinvite(self.call, text).await.is_ok(),
            Err(_) => false,
        };
        // Another offer may be under way.
        let soon = Instant::now() + LOOK;
        grip.course.caller = if called { Caller::Called(tries) } else { Caller::Due(tries, soon) };
        grip.course.look = Some(soon);
    }

    /// The caller's answer to an offer of ours, or one that came with a refresh of the session.
    pub(super) async fn answered_change(&mut self, sdp: &Sdp, grip: &mut Grip) {
        match grip.course.caller {
            Caller::Past(place) if relay::place(sdp) == Some(place) => return,
            Caller::Past(_) => return self.fetch_media(grip, "moved").await,
            Caller::Due(..) => return,
            Caller::Here | Caller::Asked | Caller::Offers(..) | Caller::Called(_) => {}
        }
        match (offer::accept(&grip.ability, sdp), &grip.course.caller) {
            (Ok(plan), caller) => {
                let called = matches!(caller, Caller::Called(_));
                self.agreed(plan, grip);
                if called {
                    grip.course.caller = Caller::Here;
                    self.settle(grip);
                }
            }
            (Err(_), Caller::Called(tries)) => grip.course.caller = Caller::Due(tries + 1, Instant::now() + AGAIN),
            (Err(_), _) => {}
        }
    }

    /// The caller refused a change of ours.
    pub(super) fn change_refused(&mut self, status: u16, grip: &mut Grip) {
        match grip.course.caller {
            Caller::Asked => {
                tracing::info!(call_id = %self.seat.id, status, "the caller makes no offer; its media stays here");
                (grip.course.caller, grip.course.left) = (Caller::Here, 0);
                self.settle(grip);
            }
            Caller::Called(tries) => grip.course.caller = Caller::Due(tries + 1, Instant::now() + AGAIN),
            _ => {}
        }
    }

    /// The caller made an offer and got our own place.
    pub(super) async fn came_home(&mut self, grip: &mut Grip, why: &'static str) {
        if grip.course.is_here() {
            return;
        }
        grip.course.caller = Caller::Here;
        grip.course.returning.get_or_insert(why);
        if let Some(party) = grip.party() {
            party.call_home().await;
        }
        self.settle(grip);
    }

    /// Says that the media is back once both have come, and does what waited for it.
    fn settle(&mut self, grip: &mut Grip) {
        let theirs = grip.party().is_none_or(|party| party.far == Far::Here);
        if !grip.course.is_here() || !theirs {
            return;
        }
        for dial in std::mem::take(&mut grip.course.presses) {
            grip.control.press(dial);
        }
        if let Some(why) = grip.course.returning.take() {
            tracing::info!(call_id = %self.seat.id, why, "the media comes here again");
            self.tell_media(grip, Name::MediaReturned, Some(why));
            grip.course.look = Some(Instant::now() + REST);
        }
    }

    fn tell_media(&self, grip: &Grip, name: Name, reason: Option<&str>) {
        let transfer = grip.transfer.as_ref().map(|transfer| transfer.id());
        let data = match reason {
            Some(reason) => json!({"transfer_id": transfer, "reason": reason}),
            None => json!({"transfer_id": transfer}),
        };
        self.write(Entry::Event { name, data });
    }

    /// Presses keys towards the caller, as soon as its media is here.
    pub(super) async fn press_here(&mut self, dial: Dial, grip: &mut Grip) {
        if grip.course.is_here() {
            return grip.control.press(dial);
        }
        if grip.course.presses.len() < PRESSES {
            grip.course.presses.push(dial);
        }
        self.fetch_media(grip, "keys").await;
    }

    /// Keys that one side sent by INFO go on to the other, whose media is not here, in the same way.
    pub(super) fn pass_by_info(&self, call: CallHandle, digits: String) {
        let sip = self.desk.sip.clone();
        tokio::spawn(async move {
            for key in digits.chars() {
                if sip.send_key(call, key, 100).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Nobody is told to send where only a description points, be it to a third party: the host is the one that media came from so far.
fn is_same_host(place: SocketAddr, plan: &Plan) -> bool {
    place.ip() == plan.remote.ip()
}

/// Both sides send, and nothing is encrypted with keys that only we have.
fn is_plain(plan: &Plan) -> bool {
    plan.keys == Keys::Plain && plan.direction == Direction::SendRecv
}
