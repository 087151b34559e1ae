//! An agent's versions: what was stored when, what differs, and the way back.

use axum::{
    Json,
    extract::{Path, State as Extract},
};
use domain::AgentId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::id;
use crate::{
    agents::{document, edit, rows::Stored},
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        etag::{IfMatch, Tagged},
        ids::Id,
        query::{self, NoParameters, Query},
    },
    time::rfc3339,
};

/// A version as it is listed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionView {
    version: i64,
    /// Why, if somebody said.
    note: Option<String>,
    /// User or key.
    created_by: String,
    created_at: String,
}

/// Versions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionList {
    data: Vec<VersionView>,
    next_cursor: Option<String>,
}

/// All versions of an agent, newest first.
#[utoipa::path(get, path = "/api/v1/agents/{id}/versions", tag = "agents", operation_id = "listAgentVersions",
    params(("id" = String, Path, description = "The agent")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = VersionList), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<VersionList>, ApiError> {
    actor.needs("agents:read")?;
    edit::find(&state, &actor, id).await?;
    let versions = state.app.store.agent_versions(actor.tenant, id).await?;
    let view = |version: crate::agents::rows::Version| VersionView {
        version: version.version,
        note: version.note,
        created_by: version.created_by,
        created_at: rfc3339(version.created_at),
    };
    Ok(Json(VersionList { data: versions.into_iter().map(view).collect(), next_cursor: None }))
}

/// Against which other version.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DiffQuery {
    /// A version; the answer is then the JSON Patch (RFC 6902) that leads from it to this one.
    diff: Option<String>,
}

/// One version as it was stored, or what differs from another.
#[utoipa::path(get, path = "/api/v1/agents/{id}/versions/{n}", tag = "agents", operation_id = "getAgentVersion",
    params(("id" = String, Path, description = "The agent"), ("n" = i64, Path, description = "The version"), DiffQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Path((agent, n)): Path<(String, String)>,
    Query(query): Query<DiffQuery>,
) -> Result<Json<Value>, ApiError> {
    actor.needs("agents:read")?;
    let (agent, n) = (id(&agent)?, id::<i64>(&n)?);
    let at = |version| state.app.store.agent(actor.tenant, agent, Some(version));
    let this = at(n).await?.ok_or_else(ApiError::not_found)?;
    let Some(other) = &query.diff else { return Ok(Json(document::view(actor.tenant, &this, &[]))) };
    let other = query::number("diff", Some(other), 1, i64::MAX, 1)?;
    let other = at(other).await?.ok_or_else(|| ApiError::invalid("diff", "there is no such version"))?;
    let mut patch = Vec::new();
    diff("", &other.config, &this.config, &mut patch);
    Ok(Json(Value::Array(patch)))
}

/// Make an old version the newest again; it becomes a version of its own.
#[utoipa::path(post, path = "/api/v1/agents/{id}/versions/{n}/restore", tag = "agents", operation_id = "restoreAgentVersion",
    params(("id" = String, Path, description = "The agent"), ("n" = i64, Path, description = "The version")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object, headers(("ETag" = String))), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn restore(
    Extract(state): Extract<State>,
    actor: Actor,
    Path((agent, n)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("agents:write")?;
    let (agent, n) = (id(&agent)?, id::<i64>(&n)?);
    let old = state.app.store.agent(actor.tenant, agent, Some(n)).await?.ok_or_else(ApiError::not_found)?;
    let make = |_: &Stored| {
        // Ids of tools come back as they were: history is its own witness.
        let mut good = document::replacement(old.config.clone(), actor.tenant, &old, &*state.app.agents)
            .map_err(|faults| edit::refused("", faults))?;
        good.note = Some(format!("version {n} restored"));
        Ok(good)
    };
    let (agent, warnings) = edit::edit(&state, &actor, agent, (&if_match, false), make).await?;
    Ok(Tagged(agent.version, document::view(actor.tenant, &agent, &warnings)))
}

/// The operations that lead from one value to another (RFC 6902). Lists are replaced whole: their entries have no names.
fn diff(path: &str, from: &Value, to: &Value, patch: &mut Vec<Value>) {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let at = |key: &str| format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
            for key in from.keys().filter(|key| !to.contains_key(*key)) {
                patch.push(json!({"op": "remove", "path": at(key)}));
            }
            for (key, value) in to {
                match from.get(key) {
                    Some(before) => diff(&at(key), before, value, patch),
                    None => patch.push(json!({"op": "add", "path": at(key), "value": value})),
                }
            }
        }
        _ if from == to => {}
        _ => patch.push(json!({"op": "replace", "path": path, "value": to})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_is_a_json_patch() {
        let mut patch = Vec::new();
        let (from, to) =
            (json!({"a": 1, "b": {"c": 2, "x/y~": 3}, "l": [1]}), json!({"a": 1, "b": {"c": 4, "d": 5}, "l": [1, 2]}));
        diff("", &from, &to, &mut patch);
        assert_eq!(
            Value::Array(patch),
            json!([{"op": "remove", "path": "/b/x~1y~0"}, {"op": "replace", "path": "/b/c", "value": 4},
                   {"op": "add", "path": "/b/d", "value": 5}, {"op": "replace", "path": "/l", "value": [1, 2]}])
        );
    }
}
