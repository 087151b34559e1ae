//! Trying a tool by hand: the request it would make, or makes.

use axum::{
    Json,
    extract::{Path, State as Extract},
    http::StatusCode,
};
use domain::{
    AgentId, CallId,
    agent::tools::{Tool, ToolKind},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::id;
use crate::{
    agents::{
        edit,
        http_tool::{ToolCall, ToolFault},
    },
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
};

/// How a tool is tried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"arguments": {"order": "123456"}}))]
pub(crate) struct Invocation {
    /// By the tool's schema.
    #[serde(default)]
    #[schema(value_type = Object)]
    arguments: Map<String, Value>,
    /// The call whose variables are filled in.
    #[schema(value_type = Option<String>)]
    call_id: Option<CallId>,
    /// Shows the request and sends nothing.
    #[serde(default)]
    dry_run: bool,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Invoked {
    ok: bool,
    /// The HTTP status; none when nothing was sent.
    status: Option<u16>,
    /// The answer; with `dry_run` the request, its secret covered.
    #[schema(value_type = Object)]
    result: Value,
    duration_ms: u64,
}

/// Try a tool that asks a server of yours.
#[utoipa::path(post, path = "/api/v1/agents/{id}/tools/{tool_id}/invoke", tag = "agents", operation_id = "invokeTool",
    params(("id" = String, Path, description = "The agent"), ("tool_id" = String, Path, description = "The tool")),
    request_body = Invocation, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Invoked), (status = 400, body = ErrorEnvelope, description = "The arguments do not fit, or the URL is not allowed"),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`needs_call`: the tool works inside of calls only"),
        (status = 502, body = ErrorEnvelope), (status = 504, body = ErrorEnvelope)))]
pub(crate) async fn invoke(
    Extract(state): Extract<State>,
    actor: Actor,
    Path((agent, tool)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(asked): body::Json<Invocation>,
) -> Result<Json<Invoked>, ApiError> {
    actor.needs("calls:control")?;
    let agent = edit::find(&state, &actor, id::<AgentId>(&agent)?).await?.spec()?;
    let found = agent.tools.iter().find(|one| one.id.as_deref() == Some(tool.as_str()));
    let tool: &Tool = found.ok_or_else(ApiError::not_found)?;
    let mut variables = domain::agent::variables::defaults(&agent.prompt.variables);
    if let Some(call) = asked.call_id {
        let call = state.app.store.call(actor.tenant, actor.livemode, call).await?;
        let call = call.ok_or_else(|| ApiError::not_found().at("call_id"))?;
        variables.extend(call.variables);
    }
    if tool.kind != ToolKind::Http {
        let message = format!("a tool of kind {} works only when its agent uses it in a call", tool.kind);
        return Err(ApiError::conflict("needs_call", message));
    }
    let secret = match tool.config.get("credential_id").and_then(Value::as_str) {
        Some(_) => {
            let mut opened = state.app.store.open_credentials(&state.app.seal, actor.tenant, &agent).await?;
            let wanted = tool.config["credential_id"].as_str().unwrap_or_default();
            let found = opened.remove(wanted).map(|opened| opened.secret);
            Some(found.ok_or_else(|| ApiError::conflict("credential_gone", "the tool's credential is gone"))?)
        }
        None => None,
    };
    let invocation = uuid::Uuid::now_v7().to_string();
    let call = ToolCall {
        tool,
        arguments: &asked.arguments,
        variables: &variables,
        call: asked.call_id,
        invocation: &invocation,
        secret: secret.as_deref(),
    };
    if asked.dry_run {
        let result = state.app.tools.rehearse(&call).map_err(refused)?;
        return Ok(Json(Invoked { ok: true, status: None, result, duration_ms: 0 }));
    }
    let reply = state.app.tools.run(&call).await.map_err(refused)?;
    Ok(Json(Invoked { ok: true, status: Some(reply.status), result: reply.body, duration_ms: reply.duration_ms }))
}

fn refused(fault: ToolFault) -> ApiError {
    let message = fault.to_string();
    match fault {
        ToolFault::Arguments(_) => ApiError::invalid("arguments", message),
        ToolFault::Url(_) => ApiError::new(StatusCode::BAD_REQUEST, "url_forbidden", message),
        ToolFault::Timeout => ApiError::new(StatusCode::GATEWAY_TIMEOUT, "vendor_timeout", message),
        _ => ApiError::new(StatusCode::BAD_GATEWAY, "vendor_failed", message),
    }
}
