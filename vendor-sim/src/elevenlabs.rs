//! ElevenLabs `/v1/text-to-speech/{voice}/multi-stream-input`: sound that is as long as its text, with alignment.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    Fault, Knobs, Running, mulaw,
    running::{Stage, anywhere, refuse},
    socket::Outlet,
};

/// Milliseconds of sound per character.
const CHAR_MS: usize = 60;
/// Characters of one message: 180 ms of sound.
const CHUNK: usize = 3;
/// Contexts that one socket may have open.
const CONTEXTS: usize = 5;

/// Simulator of ElevenLabs' multi-context WebSocket.
#[derive(Debug)]
pub struct ElevenLabs;

impl ElevenLabs {
    /// Listens on a free port of the loopback.
    pub async fn start(knobs: Knobs) -> io::Result<Running> {
        let stage = Stage::new(knobs);
        Running::start(anywhere(), Self::router(stage.clone()), vec![stage]).await
    }

    pub(crate) fn router(stage: Arc<Stage>) -> Router {
        Router::new()
            .route("/v1/text-to-speech/{voice}/multi-stream-input", get(speak))
            .route("/v1/voices", get(voices))
            .with_state(stage)
    }
}

/// `GET /v1/voices`: two voices.
async fn voices(State(stage): State<Arc<Stage>>, headers: HeaderMap) -> Response {
    let fault = stage.connection();
    let refused = |status, retry_after, code: &str| {
        refuse(status, retry_after, json!({"detail": {"status": code, "message": "Refused."}}))
    };
    if !stage.admits(headers.get("xi-api-key").and_then(|value| value.to_str().ok())) {
        return refused(401, None, "invalid_api_key");
    }
    if let Fault::Refuse { status, retry_after, code } = &fault {
        return refused(*status, *retry_after, code);
    }
    let voice = |id: &str, name: &str, gender: &str, language: &str, locale: &str| {
        json!({"voice_id": id, "name": name, "category": "premade", "labels": {"gender": gender, "language": language},
            "verified_languages": [{"language": language, "locale": locale}], "preview_url": format!("https://sim.example/{id}.mp3")})
    };
    Json(json!({"voices": [voice("21m00Tcm4TlvDq8ikWAM", "Rachel", "female", "en", "en-US"),
        voice("pNInz6obpgDQGcFmaJgB", "Adam", "male", "de", "de-DE")]}))
    .into_response()
}

async fn speak(
    State(stage): State<Arc<Stage>>,
    Path(voice): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let fault = stage.connection();
    let refused = |status, retry_after, code: &str| {
        refuse(status, retry_after, json!({"detail": {"status": code, "message": "Refused."}}))
    };
    if !stage.admits(headers.get("xi-api-key").and_then(|value| value.to_str().ok())) {
        return refused(401, None, "invalid_api_key");
    }
    if let Fault::Refuse { status, retry_after, code } = &fault {
        return refused(*status, *retry_after, code);
    }
    let linear = match query.get("output_format").map(String::as_str) {
        Some("ulaw_8000") => false,
        Some("pcm_8000") => true,
        _ => return refused(422, None, "output_format_not_simulated"),
    };
    let patience = query.get("inactivity_timeout").and_then(|text| text.parse().ok()).unwrap_or(20).min(180);
    stage.note(json!({"voice": voice, "query": query}));
    upgrade.on_upgrade(move |socket| converse(socket, stage, fault, linear, Duration::from_secs(patience)))
}

async fn converse(socket: WebSocket, stage: Arc<Stage>, fault: Fault, linear: bool, patience: Duration) {
    let (sink, mut messages) = socket.split();
    let wire = if let Fault::Error { .. } = fault { Fault::None } else { fault.clone() };
    let (outlet, mut sending) = Outlet::start(sink, &stage, wire);
    let mut mouth = Mouth {
        stage: stage.clone(),
        linear,
        contexts: HashMap::new(),
        free: Instant::now(),
        phase: 0,
        said: 0,
        pending: Vec::new(),
    };
    loop {
        let due = mouth.pending.first().map(|sound| sound.at);
        let message = tokio::select! {
            _ = &mut sending => return,
            () = sleep_until_or_never(due) => {
                mouth.emit(&outlet);
                if let Fault::Error { after } = fault && mouth.said >= after {
                    outlet.json(&json!({"message": "The service is busy.", "error": "system_busy", "code": 1008}));
                    outlet.close(1008, "system_busy");
                    break;
                }
                continue;
            }
            message = timeout(patience, messages.next()) => message,
        };
        match message {
            Err(_) => {
                outlet.json(
                    &json!({"message": "No input for too long.", "error": "input_timeout_exceeded", "code": 1008}),
                );
                outlet.close(1008, "input_timeout_exceeded");
                break;
            }
            Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => return,
            Ok(Some(Ok(Message::Text(text)))) => {
                let Ok(command) = serde_json::from_str::<Value>(&text) else {
                    outlet.close(1008, "invalid_message");
                    break;
                };
                stage.note(command.clone());
                if let Err((error, message)) = mouth.obey(&command) {
                    outlet.json(&json!({"message": message, "error": error, "code": 1008}));
                    outlet.close(1008, error);
                    break;
                }
                if command["close_socket"] == json!(true) {
                    outlet.close(1000, "");
                    break;
                }
            }
            Ok(Some(Ok(_))) => {}
        }
    }
    let _ = sending.await;
}

async fn sleep_until_or_never(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What one socket has to say.
struct Mouth {
    stage: Arc<Stage>,
    linear: bool,
    contexts: HashMap<String, Context>,
    /// When the next piece of sound can be ready.
    free: Instant,
    phase: u32,
    said: u32,
    pending: Vec<Sound>,
}

#[derive(Default)]
struct Context {
    flushed: bool,
    begun: bool,
}

/// A message that waits for its time.
struct Sound {
    at: Instant,
    context: String,
    /// `None` ends the context.
    text: Option<String>,
}

impl Mouth {
    fn obey(&mut self, command: &Value) -> Result<(), (&'static str, &'static str)> {
        let Some(id) = command["context_id"].as_str() else { return Ok(()) };
        let first = !self.contexts.contains_key(id);
        let closing = command["close_context"] == json!(true);
        if first {
            if closing {
                return Ok(());
            }
            if self.contexts.len() >= CONTEXTS {
                return Err(("max_active_conversations", "Maximum simultaneous contexts exceeded."));
            }
            self.contexts.insert(id.into(), Context::default());
        } else if command.get("voice_settings").is_some() {
            return Err(("invalid_message", "voice_settings must come in the first message of a context."));
        }
        if let Some(text) = command["text"].as_str()
            && !text.trim().is_empty()
        {
            self.schedule(id, text);
        }
        if command["flush"] == json!(true)
            && let Some(context) = self.contexts.get_mut(id)
        {
            context.flushed = true;
        }
        if closing && let Some(context) = self.contexts.remove(id) {
            if !context.flushed {
                // What is already on its way still comes: two pieces, as after a real barge-in.
                let mut late = 2;
                let before = self.pending.len();
                self.pending.retain(|sound| {
                    let keep = sound.context != id || late > 0;
                    late -= i32::from(sound.context == id);
                    keep
                });
                if self.pending.len() < before {
                    self.stage.cancelled();
                }
                self.free = self.pending.last().map_or_else(Instant::now, |sound| sound.at);
            }
            let at = self.free.max(Instant::now());
            self.pending.push(Sound { at, context: id.into(), text: None });
        }
        Ok(())
    }

    fn schedule(&mut self, id: &str, text: &str) {
        let knobs = &self.stage.knobs;
        let begun = self.contexts.get_mut(id).is_some_and(|context| std::mem::replace(&mut context.begun, true));
        self.free = self.free.max(Instant::now());
        if !begun {
            self.free += knobs.first_byte;
        }
        let chars: Vec<char> = text.chars().collect();
        for chunk in chars.chunks(CHUNK) {
            self.pending.push(Sound { at: self.free, context: id.into(), text: Some(chunk.iter().collect()) });
            self.free += knobs.pace;
        }
    }

    /// Sends what is due.
    fn emit(&mut self, outlet: &Outlet) {
        let now = Instant::now();
        while self.pending.first().is_some_and(|sound| sound.at <= now) {
            let sound = self.pending.remove(0);
            let context = if self.stage.knobs.snake_case { "context_id" } else { "contextId" };
            let is_final = if self.stage.knobs.snake_case { "is_final" } else { "isFinal" };
            let message = match &sound.text {
                None => json!({ context: sound.context, is_final: true }),
                Some(text) => {
                    let alignment = if self.stage.knobs.no_alignment { Value::Null } else { alignment(text) };
                    json!({"audio": STANDARD.encode(self.sing(text)), context: sound.context, is_final: null,
                        "alignment": alignment, "normalizedAlignment": alignment})
                }
            };
            self.said += 1;
            outlet.at(now, &message);
        }
    }

    /// A hum of 140 Hz that swells with the syllables and falls silent between words.
    fn sing(&mut self, text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for character in text.chars() {
            for step in 0..CHAR_MS * 8 {
                self.phase = self.phase.wrapping_add(1);
                let t = f64::from(self.phase) / 8000.0;
                let hum: f64 =
                    (1..=6).map(|k| (std::f64::consts::TAU * 140.0 * f64::from(k) * t).sin() / f64::from(k)).sum();
                let swell = (std::f64::consts::PI * (step as f64 / (CHAR_MS * 8) as f64)).sin();
                let level = if character.is_alphanumeric() { 4000.0 * (0.4 + 0.6 * swell) } else { 0.0 };
                let sample = (hum * level) as i16;
                if self.linear {
                    bytes.extend(sample.to_le_bytes());
                } else {
                    bytes.push(mulaw::encode(sample));
                }
            }
        }
        bytes
    }
}

/// Times are relative to the message.
fn alignment(text: &str) -> Value {
    let chars: Vec<String> = text.chars().map(String::from).collect();
    let starts: Vec<usize> = (0..chars.len()).map(|index| index * CHAR_MS).collect();
    let durations = vec![CHAR_MS; chars.len()];
    json!({"chars": chars, "charStartTimesMs": starts, "charsDurationsMs": durations})
}
