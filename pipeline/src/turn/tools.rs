//! Tool calls: run once and only for a confirmed generation; results speak when the floor is free or ride along with the next turn.

use super::state::{Agent, Caller, Mode, Running};
use super::{Line, Manner, Note, Out, Said, Turns};
use crate::{Gen, Ms};

impl Turns {
    pub(super) fn tool_call(&mut self, r#gen: Gen, id: String, cancellable: bool, now: Ms) {
        if self.tools.seen.contains(&id) {
            return;
        }
        if let Some(speculation) = &mut self.speculation
            && speculation.thought.r#gen == r#gen
        {
            if !speculation.tools.iter().any(|(held, _)| *held == id) {
                speculation.tools.push((id.clone(), cancellable));
                self.note(Note::ToolHeld { r#gen, id });
            }
            return;
        }
        self.settle_hedge(r#gen);
        let alive = match &self.agent {
            Agent::Thinking(thought) => thought.r#gen == r#gen,
            Agent::Speaking(speech) | Agent::Paused(speech) => speech.thought.r#gen == r#gen,
            Agent::Idle => false,
        };
        if alive {
            self.run_tool(id, cancellable, now);
        }
    }

    pub(super) fn run_tool(&mut self, id: String, cancellable: bool, now: Ms) {
        if !self.tools.seen.insert(id.clone()) {
            return;
        }
        if let Agent::Thinking(thought) = &mut self.agent {
            thought.tooling = true;
            // Nobody is kept from speaking by an answer that waits for a tool.
            thought.over = false;
        }
        let due = now + self.config.tool_filler;
        if !matches!(self.agent, Agent::Speaking(_) | Agent::Paused(_)) {
            self.tools.filler_at.get_or_insert(due);
        }
        self.tools.running.push(Running { id: id.clone(), cancellable, started: now });
        self.say(Out::RunTool { id });
    }

    /// The caller has interrupted: what only reads need not be finished.
    pub(super) fn cancel_tools(&mut self) {
        let (stop, keep): (Vec<Running>, Vec<Running>) =
            std::mem::take(&mut self.tools.running).into_iter().partition(|tool| tool.cancellable);
        self.tools.running = keep;
        for tool in stop {
            self.say(Out::CancelTool { id: tool.id });
        }
        if self.tools.running.is_empty() {
            self.tools.filler_at = None;
        }
    }

    pub(super) fn tool_result(&mut self, id: String) {
        let before = self.tools.running.len();
        self.tools.running.retain(|tool| tool.id != id);
        if self.tools.running.len() == before {
            return self.note(Note::ResultIgnored(id));
        }
        if self.is_closed() {
            return self.note(Note::ResultRecorded(id));
        }
        if matches!(self.agent, Agent::Speaking(_) | Agent::Paused(_)) {
            self.note(Note::ResultWaits(id.clone()));
        } else if !matches!(self.caller, Caller::Quiet) {
            self.note(Note::ResultKept(id.clone()));
        }
        self.tool_over(id);
    }

    fn tool_over(&mut self, id: String) {
        self.tools.results.push(id);
        self.tools.muted = false;
        if self.tools.running.is_empty() {
            self.tools.filler_at = None;
        }
    }

    /// A result that no tool brought: the model speaks of it when the floor is free.
    pub(super) fn nudge(&mut self, id: String) {
        if !self.is_closed() {
            self.tool_over(id);
        }
    }

    pub(super) fn tool_cap(&self) -> Option<Ms> {
        self.tools.running.iter().map(|tool| tool.started + self.config.tool_cap).min()
    }

    pub(super) fn tool_timed_out(&mut self, now: Ms) {
        let cap = self.config.tool_cap;
        while let Some(at) = self.tools.running.iter().position(|tool| tool.started + cap <= now) {
            let tool = self.tools.running.remove(at);
            self.note(Note::ToolTimedOut(tool.id.clone()));
            if !self.is_closed() {
                self.tool_over(tool.id);
            }
        }
    }

    /// Tells the model the results, once all of them are there and nobody speaks.
    pub(super) fn answer_results(&mut self, now: Ms) {
        if !self.floor_is_free() || !self.tools.running.is_empty() {
            return;
        }
        let waiting = !self.tools.results.is_empty() && !self.tools.muted;
        match &mut self.agent {
            Agent::Idle if waiting && !self.ending => self.generate(self.turn, Said::Nothing, Manner::First, now),
            Agent::Thinking(thought) if thought.tooling && !thought.ready => {
                if waiting {
                    let text_is_lost = thought.token.is_some();
                    let r#gen = thought.r#gen;
                    if text_is_lost {
                        self.say(Out::Cancel { r#gen, heard: None });
                    }
                    self.generate(self.turn, Said::Nothing, Manner::First, now);
                } else {
                    // Its tools were told elsewhere: it is an answer like any other.
                    thought.tooling = false;
                    thought.since = now;
                }
            }
            _ => {}
        }
    }

    /// The caller has heard nothing for a while because a tool runs.
    pub(super) fn tool_filler(&mut self, now: Ms) {
        let r#gen = match &self.agent {
            _ if !self.floor_is_free() || self.ending => None,
            Agent::Idle => Some(self.last_gen),
            Agent::Thinking(thought) if thought.tooling && !thought.ready => Some(thought.r#gen),
            _ => None,
        };
        let again = match r#gen {
            Some(r#gen) => {
                self.say(Out::Say { r#gen, line: Line::Filler });
                self.config.tool_filler_again
            }
            None => 300,
        };
        self.tools.filler_at = Some(now + again);
    }

    /// The next filler, if the call still has ears for it.
    pub(super) fn tool_filler_timer(&self) -> Option<Ms> {
        if matches!(self.mode, Mode::Closed | Mode::Held(_)) || self.tools.running.is_empty() {
            return None;
        }
        self.tools.filler_at
    }
}
