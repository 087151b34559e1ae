use domain::AgentSpec;
use serde_json::{Value, json};

use super::*;
use crate::turn::{Ends, TurnConfig};
use crate::vad::VadConfig;

fn agent(document: Value) -> AgentSpec {
    let mut whole = json!({"name": "x"});
    whole.as_object_mut().unwrap().extend(document.as_object().unwrap().clone());
    AgentSpec::read(&whole).unwrap()
}

#[test]
fn an_agent_that_asks_for_nothing_gets_the_machine_as_it_is() {
    assert_eq!(turns::turns(&agent(json!({}))), TurnConfig::default());
    assert_eq!(ear(&agent(json!({}))), VadConfig::default());
}

#[test]
fn what_was_set_reaches_the_machine() {
    let config = turns::turns(&agent(json!({
        "turn": {"end": {"policy": "silence", "silence_ms": 700, "expect": {"digits_ms": 1800}, "eager": false},
                 "barge_in": {"mode": "duration", "min_speech_ms": 350, "min_words": 2, "always": ["stop", "Moment"]},
                 "silence": {"prompt_after_ms": 6000, "hang_up_after_ms": 15000}, "caller_too_long": "ignore"},
        "limits": {"max_duration_ms": 240_000}, "dtmf": {"timeout_ms": 1000}, "llm": {"first_token_ms": 1000}})));
    let ends = Ends { silence: Some(700), pace: false, digits: Some(1800), ..Ends::default() };
    assert_eq!(config.ends, ends);
    assert_eq!((config.voice_confirms, config.voice_only, config.min_words), (true, 350, 2));
    assert_eq!(config.always, ["moment"]);
    assert_eq!((config.silence_first, config.silence_second, config.silence_last), (Some(6000), 4500, 4500));
    assert_eq!((config.too_long, config.speculations, config.max_call, config.key_gap), (0, 0, 240_000, 1000));
    assert_eq!((config.think_hedge, config.think_filler), (1000, 500));
    let off = turns::turns(&agent(json!({"turn": {"barge_in": {"mode": "off"}}})));
    assert!(!off.interruptible);
    let careful = ear(&agent(json!({"vad": {"engine": "energy", "threshold": 0.2, "min_speech_ms": 100}})));
    assert_eq!((careful.start_chunks, careful.check()), (4, Ok(())));
}

#[test]
fn tools_bring_their_own_time_and_what_is_said_meanwhile() {
    let config = turns::turns(&agent(json!({"tools": [
        {"name": "a", "kind": "hang_up", "timeout_ms": 30_000, "filler": {"after_ms": 900}},
        {"name": "b", "kind": "hang_up", "filler": {"after_ms": 300}},
        {"name": "c", "kind": "hang_up", "enabled": false, "timeout_ms": 60_000, "filler": {"after_ms": 1}}]})));
    assert_eq!((config.tool_filler, config.tool_cap), (300, 32_000));
}

#[test]
fn every_stage_that_the_examples_name_can_be_opened_or_is_named() {
    for text in [
        include_str!("../../../domain/tests/examples/offline_receptionist.json"),
        include_str!("../../../domain/tests/examples/cloud_receptionist.json"),
        include_str!("../../../domain/tests/examples/outbound_reminder.json"),
    ] {
        let finding = check(&AgentSpec::read(&serde_json::from_str(text).unwrap()).unwrap());
        assert_eq!(finding.faults, []);
    }
    let finding = check(&agent(
        json!({"tts": {"provider": "cartesia"}, "stt": {"provider": "deepgram", "settings": {"colour": 1}}}),
    ));
    let fields: Vec<&str> = finding.faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["stt.settings", "tts.provider"]);
    assert_eq!(finding.faults[1].message, "this version has no tts provider cartesia; it has builtin, elevenlabs");
}

#[test]
fn a_vendor_gets_the_settings_that_it_knows() {
    let named = agent(json!({"stt": {"provider": "deepgram", "keywords": ["Acme"]}, "llm": {"provider": "openai"},
        "tts": {"provider": "elevenlabs", "voice": "elevenlabs:v1", "speed": 1.1}, "turn": {"end": {"policy": "vendor"}}}));
    let key = |mut stage: engines::Stage| {
        stage.settings.insert("api_key".into(), "k".into());
        (stage.provider, Value::Object(stage.settings))
    };
    let (provider, settings) = key(engines::recogniser_stage(&named).unwrap());
    crate::stt::roster::check(&provider, &settings).unwrap();
    assert_eq!((&settings["keyterms"], &settings["turns"]), (&json!(["Acme"]), &json!(true)));
    let (provider, settings) = key(engines::model_stage(&named).unwrap());
    crate::llm::roster::check(&provider, &settings).unwrap();
    assert_eq!(settings["max_tokens"], 400);
    let (provider, settings) = key(engines::voice_stage(&named).unwrap());
    crate::tts::roster::check(&provider, &settings).unwrap();
    assert_eq!((&settings["voice"], &settings["voice_settings"]["speed"]), (&json!("v1"), &json!(1.1)));
}

#[test]
fn a_flow_is_judged_with_its_state() {
    let flow = json!({"start": "a", "states": {"a": {"say": "Hi", "go": "nowhere"}}});
    let finding = check(&agent(json!({"mode": "flow", "flow": flow})));
    assert_eq!((finding.faults[0].field.as_str(), finding.faults[0].code), ("flow.states.a", Fault::FLOW));
    let flow = json!({"start": "a", "states": {"a": {"tool": {"name": "book"}, "go": "b", "on_error": "b"}, "b": {"end": true}}});
    assert_eq!(check(&agent(json!({"flow": flow}))).warnings[0].field, "flow.states.a.tool.name");
}

#[test]
fn the_machine_is_disclosed_once() {
    let facts = Facts::default();
    let says = |document: Value, outbound: bool| {
        let agent = agent(document);
        let text = if agent.disclosure.ai { agent.disclosure.text.clone() } else { String::new() };
        let mut facts = facts.clone();
        facts.variables.insert("disclosure".into(), text.clone());
        greeting(&agent, outbound, &text, &facts)
    };
    let short = json!({"text": "I am a machine."});
    assert_eq!(says(json!({"greeting": {"text": "Hello."}, "disclosure": short}), false), "I am a machine. Hello.");
    let named =
        json!({"greeting": {"text": "Hello. {{disclosure}} Yes?", "outbound_text": "Good day."}, "disclosure": short});
    assert_eq!(says(named.clone(), false), "Hello. I am a machine. Yes?");
    assert_eq!(says(named, true), "I am a machine. Good day.");
    assert_eq!(says(json!({"greeting": {"text": "Hello."}, "disclosure": {"ai": false}}), false), "Hello.");
    assert_eq!(says(json!({"greeting": {"text": "Hello."}, "first_speaker": "caller"}), false), "");
}
