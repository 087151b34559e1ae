//! Somebody to whom a call is handed over: rung up over a plan's gateways, then a leg of their own until one of us hangs up.

use std::time::{Duration, Instant};

use control_api::Plan;
use domain::CallId;
use pipeline::herald::{Herald, Notice};
use pipeline::tts::TtsLink;
use pipeline::voice_thread::{Seat as VoiceSeat, Talk};
use sip_stack::{Ability, CallHandle, Cause, Event, Refusal, Sdp};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use wire::media::{LegControl, Ports};

use super::desk::Desk;
use super::line::Rings;
use super::{leg, outbound, ways};

/// One from whom nothing comes for so long is gone.
const RTP_TIMEOUT_MS: u32 = 30_000;

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
                        let told = match Party::open(desk.clone(), call, events, (ability, reach), ports, &sdp, words) {
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
    /// They hung up, or are gone.
    HungUp,
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
    reach: leg::Reach,
}

impl Party {
    fn open(
        desk: Desk,
        call: CallHandle,
        events: UnboundedReceiver<Event>,
        (ability, reach): (Ability, leg::Reach),
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
        Some(Self { desk, call, control, codec, is_told, events, notices, ability, reach })
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> Step {
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(Event::Reinvite { sdp, .. }) => self.renegotiate(sdp.as_ref()),
                    Some(Event::Established { sdp: Some(sdp), .. } | Event::Changed { sdp, .. }) => {
                        if let Ok(plan) = sip_stack::offer::accept(&self.ability, &sdp) {
                            self.control.update(self.reach.config(&plan));
                        }
                    }
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

    fn renegotiate(&mut self, offer: Option<&Sdp>) {
        self.ability.version += 1;
        let answer = match offer {
            None => match sip_stack::offer::offer(&self.ability) {
                Ok(offer) => offer,
                Err(refused) => return self.desk.sip.reject(self.call, refused),
            },
            Some(offer) => match sip_stack::offer::answer(offer, &self.ability) {
                Ok((answer, plan)) => {
                    self.control.update(self.reach.config(&plan));
                    answer
                }
                Err(refused) => return self.desk.sip.reject(self.call, refused),
            },
        };
        // Beside the call: whoever asks for the next step must be able to stop asking.
        let (sip, call) = (self.desk.sip.clone(), self.call);
        tokio::spawn(async move { sip.answer(call, answer).await });
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // Of a call that has ended already the stack knows nothing more.
        self.desk.sip.end(self.call);
    }
}
