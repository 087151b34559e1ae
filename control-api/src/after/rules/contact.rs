//! Who called: name, e-mail, number, trade, and the agent's own fields, from what was said and from what tools took down.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    super::talk::{Line, Talk},
    spoken, words,
};

/// What the caller said about themselves; a field that was not said is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) business_type: Option<String>,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Contact {
    /// Whether it says more than the network's own number of the caller.
    pub(crate) fn is_worth_keeping(&self) -> bool {
        self.name.is_some() || self.email.is_some() || self.business_type.is_some() || !self.fields.is_empty()
    }
}

/// Reads the fields that are asked for.
pub(crate) fn contact(talk: &Talk, wanted: &[String]) -> Contact {
    let asks = |field: &str| wanted.iter().any(|wanted| wanted == field);
    let mut contact = Contact::default();
    if asks("name") {
        contact.name = taken(talk, "name").or_else(|| name(&talk.lines)).map(|name| capitals(&name));
    }
    if asks("email") {
        // What was said last is what was corrected.
        let said = callers(&talk.lines).rev().find_map(spoken::email);
        contact.email = taken(talk, "email").and_then(|text| spoken::email(&text)).or(said);
    }
    if asks("phone") {
        let said = callers(&talk.lines).rev().find_map(spoken::phone);
        let network = talk.person.starts_with('+').then(|| talk.person.clone());
        contact.phone = taken(talk, "phone").and_then(|text| spoken::phone(&text)).or(said).or(network);
    }
    if asks("business_type") {
        contact.business_type = business(&talk.lines);
    }
    for field in wanted.iter().filter(|field| !KNOWN.contains(&field.as_str())) {
        if let Some(value) = taken(talk, field).or_else(|| answer_to(&talk.lines, &words(&field.replace('_', " ")))) {
            contact.fields.insert(field.clone(), value);
        }
    }
    contact
}

const KNOWN: [&str; 4] = ["name", "email", "phone", "business_type"];

fn callers(lines: &[Line]) -> impl DoubleEndedIterator<Item = &str> {
    lines.iter().filter(|line| line.caller).map(|line| line.text.as_str())
}

/// What a tool wrote under a name.
fn taken(talk: &Talk, field: &str) -> Option<String> {
    let rows = talk.bookings.iter().chain(&talk.messages);
    rows.filter_map(|row| match &row[field] {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
    .next_back()
}

/// What the caller said right after the agent asked for something with all of these words in it; the last time it was asked.
pub(super) fn reply_to<'a>(lines: &'a [Line], wanted: &[String]) -> Option<&'a str> {
    let asked = |line: &Line| {
        let words = words(&line.text);
        !line.caller && line.text.contains('?') && !wanted.is_empty() && wanted.iter().all(|word| words.contains(word))
    };
    let pairs = lines.windows(2).filter(|pair| asked(&pair[0]) && pair[1].caller);
    pairs.map(|pair| pair[1].text.as_str()).next_back()
}

/// The same without what people say before an answer.
pub(super) fn answer_to(lines: &[Line], wanted: &[String]) -> Option<String> {
    reply_to(lines, wanted).map(stripped).filter(|answer| !answer.is_empty())
}

/// An answer without what people say before it and the stop behind it.
fn stripped(text: &str) -> String {
    const LEADS: [&str; 12] =
        ["yes", "yeah", "sure", "okay", "well", "um", "uh", "it's", "it is", "that's", "that is", "that would be"];
    let mut rest = text.trim();
    loop {
        // Whole words only: "sure" does not begin "surely".
        let lead = LEADS.iter().find(|lead| {
            rest.get(..lead.len()).is_some_and(|head| head.eq_ignore_ascii_case(lead))
                && rest[lead.len()..].starts_with([' ', ','])
        });
        match lead {
            Some(lead) => rest = rest[lead.len()..].trim_start_matches([',', ' ']),
            None => break,
        }
    }
    rest.trim_end_matches(['.', '!', ',', ' ']).chars().take(500).collect()
}

fn name(lines: &[Line]) -> Option<String> {
    const SAID: [&[&str]; 6] = [
        &["my", "name", "is"],
        &["my", "name's"],
        &["name", "is"],
        &["this", "is"],
        &["speaking", "with"],
        &["i", "am", "called"],
    ];
    let said = callers(lines).rev().find_map(|text| {
        let words = words(text);
        SAID.iter().find_map(|lead| {
            let at = words.windows(lead.len()).position(|window| window == *lead)?;
            person(&words[at + lead.len()..])
        })
    });
    said.or_else(|| {
        let answer = answer_to(lines, &["your".into(), "name".into()]);
        answer.and_then(|answer| person(&words(&answer)))
    })
}

/// One to three words that can be a name, from the beginning of a list of words.
fn person(words: &[String]) -> Option<String> {
    const NOT: [&str; 44] = [
        "a",
        "an",
        "the",
        "and",
        "i",
        "i'm",
        "my",
        "is",
        "it",
        "it's",
        "about",
        "calling",
        "speaking",
        "from",
        "for",
        "to",
        "not",
        "here",
        "so",
        "very",
        "what",
        "why",
        "that",
        "this",
        "in",
        "on",
        "of",
        "with",
        "regarding",
        "just",
        "please",
        "yes",
        "no",
        "great",
        "good",
        "perfect",
        "fine",
        "ridiculous",
        "all",
        "at",
        "you",
        "your",
        "can",
        "would",
    ];
    let name: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .take_while(|word| !NOT.contains(word) && word.chars().all(|c| c.is_alphabetic() || c == '\'' || c == '-'))
        .take(3)
        .collect();
    (!name.is_empty()).then(|| name.join(" "))
}

fn capitals(name: &str) -> String {
    let capital = |part: &str| {
        let mut letters = part.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    };
    name.split_whitespace().map(capital).collect::<Vec<_>>().join(" ")
}

fn business(lines: &[Line]) -> Option<String> {
    const LEADS: [&[&str]; 9] = [
        &["i", "run"],
        &["i", "own"],
        &["we", "run"],
        &["we", "own"],
        &["we", "are"],
        &["we're"],
        &["my", "business", "is"],
        &["i", "have"],
        &["owner", "of"],
    ];
    const PLACES: [&str; 40] = [
        "shop",
        "store",
        "restaurant",
        "bakery",
        "cafe",
        "bar",
        "hotel",
        "salon",
        "clinic",
        "practice",
        "agency",
        "company",
        "firm",
        "garage",
        "gym",
        "studio",
        "farm",
        "school",
        "office",
        "business",
        "dealership",
        "brewery",
        "pharmacy",
        "consultancy",
        "startup",
        "plumber",
        "plumbers",
        "dentist",
        "dentists",
        "lawyers",
        "builders",
        "landscaping",
        "roofing",
        "cleaning",
        "construction",
        "catering",
        "logistics",
        "church",
        "charity",
        "nursery",
    ];
    let said = callers(lines).find_map(|text| {
        let words = words(text);
        LEADS.iter().find_map(|lead| {
            let at = words.windows(lead.len()).position(|window| window == *lead)? + lead.len();
            let rest: Vec<_> = words[at..]
                .iter()
                .skip_while(|word| ["a", "an", "the", "small", "little"].contains(&word.as_str()))
                .collect();
            let place = rest.iter().take(4).position(|word| PLACES.contains(&word.as_str()))?;
            Some(rest[..=place].iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" "))
        })
    });
    let asked = ["business", "company", "work"];
    said.or_else(|| asked.iter().find_map(|word| answer_to(lines, &["your".into(), (*word).into()])))
        .or_else(|| answer_to(lines, &["kind".into(), "business".into()]))
}
