//! ElevenLabs: `/v1/text-to-speech/{voice}/multi-stream-input`, one context a generation, µ-law at 8 kHz.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use codecs::g711::{self, Law};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    Gen,
    link::{
        Door, Fault, Frame, Limits,
        settings::{self, OpenError, Secret},
        voice::{Heard, Speaker},
    },
};

const NAME: &str = "elevenlabs";

/// Settings of this provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The voice's id.
    pub voice: String,
    /// The vendor's default when it is missing; must be one that the WebSocket speaks.
    pub model: Option<String>,
    /// ISO 639-1, for models that speak several languages.
    pub language: Option<String>,
    /// Such as `{"stability": 0.5, "similarity_boost": 0.8, "speed": 1.0}`, passed on as it is.
    #[serde(default)]
    pub voice_settings: Map<String, Value>,
    /// Scheme, host and path before `/v1`.
    #[serde(default = "vendor")]
    pub base_url: String,
    /// Else from `ELEVENLABS_API_KEY`.
    pub api_key: Option<Secret>,
    /// Waits.
    #[serde(default)]
    pub limits: Limits,
}

fn vendor() -> String {
    "wss://api.elevenlabs.io".into()
}

/// ElevenLabs' protocol.
#[derive(Debug)]
pub struct ElevenLabs {
    settings: Settings,
    key: Secret,
}

impl ElevenLabs {
    /// Checks the settings and finds the key.
    pub fn new(mut settings: Settings) -> Result<Self, OpenError> {
        if settings.voice.is_empty() {
            return Err(OpenError::Settings { provider: NAME, reason: "voice is empty".into() });
        }
        settings.base_url = settings::base_url(NAME, &settings.base_url, true)?;
        let key = settings::key(NAME, "ELEVENLABS_API_KEY", settings.api_key.as_ref(), &settings.base_url)?;
        Ok(Self { settings, key })
    }

    /// For logs and metrics.
    pub fn name(&self) -> String {
        format!("{NAME}/{}", self.settings.voice)
    }

    /// The waits that the settings ask for.
    pub fn limits(&self) -> Limits {
        self.settings.limits.clone()
    }
}

fn context(r#gen: Gen) -> String {
    format!("g{gen}")
}

fn text(message: &Value) -> Frame {
    Frame::Text(message.to_string())
}

impl Speaker for ElevenLabs {
    // A context without text lives 20 s unless told otherwise; we ask for the longest, 180 s.
    const KEEP_ALIVE: Duration = Duration::from_secs(15);
    const CONTEXTS: usize = 5;

    fn door(&self) -> Door {
        let settings = &self.settings;
        let mut url = format!("{}/v1/text-to-speech/", settings.base_url);
        settings::encode(&settings.voice, &mut url);
        url.push_str("/multi-stream-input");
        // Whole clauses are sent, so the vendor need not collect text before it speaks.
        let mut query = vec![
            ("output_format", "ulaw_8000"),
            ("auto_mode", "true"),
            ("sync_alignment", "true"),
            ("inactivity_timeout", "180"),
        ];
        query.extend(settings.model.as_deref().map(|model| ("model_id", model)));
        query.extend(settings.language.as_deref().map(|language| ("language_code", language)));
        url.push_str(&settings::query(query));
        let key = self.key.reveal();
        let headers = if key.is_empty() { Vec::new() } else { vec![("xi-api-key", key.to_owned())] };
        Door { url, headers }
    }

    fn speak(&self, r#gen: Gen, first: bool, piece: &str, frames: &mut Vec<Frame>) {
        if first {
            // Settings are taken from the first message of a context only; later ones close the socket.
            let mut open = json!({"text": " ", "context_id": context(r#gen)});
            if !self.settings.voice_settings.is_empty() {
                open["voice_settings"] = Value::Object(self.settings.voice_settings.clone());
            }
            frames.push(text(&open));
        }
        // The vendor wants a space at the end of each text.
        frames.push(text(&json!({"text": format!("{} ", piece.trim()), "context_id": context(r#gen)})));
    }

    fn finish(&self, r#gen: Gen, frames: &mut Vec<Frame>) {
        // A context that is closed after a flush is said to its end first.
        frames.push(text(&json!({"context_id": context(r#gen), "flush": true})));
        frames.push(text(&json!({"context_id": context(r#gen), "close_context": true})));
    }

    fn cancel(&self, r#gen: Gen, frames: &mut Vec<Frame>) {
        frames.push(text(&json!({"context_id": context(r#gen), "close_context": true})));
    }

    fn decode(&self, message: &str) -> Result<Heard, Fault> {
        let Ok(message) = serde_json::from_str::<Value>(message) else { return Ok(Heard::Strange) };
        if let Some(error) = message["error"].as_str() {
            let reason = message["message"].as_str().unwrap_or_default();
            return Err(judge(error, reason));
        }
        // The published description and the servers differ in these names.
        let either =
            |camel: &str, snake: &str| message.get(camel).or_else(|| message.get(snake)).cloned().unwrap_or_default();
        let context = either("contextId", "context_id");
        let Some(r#gen) = context.as_str().and_then(|id| id.strip_prefix('g')).and_then(|id| id.parse().ok()) else {
            return Ok(if message.is_object() && context.is_null() { Heard::Nothing } else { Heard::Strange });
        };
        let audio = message["audio"].as_str().unwrap_or_default();
        let Ok(bytes) = STANDARD.decode(audio) else { return Ok(Heard::Strange) };
        let mut pcm = vec![0; bytes.len()];
        g711::decode(Law::Mu, &bytes, &mut pcm);
        let done = either("isFinal", "is_final") == json!(true);
        Ok(Heard::Sound { r#gen, pcm, timed: timed(&message["alignment"]), done })
    }

    fn keep_alive(&self, r#gen: Option<Gen>) -> Option<Frame> {
        r#gen.map(|r#gen| text(&json!({"text": "", "context_id": context(r#gen)})))
    }

    fn farewell(&self) -> Option<Frame> {
        Some(text(&json!({"close_socket": true})))
    }

    fn judge_close(&self, code: Option<u16>, reason: &str) -> Fault {
        match code {
            Some(1008) => judge(reason, ""),
            _ => Fault::closed(code, reason),
        }
    }
}

/// Errors have a name; these pass by themselves.
fn judge(error: &str, reason: &str) -> Fault {
    let passes = [
        "max_active_conversations",
        "input_timeout_exceeded",
        "system_busy",
        "rate_limit_exceeded",
        "too_many_concurrent_requests",
        "internal_error",
    ];
    let text: String = format!("{error} {reason}").chars().filter(|c| !c.is_control()).take(200).collect();
    if passes.iter().any(|name| error.contains(name)) { Fault::passing(text) } else { Fault::permanent(text) }
}

/// Characters of a message and where each ends in its sound, ms.
fn timed(alignment: &Value) -> Vec<(String, u64)> {
    let list = |name: &str| alignment[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let durations =
        if list("charsDurationsMs").is_empty() { list("charDurationsMs") } else { list("charsDurationsMs") };
    let ends = list("charStartTimesMs").iter().zip(durations).map(|(start, duration)| {
        let ms = start.as_f64().unwrap_or_default() + duration.as_f64().unwrap_or_default();
        // A cast of a float saturates; an hour bounds what the sum of samples can hold.
        (ms as u64).min(3_600_000)
    });
    list("chars").iter().filter_map(Value::as_str).map(str::to_owned).zip(ends).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec() -> ElevenLabs {
        let settings = json!({"voice": "a/b", "base_url": "http://127.0.0.1:1", "voice_settings": {"speed": 1.1}});
        ElevenLabs::new(serde_json::from_value(settings).unwrap()).unwrap()
    }

    fn fixture() -> Vec<Result<Heard, Fault>> {
        let lines = include_str!("../../fixtures/elevenlabs.jsonl").lines();
        lines.map(|line| codec().decode(line)).collect()
    }

    #[test]
    fn the_voice_is_escaped_in_the_url() {
        let url = codec().door().url;
        assert!(
            url.starts_with("ws://127.0.0.1:1/v1/text-to-speech/a%2Fb/multi-stream-input?output_format=ulaw_8000&"),
            "{url}"
        );
    }

    #[test]
    fn settings_of_the_voice_go_into_the_first_message_only() {
        let mut frames = Vec::new();
        codec().speak(7, true, "Sure.", &mut frames);
        codec().speak(7, false, " Bye. ", &mut frames);
        let texts = [
            json!({"text": " ", "context_id": "g7", "voice_settings": {"speed": 1.1}}),
            json!({"text": "Sure. ", "context_id": "g7"}),
            json!({"text": "Bye. ", "context_id": "g7"}),
        ];
        assert_eq!(frames, texts.iter().map(text).collect::<Vec<_>>());
    }

    #[test]
    fn recorded_messages_are_understood_in_both_spellings() {
        let heard = fixture();
        let timed = vec![("H".into(), 60), ("i".into(), 140)];
        assert_eq!(heard[0], Ok(Heard::Sound { r#gen: 7, pcm: vec![0; 3], timed: timed.clone(), done: false }));
        assert_eq!(heard[1], Ok(Heard::Sound { r#gen: 7, pcm: vec![0; 3], timed, done: false }));
        assert_eq!(heard[2], Ok(Heard::Sound { r#gen: 7, pcm: vec![], timed: vec![], done: true }));
        assert_eq!(heard[3], heard[2]);
        assert_eq!(heard[4], Ok(Heard::Nothing));
    }

    #[test]
    fn errors_say_whether_they_pass() {
        let retry: Vec<_> = fixture().into_iter().filter_map(Result::err).map(|fault| fault.retry).collect();
        assert_eq!(retry, [true, false]);
    }

    #[test]
    fn a_foreign_context_is_strange() {
        assert_eq!(codec().decode(r#"{"contextId":"other","audio":""}"#), Ok(Heard::Strange));
        assert_eq!(codec().decode("[]"), Ok(Heard::Strange));
    }
}
