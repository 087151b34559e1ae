//! The language models that can be named in a configuration: one word each.

use serde_json::Value;

use super::{LlmLink, openai::OpenAi};
use crate::link::{
    open_model,
    settings::{OpenError, read},
};

/// The words.
pub const PROVIDERS: &[&str] = &["openai", "openai_compatible"];

/// Opens the provider of that name on the current tokio runtime; each generation connects for itself.
pub fn open(provider: &str, settings: &Value) -> Result<LlmLink, OpenError> {
    match provider {
        "openai" | "openai_compatible" => {
            let model = OpenAi::new(read("openai", settings)?)?;
            let (name, limits) = (model.name(), model.limits());
            Ok(open_model(model, &name, limits))
        }
        _ => Err(unknown(provider)),
    }
}

/// Whether `open` would take this, without opening anything.
pub fn check(provider: &str, settings: &Value) -> Result<(), OpenError> {
    match provider {
        "openai" | "openai_compatible" => OpenAi::new(read("openai", settings)?).map(drop),
        _ => Err(unknown(provider)),
    }
}

fn unknown(provider: &str) -> OpenError {
    OpenError::Unknown { stage: "llm", provider: provider.into(), known: PROVIDERS.join(", ") }
}
