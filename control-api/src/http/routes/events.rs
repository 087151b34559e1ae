//! All events of a tenant in the order of their publication: the same that `/ws` shows, by long poll.

use std::time::Duration;

use axum::{Json, extract::State as Extract, http::StatusCode};
use domain::CallId;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::{
    calls::find,
    ws::{is_shown, visible},
};
use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        query::{self, Query},
    },
    outbox::Patterns,
    view::Event,
};

/// Rows looked at for one page before the client gets its cursor, however few of them it wants.
const LOOK: usize = 10_000;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FeedQuery {
    /// The `cursor` of the answer before; from the oldest kept event when absent.
    after: Option<String>,
    /// Comma-separated: exact types, `prefix.*`, `!type` to leave out; all when absent.
    types: Option<String>,
    /// Events of this call only.
    call_id: Option<String>,
    /// How long to wait for an event if there is none, 0 to 25000 ms.
    wait_ms: Option<String>,
    /// 1 to 200; 50 when absent.
    limit: Option<String>,
}

/// Events, oldest first, and where to go on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Feed {
    data: Vec<Event>,
    /// Pass it as `after` for what comes next, also when `data` is empty.
    cursor: String,
    /// Always absent: this list is paged by `after`.
    next_cursor: Option<String>,
}

/// Events after a cursor, each exactly once and in order.
#[utoipa::path(get, path = "/api/v1/events", tag = "events", operation_id = "listEvents", params(FeedQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Feed), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 410, body = ErrorEnvelope, description = "`cursor_expired`: older than what is kept")))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<FeedQuery>,
) -> Result<Json<Feed>, ApiError> {
    actor.needs("events:read")?;
    let patterns = Patterns::listed(query.types.as_deref().unwrap_or_default());
    let wait = query::number("wait_ms", query.wait_ms.as_deref(), 0, 25_000, 0)?;
    let limit = query::number("limit", query.limit.as_deref(), 1, 200, 50)? as usize;
    let call: Option<CallId> = query::word("call_id", query.call_id.as_deref())?;
    if let Some(call) = call {
        find(&state, &actor, call).await?;
    }
    let store = &state.app.store;
    let (tenant, livemode) = (actor.tenant, actor.livemode);
    let purged = store.purged(tenant).await?;
    let mut cursor = match query.after.as_deref() {
        None => purged,
        Some(text) => {
            let after = cursor(text, store.last_published().await?)?;
            if after < purged {
                return Err(expired(purged + 1));
            }
            after
        }
    };
    let deadline = Instant::now() + Duration::from_millis(wait.unsigned_abs());
    let mut head = state.app.hub.watch();
    loop {
        head.mark_unchanged();
        let seen = state.app.hub.head();
        let mut data = Vec::new();
        let mut looked = 0;
        loop {
            let page = store.published(tenant, livemode, call, cursor, 200).await?;
            let (end, full) = (page.len() < 200, page.len());
            for published in page {
                cursor = published.seq;
                if patterns.want(&published.event.kind) && is_shown(&published, &actor) {
                    data.push(visible(&published.event, &actor));
                    if data.len() == limit {
                        return Ok(feed(data, cursor));
                    }
                }
            }
            looked += full;
            if end {
                // What was looked at reaches at least to what this node had seen before it looked.
                cursor = cursor.max(seen);
                break;
            }
            if looked >= LOOK {
                return Ok(feed(data, cursor));
            }
        }
        if !data.is_empty() || timeout_at(deadline, head.changed()).await.is_err() {
            return Ok(feed(data, cursor));
        }
    }
}

fn feed(data: Vec<Event>, cursor: i64) -> Json<Feed> {
    Json(Feed { data, cursor: cursor.to_string(), next_cursor: None })
}

/// A cursor that this installation has given.
pub(super) fn cursor(text: &str, last: i64) -> Result<i64, ApiError> {
    text.parse().ok().filter(|seq| (0..=last).contains(seq)).ok_or_else(|| {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_cursor", "not a cursor of this installation").at("after")
    })
}

fn expired(oldest: i64) -> ApiError {
    let message = format!("events before the cursor {oldest} are no longer kept");
    ApiError::new(StatusCode::GONE, "cursor_expired", message).at("after")
}
