//! The machine's value, its door, and what must hold whenever the door closes.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::config::TurnConfig;
use super::fields::Field;
use super::state::{Agent, Caller, Committed, Mode, Speculation, Tools, Waiting};
use super::{In, Note, Out, Timer, Turn};
use crate::{Gen, Ms};

/// The turns of one conversation. Serialise it anywhere between two calls; its copy goes on the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turns {
    pub(super) config: TurnConfig,
    pub(super) expect: Field,
    /// Keys that are an answer by themselves whatever is expected.
    pub(super) keymap: String,
    pub(super) mode: Mode,
    pub(super) caller: Caller,
    pub(super) agent: Agent,
    pub(super) speculation: Option<Speculation>,
    pub(super) tools: Tools,
    pub(super) lines: VecDeque<Waiting>,
    pub(super) committed: Option<Committed>,
    /// Number of the last committed turn.
    pub(super) turn: Turn,
    pub(super) last_gen: Gen,
    /// First voiced frame of the burst that is on.
    pub(super) voice: Option<Ms>,
    pub(super) last_voice: Ms,
    /// When the agent last stopped to sound.
    pub(super) idle_at: Ms,
    /// Learned length of pauses inside this caller's turns.
    pub(super) pace: Ms,
    /// The call is being ended.
    pub(super) ending: bool,
    pub(super) linger_at: Option<Ms>,
    pub(super) silence_at: Option<Ms>,
    pub(super) silences: u8,
    pub(super) asked_time: bool,
    pub(super) back_at: Option<Ms>,
    pub(super) warn_at: Option<Ms>,
    pub(super) over_at: Option<Ms>,
    out: VecDeque<Out>,
}

impl Turns {
    /// A machine for a call that has just been answered, at time 0.
    pub fn new(config: TurnConfig) -> Self {
        let over = config.max_call;
        Self {
            config,
            expect: Field::Open,
            keymap: String::new(),
            mode: Mode::Normal,
            caller: Caller::Quiet,
            agent: Agent::Idle,
            speculation: None,
            tools: Tools::default(),
            lines: VecDeque::new(),
            committed: None,
            turn: 0,
            last_gen: 0,
            voice: None,
            last_voice: 0,
            idle_at: 0,
            pace: 0,
            ending: false,
            linger_at: None,
            silence_at: None,
            silences: 0,
            asked_time: false,
            back_at: None,
            warn_at: Some(over.saturating_sub(60_000)),
            over_at: Some(over),
            out: VecDeque::new(),
        }
    }

    /// Takes one event. Timers that were due before `now` run first; those due at `now` wait for [`Turns::expire`].
    pub fn handle(&mut self, now: Ms, input: In) {
        if let Some(before) = now.checked_sub(1) {
            self.run_timers(before, now);
        }
        self.take(now, input);
        self.settle(now);
    }

    /// What is to be done next, in order.
    pub fn poll(&mut self) -> Option<Out> {
        self.out.pop_front()
    }

    /// When [`Turns::expire`] wants to be called; it may lie in the past.
    pub fn deadline(&self) -> Option<Ms> {
        self.next_timer().map(|(due, _)| due)
    }

    /// Runs the timers that are due at `now`.
    pub fn expire(&mut self, now: Ms) {
        self.run_timers(now, now);
    }

    /// The generation that is audible now, or paused in the middle.
    pub fn speaking(&self) -> Option<Gen> {
        match &self.agent {
            Agent::Speaking(speech) | Agent::Paused(speech) => Some(speech.thought.r#gen),
            Agent::Idle | Agent::Thinking(_) => None,
        }
    }

    /// Whether the call is over for the machine.
    pub fn is_closed(&self) -> bool {
        matches!(self.mode, Mode::Closed)
    }

    /// Whether the line is on hold.
    pub fn is_held(&self) -> bool {
        matches!(self.mode, Mode::Held(_))
    }

    /// The last committed turn.
    pub fn turn(&self) -> Turn {
        self.turn
    }

    fn take(&mut self, now: Ms, input: In) {
        match input {
            In::On { at } => self.on(at.min(now), now),
            In::Off { at } => self.off(at.min(now), now),
            In::Partial { text, .. } => self.words(&text, false, now),
            In::Final { text, .. } => self.words(&text, true, now),
            In::VendorEager { text } => self.vendor_eager(&text, now),
            In::VendorResumed => self.vendor_resumed(),
            In::VendorEnd { text } => self.vendor_end(&text, now),
            In::EndProb { p } => self.end_probability(p, now),
            In::Key { digit, .. } => self.key(digit, now),
            In::Token { r#gen } => self.token(r#gen, now),
            In::ToolCall { r#gen, id, cancellable, .. } => self.tool_call(r#gen, id, cancellable, now),
            In::LlmDone { r#gen } => self.model_done(r#gen, now),
            In::LlmError { r#gen } => self.model_error(r#gen, now),
            In::Audio { r#gen, duration } => self.audio(r#gen, duration, now),
            In::Mark { r#gen } => self.mark(r#gen, now),
            In::Underrun { r#gen } => self.underrun(r#gen, now),
            In::Refill { r#gen } => self.refill(r#gen, now),
            In::VoiceError { r#gen } => self.voice_error(r#gen),
            In::ToolResult { id } => self.tool_result(id),
            In::EndCall { r#gen } => self.end_call(r#gen),
            In::Expect(field) => self.expect = field,
            In::Keymap(keys) => self.keymap = keys,
            In::Say { text, protected, ends, id } => {
                if !self.is_closed() {
                    self.lines.push_back(Waiting { text, protected, ends, id });
                }
            }
            In::SayNow { text, protected, id } => {
                if !self.is_closed() {
                    self.cancel_all(now);
                    self.lines.push_front(Waiting { text, protected, ends: false, id });
                }
            }
            In::Farewell { text } => self.farewell(text, now),
            In::Nudge { id } => self.nudge(id),
            In::Music(on) => self.music(on, now),
            In::Hold(on) => self.hold_signal(on, now),
            In::Away(on) => self.away(on, now),
            In::SttDown => self.recogniser_lost(),
            In::Answered { screen } => self.answered(screen, now),
            In::Beep => self.beep(now),
            In::Bye => self.bye(now),
        }
    }

    fn run_timers(&mut self, due_by: Ms, now: Ms) {
        // No state has more than a handful of timers; a longer run means that one of them does not move its state.
        for _ in 0..64 {
            match self.next_timer() {
                Some((due, timer)) if due <= due_by => {
                    self.fire(timer, now);
                    self.settle(now);
                }
                _ => return,
            }
        }
        self.reset(now);
    }

    /// Leaves a state without a way out.
    fn reset(&mut self, now: Ms) {
        debug_assert!(false, "a timer does not move its state: {:?}", self.next_timer());
        self.cancel_all(now);
        self.caller = Caller::Quiet;
        self.voice = None;
        self.ending = false;
        self.linger_at = None;
        self.back_at = None;
        if !self.is_closed() {
            self.mode = Mode::Normal;
        }
        self.silence_at = Some(now + self.expect.silence());
        self.note(Note::Reset);
    }

    /// What holds after every event: nobody waits for what will not come.
    fn settle(&mut self, now: Ms) {
        if self.is_closed() {
            return;
        }
        if matches!(self.agent, Agent::Idle) && matches!(self.caller, Caller::Tentative(_)) {
            self.contest_ends_itself(now);
        }
        self.answer_results(now);
        self.next_line(now);
        self.try_play(now);
        let normal = matches!(self.mode, Mode::Normal);
        if !matches!(self.agent, Agent::Idle) {
            self.silence_at = None;
            self.linger_at = None;
        } else if normal && self.ending {
            self.silence_at = None;
            if self.linger_at.is_none() {
                self.linger_at = Some(now + self.config.linger);
            }
        } else if normal {
            self.linger_at = None;
            if self.silence_at.is_none() {
                self.silence_at = Some(now + self.silence_wait());
            }
        } else {
            self.silence_at = None;
            self.linger_at = None;
        }
    }

    /// The silence that the next prompt waits for.
    fn silence_wait(&self) -> Ms {
        match self.silences {
            0 if self.asked_time => self.config.silence_asked,
            0 => self.config.silence_first.unwrap_or_else(|| self.expect.silence()),
            1 => self.config.silence_second,
            _ => self.config.silence_last,
        }
    }

    pub(super) fn say(&mut self, out: Out) {
        self.out.push_back(out);
    }

    pub(super) fn note(&mut self, note: Note) {
        self.say(Out::Note(note));
    }

    pub(super) fn new_gen(&mut self) -> Gen {
        self.last_gen += 1;
        self.last_gen
    }

    /// Nobody speaks and nobody is about to.
    pub(super) fn floor_is_free(&self) -> bool {
        matches!(self.mode, Mode::Normal) && matches!(self.caller, Caller::Quiet) && self.voice.is_none()
    }

    /// The timer that is due first.
    pub fn next_timer(&self) -> Option<(Ms, Timer)> {
        self.timers().into_iter().flatten().min()
    }
}
