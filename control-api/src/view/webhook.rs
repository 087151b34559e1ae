//! Webhooks and deliveries.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    outbox::webhooks::{DeliveryRow, Hook},
    time::rfc3339,
};

/// Where events are sent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Webhook {
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) description: Option<String>,
    /// Exact types, `prefix.*`, `*`, `!type`. `*` leaves out `call.turn.*`, `call.dtmf.*` and `call.quality`, which must be named.
    pub(crate) types: Vec<String>,
    /// Only events of these agents.
    pub(crate) agent_ids: Option<Vec<String>>,
    /// Sent along.
    #[schema(value_type = Object)]
    pub(crate) headers: Map<String, Value>,
    /// `per_call`: the next event of a call waits for the one before; `none`: each goes at once.
    pub(crate) ordering: &'static str,
    pub(crate) enabled: bool,
    /// Why it was switched off: `gone` (the receiver said 410), `failing` (five days), `dead_letters` (100 in a row).
    pub(crate) disabled_reason: Option<String>,
    /// Since when no delivery was accepted.
    pub(crate) failing_since: Option<String>,
    /// Until then the secret before signs too.
    pub(crate) old_secret_until: Option<String>,
    pub(crate) version: i64,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
}

impl From<&Hook> for Webhook {
    fn from(hook: &Hook) -> Self {
        let draft = &hook.draft;
        Self {
            id: hook.id.clone(),
            url: draft.url.clone(),
            description: draft.description.clone(),
            types: draft.types.as_slice().to_vec(),
            agent_ids: draft.agent_ids.clone(),
            headers: draft.headers.clone(),
            ordering: draft.ordering.as_str(),
            enabled: draft.enabled,
            disabled_reason: hook.disabled_reason.clone(),
            failing_since: hook.failing_since.map(rfc3339),
            old_secret_until: hook.old_secret_until.map(rfc3339),
            version: hook.version,
            created_at: rfc3339(hook.created_at),
            updated_at: rfc3339(hook.updated_at),
        }
    }
}

/// A webhook with its secret, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NewWebhook {
    #[serde(flatten)]
    pub(crate) webhook: Webhook,
    /// `whsec_…`: the key of the signatures.
    pub(crate) secret: String,
}

/// An event on its way to a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) event_id: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) call_id: Option<String>,
    /// `pending`, `delivered` or `dead`.
    pub(crate) state: String,
    pub(crate) attempts: i64,
    /// When it is tried next.
    pub(crate) next_at: Option<String>,
    pub(crate) delivered_at: Option<String>,
    pub(crate) created_at: String,
    /// The last attempt.
    pub(crate) last: Option<AttemptView>,
}

/// What an attempt came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AttemptView {
    pub(crate) at: String,
    pub(crate) http_status: Option<i64>,
    pub(crate) duration_ms: i64,
    /// `timeout`, `connect_failed`, `tls_failed`, `url_forbidden`, `redirect`, `http_status`, `broken`, `event_gone`.
    pub(crate) error: Option<String>,
    /// The first KiB of the answer.
    pub(crate) response_head: Option<String>,
}

impl From<DeliveryRow> for Delivery {
    fn from(row: DeliveryRow) -> Self {
        let state = if row.state == "sending" { "pending".into() } else { row.state };
        Self {
            id: row.id,
            event_id: row.event_id,
            kind: row.kind,
            call_id: row.call_id,
            state,
            attempts: row.attempts,
            next_at: row.next_at.map(rfc3339),
            delivered_at: row.delivered_at.map(rfc3339),
            created_at: rfc3339(row.created_at),
            last: row.last.map(|last| AttemptView {
                at: rfc3339(last.at),
                http_status: last.http_status,
                duration_ms: last.duration_ms,
                error: last.error,
                response_head: last.response_head,
            }),
        }
    }
}
