//! One call's conversation: the ear's edges, the recogniser's words and the line's marks go into the turn machine; what
//! it decides is carried out here, on the brain, the voice and the line.

mod brain;
mod latency;
mod report;
mod speech;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

pub use brain::{Ask, Brain, ModelParts, Thought, ToolResult};
pub use report::{ConversationEvent, Ended, Order, Say, Spoken};

use crate::flow::{Expect, FieldKind};
use crate::heard::Heard;
use crate::line::{Line, LineCommand, LineEvent, Tick};
use crate::link::usage::Usage;
use crate::sentence::Sentences;
use crate::stt::{SttCommand, SttEvent, SttLink};
use crate::tts::{TtsCommand, TtsEvent, TtsLink};
use crate::turn::{self, Field, HoldWhy, In, Manner, Out, Place, Said, TurnConfig, Turns};
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
    /// Texts that were asked for, and by whom, until the machine takes them up.
    asked: VecDeque<(String, String)>,
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
            asked: VecDeque::new(),
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
            self.turns.handle(0, In::Say { text: text.join(" "), protected, ends });
        }
        self.carry_out_without_line();
    }

    /// Before there is a line, all that the machine can want is synthesis.
    fn carry_out_without_line(&mut self) {
        let mut nowhere = Nowhere;
        self.drain(0, &mut nowhere);
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

    fn carry_out(&mut self, now: Ms, out: Out, line: &mut dyn Line) {
        match out {
            Out::Pause { r#gen } => {
                line.send(LineCommand::Pause);
                self.speech(r#gen).paused_at = Some(now);
            }
            Out::Resume { r#gen, from } => self.resume(now, r#gen, from, line),
            Out::Cancel { r#gen, heard } => self.cancel(now, r#gen, heard, line),
            Out::Play { r#gen } => self.play(now, r#gen, line),
            Out::Generate { r#gen, turn, said, speculative, results, manner } => {
                self.generate(now, r#gen, turn, said, speculative, &results, manner);
            }
            Out::Promote { r#gen } => self.adopt(now, r#gen),
            Out::Flush => {
                if let Some(stt) = &self.stt {
                    let _ = stt.commands.try_send(SttCommand::Flush);
                }
            }
            Out::Open { .. } => {}
            Out::Reopen { .. } => self.brain.reopen(),
            Out::Commit { turn, said } => self.commit(now, turn, &said),
            Out::Amend { turn, text } => {
                self.brain.caller_said(&text, true);
                self.tell(ConversationEvent::Amended { turn, text });
            }
            Out::Drop(_) | Out::Note(_) | Out::TakeFloor | Out::Verdict(_) | Out::StartGreeting | Out::Stay => {}
            Out::Record { text, .. } => {
                let (start, end) = self.clock.take_caller(now);
                self.tell(ConversationEvent::Caller(Spoken { text, start, end, keys: false, again: false }));
            }
            Out::RunTool { id } => self.run_tool(&id),
            Out::CancelTool { id } => self.tell(ConversationEvent::ToolCancelled { id }),
            Out::Say { r#gen, line } => self.say_line(r#gen, line),
            Out::Prompt { r#gen, kind } => self.prompt(now, r#gen, kind),
            Out::BackupVoice { .. } => self.tell(ConversationEvent::Degraded { stage: "tts" }),
            Out::RaiseFloor => self.floor_raised = true,
            Out::Hold(why) => {
                // Of the other holds the call knows by itself.
                self.music = why == HoldWhy::Music;
                if self.music {
                    self.tell(ConversationEvent::Hold(true));
                }
            }
            Out::Unhold => {
                if std::mem::take(&mut self.music) {
                    self.tell(ConversationEvent::Hold(false));
                }
            }
            Out::Hangup(cause) => self.tell(ConversationEvent::Hangup(cause)),
            Out::Closed => self.closed_at = Some(now),
        }
    }

    fn speech(&mut self, r#gen: Gen) -> &mut Speech {
        self.speeches.entry(r#gen).or_default()
    }

    fn resume(&mut self, now: Ms, r#gen: Gen, from: Place, line: &mut dyn Line) {
        let speech = self.speeches.entry(r#gen).or_default();
        let paused = speech.paused_at.take().unwrap_or(now);
        let heard = paused.saturating_sub(speech.began.unwrap_or(paused) + speech.paused_ms);
        let rewind_ms = if from == Place::WordStart { self.heard.into_word_ms(r#gen, heard) } else { 0 };
        speech.paused_ms += now - paused;
        line.send(LineCommand::Resume { rewind_ms });
        self.tell(ConversationEvent::Resumed { paused_ms: now - paused });
    }

    fn cancel(&mut self, now: Ms, r#gen: Gen, heard: Option<Ms>, line: &mut dyn Line) {
        self.brain.cancel(r#gen, heard.is_some());
        let _ = self.tts.commands.try_send(TtsCommand::Cancel { r#gen });
        let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
        speech.held.clear();
        speech.cancelled = true;
        if speech.began.is_some() {
            // What was heard is known when the line has stopped: `LineEvent::Stopped`.
            speech.heard_guess = heard.unwrap_or(0);
            line.send(LineCommand::Cancel { r#gen });
            self.tell(ConversationEvent::Interrupted { at: now });
        } else {
            self.speeches.remove(&r#gen);
            self.heard.forget(r#gen);
        }
    }

    fn play(&mut self, now: Ms, r#gen: Gen, line: &mut dyn Line) {
        let speech = self.speeches.entry(r#gen).or_default();
        speech.sounding = true;
        if !speech.held.is_empty() {
            speech.sounds(now);
        }
        for pcm in speech.held.drain(..) {
            line.send(LineCommand::Speak { r#gen, pcm });
        }
        if speech.voice_done {
            line.send(LineCommand::Finish { r#gen });
        }
        self.tell(ConversationEvent::Activity("speaking"));
    }

    #[allow(clippy::too_many_arguments)]
    fn generate(
        &mut self,
        now: Ms,
        r#gen: Gen,
        turn: turn::Turn,
        said: Said,
        speculative: bool,
        results: &[String],
        manner: Manner,
    ) {
        let mut asks: Vec<Ask> = Vec::new();
        for id in results {
            if let Some(result) = self.results.get(id) {
                asks.push(Ask::Result(result.clone()));
            }
        }
        match said {
            Said::Nothing => {}
            Said::Words(words) => asks.push(Ask::Words(words)),
            Said::Keys(keys) => asks.push(Ask::Keys(keys)),
        }
        let latency = self.clock.asked(now, speculative);
        let speech = self.speech(r#gen);
        speech.turn = turn;
        speech.latency = latency;
        tracing::debug!(r#gen, turn, speculative, ?manner, "the brain is asked");
        self.brain.ask(r#gen, &asks);
        if !speculative {
            self.adopt(now, r#gen);
            self.tell(ConversationEvent::Activity("thinking"));
        }
    }

    fn adopt(&mut self, now: Ms, r#gen: Gen) {
        if let Some(expect) = self.brain.adopt(r#gen) {
            self.expect(now, expect);
        }
        let stopped = self.clock.committed;
        self.speech(r#gen).latency.committed = stopped.or(Some(now));
    }

    fn commit(&mut self, now: Ms, turn: turn::Turn, said: &Said) {
        let again = turn == self.last_turn && turn != 0;
        self.last_turn = turn;
        let (start, end) = self.clock.commit(now, again);
        let (text, keys) = match said {
            Said::Nothing => return,
            Said::Words(words) => (words.clone(), false),
            Said::Keys(keys) => (keys.clone(), true),
        };
        if keys {
            self.brain.caller_said(&format!("[pressed the keys {text}]"), again);
        } else {
            self.brain.caller_said(&text, again);
        }
        self.tell(ConversationEvent::Caller(Spoken { text, start, end, keys, again }));
    }

    fn run_tool(&mut self, id: &str) {
        let Some((name, arguments)) = self.tools.get(id).cloned() else { return };
        self.brain.tool_began(id, &name, &arguments);
        self.tell(ConversationEvent::Tool { id: id.to_owned(), name, arguments });
    }

    fn say_line(&mut self, r#gen: Gen, line: turn::Line) {
        let text = match line {
            turn::Line::Text(text) => {
                if let Some(at) = self.asked.iter().position(|(asked, _)| *asked == text) {
                    self.speech(r#gen).say_id = self.asked.remove(at).map(|(_, id)| id);
                }
                text
            }
            turn::Line::Filler => {
                let running = self.tools.iter().filter(|(id, _)| !self.results.contains_key(*id));
                let own =
                    running.filter_map(|(_, (name, _))| self.lines.of_tools.get(name)).find(|own| !own.is_empty());
                let fillers = own.unwrap_or(&self.lines.fillers);
                let Some(text) = fillers.get(self.fillers % fillers.len().max(1)).cloned() else { return };
                self.fillers += 1;
                self.speech(r#gen).fillers += 1;
                let _ = self.tts.commands.try_send(TtsCommand::Speak { r#gen, text });
                return;
            }
            turn::Line::Apology => {
                "I am sorry, something is not working here. Could you say that again, please?".to_owned()
            }
            turn::Line::NobodyThere if self.lines.goodbye.is_empty() => "Goodbye.".to_owned(),
            turn::Line::NobodyThere => self.lines.goodbye.clone(),
            turn::Line::TimeIsUp => "I am afraid our time is up. Goodbye.".to_owned(),
            turn::Line::Voicemail | turn::Line::NameAndReason => {
                "This is an automated call. We will try again.".to_owned()
            }
        };
        self.speak(r#gen, &text);
    }

    fn prompt(&mut self, now: Ms, r#gen: Gen, kind: turn::Prompt) {
        let text = match kind {
            turn::Prompt::Silence(n) => {
                if let Brain::Flow(_) = self.brain {
                    self.brain.ask(r#gen, &[Ask::Silence(n.into())]);
                    self.adopt(now, r#gen);
                    return;
                }
                let prompts = &self.lines.silence;
                let prompt = prompts.get(usize::from(n.saturating_sub(1))).or(prompts.last());
                prompt.map_or("Are you still there?", String::as_str)
            }
            turn::Prompt::TooFewDigits => "That was too short. Please try once more.",
            turn::Prompt::AreYouBack => "Are you back?",
            turn::Prompt::LastMinute => "We have about one minute left.",
        };
        let text = text.to_owned();
        self.speak(r#gen, &text);
    }

    /// Says a text of our own, whole.
    fn speak(&mut self, r#gen: Gen, text: &str) {
        let mut sentences = Sentences::default();
        let mut pieces = sentences.push(text);
        pieces.extend(sentences.finish());
        self.speech(r#gen);
        for text in pieces {
            let _ = self.tts.commands.try_send(TtsCommand::Speak { r#gen, text });
        }
        let _ = self.tts.commands.try_send(TtsCommand::Finish { r#gen });
    }

    fn think(&mut self, now: Ms, line: &mut dyn Line) {
        while let Some(thought) = self.brain.poll() {
            match thought {
                Thought::Begun(r#gen) => {
                    if self.speech(r#gen).latency.token(now) {
                        self.input(now, In::Token { r#gen }, line);
                    }
                }
                Thought::Piece(r#gen, text) => {
                    let speech = self.speech(r#gen);
                    speech.pieces += 1;
                    speech.latency.sentence(now);
                    if self.tts.commands.try_send(TtsCommand::Speak { r#gen, text }).is_err() {
                        self.input(now, In::VoiceError { r#gen }, line);
                    }
                }
                Thought::Tool { r#gen, id, name, arguments } => {
                    self.tools.insert(id.clone(), (name.clone(), arguments));
                    self.input(now, In::ToolCall { r#gen, id, name, cancellable: false }, line);
                }
                Thought::End(r#gen) => self.input(now, In::EndCall { r#gen }, line),
                Thought::Done(r#gen) => {
                    if self.speech(r#gen).pieces > 0 {
                        let _ = self.tts.commands.try_send(TtsCommand::Finish { r#gen });
                    }
                    self.input(now, In::LlmDone { r#gen }, line);
                }
                Thought::Failed(r#gen, _) => {
                    self.tell(ConversationEvent::Degraded { stage: "llm" });
                    self.input(now, In::LlmError { r#gen }, line);
                }
            }
        }
    }

    fn voiced(&mut self, now: Ms, event: TtsEvent, line: &mut dyn Line) {
        match event {
            TtsEvent::Audio { r#gen, pcm } => {
                let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
                if speech.cancelled {
                    return;
                }
                speech.samples += pcm.len() as u64;
                speech.latency.voice(now);
                if speech.fillers > 0 {
                    speech.began.get_or_insert(now);
                    line.send(LineCommand::Speak { r#gen, pcm });
                    return;
                }
                if speech.sounding {
                    speech.sounds(now);
                    line.send(LineCommand::Speak { r#gen, pcm });
                } else {
                    speech.held.push(pcm);
                }
                if !std::mem::replace(&mut speech.announced, true) {
                    self.input(now, In::Audio { r#gen, duration: None }, line);
                }
            }
            TtsEvent::Piece { r#gen, text, end_sample } => {
                let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
                speech.fillers = speech.fillers.saturating_sub(1);
                self.heard.piece(r#gen, text, end_sample);
            }
            TtsEvent::Done { r#gen } => {
                let Some(speech) = self.speeches.get_mut(&r#gen) else { return };
                speech.voice_done = true;
                let duration = Some(speech.samples * 1000 / u64::from(codecs::pcm::RATE));
                if speech.sounding && !speech.cancelled {
                    line.send(LineCommand::Finish { r#gen });
                }
                self.input(now, In::Audio { r#gen, duration }, line);
            }
            TtsEvent::Error { r#gen, reason, .. } => {
                tracing::warn!(r#gen, reason, "the voice failed");
                self.input(now, In::VoiceError { r#gen }, line);
            }
            TtsEvent::Down { reason, .. } => {
                tracing::warn!(reason, "the voice is down");
                self.tell(ConversationEvent::Degraded { stage: "tts" });
            }
        }
    }

    fn recognised(&mut self, now: Ms, event: SttEvent, line: &mut dyn Line) {
        match event {
            // What was still on its way when somebody else took the line.
            SttEvent::Partial { .. }
            | SttEvent::Final { .. }
            | SttEvent::TurnEager { .. }
            | SttEvent::TurnResumed
            | SttEvent::TurnEnd { .. }
                if self.away => {}
            SttEvent::Partial { text, end } => {
                self.tell(ConversationEvent::Partial(text.clone()));
                self.input(now, In::Partial { text, end: Some(end) }, line);
            }
            SttEvent::Final { text, end, .. } => {
                self.clock.stt_final = Some(now);
                self.input(now, In::Final { text, end: Some(end) }, line);
            }
            SttEvent::TurnEager { text } => self.input(now, In::VendorEager { text }, line),
            SttEvent::TurnResumed => self.input(now, In::VendorResumed, line),
            SttEvent::TurnEnd { text } => self.input(now, In::VendorEnd { text }, line),
            SttEvent::Nothing { .. } => {}
            SttEvent::Ready { took_ms } => tracing::debug!(took_ms, "the recogniser is connected"),
            SttEvent::Down { reason, retry } => {
                tracing::warn!(reason, retry, "the recogniser is down");
                self.tell(ConversationEvent::Degraded { stage: "stt" });
                self.input(now, In::SttDown, line);
            }
        }
    }

    /// A generation has ended on the line: what was heard of it becomes transcript and context.
    fn settle(&mut self, r#gen: Gen, heard_ms: Option<Ms>) {
        let Some(speech) = self.speeches.remove(&r#gen) else { return };
        let text = self.heard.generated(r#gen);
        let all = speech.samples * 1000 / u64::from(codecs::pcm::RATE);
        let heard_text = match heard_ms {
            Some(ms) if ms < all => self.heard.until(r#gen, ms),
            _ => text.clone(),
        };
        self.heard.forget(r#gen);
        self.brain.agent_said(&heard_text);
        let start = speech.began.unwrap_or(0);
        let length = heard_ms.unwrap_or(all).min(all) + speech.paused_ms;
        if text.is_empty() {
            return;
        }
        let interrupted = heard_ms.is_some();
        let latency = speech.latency.waterfall();
        let (end, say_id) = (start + length, speech.say_id);
        let ended = Ended { text, heard_text, interrupted, start, end, latency, say_id };
        self.tell(ConversationEvent::Agent(Box::new(ended)));
    }

    fn edge(&mut self, now: Ms, edge: Edge, line: &mut dyn Line) {
        self.speaking = matches!(edge, Edge::On { .. });
        let (command, input) = match edge {
            Edge::On { at } => {
                self.clock.on(at);
                (SttCommand::SpeechStarted { at }, In::On { at })
            }
            Edge::Off { at } => {
                self.clock.off(at);
                (SttCommand::SpeechEnded { at }, In::Off { at })
            }
        };
        if let Some(stt) = &self.stt {
            let _ = stt.commands.try_send(command);
        }
        self.input(now, input, line);
    }

    fn obey(&mut self, now: Ms, order: Order, line: &mut dyn Line) {
        match order {
            Order::ToolResult(result) => {
                let id = result.id.clone();
                self.brain.tool_ended(&result);
                self.results.insert(id.clone(), result);
                self.input(now, In::ToolResult { id }, line);
            }
            Order::Say(Say { text, now: at_once, protected, ends, id }) => {
                if let Some(id) = id {
                    let asked = (text.clone(), id);
                    if at_once { self.asked.push_front(asked) } else { self.asked.push_back(asked) }
                }
                let say = match (ends, at_once) {
                    (true, true) => In::Farewell { text },
                    (false, true) => In::SayNow { text, protected },
                    (ends, false) => In::Say { text, protected, ends },
                };
                self.input(now, say, line);
            }
            Order::Instruct { text, respond } => {
                self.brain.instruct(&text);
                if respond && self.brain.is_model() {
                    self.notes += 1;
                    let id = format!("note-{}", self.notes);
                    self.input(now, In::Nudge { id }, line);
                }
            }
            Order::Hold(on) => {
                self.held = on;
                if !self.away {
                    self.input(now, In::Hold(on), line);
                }
            }
            Order::Away(on) => {
                if on && self.speaking {
                    self.edge(now, Edge::Off { at: now }, line);
                }
                self.away = on;
                self.input(now, In::Away(on), line);
                if !on && self.held {
                    self.input(now, In::Hold(true), line);
                }
            }
            Order::Bye => {
                self.input(now, In::Bye, line);
                // A machine that has hung up itself does not close a second time.
                self.closed_at.get_or_insert(now);
            }
            Order::Keys(keys) => {
                for digit in keys.bytes() {
                    self.pressed(now, (digit, now, true), line);
                }
            }
            Order::SendKeys(digits) => line.send(LineCommand::SendDigits(digits)),
        }
    }

    fn pressed(&mut self, now: Ms, (digit, at, signalled): (u8, Ms, bool), line: &mut dyn Line) {
        self.clock.key(at);
        self.tell(ConversationEvent::Key { digit, at, signalled });
        if !self.away {
            self.input(now, In::Key { digit, at }, line);
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

/// Stands in for the line while the call rings.
struct Nowhere;

impl Line for Nowhere {
    fn tick(&mut self) -> Option<Tick> {
        None
    }
    fn event(&mut self) -> Option<LineEvent> {
        None
    }
    fn send(&mut self, _command: LineCommand) {}
    fn is_gone(&self) -> bool {
        false
    }
}
