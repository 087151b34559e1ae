//! Meaning by words: tokens, phrases, yes and no, and the words that work everywhere.

use std::collections::BTreeMap;

/// Words that carry no meaning of their own in an answer.
const FILLERS: &[&str] = &[
    "a", "an", "and", "can", "could", "do", "er", "erm", "for", "get", "give", "have", "hello", "hey", "hi", "i",
    "i'd", "i'll", "i'm", "just", "know", "let", "like", "love", "make", "me", "my", "need", "now", "of", "oh",
    "please", "thank", "thanks", "that", "the", "then", "this", "to", "uh", "um", "want", "well", "with", "would",
    "you", "your", "speak", "talk", "say", "is", "so", "there", "sir", "madam",
];
const YES: &[&str] = &[
    "yes",
    "yeah",
    "yep",
    "yup",
    "sure",
    "correct",
    "right",
    "okay",
    "ok",
    "fine",
    "absolutely",
    "definitely",
    "exactly",
    "certainly",
    "perfect",
    "affirmative",
];
const NO: &[&str] =
    &["no", "nope", "nah", "wrong", "incorrect", "negative", "not", "don't", "isn't", "can't", "doesn't", "won't"];

/// Commands that every state understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Global {
    Operator,
    Repeat,
    Goodbye,
}

pub(crate) const OPERATOR: &[&str] =
    &["operator", "talk to a person", "speak to a person", "speak to someone", "a real person", "receptionist"];
pub(crate) const REPEAT: &[&str] = &["repeat", "repeat that", "say that again", "pardon"];
pub(crate) const GOODBYE: &[&str] = &["goodbye", "bye", "bye bye", "good bye"];

/// The words of a text: lower case, without punctuation; "3pm" and "a.m." come apart and together as they are spoken.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace('\u{2019}', "'");
    let text = text.replace("a.m.", " am ").replace("p.m.", " pm ").replace("a.m", " am ").replace("p.m", " pm ");
    let mut raw: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        let keep = c.is_alphanumeric() || c == '\'' || c == '@';
        let split = word.chars().next_back().is_some_and(|last| last.is_ascii_digit() != c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_digit())
            && !"stndrdth".contains(c);
        if (!keep || split) && !word.is_empty() {
            raw.push(std::mem::take(&mut word));
        }
        if keep {
            word.push(c);
        }
    }
    let mut out: Vec<String> = Vec::new();
    for word in raw {
        let word = word.trim_matches('\'').to_owned();
        if word == "m" && out.last().is_some_and(|w| w == "a" || w == "p") {
            if let Some(last) = out.last_mut() {
                last.push('m');
            }
        } else if !word.is_empty() {
            out.push(word);
        }
    }
    out
}

/// Whether two words are the same up to an English ending.
fn same(heard: &str, wanted: &str) -> bool {
    if heard == wanted {
        return true;
    }
    let (short, long) = if heard.len() < wanted.len() { (heard, wanted) } else { (wanted, heard) };
    short.len() >= 4 && long.strip_prefix(short).is_some_and(|rest| matches!(rest, "s" | "es" | "ed" | "ing" | "d"))
}

/// Where all words of a phrase occur in order (other words may lie between), if they do.
fn find(heard: &[String], phrase: &[String]) -> Option<usize> {
    let mut from = 0;
    let mut first = None;
    for wanted in phrase {
        let at = from + heard[from..].iter().position(|w| same(w, wanted))?;
        first.get_or_insert(at);
        from = at + 1;
    }
    first
}

/// The intent whose phrases cover most words of what was heard; of equals the one that was said first.
pub(crate) fn intent<'i>(heard: &[String], intents: &'i BTreeMap<String, Vec<String>>) -> Option<&'i str> {
    let mut best: Option<(usize, usize, &str)> = None;
    for (name, phrases) in intents {
        let mut covered = 0;
        let mut first = usize::MAX;
        for phrase in phrases {
            let phrase = tokens(phrase);
            if let Some(at) = find(heard, &phrase) {
                covered = covered.max(phrase.len());
                first = first.min(at);
            }
        }
        let better = best.is_none_or(|(most, at, _)| covered > most || (covered == most && first < at));
        if covered > 0 && better {
            best = Some((covered, first, name));
        }
    }
    best.map(|(_, _, name)| name)
}

/// Yes or no, if it is one of them and not both.
pub(crate) fn yes_no(heard: &[String]) -> Option<bool> {
    let no = heard.iter().any(|w| NO.contains(&w.as_str()));
    let yes = heard.iter().any(|w| YES.contains(&w.as_str()))
        || find(heard, &tokens("go ahead")).is_some()
        || find(heard, &tokens("of course")).is_some()
        || find(heard, &tokens("that works")).is_some();
    // "No, that's right" and "not right" both begin with the word that counts.
    let first_no = heard.iter().position(|w| NO.contains(&w.as_str()));
    let first_yes = heard.iter().position(|w| YES.contains(&w.as_str()));
    match (yes, no) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (true, true) => Some(first_yes.unwrap_or(usize::MAX) < first_no.unwrap_or(usize::MAX)),
        (false, false) => None,
    }
}

/// The words without those that carry no meaning.
pub(crate) fn content(heard: &[String]) -> Vec<&str> {
    heard.iter().map(String::as_str).filter(|w| !FILLERS.contains(w)).collect()
}

/// A command that works everywhere, if nothing else was said.
pub(crate) fn global(heard: &[String]) -> Option<Global> {
    if heard.is_empty() {
        return None;
    }
    let said = content(heard);
    let is = |phrases: &[&str]| {
        phrases.iter().any(|phrase| {
            let phrase = tokens(phrase);
            if heard == phrase {
                return true;
            }
            let wanted = content(&phrase);
            !wanted.is_empty() && said == wanted
        })
    };
    if is(OPERATOR) || said == ["human"] || said == ["person"] || said == ["someone"] {
        Some(Global::Operator)
    } else if is(GOODBYE) {
        Some(Global::Goodbye)
    } else if is(REPEAT) || heard == ["what"] || heard == ["sorry"] {
        Some(Global::Repeat)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intents() -> BTreeMap<String, Vec<String>> {
        let of = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        BTreeMap::from([
            ("book".to_owned(), of(&["book", "appointment"])),
            ("cancel".to_owned(), of(&["cancel"])),
            ("hours".to_owned(), of(&["hours", "when are you open"])),
        ])
    }

    #[test]
    fn tokens_come_apart_as_they_are_spoken() {
        assert_eq!(tokens("Tuesday at 10:30 A.M., 3pm!"), ["tuesday", "at", "10", "30", "am", "3", "pm"]);
        assert_eq!(tokens("the 24th at three p m"), ["the", "24th", "at", "three", "pm"]);
        assert_eq!(tokens("it\u{2019}s"), ["it's"]);
    }

    #[test]
    fn the_word_said_first_decides_between_equal_intents() {
        let heard = |text| tokens(text);
        assert_eq!(intent(&heard("I want to cancel my appointment"), &intents()), Some("cancel"));
        assert_eq!(intent(&heard("booking an appointment please"), &intents()), Some("book"));
        assert_eq!(intent(&heard("when are you open"), &intents()), Some("hours"));
        assert_eq!(intent(&heard("lovely weather"), &intents()), None);
    }

    #[test]
    fn yes_and_no_in_many_words() {
        for (text, want) in [
            ("yes please", Some(true)),
            ("that's right", Some(true)),
            ("no that's wrong", Some(false)),
            ("that is not right", Some(false)),
            ("yeah, why not", Some(true)),
            ("maybe", None),
        ] {
            assert_eq!(yes_no(&tokens(text)), want, "{text}");
        }
    }

    #[test]
    fn commands_work_only_when_nothing_else_is_said() {
        assert_eq!(global(&tokens("operator please")), Some(Global::Operator));
        assert_eq!(global(&tokens("I want to speak to a person")), Some(Global::Operator));
        assert_eq!(global(&tokens("say that again")), Some(Global::Repeat));
        assert_eq!(global(&tokens("goodbye")), Some(Global::Goodbye));
        assert_eq!(global(&tokens("my name is Bye Goodman")), None);
        assert_eq!(global(&[]), None);
    }
}
