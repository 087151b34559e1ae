//! What the words alone tell: whether a turn has ended, whether a field is complete, how much an interruption weighs.

use super::fields::Field;
use super::{TurnConfig, words};
use crate::Ms;

/// The words of a text: lower case, without punctuation at their ends.
pub(super) fn tokens(text: &str) -> Vec<String> {
    text.split_whitespace()
        .map(|word| word.replace('\u{2019}', "'").to_lowercase())
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '$' | '£' | '€' | '%')).to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Whether two texts are the same but for case, punctuation and spacing.
pub(super) fn same_words(a: &str, b: &str) -> bool {
    let bare = |text: &str| tokens(text).concat().replace(['-', '\''], "");
    bare(a) == bare(b)
}

/// Whether `text` has `phrase` as whole words.
fn has(tokens: &[String], phrase: &str) -> bool {
    let wanted: Vec<&str> = phrase.split(' ').collect();
    tokens.windows(wanted.len()).any(|window| window.iter().zip(&wanted).all(|(a, b)| a == b))
}

/// Whether `text` has any of the phrases.
pub(super) fn has_any(text: &str, phrases: &[&str]) -> bool {
    let tokens = tokens(text);
    phrases.iter().any(|phrase| has(&tokens, phrase))
}

fn in_list(word: &str, list: &[&str]) -> bool {
    list.contains(&word)
}

/// Whether the caller asks us to wait.
pub(super) fn asks_time(text: &str) -> bool {
    has_any(text, words::ASKS_TIME)
}

/// The probability that a turn with these words has ended.
pub(super) fn end_probability(text: &str) -> f32 {
    let trimmed = text.trim_end();
    let tokens = tokens(trimmed);
    let Some(last) = tokens.last() else { return 0.5 };
    if asks_time(text) {
        return 0.75;
    }
    if in_list(last, words::FILLERS) {
        return 0.10;
    }
    if trimmed.ends_with('…') || trimmed.ends_with("..") || trimmed.ends_with([',', '-', '–', '—', ':', ';']) {
        return 0.15;
    }
    if trimmed.ends_with(['.', '?', '!']) {
        return 0.75;
    }
    if in_list(last, words::CONTINUATIONS) { 0.15 } else { 0.5 }
}

/// Silence after which a turn that has ended with probability `p` is taken as ended: `250 + 1750·(1−p)²`, in tens.
pub(super) fn open_wait(p: f32) -> Ms {
    let missing = f64::from(1.0 - p.clamp(0.0, 1.0));
    // At most 2000, so the cast keeps the value.
    (((250.0 + 1750.0 * missing * missing) / 10.0).round() as Ms) * 10
}

/// Whether this is a whole short answer that needs no waiting.
pub(super) fn short_answer(text: &str) -> bool {
    let tokens = tokens(text);
    !tokens.is_empty() && tokens.len() <= 2 && tokens.iter().all(|word| in_list(word, words::SHORT_ANSWERS))
}

/// How far words fit the expected field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// They are something else; the open rule applies.
    Not,
    /// They may go on.
    Part,
    /// They are at least what was asked for.
    Enough,
    /// Nothing can be missing.
    Complete,
}

/// How far `text` fits `field`.
pub(super) fn fit(field: &Field, text: &str) -> Fit {
    let tokens = tokens(text);
    if tokens.is_empty() {
        return Fit::Not;
    }
    let graded = |fits: bool, complete: bool| match (fits, complete) {
        (_, true) => Fit::Complete,
        (true, false) => Fit::Part,
        (false, false) => Fit::Not,
    };
    match field {
        Field::Open | Field::Story | Field::Keymap { .. } => Fit::Not,
        Field::YesNo => graded(true, is_yes_no(&tokens)),
        Field::Choice { options } => {
            let complete = options.iter().any(|option| same_words(option, text));
            let touched = options.iter().any(|option| self::tokens(option).iter().any(|word| tokens.contains(word)));
            graded(touched || tokens.len() <= 2, complete)
        }
        Field::Digits { min, max } => {
            let count = digits(&tokens);
            if !mostly_digits(&tokens) {
                Fit::Not
            } else if count >= usize::from(*max) {
                Fit::Complete
            } else if count >= usize::from(*min) {
                Fit::Enough
            } else {
                Fit::Part
            }
        }
        Field::Phone => {
            // A trunk zero or a country code makes a national number one or two digits longer.
            let first = tokens.iter().find(|word| digit_value(word) > 0);
            let long = first.is_some_and(|word| word.starts_with('0') || matches!(word.as_str(), "zero" | "oh" | "o"));
            let needed = if text.contains('+') || tokens.iter().any(|word| word == "plus") {
                11
            } else {
                10 + usize::from(long)
            };
            graded(mostly_digits(&tokens), mostly_digits(&tokens) && digits(&tokens) >= needed)
        }
        Field::Email => {
            let foreign = tokens.iter().any(|word| in_list(word, words::NOT_IN_EMAIL));
            let marked = text.contains('@') || tokens.iter().any(|word| word == "at" || word == "dot");
            graded(marked || (!foreign && tokens.len() <= 4), email_complete(text, &tokens))
        }
        Field::Spelling => {
            let letters =
                tokens.iter().filter(|word| word.chars().count() == 1 || in_list(word, words::SPELLING_NAMES)).count();
            let closed = words::SPELLING_ENDS.iter().any(|phrase| tokens.join(" ").ends_with(phrase));
            graded(letters * 2 >= tokens.len(), letters > 0 && closed)
        }
        Field::Address => {
            let number = digits(&tokens) > 0;
            let street = tokens.iter().position(|word| in_list(word, words::STREETS));
            let complete = number && street.is_some_and(|at| at + 1 < tokens.len());
            graded(number || street.is_some() || tokens.len() <= 3, complete)
        }
        Field::DateTime => date_fit(&tokens),
        Field::Name => graded(tokens.len() <= 5, false),
        Field::Amount => {
            let number = digits(&tokens) > 0 || tokens.iter().any(|word| in_list(word, words::MAGNITUDES));
            let unit =
                text.contains(['$', '£', '€', '%']) || tokens.iter().any(|word| in_list(word, words::AMOUNT_UNITS));
            graded(number, number && unit)
        }
    }
}

/// Whether the words are a plain yes or no.
fn is_yes_no(tokens: &[String]) -> bool {
    tokens.iter().all(|word| in_list(word, words::YES_NO))
        && tokens.iter().any(|word| in_list(word, words::YES_NO_CORE))
}

/// How many digits a word stands for.
fn digit_value(word: &str) -> usize {
    let figures = word.chars().filter(char::is_ascii_digit).count();
    if figures > 0 {
        figures
    } else if in_list(word, words::UNITS) {
        1
    } else {
        usize::from(in_list(word, words::TEENS) || in_list(word, words::TENS)) * 2
    }
}

/// How many digits a text has, spoken ones included: "double five" has two, "forty five" has two.
fn digits(tokens: &[String]) -> usize {
    let mut count = 0;
    let mut previous = "";
    for word in tokens {
        let value = digit_value(word);
        count += match previous {
            "double" if value == 1 => 2,
            "triple" if value == 1 => 3,
            before if value == 1 && in_list(before, words::TENS) && in_list(word, words::UNITS) => 0,
            _ => value,
        };
        previous = word;
    }
    count
}

fn mostly_digits(tokens: &[String]) -> bool {
    let numbers = tokens.iter().filter(|word| digit_value(word) > 0).count();
    let others = tokens.iter().filter(|word| digit_value(word) == 0 && !in_list(word, words::AROUND_NUMBERS)).count();
    numbers > 0 && others <= numbers
}

fn email_complete(text: &str, tokens: &[String]) -> bool {
    let after_at = match (text.rfind('@'), tokens.iter().rposition(|word| word == "at")) {
        (Some(at), _) => text[at + 1..].to_owned(),
        (None, Some(at)) if at > 0 => tokens[at + 1..].join(" "),
        _ => return false,
    };
    let domain = self::tokens(&after_at).join(" ").replace(" dot ", ".").replace(' ', "");
    domain
        .split_once('.')
        .is_some_and(|(host, top)| !host.is_empty() && top.chars().filter(|c| c.is_alphabetic()).count() >= 2)
}

fn date_fit(tokens: &[String]) -> Fit {
    let number = |word: &String| digit_value(word) > 0 || in_list(word, words::ORDINALS);
    let month = tokens.iter().any(|word| in_list(word, words::MONTHS));
    let day = tokens.iter().any(|word| in_list(word, words::DAYS));
    let clock = tokens.iter().enumerate().any(|(at, word)| {
        number(word)
            && (at.checked_sub(1).is_some_and(|before| matches!(tokens[before].as_str(), "at" | "past" | "to"))
                || tokens.get(at + 1).is_some_and(|after| in_list(after, words::CLOCK))
                || word.contains(':')
                || word.ends_with("am")
                || word.ends_with("pm"))
    });
    if day || clock || (month && tokens.iter().any(number)) {
        Fit::Complete
    } else if month || tokens.iter().any(|word| number(word) || in_list(word, words::DATE_PARTS)) {
        Fit::Part
    } else {
        Fit::Not
    }
}

/// How much words weigh that come while the agent has the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// No words.
    Nothing,
    /// Only listening, thinking, or parting while the call ends.
    Light,
    /// One word that says something.
    One,
    /// An interruption.
    Strong,
}

/// Weighs words; `ending` is true while the call is being ended.
pub(super) fn weigh(text: &str, ending: bool, config: &TurnConfig) -> Weight {
    let mut tokens = tokens(text);
    if tokens.is_empty() {
        return Weight::Nothing;
    }
    if config.always.iter().any(|phrase| has(&tokens, phrase)) {
        return Weight::Strong;
    }
    let never: Vec<&str> = config.never.iter().map(String::as_str).collect();
    remove_phrases(&mut tokens, &never);
    remove_phrases(&mut tokens, words::BACKCHANNEL_PHRASES);
    if ending {
        remove_phrases(&mut tokens, words::FAREWELL_PHRASES);
    }
    if tokens.iter().take(3).any(|word| in_list(word, words::STOP)) {
        return Weight::Strong;
    }
    let light = |word: &str| {
        in_list(word, words::BACKCHANNELS)
            || in_list(word, words::FILLERS)
            || (ending && in_list(word, words::FAREWELLS))
    };
    let content = tokens.iter().filter(|word| !light(word));
    match content.count() {
        0 => Weight::Light,
        count if count < usize::from(config.min_words) => Weight::Light,
        1 => Weight::One,
        _ => Weight::Strong,
    }
}

fn remove_phrases(tokens: &mut Vec<String>, phrases: &[&str]) {
    for phrase in phrases {
        let wanted: Vec<&str> = phrase.split(' ').collect();
        while let Some(at) =
            tokens.windows(wanted.len()).position(|window| window.iter().zip(&wanted).all(|(a, b)| a == b))
        {
            tokens.drain(at..at + wanted.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_follow_the_end_of_the_text() {
        let wait = |text| open_wait(end_probability(text));
        assert_eq!(wait("I'd like to book a table."), 360);
        assert_eq!(wait("book a table for two"), 690);
        assert_eq!(wait("I need to change my booking and"), 1510);
        assert_eq!(wait("when the first one broke,"), 1510);
        assert_eq!(wait("um"), 1670);
        assert_eq!(wait("hold on, let me check"), 360);
    }

    #[test]
    fn spoken_digits_are_counted_as_they_are_dialled() {
        let count = |text| digits(&tokens(text));
        assert_eq!(count("five five five oh one two"), 6);
        assert_eq!(count("double five triple two"), 5);
        assert_eq!(count("forty five nineteen"), 4);
        assert_eq!(count("555 012 3456"), 10);
    }

    #[test]
    fn fields_know_when_they_are_complete() {
        let digits = Field::Digits { min: 4, max: 6 };
        assert_eq!(fit(&digits, "1 2 3"), Fit::Part);
        assert_eq!(fit(&digits, "1 2 3 4"), Fit::Enough);
        assert_eq!(fit(&digits, "my code is 123456"), Fit::Complete);
        assert_eq!(fit(&digits, "I don't have it with me."), Fit::Not);
        assert_eq!(fit(&Field::Email, "jane.miller at example dot com"), Fit::Complete);
        assert_eq!(fit(&Field::Email, "jane@example"), Fit::Part);
        assert_eq!(fit(&Field::Email, "sorry what do you need"), Fit::Not);
        assert_eq!(fit(&Field::DateTime, "March the third"), Fit::Complete);
        assert_eq!(fit(&Field::DateTime, "in March"), Fit::Part);
        assert_eq!(fit(&Field::Address, "12 Station Road Leeds"), Fit::Complete);
        assert_eq!(fit(&Field::Spelling, "M I K E that's it"), Fit::Complete);
        assert_eq!(fit(&Field::YesNo, "Yes, please."), Fit::Complete);
        assert_eq!(fit(&Field::Phone, "oh one one three four nine six oh nine five"), Fit::Part);
    }

    #[test]
    fn an_interruption_is_weighed_by_its_words() {
        let config = TurnConfig::default();
        assert_eq!(weigh("uh-huh", false, &config), Weight::Light);
        assert_eq!(weigh("I see, okay", false, &config), Weight::Light);
        assert_eq!(weigh("yeah but what about", false, &config), Weight::Strong);
        assert_eq!(weigh("wait", false, &config), Weight::Strong);
        assert_eq!(weigh("Wednesday", false, &config), Weight::One);
        assert_eq!(weigh("bye", true, &config), Weight::Light);
        assert_eq!(weigh("bye", false, &config), Weight::One);
        assert_eq!(weigh(" ... ", false, &config), Weight::Nothing);
    }

    #[test]
    fn an_agent_may_ask_for_more_words_and_name_its_own() {
        let own = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
        let config =
            TurnConfig { min_words: 3, never: own(&["genau ja"]), always: own(&["moment"]), ..TurnConfig::default() };
        assert_eq!(weigh("table two", false, &config), Weight::Light);
        assert_eq!(weigh("table for two", false, &config), Weight::Strong);
        assert_eq!(weigh("genau ja", false, &config), Weight::Light);
        assert_eq!(weigh("moment", false, &config), Weight::Strong);
        assert_eq!(weigh("stop", false, &config), Weight::Strong);
    }

    #[test]
    fn case_and_punctuation_do_not_make_other_words() {
        assert!(same_words("my name is ann lee", "My name is Ann Lee."));
        assert!(!same_words("a table", "the table"));
    }
}
