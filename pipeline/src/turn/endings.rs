//! Silence, hold, and the end of the call: each of them asks again, when its time has come, whether somebody speaks after all.

use super::state::{Agent, Caller, Draft, Mode};
use super::{Cause, HoldWhy, Line, Note, Out, Prompt, Turns, Unanswered};
use crate::{Gen, Ms};

/// How long a prompt or hang-up waits when somebody speaks at its time.
const AGAIN: Ms = 300;
/// Room after noise in the linger.
const AFTER_NOISE: Ms = 200;

impl Turns {
    fn nobody_acts(&self) -> bool {
        self.floor_is_free() && matches!(self.agent, Agent::Idle)
    }

    pub(super) fn silence_due(&mut self, now: Ms) {
        if !self.nobody_acts() || !self.tools.running.is_empty() || self.ending {
            self.silence_at = Some(now + AGAIN);
            return;
        }
        self.silence_at = None;
        self.silences = self.silences.saturating_add(1);
        self.asked_time = false;
        match self.silences {
            1 | 2 => self.prompt(Prompt::Silence(self.silences), now),
            _ => {
                self.ending = true;
                self.own_line(Line::NobodyThere, None, now);
            }
        }
    }

    /// The model wants the call to end after the sentence of this generation.
    pub(super) fn end_call(&mut self, r#gen: Gen) {
        if let Some(speculation) = &mut self.speculation
            && speculation.thought.r#gen == r#gen
        {
            speculation.ends = true;
            return;
        }
        let current = match &self.agent {
            Agent::Thinking(thought) => {
                thought.r#gen == r#gen || thought.twin.as_ref().is_some_and(|twin| twin.r#gen == r#gen)
            }
            Agent::Speaking(speech) | Agent::Paused(speech) => speech.thought.r#gen == r#gen,
            Agent::Idle => r#gen == self.last_gen && matches!(self.caller, Caller::Quiet),
        };
        if current && matches!(self.mode, Mode::Normal) {
            self.ending = true;
        }
    }

    /// The caller has one more thing.
    pub(super) fn stay(&mut self) {
        self.ending = false;
        self.linger_at = None;
        self.say(Out::Stay);
    }

    pub(super) fn delay_linger(&mut self, now: Ms) {
        self.linger_at = self.linger_at.map(|at| at.max(now + AFTER_NOISE));
    }

    pub(super) fn linger_due(&mut self, now: Ms) {
        if self.nobody_acts() {
            return self.hang_up(Cause::AgentEnded, now);
        }
        // Whoever speaks has the word: the linger begins anew after it.
        self.linger_at = Some(now + AGAIN);
    }

    pub(super) fn hang_up(&mut self, cause: Cause, now: Ms) {
        self.cancel_all(now);
        self.take_words(Unanswered::CallOver);
        self.say(Out::Hangup(cause));
        self.close();
    }

    pub(super) fn bye(&mut self, now: Ms) {
        if self.is_closed() {
            return;
        }
        self.cancel_all(now);
        if !matches!(self.mode, Mode::Screening(_)) {
            self.take_words(Unanswered::CallOver);
        }
        let on: Vec<String> = self.tools.running.iter().map(|tool| tool.id.clone()).collect();
        for id in on {
            self.note(Note::ToolRunsOn(id));
        }
        self.say(Out::Closed);
        self.close();
    }

    fn close(&mut self) {
        self.mode = Mode::Closed;
        self.caller = Caller::Quiet;
        self.lines.clear();
        self.voice = None;
        self.silence_at = None;
        self.linger_at = None;
        self.back_at = None;
        self.warn_at = None;
        self.over_at = None;
        self.tools.filler_at = None;
    }

    pub(super) fn music(&mut self, on: bool, now: Ms) {
        match (&self.mode, on) {
            (Mode::Normal | Mode::Keys(_), true) => self.hold(HoldWhy::Music, now),
            (Mode::Held(HoldWhy::Music), false) => self.unhold(now),
            _ => {}
        }
    }

    pub(super) fn hold_signal(&mut self, on: bool, now: Ms) {
        match (&self.mode, on) {
            (Mode::Normal | Mode::Keys(_) | Mode::Screening(_), true) => self.hold(HoldWhy::Caller, now),
            // Signalling outlasts the music, not the other way round.
            (Mode::Held(HoldWhy::Music), true) => self.mode = Mode::Held(HoldWhy::Caller),
            (Mode::Held(HoldWhy::Caller), false) => self.unhold(now),
            _ => {}
        }
    }

    /// Whoever has the line now outlasts every other hold; nobody is asked whether they are back.
    pub(super) fn away(&mut self, on: bool, now: Ms) {
        match (&self.mode, on) {
            (Mode::Normal | Mode::Keys(_) | Mode::Screening(_), true) => self.hold(HoldWhy::Away, now),
            (Mode::Held(_), true) => self.mode = Mode::Held(HoldWhy::Away),
            (Mode::Held(HoldWhy::Away), false) => {
                self.unhold(now);
                self.back_at = None;
            }
            _ => {}
        }
    }

    fn hold(&mut self, why: HoldWhy, now: Ms) {
        self.cancel_all(now);
        self.take_words(Unanswered::Hold);
        if self.ending {
            self.stay();
        }
        self.mode = Mode::Held(why);
        self.say(Out::Hold(why));
    }

    pub(super) fn unhold(&mut self, now: Ms) {
        self.mode = Mode::Normal;
        self.silences = 0;
        self.back_at = Some(now + self.config.silence_back);
        if let Some(onset) = self.voice {
            self.caller = Caller::Talking(Draft::new(self.turn + 1, onset, now));
        }
        self.say(Out::Unhold);
    }

    /// A second after the hold: whoever is silent is asked.
    pub(super) fn back_due(&mut self, now: Ms) {
        self.back_at = None;
        if self.nobody_acts() && !self.ending {
            self.prompt(Prompt::AreYouBack, now);
        }
    }

    /// A minute before the longest call ends.
    pub(super) fn warn_due(&mut self, now: Ms) {
        if self.nobody_acts() && !self.ending {
            self.warn_at = None;
            self.prompt(Prompt::LastMinute, now);
        } else {
            self.warn_at = Some(now + AGAIN);
        }
    }

    pub(super) fn over_due(&mut self, now: Ms) {
        self.last_words(Line::TimeIsUp, Cause::MaxCall, now);
    }

    /// Somebody wants the call to end behind these words.
    pub(super) fn farewell(&mut self, text: String, now: Ms) {
        if !self.is_closed() {
            self.last_words(Line::Text { text, id: None }, Cause::AgentEnded, now);
        }
    }

    fn last_words(&mut self, line: Line, cause: Cause, now: Ms) {
        self.warn_at = None;
        self.over_at = None;
        self.cancel_all(now);
        self.take_words(Unanswered::CallOver);
        self.lines.clear();
        self.mode = Mode::Normal;
        self.ending = true;
        self.own_line(line, Some(cause), now);
        if let Agent::Thinking(thought) = &mut self.agent {
            thought.over = true;
        }
    }
}
