//! A call between its answer and its end: one task that joins SIP, the conversation, the API and the records.

mod causes;
mod heed;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_api::{
    Admission, DialRequest, Ended, Entry, Heard, Item, MediaTerms, NewCall, RecordingStage, RecordingState, Release,
};
use domain::event::Name;
use domain::{AgentId, AgentSpec, CallId, Direction, EndedReason, RecordingId, Status, TenantId};
use pipeline::agent::{AgentError, Library, Surroundings};
use pipeline::conversation::{Conversation, ConversationEvent, Order, Spoken};
use pipeline::voice_thread::{Echo, Prompt, Seat as VoiceSeat, Talk, Tap};
use serde_json::{Map, Value, json};
use sip_stack::{Ability, CallHandle, Cause, Event, Plan, Refusal, Uri};
use tokio::sync::broadcast;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant as Deadline, sleep_until, timeout};
use wire::media::Ports;

use super::credit::{self, Credit, CreditEvent, NoCredit};
use super::desk::{BENCH, Desk, ECHO, Seat};
use super::facts::{About, facts, number};
use super::known::Known;
use super::leg;
use super::line::Rings;
use super::record::Recording;
use super::shown::Shown;
use super::steer::{Grip, Turn as Happens};
use super::toolbox::{Owner, Toolbox};
use super::transfer::Transfer;
pub(super) use causes::hung_up;
use causes::{after_answer, before_answer};

/// How long a conversation may take to put its last words on record.
const CLOSING: Duration = Duration::from_secs(2);

/// A recording that is being written, and its row.
type Open = (RecordingId, Recording);

/// Who talks on this call, while it still rings.
pub(super) enum Talker {
    /// An agent.
    Agent(Box<Conversation>),
    /// A subject of measurements.
    Subject(Box<dyn Talk>),
}

impl Talker {
    /// Waits for the first sound of a greeting.
    pub(super) async fn ready(&mut self) {
        if let Self::Agent(conversation) = self {
            conversation.ready().await;
        }
    }
}

/// What the answer brought.
pub(super) struct Answered {
    pub(super) ports: Ports,
    pub(super) plan: Plan,
    pub(super) ability: Ability,
    pub(super) reach: leg::Reach,
    /// What its trunk says of the media.
    pub(super) media: MediaTerms,
    pub(super) talk: Talker,
    pub(super) events: UnboundedReceiver<Event>,
}

/// One call.
pub(super) struct Session {
    pub(super) desk: Desk,
    pub(super) seat: Seat,
    /// Its name in the SIP task.
    pub(super) call: CallHandle,
    /// Who talks.
    pub(super) agent: Arc<AgentSpec>,
    agent_id: Option<AgentId>,
    /// What the agent can do besides talking.
    toolbox: Toolbox,
    pub(super) direction: Direction,
    from: String,
    to: String,
    /// Whose call it is, whether it is a real one, and its stored agent: who may watch it.
    shown_to: (TenantId, bool, Option<String>),
    pub(super) variables: Map<String, Value>,
    /// The caller's last turns, for whom the call is handed to.
    pub(super) said: VecDeque<String>,
    max_duration: Duration,
    record: bool,
    pub(super) orders: UnboundedSender<Order>,
    inbox: Option<UnboundedReceiver<Order>>,
    tell: UnboundedSender<ConversationEvent>,
    told: UnboundedReceiver<ConversationEvent>,
    /// The caller's last turn, until it is sure that it was not reopened.
    spoken: Option<Spoken>,
    degraded: bool,
    /// The conversation has said its last word.
    closed: bool,
    /// Who pays, and whether really.
    pub(super) tenant: TenantId,
    livemode: bool,
    credit: Option<Credit>,
    /// When the call was answered, by the calendar and by the clock that nobody sets.
    pub(super) answered: Option<(i64, Instant)>,
    /// How long it lasted, once it is over; what comes after it is paperwork.
    lasted_ms: Option<i64>,
    /// How long nothing had come when the call was given up.
    silent_ms: u32,
    /// The other side has put us on hold.
    pub(super) held: bool,
    /// Who listens by the API.
    pub(super) heard: Option<broadcast::WeakSender<Heard>>,
    /// Why the call ends once the agent has said its last words.
    pub(super) parting: Option<EndedReason>,
}

impl Session {
    /// Begins an inbound call: its row is the first thing that exists of it.
    pub(super) fn begin(desk: Desk, seat: Seat, created: NewCall, call: CallHandle, agent: Arc<AgentSpec>) -> Self {
        let (orders, inbox) = unbounded_channel();
        let (tell, told) = unbounded_channel();
        let configured = Duration::from_secs(desk.house.config.limits.call_s);
        let session = Self {
            call,
            agent_id: created.agent_id,
            toolbox: Toolbox::new(desk.clone(), agent.clone(), Owner::of(seat.id, &created)),
            direction: created.direction,
            from: created.from.expose().clone(),
            to: created.to.expose().clone(),
            variables: created.variables.clone(),
            shown_to: (created.tenant, created.livemode, created.agent_id.map(|id| id.to_string())),
            said: VecDeque::new(),
            max_duration: configured.min(Duration::from_millis(agent.limits.max_duration_ms)),
            record: desk.house.config.recording.enabled && agent.recording.enabled,
            desk,
            seat,
            agent,
            orders,
            inbox: Some(inbox),
            tell,
            told,
            spoken: None,
            degraded: false,
            closed: false,
            tenant: created.tenant,
            livemode: created.livemode,
            credit: None,
            answered: None,
            lasted_ms: None,
            silent_ms: 0,
            held: false,
            heard: None,
            parting: None,
        };
        session.write(Entry::Created(Box::new(created)));
        session
    }

    /// Begins an outbound call; its SIP name comes with the INVITE.
    pub(super) fn prepare_outbound(
        desk: Desk,
        seat: Seat,
        created: NewCall,
        agent: Arc<AgentSpec>,
        request: &DialRequest,
    ) -> Self {
        let mut session = Self::begin(desk, seat, created, CallHandle::from_number(0), agent);
        if let Some(ms) = request.max_duration_ms {
            session.max_duration = session.max_duration.min(Duration::from_millis(ms));
        }
        session.record = request.record.unwrap_or(session.record) && session.desk.house.config.recording.enabled;
        session
    }

    /// Whether it will get its credit, by what the store said of its tenant last.
    pub(super) fn is_good_for_credit(&self) -> bool {
        self.desk.is_good_for(self.tenant, self.livemode)
    }

    /// Asks for the credit of this call.
    pub(super) async fn take_credit(&mut self, item: Item) -> Result<(), NoCredit> {
        let admission = Admission {
            tenant: self.tenant,
            livemode: self.livemode,
            call: self.seat.id,
            item,
            address: self.to.clone(),
            number: self.desk.live_call_of(self.seat.id).and_then(|live| live.number),
            node: self.desk.house.node.clone(),
            boot: self.desk.house.boot,
            max_cost_micros: self.agent.limits.max_cost_micros.map(|micros| i64::try_from(micros).unwrap_or(i64::MAX)),
        };
        let credit = self.desk.credit(&admission).await?;
        self.put_credit(credit, admission);
        Ok(())
    }

    /// Credit that was taken before there was a row.
    pub(super) fn put_credit(&mut self, credit: Credit, admission: Admission) {
        if credit.is_unbilled() {
            self.write(Entry::Unbilled(Box::new(admission)));
        }
        self.credit = Some(credit);
    }

    /// The call's id.
    pub(super) fn id(&self) -> CallId {
        self.seat.id
    }

    pub(super) fn write(&self, entry: Entry) {
        self.desk.journal.write(self.seat.id, entry);
    }

    /// The address of the other end of the line.
    pub(super) fn other_side(&self) -> &str {
        if self.direction == Direction::Inbound { &self.from } else { &self.to }
    }

    /// A step of the call's life.
    pub(super) fn status(&self, status: Status, sip_status: Option<u16>) {
        self.status_with(status, sip_status, Map::new());
    }

    fn status_with(&self, status: Status, sip_status: Option<u16>, data: Map<String, Value>) {
        self.desk.mark(self.seat.id, |live| live.status = status);
        let answered = self.answered.filter(|_| status == Status::InProgress);
        let at_ms = answered.map_or_else(leg::unix_ms, |(at, _)| at);
        self.write(Entry::Status { status, at_ms, sip_status, data });
    }

    /// Opens what the agent needs and begins its greeting.
    pub(super) async fn prepare(&mut self) -> Result<Talker, AgentError> {
        match self.agent.name.as_str() {
            ECHO => return Ok(Talker::Subject(Box::new(Echo))),
            BENCH => return Ok(Talker::Subject(Box::<Prompt>::default())),
            _ => {}
        }
        let about = About {
            id: self.seat.id,
            direction: self.direction,
            from: &self.from,
            to: &self.to,
            variables: &self.variables,
        };
        let facts = facts(&self.agent, &about);
        let credentials = self.desk.credentials(self.tenant, &self.agent).await?;
        let shelf = self.desk.shelf(self.tenant, self.agent_id).await;
        let known = shelf.map(|shelf| Arc::new(Known { shelf, settings: self.agent.knowledge.clone() }));
        let library = known.clone().map(|library| library as Arc<dyn Library>);
        let secrets = credentials.iter().map(|(id, credential)| (id.clone(), credential.secret.clone())).collect();
        let variables = facts.variables.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
        self.toolbox.equip(known, secrets, variables);
        let orders = self.inbox.take().unwrap_or_else(|| unbounded_channel().1);
        let around = Surroundings {
            speech: self.desk.speech.as_ref(),
            outbound: self.direction == Direction::Outbound,
            credentials: &credentials,
            library,
            facts,
            events: self.tell.clone(),
            orders,
        };
        pipeline::agent::build(&self.agent, around).map(|conversation| Talker::Agent(Box::new(conversation)))
    }

    /// Refuses the call on the wire and in its row.
    pub(super) fn refuse(self, refusal: Refusal, reason: EndedReason) {
        let status = refusal.status;
        self.desk.sip.reject(self.call, refusal);
        self.end(reason, Some(status), None);
    }

    /// The call ended before it was answered.
    pub(super) fn over(self, cause: Cause) {
        let (reason, status) = before_answer(cause);
        self.end(reason, status, None);
    }

    /// Writes the end; the first one counts.
    pub(super) fn end(self, reason: EndedReason, sip_status: Option<u16>, media: Option<Value>) {
        tracing::info!(call_id = %self.seat.id, reason = reason.as_str(), sip_status, "call ended");
        // A clock that is set during the call changes neither its length nor its price.
        let at_ms = self.answered.map_or_else(leg::unix_ms, |(at, _)| at + self.lasted_ms.unwrap_or(0));
        let silent_ms = if reason == EndedReason::RtpTimeout { self.silent_ms.into() } else { 0 };
        let ended = Ended { reason, at_ms, sip_status, media, degraded: self.degraded, silent_ms };
        self.write(Entry::Ended(Box::new(ended)));
    }

    /// The answered call, to its end.
    pub(super) async fn run(mut self, answered: Answered) {
        let Answered { ports, plan, ability, reach, media, talk, mut events } = answered;
        let answered_at = Instant::now();
        let answered_ms = leg::unix_ms();
        self.answered = Some((answered_ms, answered_at));
        let mut credit =
            self.credit.take().map(|credit| credit.keep(self.desk.store.clone(), answered_ms, answered_at));
        let mut meters = Vec::new();
        let (line, control) = self.desk.media.open(ports, reach.config(&plan));
        let (recorded, recording) = self.open_recording();
        let tap = Shown::new(recorded);
        self.desk.set_heard(self.seat.id, tap.heard());
        self.heard = Some(tap.heard().downgrade());
        let (ear, codec) = (Some(pipeline::agent::ear(&self.agent)), leg::codec_name(plan.codec));
        let mut data = Map::new();
        data.insert("codec".into(), codec.into());
        data.insert("agent".into(), self.agent.name.clone().into());
        let talk: Box<dyn Talk> = match talk {
            Talker::Agent(conversation) => {
                let [stt, llm, tts] = conversation.engines();
                data.insert("engines".into(), json!({"stt": stt, "llm": llm, "tts": tts}));
                meters = conversation.meters();
                conversation
            }
            Talker::Subject(subject) => subject,
        };
        self.status_with(Status::InProgress, Some(200), data);
        let ear = ear.filter(|_| self.agent.name != ECHO);
        // A recording hears what passes here.
        let releases = media.release == Release::Allow && recording.is_none();
        let mut grip = Grip::new(control, plan, (ability, reach), releases, self.inbox.is_none());
        self.desk.voice.seat(VoiceSeat {
            talk,
            line: Box::new(Rings::new(line)),
            ear,
            tap: Some(Box::new(tap)),
            answered: answered_at,
        });

        let limit = sleep_until(Deadline::now() + self.max_duration);
        tokio::pin!(limit);
        let (reason, by_us) = loop {
            tokio::select! {
                event = events.recv(), if !grip.gone => match event {
                    Some(Event::Ended { .. }) if grip.transfer.as_ref().is_some_and(Transfer::passes_on) => self.left_behind(&mut grip),
                    Some(Event::Ended { .. }) if grip.transfer.as_ref().is_some_and(Transfer::is_taken_over) => {
                        break (EndedReason::Transferred, false);
                    }
                    Some(Event::Ended { cause, .. }) => break (after_answer(cause, self.direction), false),
                    Some(Event::Transfer { status, over, .. }) => if let Some(reason) = self.referred(status, over, &mut grip).await {
                        break (reason, true);
                    },
                    Some(Event::Reinvite { sdp, .. }) => self.renegotiate(sdp.as_ref(), &mut grip).await,
                    // Their answer to an offer of ours, or one that refreshed the session.
                    Some(Event::Established { sdp: Some(sdp), .. } | Event::Changed { sdp, .. }) => {
                        self.answered_change(&sdp, &mut grip).await;
                    }
                    Some(Event::Offered { sdp, .. }) => self.offered(sdp, &mut grip).await,
                    Some(Event::ChangeRefused { status, .. }) => self.change_refused(status, &mut grip),
                    Some(Event::Info { digits, .. }) => self.keys_by_signalling(digits, &grip),
                    Some(Event::Refer { refer, .. }) => self.follow(*refer, &mut grip).await,
                    Some(_) => {}
                    None => break (EndedReason::Internal, true),
                },
                Some(event) = self.told.recv() => match event {
                    ConversationEvent::Tool { id, name, arguments } if self.is_transfer(&name) => {
                        self.transfer_by_tool(id, name, &arguments, &mut grip).await;
                    }
                    event => if let Some(reason) = self.heed(event).await {
                        break (reason, true);
                    },
                },
                Some(asked) = self.seat.asks.recv() => if let Some(reason) = self.obey(asked, &mut grip).await {
                    break (reason, true);
                },
                done = self.toolbox.next() => self.tool_done(done),
                turn = grip.next() => match turn {
                    Happens::Over(reason) => break (reason, true),
                    Happens::Look => if let Some(reason) = self.look_at_media(&mut grip).await {
                        break (reason, true);
                    },
                    Happens::Transfer(step) => if let Some(reason) = self.transfer_step(step, &mut grip).await {
                        break (reason, true);
                    },
                },
                () = &mut limit => break (EndedReason::MaxDuration, true),
                event = credit_event(&mut credit) => if let Some(reason) = self.heed_credit(event) {
                    break (reason, true);
                },
            }
        };
        self.lasted_ms = Some(answered_at.elapsed().as_millis() as i64);
        self.close_transfer(&mut grip);
        if by_us {
            self.desk.sip.end(self.call);
        }
        let _ = self.orders.send(Order::Bye);
        // Measurements have no conversation, and nobody took their inbox.
        if self.inbox.is_none() && timeout(CLOSING, self.last_words()).await.is_err() {
            tracing::warn!(call_id = %self.seat.id, "the conversation did not close in time");
        }
        for done in self.toolbox.close() {
            self.write(done.event());
        }
        self.flush_spoken();
        let stats = grip.control.stats();
        drop(grip); // the leg ends, its line goes, the voice thread lets go of the tap
        self.close_recording(recording).await;
        drop(credit);
        let used = credit::used(&self.desk.house.config.billing, &meters);
        if !used.is_empty() {
            self.write(Entry::Used(used));
        }
        self.end(reason, None, Some(media_block(&stats, codec)));
    }

    async fn last_words(&mut self) {
        while !self.closed {
            let Some(event) = self.told.recv().await else { return };
            self.heed(event).await;
        }
    }

    fn open_recording(&self) -> (Option<Box<dyn Tap>>, Option<Open>) {
        if !self.record || self.agent.name == ECHO {
            return (None, None);
        }
        let id = RecordingId(uuid::Uuid::now_v7());
        let (tap, recording) = self.desk.recorder.open(self.desk.house.config.recording.dir.join(self.locator()));
        self.write(Entry::Recording(self.recording_state(id, RecordingStage::Writing, None)));
        (Some(tap), Some((id, recording)))
    }

    fn locator(&self) -> String {
        format!("{}.wav", self.seat.id)
    }

    fn recording_state(
        &self,
        id: RecordingId,
        state: RecordingStage,
        finished: Option<&super::record::Finished>,
    ) -> RecordingState {
        RecordingState {
            id,
            state,
            locator: self.locator(),
            format: "wav",
            channels: 2,
            duration_ms: finished.map(|file| file.duration_ms),
            bytes: finished.map(|file| file.bytes),
            sha256: finished.map(|file| file.sha256.clone()),
        }
    }

    async fn close_recording(&self, recording: Option<Open>) {
        let Some((id, recording)) = recording else { return };
        // The tap is dropped by the voice thread at its next step.
        tokio::time::sleep(Duration::from_millis(60)).await;
        let finished = recording.finish().await;
        let state = if finished.is_some() { RecordingStage::Ready } else { RecordingStage::Failed };
        self.write(Entry::Recording(self.recording_state(id, state, finished.as_ref())));
    }

    async fn renegotiate(&mut self, offer: Option<&sip_stack::Sdp>, grip: &mut Grip) {
        grip.ability.version += 1;
        let Some(offer) = offer else {
            match sip_stack::offer::offer(&grip.ability) {
                Ok(offer) => {
                    let _ = self.desk.sip.answer(self.call, offer).await;
                    self.came_home(grip, "reinvite").await;
                }
                Err(refused) => self.desk.sip.reject(self.call, refused),
            }
            return;
        };
        match sip_stack::offer::answer(offer, &grip.ability) {
            Ok((answer, plan)) => {
                self.agreed(plan, grip);
                let _ = self.desk.sip.answer(self.call, answer).await;
                // We answer with a place of our own: what went past us goes here again.
                self.came_home(grip, "reinvite").await;
            }
            Err(refused) => self.desk.sip.reject(self.call, refused),
        }
    }

    /// The media is elsewhere, or otherwise, from now on.
    pub(super) fn agreed(&mut self, plan: Plan, grip: &mut Grip) {
        let held = !matches!(plan.direction, sip_stack::Direction::SendRecv);
        if std::mem::replace(&mut self.held, held) != held {
            let _ = self.orders.send(Order::Hold(held));
            let name = if held { Name::HoldStarted } else { Name::HoldEnded };
            self.write(Entry::Event { name, data: json!({"by": "caller"}) });
        }
        grip.change(plan);
    }
}

/// Waits for news of the credit; without a lease there is none.
async fn credit_event(credit: &mut Option<credit::Kept>) -> CreditEvent {
    match credit {
        Some(kept) => match kept.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

pub(super) fn media_block(stats: &media_core::Stats, codec: &str) -> Value {
    json!({
        "codec": codec, "ptime_ms": 20, "srtp": null, "rx_packets": stats.received, "tx_packets": stats.sent, "lost": stats.lost,
        "late": stats.late, "duplicate": stats.duplicate, "strangers": stats.strangers, "concealed_ms": stats.concealed_ms,
        "jitter_ms": stats.jitter_ms, "rtt_ms": stats.rtt_ms, "mos": stats.mos,
    })
}

/// What stands in a row for a caller: the user part if it is a number, else the address.
pub(super) fn address(uri: &Uri) -> String {
    match uri.user() {
        Some(user) if number(user).is_some() => user.to_owned(),
        _ => uri.to_string(),
    }
}
