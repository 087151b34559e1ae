//! What the API asks of the conversation's machines about an agent: `server` joins them.

use std::sync::Arc;

use domain::{
    AgentSpec,
    agent::fault::{Fault, Warning},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::BoxFuture;

/// What was found about an agent.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// It cannot be run so.
    pub faults: Vec<Fault>,
    /// It can, but not as somebody may expect.
    pub warnings: Vec<Warning>,
}

/// Knows the engines: compiles flows, checks providers' settings, speaks samples. `server` implements it.
pub trait AgentCheck: Send + Sync {
    /// Checks what the document alone does not show.
    fn check(&self, agent: &AgentSpec) -> Found;

    /// The engines that this build has.
    fn engines(&self) -> Engines;

    /// The voices that are on this machine.
    fn voices(&self) -> Vec<Voice>;

    /// Says a text with a voice of this machine; 16-bit samples at 8 kHz.
    ///
    /// The outer error names what is wrong with the voice, in a sentence.
    fn speak<'a>(&'a self, voice: &'a str, text: &'a str) -> BoxFuture<'a, Result<Vec<i16>, String>>;

    /// The operator's own key for a provider.
    fn operator_key(&self, provider: &str) -> Option<String>;

    /// An agent of this node's files, by name.
    fn file(&self, name: &str) -> Option<Arc<AgentSpec>>;
}

/// What this build can talk with.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Engines {
    /// Recognisers.
    pub stt: Vec<Engine>,
    /// Models.
    pub llm: Vec<Engine>,
    /// Voices.
    pub tts: Vec<Engine>,
    /// Speech-to-speech models.
    pub realtime: Vec<Engine>,
}

/// One provider of a stage.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Engine {
    /// The word for `provider`.
    pub id: String,
    /// For people.
    pub name: String,
    /// Works only with a credential or the operator's key.
    pub needs_key: bool,
    /// JSON Schema of `settings`.
    #[schema(value_type = Object)]
    pub settings_schema: Value,
    /// Models that are known to work; others may, too.
    pub models: Vec<String>,
}

/// One voice.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Voice {
    /// For `tts.voice`.
    pub id: String,
    /// Whose.
    pub provider: String,
    /// For people.
    pub name: String,
    /// BCP 47.
    pub languages: Vec<String>,
    /// `female`, `male` or `neutral`, where it is known.
    pub gender: Option<String>,
    /// The vendor's own sample.
    pub sample_url: Option<String>,
    /// Speaks µ-law at 8 kHz without conversion.
    pub native_ulaw: bool,
}
