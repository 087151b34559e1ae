//! The recognisers that can be named in a configuration: one word each.

use serde_json::Value;

use super::{SttLink, deepgram::Deepgram};
use crate::link::{
    hearing,
    settings::{OpenError, read},
};

/// The words.
pub const PROVIDERS: &[&str] = &["deepgram"];

/// Opens the provider of that name on the current tokio runtime; the connection is made behind the link.
pub fn open(provider: &str, settings: &Value) -> Result<SttLink, OpenError> {
    match provider {
        "deepgram" => {
            let recogniser = Deepgram::new(read("deepgram", settings)?)?;
            let (name, limits) = (recogniser.name(), recogniser.limits());
            Ok(hearing::listen(recogniser, name, limits))
        }
        _ => Err(unknown(provider)),
    }
}

/// Whether `open` would take this, without opening anything.
pub fn check(provider: &str, settings: &Value) -> Result<(), OpenError> {
    match provider {
        "deepgram" => Deepgram::new(read("deepgram", settings)?).map(drop),
        _ => Err(unknown(provider)),
    }
}

fn unknown(provider: &str) -> OpenError {
    OpenError::Unknown { stage: "stt", provider: provider.into(), known: PROVIDERS.join(", ") }
}
