//! The analysis of a call: reading it, and asking for another.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::CallId;
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::calls::find;
use crate::{
    after::{self, Wishes, analysis::Analysis},
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::{self, NoParameters, Query},
    },
};

/// Which analysis.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SummaryQuery {
    /// 1, 2, 3 …; the newest when absent.
    revision: Option<String>,
}

/// What was found out about a call.
#[utoipa::path(get, path = "/api/v1/calls/{id}/summary", tag = "calls", operation_id = "getCallSummary",
    params(("id" = String, Path, description = "The call"), SummaryQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Analysis), (status = 202, description = "`{\"state\":\"queued\"}`: not found out yet"),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope, description = "no such call or revision, or its agent wants no analysis")))]
pub(crate) async fn summary(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(query): Query<SummaryQuery>,
) -> Result<Response, ApiError> {
    actor.needs("calls:read")?;
    let revision = query::number("revision", query.revision.as_deref(), 1, 1_000_000, 0)?;
    find(&state, &actor, id).await?;
    let waits =
        |word: &str| (StatusCode::ACCEPTED, [(header::RETRY_AFTER, "1")], Json(json!({"state": word}))).into_response();
    match state.app.store.analysis(id, (revision > 0).then_some(revision)).await? {
        Some(analysis) if analysis.state == "queued" || analysis.state == "running" => Ok(waits(&analysis.state)),
        Some(analysis) => Ok(Json(analysis).into_response()),
        None if revision > 0 => Err(ApiError::not_found()),
        // Between the end of a call and its first row lie milliseconds, or the rest of the call.
        None => match state.app.store.talk(id).await? {
            Some(talk) if talk.agent.analysis.enabled && (!talk.ended || talk.duration_ms > 0) => Ok(waits("queued")),
            _ => Err(ApiError::not_found()),
        },
    }
}

/// Finds out again about an ended call, with another schema, criterion or model if wished. While one waits or runs it is that one.
#[utoipa::path(post, path = "/api/v1/calls/{id}/analyze", tag = "calls", operation_id = "analyzeCall", request_body = Wishes,
    params(("id" = String, Path, description = "The call")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, description = "`{\"revision\":2}`"), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`call_active`: the call is not over")))]
pub(crate) async fn analyze(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(wishes): body::Json<Wishes>,
) -> Result<Response, ApiError> {
    actor.needs("calls:write")?;
    let call = find(&state, &actor, id).await?;
    if call.ended_at.is_none() {
        return Err(ApiError::conflict("call_active", "a call is analysed when it is over"));
    }
    check(&wishes)?;
    if let Some(credential) = wishes.llm.as_ref().and_then(|llm| llm["credential_id"].as_str()) {
        // As for an agent that names one.
        actor.needs("agents:write")?;
        if state.app.store.credential(actor.tenant, credential).await?.is_none() {
            return Err(ApiError::invalid("llm.credential_id", "there is no such credential"));
        }
    }
    let revision = after::ask(&state.app.store, actor.tenant, id, &wishes).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"revision": revision}))).into_response())
}

/// The wishes obey what binds an agent's own: they are read as part of one.
fn check(wishes: &Wishes) -> Result<(), ApiError> {
    let mut analysis = serde_json::Map::new();
    analysis.extend(wishes.schema.clone().map(|schema| ("schema".to_owned(), schema)));
    analysis.extend(wishes.criterion.clone().map(|criterion| ("success_criterion".to_owned(), criterion.into())));
    analysis.extend(wishes.llm.clone().map(|llm| ("llm".to_owned(), llm)));
    match domain::AgentSpec::read(&json!({"name": "x", "analysis": analysis})) {
        Ok(_) => Ok(()),
        Err(faults) => {
            let fault = faults.first().map(|fault| (fault.field.clone(), fault.message.clone()));
            let (field, message) = fault.unwrap_or_default();
            let field = field.trim_start_matches("analysis.").replace("success_criterion", "criterion");
            Err(ApiError::invalid(field, message))
        }
    }
}
