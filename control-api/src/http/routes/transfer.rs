//! Hand a call over, and take it back.

use axum::{Json, extract::State as Extract, http::StatusCode};
use domain::CallId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    calls::{find, visible},
    live::{ask, text},
};
use crate::{
    Ask, Brief, OnFail, TransferMode, TransferOrder, TransferTerms, TransferTo,
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::{NoParameters, Query},
    },
    routing::is_address,
    view::Call,
};

/// To whom, and how. Either `destination` alone, or `to` with the rest.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"to": "+12125550100", "mode": "warm", "brief": "summary"}))]
pub(crate) struct TransferBody {
    /// The name of one of the agent's `transfers`.
    destination: Option<String>,
    /// A `sip:` URI or a number in international form, under the same policy as a dialled one.
    to: Option<String>,
    /// `bridge` when absent.
    mode: Option<Mode>,
    /// Spoken to the person first: at most 1000 characters, or `summary`.
    brief: Option<String>,
    /// As `brief`, in every mode that calls the person ourselves: at most 1000 characters.
    whisper: Option<String>,
    /// Whose number they see; `ours` when absent.
    caller_id: Option<CallerId>,
    /// 5000 to 120000; 30000 when absent.
    ring_timeout_ms: Option<u64>,
    /// When nobody answers; `resume` when absent.
    on_fail: Option<Otherwise>,
}

/// How.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// The other side is asked to call there by itself.
    Refer,
    /// We call there and join the two.
    Bridge,
    /// As `bridge`, after the person has been told what it is about.
    Warm,
    /// We call there, then the other side is asked to take that call over.
    Attended,
}

/// Whose number is shown.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallerId {
    Ours,
    Caller,
}

/// What becomes of the caller.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Otherwise {
    Resume,
    HangUp,
    Voicemail,
}

/// What was begun.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TransferBegun {
    /// The events `call.transfer.*` carry it.
    transfer_id: String,
}

fn read(body: TransferBody) -> Result<TransferTo, ApiError> {
    let TransferBody { destination, to, mode, brief, whisper, caller_id, ring_timeout_ms, on_fail } = body;
    let alone = mode.is_none()
        && brief.is_none()
        && whisper.is_none()
        && caller_id.is_none()
        && ring_timeout_ms.is_none()
        && on_fail.is_none();
    let to = match (destination, to) {
        (Some(name), None) if alone => {
            text("destination", &name, 40)?;
            return Ok(TransferTo::Named(name));
        }
        (None, Some(to)) => to,
        _ => {
            return Err(ApiError::invalid("destination", "destination alone is needed, or to with what belongs to it"));
        }
    };
    if !is_address(&to) {
        let message = "to is a sip: URI or a number in international form, at most 255 characters";
        return Err(ApiError::invalid("to", message));
    }
    let ring_timeout_ms = ring_timeout_ms.unwrap_or(30_000);
    if !(5_000..=120_000).contains(&ring_timeout_ms) {
        return Err(ApiError::invalid("ring_timeout_ms", "ring_timeout_ms is from 5000 to 120000"));
    }
    for (field, words) in [("brief", &brief), ("whisper", &whisper)] {
        if let Some(words) = words {
            text(field, words, 1000)?;
        }
    }
    if brief.is_some() && whisper.is_some() {
        return Err(ApiError::invalid("whisper", "either brief or whisper: both are said to the person first"));
    }
    let mode = match mode.unwrap_or(Mode::Bridge) {
        Mode::Refer => TransferMode::Refer,
        Mode::Bridge => TransferMode::Bridge,
        Mode::Warm => TransferMode::Warm,
        Mode::Attended => TransferMode::Attended,
    };
    let brief = match brief {
        Some(word) if word == "summary" => Some(Brief::Summary),
        Some(words) => Some(Brief::Text(words)),
        None => whisper.map(Brief::Text).or((mode == TransferMode::Warm).then_some(Brief::Summary)),
    };
    if mode == TransferMode::Refer && brief.is_some() {
        return Err(ApiError::invalid("brief", "with mode=refer we do not speak to the person"));
    }
    let on_fail = match on_fail.unwrap_or(Otherwise::Resume) {
        Otherwise::Resume => OnFail::Resume,
        Otherwise::HangUp => OnFail::HangUp,
        Otherwise::Voicemail => OnFail::Voicemail,
    };
    let shows_caller = caller_id == Some(CallerId::Caller);
    Ok(TransferTo::Told(TransferTerms { to: to.into(), mode, brief, shows_caller, ring_timeout_ms, on_fail }))
}

/// Hand a call over to somebody else. The agent is away until it fails or is taken back.
#[utoipa::path(post, path = "/api/v1/calls/{id}/transfer", tag = "calls", operation_id = "transferCall",
    params(("id" = String, Path, description = "The call")), request_body = TransferBody,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = TransferBegun), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 402, body = ErrorEnvelope, description = "`insufficient_credit` or `spend_cap_reached`"),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope),
        (status = 503, body = ErrorEnvelope)))]
pub(crate) async fn transfer(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<TransferBody>,
) -> Result<(StatusCode, Json<TransferBegun>), ApiError> {
    actor.needs("calls:control")?;
    let to = read(body)?;
    let transfer_id = Uuid::now_v7().to_string();
    let order = TransferOrder { id: transfer_id.clone(), to };
    ask(&state, &actor, id, Ask::Transfer(Box::new(order))).await?;
    Ok((StatusCode::ACCEPTED, Json(TransferBegun { transfer_id })))
}

/// Take the caller back from a transfer.
#[utoipa::path(delete, path = "/api/v1/calls/{id}/transfer", tag = "calls", operation_id = "takeBackCall",
    params(("id" = String, Path, description = "The call")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Call), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn take_back(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Call>, ApiError> {
    actor.needs("calls:control")?;
    ask(&state, &actor, id, Ask::TakeBack).await?;
    Ok(Json(visible(&actor, find(&state, &actor, id).await?)))
}
