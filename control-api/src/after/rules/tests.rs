use domain::{AgentSpec, CallId, TenantId};
use serde_json::json;
use uuid::Uuid;

use super::*;

/// A talk of lines that begin with `A:` or `C:`, ten seconds each.
pub(crate) fn talk(lines: &[&str]) -> Talk {
    let line = |(n, text): (usize, &&str)| Line {
        caller: text.starts_with("C:"),
        text: text[2..].trim().to_owned(),
        start_ms: n as i64 * 10_000,
    };
    Talk {
        call: CallId(Uuid::nil()),
        tenant: TenantId(Uuid::nil()),
        livemode: true,
        agent_id: None,
        agent: AgentSpec::named("x"),
        person: "+12125550123".into(),
        duration_ms: 92_000,
        ended_reason: Some("caller_hung_up".into()),
        ended: true,
        lines: lines.iter().enumerate().map(line).collect(),
        bookings: Vec::new(),
        messages: Vec::new(),
    }
}

fn fields(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_booking_is_summed_up_and_counts_as_success() {
    let mut talk = talk(&[
        "A: Hillside clinic, how can I help?",
        "C: i would like to book an appointment",
        "A: When?",
        "C: tuesday at ten",
        "C: perfect thank you",
    ]);
    talk.bookings.push(json!({"slot": "2026-11-24T10:00", "name": "john smith", "at": "2026-11-24T10:00"}));
    let found = findings(&talk);
    assert_eq!(
        found.summary.as_deref().unwrap(),
        "The caller said: \u{201c}I would like to book an appointment\u{201d}. Booked: 2026-11-24T10:00, john smith. After 1 min 32 s the caller hung up."
    );
    assert_eq!(found.line().unwrap(), "The caller said: \u{201c}I would like to book an appointment\u{201d}.");
    assert_eq!(
        (found.sentiment.as_deref(), found.success, found.topics),
        (Some("positive"), Some(true), vec!["booking".to_owned()])
    );
    assert_eq!(found.key_points, ["I would like to book an appointment", "Booked: 2026-11-24T10:00, john smith"]);
    assert_eq!(found.highlights[0], Highlight { at_ms: 10_000, text: "I would like to book an appointment".into() });
}

#[test]
fn an_angry_caller_is_negative_and_their_wish_is_somebodys_work() {
    let found = findings(&talk(&[
        "A: Hello?",
        "C: this is ridiculous my order is broken and i am very angry",
        "C: please call me back",
    ]));
    assert_eq!((found.sentiment.as_deref(), found.success), (Some("negative"), None));
    assert_eq!(found.action_items, [ActionItem { text: "Please call me back".into(), owner: "team".into() }]);
}

#[test]
fn silence_is_no_success_and_no_rule_fails_on_it() {
    let found = findings(&talk(&["A: Hello?"]));
    assert_eq!((found.success, found.sentiment.as_deref()), (Some(false), Some("neutral")));
    assert!(found.summary.unwrap().starts_with("The caller said nothing."));
    assert!(findings(&talk(&[])).highlights.is_empty());
}

#[test]
fn a_criterion_in_words_is_not_judged_by_rules() {
    let mut talk = talk(&["C: hello i want a quote"]);
    talk.agent.analysis.success_criterion = "The caller agreed to a demo".into();
    assert_eq!(findings(&talk).success, None);
    talk.agent.analysis.success_criterion = "An appointment was booked".into();
    talk.bookings.push(json!({"slot": "x"}));
    assert_eq!(findings(&talk).success, Some(true));
}

#[test]
fn contact_details_are_read_from_speech() {
    let talk = talk(&[
        "A: Who am I speaking with?",
        "C: hi my name is john o'neil and i run a small flower shop in town",
        "A: What is your email?",
        "C: it's john at example dot com",
        "C: sorry john dot oneil at example dot com",
        "A: And what is your budget?",
        "C: um, around five thousand dollars.",
    ]);
    let contact = contact(&talk, &fields(&["name", "email", "phone", "business_type", "budget", "deadline"]));
    assert_eq!(
        (contact.name.as_deref(), contact.email.as_deref()),
        (Some("John O'neil"), Some("john.oneil@example.com"))
    );
    assert_eq!(
        (contact.phone.as_deref(), contact.business_type.as_deref()),
        (Some("+12125550123"), Some("flower shop"))
    );
    assert_eq!(contact.fields, [("budget".to_owned(), "around five thousand dollars".to_owned())].into());
}

#[test]
fn what_a_tool_took_down_goes_before_what_was_heard() {
    let mut talk = talk(&["A: What is your name?", "C: mary", "C: five five five one two three four"]);
    talk.bookings.push(json!({"slot": "x", "name": "mary jane", "phone": "5559876543"}));
    let contact = contact(&talk, &fields(&["name", "phone", "email"]));
    assert_eq!(
        (contact.name.as_deref(), contact.phone.as_deref(), contact.email),
        (Some("Mary Jane"), Some("5559876543"), None)
    );
}

#[test]
fn nobody_is_called_what_they_are_doing() {
    for line in ["C: this is about my invoice", "C: this is ridiculous", "C: my name is not important"] {
        assert_eq!(contact(&talk(&[line]), &fields(&["name"])).name, None, "{line}");
    }
    assert!(!contact(&talk(&["C: hello"]), &fields(&["name", "phone"])).is_worth_keeping());
}

#[test]
fn a_schema_is_filled_as_far_as_it_can_be_told() {
    let mut talk = talk(&[
        "A: Are you an existing customer?",
        "C: yes i am",
        "A: How many guests will you have, what number of guests?",
        "C: twelve",
        "C: i need support with an order",
        "A: What is your color preference?",
        "C: blue",
    ]);
    talk.agent.analysis.schema = json!({"type": "object", "required": ["reason"], "properties": {
        "reason": {"enum": ["sales", "support"]}, "existing_customer": {"type": "boolean"}, "guests": {"type": "integer"},
        "color": {"type": "string"}, "phone": {"type": "string"}, "unsaid": {"type": "string"}}});
    let found = findings(&talk);
    assert_eq!(
        found.structured.unwrap(),
        json!({"reason": "support", "existing_customer": true, "guests": 12, "color": "blue", "phone": "+12125550123"})
    );
    assert_eq!(found.structured_valid, Some(true));
    talk.lines.retain(|line| !line.text.contains("support"));
    assert_eq!(findings(&talk).structured_valid, Some(false));
}
