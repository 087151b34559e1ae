//! Requests to the model: prepared before the turn has ended, confirmed at its end, cancelled when the words change.

use super::fields::Field;
use super::state::{Agent, Caller, Committed, Draft, Mode, Origin, Speculation, Thought};
use super::text::{self, Fit, Weight};
use super::{Manner, Note, Out, Said, Turns};
use crate::Ms;

/// Speech that was heard for less than this is taken back when late words change the question.
const HARDLY_HEARD: Ms = 600;

impl Turns {
    /// When an answer may be prepared for the words so far: only fresh words are worth it, those that came after the last voice.
    pub(super) fn speculation_due(&self) -> Option<Ms> {
        let Caller::Gap(draft) = &self.caller else { return None };
        let agent_free = match &self.agent {
            Agent::Idle => true,
            Agent::Thinking(thought) => thought.tooling,
            Agent::Speaking(_) | Agent::Paused(_) => false,
        };
        let none_yet = self.speculation.is_none() && draft.speculations < self.config.speculations;
        if !agent_free
            || !none_yet
            || self.ending
            || self.voice.is_some()
            || draft.words.is_empty()
            || !matches!(self.mode, Mode::Normal)
        {
            return None;
        }
        let text = draft.text();
        let likely = draft.eager || draft.p.unwrap_or_else(|| text::end_probability(&text)) >= 0.5;
        if !likely || !self.may_guess(&text) {
            return None;
        }
        if draft.eager {
            return Some(draft.words.partial_at);
        }
        let words = &draft.words;
        let due = match words.final_at {
            Some(at) if words.partial.is_empty() && at > self.last_voice => at,
            Some(at) if words.partial.is_empty() && at == self.last_voice => at + self.config.speculate,
            _ if !words.partial.is_empty() && words.partial_at >= self.last_voice => {
                words.partial_at + self.config.speculate
            }
            _ => return None,
        };
        // An answer that is asked for now anyway is not a guess.
        self.endpoint().is_none_or(|end| due < end).then_some(due)
    }

    /// Fields that are said in groups are answered only when they are complete.
    fn may_guess(&self, text: &str) -> bool {
        match self.expect {
            Field::Digits { .. } | Field::Phone | Field::Email | Field::Spelling => {
                !matches!(text::fit(&self.expect, text), Fit::Part | Fit::Enough)
            }
            _ => true,
        }
    }

    /// Prepares an answer, if one may be prepared now.
    pub(super) fn speculate(&mut self, now: Ms) {
        if self.speculation_due().is_none_or(|due| due > now) || self.endpoint().is_some_and(|end| end <= now) {
            return;
        }
        let r#gen = self.new_gen();
        let Caller::Gap(draft) = &mut self.caller else { return };
        draft.speculations += 1;
        let (turn, text) = (draft.turn, draft.text());
        let mut thought = Thought::new(r#gen, turn, Origin::Turn, now);
        thought.said = Said::Words(text.clone());
        self.say(Out::Generate {
            r#gen,
            turn,
            said: thought.said.clone(),
            speculative: true,
            results: Vec::new(),
            manner: Manner::First,
        });
        self.speculation = Some(Speculation { thought, text, tools: Vec::new(), done: false, ends: false });
    }

    pub(super) fn drop_stale_speculation(&mut self, text: &str) {
        if self.speculation.as_ref().is_some_and(|speculation| !text::same_words(&speculation.text, text)) {
            self.cancel_speculation();
        }
    }

    pub(super) fn cancel_speculation(&mut self) {
        if let Some(speculation) = self.speculation.take() {
            self.say(Out::Cancel { r#gen: speculation.thought.r#gen, heard: None });
        }
    }

    /// Silences the agent and forgets what it was about to answer. Results that the caller has not heard about are told again, and
    /// a line that had not begun to sound waits again.
    pub(super) fn cancel_agent(&mut self, now: Ms) {
        match std::mem::replace(&mut self.agent, Agent::Idle) {
            Agent::Idle => {}
            Agent::Thinking(thought) => self.cancel_thought(thought),
            Agent::Speaking(speech) | Agent::Paused(speech) => {
                self.idle_at = now;
                self.say(Out::Cancel { r#gen: speech.thought.r#gen, heard: Some(speech.heard(now)) });
            }
        }
    }

    pub(super) fn cancel_thought(&mut self, thought: Thought) {
        self.say(Out::Cancel { r#gen: thought.r#gen, heard: None });
        if let Some(twin) = thought.twin {
            self.say(Out::Cancel { r#gen: twin.r#gen, heard: None });
        }
        for id in thought.results {
            if !self.tools.results.contains(&id) {
                self.tools.results.push(id);
            }
        }
        if let Some(line) = thought.line {
            self.lines.push_front(line);
        }
    }

    pub(super) fn cancel_all(&mut self, now: Ms) {
        self.cancel_agent(now);
        self.cancel_speculation();
    }

    pub(super) fn commit(&mut self, now: Ms) {
        self.commit_as(Manner::First, now);
    }

    /// Ends the turn that is being built and lets the agent answer it.
    pub(super) fn commit_as(&mut self, manner: Manner, now: Ms) {
        let draft = match std::mem::replace(&mut self.caller, Caller::Quiet) {
            Caller::Talking(draft) | Caller::Gap(draft) => draft,
            state => {
                self.caller = state;
                return;
            }
        };
        let text = draft.text();
        for pause in &draft.pauses {
            self.pace = (self.pace * 4 + pause) / 5;
        }
        self.turn = draft.turn;
        self.silences = 0;
        self.asked_time = text::asks_time(&text);
        let filled = self.committed.as_ref().is_some_and(|before| before.turn == draft.turn && before.filled);
        self.say(Out::Commit { turn: draft.turn, said: Said::Words(text.clone()) });
        let Draft { turn, start, prefix, words, .. } = draft;
        self.committed =
            Some(Committed { turn, start, prefix, words, keys: false, last_voice: self.last_voice, at: now, filled });
        let usable = manner == Manner::First && self.tools.results.is_empty();
        match self.speculation.take() {
            Some(speculation) if usable && text::same_words(&speculation.text, &text) => self.promote(speculation, now),
            other => {
                self.speculation = other;
                self.cancel_speculation();
                self.cancel_agent(now);
                self.generate(turn, Said::Words(text), manner, now);
            }
        }
    }

    fn promote(&mut self, speculation: Speculation, now: Ms) {
        let Speculation { mut thought, tools, done, ends, .. } = speculation;
        self.say(Out::Promote { r#gen: thought.r#gen });
        self.cancel_agent(now);
        thought.since = now;
        let r#gen = thought.r#gen;
        self.agent = Agent::Thinking(thought);
        for (id, cancellable) in tools {
            self.run_tool(id, cancellable, now);
        }
        if ends {
            self.end_call(r#gen);
        }
        if done {
            self.model_done(r#gen, now);
        }
    }

    /// Asks the model for the confirmed answer.
    pub(super) fn generate(&mut self, turn: u64, said: Said, manner: Manner, now: Ms) {
        let r#gen = self.new_gen();
        let origin = if said == Said::Nothing { Origin::Results } else { Origin::Turn };
        let mut thought = Thought::new(r#gen, turn, origin, now);
        thought.said = said.clone();
        thought.results = std::mem::take(&mut self.tools.results);
        self.tools.muted = false;
        thought.protected = manner == Manner::WrapUp;
        thought.over = manner == Manner::WrapUp;
        self.say(Out::Generate { r#gen, turn, said, speculative: false, results: thought.results.clone(), manner });
        self.agent = Agent::Thinking(thought);
    }

    /// A final soon after the commit, without voice since: the turn was understood too early. True if it was that.
    pub(super) fn late_final(&mut self, text: &str, now: Ms) -> bool {
        let Some(committed) = &self.committed else { return false };
        let in_window = now.saturating_sub(committed.at) <= self.config.late_window;
        if !in_window || committed.keys || self.last_voice > committed.last_voice {
            return false;
        }
        let last = committed.words.last().to_owned();
        if text::same_words(&last, text) || text::same_words(&committed.words.text(), text) {
            self.note(Note::Ignored(text.to_owned()));
            return true;
        }
        let grows = text::tokens(text).starts_with(&text::tokens(&last));
        let replaces = grows || !committed.words.partial.is_empty();
        if !replaces && matches!(text::weigh(text, false, &self.config), Weight::Light | Weight::Nothing) {
            return false;
        }
        if self.ending {
            if !replaces || !matches!(self.weigh(text), Weight::One | Weight::Strong) {
                return false;
            }
            // The goodbye answered half of what was said.
            self.stay();
        }
        let Some(committed) = &mut self.committed else { return false };
        let before = text::tokens(&committed.text()).len();
        if replaces && committed.words.partial.is_empty() {
            committed.words.finals.pop();
        }
        committed.words.put(text, true, now);
        let (turn, full) = (committed.turn, committed.text());
        let more = text::tokens(&full).len().saturating_sub(before);
        let again = match &self.agent {
            Agent::Thinking(thought) => thought.origin == Origin::Turn && !thought.tooling && !thought.over,
            Agent::Speaking(speech) => {
                speech.thought.origin == Origin::Turn
                    && !speech.thought.protected
                    && speech.heard(now) < HARDLY_HEARD
                    && more >= 3
            }
            Agent::Paused(_) | Agent::Idle => false,
        };
        if again {
            self.cancel_agent(now);
        }
        self.say(Out::Amend { turn, text: full.clone() });
        if again {
            self.generate(turn, Said::Words(full), Manner::First, now);
        }
        true
    }
}
