//! A recording, and where to fetch it.

use serde::Serialize;
use utoipa::ToSchema;

/// A stored recording: stereo, caller left, agent right.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Recording {
    /// A signed link, good until `expires_at`, that needs no other credential.
    pub(crate) url: String,
    pub(crate) expires_at: String,
    /// What the link leads to: `ogg_opus` or `wav`. A recording is WAV for some seconds after its call whatever becomes of it.
    pub(crate) format: String,
    pub(crate) channels: i64,
    pub(crate) duration_ms: Option<i64>,
    /// Of the file as it is stored; null for what is made of it on the way.
    pub(crate) bytes: Option<i64>,
    pub(crate) sha256: Option<String>,
}
