//! What an agent asks for about the ends of turns, laid over the machine's own table of waits.

use serde::{Deserialize, Serialize};

use super::Turns;
use super::fields::Field;
use super::state::Draft;
use super::text::{self, Fit};
use crate::Ms;

/// Waits that replace or bound the machine's own; `None` leaves them as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ends {
    /// This silence ends every turn, whatever its words.
    pub silence: Option<Ms>,
    /// Follow the pace of this caller.
    pub pace: bool,
    /// No wait is shorter.
    pub min: Option<Ms>,
    /// No wait is longer.
    pub max: Option<Ms>,
    /// After words that end a sentence, where nothing certain is expected.
    pub punctuated: Option<Ms>,
    /// After words that do not, where nothing certain is expected.
    pub unpunctuated: Option<Ms>,
    /// While a number is expected and may go on.
    pub digits: Option<Ms>,
    /// While an e-mail address is expected and may go on.
    pub email: Option<Ms>,
    /// While yes or no is expected.
    pub yes_no: Option<Ms>,
    /// While a day or a time is expected and may go on.
    pub date: Option<Ms>,
}

impl Default for Ends {
    fn default() -> Self {
        Self {
            silence: None,
            pace: true,
            min: None,
            max: None,
            punctuated: None,
            unpunctuated: None,
            digits: None,
            email: None,
            yes_no: None,
            date: None,
        }
    }
}

impl Turns {
    /// The silence after which the turn ends.
    pub(super) fn wait(&self, draft: &Draft) -> Ms {
        let asked = &self.config.ends;
        let text = draft.text();
        let goes_on = text::fit(&self.expect, &text) != Fit::Complete;
        let of_field = match &self.expect {
            Field::Digits { .. } | Field::Phone => asked.digits.filter(|_| goes_on),
            Field::Email => asked.email.filter(|_| goes_on),
            Field::DateTime => asked.date.filter(|_| goes_on),
            Field::YesNo => asked.yes_no,
            Field::Open if text.trim_end().ends_with(['.', '?', '!']) => asked.punctuated,
            Field::Open => asked.unpunctuated,
            _ => None,
        };
        let by_words = matches!(self.expect, Field::Open);
        match (of_field, asked.silence) {
            // Policy `silence` does not read the words; what is expected is no matter of words.
            (Some(wait), None) => wait,
            (Some(wait), Some(_)) if !by_words => wait,
            (_, Some(silence)) => silence,
            (None, None) => {
                let wait = self.judged_wait(draft);
                let wait = asked.min.map_or(wait, |min| wait.max(min));
                asked.max.map_or(wait, |max| wait.min(max))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::TurnConfig;

    fn wait(ends: Ends, expect: Field, words: &str) -> Ms {
        let mut turns = Turns::new(TurnConfig { ends, ..TurnConfig::default() });
        turns.expect = expect;
        let mut draft = Draft::new(1, 0, 0);
        draft.words.put(words, true, 100);
        turns.wait(&draft)
    }

    #[test]
    fn without_wishes_the_table_decides() {
        assert_eq!(wait(Ends::default(), Field::Open, "book a table for two"), 690);
        assert_eq!(wait(Ends::default(), Field::Open, "Book a table."), 360);
    }

    #[test]
    fn silence_alone_ends_turns_when_asked() {
        let ends = Ends { silence: Some(500), digits: Some(1800), punctuated: Some(100), ..Ends::default() };
        assert_eq!(wait(ends.clone(), Field::Open, "Book a table."), 500);
        assert_eq!(wait(ends.clone(), Field::Open, "and"), 500);
        assert_eq!(wait(ends, Field::Digits { min: 6, max: 6 }, "one two"), 1800);
    }

    #[test]
    fn bounds_and_fields_lie_over_the_table() {
        let ends = Ends { max: Some(600), min: Some(400), ..Ends::default() };
        assert_eq!(wait(ends.clone(), Field::Open, "book a table for two"), 600);
        assert_eq!(wait(ends, Field::Open, "Book a table."), 400);
        let ends = Ends { unpunctuated: Some(950), digits: Some(2000), ..Ends::default() };
        assert_eq!(wait(ends.clone(), Field::Open, "book a table"), 950);
        assert_eq!(wait(ends.clone(), Field::Digits { min: 4, max: 4 }, "one two"), 2000);
        // A number that is complete needs no patience.
        assert_eq!(wait(ends, Field::Digits { min: 4, max: 4 }, "one two three four"), 300);
    }
}
