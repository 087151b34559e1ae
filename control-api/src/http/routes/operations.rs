//! The node itself: is it alive, may it take calls, how is it doing.

use axum::{
    Json,
    extract::{FromRequestParts as _, State as Extract},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::{
    State,
    actor::{Actor, Loopback},
    error::{ApiError, ErrorEnvelope},
};

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    /// `ok`.
    status: &'static str,
}

/// Alive; touches nothing.
#[utoipa::path(get, path = "/health", tag = "operations", operation_id = "health", responses((status = 200, body = Alive)))]
pub(crate) async fn health() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// May the node take calls?
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ready {
    ready: bool,
    /// Only for requests from the machine itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Checks>,
}

/// True is good, but for `draining`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checks {
    store: bool,
    sip: bool,
    rtp_ports: bool,
    disk: bool,
    draining: bool,
}

/// Ready for calls.
#[utoipa::path(get, path = "/ready", tag = "operations", operation_id = "ready",
    responses((status = 200, body = Ready), (status = 503, body = Ready)))]
pub(crate) async fn ready(Extract(state): Extract<State>, loopback: Loopback) -> Response {
    let health = state.app.switchboard.health();
    let checks = Checks {
        store: state.app.store.answers().await,
        sip: health.sip,
        rtp_ports: health.rtp_ports_free > 0,
        disk: health.disk,
        draining: health.draining,
    };
    let ready = checks.store && checks.sip && checks.rtp_ports && checks.disk && !checks.draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready, checks: loopback.0.then_some(checks) })).into_response()
}

/// Metrics in Prometheus text, for the machine itself or with `platform:admin`.
#[utoipa::path(get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, content_type = "text/plain", body = String), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn metrics(
    Extract(state): Extract<State>,
    Loopback(loopback): Loopback,
    mut parts: Parts,
) -> Result<Response, ApiError> {
    if !loopback {
        Actor::from_request_parts(&mut parts, &state).await?.needs("platform:admin")?;
    }
    let mut text = state.app.switchboard.metrics();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&journal(&state));
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn journal(state: &State) -> String {
    let counts = state.app.journal.counts();
    let rows = [
        ("sidetone_journal_backlog", "gauge", "Entries not yet stored", counts.backlog as u64),
        ("sidetone_journal_stored_total", "counter", "Entries stored", counts.stored),
        ("sidetone_journal_dropped_total", "counter", "Entries dropped beyond the bound", counts.dropped),
        ("sidetone_journal_refused_total", "counter", "Entries refused by the database", counts.refused),
        ("sidetone_journal_strays_total", "counter", "Entries of unknown calls", counts.strays),
        ("sidetone_journal_retries_total", "counter", "Batches tried again", counts.retries),
        ("sidetone_bad_transition_total", "counter", "Steps the state machine does not have", counts.bad_transitions),
    ];
    rows.iter().fold(String::new(), |out, (name, kind, help, value)| {
        out + &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
    })
}
