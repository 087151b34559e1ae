//! What the node does by itself every few seconds, now: for whoever watches it from outside.

use std::collections::HashSet;

use axum::{Json, extract::State as Extract};
use domain::CallId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        State,
        actor::{Actor, Loopback},
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
    nodes,
    time::now_ms,
};

/// What was put right.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Swept {
    /// Leases past their expiry, settled by evidence.
    leases_settled: u32,
    /// Calls of lost nodes, ended by evidence.
    calls_closed: usize,
    /// Jobs whose worker went away, free for others.
    jobs_freed: u64,
}

/// Runs the sweeper now.
#[utoipa::path(post, path = "/internal/v1/watchdog", tag = "internal", operation_id = "sweep", security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Swept), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn sweep(
    Extract(state): Extract<State>,
    Loopback(loopback): Loopback,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Swept>, ApiError> {
    // From elsewhere this route does not exist.
    if !loopback {
        return Err(ApiError::not_found());
    }
    actor.needs("internal:events")?;
    let (store, node, now) = (&state.app.store, &state.app.node, now_ms());
    // What this node itself has up, it renews by itself.
    let live: HashSet<CallId> = state.app.switchboard.live().into_iter().map(|call| call.id).collect();
    let calls_closed = nodes::close_lost(store).await?;
    let leases_settled = store.sweep(&node.id, node.boot, &|call| live.contains(&call), now).await?;
    let jobs_freed = crate::jobs::free(store, now).await?;
    Ok(Json(Swept { leases_settled, calls_closed, jobs_freed }))
}
