//! The agent's own schema, filled without a model: a property is what was answered to the question that names it, a word of its list
//! that the caller said, or a contact detail. What cannot be told is left out, and whether the result is valid is said.

use serde_json::{Map, Value};

use super::{
    super::talk::Talk,
    contact::{Contact, answer_to, reply_to},
    spoken, words,
};

/// The object that the schema asks for, as far as it can be told.
pub(super) fn structured(talk: &Talk, schema: &Value, contact: &Contact) -> Value {
    let said: String = talk.lines.iter().filter(|line| line.caller).map(|line| format!("{} ", line.text)).collect();
    let mut object = Map::new();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = property_of(talk, name, property, contact, &said) {
            object.insert(name.clone(), value);
        }
    }
    Value::Object(object)
}

fn property_of(talk: &Talk, name: &str, property: &Value, contact: &Contact, said: &str) -> Option<Value> {
    let asked = words(&name.replace(['_', '-'], " "));
    let answer = || answer_to(&talk.lines, &asked);
    if let Some(choices) = property["enum"].as_array() {
        let heard = words(said);
        let spoken = |choice: &&Value| {
            let wanted = words(&choice.as_str().unwrap_or_default().replace('_', " "));
            !wanted.is_empty() && heard.windows(wanted.len()).any(|window| window == wanted)
        };
        return choices.iter().find(spoken).cloned();
    }
    match property["type"].as_str()? {
        "boolean" => {
            let first = words(reply_to(&talk.lines, &asked)?).into_iter().next()?;
            match first.as_str() {
                "yes" | "yeah" | "yep" | "sure" | "correct" | "right" => Some(true.into()),
                "no" | "nope" | "not" => Some(false.into()),
                _ => None,
            }
        }
        "integer" => number(&answer()?).filter(|number| number.fract() == 0.0).map(|number| (number as i64).into()),
        "number" => number(&answer()?).map(Into::into),
        "string" => match (property["format"].as_str(), name) {
            (Some("email"), _) | (_, "email") => spoken::email(said),
            (_, "phone" | "phone_number") => contact.phone.clone().or_else(|| spoken::phone(said)),
            (_, "name" | "full_name" | "caller_name") => contact.name.clone(),
            _ => answer(),
        }
        .map(Into::into),
        _ => None,
    }
}

/// The first number of an answer, in digits or as a word.
fn number(text: &str) -> Option<f64> {
    const WORDS: [&str; 21] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
        "twenty",
    ];
    let value = |word: &String| {
        let digits = word.trim_start_matches('$').replace(',', "");
        digits
            .parse::<f64>()
            .ok()
            .filter(|n| n.is_finite())
            .or_else(|| WORDS.iter().position(|known| known == word).map(|n| n as f64))
    };
    words(text).iter().find_map(value)
}
