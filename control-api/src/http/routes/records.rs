//! What a call leaves behind besides words: its events and its latency.

use axum::{Json, extract::State as Extract};
use domain::CallId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::calls::find;
use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::{self, NoParameters, Query},
    },
    outbox::Patterns,
    view::{self, CallLatency, EventList},
};

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventsQuery {
    /// Comma-separated: exact types, `prefix.*`, `!type` to leave out; all when absent.
    types: Option<String>,
    /// Only events after this number.
    after_seq: Option<String>,
    /// 1 to 200; 50 when absent.
    limit: Option<String>,
}

/// The events of a call, oldest first.
#[utoipa::path(get, path = "/api/v1/calls/{id}/events", tag = "calls", operation_id = "listCallEvents",
    params(("id" = String, Path, description = "The call"), EventsQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = EventList), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn events(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(query): Query<EventsQuery>,
) -> Result<Json<EventList>, ApiError> {
    actor.needs("calls:read")?;
    let after = query::number("after_seq", query.after_seq.as_deref(), 0, i64::MAX, 0)?;
    let limit = query::number("limit", query.limit.as_deref(), 1, 200, 50)?;
    find(&state, &actor, id).await?;
    let patterns = Patterns::listed(query.types.as_deref().unwrap_or_default());
    let mut data = Vec::new();
    let mut seq = after;
    // Filtering here keeps the SQL one statement; a page is filled from as many reads as it takes.
    loop {
        let read = state.app.store.events(id, seq, 200).await?;
        let end = read.len() < 200;
        for event in read {
            seq = event.seq.unwrap_or(seq);
            if patterns.want(&event.kind) {
                data.push(event);
                if data.len() as i64 > limit {
                    data.pop();
                    let next = data.last().and_then(|event| event.seq);
                    return Ok(Json(EventList { data, next_after_seq: next, next_cursor: None }));
                }
            }
        }
        if end {
            return Ok(Json(EventList { data, next_after_seq: None, next_cursor: None }));
        }
    }
}

/// The latency of every answer and its summary.
#[utoipa::path(get, path = "/api/v1/calls/{id}/latency", tag = "calls", operation_id = "getCallLatency",
    params(("id" = String, Path, description = "The call")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = CallLatency), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn latency(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<CallLatency>, ApiError> {
    actor.needs("calls:read")?;
    find(&state, &actor, id).await?;
    Ok(Json(view::summary(&state.app.store.turns(id).await?)))
}
