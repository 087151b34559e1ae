//! Two parts of an agent that are edited by themselves: what the model is told, and the flow.

use axum::{
    body::Bytes,
    extract::State as Extract,
    http::{HeaderMap, StatusCode, header},
};
use domain::AgentId;
use serde_json::{Map, Value, json};

use crate::{
    agents::{edit, rows::Stored},
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        etag::{IfMatch, Tagged},
        ids::Id,
        query::{NoParameters, Query},
    },
};

/// What the model is told.
#[utoipa::path(get, path = "/api/v1/agents/{id}/prompt", tag = "agents", operation_id = "getPrompt",
    params(("id" = String, Path, description = "The agent")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object, headers(("ETag" = String))), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn prompt(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:read")?;
    let agent = edit::find(&state, &actor, id).await?;
    Ok(Tagged(agent.version, agent.config["prompt"].clone()))
}

/// Replace what the model is told: `{system, variables?}`.
#[utoipa::path(put, path = "/api/v1/agents/{id}/prompt", tag = "agents", operation_id = "replacePrompt",
    params(("id" = String, Path, description = "The agent")),
    request_body(content = Object, example = json!({"system": "You answer for {{company}}.", "variables": {"company": {"default": "Acme"}}})),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object, headers(("ETag" = String))), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn put_prompt(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
    body::Json(body): body::Json<Map<String, Value>>,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:write")?;
    let agent = put(&state, &actor, id, &if_match, "prompt", edit::value(body)).await?;
    Ok(Tagged(agent.version, agent.config["prompt"].clone()))
}

/// The flow, or null.
#[utoipa::path(get, path = "/api/v1/agents/{id}/flow", tag = "agents", operation_id = "getFlow",
    params(("id" = String, Path, description = "The agent")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Value, headers(("ETag" = String))), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn flow(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:read")?;
    let agent = edit::find(&state, &actor, id).await?;
    Ok(Tagged(agent.version, agent.config["flow"].clone()))
}

/// Replace the flow, as JSON or as TOML (`Content-Type: application/toml`). It is compiled before it is stored.
#[utoipa::path(put, path = "/api/v1/agents/{id}/flow", tag = "agents", operation_id = "replaceFlow",
    params(("id" = String, Path, description = "The agent")),
    request_body(content((Object = "application/json"), (String = "application/toml"))),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Value, headers(("ETag" = String))),
        (status = 400, body = ErrorEnvelope, description = "`flow_invalid` with the state and the reason"),
        (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn put_flow(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:write")?;
    let flow = graph(&headers, &bytes)?;
    let agent = put(&state, &actor, id, &if_match, "flow", flow).await?;
    Ok(Tagged(agent.version, agent.config["flow"].clone()))
}

async fn put(
    state: &State,
    actor: &Actor,
    id: AgentId,
    if_match: &IfMatch,
    part: &str,
    new: Value,
) -> Result<Stored, ApiError> {
    let make = |stored: &Stored| {
        // A part is replaced, not merged: the old one is taken away first.
        let mut without = stored.clone();
        without.config[part] = Value::Null;
        edit::with(state, actor, &without, json!({ part: new }), Some(&format!("{part} replaced")))
    };
    edit::edit(state, actor, id, (if_match, actor.require_if_match), make).await.map(|(agent, _)| agent)
}

fn graph(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let wrong = |code, message: String| ApiError::new(StatusCode::BAD_REQUEST, code, message);
    match kind.split(';').next().unwrap_or_default().trim() {
        "application/json" => body::read(&mut serde_json::Deserializer::from_slice(bytes)),
        "application/toml" => {
            let text = std::str::from_utf8(bytes).map_err(|error| wrong("malformed_toml", error.to_string()))?;
            toml::from_str(text).map_err(|error| wrong("malformed_toml", error.to_string()))
        }
        _ => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "the body must be application/json or application/toml",
        )),
    }
}
