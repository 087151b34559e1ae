//! Telephone keys: one that is expected wins against everything, and speech is not listened to until the number is done.

use super::fields::Field;
use super::state::{Caller, Collected, Committed, Contest, Mode, Words};
use super::text::Weight;
use super::{Manner, Note, Out, Prompt, Said, Turns, Unanswered};
use crate::Ms;

/// What a key does.
enum Effect {
    /// It is the answer.
    Answer,
    /// It is a digit of a number.
    Digit,
    /// It ends a number.
    End,
    /// Nobody expects it.
    None,
}

impl Turns {
    fn key_effect(&self, digit: u8) -> Effect {
        match &self.expect {
            Field::Keymap { keys } if keys.as_bytes().contains(&digit) => Effect::Answer,
            Field::Digits { .. } | Field::Phone if digit.is_ascii_digit() => Effect::Digit,
            Field::Digits { .. } | Field::Phone if digit == b'#' && matches!(self.mode, Mode::Keys(_)) => Effect::End,
            _ if self.keymap.as_bytes().contains(&digit) => Effect::Answer,
            _ => Effect::None,
        }
    }

    /// Fewest and most keys of the number.
    fn key_count(&self) -> (usize, usize) {
        match &self.expect {
            Field::Digits { min, max } => (usize::from(*min), usize::from(*max)),
            Field::Phone => (7, 15),
            _ => (1, 1),
        }
    }

    pub(super) fn key(&mut self, digit: u8, now: Ms) {
        let effect = self.key_effect(digit);
        if !matches!(self.mode, Mode::Normal | Mode::Keys(_)) || matches!(effect, Effect::None) {
            if !self.is_closed() {
                self.note(Note::KeyStored(digit));
            }
            return;
        }
        if matches!(self.mode, Mode::Normal) {
            self.first_key(now);
        }
        let (_, most) = self.key_count();
        let Mode::Keys(collected) = &mut self.mode else { return };
        collected.last = now;
        if !matches!(effect, Effect::End) {
            collected.keys.push(char::from(digit));
        }
        let full = matches!(effect, Effect::Answer) || collected.keys.len() >= most.max(1);
        if full || matches!(effect, Effect::End) {
            self.keys_end(now);
        }
    }

    /// Everything else gives way.
    fn first_key(&mut self, now: Ms) {
        if self.ending {
            self.stay();
        }
        self.cancel_all(now);
        self.cancel_tools();
        self.lines.clear();
        let turn = self.take_words(Unanswered::Keys);
        self.mode = Mode::Keys(Collected { turn, keys: String::new(), last: now });
    }

    /// Ends what the caller is saying without an answer; the number of its turn.
    pub(super) fn take_words(&mut self, why: Unanswered) -> u64 {
        let (turn, text) = match std::mem::replace(&mut self.caller, Caller::Quiet) {
            Caller::Quiet => return self.turn + 1,
            Caller::Tentative(contest) => {
                let text = contest.words.text();
                if self.weigh(&text) == Weight::Light {
                    self.note(Note::Backchannel(text));
                    return self.turn + 1;
                }
                (self.turn + 1, text)
            }
            // The words before a reopening are in the transcript already.
            Caller::Talking(draft) | Caller::Gap(draft) => (draft.turn, draft.words.text()),
        };
        if !text.is_empty() {
            self.say(Out::Record { turn, text, why });
        }
        turn
    }

    pub(super) fn key_gap(&self) -> Option<Ms> {
        let Mode::Keys(collected) = &self.mode else { return None };
        let (fewest, _) = self.key_count();
        let enough = collected.keys.len() >= fewest;
        Some(collected.last + if enough { self.config.key_gap } else { self.config.key_gap_short })
    }

    /// The number is done: by its length, by `#`, or by a long gap.
    pub(super) fn keys_end(&mut self, now: Ms) {
        let (fewest, _) = self.key_count();
        let Mode::Keys(Collected { turn, keys, .. }) = std::mem::replace(&mut self.mode, Mode::Normal) else { return };
        let enough = keys.len() >= fewest.max(1);
        if let Some(onset) = self.voice {
            // The voice edge that follows must find a contest.
            self.caller = Caller::Tentative(Contest { onset, voiced: 0, words: Words::default() });
        }
        if !enough {
            return self.prompt(Prompt::TooFewDigits, now);
        }
        self.turn = turn;
        self.silences = 0;
        self.asked_time = false;
        self.say(Out::Commit { turn, said: Said::Keys(keys.clone()) });
        self.committed = Some(Committed {
            turn,
            start: now,
            prefix: String::new(),
            words: Words::default(),
            keys: true,
            last_voice: self.last_voice,
            at: now,
            filled: false,
        });
        self.generate(turn, Said::Keys(keys), Manner::First, now);
    }
}
