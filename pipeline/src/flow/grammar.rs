//! Grammars (JSGF) for the offline recogniser, made from the same phrases that meaning is made from.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::calendar::{MONTHS, WEEKDAYS};
use super::names::{FIRST, LAST};
use super::numbers::{cardinal, ordinal};
use super::spec::{ExpectSpec, FlowSpec, Kind};
use super::words::{GOODBYE, OPERATOR, REPEAT, tokens};

const LEAD: &str =
    "i want to | i would like to | i'd like to | i need to | i want | i need | can i | could i | please | hello | hi";
const YES_NO: &str = "yes [please] | yeah | yep | sure | okay | correct | that's right | that is correct | \
                      no [thanks] | no thank you | nope | wrong | that's wrong | not right";
const LETTERS: &str =
    "a | b | c | d | e | f | g | h | i | j | k | l | m | n | o | p | q | r | s | t | u | v | w | x | y | z";
/// What a message to a receptionist is made of; enough to tell what it is about, the recording has the rest.
const COMMON: &str = "a | about | after | again | also | am | an | and | answer | appointment | are | ask | at | available | be | \
    because | bill | book | by | call | can | cancel | change | come | could | day | do | doctor | don't | email | evening | \
    for | friday | from | get | give | got | have | he | hello | help | her | him | how | i | i'd | i'll | i'm | if | in | \
    insurance | is | it | it's | know | last | late | later | leave | like | make | me | message | monday | money | morning | \
    move | my | name | need | new | next | no | not | number | of | office | on | one | open | or | order | our | out | pay | \
    payment | phone | please | prescription | problem | question | ready | send | she | should | sick | soon | sorry | speak | \
    still | talk | tell | thank | that | the | their | them | there | they | thing | this | thursday | time | to | today | \
    tomorrow | tuesday | two | until | urgent | visit | wait | want | was | we | wednesday | week | were | what | when | \
    where | which | who | why | will | with | work | would | yes | you | your";

/// The grammar of one expectation.
pub(crate) fn for_expect(spec: &FlowSpec, expect: &ExpectSpec) -> String {
    match expect.kind {
        Kind::Intent | Kind::Menu => {
            let phrases = expect.intents.values().flatten().map(String::as_str);
            let dated = spec.states.values().any(|node| matches!(&node.expect, Some(e) if e.kind == Kind::DateTime));
            intents(phrases, dated)
        }
        Kind::YesNo => yes_no(),
        Kind::Digits => digits(),
        Kind::Phone => digits(),
        Kind::DateTime => date_time(),
        Kind::Name => name(&expect.list),
        Kind::Email => email(),
        Kind::Free => free(),
    }
}

fn grammar(body: &str, rules: &[(&str, String)]) -> String {
    let mut out = String::from("#JSGF V1.0;\ngrammar sidetone;\n");
    let globals = [OPERATOR, REPEAT, GOODBYE].concat().join(" | ");
    let _ = writeln!(out, "public <answer> = {body} | <global>;\n<global> = {globals};");
    for (name, rule) in rules {
        let _ = writeln!(out, "<{name}> = {rule};");
    }
    out
}

/// A phrase as words that a dictionary may have: figures become number words.
fn spoken(phrase: &str) -> String {
    let words: Vec<String> = tokens(phrase)
        .into_iter()
        .map(|word| match word.parse::<u8>() {
            Ok(n) if n < 100 => cardinal(n),
            _ if word.bytes().all(|b| b.is_ascii_digit()) => {
                word.bytes().map(|b| cardinal(b - b'0')).collect::<Vec<_>>().join(" ")
            }
            _ => word.replace('@', " at "),
        })
        .collect();
    words.join(" ")
}

fn alternatives<'p>(phrases: impl Iterator<Item = &'p str>) -> String {
    let all: BTreeSet<String> = phrases.map(spoken).filter(|phrase| !phrase.trim().is_empty()).collect();
    if all.is_empty() { "<VOID>".to_owned() } else { all.into_iter().collect::<Vec<_>>().join(" | ") }
}

/// A grammar of phrases that may be said alone, or politely.
pub fn from_phrases<'p>(phrases: impl Iterator<Item = &'p str>) -> String {
    let mut phrases = phrases.peekable();
    if phrases.peek().is_none() { free() } else { intents(phrases, false) }
}

fn intents<'p>(phrases: impl Iterator<Item = &'p str>, dated: bool) -> String {
    let body = "[<lead>] <phrase> [[<link>] <phrase>] [<tail>]";
    let mut rules = vec![
        ("lead", LEAD.to_owned()),
        ("link", "a | an | the | my | your | for a | for an | to an | to".to_owned()),
        ("phrase", alternatives(phrases)),
        ("tail", "please | thank you".to_owned()),
    ];
    if dated {
        rules[3].1.push_str(" | [for] <day> [<part>] [at] <clock>");
        rules.extend(date_rules());
    }
    grammar(body, &rules)
}

pub(crate) fn yes_no() -> String {
    grammar(YES_NO, &[])
}

fn digit_rule() -> (&'static str, String) {
    ("digit", "zero | oh | one | two | three | four | five | six | seven | eight | nine".to_owned())
}

fn digits() -> String {
    grammar("<digit>+", &[digit_rule()])
}

fn name(list: &[String]) -> String {
    let lead = ("lead", "my name is | this is | it's | i'm".to_owned());
    if list.is_empty() {
        let rules = [lead, ("first", FIRST.join(" | ")), ("last", LAST.join(" | "))];
        grammar("[<lead>] <first> [<last>] | [<lead>] <last>", &rules)
    } else {
        grammar("[<lead>] <name>", &[lead, ("name", alternatives(list.iter().map(String::as_str)))])
    }
}

fn email() -> String {
    let rules = [("letter", format!("{LETTERS} | dash | dot")), digit_rule()];
    grammar("( <letter> | <digit> )+ at ( <letter> | <digit> | example | mail | web )+ dot ( com | org | net )", &rules)
}

fn free() -> String {
    grammar("<word>+", &[("word", COMMON.to_owned())])
}

fn date_rules() -> Vec<(&'static str, String)> {
    let list = |n: std::ops::RangeInclusive<u8>, say: fn(u8) -> String| n.map(say).collect::<Vec<_>>().join(" | ");
    vec![
        (
            "day",
            format!(
                "today | tomorrow | the day after tomorrow | [on] [next] ( {} ) | [on] ( {} ) [the] ( {} )",
                WEEKDAYS.join(" | "),
                MONTHS.join(" | "),
                list(1..=31, ordinal)
            ),
        ),
        ("part", "morning | afternoon | evening".to_owned()),
        ("half", "a m | p m | in the morning | in the afternoon | in the evening".to_owned()),
        (
            "clock",
            "<hour> [o'clock] [<half>] | <hour> ( fifteen | thirty | forty five ) [<half>] | half past <hour> | \
                 quarter past <hour> | quarter to <hour> | noon"
                .to_owned(),
        ),
        ("hour", list(1..=12, cardinal)),
    ]
}

fn date_time() -> String {
    let mut rules = date_rules();
    rules.push(("lead", "yes | how about | maybe | no".to_owned()));
    grammar("[<lead>] <day> [<part>] [[at] <clock>] | [<lead>] [at] <clock> [<day>]", &rules)
}

/// All words of a grammar.
pub fn words_of(jsgf: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for rule in jsgf.split(';').filter_map(|statement| statement.split_once('=')).map(|(_, right)| right) {
        let mut in_name = false;
        for part in rule.split_inclusive(|c: char| "<>|()[]*+ \n\t".contains(c)) {
            let (word, mark) = match part.char_indices().next_back() {
                Some((at, c)) if "<>|()[]*+ \n\t".contains(c) => (&part[..at], Some(c)),
                _ => (part, None),
            };
            if !word.is_empty() && !in_name && !word.starts_with('/') {
                words.insert(word.to_owned());
            }
            match mark {
                Some('<') => in_name = true,
                Some('>') => in_name = false,
                _ => {}
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammars_hold_their_phrases_and_the_words_that_work_everywhere() {
        let grammar = from_phrases(["Opening hours", "room 12"].into_iter());
        let words = words_of(&grammar);
        for word in ["opening", "hours", "twelve", "operator", "goodbye", "please"] {
            assert!(words.contains(word), "{word} in {words:?}");
        }
        assert!(!words.contains("lead") && !words.contains("sidetone"));
    }

    #[test]
    fn every_rule_that_is_named_is_defined() {
        for grammar in [yes_no(), digits(), date_time(), name(&[]), email(), free(), intents(["a"].into_iter(), true)] {
            for name in grammar.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(name, _)| name) {
                assert!(name == "VOID" || grammar.contains(&format!("<{name}> =")), "{name} in {grammar}");
            }
        }
    }
}
