//! One call's conversation: the ear's edges, the recogniser's words and the line's marks go into the turn machine; what
//! it decides is carried out here, on the brain, the voice and the line.

mod brain;
mod inputs;
mod latency;
mod outputs;
mod report;
mod speech;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

pub use brain::{Ask, Brain, ModelParts, Thought, ToolResult};
pub use report::{ConversationEvent, Ended, Order, Say, Spoken};

use crate::flow::{Expect, FieldKind};
use crate::heard::Heard;
use crate::line::{Line, LineEvent, Tick};
use crate::link::usage::Usage;
use crate::stt::{SttCommand, SttLink};
use crate::tts::{TtsEvent, TtsLink};
use crate::turn::{self, Field, In, TurnConfig, Turns};
use crate::vad::Edge;
use crate::voice_thread::{Going, Talk};
use crate::{Gen, Ms};
use latency::Clock;
use speech::Speech;

/// How long the line may take to report what was heard of a cancelled piece once the call is over.
const SETTLE_MS: Ms = 120;

/// Everything a conversation is made of.
pub struct Parts {
    /// Who decides.
    pub brain: Brain,
    /// Who listens; without one only keys are understood.
    pub stt: Option<SttLink>,
    /// Who speaks.
    pub tts: TtsLink,
    /// The numbers of turn taking.
    pub turns: TurnConfig,
    /// Whether the caller may talk over the greeting.
    pub greeting_interruptible: bool,
    /// Lines of our own.
    pub lines: Lines,
    /// Where it tells the call what happens.
    pub events: UnboundedSender<ConversationEvent>,
    /// What the call tells it.
    pub orders: UnboundedReceiver<Order>,
}

/// What the agent says without being asked; each list is gone through in turn.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// To a silent caller, where a model decides; a flow asks by itself.
    pub silence: Vec<String>,
    /// Before hanging up on a silent caller.
    pub goodbye: String,
    /// While something takes its time.
    pub fillers: Vec<String>,
    /// While a tool takes its time: tool → its own; without any the ones above.
    pub of_tools: BTreeMap<String, Vec<String>>,
}

/// A conversation; lives on a voice thread as its call's [`Talk`].
pub struct Conversation {
    turns: Turns,
    brain: Brain,
    stt: Option<SttLink>,
    tts: TtsLink,
    /// Events of the voice that came before there was a line.
    early: VecDeque<TtsEvent>,
    heard: Heard,
    speeches: BTreeMap<Gen, Speech>,
    /// Tool calls that wait for the machine's word, by id.
    tools: BTreeMap<String, (String, String)>,
    results: BTreeMap<String, ToolResult>,
    last_turn: turn::Turn,
    clock: Clock,
    floor_raised: bool,
    fillers: usize,
    lines: Lines,
    /// The caller is speaking, by the ear.
    speaking: bool,
    /// The caller has put us on hold.
    held: bool,
    /// The line belongs to somebody else.
    away: bool,
    /// The machine waits for music to end.
    music: bool,
    notes: u64,
    events: UnboundedSender<ConversationEvent>,
    orders: UnboundedReceiver<Order>,
    /// Set when the machine has closed; the conversation lingers until the line has reported what was heard.
    closed_at: Option<Ms>,
}

/// The generation of the greeting inside the brain only; the machine counts from 1.
const GREETING: Gen = 0;

impl Conversation {
    /// Puts a conversation together and begins to synthesise its greeting.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let mut config = parts.turns;
        config.recogniser = config.recogniser && parts.stt.is_some();
        let mut conversation = Self {
            turns: Turns::new(config),
            brain: parts.brain,
            stt: parts.stt,
            tts: parts.tts,
            early: VecDeque::new(),
            heard: Heard::default(),
            speeches: BTreeMap::new(),
            tools: BTreeMap::new(),
            results: BTreeMap::new(),
            last_turn: 0,
            clock: Clock::default(),
            floor_raised: false,
            fillers: 0,
            lines: parts.lines,
            speaking: false,
            held: false,
            away: false,
            music: false,
            notes: 0,
            events: parts.events,
            orders: parts.orders,
            closed_at: None,
        };
        conversation.begin(!parts.greeting_interruptible);
        conversation
    }

    /// Waits for the first sound of the greeting; what came is kept.
    pub async fn ready(&mut self) {
        while let Some(event) = self.tts.events.recv().await {
            let sounds = !matches!(event, TtsEvent::Piece { .. });
            self.early.push_back(event);
            if sounds {
                return;
            }
        }
    }

    /// Names of recogniser, model and voice.
    #[must_use]
    pub fn engines(&self) -> [String; 3] {
        let stt = self.stt.as_ref().map_or_else(|| "none".to_owned(), |stt| stt.name.clone());
        [stt, self.brain.name().to_owned(), self.tts.name.clone()]
    }

    /// What its vendors have been asked so far, by provider; the counters outlive the conversation.
    #[must_use]
    pub fn meters(&self) -> Vec<(String, Arc<Usage>)> {
        let stt = self.stt.as_ref().map(|stt| (stt.name.clone(), stt.usage.clone()));
        let llm = self.brain.usage().map(|usage| (self.brain.name().to_owned(), usage));
        stt.into_iter().chain(llm).chain([(self.tts.name.clone(), self.tts.usage.clone())]).collect()
    }

    fn begin(&mut self, protected: bool) {
        self.turns.handle(0, In::Answered { screen: false });
        self.brain.ask(GREETING, &[Ask::Begin]);
        let (mut text, mut ends) = (Vec::new(), false);
        while let Some(thought) = self.brain.poll() {
            match thought {
                Thought::Piece(_, piece) => text.push(piece),
                Thought::End(_) => ends = true,
                Thought::Tool { id, name, arguments, .. } => {
                    self.tools.insert(id.clone(), (name, arguments));
                    self.run_tool(&id);
                }
                Thought::Begun(_) | Thought::Done(_) | Thought::Failed(..) => {}
            }
        }
        if let Some(expect) = self.brain.adopt(GREETING) {
            self.expect(0, expect);
        }
        if !text.is_empty() {
            self.turns.handle(0, In::Say { text: text.join(" "), protected, ends, id: None });
        }
        self.carry_out_without_line();
    }

    fn expect(&mut self, now: Ms, expect: Expect) {
        let keys = expect.keys.as_ref();
        let menu = keys.map(|rule| String::from_utf8_lossy(&rule.menu).into_owned()).unwrap_or_default();
        let field = match expect.field {
            FieldKind::Nothing | FieldKind::Open => Field::Open,
            FieldKind::YesNo => Field::YesNo,
            FieldKind::Choice => Field::Choice { options: expect.hints.phrases.clone() },
            FieldKind::Digits { min, max } => Field::Digits { min, max },
            FieldKind::DateTime => Field::DateTime,
            FieldKind::Name => Field::Name,
            FieldKind::Phone => Field::Phone,
            FieldKind::Email => Field::Email,
        };
        self.turns.handle(now, In::Expect(field));
        self.turns.handle(now, In::Keymap(menu));
        if let Some(stt) = &self.stt {
            let _ = stt.commands.try_send(SttCommand::Expect(expect.hints));
        }
    }

    fn tell(&self, event: ConversationEvent) {
        // The call task may be gone already; then nobody wants to know.
        let _ = self.events.send(event);
    }

    fn input(&mut self, now: Ms, input: In, line: &mut dyn Line) {
        self.turns.handle(now, input);
        self.drain(now, line);
    }

    fn drain(&mut self, now: Ms, line: &mut dyn Line) {
        while let Some(out) = self.turns.poll() {
            self.carry_out(now, out, line);
        }
    }
}

impl Talk for Conversation {
    fn hear(&mut self, now: Ms, tick: &Tick, edge: Option<Edge>, line: &mut dyn Line) {
        if self.away {
            return;
        }
        if let Some(stt) = &self.stt {
            // A full channel means that the recogniser stands still; its own link notices and reports.
            let _ = stt.commands.try_send(SttCommand::Audio(tick.caller));
        }
        if let Some(edge) = edge {
            self.edge(now, edge, line);
        }
    }

    fn event(&mut self, now: Ms, event: LineEvent, line: &mut dyn Line) {
        match event {
            LineEvent::Key { digit, at } => self.pressed(now, (digit, at, false), line),
            LineEvent::Sent { digit, in_band } => self.tell(ConversationEvent::Sent { digit, in_band }),
            LineEvent::Mark { r#gen } => {
                self.settle(r#gen, None);
                self.tell(ConversationEvent::Activity("listening"));
                self.input(now, In::Mark { r#gen }, line);
            }
            LineEvent::Stopped { r#gen, heard_ms } => self.settle(r#gen, Some(heard_ms.into())),
            LineEvent::Underrun { r#gen } => self.input(now, In::Underrun { r#gen }, line),
            LineEvent::Refill { r#gen } => self.input(now, In::Refill { r#gen }, line),
            LineEvent::Silent { ms } => self.tell(ConversationEvent::Silent { ms }),
        }
    }

    fn advance(&mut self, now: Ms, line: &mut dyn Line) -> Going {
        while let Ok(order) = self.orders.try_recv() {
            self.obey(now, order, line);
        }
        while let Some(event) = self.stt.as_mut().and_then(|stt| stt.events.try_recv().ok()) {
            self.recognised(now, event, line);
        }
        self.think(now, line);
        while let Some(event) = self.early.pop_front().or_else(|| self.tts.events.try_recv().ok()) {
            self.voiced(now, event, line);
        }
        if self.turns.deadline().is_some_and(|deadline| deadline <= now) {
            self.turns.expire(now);
            self.drain(now, line);
            self.think(now, line);
        }
        match self.closed_at {
            Some(closed)
                if now >= closed + SETTLE_MS || self.speeches.values().all(|speech| speech.began.is_none()) =>
            {
                Going::Over
            }
            _ => Going::On,
        }
    }

    fn raise_floor(&mut self) -> bool {
        std::mem::take(&mut self.floor_raised)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let open: Vec<(Gen, Ms)> = self
            .speeches
            .iter()
            .filter(|(_, speech)| speech.began.is_some())
            .map(|(r#gen, speech)| (*r#gen, speech.heard_guess))
            .collect();
        for (r#gen, heard) in open {
            self.settle(r#gen, Some(heard));
        }
        self.tell(ConversationEvent::Closed);
    }
}
