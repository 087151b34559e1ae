//! Deepgram: streaming `/v1/listen`, µ-law at 8 kHz.
//!
//! A result with `is_final` freezes its span for good, whether or not `speech_final` ends the utterance with it, so each becomes
//! a final of ours. `speech_final` comes after 300 ms of silence: a pause, not the end of a turn, which our own policy knows better.
//! Only with `turns` do `speech_final` and `UtteranceEnd` (whichever is first) end a turn, with all finals since the last one.

use std::{collections::BTreeMap, time::Duration};

use codecs::{
    g711::{self, Law},
    pcm,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::SttEvent;
use crate::{
    Ms,
    link::{
        Door, Fault, Frame, Limits, Outbox,
        hearing::Recogniser,
        settings::{self, OpenError, Secret},
    },
};

const NAME: &str = "deepgram";

/// Settings of this provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Such as `nova-3`.
    pub model: String,
    /// BCP 47, or `multi`.
    pub language: Option<String>,
    /// Silence that makes the vendor freeze what it has heard, ms.
    #[serde(default = "three_hundred")]
    pub endpointing_ms: u32,
    /// Gap between words that makes the vendor end an utterance where noise hides the silence, ms; used with `turns`.
    #[serde(default = "thousand")]
    pub utterance_end_ms: u32,
    /// Let the vendor end turns.
    #[serde(default)]
    pub turns: bool,
    /// Numbers, dates and punctuation as they are written.
    #[serde(default = "yes")]
    pub smart_format: bool,
    /// Finals below this confidence are marked as unsure.
    #[serde(default = "half")]
    pub sure_above: f64,
    /// Words to expect, beside those that the conversation names.
    #[serde(default)]
    pub keyterms: Vec<String>,
    /// Further query parameters of the vendor.
    #[serde(default)]
    pub extra: BTreeMap<String, String>,
    /// Scheme, host and path before `/v1`.
    #[serde(default = "vendor")]
    pub base_url: String,
    /// Else from `DEEPGRAM_API_KEY`.
    pub api_key: Option<Secret>,
    /// Waits.
    #[serde(default)]
    pub limits: Limits,
}

fn vendor() -> String {
    "wss://api.deepgram.com".into()
}
fn three_hundred() -> u32 {
    300
}
fn thousand() -> u32 {
    1000
}
fn yes() -> bool {
    true
}
fn half() -> f64 {
    0.5
}

/// Deepgram's protocol.
#[derive(Debug)]
pub struct Deepgram {
    settings: Settings,
    key: Secret,
    /// Finals since the turn began.
    turn: Vec<String>,
    /// Finals came since the utterance began.
    words: bool,
}

impl Deepgram {
    /// Checks the settings and finds the key.
    pub fn new(mut settings: Settings) -> Result<Self, OpenError> {
        settings.base_url = settings::base_url(NAME, &settings.base_url, true)?;
        let key = settings::key(NAME, "DEEPGRAM_API_KEY", settings.api_key.as_ref(), &settings.base_url)?;
        Ok(Self { settings, key, turn: Vec::new(), words: false })
    }

    /// For logs and metrics.
    pub fn name(&self) -> String {
        format!("{NAME}/{}", self.settings.model)
    }

    /// The waits that the settings ask for.
    pub fn limits(&self) -> Limits {
        self.settings.limits.clone()
    }

    fn results(&mut self, message: &Value, out: &mut Outbox<SttEvent>) {
        let flag = |name: &str| message[name] == json!(true);
        let best = &message["channel"]["alternatives"][0];
        let text = best["transcript"].as_str().unwrap_or_default().trim();
        let end = ms(&message["start"]) + ms(&message["duration"]);
        if !flag("is_final") {
            if !text.is_empty() {
                out.events.push(SttEvent::Partial { text: text.into(), end });
            }
            return;
        }
        if !text.is_empty() {
            self.words = true;
            if self.settings.turns {
                self.turn.push(text.into());
            }
            let sure = best["confidence"].as_f64().is_none_or(|confidence| confidence >= self.settings.sure_above);
            out.events.push(SttEvent::Final { text: text.into(), end, sure });
        }
        let over = flag("speech_final");
        if (over || flag("from_finalize")) && !std::mem::take(&mut self.words) {
            out.events.push(SttEvent::Nothing { end });
        }
        if over {
            self.end_turn(out);
        }
    }

    fn end_turn(&mut self, out: &mut Outbox<SttEvent>) {
        if !self.turn.is_empty() {
            out.events.push(SttEvent::TurnEnd { text: self.turn.join(" ") });
            self.turn.clear();
        }
    }
}

/// Seconds of JSON to ms; whatever is no number, or before the beginning, is 0.
fn ms(seconds: &Value) -> Ms {
    // A cast of a float saturates; a day bounds the sums that follow.
    ((seconds.as_f64().unwrap_or_default() * 1000.0).round() as Ms).min(86_400_000)
}

impl Recogniser for Deepgram {
    // The vendor hangs up after 10 s without a frame.
    const KEEP_ALIVE: Duration = Duration::from_secs(4);

    fn door(&self, phrases: &[String]) -> Door {
        let settings = &self.settings;
        let endpointing = settings.endpointing_ms.to_string();
        let utterance_end = settings.utterance_end_ms.to_string();
        let mut query = vec![
            ("model", settings.model.as_str()),
            ("encoding", "mulaw"),
            ("sample_rate", "8000"),
            ("channels", "1"),
            ("interim_results", "true"),
            ("endpointing", &endpointing),
        ];
        query.extend(settings.turns.then_some(("utterance_end_ms", utterance_end.as_str())));
        query.extend(settings.smart_format.then_some(("smart_format", "true")));
        query.extend(settings.language.as_deref().map(|language| ("language", language)));
        query.extend(settings.keyterms.iter().chain(phrases).map(|phrase| ("keyterm", phrase.as_str())));
        query.extend(settings.extra.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let key = self.key.reveal();
        let headers = if key.is_empty() { Vec::new() } else { vec![("authorization", format!("Token {key}"))] };
        Door { url: format!("{}/v1/listen{}", settings.base_url, settings::query(query)), headers }
    }

    fn reset(&mut self) {
        self.words = false;
    }

    fn encode(&self, frame: &pcm::Frame, into: &mut Vec<u8>) {
        let start = into.len();
        into.resize(start + pcm::FRAME, 0);
        g711::encode(Law::Mu, frame, &mut into[start..]);
    }

    fn decode(&mut self, text: &str, out: &mut Outbox<SttEvent>) -> Result<(), Fault> {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            out.strange += 1;
            return Ok(());
        };
        match message["type"].as_str() {
            Some("Results") => self.results(&message, out),
            Some("UtteranceEnd") => self.end_turn(out),
            Some("Metadata" | "SpeechStarted") => {}
            _ => out.strange += 1,
        }
        Ok(())
    }

    fn flush(&self) -> Option<Frame> {
        Some(Frame::Text(r#"{"type":"Finalize"}"#.into()))
    }

    fn keep_alive(&self) -> Option<Frame> {
        Some(Frame::Text(r#"{"type":"KeepAlive"}"#.into()))
    }

    fn farewell(&self) -> Option<Frame> {
        Some(Frame::Text(r#"{"type":"CloseStream"}"#.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codec(turns: bool) -> Deepgram {
        let settings = json!({"model": "m", "base_url": "http://127.0.0.1:1", "turns": turns, "keyterms": ["Leeds"], "api_key": "k"});
        Deepgram::new(serde_json::from_value(settings).unwrap()).unwrap()
    }

    fn decode(turns: bool) -> (Vec<SttEvent>, u64) {
        let mut codec = codec(turns);
        let mut out = Outbox::default();
        for line in include_str!("../../fixtures/deepgram.jsonl").lines() {
            codec.decode(line, &mut out).unwrap();
        }
        (out.events, out.strange)
    }

    #[test]
    fn each_frozen_span_is_a_final_and_guesses_are_partials() {
        let (events, strange) = decode(false);
        assert_eq!(
            events,
            [
                SttEvent::Partial { text: "i'd like".into(), end: 1000 },
                SttEvent::Final { text: "I'd like to book".into(), end: 1650, sure: true },
                SttEvent::Final { text: "a table.".into(), end: 2650, sure: false },
                SttEvent::Final { text: "Tomorrow.".into(), end: 4000, sure: true },
                SttEvent::Nothing { end: 9000 },
            ]
        );
        assert_eq!(strange, 2);
    }

    #[test]
    fn a_turn_is_all_finals_up_to_the_first_sign_of_its_end() {
        let (events, _) = decode(true);
        let turns: Vec<_> = events.into_iter().filter(|event| matches!(event, SttEvent::TurnEnd { .. })).collect();
        assert_eq!(
            turns,
            [
                SttEvent::TurnEnd { text: "I'd like to book a table.".into() },
                SttEvent::TurnEnd { text: "Tomorrow.".into() }
            ]
        );
    }

    #[test]
    fn the_door_names_encoding_and_phrases_but_never_the_key() {
        let door = codec(false).door(&["New York".into()]);
        assert_eq!(
            door.url,
            "ws://127.0.0.1:1/v1/listen?model=m&encoding=mulaw&sample_rate=8000&channels=1&interim_results=true&endpointing=300&smart_format=true&keyterm=Leeds&keyterm=New%20York"
        );
        assert_eq!(door.headers, [("authorization", "Token k".to_owned())]);
    }

    #[test]
    fn silence_is_encoded_as_ff() {
        let mut bytes = vec![1];
        codec(false).encode(&pcm::SILENCE, &mut bytes);
        assert_eq!((bytes.len(), bytes[0]), (161, 1));
        assert!(bytes[1..].iter().all(|&byte| byte == 0xff));
    }
}
