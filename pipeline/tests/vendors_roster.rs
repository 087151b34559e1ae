//! The rosters: words, settings and keys, checked before anything is opened.
#![allow(clippy::unwrap_used)]

use pipeline::{link::settings::OpenError, llm, stt, tts};
use serde_json::{Value, json};

type Check = fn(&str, &Value) -> Result<(), OpenError>;

const ROSTERS: [(&str, Check, &[&str]); 3] = [
    ("stt", stt::roster::check, stt::roster::PROVIDERS),
    ("llm", llm::roster::check, llm::roster::PROVIDERS),
    ("tts", tts::roster::check, tts::roster::PROVIDERS),
];

#[test]
fn an_unknown_word_is_answered_with_the_known_ones() {
    for (stage, check, providers) in ROSTERS {
        let error = check("nobody", &json!({})).unwrap_err();
        assert_eq!(error, OpenError::Unknown { stage, provider: "nobody".into(), known: providers.join(", ") });
    }
}

#[test]
fn settings_are_the_providers_own_and_nothing_else() {
    for (_, check, providers) in ROSTERS {
        for provider in providers {
            let good = match *provider {
                "elevenlabs" => json!({"voice": "v"}),
                _ => json!({"model": "m"}),
            };
            for (key, value) in
                [("colour", json!("red")), ("base_url", json!("ftp://x")), ("limits", json!({"colour": 1}))]
            {
                let mut settings = good.clone();
                settings["api_key"] = json!("k");
                check(provider, &settings).unwrap();
                settings[key] = value;
                assert!(matches!(check(provider, &settings), Err(OpenError::Settings { .. })), "{provider} {key}");
            }
            assert!(matches!(check(provider, &Value::Null), Err(OpenError::Settings { .. })), "{provider}");
            let mut local = good.clone();
            local["base_url"] = json!("http://127.0.0.1:1");
            check(provider, &local).unwrap();
        }
    }
}
