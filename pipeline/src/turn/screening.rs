//! Outbound calls: who has answered, by the rhythm of the first seconds and then by the words.

use super::state::{Agent, Caller, Draft, Mode, Screen, Words};
use super::{Answerer, Cause, Line, Note, Out, Turns, text, words};
use crate::Ms;

/// A greeting of so many words is a person's even when it is slow.
const GREETING_WORDS: usize = 8;
/// An announcement that never pauses does not hold the call for longer.
const LONGEST: Ms = 60_000;

impl Turns {
    pub(super) fn answered(&mut self, screen: bool, now: Ms) {
        if self.is_closed() {
            return;
        }
        self.over_at = Some(now + self.config.max_call);
        self.warn_at = Some(now + self.config.max_call.saturating_sub(60_000));
        if screen && matches!(self.mode, Mode::Normal) && matches!(self.caller, Caller::Quiet) {
            self.cancel_all(now);
            self.mode = Mode::Screening(Screen {
                since: now,
                speech: self.voice,
                words: Words::default(),
                verdict: None,
                beep: None,
            });
        }
    }

    /// When the next thing about the answerer is known by time alone.
    pub(super) fn screening_timer(&self) -> Option<Ms> {
        let Mode::Screening(screen) = &self.mode else { return None };
        let config = &self.config;
        let longest = screen.since + LONGEST;
        let due = match (screen.verdict, self.voice, screen.speech) {
            (Some(Answerer::Voicemail), _, _) if screen.beep.is_some() => {
                screen.beep.map_or(longest, |beep| beep + config.screen_beep)
            }
            (Some(Answerer::Voicemail), None, _) => self.last_voice.max(screen.since) + config.screen_machine,
            (Some(Answerer::Screening), None, _) => self.last_voice.max(screen.since) + config.screen_words,
            (Some(Answerer::ProbablyMachine), None, _) => {
                let long = text::tokens(&screen.words.text()).len() > GREETING_WORDS;
                self.last_voice.max(screen.since) + if long { config.screen_machine } else { config.screen_words }
            }
            (None, Some(_), Some(start)) => start + config.screen_speech,
            (None, None, Some(_)) => self.last_voice.max(screen.since) + config.screen_human,
            (None, None, None) => screen.since + config.screen_silent,
            _ => longest,
        };
        Some(due.min(longest))
    }

    pub(super) fn screening_due(&mut self, now: Ms) {
        let Mode::Screening(screen) = &mut self.mode else { return };
        let overdue = now >= screen.since + LONGEST;
        match screen.verdict {
            Some(Answerer::Voicemail) => self.leave_message(now),
            Some(Answerer::Screening) => {
                self.leave_screening(now);
                self.own_line(Line::NameAndReason, None, now);
            }
            Some(Answerer::ProbablyMachine) if overdue || text::tokens(&screen.words.text()).len() > GREETING_WORDS => {
                self.say(Out::Verdict(Answerer::Voicemail));
                self.leave_message(now);
            }
            Some(Answerer::ProbablyMachine) => self.greet(Answerer::Human, now),
            None if overdue => {
                self.say(Out::Verdict(Answerer::Voicemail));
                self.leave_message(now);
            }
            None if self.voice.is_some() => {
                screen.verdict = Some(Answerer::ProbablyMachine);
                self.say(Out::Verdict(Answerer::ProbablyMachine));
            }
            None if screen.speech.is_some() => self.greet(Answerer::Human, now),
            None => self.greet(Answerer::SilentHuman, now),
            Some(_) => self.greet(Answerer::Human, now),
        }
    }

    pub(super) fn screen_words(&mut self, text: &str, is_final: bool, now: Ms) {
        let Mode::Screening(screen) = &mut self.mode else { return };
        screen.words.put(text, is_final, now);
        screen.speech.get_or_insert(now);
        if self.voice.is_none() && screen.speech == Some(now) {
            self.last_voice = self.last_voice.max(now);
        }
        let heard = screen.words.text();
        if is_final {
            self.say(Out::Note(Note::Ignored(text.to_owned())));
        }
        let Mode::Screening(screen) = &mut self.mode else { return };
        let verdict = if text::has_any(&heard, words::UNAVAILABLE) {
            Answerer::Unavailable
        } else if text::has_any(&heard, words::SCREENING) {
            Answerer::Screening
        } else if text::has_any(&heard, words::MENU) {
            Answerer::Menu
        } else if text::has_any(&heard, words::VOICEMAIL) {
            Answerer::Voicemail
        } else {
            return;
        };
        if screen.verdict == Some(verdict) {
            return;
        }
        screen.verdict = Some(verdict);
        self.say(Out::Verdict(verdict));
        match verdict {
            Answerer::Unavailable => self.hang_up(Cause::MailboxUnavailable, now),
            Answerer::Menu => {
                // What the menu says is a turn like any other; the model answers it with keys.
                self.leave_screening(now);
                let mut draft = Draft::new(self.turn + 1, now, now);
                draft.words.put(&heard, is_final, now);
                draft.word_at = Some(now);
                self.last_voice = self.last_voice.max(now);
                self.caller = if self.voice.is_some() { Caller::Talking(draft) } else { Caller::Gap(draft) };
            }
            _ => {}
        }
    }

    pub(super) fn beep(&mut self, now: Ms) {
        let Mode::Screening(screen) = &mut self.mode else { return };
        screen.beep = Some(now);
        if screen.verdict != Some(Answerer::Voicemail) {
            screen.verdict = Some(Answerer::Voicemail);
            self.say(Out::Verdict(Answerer::Voicemail));
        }
    }

    /// A person: what was prepared may sound.
    fn greet(&mut self, answerer: Answerer, now: Ms) {
        self.say(Out::Verdict(answerer));
        self.mode = Mode::Normal;
        if let Some(onset) = self.voice {
            self.caller = Caller::Talking(Draft::new(self.turn + 1, onset, now));
        }
        if matches!(self.agent, Agent::Idle) && self.lines.is_empty() {
            self.say(Out::StartGreeting);
        }
    }

    /// No person: the prepared greeting is not for this ear.
    fn leave_screening(&mut self, now: Ms) {
        self.cancel_all(now);
        self.lines.clear();
        self.mode = Mode::Normal;
    }

    fn leave_message(&mut self, now: Ms) {
        self.leave_screening(now);
        self.ending = true;
        self.own_line(Line::Voicemail, Some(Cause::AgentEnded), now);
        if let Agent::Thinking(thought) = &mut self.agent {
            thought.over = true;
        }
    }
}
