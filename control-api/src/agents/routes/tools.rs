//! An agent's tools, one by one. Each change is a new version of the agent.

use axum::{
    extract::{Path, State as Extract},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::AgentId;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::id;
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

/// The tools of an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ToolList {
    #[schema(value_type = Vec<Object>)]
    data: Value,
    next_cursor: Option<String>,
}

fn tools(agent: &Stored) -> Vec<Value> {
    agent.config["tools"].as_array().cloned().unwrap_or_default()
}

fn position(agent: &Stored, tool: &str) -> Result<usize, ApiError> {
    tools(agent).iter().position(|one| one["id"] == tool).ok_or_else(ApiError::not_found)
}

/// The tools of an agent.
#[utoipa::path(get, path = "/api/v1/agents/{id}/tools", tag = "agents", operation_id = "listTools",
    params(("id" = String, Path, description = "The agent")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = ToolList), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Tagged<ToolList>, ApiError> {
    actor.needs("agents:read")?;
    let agent = edit::find(&state, &actor, id).await?;
    Ok(Tagged(agent.version, ToolList { data: tools(&agent).into(), next_cursor: None }))
}

/// Add a tool.
#[utoipa::path(post, path = "/api/v1/agents/{id}/tools", tag = "agents", operation_id = "createTool",
    params(("id" = String, Path, description = "The agent")),
    request_body(content = Object, example = json!({"name": "order_status", "kind": "http", "description": "Status of an order",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
        "config": {"method": "GET", "url": "https://api.example.com/orders/{{order}}"}})),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Object, headers(("Location" = String), ("ETag" = String))), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope),
        (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
    body::Json(body): body::Json<Map<String, Value>>,
) -> Result<Response, ApiError> {
    actor.needs("agents:write")?;
    let new = edit::value(body);
    if !new["id"].is_null() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "read_only_field", "id is set by the server").at("id"));
    }
    let make = |stored: &Stored| {
        let mut all = tools(stored);
        free(&all, &new, None)?;
        all.push(new.clone());
        one(&state, &actor, stored, all.len() - 1, all)
    };
    let (agent, _) = edit::edit(&state, &actor, id, (&if_match, false), make).await?;
    let made = tools(&agent).pop().unwrap_or_default();
    let path = format!("/api/v1/agents/{id}/tools/{}", made["id"].as_str().unwrap_or_default());
    let location = HeaderValue::from_str(&path).map_err(|_| ApiError::not_found())?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(agent.version, made)).into_response())
}

/// A name is taken once.
fn free(all: &[Value], new: &Value, but: Option<usize>) -> Result<(), ApiError> {
    let taken = all.iter().enumerate().any(|(n, tool)| Some(n) != but && tool["name"] == new["name"]);
    if taken && new["name"].is_string() {
        let message = format!("there is a tool named {} already", new["name"]);
        return Err(ApiError::new(StatusCode::CONFLICT, "name_taken", message).at("name"));
    }
    Ok(())
}

/// Stores all tools; faults of the one that changes are told by its own paths.
fn one(
    state: &State,
    actor: &Actor,
    stored: &Stored,
    n: usize,
    all: Vec<Value>,
) -> Result<crate::agents::document::Good, ApiError> {
    edit::with(state, actor, stored, json!({"tools": all}), Some("tools changed")).map_err(|mut error| {
        let lead = format!("tools[{n}].");
        let bare = |field: &str| field.strip_prefix(&lead).unwrap_or(field).to_owned();
        error.field = error.field.as_deref().map(bare);
        for detail in &mut error.details {
            detail.field = bare(&detail.field);
        }
        error
    })
}

/// One tool.
#[utoipa::path(get, path = "/api/v1/agents/{id}/tools/{tool_id}", tag = "agents", operation_id = "getTool",
    params(("id" = String, Path, description = "The agent"), ("tool_id" = String, Path, description = "The tool")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object, headers(("ETag" = String))), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Path((agent, tool)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:read")?;
    let agent = edit::find(&state, &actor, id(&agent)?).await?;
    let n = position(&agent, &tool)?;
    Ok(Tagged(agent.version, tools(&agent).swap_remove(n)))
}

/// Replace a tool.
#[utoipa::path(put, path = "/api/v1/agents/{id}/tools/{tool_id}", tag = "agents", operation_id = "replaceTool",
    params(("id" = String, Path, description = "The agent"), ("tool_id" = String, Path, description = "The tool")),
    request_body = Object, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object, headers(("ETag" = String))), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope),
        (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn replace(
    Extract(state): Extract<State>,
    actor: Actor,
    Path((agent, tool)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
    body::Json(body): body::Json<Map<String, Value>>,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:write")?;
    let make = |stored: &Stored| {
        let n = position(stored, &tool)?;
        let mut all = tools(stored);
        let mut new = edit::value(body.clone());
        if !new["id"].is_null() && new["id"] != tool.as_str() {
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "read_only_field", "id is set by the server").at("id"));
        }
        new["id"] = tool.as_str().into();
        free(&all, &new, Some(n))?;
        all[n] = new;
        one(&state, &actor, stored, n, all)
    };
    let (agent, _) = edit::edit(&state, &actor, id(&agent)?, (&if_match, actor.require_if_match), make).await?;
    let n = position(&agent, &tool)?;
    Ok(Tagged(agent.version, tools(&agent).swap_remove(n)))
}

/// Take a tool away.
#[utoipa::path(delete, path = "/api/v1/agents/{id}/tools/{tool_id}", tag = "agents", operation_id = "deleteTool",
    params(("id" = String, Path, description = "The agent"), ("tool_id" = String, Path, description = "The tool")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Path((agent, tool)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    actor.needs("agents:write")?;
    let make = |stored: &Stored| {
        let mut all = tools(stored);
        all.remove(position(stored, &tool)?);
        edit::with(&state, &actor, stored, json!({"tools": all}), Some("tool deleted"))
    };
    edit::edit(&state, &actor, id(&agent)?, (&if_match, actor.require_if_match), make).await?;
    Ok(StatusCode::NO_CONTENT)
}
