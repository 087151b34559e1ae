//! The installation for its operator: its nodes, how this one is doing, and how it is emptied.

use axum::{Json, extract::State as Extract, http::StatusCode};
use domain::event::Name;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        list::List,
        query::{NoParameters, Query},
    },
    nodes,
    time::{now_ms, rfc3339},
};

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeView {
    id: String,
    boot_id: String,
    address: String,
    /// `up`, `draining` or `gone`.
    state: String,
    calls: i64,
    max_calls: i64,
    version: String,
    started_at: String,
    /// Its last sign of life; it gives one every five seconds.
    seen_at: String,
}

/// All nodes.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "operations", operation_id = "listNodes",
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<NodeView>), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<List<NodeView>>, ApiError> {
    actor.needs("platform:admin")?;
    let rows = state.app.store.nodes().await?;
    let data = rows
        .into_iter()
        .map(|row| NodeView {
            id: row.id,
            boot_id: row.boot_id,
            address: row.address,
            state: row.state,
            calls: row.calls,
            max_calls: row.max_calls,
            version: row.version,
            started_at: rfc3339(row.started_at),
            seen_at: rfc3339(row.seen_at),
        })
        .collect();
    Ok(Json(List { data, next_cursor: None }))
}

/// How this node is doing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    version: &'static str,
    node_id: String,
    boot_id: String,
    uptime_s: i64,
    /// `up` or `draining`.
    state: &'static str,
    calls: u32,
    max_calls: u32,
    /// New calls in a second, over the last ten.
    cps: f64,
    /// RTP port pairs.
    ports_free: u32,
    jobs: Jobs,
    /// Age of the oldest event that is not yet published.
    outbox_lag_ms: i64,
    webhooks_pending: i64,
    trunks: Trunks,
}

/// The enabled trunks of the installation, by how their gateways are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Trunks {
    /// At least one gateway answers.
    up: i64,
    /// None does.
    down: i64,
    /// Nobody has asked them.
    unknown: i64,
}

/// Jobs of the installation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Jobs {
    queued: i64,
    dead: i64,
}

/// How this node is doing, and what waits in the store.
#[utoipa::path(get, path = "/status", tag = "operations", operation_id = "status", security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Status), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn status(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Status>, ApiError> {
    actor.needs("platform:admin")?;
    let (node, health, now) = (&state.app.node, state.app.switchboard.health(), now_ms());
    let waiting = state.app.store.waiting(now).await?;
    Ok(Json(Status {
        version: node.version,
        node_id: node.id.clone(),
        boot_id: node.boot.to_string(),
        uptime_s: (now - node.started_at_ms).max(0) / 1000,
        state: if health.draining { "draining" } else { "up" },
        calls: health.calls,
        max_calls: health.max_calls,
        cps: f64::from(health.begun_10s) / 10.0,
        ports_free: health.rtp_ports_free,
        jobs: Jobs { queued: waiting.jobs_queued, dead: waiting.jobs_dead },
        outbox_lag_ms: waiting.outbox_lag_ms,
        webhooks_pending: waiting.webhooks_pending,
        trunks: Trunks {
            up: waiting.trunks_up,
            down: waiting.trunks_down,
            unknown: waiting.trunks - waiting.trunks_up - waiting.trunks_down,
        },
    }))
}

/// How this node is emptied.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"timeout_ms": 600000}))]
pub(crate) struct DrainBody {
    /// Calls that last longer are ended, 0 to 86400000; 600000 when absent.
    timeout_ms: Option<u64>,
    /// True takes new calls again.
    #[serde(default)]
    cancel: bool,
}

/// What the node does now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Drained {
    /// `up` or `draining`.
    state: &'static str,
    /// Calls that still run.
    calls: u32,
}

/// Empties this node: OPTIONS and new calls are answered 503, running calls finish; `cancel` undoes it.
#[utoipa::path(post, path = "/drain", tag = "operations", operation_id = "drain", request_body = DrainBody,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = Drained), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn drain(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<DrainBody>,
) -> Result<(StatusCode, Json<Drained>), ApiError> {
    actor.needs("platform:admin")?;
    let timeout_ms = body.timeout_ms.unwrap_or(600_000);
    if timeout_ms > 86_400_000 {
        return Err(ApiError::invalid("timeout_ms", "timeout_ms is 0 to 86400000"));
    }
    let switchboard = &state.app.switchboard;
    let was = switchboard.health().draining;
    // The node first: emptying it must not depend on a database.
    switchboard.drain((!body.cancel).then(|| std::time::Duration::from_millis(timeout_ms)));
    let health = switchboard.health();
    let node = &state.app.node.id;
    let noted = async {
        let mut tx = state.app.store.begin().await?;
        let what = json!({"timeout_ms": timeout_ms, "cancel": body.cancel});
        audit::note(&mut tx, &actor, "node.drain", "node", node, Some(&what)).await?;
        if health.draining && !was {
            nodes::tell(&mut tx, Name::NodeDraining, node, health.calls.into()).await?;
        }
        tx.commit().await
    };
    if let Err(error) = noted.await {
        tracing::warn!(%error, "draining is not noted in the store");
    }
    state.app.store.ring();
    let state = if health.draining { "draining" } else { "up" };
    Ok((StatusCode::ACCEPTED, Json(Drained { state, calls: health.calls })))
}
