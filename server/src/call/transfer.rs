//! A call is handed over: by REFER, or by calling somebody and joining the two; until that succeeds the agent may get the caller back.
//!
//! One machine for the API, the agent's tool and its flow. The destination is judged by the plan that a dialled call needs.

mod follow;

use std::time::Duration;

use control_api::{
    AskRefused, Brief, DialRefused, Entry, LegAdmission, LegState, LiveCall, OnFail, Plan, PlanQuery, TransferMode,
    TransferOrder, TransferState, TransferTerms, TransferTo,
};
use domain::event::Name;
use domain::{EndedReason, Pii};
use pipeline::conversation::{Order, Say, ToolResult};
use pipeline::tts::TtsLink;
use serde_json::{Map, Value, json};
use sip_stack::Uri;
use tokio::time::{Instant, sleep_until, timeout};
use wire::media::Patch;

use super::party::{self, Dialling, Party, Progress, Step as PartyStep, Wanted};
use super::session::{Session, media_block};
use super::steer::Grip;
use super::{leg, sounds};

/// Telling somebody what a call is about takes no longer.
const TELLING: Duration = Duration::from_secs(60);
/// What a peer whom we asked to call somebody may take longer than that one may ring.
const REFERRING: Duration = Duration::from_secs(15);
/// The call does nothing else while its destination is judged and looked up.
const LOOK_UP: Duration = Duration::from_secs(5);
/// Turns of the caller that a summary repeats.
const REPEATED: usize = 3;

/// A transfer under way.
pub(super) struct Transfer {
    id: String,
    /// The agent's name for it, where it has one.
    name: Option<String>,
    terms: TransferTerms,
    /// The URI that stands for the destination.
    uri: String,
    /// The agent's tool that wants to know how it went.
    tool: Option<ToolCall>,
    leg: Option<LegState>,
    rings: bool,
    bridged_at: Option<Instant>,
    /// The other side asked for it: nobody waits on this line.
    by_them: bool,
    pub(super) stage: Stage,
}

/// A tool call that a transfer answers.
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) began: Instant,
}

pub(super) enum Stage {
    Dialling(Dialling),
    /// They are told what it is about; the caller hears music.
    Telling(Box<Party>, Instant),
    Bridged(Box<Party>),
    /// The caller has passed the agent on to them, and is gone or about to go.
    Passed(Box<Party>),
    /// The other side calls by itself; with a party it is that call which is to be taken over.
    Referring {
        party: Option<Box<Party>>,
        until: Instant,
        accepted: bool,
    },
}

/// What happens next in a transfer.
pub(super) enum Step {
    Progress(Progress),
    Party(PartyStep),
    TimeUp,
}

impl Transfer {
    /// Waits for what happens next. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Step {
        match &mut self.stage {
            Stage::Dialling(dialling) => Step::Progress(dialling.next().await),
            Stage::Bridged(party) | Stage::Passed(party) => Step::Party(party.next().await),
            Stage::Telling(party, until) => until_then(Some(party), *until).await,
            Stage::Referring { party, until, .. } => until_then(party.as_deref_mut(), *until).await,
        }
    }

    /// Whom the caller is joined to.
    pub(super) fn joined(&mut self) -> Option<&mut Party> {
        match &mut self.stage {
            Stage::Bridged(party) => Some(party),
            _ => None,
        }
    }

    /// Its id, for events.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The other side passes us on: its hanging up is not the end.
    pub(super) fn passes_on(&self) -> bool {
        self.by_them
    }

    /// The other side has agreed to call by itself: if it hangs up now, it has.
    pub(super) fn is_taken_over(&self) -> bool {
        matches!(self.stage, Stage::Referring { accepted: true, .. })
    }

    fn data(&self) -> Map<String, Value> {
        let mut data = Map::new();
        data.insert("transfer_id".into(), self.id.clone().into());
        let destination = self.name.clone().unwrap_or_else(|| domain::phone::mask(self.terms.to.expose()));
        data.insert("destination".into(), destination.into());
        data.insert("to".into(), self.terms.to.expose().clone().into());
        data.insert("mode".into(), self.terms.mode.as_str().into());
        data
    }
}

async fn until_then(party: Option<&mut Party>, until: Instant) -> Step {
    let stepped = async {
        match party {
            Some(party) => party.next().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        step = stepped => Step::Party(step),
        () = sleep_until(until) => Step::TimeUp,
    }
}

impl Session {
    /// Judges a destination and looks it up, under the rules for a call from the number of this one.
    async fn way_to(&self, terms: &TransferTerms, live: &LiveCall) -> Result<Plan, DialRefused> {
        let query = PlanQuery {
            call: self.seat.id,
            tenant: live.tenant,
            to: terms.to.clone(),
            from: live.number.map(|number| number.to_string().into()),
            trunk: None,
            variables: self.variables.clone(),
        };
        let plan = timeout(LOOK_UP, self.desk.directory.plan(&query)).await;
        plan.map_err(|_| DialRefused::StoreUnavailable)?.map_err(DialRefused::from)
    }

    /// Begins a transfer.
    ///
    /// # Errors
    /// It may not, or cannot, be begun; the call goes on as it was.
    pub(super) async fn hand_over(
        &mut self,
        order: TransferOrder,
        tool: Option<ToolCall>,
        grip: &mut Grip,
    ) -> Result<(), AskRefused> {
        if !grip.talks || grip.farewell.is_some() {
            return Err(AskRefused::NotActive);
        }
        if grip.transfer.is_some() {
            return Err(AskRefused::TransferInProgress);
        }
        let (name, terms) = match order.to {
            TransferTo::Told(terms) => (None, terms),
            TransferTo::Named(name) => {
                let terms = self.terms(&name).ok_or(AskRefused::UnknownDestination)?;
                (Some(name), terms)
            }
        };
        let live = self.desk.live_call_of(self.seat.id).ok_or(AskRefused::NotActive)?;
        let plan = self.way_to(&terms, &live).await.map_err(AskRefused::Dial)?;
        let uri = plan.hops.first().map(|hop| hop.to.expose().clone()).unwrap_or_default();
        let began = Instant::now();
        let (stage, leg, sound) = if terms.mode == TransferMode::Refer {
            let target: Uri = uri.parse().map_err(|_| AskRefused::Dial(DialRefused::BadAddress))?;
            self.desk.sip.refer(self.call, target, None).await.map_err(|_| AskRefused::TransferInProgress)?;
            let until = began + Duration::from_millis(terms.ring_timeout_ms) + REFERRING;
            (Stage::Referring { party: None, until, accepted: false }, None, sounds::silence())
        } else {
            let (stage, leg) = self.ring_up(&terms, plan, None).await.map_err(AskRefused::Dial)?;
            (stage, Some(leg), sounds::ringback())
        };
        self.come_back(grip);
        let _ = self.orders.send(Order::Away(true));
        grip.control.patch(Patch::sound(sound));
        self.desk.mark(self.seat.id, |live| live.activity = Some("transferring"));
        if let Some(leg) = &leg {
            self.write(Entry::Leg(Box::new(leg.clone())));
        }
        let (rings, bridged_at, by_them) = (false, None, false);
        let transfer = Transfer { id: order.id, name, terms, uri, tool, leg, rings, bridged_at, by_them, stage };
        tracing::info!(call_id = %self.seat.id, mode = transfer.terms.mode.as_str(), "transfer begins");
        self.tell_transfer(&transfer, Name::TransferStarted, None, None);
        grip.transfer = Some(transfer);
        Ok(())
    }

    async fn ring_up(
        &self,
        terms: &TransferTerms,
        plan: Plan,
        replaces: Option<String>,
    ) -> Result<(Stage, LegState), DialRefused> {
        let id = uuid::Uuid::now_v7().to_string();
        let ports = self.desk.media.reserve().map_err(|_| DialRefused::NoCapacity)?;
        if !self.desk.take_trunk(self.seat.id, plan.trunk, plan.bounds) {
            return Err(DialRefused::NoCapacity);
        }
        if plan.trunk.is_some()
            && let Err(refused) = self.leg_credit(&id, terms.to.expose()).await
        {
            self.desk.leave_trunk(self.seat.id);
            return Err(refused);
        }
        let words = match &terms.brief {
            Some(Brief::Text(text)) => Some(text.clone()),
            Some(Brief::Summary) => Some(self.summary()),
            None => None,
        };
        let words = match words {
            // Without a voice they hear the caller at once.
            Some(text) => self.voice().await.map(|voice| (text, voice)),
            None => None,
        };
        let leg = LegState {
            id,
            role: if terms.mode == TransferMode::Attended { "consult" } else { "transfer" },
            address: terms.to.clone(),
            trunk: plan.trunk,
            codec: None,
            started_at_ms: self.call_ms(),
            answered_at_ms: None,
            ended_at_ms: None,
            sip_status: None,
            media: None,
        };
        let ring = Duration::from_millis(terms.ring_timeout_ms);
        let shown = terms.shows_caller.then(|| self.other_side().to_owned());
        let dialling = party::ring(&self.desk, Wanted { id: self.seat.id, plan, ports, ring, shown, replaces, words });
        Ok((Stage::Dialling(dialling), leg))
    }

    /// Asks for the credit of a leg's first minute, beside that of the call.
    async fn leg_credit(&self, leg: &str, address: &str) -> Result<(), DialRefused> {
        let elapsed_ms = self.answered.map_or(0, |(_, since)| since.elapsed().as_millis() as i64);
        let (call, leg, address) = (self.seat.id, leg.to_owned(), address.to_owned());
        let wanted = LegAdmission { call, leg, address, elapsed_ms };
        match timeout(LOOK_UP, self.desk.store.admit_leg(&wanted, self.call_ms())).await {
            Ok(admitted) => admitted.map_err(DialRefused::from),
            Err(_) => Err(DialRefused::StoreUnavailable),
        }
    }

    /// Now, by the clock that nobody sets: what a leg costs is the time between two of these.
    fn call_ms(&self) -> i64 {
        self.answered.map_or_else(leg::unix_ms, |(at, since)| at + since.elapsed().as_millis() as i64)
    }

    /// The agent's voice, for words that are no part of the conversation.
    async fn voice(&self) -> Option<TtsLink> {
        let credentials = self.desk.credentials(self.tenant, &self.agent).await.ok()?;
        pipeline::agent::voice(&self.agent, &credentials, self.desk.speech.as_ref()).ok()
    }

    /// The agent's own terms for a transfer by that name.
    fn terms(&self, name: &str) -> Option<TransferTerms> {
        let known = self.agent.transfers.iter().find(|known| known.name == name)?;
        let mode = match known.mode.as_str() {
            "refer" => TransferMode::Refer,
            "warm" => TransferMode::Warm,
            "attended" => TransferMode::Attended,
            _ => TransferMode::Bridge,
        };
        let brief = match (mode, known.brief.as_str()) {
            (TransferMode::Refer | TransferMode::Bridge, _) => None,
            (_, "summary") => Some(Brief::Summary),
            (_, "text") => Some(Brief::Text(known.brief_text.clone())),
            _ => None,
        };
        let on_fail = match known.on_fail.as_str() {
            "hang_up" => OnFail::HangUp,
            "voicemail" => OnFail::Voicemail,
            _ => OnFail::Resume,
        };
        Some(TransferTerms {
            to: Pii::new(known.to.clone()),
            mode,
            brief,
            shows_caller: known.caller_id == "caller",
            ring_timeout_ms: known.ring_timeout_ms,
            on_fail,
        })
    }

    fn summary(&self) -> String {
        let who = super::facts::number(self.other_side());
        let who = who.map_or_else(|| "a caller".to_owned(), |number| number.trim_start_matches('+').to_owned());
        let skip = self.said.len().saturating_sub(REPEATED);
        let said: Vec<&str> = self.said.iter().skip(skip).map(String::as_str).collect();
        if said.is_empty() {
            format!("This is {}. You have a call from {who}.", self.agent.name)
        } else {
            format!("This is {}. You have a call from {who}, who said: {}.", self.agent.name, said.join(". "))
        }
    }

    fn tell_transfer(&self, transfer: &Transfer, name: Name, status: Option<u16>, reason: Option<&str>) {
        let mut data = transfer.data();
        if let Some(status) = status {
            data.insert("sip_status".into(), status.into());
        }
        if let Some(reason) = reason {
            data.insert("reason".into(), reason.into());
        }
        if let (Some(at), Name::TransferCompleted) = (transfer.bridged_at, name) {
            data.insert("duration_ms".into(), (at.elapsed().as_millis() as u64).into());
        }
        self.write(Entry::Transfer(Box::new(TransferState { name, data })));
    }

    /// Goes on with a transfer; the reason when the call is over by it.
    pub(super) async fn transfer_step(&mut self, step: Step, grip: &mut Grip) -> Option<EndedReason> {
        let mut transfer = grip.transfer.take()?;
        match step {
            Step::Progress(Progress::Ringing(status)) => {
                self.rings(&mut transfer, status);
                grip.transfer = Some(transfer);
                None
            }
            Step::Progress(Progress::Answered(party)) => {
                let telling = party.is_told;
                if let Some(leg) = &mut transfer.leg {
                    (leg.answered_at_ms, leg.codec, leg.sip_status) =
                        (Some(self.call_ms()), Some(party.codec), Some(200));
                    self.write(Entry::Leg(Box::new(leg.clone())));
                }
                if transfer.by_them {
                    self.pass_to(transfer, party, grip);
                } else if telling {
                    grip.control.patch(Patch::sound(sounds::music()));
                    transfer.stage = Stage::Telling(party, Instant::now() + TELLING);
                    grip.transfer = Some(transfer);
                } else {
                    self.connect(transfer, party, grip).await;
                }
                None
            }
            Step::Progress(Progress::Failed(status, why)) => self.failed(transfer, status, why, grip),
            Step::Party(PartyStep::Media(change)) => {
                grip.transfer = Some(transfer);
                self.party_media(change, grip).await;
                None
            }
            Step::Party(PartyStep::Keys(digits)) => {
                match transfer.stage {
                    Stage::Bridged(_) if grip.course.is_elsewhere() => self.pass_by_info(self.call, digits),
                    Stage::Bridged(_) => grip.control.press(media_core::Dial::plain(digits.into_bytes())),
                    Stage::Passed(_) => drop(self.orders.send(Order::Keys(digits))),
                    _ => {}
                }
                grip.transfer = Some(transfer);
                None
            }
            Step::Party(PartyStep::Told) | Step::TimeUp => match transfer.stage {
                Stage::Telling(party, _) => {
                    // The stage is put in its place by what follows.
                    let until = Instant::now();
                    transfer.stage = Stage::Referring { party: None, until, accepted: false };
                    self.connect(transfer, party, grip).await;
                    None
                }
                Stage::Referring { .. } if matches!(step, Step::TimeUp) => self.not_referred(transfer, 408, grip),
                _ => {
                    grip.transfer = Some(transfer);
                    None
                }
            },
            Step::Party(PartyStep::HungUp) => match &transfer.stage {
                Stage::Passed(_) => {
                    self.completed(transfer, Some("transfer_target_hung_up"));
                    Some(super::session::hung_up(self.direction))
                }
                Stage::Bridged(_) => {
                    self.completed(transfer, Some("transfer_target_hung_up"));
                    Some(EndedReason::Transferred)
                }
                // Their call with us has been replaced by one with the caller.
                Stage::Referring { .. } => {
                    self.completed(transfer, None);
                    Some(EndedReason::Transferred)
                }
                Stage::Telling(..) | Stage::Dialling(_) => self.failed(transfer, None, "declined", grip),
            },
        }
    }

    fn rings(&self, transfer: &mut Transfer, status: u16) {
        if transfer.by_them {
            self.desk.sip.refer_progress(self.call, status);
        }
        if !std::mem::replace(&mut transfer.rings, true) {
            self.tell_transfer(transfer, Name::TransferRinging, Some(status), None);
        }
    }

    /// Somebody has answered and knows what it is about.
    async fn connect(&mut self, mut transfer: Transfer, party: Box<Party>, grip: &mut Grip) {
        if transfer.terms.mode == TransferMode::Attended && self.ask_to_replace(&transfer, &party).await {
            let until = Instant::now() + REFERRING;
            transfer.stage = Stage::Referring { party: Some(party), until, accepted: false };
            grip.transfer = Some(transfer);
            return;
        }
        self.bridge(transfer, party, grip);
    }

    async fn ask_to_replace(&self, transfer: &Transfer, party: &Party) -> bool {
        let (Ok(Some(replaces)), Ok(target)) = (self.desk.sip.replaces(party.call).await, transfer.uri.parse()) else {
            return false;
        };
        self.desk.sip.refer(self.call, target, Some(replaces)).await.is_ok()
    }

    /// The two hear each other.
    fn bridge(&mut self, mut transfer: Transfer, party: Box<Party>, grip: &mut Grip) {
        let (to_caller, to_party) = Patch::bridge();
        grip.control.patch(to_caller);
        party.control.patch(to_party);
        transfer.bridged_at = Some(Instant::now());
        self.tell_transfer(&transfer, Name::TransferBridged, None, None);
        self.answer_tool(&mut transfer, true, "the caller has been connected");
        grip.course.joined(party.releases);
        transfer.stage = Stage::Bridged(party);
        grip.transfer = Some(transfer);
    }

    /// What the other side says of the call that we asked it to make.
    pub(super) async fn referred(&mut self, status: u16, over: bool, grip: &mut Grip) -> Option<EndedReason> {
        let mut transfer = grip.transfer.take()?;
        let Stage::Referring { accepted, .. } = &mut transfer.stage else {
            grip.transfer = Some(transfer);
            return None;
        };
        match (status, over) {
            (200..=299, true) => {
                self.completed(transfer, None);
                return Some(EndedReason::Transferred);
            }
            (_, true) => return self.not_referred(transfer, status, grip),
            (101..=199, false) => self.rings(&mut transfer, status),
            (_, false) => *accepted = true,
        }
        grip.transfer = Some(transfer);
        None
    }

    /// The other side does not call by itself: somebody who is on the line already is joined to the caller.
    fn not_referred(&mut self, mut transfer: Transfer, status: u16, grip: &mut Grip) -> Option<EndedReason> {
        let until = Instant::now();
        let stage = std::mem::replace(&mut transfer.stage, Stage::Referring { party: None, until, accepted: false });
        if let Stage::Referring { party: Some(party), .. } = stage {
            self.bridge(transfer, party, grip);
            return None;
        }
        let why = if status == 408 { "no_answer" } else { "refused" };
        self.failed(transfer, Some(status), why, grip)
    }

    fn close_leg(&self, transfer: &mut Transfer, status: Option<u16>) {
        let Some(mut leg) = transfer.leg.take() else { return };
        self.desk.leave_trunk(self.seat.id);
        leg.ended_at_ms = Some(self.call_ms());
        leg.sip_status = status.or(leg.sip_status);
        if let Stage::Telling(party, _) | Stage::Bridged(party) | Stage::Passed(party) = &transfer.stage {
            leg.media = Some(media_block(&party.control.stats(), party.codec));
        }
        self.write(Entry::Leg(Box::new(leg)));
    }

    fn completed(&self, mut transfer: Transfer, reason: Option<&str>) {
        self.answer_tool(&mut transfer, true, "the caller has been handed over");
        self.close_leg(&mut transfer, None);
        self.tell_transfer(&transfer, Name::TransferCompleted, None, reason);
    }

    fn failed(
        &mut self,
        mut transfer: Transfer,
        status: Option<u16>,
        why: &str,
        grip: &mut Grip,
    ) -> Option<EndedReason> {
        tracing::info!(call_id = %self.seat.id, why, "transfer failed");
        self.close_leg(&mut transfer, status);
        self.tell_transfer(&transfer, Name::TransferFailed, status, Some(why));
        if transfer.by_them {
            self.desk.sip.refer_progress(self.call, status.unwrap_or(480));
            // Whoever passed us on may have gone already.
            return grip.gone.then(|| super::session::hung_up(self.direction));
        }
        if transfer.terms.on_fail == OnFail::HangUp {
            self.answer_tool(&mut transfer, false, why);
            return Some(EndedReason::AgentHungUp);
        }
        self.resume(grip);
        let message = match transfer.terms.on_fail {
            OnFail::Voicemail => "Offer to take a message.",
            OnFail::Resume | OnFail::HangUp => "Tell the caller, and go on.",
        };
        let text = format!("Nobody could be reached there ({}). {message}", why.replace('_', " "));
        if !self.answer_tool(&mut transfer, false, &text) {
            self.tell_agent(text, "I am sorry, nobody can be reached there at the moment.");
        }
        None
    }

    /// The agent has the caller again.
    fn resume(&mut self, grip: &mut Grip) {
        grip.control.unpatch();
        let _ = self.orders.send(Order::Away(false));
        self.desk.mark(self.seat.id, |live| live.activity = Some("listening"));
    }

    /// A model is told what has happened; a flow says a line of ours.
    fn tell_agent(&self, note: String, line: &str) {
        let order = if pipeline::agent::needs_flow(&self.agent) {
            Order::Say(Say { text: line.to_owned(), ..Say::default() })
        } else {
            Order::Instruct { text: note, respond: true }
        };
        let _ = self.orders.send(order);
    }

    /// Keys that the caller pressed by INFO; whoever the caller is joined to gets them, too.
    pub(super) fn keys_by_signalling(&self, digits: String, grip: &Grip) {
        if let Some(Transfer { stage: Stage::Bridged(party), .. }) = &grip.transfer {
            if party.far != party::Far::Here {
                self.pass_by_info(party.call, digits.clone());
            } else {
                party.control.press(media_core::Dial::plain(digits.clone().into_bytes()));
            }
        }
        let _ = self.orders.send(Order::Keys(digits));
    }

    /// Ends a transfer from outside; the agent goes on.
    pub(super) async fn take_back(&mut self, grip: &mut Grip) -> Result<(), AskRefused> {
        let Some(mut transfer) = grip.transfer.take() else { return Err(AskRefused::NoTransfer) };
        if transfer.is_taken_over() || transfer.by_them {
            grip.transfer = Some(transfer);
            return Err(AskRefused::TransferInProgress);
        }
        self.close_leg(&mut transfer, None);
        let name = if transfer.bridged_at.is_some() { Name::TransferCompleted } else { Name::TransferFailed };
        self.tell_transfer(&transfer, name, None, Some("taken_back"));
        self.resume(grip);
        self.fetch_media(grip, "taken_back").await;
        let text = "The transfer was called off; the caller is with you again.".to_owned();
        if !self.answer_tool(&mut transfer, false, &text) {
            self.tell_agent(text, "I am back with you.");
        }
        Ok(())
    }

    /// The call ends; with it whatever transfer is under way.
    pub(super) fn close_transfer(&mut self, grip: &mut Grip) {
        let Some(mut transfer) = grip.transfer.take() else { return };
        if transfer.bridged_at.is_some() || transfer.is_taken_over() {
            return self.completed(transfer, Some("call_ended"));
        }
        self.close_leg(&mut transfer, None);
        self.tell_transfer(&transfer, Name::TransferFailed, None, Some("call_ended"));
        self.answer_tool(&mut transfer, false, "the call has ended");
    }

    /// Whether a tool call is one that hands the call over.
    pub(super) fn is_transfer(&self, name: &str) -> bool {
        let tool = self.agent.tools.iter().find(|tool| tool.name == name && tool.enabled);
        tool.is_some_and(|tool| tool.kind == domain::agent::tools::ToolKind::Transfer)
    }

    /// The agent hands the call over.
    pub(super) async fn transfer_by_tool(&mut self, id: String, name: String, arguments: &str, grip: &mut Grip) {
        let shown: Value = serde_json::from_str(arguments).unwrap_or(Value::Null);
        let data = json!({"invocation_id": id, "tool": name, "arguments": shown});
        self.write(Entry::Event { name: Name::ToolStarted, data });
        let tool = self.agent.tools.iter().find(|tool| tool.name == name);
        let known = tool.map(|tool| pipeline::agent::leads_to(&self.agent, tool)).unwrap_or_default();
        let wanted = match (shown["destination"].as_str(), known.as_slice()) {
            (Some(wanted), known) => known.iter().find(|transfer| transfer.name == wanted),
            // Where there is but one, none need be named.
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let call = ToolCall { id, name, began: Instant::now() };
        let refused = match wanted.map(|transfer| transfer.name.clone()) {
            None => "there is no destination of that name".to_owned(),
            Some(wanted) => {
                let order = TransferOrder { id: uuid::Uuid::now_v7().to_string(), to: TransferTo::Named(wanted) };
                let kept = ToolCall { id: call.id.clone(), name: call.name.clone(), began: call.began };
                match self.hand_over(order, Some(kept), grip).await {
                    Ok(()) => return,
                    Err(refused) => refused.to_string(),
                }
            }
        };
        self.finish_tool(&call, false, &refused);
    }

    /// Tells the agent's tool, once, how the transfer went; false when no tool asked for it.
    fn answer_tool(&self, transfer: &mut Transfer, ok: bool, text: &str) -> bool {
        let call = transfer.tool.take();
        if let Some(call) = &call {
            self.finish_tool(call, ok, text);
        }
        call.is_some()
    }

    fn finish_tool(&self, call: &ToolCall, ok: bool, text: &str) {
        let data = json!({"invocation_id": call.id, "tool": call.name, "ok": ok, "duration_ms": call.began.elapsed().as_millis() as u64,
                          "result_excerpt": text});
        self.write(Entry::Event { name: Name::ToolFinished, data });
        let _ = self.orders.send(Order::ToolResult(ToolResult { id: call.id.clone(), ok, text: text.to_owned() }));
    }
}
