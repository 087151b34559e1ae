//! What can be named as the engine of a stage, for forms and documents: the settings of each as a JSON schema.
//!
//! Model, voice, key and place are not among them: they have fields of their own in the agent and its credentials.

use serde_json::{Value, json};

/// One provider of a stage.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The word for `provider`.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// Works only with a key.
    pub needs_key: bool,
    /// JSON schema of `settings`.
    pub settings: Value,
    /// Models that are known to work.
    pub models: &'static [&'static str],
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// The engines of this machine take no settings.
fn own(id: &'static str, name: &'static str) -> Provider {
    Provider { id, name, needs_key: false, settings: object(json!({})), models: &[] }
}

/// Recognisers.
#[must_use]
pub fn stt() -> Vec<Provider> {
    let deepgram = object(json!({
        "language": {"type": "string", "description": "BCP 47, or multi"},
        "endpointing_ms": {"type": "integer", "minimum": 0, "default": 300, "description": "silence that freezes what was heard"},
        "utterance_end_ms": {"type": "integer", "minimum": 0, "default": 1000, "description": "gap between words that ends an utterance, with turns"},
        "turns": {"type": "boolean", "default": false, "description": "let the vendor end turns"},
        "smart_format": {"type": "boolean", "default": true, "description": "numbers and dates as they are written"},
        "sure_above": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5, "description": "finals below are marked as unsure"},
        "keyterms": {"type": "array", "items": {"type": "string"}, "description": "words to expect"},
        "extra": {"type": "object", "additionalProperties": {"type": "string"}, "description": "further query parameters of the vendor"},
    }));
    vec![
        own("builtin", "Built-in recogniser (by grammar)"),
        Provider {
            id: "deepgram",
            name: "Deepgram",
            needs_key: true,
            settings: deepgram,
            models: &["nova-3", "nova-2-phonecall"],
        },
    ]
}

/// Models.
#[must_use]
pub fn llm() -> Vec<Provider> {
    let chat = object(
        json!({"extra": {"type": "object", "description": "further keys of the request's body, such as reasoning_effort"}}),
    );
    let models = &["gpt-4.1-mini", "gpt-4.1", "gpt-4o-mini"];
    vec![
        own("flow", "No model: the flow decides"),
        Provider { id: "openai", name: "OpenAI", needs_key: true, settings: chat.clone(), models },
        Provider {
            id: "openai_compatible",
            name: "Any OpenAI-compatible server",
            needs_key: true,
            settings: chat,
            models: &[],
        },
    ]
}

/// Voices.
#[must_use]
pub fn tts() -> Vec<Provider> {
    let elevenlabs = object(json!({
        "language": {"type": "string", "description": "ISO 639-1, for models that speak several languages"},
        "voice_settings": {"type": "object", "description": "such as stability and similarity_boost, passed on as it is"},
    }));
    let models = &["eleven_flash_v2_5", "eleven_turbo_v2_5", "eleven_multilingual_v2"];
    vec![
        own("builtin", "Built-in voice"),
        Provider { id: "elevenlabs", name: "ElevenLabs", needs_key: true, settings: elevenlabs, models },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::settings::OpenError;

    type Check = fn(&str, &Value) -> Result<(), OpenError>;

    #[test]
    fn every_vendor_is_listed_and_takes_what_its_schema_says() {
        let stages: [(Vec<Provider>, &[&str], Check); 3] = [
            (stt(), crate::stt::roster::PROVIDERS, crate::stt::roster::check),
            (llm(), crate::llm::roster::PROVIDERS, crate::llm::roster::check),
            (tts(), crate::tts::roster::PROVIDERS, crate::tts::roster::check),
        ];
        for (listed, known, check) in stages {
            let vendors: Vec<&Provider> = listed.iter().filter(|provider| provider.needs_key).collect();
            assert_eq!(vendors.iter().map(|provider| provider.id).collect::<Vec<_>>(), known);
            for vendor in vendors {
                let mut settings = json!({"api_key": "k"});
                settings[if vendor.id == "elevenlabs" { "voice" } else { "model" }] = "m".into();
                for (name, schema) in vendor.settings["properties"].as_object().unwrap() {
                    settings[name] = match schema["type"].as_str().unwrap() {
                        "string" => "en".into(),
                        "integer" => 1.into(),
                        "number" => 0.5.into(),
                        "boolean" => true.into(),
                        "array" => json!(["x"]),
                        _ => json!({"x": "y"}),
                    };
                }
                assert_eq!(check(vendor.id, &settings), Ok(()), "{}", vendor.id);
            }
        }
    }
}
