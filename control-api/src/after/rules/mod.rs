//! The analysis without a model: rules over what was heard and what came of it. Modest, the same every time, and free.

mod contact;
mod fill;
mod sentiment;
mod spoken;

pub(crate) use contact::{Contact, contact};
pub(crate) use spoken::phone;

use super::{
    analysis::{ActionItem, Findings, Highlight},
    schema,
    talk::{Line, Talk},
};

/// What a call may be about: the topic and the words that tell.
const TOPICS: &[(&str, &[&str])] = &[
    (
        "booking",
        &["book", "booked", "booking", "appointment", "appointments", "reservation", "reserve", "schedule", "visit"],
    ),
    ("cancellation", &["cancel", "cancellation", "canceled", "cancelled", "reschedule"]),
    ("billing", &["invoice", "bill", "billing", "charge", "charged", "refund", "payment", "paid"]),
    ("pricing", &["price", "prices", "cost", "costs", "quote", "expensive", "discount"]),
    ("hours", &["hours", "open", "opening", "close", "closing"]),
    ("location", &["address", "location", "directions", "located", "parking"]),
    ("message", &["message", "callback", "voicemail"]),
    ("complaint", &["complaint", "complain", "unacceptable", "ridiculous", "manager", "angry"]),
    ("support", &["broken", "problem", "error", "issue", "fix", "repair", "help", "working"]),
    ("order", &["order", "ordered", "delivery", "deliver", "shipping", "package"]),
    ("person", &["operator", "person", "human", "representative", "reception"]),
];

/// What begins a wish.
const WISHES: &[&str] = &[
    "i want",
    "i need",
    "i'd like",
    "i would like",
    "i'm looking",
    "i am looking",
    "i'm calling",
    "i am calling",
    "can you",
    "could you",
    "can i",
    "could i",
    "do you",
    "my ",
    "we need",
    "we want",
    "is there",
    "are you",
    "how much",
    "what are",
];

/// Lower-case words of a text, with the signs that belong to a word.
pub(super) fn words(text: &str) -> Vec<String> {
    let keeps = |c: char| c.is_alphanumeric() || "'-$&".contains(c);
    text.to_lowercase()
        .replace('’', "'")
        .split(|c: char| !keeps(c))
        .map(|word| word.trim_matches(['-', '\'']))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Everything the rules can tell.
pub(crate) fn findings(talk: &Talk) -> Findings {
    let callers: Vec<&Line> = talk.lines.iter().filter(|line| line.caller).collect();
    let topics = topics(&talk.lines);
    let score = mood(&callers);
    let (success, success_reason) = success(talk, &callers);
    let contact = contact(talk, &["name".into(), "email".into(), "phone".into()]);
    let asked = talk.agent.analysis.schema.is_object();
    let structured = asked.then(|| fill::structured(talk, &talk.agent.analysis.schema, &contact));
    Findings {
        summary: Some(summary(talk, &callers, &topics)),
        key_points: key_points(talk, &callers),
        sentiment: Some(sentiment::word(score).into()),
        sentiment_score: Some((score * 100.0).round() / 100.0),
        action_items: action_items(talk),
        highlights: highlights(&callers),
        topics,
        success,
        success_reason: Some(success_reason),
        structured_valid: structured
            .as_ref()
            .map(|value| schema::faults(&talk.agent.analysis.schema, value).is_empty()),
        structured,
    }
}

/// The two topics that came up most; the caller's words count double.
fn topics(lines: &[Line]) -> Vec<String> {
    let count = |signs: &[&str]| -> usize {
        let one = |line: &Line| words(&line.text).iter().filter(|word| signs.contains(&word.as_str())).count();
        lines.iter().map(|line| one(line) * if line.caller { 2 } else { 1 }).sum()
    };
    let mut counted: Vec<_> =
        TOPICS.iter().map(|(topic, signs)| (count(signs), *topic)).filter(|(n, _)| *n >= 2).collect();
    counted.sort_by_key(|(n, _)| std::cmp::Reverse(*n));
    counted.into_iter().take(2).map(|(_, topic)| topic.to_owned()).collect()
}

/// How the caller sounds; the last third of the call counts half as much again, since it is what they leave with.
fn mood(callers: &[&Line]) -> f64 {
    let last = callers.len() - callers.len() / 3;
    let (sum, weight) = callers.iter().enumerate().fold((0.0, 0.0_f64), |(sum, weight), (n, line)| {
        let score = sentiment::score(&line.text);
        let own = if score == 0.0 {
            0.25
        } else if n >= last {
            1.5
        } else {
            1.0
        };
        (sum + score * own, weight + own)
    });
    if weight == 0.0 { 0.0 } else { (sum / weight).clamp(-1.0, 1.0) }
}

fn is_wish(text: &str) -> bool {
    let lower = text.to_lowercase();
    WISHES.iter().any(|wish| lower.contains(wish))
}

/// A text for a list: one line, at most 200 characters, with a capital.
fn point(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut letters = line.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let mut point: String = first.chars().chain(letters).take(200).collect();
    if line.chars().count() > 200 {
        point.push('…');
    }
    point
}

fn summary(talk: &Talk, callers: &[&Line], topics: &[String]) -> String {
    let mut sentences = Vec::new();
    sentences.push(match (callers.iter().find(|line| is_wish(&line.text)), topics) {
        (Some(wish), _) => format!("The caller said: \u{201c}{}\u{201d}.", point(&wish.text).trim_end_matches('.')),
        (None, [topic, ..]) => format!("The call was about {topic}."),
        (None, []) if callers.is_empty() => "The caller said nothing.".into(),
        (None, []) => format!("The caller said: \u{201c}{}\u{201d}.", point(&callers[0].text).trim_end_matches('.')),
    });
    for booking in &talk.bookings {
        sentences.push(format!("Booked: {}.", told(booking, &["slot", "at", "name", "phone"])));
    }
    for message in &talk.messages {
        sentences.push(format!("Message taken: {}.", told(message, &["text", "name", "phone"])));
    }
    let seconds = talk.duration_ms / 1000;
    let ended = match talk.ended_reason.as_deref() {
        Some("caller_hung_up" | "callee_hung_up") => "the caller hung up",
        Some("agent_hung_up") => "the agent said goodbye",
        Some("transferred") => "the caller was handed to a person",
        Some("silence" | "idle") => "the line fell silent",
        Some("max_duration" | "cost_cap" | "credit_exhausted") => "a limit was reached",
        _ => "the call broke off",
    };
    sentences.push(format!("After {} min {} s {ended}.", seconds / 60, seconds % 60));
    sentences.join(" ")
}

/// The values of an object under these names, in this order.
fn told(object: &serde_json::Value, names: &[&str]) -> String {
    let values = names.iter().filter_map(|name| object[*name].as_str()).filter(|value| !value.trim().is_empty());
    let mut seen: Vec<&str> = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    if seen.is_empty() { "no details".into() } else { point(&seen.join(", ")) }
}

fn key_points(talk: &Talk, callers: &[&Line]) -> Vec<String> {
    let says = |line: &&&Line| is_wish(&line.text) || line.text.bytes().any(|b| b.is_ascii_digit());
    let mut points: Vec<String> = callers.iter().filter(says).map(|line| point(&line.text)).take(5).collect();
    points.extend(talk.bookings.iter().map(|booking| format!("Booked: {}", told(booking, &["slot", "name", "phone"]))));
    points.extend(talk.messages.iter().map(|message| format!("Message: {}", told(message, &["text", "phone"]))));
    points.dedup();
    points
}

fn action_items(talk: &Talk) -> Vec<ActionItem> {
    const AGENT: &[&str] = &[
        "i will send",
        "i'll send",
        "we will call",
        "we'll call",
        "i will pass",
        "i'll pass",
        "someone will",
        "i will let",
    ];
    const CALLER: &[&str] =
        &["i will call back", "i'll call back", "i will send", "i'll send", "i'll bring", "i will bring"];
    const ASKED: &[&str] =
        &["call me back", "send me", "email me", "e-mail me", "text me", "let me know", "get back to me"];
    let has = |text: &str, signs: &[&str]| {
        let lower = text.to_lowercase();
        signs.iter().any(|sign| lower.contains(sign))
    };
    let item = |text: String, owner: &str| ActionItem { text, owner: owner.into() };
    let mut items: Vec<ActionItem> = talk
        .messages
        .iter()
        .map(|message| item(format!("Pass on: {}", told(message, &["text", "name", "phone"])), "team"))
        .collect();
    for line in &talk.lines {
        match line.caller {
            true if has(&line.text, ASKED) => items.push(item(point(&line.text), "team")),
            true if has(&line.text, CALLER) => items.push(item(point(&line.text), "caller")),
            false if has(&line.text, AGENT) => items.push(item(point(&line.text), "team")),
            _ => {}
        }
    }
    items.truncate(10);
    items
}

/// The first wish, and the sentences with most feeling, in the order in which they were said.
fn highlights(callers: &[&Line]) -> Vec<Highlight> {
    let mut chosen: Vec<&&Line> = callers.iter().filter(|line| is_wish(&line.text)).take(1).collect();
    let mut felt: Vec<_> = callers
        .iter()
        .map(|line| (sentiment::score(&line.text).abs(), line))
        .filter(|(score, _)| *score >= 0.4)
        .collect();
    felt.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, line) in felt.into_iter().take(4) {
        if !chosen.contains(&line) {
            chosen.push(line);
        }
    }
    chosen.sort_by_key(|line| line.start_ms);
    chosen.into_iter().map(|line| Highlight { at_ms: line.start_ms, text: point(&line.text) }).collect()
}

/// Whether the call reached its goal. What was booked, taken or handed over decides; a criterion in words needs a model.
fn success(talk: &Talk, callers: &[&Line]) -> (Option<bool>, String) {
    let criterion = talk.agent.analysis.success_criterion.to_lowercase();
    let about = |signs: &[&str]| criterion.is_empty() || signs.iter().any(|sign| criterion.contains(sign));
    let reason = talk.ended_reason.as_deref().unwrap_or_default();
    if !talk.bookings.is_empty() && about(&["book", "appointment", "slot", "visit", "meeting"]) {
        return (Some(true), "a slot was booked".into());
    }
    if !talk.messages.is_empty() && about(&["message", "call back", "callback"]) {
        return (Some(true), "a message was taken".into());
    }
    if reason == "transferred" && about(&["transfer", "person", "connect", "hand"]) {
        return (Some(true), "the caller was handed to a person".into());
    }
    match reason {
        "agent_failed" | "rtp_timeout" | "no_media" | "node_lost" | "internal" | "silence" | "credit_exhausted" => {
            (Some(false), format!("the call ended with {reason}"))
        }
        "opted_out" | "consent_refused" => (Some(false), "the caller did not want the call".into()),
        _ if callers.is_empty() => (Some(false), "the caller said nothing".into()),
        _ if !criterion.is_empty() => (None, "the criterion needs a model".into()),
        "agent_hung_up" => (Some(true), "the conversation came to its end".into()),
        _ => (None, "rules cannot tell".into()),
    }
}

#[cfg(test)]
mod tests;
