//! The agent's side: from the first token to the last sample, and what happens when a vendor is late.

use super::state::{Agent, Mode, Origin, Speech, Thought, Twin};
use super::{Cause, Line, Manner, Note, Out, Prompt, Turns};
use crate::{Gen, Ms};

impl Turns {
    fn thought_mut(&mut self, r#gen: Gen) -> Option<&mut Thought> {
        if let Some(speculation) = &mut self.speculation
            && speculation.thought.r#gen == r#gen
        {
            return Some(&mut speculation.thought);
        }
        match &mut self.agent {
            Agent::Thinking(thought) if thought.r#gen == r#gen => Some(thought),
            _ => None,
        }
    }

    /// The first provider that gives something wins; the other one is cancelled.
    pub(super) fn settle_hedge(&mut self, r#gen: Gen) {
        let Agent::Thinking(thought) = &mut self.agent else { return };
        let Some(twin) = thought.twin.take() else { return };
        let loser = if twin.r#gen == r#gen {
            let loser = thought.r#gen;
            thought.r#gen = twin.r#gen;
            thought.token = twin.token;
            loser
        } else if thought.r#gen == r#gen {
            twin.r#gen
        } else {
            thought.twin = Some(twin);
            return;
        };
        self.say(Out::Cancel { r#gen: loser, heard: None });
    }

    pub(super) fn token(&mut self, r#gen: Gen, now: Ms) {
        if let Agent::Thinking(Thought { twin: Some(twin), .. }) = &mut self.agent
            && twin.r#gen == r#gen
        {
            twin.token.get_or_insert(now);
        } else if let Some(thought) = self.thought_mut(r#gen) {
            thought.token.get_or_insert(now);
        }
    }

    pub(super) fn audio(&mut self, r#gen: Gen, duration: Option<Ms>, now: Ms) {
        self.settle_hedge(r#gen);
        if let Some(thought) = self.thought_mut(r#gen) {
            thought.ready = true;
            thought.duration = duration.or(thought.duration);
            return;
        }
        match &mut self.agent {
            Agent::Speaking(speech) | Agent::Paused(speech) if speech.thought.r#gen == r#gen => {
                if !speech.thought.ready {
                    // A line of our own was allowed to play before it was synthesised.
                    speech.thought.ready = true;
                    speech.started = now;
                    speech.sounding = speech.sounding.map(|_| now);
                }
                speech.thought.duration = duration.or(speech.thought.duration);
            }
            _ if r#gen <= self.last_gen => self.note(Note::LateAudio(r#gen)),
            _ => {}
        }
    }

    /// Lets the agent sound if it has something to say and the floor is free.
    pub(super) fn try_play(&mut self, now: Ms) {
        let free = self.floor_is_free();
        let normal = matches!(self.mode, Mode::Normal);
        self.agent = match std::mem::replace(&mut self.agent, Agent::Idle) {
            Agent::Thinking(thought) if (thought.ready || thought.prepared) && (free || (normal && thought.over)) => {
                self.say(Out::Play { r#gen: thought.r#gen });
                self.tools.filler_at = None;
                Agent::Speaking(Speech {
                    thought,
                    started: now,
                    played: 0,
                    sounding: Some(now),
                    paused_at: now,
                    dry_since: None,
                })
            }
            other => other,
        };
    }

    /// Begins a line or prompt of our own that may play as soon as the floor is free.
    fn own_speech(&mut self, now: Ms) -> Gen {
        let r#gen = self.new_gen();
        let mut thought = Thought::new(r#gen, self.turn, Origin::Own, now);
        thought.prepared = true;
        self.agent = Agent::Thinking(thought);
        r#gen
    }

    pub(super) fn prompt(&mut self, kind: Prompt, now: Ms) {
        let r#gen = self.own_speech(now);
        self.say(Out::Prompt { r#gen, kind });
    }

    pub(super) fn own_line(&mut self, line: Line, closes: Option<Cause>, now: Ms) {
        let r#gen = self.own_speech(now);
        if let Agent::Thinking(thought) = &mut self.agent {
            thought.closes = closes;
            thought.protected = closes.is_some();
        }
        self.say(Out::Say { r#gen, line });
    }

    /// Starts the next line of the flow when nobody else has anything to say.
    pub(super) fn next_line(&mut self, now: Ms) {
        let screening = matches!(self.mode, Mode::Screening(_));
        if !matches!(self.agent, Agent::Idle) || !(self.floor_is_free() || screening) {
            return;
        }
        let Some(waiting) = self.lines.pop_front() else { return };
        let r#gen = self.new_gen();
        let line = Line::Text { text: waiting.text.clone(), id: waiting.id.clone() };
        let mut thought = Thought::new(r#gen, self.turn, Origin::Own, now);
        thought.protected = waiting.protected;
        self.ending |= waiting.ends;
        thought.line = Some(waiting);
        self.agent = Agent::Thinking(thought);
        self.say(Out::Say { r#gen, line });
    }

    /// The last sample of a generation has been heard.
    pub(super) fn mark(&mut self, r#gen: Gen, now: Ms) {
        if self.speaking() == Some(r#gen) {
            self.finished(now);
        }
    }

    pub(super) fn finished(&mut self, now: Ms) {
        let (Agent::Speaking(speech) | Agent::Paused(speech)) = std::mem::replace(&mut self.agent, Agent::Idle) else {
            return;
        };
        self.idle_at = now;
        if let Some(cause) = speech.thought.closes {
            return self.hang_up(cause, now);
        }
        if !self.tools.running.is_empty() {
            self.tools.filler_at = Some(now + self.config.tool_filler);
        }
    }

    /// When the agent's speech should have ended long ago.
    pub(super) fn mark_overdue(&self) -> Option<Ms> {
        let Agent::Speaking(speech) = &self.agent else { return None };
        let unknown =
            if speech.thought.origin == Origin::Own { self.config.unknown_line } else { self.config.unknown_answer };
        let left = speech.thought.duration.unwrap_or(unknown).saturating_sub(speech.played);
        speech.sounding.map(|since| since + left + self.config.mark_slack)
    }

    pub(super) fn mark_lost(&mut self, now: Ms) {
        if let Some(r#gen) = self.speaking() {
            self.note(Note::MarkLost(r#gen));
        }
        if self.ending {
            self.agent = Agent::Idle;
            return self.hang_up(Cause::NoMark, now);
        }
        self.finished(now);
    }

    pub(super) fn underrun(&mut self, r#gen: Gen, now: Ms) {
        if let Agent::Speaking(speech) = &mut self.agent
            && speech.thought.r#gen == r#gen
        {
            speech.dry_since.get_or_insert(now);
        }
    }

    pub(super) fn refill(&mut self, r#gen: Gen, now: Ms) {
        if let Agent::Speaking(speech) | Agent::Paused(speech) = &mut self.agent
            && speech.thought.r#gen == r#gen
            && speech.dry_since.is_some()
        {
            speech.played = speech.heard(now);
            speech.sounding = speech.sounding.map(|_| now);
            speech.dry_since = None;
        }
    }

    pub(super) fn voice_error(&mut self, r#gen: Gen) {
        let revoiced = match &mut self.agent {
            Agent::Thinking(thought) if thought.r#gen == r#gen => &mut thought.revoiced,
            Agent::Speaking(speech) | Agent::Paused(speech) if speech.thought.r#gen == r#gen => {
                &mut speech.thought.revoiced
            }
            _ => return,
        };
        if !std::mem::replace(revoiced, true) {
            self.say(Out::BackupVoice { r#gen });
        }
    }

    /// The model has said all: without text and tools there is nothing to wait for.
    pub(super) fn model_done(&mut self, r#gen: Gen, _now: Ms) {
        if let Some(speculation) = &mut self.speculation
            && speculation.thought.r#gen == r#gen
        {
            speculation.done = true;
            return;
        }
        if let Agent::Thinking(thought) = &self.agent
            && thought.r#gen == r#gen
            && thought.twin.is_none()
            && thought.token.is_none()
            && !thought.ready
            && !thought.tooling
        {
            self.agent = Agent::Idle;
        }
    }

    pub(super) fn model_error(&mut self, r#gen: Gen, now: Ms) {
        if self.speculation.as_ref().is_some_and(|speculation| speculation.thought.r#gen == r#gen) {
            // The commit asks again.
            self.speculation = None;
            return;
        }
        let Agent::Thinking(thought) = &mut self.agent else { return };
        if let Some(twin) = thought.twin.take() {
            if twin.r#gen == r#gen {
                return;
            }
            if thought.r#gen == r#gen {
                thought.r#gen = twin.r#gen;
                thought.token = twin.token;
                return;
            }
            thought.twin = Some(twin);
            return;
        }
        if thought.r#gen != r#gen || thought.ready || thought.tooling || thought.origin == Origin::Own {
            return;
        }
        if thought.hedged {
            let results = std::mem::take(&mut thought.results);
            self.tools.results.extend(results);
            self.tools.muted = true;
            self.agent = Agent::Idle;
            return self.own_line(Line::Apology, None, now);
        }
        let fresh = self.ask_backup();
        if let Agent::Thinking(thought) = &mut self.agent {
            thought.r#gen = fresh;
            thought.token = None;
        }
    }

    /// Asks the second provider the same.
    fn ask_backup(&mut self) -> Gen {
        let r#gen = self.new_gen();
        if let Agent::Thinking(thought) = &mut self.agent {
            thought.hedged = true;
            let (turn, said, results) = (thought.turn, thought.said.clone(), thought.results.clone());
            self.say(Out::Generate { r#gen, turn, said, speculative: false, results, manner: Manner::Backup });
        }
        r#gen
    }

    /// Waits that depend on the model: filler, second provider, failure, voice.
    pub(super) fn thinking_timers(&self) -> [Option<Ms>; 4] {
        let Agent::Thinking(thought) = &self.agent else { return [None; 4] };
        if thought.ready || thought.prepared {
            return [None; 4];
        }
        let voice =
            thought.token.filter(|_| !thought.revoiced).map(|at| at.max(thought.since) + self.config.voice_stall);
        let fail = Some(thought.since + self.config.think_fail);
        if thought.origin == Origin::Own {
            return [None, None, fail, None];
        }
        if thought.tooling {
            return [None, None, None, voice];
        }
        let filled = thought.origin != Origin::Turn || self.committed.as_ref().is_none_or(|committed| committed.filled);
        let filler = (!filled && self.floor_is_free()).then_some(thought.since + self.config.think_filler);
        let hedge = (!thought.hedged && thought.token.is_none()).then_some(thought.since + self.config.think_hedge);
        [filler, hedge, fail, voice]
    }

    pub(super) fn think_filler(&mut self) {
        let Agent::Thinking(thought) = &self.agent else { return };
        let r#gen = thought.r#gen;
        if let Some(committed) = &mut self.committed {
            committed.filled = true;
        }
        self.say(Out::Say { r#gen, line: Line::Filler });
    }

    pub(super) fn hedge(&mut self) {
        let r#gen = self.ask_backup();
        if let Agent::Thinking(thought) = &mut self.agent {
            thought.twin = Some(Twin { r#gen, token: None });
        }
    }

    /// Nothing to be heard in all that time.
    pub(super) fn think_fail(&mut self, now: Ms) {
        let Agent::Thinking(thought) = &mut self.agent else { return };
        let own = thought.origin == Origin::Own;
        let protected = thought.protected;
        // The voice cannot say it: tried again, it would fail again.
        thought.line = None;
        self.cancel_agent(now);
        if own {
            return;
        }
        self.tools.muted = true;
        self.own_line(Line::Apology, None, now);
        if let Agent::Thinking(thought) = &mut self.agent {
            thought.protected = protected;
        }
    }
}
