//! The test phone's side of the line: waits for the agent to finish, does the next step, keeps both sides.

use std::collections::VecDeque;
use std::time::Duration;

use codecs::pcm::{FRAME, RATE};
use pipeline::Ms;
use pipeline::line::{Line, LineCommand, LineEvent, Tick};
use pipeline::vad::Edge;
use pipeline::voice_thread::{Going, Talk};
use tokio::sync::mpsc::UnboundedSender;

use super::Step;

/// The agent has finished when it has been silent for so long.
const FINISHED_MS: Ms = 1100;
/// An agent that says nothing for so long is not waited for.
const PATIENCE_MS: Ms = 9000;
/// A frame this loud is the agent's voice, in dBov.
const VOICE_DBOV: f32 = -45.0;

/// One step, with its place in the recording.
#[derive(Clone, Debug)]
pub struct Done {
    /// What was said or pressed.
    pub what: String,
    /// When it began, in ms.
    pub began: Ms,
    /// When it ended.
    pub ended: Ms,
    /// First sound of the agent after it.
    pub answered: Option<Ms>,
}

/// The call as it was heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Our side.
    pub ours: Vec<i16>,
    /// The agent's side.
    pub theirs: Vec<i16>,
    /// The steps that were done.
    pub steps: Vec<Done>,
    /// Steps that the call left no time for.
    pub left: usize,
    /// First sound of the agent.
    pub greeted: Option<Ms>,
}

enum Turn {
    /// The agent's, since then.
    Theirs { since: Ms },
    /// Ours: this generation is playing, behind keys or with a voice.
    Ours { r#gen: u64, keys: bool },
    /// Nothing is left to do.
    Lingering { since: Ms },
}

/// The test phone.
pub struct Phone {
    steps: VecDeque<Step>,
    linger: Ms,
    heard: Heard,
    turn: Turn,
    /// Since when the agent has been speaking without a pause.
    voice_since: Option<Ms>,
    last_voice: Option<Ms>,
    next_gen: u64,
    clock: Ms,
    report: Option<UnboundedSender<Heard>>,
}

impl Phone {
    /// Will do `steps`, then stay on the line for `linger`.
    #[must_use]
    pub fn new(steps: Vec<Step>, linger: Duration, report: UnboundedSender<Heard>) -> Self {
        Self {
            steps: steps.into(),
            linger: linger.as_millis() as Ms,
            heard: Heard::default(),
            turn: Turn::Theirs { since: 0 },
            voice_since: None,
            last_voice: None,
            next_gen: 1,
            clock: 0,
            report: Some(report),
        }
    }

    fn begin(&mut self, step: Step, line: &mut dyn Line) {
        let (what, pcm, keys) = match step {
            Step::Say { words, pcm, .. } => (words, pcm, false),
            Step::Keys(digits) => {
                let what = format!("keys {}", String::from_utf8_lossy(&digits));
                line.send(LineCommand::SendDigits(digits));
                // The leg plays nothing beside keys: one silent frame behind them marks their end.
                (what, vec![0; FRAME], true)
            }
        };
        let r#gen = self.next_gen;
        self.next_gen += 1;
        self.heard.steps.push(Done { what, began: self.clock, ended: self.clock, answered: None });
        line.send(LineCommand::Speak { r#gen, pcm: pcm.into() });
        line.send(LineCommand::Finish { r#gen });
        self.turn = Turn::Ours { r#gen, keys };
        self.voice_since = None;
    }

    fn is_due(&self, step: &Step, since: Ms) -> bool {
        if let Step::Say { over_after: Some(after), .. } = step {
            return self.voice_since.is_some_and(|voice| self.clock >= voice + after.as_millis() as Ms)
                || self.clock >= since + PATIENCE_MS;
        }
        match self.last_voice {
            Some(voice) if voice >= since => self.clock >= voice + FINISHED_MS,
            _ => self.clock >= since + PATIENCE_MS,
        }
    }

    fn report(&mut self) {
        if let Some(report) = self.report.take() {
            self.heard.left = self.steps.len();
            let _ = report.send(std::mem::take(&mut self.heard));
        }
    }
}

impl Talk for Phone {
    fn hear(&mut self, _now: Ms, tick: &Tick, _edge: Option<Edge>, line: &mut dyn Line) {
        self.heard.ours.extend_from_slice(&tick.agent);
        self.heard.theirs.extend_from_slice(&tick.caller);
        self.clock = self.heard.theirs.len() as Ms * 1000 / Ms::from(RATE);
        if codecs::pcm::rms_dbov(&tick.caller) > VOICE_DBOV {
            let began = self.clock - (FRAME as Ms * 1000 / Ms::from(RATE));
            self.heard.greeted.get_or_insert(began);
            self.last_voice = Some(self.clock);
            self.voice_since.get_or_insert(began);
            if !matches!(self.turn, Turn::Ours { .. })
                && let Some(last) = self.heard.steps.last_mut()
                && began >= last.ended
            {
                last.answered.get_or_insert(began);
            }
        }
        if let Turn::Theirs { since } = self.turn {
            match self.steps.front() {
                Some(step) if self.is_due(step, since) => {
                    if let Some(step) = self.steps.pop_front() {
                        self.begin(step, line);
                    }
                }
                Some(_) => {}
                None => self.turn = Turn::Lingering { since: self.clock },
            }
        }
    }

    fn event(&mut self, _now: Ms, event: LineEvent, _line: &mut dyn Line) {
        if let (LineEvent::Mark { r#gen }, Turn::Ours { r#gen: ours, keys }) = (event, &self.turn)
            && r#gen == *ours
        {
            if let Some(last) = self.heard.steps.last_mut() {
                // The synthesiser's own trailing silence is not speech: measured latency begins where our voice ends.
                let ended = if *keys { self.clock } else { end_of_voice(&self.heard.ours) };
                last.ended = ended.max(last.began);
            }
            self.turn = Turn::Theirs { since: self.clock };
        }
    }

    fn advance(&mut self, _now: Ms, _line: &mut dyn Line) -> Going {
        if let Turn::Lingering { since } = self.turn
            && self.clock >= since.max(self.last_voice.unwrap_or(0)) + self.linger
        {
            self.report();
            return Going::Over;
        }
        Going::On
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.report();
    }
}

fn end_of_voice(ours: &[i16]) -> Ms {
    let frames = ours.chunks(FRAME).rposition(|frame| codecs::pcm::rms_dbov(frame) > VOICE_DBOV - 10.0);
    frames.map_or(0, |frame| (frame as Ms + 1) * 20)
}
