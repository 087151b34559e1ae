use serde_json::{Value, json};

use super::fault::Fault;
use super::*;

const EXAMPLES: [&str; 3] = [
    include_str!("../../tests/examples/offline_receptionist.json"),
    include_str!("../../tests/examples/cloud_receptionist.json"),
    include_str!("../../tests/examples/outbound_reminder.json"),
];

fn faults(document: Value) -> Vec<(String, &'static str)> {
    AgentSpec::read(&document).unwrap_err().into_iter().map(|fault| (fault.field, fault.code)).collect()
}

fn fault(document: Value) -> Fault {
    AgentSpec::read(&document).unwrap_err().remove(0)
}

#[test]
fn a_bare_name_is_an_agent() {
    let agent = AgentSpec::read(&json!({"name": "x"})).unwrap();
    assert_eq!(agent, AgentSpec::named("x"));
    assert_eq!((agent.stt.provider.as_str(), agent.llm.temperature, agent.recording.enabled), ("auto", 0.4, true));
    assert_eq!(agent.warnings(), []);
}

#[test]
fn the_examples_of_the_contract_are_agents() {
    for text in EXAMPLES {
        let document: Value = serde_json::from_str(text).unwrap();
        let agent = AgentSpec::read(&document).unwrap_or_else(|faults| panic!("{}: {faults:?}", document["name"]));
        assert!(is_within(&document, &agent.document()), "{}", document["name"]);
    }
}

/// Everything that was written stands in the whole document.
fn is_within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| is_within(value, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_within(part, whole))
        }
        (Value::Number(part), Value::Number(whole)) => part.as_f64() == whole.as_f64(),
        _ => part == whole,
    }
}

#[test]
fn the_whole_document_reads_back_as_itself() {
    for text in EXAMPLES {
        let agent = AgentSpec::read(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(AgentSpec::read(&agent.document()).unwrap(), agent);
    }
}

/// The table of the contract, field by field: type, words, default, range.
#[test]
fn the_schema_has_every_field_of_the_contract() {
    let schema = AgentSpec::schema();
    let table = include_str!("../../tests/examples/fields.txt");
    assert_eq!(table.lines().count(), 163);
    for row in table.lines() {
        let [path, kind, default, range] = row.split(" | ").collect::<Vec<_>>()[..] else { panic!("{row}") };
        let mut field = &schema;
        let mut whole = field;
        for key in path.split('.') {
            let (key, list) = key.strip_suffix("[]").map_or((key, false), |key| (key, true));
            field = if key == "*" {
                whole = field;
                &field["additionalProperties"]
            } else {
                whole = &field["properties"][key];
                whole
            };
            if list {
                field = &field["items"];
            }
        }
        if path.ends_with("settings.*") {
            continue; // the providers' own schemas
        }
        assert!(field.is_object(), "{path} is missing");
        let words = kind.strip_prefix("enum(").and_then(|words| words.strip_suffix(')'));
        if let Some(words) = words {
            let mut wanted: Vec<&str> = words.split(',').collect();
            let mut have: Vec<&str> =
                field["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
            wanted.sort_unstable();
            have.sort_unstable();
            assert_eq!(wanted, have, "{path}");
        }
        if let Some((min, max)) = range.split_once("..") {
            assert_eq!(
                (field["minimum"].as_f64(), field["maximum"].as_f64()),
                (min.parse().ok(), max.parse().ok()),
                "{path}"
            );
        }
        let has = &whole["default"];
        let text = match has {
            Value::String(text) => text.clone(),
            Value::Array(list) => list.iter().map(|one| one.as_str().unwrap_or_default()).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        match default {
            "-" => assert!(matches!(has, Value::Null) || text.is_empty() || text == "{}", "{path}: {has}"),
            number if number.parse::<f64>().is_ok() => assert_eq!(has.as_f64(), number.parse().ok(), "{path}"),
            word => assert_eq!(text, word, "{path}"),
        }
    }
}

#[test]
fn unknown_fields_are_refused_at_every_depth_with_their_path() {
    for (document, path) in [
        (json!({"name": "x", "promt": {}}), "promt"),
        (json!({"name": "x", "greeting": {"txt": ""}}), "greeting.txt"),
        (json!({"name": "x", "turn": {"end": {"silence_mss": 1}}}), "turn.end.silence_mss"),
        (json!({"name": "x", "tts": {"fallbacks": [{"provider": "a", "speed": 1}]}}), "tts.fallbacks[0].speed"),
        (
            json!({"name": "x", "tools": [{"name": "a", "kind": "hang_up", "config": {"sya": 1}}]}),
            "tools[0].config.sya",
        ),
    ] {
        assert_eq!(faults(document), [(path.to_owned(), Fault::UNKNOWN)]);
    }
    let slip = fault(json!({"name": "x", "promt": {}}));
    assert_eq!(slip.message, "there is no field \"promt\" here; did you mean \"prompt\"?");
}

#[test]
fn all_faults_are_told_at_once_and_name_their_limits() {
    let document = json!({"name": "", "limits": {"max_duration_ms": 1}, "stt": {"provider": "siri"}, "recording": 5,
                          "turn": {"end": {"min_ms": 1.5}}});
    let told: Vec<String> = AgentSpec::read(&document).unwrap_err().iter().map(Fault::to_string).collect();
    assert_eq!(
        told,
        [
            "name: must have 1 to 100 characters, not 0",
            "stt.provider: must be one of auto, builtin, deepgram, openai, elevenlabs, assemblyai, cartesia, openai_compatible, exec",
            "turn.end.min_ms: must be a whole number, not a number",
            "recording: must be an object, not a number",
            "limits.max_duration_ms: must be 10000 to 43200000, not 1",
        ]
    );
    let many = json!({"name": "x", "stt": {"keywords": vec![""; 30]}});
    assert_eq!(faults(many).len(), fault::FAULTS_TOLD);
    assert_eq!(faults(json!({})), [("name".to_owned(), Fault::INVALID)]);
    assert_eq!(faults(json!([])), [(String::new(), Fault::INVALID)]);
}

#[test]
fn what_belongs_together_is_checked_together() {
    for (document, path) in [
        (json!({"greeting": {"text": "Hello {{who}}"}}), "greeting.text"),
        (json!({"turn": {"end": {"min_ms": 2000, "max_ms": 300}}}), "turn.end.min_ms"),
        (json!({"turn": {"silence": {"hang_up_after_ms": 10}}}), "turn.silence.hang_up_after_ms"),
        (json!({"degraded": {"transfer": "sales"}}), "degraded.transfer"),
        (json!({"tools": [{"name": "a", "kind": "hang_up"}, {"name": "a", "kind": "transfer"}]}), "tools[1].name"),
        (json!({"tools": [{"name": "A b", "kind": "hang_up"}]}), "tools[0].name"),
        (
            json!({"tools": [{"name": "a", "kind": "http", "config": {"method": "GET", "url": "https://{{x}}/"}}]}),
            "tools[0].config.url",
        ),
        (
            json!({"tools": [{"name": "a", "kind": "hang_up", "parameters": {"type": "objekt"}}]}),
            "tools[0].parameters.type",
        ),
        (
            json!({"tools": [{"name": "a", "kind": "hang_up", "parameters": {"type": "object", "required": ["x"]}}]}),
            "tools[0].parameters.required",
        ),
        (json!({"transfers": [{"name": "a", "to": "hello"}]}), "transfers[0].to"),
        (json!({"prompt": {"variables": {"n": {"type": "number", "default": "x"}}}}), "prompt.variables.n.default"),
        (json!({"analysis": {"schema": {"type": "string"}}}), "analysis.schema.type"),
        (json!({"greeting": {"text": "a\u{0}b"}}), "greeting.text"),
    ] {
        let mut whole = json!({"name": "x"});
        whole.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
        assert_eq!(fault(whole).field, path);
    }
}

#[test]
fn texts_with_odd_characters_are_taken_as_they_are() {
    for name in ["=cmd()", "\"><script>", "'; DROP TABLE agents", "🦊", "a\nb"] {
        assert_eq!(AgentSpec::read(&json!({"name": name})).unwrap().name, name);
    }
    assert_eq!(fault(json!({"name": "x".repeat(10_000)})).message, "must have 1 to 100 characters, not 10000");
}

#[test]
fn what_is_not_acted_upon_is_said_and_every_such_path_exists() {
    let bare = AgentSpec::default().document();
    for path in idle::paths() {
        assert!(
            !idle::at(&bare, path).is_null()
                || idle::at(&bare, path.rsplit_once('.').unwrap().0).get(path.rsplit('.').next().unwrap()).is_some(),
            "{path}"
        );
    }
    let agent = AgentSpec::read(&json!({"name": "x", "consent": {"mode": "announce"}, "mode": "realtime",
        "transfers": [{"name": "desk", "to": "+12125550100"}, {"name": "night", "to": "+12125550101", "hours": {"timezone": "UTC"}}],
        "tools": [{"name": "move", "kind": "mcp"}]}))
    .unwrap();
    let told: Vec<String> = agent.warnings().into_iter().map(|warning| warning.field).collect();
    assert_eq!(told, ["consent", "mode", "transfers[1].hours", "tools[0].kind"]);
}

#[test]
fn serde_refuses_with_every_fault_on_its_own_line() {
    let error =
        serde_json::from_str::<AgentSpec>(r#"{"nam":"x","limits":{"max_duration_ms":1}}"#).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "nam: there is no field \"nam\" here; did you mean \"name\"?\nname: name is required\nlimits."
        ),
        "{error}"
    );
}
