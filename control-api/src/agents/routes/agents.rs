//! Agents: list, make, read, replace, change, delete, clone, and a check that stores nothing.

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{AgentId, AgentSpec, agent::fault::Warning};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::{
    agents::{
        document,
        edit::{self, refused, value},
        rows::{self, AgentFilter, Change, Stored},
        schema::Agent,
    },
    audit,
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, Detail, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{self, NoParameters, PageQuery, Paged, Query},
    },
};

/// Filters of the list; `label.<key>=<value>` may come as often as there are labels.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code)] // It documents what `filter` reads: labels have no fixed names.
pub(crate) struct ListQuery {
    /// Part of the name, whatever its case.
    q: Option<String>,
    /// `true`: deleted ones instead.
    archived: Option<String>,
}

fn filter(pairs: Vec<(String, String)>) -> Result<AgentFilter, ApiError> {
    let mut filter = AgentFilter::default();
    for (name, value) in pairs {
        match (name.as_str(), value.as_str()) {
            ("q", _) => filter.q = Some(value).filter(|q| !q.is_empty()),
            ("archived", "true" | "false") => filter.archived = value == "true",
            ("archived", _) => return Err(ApiError::invalid("archived", "archived is true or false")),
            (name, _) => match name.strip_prefix("label.") {
                Some(label) => filter.labels.push((label.to_owned(), value)),
                None => {
                    let message = format!("there is no parameter {name:?} here");
                    return Err(ApiError::new(StatusCode::BAD_REQUEST, "unknown_parameter", message).at(name));
                }
            },
        }
    }
    Ok(filter)
}

/// Agents, newest first.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", operation_id = "listAgents", params(ListQuery, PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Agent>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, pairs): Paged<Vec<(String, String)>>,
) -> Result<Json<List<Value>>, ApiError> {
    actor.needs("agents:read")?;
    let filter = filter(pairs)?;
    let listing = Listing::open(&state, &actor, ("agents", &filter), &page).await?;
    let rows = state.app.store.agents(actor.tenant, &filter, &listing.page).await?;
    let key = |agent: &Stored| (agent.created_at, agent.id.to_string());
    Ok(Json(listing.close(rows, key, |agent| document::view(actor.tenant, &agent, &[]))))
}

/// Make an agent. `{"name":"x"}` is one: everything else has a default.
#[utoipa::path(post, path = "/api/v1/agents", tag = "agents", operation_id = "createAgent",
    request_body(content = Agent, example = json!({"name": "Front desk", "greeting": {"text": "Hillside clinic, how can I help?"}})),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Agent, headers(("Location" = String), ("ETag" = String))), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<Map<String, Value>>,
) -> Result<Response, ApiError> {
    actor.needs("agents:write")?;
    let good = document::fresh(value(body), &*state.app.agents).map_err(|faults| refused("", faults))?;
    let made = edit::create(&state, &actor, &good, None).await?;
    created(&actor, &made, &good.warnings)
}

fn created(actor: &Actor, made: &Stored, warnings: &[Warning]) -> Result<Response, ApiError> {
    let location = HeaderValue::from_str(&format!("/api/v1/agents/{}", made.id)).map_err(|_| ApiError::not_found())?;
    let mut response = Tagged(made.version, document::view(actor.tenant, made, warnings)).into_response();
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// What a document would meet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdict {
    /// It could be stored.
    valid: bool,
    /// What is wrong: `{field, code, message}`.
    #[schema(value_type = Vec<Object>)]
    errors: Value,
    /// What is accepted and not as one may expect: `{field, message}`.
    #[schema(value_type = Vec<Object>)]
    warnings: Value,
}

/// Check an agent without storing it.
#[utoipa::path(post, path = "/api/v1/agents/validate", tag = "agents", operation_id = "validateAgent", request_body = Agent,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Verdict), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn validate(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<Map<String, Value>>,
) -> Result<Json<Verdict>, ApiError> {
    actor.needs("agents:write")?;
    let verdict = match document::fresh(value(body), &*state.app.agents) {
        Ok(good) => Verdict { valid: true, errors: json!([]), warnings: json!(good.warnings) },
        Err(faults) => Verdict { valid: false, errors: json!(faults), warnings: json!([]) },
    };
    Ok(Json(verdict))
}

/// Which version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetQuery {
    /// The newest when absent.
    version: Option<String>,
}

/// One agent, every default written out.
#[utoipa::path(get, path = "/api/v1/agents/{id}", tag = "agents", operation_id = "getAgent",
    params(("id" = String, Path, description = "The agent"), GetQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Agent, headers(("ETag" = String))), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(query): Query<GetQuery>,
    if_none_match: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("agents:read")?;
    let version = match &query.version {
        None => None,
        text => Some(query::number("version", text.as_deref(), 1, i64::MAX, 1)?),
    };
    let agent = state.app.store.agent(actor.tenant, id, version).await?.ok_or_else(ApiError::not_found)?;
    let warnings = AgentSpec::read(&agent.config).map(|spec| spec.warnings()).unwrap_or_default();
    Ok(if_none_match.answer(agent.version, document::view(actor.tenant, &agent, &warnings)))
}

/// Replace an agent: what is left out goes back to its default. A new version is made if anything differs.
#[utoipa::path(put, path = "/api/v1/agents/{id}", tag = "agents", operation_id = "replaceAgent",
    params(("id" = String, Path, description = "The agent")), request_body = Agent, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Agent, headers(("ETag" = String))), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn replace(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
    body::Json(body): body::Json<Map<String, Value>>,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:write")?;
    let must = actor.require_if_match;
    let make = |stored: &Stored| {
        document::replacement(value(body.clone()), actor.tenant, stored, &*state.app.agents)
            .map_err(|faults| refused("", faults))
    };
    let (agent, warnings) = edit::edit(&state, &actor, id, (&if_match, must), make).await?;
    Ok(Tagged(agent.version, document::view(actor.tenant, &agent, &warnings)))
}

/// Change an agent (JSON Merge Patch): null takes a field back to its default.
#[utoipa::path(patch, path = "/api/v1/agents/{id}", tag = "agents", operation_id = "changeAgent",
    params(("id" = String, Path, description = "The agent")), request_body = Object, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Agent, headers(("ETag" = String))), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn patch(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
    body::Json(body): body::Json<Map<String, Value>>,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:write")?;
    let must = actor.require_if_match;
    let make = |stored: &Stored| edit::with(&state, &actor, stored, value(body.clone()), None);
    let (agent, warnings) = edit::edit(&state, &actor, id, (&if_match, must), make).await?;
    Ok(Tagged(agent.version, document::view(actor.tenant, &agent, &warnings)))
}

/// What to do with numbers that an agent answers.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// `true`: numbers lose the agent, and rules that name it are switched off.
    detach: Option<String>,
}

/// Delete an agent. Calls keep their history and end as they would.
#[utoipa::path(delete, path = "/api/v1/agents/{id}", tag = "agents", operation_id = "deleteAgent",
    params(("id" = String, Path, description = "The agent"), DeleteQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`in_use`: `details` lists who uses it"), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(query): Query<DeleteQuery>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    actor.needs("agents:write")?;
    let detach = match query.detach.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::invalid("detach", "detach is true or false")),
    };
    let stored = edit::find(&state, &actor, id).await?;
    if_match.check(stored.version, actor.require_if_match)?;
    let (_, by) = actor.named();
    let change = Change { tenant: actor.tenant, livemode: actor.livemode, by: &by, note: None };
    let mut tx = state.app.store.begin().await?;
    let users = rows::users(&mut tx, actor.tenant, id).await?;
    if !users.is_empty() {
        if !detach {
            let message = "numbers or rules use this agent; detach=true takes it off them";
            let mut error = ApiError::new(StatusCode::CONFLICT, "in_use", message);
            for user in users {
                let of = |key: &str| user[key].as_str().unwrap_or_default().to_owned();
                error.details.push(Detail { field: of("kind"), code: of("id"), message: of("name") });
            }
            return Err(error);
        }
        rows::detach(&mut tx, actor.tenant, id).await?;
    }
    if !rows::delete(&mut tx, &change, &stored).await? {
        return Err(ApiError::new(StatusCode::CONFLICT, "busy", "somebody changes this agent; try again"));
    }
    audit::note(&mut tx, &actor, "agent.delete", "agent", &id.to_string(), None).await?;
    tx.commit().await?;
    state.app.store.changed();
    Ok(StatusCode::NO_CONTENT)
}

/// How a clone is made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CloneBody {
    /// `<name> (copy)` when absent.
    name: Option<String>,
    /// The newest when absent.
    version: Option<i64>,
}

/// Copy an agent with what it knows, without its numbers.
#[utoipa::path(post, path = "/api/v1/agents/{id}/clone", tag = "agents", operation_id = "cloneAgent",
    params(("id" = String, Path, description = "The agent")), request_body = Option<CloneBody>,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Agent, headers(("Location" = String), ("ETag" = String))), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn clone(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<CloneBody>,
) -> Result<Response, ApiError> {
    actor.needs("agents:write")?;
    let stored = state.app.store.agent(actor.tenant, id, body.version).await?.ok_or_else(ApiError::not_found)?;
    let mut config = stored.config.clone();
    let name = stored.config["name"].as_str().unwrap_or_default();
    // The copy of a name of 100 characters still is one.
    config["name"] =
        body.name.unwrap_or_else(|| format!("{} (copy)", name.chars().take(93).collect::<String>())).into();
    for tool in config["tools"].as_array_mut().into_iter().flatten() {
        tool.as_object_mut().map(|tool: &mut Map<String, Value>| tool.remove("id"));
    }
    let good = document::fresh(config, &*state.app.agents).map_err(|faults| refused("", faults))?;
    let made = edit::create(&state, &actor, &good, Some(id)).await?;
    created(&actor, &made, &good.warnings)
}
