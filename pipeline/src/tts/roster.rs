//! The voices that can be named in a configuration: one word each.

use serde_json::Value;

use super::{TtsLink, elevenlabs::ElevenLabs};
use crate::link::{
    settings::{OpenError, read},
    voice,
};

/// The words.
pub const PROVIDERS: &[&str] = &["elevenlabs"];

/// Opens the provider of that name on the current tokio runtime; the connection is made behind the link.
pub fn open(provider: &str, settings: &Value) -> Result<TtsLink, OpenError> {
    match provider {
        "elevenlabs" => {
            let speaker = ElevenLabs::new(read("elevenlabs", settings)?)?;
            let (name, limits) = (speaker.name(), speaker.limits());
            Ok(voice::speak(speaker, name, limits))
        }
        _ => Err(unknown(provider)),
    }
}

/// Whether `open` would take this, without opening anything.
pub fn check(provider: &str, settings: &Value) -> Result<(), OpenError> {
    match provider {
        "elevenlabs" => ElevenLabs::new(read("elevenlabs", settings)?).map(drop),
        _ => Err(unknown(provider)),
    }
}

fn unknown(provider: &str) -> OpenError {
    OpenError::Unknown { stage: "tts", provider: provider.into(), known: PROVIDERS.join(", ") }
}
