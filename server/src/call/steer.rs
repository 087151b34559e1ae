//! What is asked of a call from outside: end, speak, press keys, hold, be silent.

use std::time::Duration;

use control_api::{Ask, AskRefused, Entry, Side, Via};
use domain::EndedReason;
use domain::event::Name;
use media_core::Dial;
use pipeline::conversation::{Order, Say};
use serde_json::json;
use sip_stack::{Ability, Direction, Plan};
use tokio::time::{Instant, sleep, sleep_until};
use wire::media::{self, LegControl, Patch};

use super::desk::Asked;
use super::leg::Reach;
use super::release::Course;
use super::session::Session;
use super::sounds;
use super::transfer::{Step, Transfer};

/// The agent's last words may take so long; then the call ends in the middle of them.
const FAREWELL: Duration = Duration::from_secs(45);
/// What a `w` waits for, as on the media threads.
const WAIT: Duration = Duration::from_millis(500);

/// An answered call's leg, and what has been done to it.
pub(super) struct Grip {
    pub(super) control: LegControl,
    /// What was agreed on the line.
    pub(super) plan: Plan,
    /// What we describe ourselves with.
    pub(super) ability: Ability,
    pub(super) reach: Reach,
    /// Whether the media goes past us, while somebody else has the caller.
    pub(super) course: Course,
    /// Sides that are silenced by the API: the caller, the agent.
    pub(super) muted: [bool; 2],
    /// The other side has hung up, and the call goes on without it.
    pub(super) gone: bool,
    /// An agent talks, not a subject of measurements.
    pub(super) talks: bool,
    /// The caller is on hold by our wish.
    holding: bool,
    /// When a farewell has lasted long enough, and why the call ends.
    pub(super) farewell: Option<(Instant, EndedReason)>,
    /// Somebody else has the caller, or is about to.
    pub(super) transfer: Option<Transfer>,
}

/// What happens to a call by itself.
pub(super) enum Turn {
    /// A farewell has lasted long enough.
    Over(EndedReason),
    /// A transfer goes on.
    Transfer(Step),
    /// It is time to look where the media goes.
    Look,
}

impl Grip {
    pub(super) fn new(
        control: LegControl,
        plan: Plan,
        (ability, reach): (Ability, Reach),
        releases: bool,
        talks: bool,
    ) -> Self {
        Self {
            control,
            plan,
            ability,
            reach,
            course: Course::new(releases),
            muted: [false; 2],
            gone: false,
            talks,
            holding: false,
            farewell: None,
            transfer: None,
        }
    }

    /// Something else was agreed on the line.
    pub(super) fn change(&mut self, plan: Plan) {
        self.control.update(self.reach.config(&plan));
        self.plan = plan;
    }

    /// Nothing is sent to the other side any more, and nothing is expected of it.
    pub(super) fn leave_line(&self) {
        self.control.update(self.reach.nowhere(&self.plan, Direction::SendOnly));
    }

    /// Waits for what happens by itself. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Turn {
        let (look, farewell) = (self.course.due(), self.farewell);
        let turn = async {
            match (&mut self.transfer, farewell) {
                (Some(transfer), _) => Turn::Transfer(transfer.next().await),
                (None, Some((until, reason))) => {
                    sleep_until(until).await;
                    Turn::Over(reason)
                }
                (None, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            turn = turn => turn,
            () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => Turn::Look,
        }
    }
}

impl Session {
    /// Waits for somebody to end the call from outside; before its answer nothing else can be asked of it.
    pub(super) async fn asked_to_end(&mut self) -> EndedReason {
        loop {
            let Some(Asked { ask, reply }) = self.seat.asks.recv().await else { return std::future::pending().await };
            let Ask::End { reason, .. } = ask else {
                let _ = reply.send(Err(AskRefused::NotActive));
                continue;
            };
            let _ = reply.send(Ok(()));
            return if reason == EndedReason::ApiEnded { EndedReason::Canceled } else { reason };
        }
    }

    /// Does what is asked of an answered call; the reason when it is to end at once.
    pub(super) async fn obey(&mut self, asked: Asked, grip: &mut Grip) -> Option<EndedReason> {
        let Asked { ask, reply } = asked;
        if reply.is_closed() && !matches!(ask, Ask::End { .. }) {
            return None;
        }
        let (answer, ends) = match ask {
            Ask::End { reason, say } => (Ok(()), self.part(reason, say, grip)),
            ask => (self.steer(ask, grip).await, None),
        };
        // Whoever asked may have gone.
        let _ = reply.send(answer);
        ends
    }

    /// Ends the call, behind the agent's last words if there are any and somebody hears them.
    fn part(&mut self, reason: EndedReason, say: Option<String>, grip: &mut Grip) -> Option<EndedReason> {
        let reason = if reason == EndedReason::Canceled { EndedReason::ApiEnded } else { reason };
        let speaks = grip.talks && grip.farewell.is_none() && grip.transfer.is_none();
        let Some(text) = say.filter(|_| speaks) else { return Some(reason) };
        self.come_back(grip);
        (self.parting, grip.farewell) = (Some(reason), Some((Instant::now() + FAREWELL, reason)));
        let _ = self.orders.send(Order::Say(Say { text, ends: true, now: true, ..Say::default() }));
        None
    }

    async fn steer(&mut self, ask: Ask, grip: &mut Grip) -> Result<(), AskRefused> {
        match ask {
            Ask::End { .. } => {}
            Ask::Transfer(order) => return self.hand_over(*order, None, grip).await,
            Ask::TakeBack => return self.take_back(grip).await,
            Ask::Hold { .. } if grip.transfer.is_some() => return Err(AskRefused::TransferInProgress),
            Ask::Say { .. } | Ask::Instruct { .. } if !grip.talks => return Err(AskRefused::NotActive),
            Ask::Say { id, text, now, interruptible } => {
                let say = Say { text, now, protected: !interruptible, ends: false, id: Some(id) };
                let _ = self.orders.send(Order::Say(say));
            }
            Ask::Instruct { .. } if pipeline::agent::needs_flow(&self.agent) => return Err(AskRefused::NoModel),
            Ask::Instruct { text, respond } => drop(self.orders.send(Order::Instruct { text, respond })),
            Ask::Press { via: Via::Rfc4733, .. } if grip.plan.events.at_8000.is_none() => {
                return Err(AskRefused::NoEvents);
            }
            Ask::Press { digits, tone_ms, gap_ms, via: Via::Info } => self.press_by_info(digits, tone_ms, gap_ms),
            Ask::Press { digits, tone_ms, gap_ms, via } => {
                let in_band = via == Via::InBand;
                self.press_here(Dial { digits: digits.into_bytes(), tone_ms, gap_ms, in_band }, grip).await;
            }
            Ask::Hold { on: true, music } if !grip.holding => self.put_on_hold(music, grip),
            Ask::Hold { on: false, .. } => self.come_back(grip),
            Ask::Hold { .. } => {}
            Ask::Mute { who, on } => {
                let (side, at) = match who {
                    Side::Caller => (media::Side::Caller, 0),
                    Side::Agent => (media::Side::Agent, 1),
                };
                grip.muted[at] = on;
                grip.control.mute(side, on);
                if on {
                    self.fetch_media(grip, "mute").await;
                }
            }
        }
        Ok(())
    }

    fn put_on_hold(&mut self, music: bool, grip: &mut Grip) {
        grip.holding = true;
        let _ = self.orders.send(Order::Away(true));
        grip.control.patch(Patch::sound(if music { sounds::music() } else { sounds::silence() }));
        self.desk.mark(self.seat.id, |live| live.activity = Some("on_hold"));
        self.write(Entry::Event { name: Name::HoldStarted, data: json!({"by": "api"}) });
    }

    /// Takes the caller back from hold.
    pub(super) fn come_back(&mut self, grip: &mut Grip) {
        if !std::mem::take(&mut grip.holding) {
            return;
        }
        grip.control.unpatch();
        let _ = self.orders.send(Order::Away(false));
        self.desk.mark(self.seat.id, |live| live.activity = Some("listening"));
        self.write(Entry::Event { name: Name::HoldEnded, data: json!({"by": "api"}) });
    }

    /// One INFO for each key, in the rhythm in which they would sound; it ends with the call.
    fn press_by_info(&self, digits: String, tone_ms: u16, gap_ms: u16) {
        let (desk, id, call) = (self.desk.clone(), self.seat.id, self.call);
        let each = Duration::from_millis(u64::from(tone_ms) + u64::from(gap_ms));
        tokio::spawn(async move {
            for key in digits.chars() {
                if key == 'w' {
                    sleep(WAIT).await;
                    continue;
                }
                if desk.sip.send_key(call, key, tone_ms.into()).await.is_err() {
                    return;
                }
                let data = json!({"digit": key.to_string(), "ms": tone_ms, "via": "info"});
                desk.journal.write(id, Entry::Event { name: Name::DtmfSent, data });
                sleep(each).await;
            }
        });
    }
}
