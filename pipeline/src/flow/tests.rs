//! Whole conversations in text.

use super::*;

fn receptionist() -> Flow {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../conf/agents/receptionist.toml")).unwrap();
    let agent: toml::Value = toml::from_str(&text).unwrap();
    let flow = serde_json::to_value(&agent["flow"]).unwrap();
    Flow::compile(&flow).unwrap()
}

fn facts() -> Facts {
    Facts {
        caller_number: Some("+12125550199".to_owned()),
        now: LocalTime::new(2026, 11, 21, 9, 30).unwrap(),
        variables: BTreeMap::new(),
    }
}

struct Talk {
    flow: Flow,
    state: FlowState,
    step: Step,
}

impl Talk {
    fn begin(facts: &Facts) -> Talk {
        let flow = receptionist();
        let (state, step) = flow.start(facts);
        Talk { flow, state, step }
    }

    fn hear(&mut self, heard: Heard) -> &Step {
        (self.state, self.step) = self.flow.step(&self.state, &heard);
        &self.step
    }

    fn words(&mut self, text: &str) -> String {
        self.hear(Heard::Words(text.to_owned())).say.join(" ")
    }

    fn keys(&mut self, keys: &str) -> String {
        self.hear(Heard::Keys(keys.to_owned())).say.join(" ")
    }

    fn tool(&mut self, ok: bool, text: &str) -> String {
        let id = self.step.tool.clone().unwrap().id;
        self.hear(Heard::ToolResult { id, ok, text: text.to_owned() }).say.join(" ")
    }
}

#[test]
fn a_caller_books_by_voice() {
    let mut talk = Talk::begin(&facts());
    assert_eq!(talk.step.expect.field, FieldKind::Choice);
    assert!(talk.words("I'd like to book an appointment please").contains("day"));
    assert_eq!(talk.step.expect.field, FieldKind::DateTime);
    assert!(talk.words("on tuesday").contains("What time Tuesday?"));
    assert!(talk.words("at ten").contains("Tuesday at ten a m"));
    assert_eq!(talk.step.expect.field, FieldKind::YesNo);
    assert!(talk.words("yes that's right").contains("name"));
    assert!(talk.words("my name is john smith").contains("number you are calling from"));
    talk.words("yes");
    let call = talk.step.tool.clone().unwrap();
    assert_eq!(call.name, "book_slot");
    assert_eq!(
        call.arguments,
        serde_json::json!({"at": "2026-11-24T10:00", "name": "John Smith", "phone": "12125550199"})
    );
    assert!(talk.tool(true, "{\"id\":\"x\"}").contains("booked"));
    assert!(!talk.step.end);
    talk.words("no thank you");
    assert!(talk.step.end && talk.state.over());
}

#[test]
fn a_caller_books_with_keys_alone() {
    let facts = Facts { caller_number: None, ..facts() };
    let mut talk = Talk::begin(&facts);
    talk.keys("1");
    assert!(talk.step.expect.keys.as_ref().unwrap().menu.contains(&b'2'));
    assert!(talk.keys("2").contains("Monday at two p m"));
    talk.keys("1");
    assert_eq!(talk.step.expect.field, FieldKind::Name);
    talk.keys("5");
    assert_eq!(talk.step.expect.field, FieldKind::Phone);
    assert!(talk.keys("5550199#").contains("five five five, zero one nine nine"));
    talk.keys("1");
    let call = talk.step.tool.clone().unwrap();
    assert_eq!(call.arguments["at"], "2026-11-23T14:00");
    assert_eq!(call.arguments["phone"], "5550199");
}

#[test]
fn everything_in_one_sentence_skips_the_question() {
    let mut talk = Talk::begin(&facts());
    let said = talk.words("Book an appointment for Friday at three, please.");
    assert!(said.contains("Friday at three p m"), "{said}");
    assert_eq!(talk.step.expect.field, FieldKind::YesNo);
    assert!(talk.words("no, wednesday at ten").contains("Wednesday at ten a m"));
}

#[test]
fn a_slot_that_is_taken_gets_another_one_offered() {
    let mut talk = Talk::begin(&facts());
    for text in ["book an appointment for tuesday at ten", "yes", "mary brown", "yes"] {
        talk.words(text);
    }
    let said = talk.tool(false, r#"{"error":"slot_taken","alternatives":["2026-11-24T11:30"]}"#);
    assert!(said.contains("Tuesday at eleven thirty a m"), "{said}");
    talk.words("yes please");
    assert_eq!(talk.step.tool.as_ref().unwrap().arguments["at"], "2026-11-24T11:30");
    let said = talk.tool(false, "taken");
    assert!(said.contains("noon"), "{said}");
    assert!(talk.words("no").contains("day"));
}

#[test]
fn hours_and_location_lead_back() {
    let mut talk = Talk::begin(&facts());
    assert!(talk.words("what are your opening hours").contains("nine"));
    assert!(!talk.step.end);
    assert!(talk.words("where are you").contains("street") || talk.step.say.join(" ").contains("Street"));
    assert!(talk.words("goodbye").contains("Goodbye"));
    assert!(talk.step.end);
}

#[test]
fn a_person_is_asked_for_and_not_there() {
    let mut talk = Talk::begin(&facts());
    talk.words("operator");
    assert_eq!(talk.step.tool.as_ref().unwrap().name, "transfer");
    let said = talk.tool(false, "no answer");
    assert!(said.contains("message"), "{said}");
}

#[test]
fn a_transfer_that_succeeds_says_nothing_more() {
    let mut talk = Talk::begin(&facts());
    talk.keys("0");
    assert_eq!(talk.tool(true, ""), "");
    assert!(!talk.step.end);
}

#[test]
fn repeat_says_the_same_again() {
    let mut talk = Talk::begin(&facts());
    let asked = talk.words("book");
    assert_eq!(talk.words("pardon"), asked);
    assert_eq!(talk.keys("*"), asked);
}

#[test]
fn words_that_fit_nothing_climb_the_ladder_to_a_person() {
    let mut talk = Talk::begin(&facts());
    for _ in 0..2 {
        let said = talk.words("purple elephants");
        assert!(!said.is_empty() && talk.step.tool.is_none());
    }
    talk.words("purple elephants");
    assert_eq!(talk.step.tool.as_ref().unwrap().name, "transfer");
}

#[test]
fn silence_climbs_the_ladder_to_goodbye() {
    let mut talk = Talk::begin(&facts());
    for n in 1..=2 {
        assert!(!talk.hear(Heard::NoInput(n)).end);
    }
    assert!(talk.hear(Heard::NoInput(3)).end);
}

#[test]
fn a_step_changes_nothing_but_its_copy() {
    let talk = Talk::begin(&facts());
    let before = talk.state.clone();
    let one = talk.flow.step(&talk.state, &Heard::Words("book".to_owned()));
    let two = talk.flow.step(&talk.state, &Heard::Words("book".to_owned()));
    assert_eq!(one, two);
    assert_eq!(before, talk.state);
}

#[test]
fn a_state_can_be_stored_and_taken_up_again() {
    let mut talk = Talk::begin(&facts());
    talk.words("book");
    talk.words("friday morning");
    let stored = serde_json::to_string(&talk.state).unwrap();
    assert_eq!(serde_json::from_str::<FlowState>(&stored).unwrap(), talk.state);
}

#[test]
fn results_of_other_tools_and_late_words_are_harmless() {
    let mut talk = Talk::begin(&facts());
    talk.words("operator");
    let waiting = talk.state.clone();
    talk.hear(Heard::ToolResult { id: "other".to_owned(), ok: true, text: String::new() });
    assert_eq!(talk.state, waiting);
    talk.words("hello");
    talk.hear(Heard::NoInput(9));
    assert_eq!(talk.state, waiting);
}

#[test]
fn faults_name_their_state_and_reason() {
    let fault = |flow: serde_json::Value| Flow::compile(&flow).unwrap_err().to_string();
    let say = |go: &str| serde_json::json!({"say": "x", "go": go});
    let ask = |go: &str| serde_json::json!({"say": "x", "expect": {"kind": "free"}, "go": go});
    let end = serde_json::json!({"say": "x", "end": true});
    assert_eq!(
        fault(serde_json::json!({"start": "a", "states": {"a": say("b")}})),
        "state a: go leads to b, which does not exist"
    );
    assert_eq!(
        fault(serde_json::json!({"start": "a", "states": {"a": {"say": "x"}, "b": end}})),
        "state a: it has no way out"
    );
    assert_eq!(
        fault(serde_json::json!({"start": "a", "states": {"a": ask("a"), "b": end}})),
        "the start reaches no end"
    );
    assert_eq!(
        fault(serde_json::json!({"start": "a", "states": {"a": say("b"), "b": say("a"), "c": end}})),
        "state a: it comes back to itself without waiting for anything"
    );
    assert!(
        fault(serde_json::json!({"start": "a", "states": {"a": {"sey": "x", "end": true}}}))
            .starts_with("state a: unknown field `sey`")
    );
    assert!(fault(serde_json::json!({"start": "z", "states": {"a": end}})).contains("start leads to z"));
    assert!(fault(serde_json::json!([])).len() > 3);
    let intent = serde_json::json!({"expect": {"kind": "intent", "intents": {"x": ["x"]}}, "on": {"y": "b"}});
    assert_eq!(
        fault(serde_json::json!({"start": "a", "states": {"a": intent, "b": end}})),
        "state a: intent x has no counterpart in on and intents"
    );
    let when = serde_json::json!({"when": [{"if": "a ==", "go": "b"}], "go": "b"});
    assert!(
        fault(serde_json::json!({"start": "a", "states": {"a": when, "b": end}})).starts_with("state a: condition:")
    );
}

#[test]
fn the_examples_of_the_api_compile() {
    let hello = serde_json::json!({"start":"hello","vars":{"name":null,"day":null},"states":{
      "hello":{"say":"Clinic, how can I help?","expect":{"kind":"intent","intents":{"book":["book","appointment"],"message":["message","call back"],"human":["operator","person"]}},"on":{"book":"day","message":"msg","human":"human"},"no_input":{"say":"Are you still there?","max":2,"go":"bye"},"no_match":{"say":"You can book, leave a message, or ask for a person.","max":2,"go":"human"}},
      "day":{"say":"Which day?","expect":{"kind":"date_time"},"set":"day","confirm":"{{day}}, right?","go":"booked"},
      "booked":{"tool":{"name":"book_slot","args":{"at":"{{day}}"}},"say":"Done.","go":"bye","on_error":"human"},
      "msg":{"tool":{"name":"take_message"},"go":"bye"},
      "human":{"tool":{"name":"transfer","args":{"destination":"front_desk"}},"on_error":"msg"},
      "bye":{"say":"Goodbye.","end":true}}});
    let flow = Flow::compile(&hello).unwrap();
    let (state, step) = flow.start(&facts());
    assert_eq!(step.say, ["Clinic, how can I help?"]);
    let (state, _) = flow.step(&state, &Heard::Words("book".to_owned()));
    let (state, step) = flow.step(&state, &Heard::Words("tomorrow at three pm".to_owned()));
    assert_eq!(step.say, ["tomorrow, Sunday at three p m, right?"]);
    let (_, step) = flow.step(&state, &Heard::Words("yes".to_owned()));
    assert_eq!(step.tool.unwrap().arguments, serde_json::json!({"at": "2026-11-22T15:00"}));
}
