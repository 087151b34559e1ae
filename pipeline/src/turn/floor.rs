//! Who has the floor: the agent pauses at once when voice begins, and only words decide what follows.

use super::state::{Agent, Caller, Contest, Draft, Mode, Origin};
use super::text::{self, Fit, Weight};
use super::{Note, Out, Place, Turns};
use crate::Ms;

/// A pause from this length on goes back to the start of the word that was cut.
const LONG_PAUSE: Ms = 600;

impl Turns {
    /// Whether a caller's voice now contests the floor rather than opens an ordinary turn.
    pub(super) fn agent_is_busy(&self) -> bool {
        match &self.agent {
            Agent::Idle => false,
            Agent::Thinking(thought) => !thought.tooling || thought.ready,
            Agent::Speaking(_) | Agent::Paused(_) => true,
        }
    }

    /// Whether words are only kept until the agent's last sample.
    fn agent_is_protected(&self) -> bool {
        let uninterruptible = !self.config.interruptible;
        match &self.agent {
            Agent::Thinking(_) | Agent::Speaking(_) | Agent::Paused(_) if uninterruptible => true,
            Agent::Thinking(thought) => thought.over,
            Agent::Speaking(speech) | Agent::Paused(speech) => speech.thought.protected,
            Agent::Idle => false,
        }
    }

    pub(super) fn pause(&mut self, now: Ms) {
        self.agent = match std::mem::replace(&mut self.agent, Agent::Idle) {
            Agent::Speaking(mut speech) if !speech.thought.protected && self.config.interruptible => {
                speech.played = speech.heard(now);
                speech.sounding = None;
                speech.paused_at = now;
                self.say(Out::Pause { r#gen: speech.thought.r#gen });
                Agent::Paused(speech)
            }
            other => other,
        };
    }

    /// The caller did not want the floor.
    pub(super) fn resume(&mut self, now: Ms) {
        self.caller = Caller::Quiet;
        self.agent = match std::mem::replace(&mut self.agent, Agent::Idle) {
            Agent::Paused(mut speech) => {
                let from =
                    if now.saturating_sub(speech.paused_at) >= LONG_PAUSE { Place::WordStart } else { Place::Same };
                speech.sounding = Some(now);
                speech.dry_since = speech.dry_since.map(|_| now);
                self.say(Out::Resume { r#gen: speech.thought.r#gen, from });
                Agent::Speaking(speech)
            }
            other => other,
        };
    }

    /// What words weigh while the agent has the floor.
    pub(super) fn weigh(&self, text: &str) -> Weight {
        text::weigh(text, self.ending, &self.config)
    }

    /// Voice without words interrupts, if there is enough of it.
    fn voice_confirms(&self) -> bool {
        self.config.voice_confirms || !self.config.recogniser
    }

    fn contest_weight(&self, contest: &Contest) -> Weight {
        let text = contest.words.text();
        let weight = self.weigh(&text);
        if let Agent::Paused(speech) = &self.agent {
            let collided = contest.onset < speech.started + self.config.collision;
            if collided && weight == Weight::One {
                return Weight::Strong;
            }
            let left = speech.thought.duration.map(|duration| duration.saturating_sub(speech.heard(contest.onset)));
            let in_tail = left.is_some_and(|left| left <= self.config.answer_tail);
            if in_tail && matches!(text::fit(&self.expect, &text), Fit::Complete | Fit::Enough) {
                return Weight::Strong;
            }
        }
        weight
    }

    /// Voice that has been heard in this group of bursts.
    fn voiced(&self, contest: &Contest, now: Ms) -> Ms {
        contest.voiced + self.voice.map_or(0, |since| now.saturating_sub(since))
    }

    /// Decides a contest if it can be decided now.
    pub(super) fn judge(&mut self, now: Ms) {
        let Caller::Tentative(contest) = &self.caller else { return };
        if self.agent_is_protected() || matches!(self.agent, Agent::Idle) {
            return;
        }
        let voice_on = self.voice.is_some();
        let voiced = self.voiced(contest, now);
        let confirmed = match self.contest_weight(contest) {
            Weight::Strong => true,
            Weight::One if voice_on => voiced >= self.config.one_word,
            Weight::One => voiced >= 250 || (contest.words.partial.is_empty() && contest.words.final_at.is_some()),
            Weight::Light if !voice_on => {
                let text = contest.words.text();
                self.note(Note::Backchannel(text));
                return self.resume(now);
            }
            Weight::Light | Weight::Nothing if self.voice_confirms() => voice_on && voiced >= self.config.voice_only,
            Weight::Light | Weight::Nothing => false,
        };
        if confirmed && let Caller::Tentative(contest) = std::mem::replace(&mut self.caller, Caller::Quiet) {
            self.confirm(contest, now);
        }
    }

    /// When a contest is decided by time alone.
    pub(super) fn contest_timers(&self) -> [Option<Ms>; 3] {
        let Caller::Tentative(contest) = &self.caller else { return [None; 3] };
        if self.agent_is_protected() || !matches!(self.mode, Mode::Normal) {
            return [None; 3];
        }
        let Some(since) = self.voice else {
            let wait = match contest.voiced {
                0..120 => self.config.resume_click,
                120..600 => self.config.resume_quiet,
                _ => self.config.resume_long,
            };
            return [Some(self.last_voice.max(contest.onset) + wait), None, None];
        };
        let reaches = |voiced: Ms| since + voiced.saturating_sub(contest.voiced);
        let one = match self.contest_weight(contest) {
            Weight::One => Some(reaches(self.config.one_word)),
            Weight::Light | Weight::Nothing if self.voice_confirms() => Some(reaches(self.config.voice_only)),
            _ => None,
        };
        [None, Some(contest.onset + self.config.contest), one]
    }

    /// No words came after the voice, or too few.
    pub(super) fn resume_due(&mut self, now: Ms) {
        let Caller::Tentative(contest) = &self.caller else { return };
        let text = contest.words.text();
        if self.contest_weight(contest) == Weight::Strong {
            // The words were kept for the end of protected speech that will not come.
            return self.judge(now);
        }
        if !text.is_empty() {
            self.note(Note::Ignored(text));
        }
        self.resume(now);
    }

    /// The voice goes on and on, and its words decide nothing.
    pub(super) fn contest_due(&mut self, now: Ms) {
        let Caller::Tentative(contest) = &self.caller else { return };
        let text = contest.words.text();
        if text.is_empty() {
            self.say(Out::RaiseFloor);
        } else {
            self.note(Note::Backchannel(text));
        }
        self.voice = None;
        self.resume(now);
    }

    /// The caller wants the floor: the agent falls silent, and the turn is a new one, or the last one where nothing was answered.
    pub(super) fn confirm(&mut self, contest: Contest, now: Ms) {
        let reopens = match &self.agent {
            Agent::Thinking(thought) => thought.origin == Origin::Turn && !thought.tooling,
            Agent::Speaking(speech) | Agent::Paused(speech) => {
                speech.thought.origin == Origin::Turn && contest.onset < speech.started + self.config.collision
            }
            Agent::Idle => false,
        };
        let reopened = self.committed.clone().filter(|committed| reopens && !committed.keys);
        if self.ending {
            self.stay();
        }
        self.cancel_agent(now);
        self.cancel_tools();
        self.lines.retain(|line| line.protected);
        let mut draft = Draft::new(self.turn + 1, contest.onset, now);
        match reopened {
            Some(committed) => {
                draft.turn = committed.turn;
                draft.start = committed.start;
                draft.prefix = committed.text();
                if contest.onset.saturating_sub(committed.at) <= 1500 {
                    self.pace = self.pace.max(contest.onset.saturating_sub(committed.last_voice));
                }
                self.say(Out::Reopen { turn: draft.turn });
            }
            None => self.say(Out::Open { turn: draft.turn }),
        }
        draft.words = contest.words;
        draft.word_at = Some(now);
        self.caller = if self.voice.is_some() { Caller::Talking(draft) } else { Caller::Gap(draft) };
        self.draft_words(now);
    }

    /// The agent has finished by itself while the caller contested the floor.
    pub(super) fn contest_ends_itself(&mut self, now: Ms) {
        let Caller::Tentative(contest) = std::mem::replace(&mut self.caller, Caller::Quiet) else { return };
        let text = contest.words.text();
        let weight = self.weigh(&text);
        let voice_on = self.voice.is_some();
        if weight == Weight::Light && !voice_on {
            return self.note(Note::Backchannel(text));
        }
        let mut draft = Draft::new(self.turn + 1, contest.onset, now);
        draft.word_at = (weight != Weight::Nothing).then_some(now);
        draft.words = contest.words;
        if matches!(weight, Weight::One | Weight::Strong) {
            if self.ending {
                self.stay();
            }
            self.say(Out::Open { turn: draft.turn });
        }
        self.caller = if voice_on { Caller::Talking(draft) } else { Caller::Gap(draft) };
        self.draft_words(now);
    }

    /// The caller has talked for too long: the agent answers what is there, over the caller if need be.
    pub(super) fn take_floor(&mut self, now: Ms) {
        self.say(Out::TakeFloor);
        self.commit_as(super::Manner::WrapUp, now);
        if self.voice.is_some() {
            self.caller = Caller::Tentative(Contest { onset: now, voiced: 0, words: super::state::Words::default() });
        }
    }
}
