//! A recording, and where to fetch it.

use serde::Serialize;
use utoipa::ToSchema;

/// A stored recording: stereo, caller left, agent right.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Recording {
    /// A signed link, good until `expires_at`, that needs no other credential.
    pub(crate) url: String,
    pub(crate) expires_at: String,
    /// `wav`.
    pub(crate) format: String,
    pub(crate) channels: i64,
    pub(crate) duration_ms: Option<i64>,
    pub(crate) bytes: Option<i64>,
    pub(crate) sha256: Option<String>,
}
