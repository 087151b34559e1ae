//! A transcript and its turns (API §3.3).

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One turn. `start_ms` and `end_ms` are milliseconds since answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TurnView {
    pub(crate) n: i64,
    /// `caller`, `agent`, `tool` or `system`.
    pub(crate) speaker: String,
    /// What was said, or generated.
    pub(crate) text: String,
    /// What was heard of it until it was cut; the same as `text` otherwise.
    pub(crate) heard_text: String,
    pub(crate) interrupted: bool,
    pub(crate) lang: Option<String>,
    pub(crate) confidence: Option<f64>,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    #[schema(value_type = Vec<Object>)]
    pub(crate) words: Value,
    /// Where the time of an agent's answer went.
    #[schema(value_type = Option<Object>)]
    pub(crate) latency: Option<Value>,
}

/// A conversation in order.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Transcript {
    pub(crate) call_id: String,
    pub(crate) language: Option<String>,
    pub(crate) turns: Vec<TurnView>,
}
