//! Somebody to whom a call is handed over: rung up over a plan's gateways, then a leg of their own until one of us hangs up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use control_api::{MediaTerms, Plan, Release};
use domain::CallId;
use pipeline::herald::{Herald, Notice};
use pipeline::tts::TtsLink;
use pipeline::voice_thread::{Seat as VoiceSeat, Talk};
use sip_stack::offer::relay;
use sip_stack::{Ability, CallHandle, Cause, Event, Refusal, Sdp};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use wire::media::{LegControl, Ports};

use super::desk::Desk;
use super::line::Rings;
use super::{leg, outbound, ways};

/// One from whom nothing comes for so long is gone.
const RTP_TIMEOUT_MS: u32 = 30_000;
/// When a refusal to send here again is questioned, and how often.
const AGAIN: Duration = Duration::from_secs(2);
const TRIES: u8 = 3;

/// How ringing up goes on.
pub(super) enum Progress {
    /// It rings there.
    Ringing(u16),
    /// Somebody answered.
    Answered(Box<Party>),
    /// Nobody did: the status of the last gateway, and why in a word.
    Failed(Option<u16>, &'static str),
}

/// A telephone that is being rung up; dropping it stops that.
pub(super) struct Dialling {
    progress: UnboundedReceiver<Progress>,
    _cancel: oneshot::Sender<()>,
}

impl Dialling {
    pub(super) async fn next(&mut self) -> Progress {
        self.progress.recv().await.unwrap_or(Progress::Failed(None, "internal"))
    }
}

/// Whom to ring up.
pub(super) struct Wanted {
    /// The call this is done for.
    pub(super) id: CallId,
    pub(super) plan: Plan,
    pub(super) ports: Ports,
    pub(super) ring: Duration,
    /// The caller's address, if it is to be shown instead of ours.
    pub(super) shown: Option<String>,
    /// The call of theirs that this one is to replace (RFC 3891).
    pub(super) replaces: Option<String>,
    /// Said to them as soon as they answer.
    pub(super) words: Option<(String, TtsLink)>,
}

/// Rings somebody up.
pub(super) fn ring(desk: &Desk, wanted: Wanted) -> Dialling {
    let (tell, progress) = unbounded_channel();
    let (cancel, canceled) = oneshot::channel();
    tokio::spawn(place(desk.clone(), wanted, tell, canceled));
    Dialling { progress, _cancel: cancel }
}

async fn place(desk: Desk, wanted: Wanted, tell: UnboundedSender<Progress>, mut canceled: oneshot::Receiver<()>) {
    let Wanted { id, mut plan, ports, ring, mut shown, replaces, words } = wanted;
    if let Some(caller) = &shown {
        plan.pass_on(caller);
        shown = shown.filter(|caller| caller != "anonymous");
    }
    if let Some(refused) = ways::unfit(&plan) {
        let why = ways::why(&refused);
        tracing::warn!(call_id = %id, trunk = ?plan.trunk, why, "the trunk's media.srtp allows no plain call");
        let _ = tell.send(Progress::Failed(Some(refused.status), "codec_mismatch"));
        return;
    }
    let patience = tokio::time::Instant::now() + ring;
    let mut last = None;
    let hops = desk.by_health(plan.trunk, plan.hops.clone());
    let count = hops.len();
    for (n, hop) in hops.into_iter().enumerate() {
        let way = match ways::find(&desk, &hop, &ports, plan.media).await {
            Ok(way) => way,
            Err(error) => {
                tracing::warn!(call_id = %id, host = hop.host, error, "this gateway cannot be reached");
                desk.ban(&hop, Instant::now() + plan.ban);
                continue;
            }
        };
        let from = outbound::from(&plan, &hop, &way.ability, shown.as_deref());
        let more = replaces.as_ref().map(|value| ("Replaces".to_owned(), value.clone()));
        let (route, mut events) = unbounded_channel();
        let connect = {
            let desk = desk.clone();
            move |call| {
                desk.traces.name(call, id);
                desk.connect(call, route);
            }
        };
        let call = match way.invite(&desk, &plan, &hop, &from, more, connect).await {
            Ok(call) => call,
            Err(error) => {
                tracing::warn!(call_id = %id, host = hop.host, error, "the INVITE cannot leave");
                desk.ban(&hop, Instant::now() + plan.ban);
                continue;
            }
        };
        let (ability, reach) = (way.ability, way.reach);
        let mut silent = n + 1 < count;
        let silence = tokio::time::sleep(plan.next_after);
        tokio::pin!(silence);
        let cause = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Ringing { status, .. }) => {
                        silent = false;
                        let _ = tell.send(Progress::Ringing(status));
                    }
                    Some(Event::Answered { sdp, .. }) => {
                        let told = match Party::open(desk.clone(), call, events, (ability, reach, plan.media), ports, &sdp, words) {
                            Some(party) => Progress::Answered(Box::new(party)),
                            None => Progress::Failed(Some(488), "codec_mismatch"),
                        };
                        // Nobody waits any more: the party is dropped, which hangs up.
                        let _ = tell.send(told);
                        return;
                    }
                    Some(Event::Ended { cause, .. }) => break cause,
                    Some(_) => {}
                    None => break Cause::Timeout,
                },
                () = &mut silence, if silent => {
                    desk.sip.end(call);
                    break Cause::Timeout;
                }
                () = tokio::time::sleep_until(patience) => {
                    desk.sip.end(call);
                    let _ = tell.send(Progress::Failed(Some(408), "no_answer"));
                    return;
                }
                _ = &mut canceled => return desk.sip.end(call),
            }
        };
        let status = outbound::status_of(cause);
        last = Some(status);
        if n + 1 == count || !plan.next_on.contains(&status) {
            break;
        }
        desk.ban(&hop, Instant::now() + plan.ban);
    }
    let why = match last {
        Some(486 | 600) => "busy",
        Some(408 | 480 | 487) => "no_answer",
        Some(403 | 603 | 607 | 608) => "declined",
        Some(404 | 410 | 484 | 604) => "unknown_number",
        _ => "unreachable",
    };
    let _ = tell.send(Progress::Failed(last, why));
}

/// What a party does.
pub(super) enum Step {
    /// They have been told everything.
    Told,
    /// They pressed keys by signalling.
    Keys(String),
    /// Their media takes another course.
    Media(Media),
    /// They hung up, or are gone.
    HungUp,
}

/// What becomes of their media.
pub(super) enum Media {
    /// They take the caller's offer.
    Accepted(Sdp),
    /// They do not.
    Declined,
    /// They say that it is somewhere else now, while it goes past us.
    Moved,
    /// It is here again, and why.
    Here(&'static str),
}

/// Where their media is, and what they were asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Far {
    Here,
    /// They have the caller's offer.
    Asked,
    /// Elsewhere; they take it there.
    Past(SocketAddr),
    /// Elsewhere, until they are asked again to send here.
    Due(u8, tokio::time::Instant),
    /// Elsewhere; they were asked to send here.
    Called(u8),
}

/// Somebody who answered; dropping it hangs up.
pub(super) struct Party {
    desk: Desk,
    pub(super) call: CallHandle,
    pub(super) control: LegControl,
    pub(super) codec: &'static str,
    /// They are being told something first.
    pub(super) is_told: bool,
    events: UnboundedReceiver<Event>,
    notices: UnboundedReceiver<Notice>,
    ability: Ability,
    pub(super) reach: leg::Reach,
    /// What was agreed for the media that is here.
    pub(super) plan: sip_stack::Plan,
    /// Their trunk allows media to go past us.
    pub(super) releases: bool,
    pub(super) far: Far,
}

impl Party {
    fn open(
        desk: Desk,
        call: CallHandle,
        events: UnboundedReceiver<Event>,
        (ability, reach, media): (Ability, leg::Reach, MediaTerms),
        ports: Ports,
        sdp: &Sdp,
        words: Option<(String, TtsLink)>,
    ) -> Option<Self> {
        let plan = match sip_stack::offer::accept(&ability, sdp) {
            Ok(plan) => plan,
            Err(_) => {
                desk.sip.end(call);
                return None;
            }
        };
        let (line, control) = desk.media.open(ports, reach.config(&plan));
        let (tell, notices) = unbounded_channel();
        let is_told = words.is_some();
        let talk: Box<dyn Talk> = match words {
            Some((text, voice)) => Box::new(Herald::saying(&text, voice, tell)),
            None => Box::new(Herald::silent(tell)),
        };
        let line = Box::new(Rings::new(line));
        desk.voice.seat(VoiceSeat { talk, line, ear: None, tap: None, answered: Instant::now() });
        let codec = leg::codec_name(plan.codec);
        let (releases, far) = (media.release == Release::Allow, Far::Here);
        Some(Self { desk, call, control, codec, is_told, events, notices, ability, reach, plan, releases, far })
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(Event::Reinvite { sdp, .. }) => {
                        let here = self.far == Far::Here;
                        if self.renegotiate(sdp.as_ref()) && !here {
                            return Step::Media(Media::Here("reinvite"));
                        }
                    }
                    Some(Event::Established { sdp: Some(sdp), .. } | Event::Changed { sdp, .. }) => {
                        if let Some(media) = self.changed(sdp) {
                            return Step::Media(media);
                        }
                    }
                    Some(Event::ChangeRefused { .. }) => match self.far {
                        Far::Asked => {
                            self.far = Far::Here;
                            return Step::Media(Media::Declined);
                        }
                        Far::Called(tries) if tries >= TRIES => return Step::HungUp,
                        Far::Called(tries) => self.far = Far::Due(tries + 1, tokio::time::Instant::now() + AGAIN),
                        _ => {}
                    },
                    Some(Event::Info { digits, .. }) => return Step::Keys(digits),
                    // Whom we have called passes nobody on.
                    Some(Event::Refer { .. }) => self.desk.sip.refuse_refer(self.call, Refusal::new(603)),
                    Some(Event::Ended { .. }) | None => return Step::HungUp,
                    Some(_) => {}
                },
                notice = self.notices.recv() => match notice {
                    Some(Notice::Said) => return Step::Told,
                    Some(Notice::Silent { ms }) if ms < RTP_TIMEOUT_MS => {}
                    Some(Notice::Silent { .. } | Notice::Gone) | None => return Step::HungUp,
                },
            }
        }
    }

    /// Something else was agreed; the media is here.
    fn agree(&mut self, plan: sip_stack::Plan) {
        self.control.update(self.reach.config(&plan));
        (self.plan, self.far) = (plan, Far::Here);
    }

    /// Their answer to an offer of ours, or one that came with a refresh of the session.
    fn changed(&mut self, sdp: Sdp) -> Option<Media> {
        let place = relay::place(&sdp);
        match (self.far, sip_stack::offer::accept(&self.ability, &sdp)) {
            (Far::Here, Ok(plan)) => self.agree(plan),
            (Far::Called(_), Ok(plan)) => {
                self.agree(plan);
                return Some(Media::Here("called"));
            }
            (Far::Called(tries), Err(_)) => self.far = Far::Due(tries + 1, tokio::time::Instant::now() + AGAIN),
            (Far::Asked, _) => {
                self.far = Far::Past(place.unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0))));
                return Some(Media::Accepted(sdp));
            }
            (Far::Past(known), _) if place != Some(known) => return Some(Media::Moved),
            (Far::Here, Err(_)) | (Far::Past(_) | Far::Due(..), _) => {}
        }
        None
    }

    /// Offers them the caller's media; false when that cannot be.
    pub(super) async fn pass_on(&mut self, sdp: &Sdp) -> bool {
        self.ability.version += 1;
        let Some(text) = relay::offer(sdp, &self.ability).filter(|_| self.far == Far::Here) else { return false };
        let asked = self.desk.sip.reinvite(self.call, text).await.is_ok();
        if asked {
            self.far = Far::Asked;
        }
        asked
    }

    /// Offers them our own place, if their media is elsewhere.
    pub(super) async fn call_home(&mut self) {
        if matches!(self.far, Far::Past(_)) {
            self.far = Far::Due(0, tokio::time::Instant::now());
        }
        self.call_again().await;
    }

    /// The same where it is due again.
    pub(super) async fn call_again(&mut self) {
        let Far::Due(tries, at) = self.far else { return };
        let now = tokio::time::Instant::now();
        if at > now {
            return;
        }
        self.ability.version += 1;
        let called = match sip_stack::offer::offer(&self.ability) {
            Ok(text) => self.desk.sip.reinvite(self.call, text).await.is_ok(),
            Err(_) => false,
        };
        // Another offer may be under way.
        self.far = if called { Far::Called(tries) } else { Far::Due(tries, now + AGAIN / 4) };
    }

    /// Answers an offer of theirs with our own place; false when it is refused.
    fn renegotiate(&mut self, offer: Option<&Sdp>) -> bool {
        self.ability.version += 1;
        let answer = match offer {
            None => match sip_stack::offer::offer(&self.ability) {
                Ok(offer) => offer,
                Err(refused) => {
                    self.desk.sip.reject(self.call, refused);
                    return false;
                }
            },
            Some(offer) => match sip_stack::offer::answer(offer, &self.ability) {
                Ok((answer, plan)) => {
                    self.agree(plan);
                    // Our own offers have one stream, and later ones may not have fewer (RFC 3264 §8).
                    self.releases &= offer.media.len() == 1;
                    answer
                }
                Err(refused) => {
                    self.desk.sip.reject(self.call, refused);
                    return false;
                }
            },
        };
        self.far = Far::Here;
        // Beside the call: whoever asks for the next step must be able to stop asking.
        let (sip, call) = (self.desk.sip.clone(), self.call);
        tokio::spawn(async move { sip.answer(call, answer).await });
        true
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // Of a call that has ended already the stack knows nothing more.
        self.desk.sip.end(self.call);
    }
}
