//! The event envelope (API §3.5).

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// The version of the envelope and of every event's data.
pub(crate) const API_VERSION: &str = "2026-11-01";

/// A durable event.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) api_version: &'static str,
    pub(crate) tenant_id: String,
    pub(crate) livemode: bool,
    pub(crate) call_id: Option<String>,
    /// 1, 2, 3 … per call, without holes.
    pub(crate) seq: Option<i64>,
    /// Number of publication, once it has one.
    pub(crate) cursor: Option<String>,
    pub(crate) created_at: String,
    #[schema(value_type = Object)]
    pub(crate) data: Value,
}

/// Events of a call, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventList {
    pub(crate) data: Vec<Event>,
    /// Pass it as `after_seq` for the next page; absent on the last.
    pub(crate) next_after_seq: Option<i64>,
    /// Always absent: this list is paged by `after_seq`.
    pub(crate) next_cursor: Option<String>,
}
