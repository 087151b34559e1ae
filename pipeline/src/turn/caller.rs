//! The caller's side: voice edges, words, and the end of a turn.

use super::fields::Field;
use super::state::{Agent, Caller, Contest, Draft, Mode, Words};
use super::text::{self, Fit, Weight};
use super::{Note, Out, Turns, Why};
use crate::Ms;

/// A burst shorter than this is a click, not speech.
pub(super) const CLICK: Ms = 120;

impl Turns {
    pub(super) fn on(&mut self, at: Ms, now: Ms) {
        if self.is_closed() || self.voice.is_some() {
            return;
        }
        self.voice = Some(at);
        match &mut self.mode {
            Mode::Normal => {}
            Mode::Screening(screen) => {
                screen.speech.get_or_insert(at);
                return;
            }
            Mode::Keys(_) | Mode::Held(_) | Mode::Closed => return,
        }
        match std::mem::replace(&mut self.caller, Caller::Quiet) {
            Caller::Quiet if self.agent_is_busy() => {
                self.caller = Caller::Tentative(Contest { onset: at, voiced: 0, words: Words::default() });
                self.pause(now);
            }
            Caller::Quiet => self.caller = Caller::Talking(Draft::new(self.turn + 1, at, now)),
            Caller::Gap(mut draft) => {
                let pause = at.saturating_sub(self.last_voice);
                if (200..=4000).contains(&pause) && self.idle_at <= self.last_voice {
                    draft.pauses.push(pause);
                }
                draft.edge = now;
                draft.in_gap = true;
                draft.flushed = false;
                self.caller = Caller::Talking(draft);
            }
            state @ (Caller::Tentative(_) | Caller::Talking(_)) => self.caller = state,
        }
    }

    pub(super) fn off(&mut self, at: Ms, now: Ms) {
        let Some(since) = self.voice.take() else { return };
        let burst = at.saturating_sub(since);
        let before = self.last_voice;
        self.last_voice = at.max(before);
        if !matches!(self.mode, Mode::Normal) {
            if burst < CLICK
                && let Mode::Screening(screen) = &mut self.mode
                && screen.words.is_empty()
                && screen.speech == Some(since)
            {
                screen.speech = None;
            }
            return;
        }
        match std::mem::replace(&mut self.caller, Caller::Quiet) {
            Caller::Talking(mut draft) => {
                if draft.in_gap && burst < CLICK && draft.word_at.is_none_or(|word| word < draft.edge) {
                    self.last_voice = before;
                    draft.pauses.pop();
                }
                self.caller = Caller::Gap(draft);
                self.speculate(now);
            }
            Caller::Tentative(mut contest) => {
                contest.voiced += burst;
                self.caller = Caller::Tentative(contest);
                self.judge(now);
            }
            state => self.caller = state,
        }
    }

    /// Words came. A final that says nothing is nothing.
    pub(super) fn words(&mut self, text: &str, is_final: bool, now: Ms) {
        if text.trim().is_empty() {
            return;
        }
        match &mut self.mode {
            Mode::Normal => {}
            Mode::Screening(_) => return self.screen_words(text, is_final, now),
            Mode::Keys(_) => {
                if is_final {
                    self.note(Note::DuringKeys(text.to_owned()));
                }
                return;
            }
            Mode::Held(_) => {
                if text::tokens(text).len() < 2 {
                    if is_final {
                        self.note(Note::DuringHold(text.to_owned()));
                    }
                    return;
                }
                self.unhold(now);
            }
            Mode::Closed => {
                if is_final {
                    self.say(Out::Record {
                        turn: self.turn + 1,
                        text: text.to_owned(),
                        why: super::Unanswered::CallOver,
                    });
                }
                return;
            }
        }
        match &mut self.caller {
            Caller::Quiet => self.quiet_words(text, is_final, now),
            Caller::Tentative(contest) => {
                contest.words.put(text, is_final, now);
                self.judge(now);
            }
            Caller::Talking(draft) | Caller::Gap(draft) => {
                let again = is_final
                    && draft.words.partial.is_empty()
                    && draft.words.final_at.is_some_and(|at| at > self.last_voice && self.voice.is_none())
                    && draft.words.finals.last().is_some_and(|last| text::same_words(last, text));
                if again {
                    return self.note(Note::Ignored(text.to_owned()));
                }
                let before = draft.words.text();
                draft.words.put(text, is_final, now);
                if !text::same_words(&before, &draft.words.text()) {
                    draft.word_at = Some(now);
                    draft.p = None;
                    draft.eager = false;
                }
                self.draft_words(now);
            }
        }
    }

    /// The words of the turn have changed.
    pub(super) fn draft_words(&mut self, now: Ms) {
        let (Caller::Talking(draft) | Caller::Gap(draft)) = &self.caller else { return };
        let text = draft.text();
        if self.ending && matches!(self.weigh(&text), Weight::One | Weight::Strong) {
            self.stay();
        }
        self.drop_stale_speculation(&text);
        self.speculate(now);
    }

    /// Words without voice: the ear missed it, or the recogniser is late.
    fn quiet_words(&mut self, text: &str, is_final: bool, now: Ms) {
        if is_final && self.late_final(text, now) {
            return;
        }
        match &self.agent {
            Agent::Idle => self.begin_without_voice(text, is_final, now),
            Agent::Thinking(thought) if thought.tooling && !thought.ready => {
                self.begin_without_voice(text, is_final, now)
            }
            Agent::Speaking(speech) if speech.thought.protected => self.keep_words(text, is_final, now),
            Agent::Thinking(thought) if thought.over => self.keep_words(text, is_final, now),
            Agent::Thinking(_) | Agent::Speaking(_) | Agent::Paused(_) => {
                let mut words = Words::default();
                words.put(text, is_final, now);
                let answers_thought = matches!(self.agent, Agent::Thinking(_));
                match self.weigh(text) {
                    Weight::Strong => {
                        self.last_voice = self.last_voice.max(now);
                        self.confirm(Contest { onset: now, voiced: 0, words }, now);
                    }
                    Weight::One if is_final && answers_thought => {
                        self.last_voice = self.last_voice.max(now);
                        self.confirm(Contest { onset: now, voiced: 0, words }, now);
                    }
                    _ if is_final => self.note(Note::Ignored(text.to_owned())),
                    _ => {}
                }
            }
        }
    }

    fn begin_without_voice(&mut self, text: &str, is_final: bool, now: Ms) {
        let mut draft = Draft::new(self.turn + 1, now, now);
        draft.words.put(text, is_final, now);
        draft.word_at = Some(now);
        self.last_voice = self.last_voice.max(now);
        self.caller = Caller::Gap(draft);
        self.draft_words(now);
    }

    fn keep_words(&mut self, text: &str, is_final: bool, now: Ms) {
        let mut words = Words::default();
        words.put(text, is_final, now);
        self.caller = Caller::Tentative(Contest { onset: now, voiced: 0, words });
    }

    /// The silence after which the turn ends, by its words and by what is expected.
    pub(super) fn judged_wait(&self, draft: &Draft) -> Ms {
        let text = draft.text();
        let p = draft.p.unwrap_or_else(|| text::end_probability(&text));
        let open = text::open_wait(p);
        let graded = |part: Ms, enough: Ms, complete: Ms, ceiling: Ms, fit: Fit| match fit {
            Fit::Not => None,
            Fit::Part => Some(part.min(ceiling)),
            Fit::Enough => Some(enough.min(ceiling)),
            Fit::Complete => Some(complete),
        };
        let fit = text::fit(&self.expect, &text);
        let field = match &self.expect {
            Field::Open | Field::Story | Field::Keymap { .. } => None,
            Field::YesNo => graded(open, open, 300, 1500, fit),
            Field::Choice { .. } => graded(700, 700, 350, 2000, fit),
            Field::Digits { .. } => graded(1500, 1200, 300, 4000, fit),
            Field::Phone => graded(1500, 1500, 400, 4000, fit),
            Field::Email => graded(2000, 2000, 700, 5000, fit),
            Field::Spelling => graded(1800, 1800, 300, 5000, fit),
            Field::Address => graded(1600, 1600, 700, 5000, fit),
            Field::DateTime => graded(1100, 1100, 400, 3000, fit),
            Field::Name => graded(900, 900, 900, 2500, fit),
            Field::Amount => graded(1000, 1000, 400, 3000, fit),
        };
        if let Some(wait) = field {
            return wait;
        }
        let (wait, ceiling) = if self.expect == Field::Story { (open * 3 / 2, 4000) } else { (open, 2500) };
        let floor = if p >= 0.75 { 900 } else { 1500 };
        let floor = if self.pace > 0 && self.config.ends.pace { (self.pace + 150).min(floor) } else { 0 };
        let wait = wait.max(floor).min(ceiling);
        if text::short_answer(&text) { wait.min(500) } else { wait }
    }

    /// When the turn in the gap ends (or, without a final, when the recogniser is asked for one).
    pub(super) fn endpoint(&self) -> Option<Ms> {
        let Caller::Gap(draft) = &self.caller else { return None };
        if draft.words.is_empty() {
            return None;
        }
        let wait = self.wait(draft);
        let has_final = draft.words.partial.is_empty() && draft.words.final_at.is_some_and(|at| at >= self.last_voice);
        let silence = if has_final || (!draft.flushed && wait < self.config.stt_final) {
            wait
        } else {
            wait.max(self.config.stt_final)
        };
        Some(self.last_voice + silence)
    }

    /// The endpoint has come.
    pub(super) fn endpoint_due(&mut self, now: Ms) {
        let stt_final = self.config.stt_final;
        let last_voice = self.last_voice;
        let Caller::Gap(draft) = &mut self.caller else { return };
        let has_final = draft.words.partial.is_empty() && draft.words.final_at.is_some_and(|at| at >= last_voice);
        if !has_final && now < last_voice + stt_final && !draft.flushed {
            draft.flushed = true;
            return self.say(Out::Flush);
        }
        self.end_turn(now);
    }

    /// The turn is over: it is answered, or while the call ends it may be only a goodbye.
    pub(super) fn end_turn(&mut self, now: Ms) {
        let (Caller::Talking(draft) | Caller::Gap(draft)) = &self.caller else { return };
        if self.ending {
            let text = draft.text();
            self.caller = Caller::Quiet;
            self.delay_linger(now);
            return self.note(Note::Backchannel(text));
        }
        self.commit(now);
    }

    /// Voice, and no words.
    pub(super) fn drop_noise(&mut self, now: Ms) {
        self.caller = Caller::Quiet;
        self.say(Out::Drop(Why::Noise));
        self.delay_linger(now);
    }

    /// The voice has been on for too long without a new word.
    pub(super) fn stuck(&mut self, now: Ms) {
        let Caller::Talking(draft) = &self.caller else { return };
        let empty = draft.words.is_empty();
        self.say(Out::RaiseFloor);
        self.voice = None;
        if empty { self.drop_noise(now) } else { self.end_turn(now) }
    }

    pub(super) fn recogniser_lost(&mut self) {
        if self.is_closed() {
            return;
        }
        // The successor hears the last seconds again and gives these words once more.
        match &mut self.caller {
            Caller::Tentative(contest) => contest.words.partial.clear(),
            Caller::Talking(draft) | Caller::Gap(draft) => draft.words.partial.clear(),
            Caller::Quiet => {}
        }
        self.note(Note::RecogniserLost);
    }

    pub(super) fn vendor_eager(&mut self, text: &str, now: Ms) {
        if !matches!(self.mode, Mode::Normal) || text.trim().is_empty() {
            return;
        }
        let (Caller::Talking(draft) | Caller::Gap(draft)) = &mut self.caller else {
            return self.words(text, false, now);
        };
        draft.words = Words { partial: text.trim().to_owned(), partial_at: now, ..Words::default() };
        draft.word_at = Some(now);
        draft.eager = true;
        self.draft_words(now);
    }

    pub(super) fn vendor_resumed(&mut self) {
        if let Caller::Talking(draft) | Caller::Gap(draft) = &mut self.caller {
            draft.eager = false;
        }
        self.cancel_speculation();
    }

    pub(super) fn vendor_end(&mut self, text: &str, now: Ms) {
        if !matches!(self.mode, Mode::Normal) || text.trim().is_empty() {
            return;
        }
        let idle = matches!(self.agent, Agent::Idle);
        if let Caller::Talking(draft) | Caller::Gap(draft) = &mut self.caller {
            draft.words = Words { finals: vec![text.trim().to_owned()], final_at: Some(now), ..Words::default() };
            draft.word_at = Some(now);
            if self.voice.is_none() {
                if self.ending && matches!(self.weigh(text), Weight::One | Weight::Strong) {
                    self.stay();
                }
                return self.end_turn(now);
            }
            return self.draft_words(now);
        }
        self.words(text, true, now);
        if idle && self.voice.is_none() && matches!(self.caller, Caller::Gap(_)) {
            self.end_turn(now);
        }
    }

    pub(super) fn end_probability(&mut self, p: f32, now: Ms) {
        if let Caller::Talking(draft) | Caller::Gap(draft) = &mut self.caller {
            draft.p = Some(if p.is_finite() { p.clamp(0.0, 1.0) } else { 0.5 });
            self.speculate(now);
        }
    }
}
