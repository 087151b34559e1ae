//! What a running call hears, and does: of its conversation, of its credit, of its tools.

use control_api::{Entry, LiveEvent};
use domain::event::{Live, Name};
use domain::{EndedReason, Speaker, Turn};
use pipeline::conversation::{ConversationEvent, Ended as Said, Order, Say, Spoken};
use pipeline::turn::Cause;
use serde_json::{Value, json};

use super::Session;
use crate::call::credit::{CreditEvent, WARNING};
use crate::call::toolbox::Done;

/// A caller from whom nothing comes for so long is gone.
const RTP_TIMEOUT_MS: u32 = 30_000;
/// Turns of the caller that are kept for whom the call is handed to.
const KEPT: usize = 4;

impl Session {
    /// What the conversation tells; the reason when it wants the call to end.
    pub(super) async fn heed(&mut self, event: ConversationEvent) -> Option<EndedReason> {
        match event {
            ConversationEvent::Caller(spoken) => {
                if !spoken.again {
                    self.flush_spoken();
                }
                let start = self.spoken.take().map_or(spoken.start, |earlier| earlier.start);
                self.spoken = Some(Spoken { start, ..spoken });
            }
            ConversationEvent::Amended { text, .. } => {
                if let Some(spoken) = &mut self.spoken {
                    spoken.text = text;
                }
            }
            ConversationEvent::Agent(said) => {
                // An answer that was heard settles the turn before it.
                self.flush_spoken();
                self.write_turn(agent_turn(*said));
            }
            ConversationEvent::Interrupted { at } => {
                self.write(Entry::Event { name: Name::TurnInterrupted, data: json!({"at_ms": at}) });
            }
            ConversationEvent::Resumed { paused_ms } => {
                self.write(Entry::Event { name: Name::TurnResumed, data: json!({"paused_ms": paused_ms}) });
            }
            ConversationEvent::Key { digit, at, signalled } => {
                let via = if signalled { "info" } else { "rfc4733" };
                let data = json!({"digit": char::from(digit).to_string(), "at_ms": at, "via": via});
                self.write(Entry::Event { name: Name::DtmfReceived, data });
            }
            ConversationEvent::Sent { digit, in_band } => {
                let via = if in_band { "inband" } else { "rfc4733" };
                let data = json!({"digit": char::from(digit).to_string(), "via": via});
                self.write(Entry::Event { name: Name::DtmfSent, data });
            }
            ConversationEvent::Activity(activity) => {
                self.desk.mark(self.seat.id, |live| live.activity = Some(activity));
                self.show(Live::Activity, || json!({"activity": activity}));
            }
            ConversationEvent::Partial(text) => {
                self.show(Live::TranscriptPartial, || json!({"speaker": "caller", "text": text}));
            }
            ConversationEvent::Tool { id, name, arguments } => self.run_tool(id, name, &arguments).await,
            ConversationEvent::Hold(on) => {
                let name = if on { Name::HoldStarted } else { Name::HoldEnded };
                self.write(Entry::Event { name, data: json!({"by": "music"}) });
            }
            ConversationEvent::Degraded { stage } => {
                self.degraded = true;
                self.write(Entry::Event { name: Name::Degraded, data: json!({"stage": stage}) });
            }
            ConversationEvent::Silent { ms } if ms >= RTP_TIMEOUT_MS => {
                self.silent_ms = ms;
                return Some(EndedReason::RtpTimeout);
            }
            ConversationEvent::Hangup(cause) => {
                return Some(match cause {
                    Cause::AgentEnded if self.parting.is_some() => self.parting.unwrap_or(EndedReason::ApiEnded),
                    Cause::AgentEnded | Cause::NoMark => EndedReason::AgentHungUp,
                    Cause::MailboxUnavailable => EndedReason::VoicemailHungUp,
                    Cause::MaxCall => EndedReason::MaxDuration,
                });
            }
            ConversationEvent::ToolCancelled { id } => {
                if let Some(done) = self.toolbox.stop(&id) {
                    self.write(done.event());
                }
            }
            ConversationEvent::Silent { .. } => {}
            // Before a BYE it means that the line or the voice thread let go: there is nobody left to talk.
            ConversationEvent::Closed => {
                self.closed = true;
                return Some(EndedReason::Internal);
            }
        }
        None
    }

    /// Shows something to who watches now; it is not stored.
    fn show(&self, kind: Live, data: impl FnOnce() -> Value) {
        if self.desk.hub.is_watched() {
            let (tenant, livemode, agent_id) = self.shown_to.clone();
            let at_ms = control_api::now_ms();
            self.desk.hub.show(LiveEvent { tenant, livemode, call: self.seat.id, agent_id, kind, data: data(), at_ms });
        }
    }

    /// The last words of a call are told after its end, and belong before it.
    fn write_turn(&self, mut turn: Turn) {
        if let Some(lasted) = self.lasted_ms.and_then(|lasted| u64::try_from(lasted).ok()) {
            (turn.start_ms, turn.end_ms) = (turn.start_ms.min(lasted), turn.end_ms.min(lasted));
        }
        self.write(Entry::Turn(Box::new(turn)));
    }

    /// What the credit tells; the reason when it is used up.
    pub(super) fn heed_credit(&mut self, event: CreditEvent) -> Option<EndedReason> {
        match event {
            CreditEvent::Low { remaining_ms } => {
                self.write(Entry::Event { name: Name::CreditLow, data: json!({"remaining_ms": remaining_ms}) });
            }
            CreditEvent::Warn => {
                // Whoever talks over it would be cut off without a word.
                let say = Say { text: WARNING.into(), protected: true, ..Say::default() };
                let _ = self.orders.send(Order::Say(say));
            }
            CreditEvent::End(reason) => return Some(reason),
        }
        None
    }

    pub(super) fn flush_spoken(&mut self) {
        if let Some(spoken) = self.spoken.take() {
            if self.said.len() >= KEPT {
                self.said.pop_front();
            }
            self.said.push_back(spoken.text.clone());
            self.write_turn(Turn::new(Speaker::Caller, spoken.text, spoken.start, spoken.end));
        }
    }

    async fn run_tool(&mut self, id: String, name: String, arguments: &str) {
        let (started, done) = self.toolbox.begin(id, name, arguments).await;
        self.write(started);
        if let Some(done) = done {
            self.tool_done(done);
        }
    }

    /// What a tool made is written, what it asks is done, and whoever decides learns of it.
    pub(super) fn tool_done(&mut self, done: Done) {
        self.write(done.event());
        let Done { result, entry, asks, .. } = done;
        if let Some(entry) = entry {
            self.write(entry);
        }
        if !asks.keys.is_empty() {
            let _ = self.orders.send(Order::SendKeys(asks.keys));
        }
        if asks.end {
            let text = asks.say.unwrap_or_else(|| "Goodbye.".to_owned());
            let _ = self.orders.send(Order::Say(Say { text, ends: true, ..Say::default() }));
        }
        let _ = self.orders.send(Order::ToolResult(result));
    }
}

fn agent_turn(said: Said) -> Turn {
    let mut turn = Turn::new(Speaker::Agent, said.text, said.start, said.end);
    turn.interrupted = said.interrupted;
    turn.heard_text = (said.heard_text != turn.text).then_some(said.heard_text);
    turn.latency = said.latency;
    turn.say_id = said.say_id;
    turn
}
