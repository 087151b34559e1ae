//! Deepgram `/v1/listen`: hears utterances by their energy and answers with a script.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{
        Query, State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderMap, HeaderValue},
    response::Response,
    routing::get,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    Fault, Knobs, Running, mulaw,
    running::{Stage, anywhere, refuse},
    socket::Outlet,
};

/// Samples of one decision about voice: 20 ms at 8 kHz.
const WINDOW: usize = 160;
/// RMS above which a window is voice, about -40 dBov.
const VOICE: f64 = 330.0;
/// Deepgram gives up a socket on which nothing comes for so long.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST_ID: &str = "8d8a5f0e-5f3c-4f0e-9d8e-2f6f6a1c0b11";

/// Simulator of Deepgram's streaming recogniser.
#[derive(Debug)]
pub struct Deepgram;

impl Deepgram {
    /// Listens on a free port of the loopback.
    pub async fn start(knobs: Knobs) -> io::Result<Running> {
        let stage = Stage::new(knobs);
        Running::start(anywhere(), Self::router(stage.clone()), vec![stage]).await
    }

    pub(crate) fn router(stage: Arc<Stage>) -> Router {
        Router::new().route("/v1/listen", get(listen)).with_state(stage)
    }
}

async fn listen(
    State(stage): State<Arc<Stage>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let fault = stage.connection();
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    let shown = authorization.and_then(|value| value.strip_prefix("Token "));
    if !stage.admits(shown) {
        return refused(401, None, "INVALID_AUTH", "Invalid credentials.");
    }
    if let Fault::Refuse { status, retry_after, code } = &fault {
        return refused(*status, *retry_after, code, "The knob says so.");
    }
    let options: HashMap<_, _> = query.iter().cloned().collect();
    let Some(ear) = Ear::new(&options, stage.clone()) else {
        return refused(400, None, "Bad Request", "Raw audio needs encoding=mulaw or linear16 and sample_rate=8000.");
    };
    stage.note(json!({ "query": query }));
    let mut response = upgrade.on_upgrade(move |socket| converse(socket, ear, stage, fault));
    response.headers_mut().insert("dg-request-id", HeaderValue::from_static(REQUEST_ID));
    response
}

fn refused(status: u16, retry_after: Option<u32>, code: &str, message: &str) -> Response {
    let mut response =
        refuse(status, retry_after, json!({"err_code": code, "err_msg": message, "request_id": REQUEST_ID}));
    let headers = response.headers_mut();
    headers.insert("dg-request-id", HeaderValue::from_static(REQUEST_ID));
    if let Ok(value) = HeaderValue::from_str(message) {
        headers.insert("dg-error", value);
    }
    response
}

async fn converse(socket: WebSocket, mut ear: Ear, stage: Arc<Stage>, fault: Fault) {
    let (sink, mut messages) = socket.split();
    let (outlet, mut sending) = Outlet::start(sink, &stage, fault);
    loop {
        let message = tokio::select! {
            // The fault closed the socket.
            _ = &mut sending => return,
            message = timeout(PATIENCE, messages.next()) => message,
        };
        match message {
            Err(_) => {
                outlet.close(1011, "NET-0001");
                break;
            }
            Ok(None | Some(Err(_) | Ok(Message::Close(_)))) => break,
            Ok(Some(Ok(Message::Binary(audio)))) => {
                stage.heard(audio.len());
                ear.hear(&audio, &outlet);
            }
            Ok(Some(Ok(Message::Text(text)))) => {
                let Ok(command) = serde_json::from_str::<Value>(&text) else {
                    outlet.close(1008, "DATA-0000");
                    break;
                };
                stage.note(command.clone());
                match command["type"].as_str() {
                    Some("KeepAlive") => {}
                    Some("Finalize") => ear.close_utterance(&outlet, true, true),
                    Some("CloseStream") => {
                        ear.close_utterance(&outlet, false, true);
                        outlet.json(&ear.metadata());
                        outlet.close(1000, "");
                        break;
                    }
                    _ => {
                        outlet.close(1008, "DATA-0000");
                        break;
                    }
                }
            }
            Ok(Some(Ok(_))) => {}
        }
    }
    let _ = sending.await;
}

/// What one socket hears. All times count samples received.
struct Ear {
    stage: Arc<Stage>,
    linear: bool,
    interim: bool,
    vad_events: bool,
    endpointing: usize,
    utterance_end: Option<usize>,
    window: Vec<i16>,
    odd: Option<u8>,
    heard: usize,
    voiced_run: usize,
    quiet_run: usize,
    utterance: Option<Utterance>,
    /// End of the last word of an utterance whose `UtteranceEnd` is still to come.
    last_word: Option<usize>,
    frozen: usize,
    line: usize,
}

struct Utterance {
    text: String,
    onset: usize,
    last_voice: usize,
    last_interim: usize,
}

impl Ear {
    fn new(options: &HashMap<String, String>, stage: Arc<Stage>) -> Option<Self> {
        let flag = |key: &str| options.get(key).is_some_and(|value| value == "true");
        let samples = |key: &str| options.get(key).and_then(|ms| ms.parse::<usize>().ok()).map(|ms| ms * 8);
        let linear = match options.get("encoding")?.as_str() {
            "linear16" => true,
            "mulaw" => false,
            _ => return None,
        };
        if options.get("sample_rate")? != "8000" {
            return None;
        }
        Some(Self {
            stage,
            linear,
            interim: flag("interim_results"),
            vad_events: flag("vad_events"),
            endpointing: if options.get("endpointing").is_some_and(|ms| ms == "false") {
                usize::MAX
            } else {
                samples("endpointing").unwrap_or(80).max(WINDOW)
            },
            utterance_end: samples("utterance_end_ms"),
            window: Vec::new(),
            odd: None,
            heard: 0,
            voiced_run: 0,
            quiet_run: 0,
            utterance: None,
            last_word: None,
            frozen: 0,
            line: 0,
        })
    }

    fn hear(&mut self, audio: &[u8], outlet: &Outlet) {
        for &byte in audio {
            if self.linear {
                match self.odd.take() {
                    None => self.odd = Some(byte),
                    Some(low) => self.window.push(i16::from_le_bytes([low, byte])),
                }
            } else {
                self.window.push(mulaw::decode(byte));
            }
            if self.window.len() == WINDOW {
                let energy: f64 = self.window.iter().map(|&sample| f64::from(sample).powi(2)).sum();
                self.window.clear();
                self.heard += WINDOW;
                self.step((energy / WINDOW as f64).sqrt() > VOICE, outlet);
            }
        }
    }

    fn step(&mut self, voice: bool, outlet: &Outlet) {
        if voice {
            self.voiced_run += 1;
            self.quiet_run = 0;
        } else {
            self.voiced_run = 0;
            self.quiet_run += WINDOW;
        }
        match &mut self.utterance {
            None if self.voiced_run >= 3 => {
                let onset = self.heard - 3 * WINDOW;
                self.utterance =
                    Some(Utterance { text: self.next_text(), onset, last_voice: self.heard, last_interim: self.heard });
                self.last_word = None;
                if self.vad_events {
                    outlet.json(&json!({"type": "SpeechStarted", "channel": [0, 1], "timestamp": seconds(onset)}));
                }
            }
            None => {}
            Some(utterance) => {
                if voice {
                    utterance.last_voice = self.heard;
                }
                if self.interim && self.heard - utterance.last_interim >= 4000 {
                    utterance.last_interim = self.heard;
                    // About three words a second, as people speak.
                    let words = 1 + (self.heard - utterance.onset) * 3 / 8000;
                    let text: Vec<_> = utterance.text.split_whitespace().take(words).collect();
                    let text = text.join(" ");
                    let message = self.results(&text, self.heard, false, false, false);
                    outlet.json(&message);
                }
                if self.quiet_run >= self.endpointing {
                    self.close_utterance(outlet, false, !self.stage.knobs.no_speech_final);
                }
            }
        }
        if let (Some(last_word), Some(gap)) = (self.last_word, self.utterance_end)
            && self.heard >= last_word + gap
        {
            self.last_word = None;
            outlet.json(&json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": seconds(last_word)}));
        }
    }

    fn next_text(&mut self) -> String {
        let script = &self.stage.knobs.transcripts;
        if script.is_empty() {
            return String::new();
        }
        let line = if self.stage.knobs.shared_script { self.stage.next_line() } else { self.line };
        self.line += 1;
        script[line % script.len()].clone()
    }

    /// Freezes what has been heard; a long text comes in two finals, so that clients must put them together.
    fn close_utterance(&mut self, outlet: &Outlet, finalize: bool, speech_final: bool) {
        let Some(utterance) = self.utterance.take() else {
            if finalize {
                let message = self.results("", self.heard, true, false, true);
                outlet.json(&message);
            }
            return;
        };
        let words: Vec<_> = utterance.text.split_whitespace().collect();
        let half = words.len() / 2;
        if words.len() > 6 {
            let middle = utterance.onset + (utterance.last_voice - utterance.onset) * half / words.len();
            let message = self.results(&words[..half].join(" "), middle, true, false, false);
            outlet.json(&message);
            self.frozen = middle;
        }
        let rest = if words.len() > 6 { &words[half..] } else { &words[..] };
        let message = self.results(&rest.join(" "), self.heard, true, speech_final && !finalize, finalize);
        outlet.json(&message);
        self.frozen = self.heard;
        if !words.is_empty() {
            self.last_word = Some(utterance.last_voice);
        }
    }

    fn results(&self, text: &str, end: usize, is_final: bool, speech_final: bool, from_finalize: bool) -> Value {
        let count = text.split_whitespace().count().max(1);
        let span = end.saturating_sub(self.frozen);
        let words: Vec<_> = text
            .split_whitespace()
            .enumerate()
            .map(|(index, word)| {
                let bare: String = word.chars().filter(|c| c.is_alphanumeric() || *c == '\'').collect();
                json!({"word": bare.to_lowercase(), "punctuated_word": word, "confidence": 0.98,
                    "start": seconds(self.frozen + span * index / count), "end": seconds(self.frozen + span * (index + 1) / count)})
            })
            .collect();
        json!({
            "type": "Results", "channel_index": [0, 1], "start": seconds(self.frozen), "duration": seconds(span),
            "is_final": is_final, "speech_final": speech_final, "from_finalize": from_finalize,
            "channel": {"alternatives": [{"transcript": text, "confidence": if text.is_empty() { 0.0 } else { 0.98 }, "languages": ["en"], "words": words}]},
            "metadata": {"request_id": REQUEST_ID, "model_uuid": REQUEST_ID, "model_info": {"name": "general-nova-3", "version": "2025-01-01.0", "arch": "nova-3"}},
        })
    }

    fn metadata(&self) -> Value {
        json!({"type": "Metadata", "transaction_key": "deprecated", "request_id": REQUEST_ID, "sha256": "0".repeat(64),
            "created": "2026-01-01T00:00:00.000Z", "duration": seconds(self.heard), "channels": 1})
    }
}

fn seconds(samples: usize) -> f64 {
    samples as f64 / 8000.0
}
