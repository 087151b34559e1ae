//! Dispatch rules (API.md §1.5).

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{AgentId, CallId, RuleId, TenantId, TrunkId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

use super::routing::{Edit, agents, sound};
use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        body,
        change::Change,
        error::{ApiError, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    routing::{
        Faults,
        directory::Asked,
        rows::rules::{self, RuleRow},
        rule::{Match, RuleAction},
    },
    time::{self, now_ms, rfc3339},
};

const READ_ONLY: &[&str] = &["id", "version", "created_at", "updated_at"];

/// A rule to be made or changed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "support", "priority": 10, "match": {"to": "+1800*"}, "action": {"kind": "reject", "sip_status": 603}}))]
pub(crate) struct RuleBody {
    /// 1 to 64 characters.
    name: String,
    /// 0 to 10000; the lowest is asked first.
    #[serde(default = "hundred")]
    priority: i64,
    #[serde(default = "yes")]
    enabled: bool,
    /// What a call must be like; whatever is absent matches all.
    #[serde(default, rename = "match")]
    #[schema(value_type = Object)]
    matcher: Match,
    /// An action, or `{"kind":"weighted","agents":[…]}`.
    #[schema(value_type = Object)]
    action: RuleAction,
    /// For the agent's texts: scalars, at most 50.
    #[serde(default)]
    #[schema(value_type = Object)]
    variables: Map<String, Value>,
}

fn hundred() -> i64 {
    100
}

fn yes() -> bool {
    true
}

/// A rule.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RuleView {
    id: String,
    name: String,
    priority: i64,
    enabled: bool,
    #[serde(rename = "match")]
    #[schema(value_type = Object)]
    matcher: Match,
    #[schema(value_type = Object)]
    action: RuleAction,
    #[schema(value_type = Object)]
    variables: Map<String, Value>,
    version: i64,
    created_at: String,
    updated_at: String,
}

fn show(row: RuleRow) -> RuleView {
    RuleView {
        id: row.id.to_string(),
        name: row.name,
        priority: row.priority,
        enabled: row.enabled,
        matcher: row.matcher,
        action: row.action,
        variables: row.variables,
        version: row.version,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
    }
}

fn document(row: &RuleRow) -> Value {
    serde_json::to_value(show(row.clone())).unwrap_or_default()
}

/// The tenant's rules, newest first; calls ask them by priority, then id.
#[utoipa::path(get, path = "/api/v1/dispatch-rules", tag = "trunks", operation_id = "listDispatchRules", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<RuleView>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<RuleView>>, ApiError> {
    actor.needs("trunks:read")?;
    let listing = Listing::open(&state, &actor, "dispatch-rules", &page).await?;
    let rows = state.app.store.rules(actor.tenant, &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.id.to_string()), show)))
}

/// Makes a rule.
#[utoipa::path(post, path = "/api/v1/dispatch-rules", tag = "trunks", operation_id = "createDispatchRule", request_body = RuleBody,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = RuleView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("trunks:write")?;
    let new: RuleBody = change.create(READ_ONLY)?;
    sound(check(&new))?;
    let now = now_ms();
    let row = of(RuleId(Uuid::now_v7()), new, 1, now, now);
    let mut tx = state.app.store.begin().await?;
    references(&mut tx, actor.tenant, &row).await?;
    rules::insert(&mut tx, actor.tenant, &row).await?;
    let id = row.id.to_string();
    audit::note(&mut tx, &actor, "dispatch_rule.create", "dispatch_rule", &id, Some(&document(&row))).await?;
    tx.commit().await?;
    state.app.store.changed();
    let location = format!("/api/v1/dispatch-rules/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(row.version, show(row))).into_response())
}

/// One rule.
#[utoipa::path(get, path = "/api/v1/dispatch-rules/{id}", tag = "trunks", operation_id = "getDispatchRule",
    params(("id" = String, Path, description = "The rule")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = RuleView), (status = 304), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<RuleId>,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("trunks:read")?;
    let row = state.app.store.rule(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    Ok(known.answer(row.version, show(row)))
}

/// Writes a rule anew.
#[utoipa::path(put, path = "/api/v1/dispatch-rules/{id}", tag = "trunks", operation_id = "putDispatchRule", request_body = RuleBody,
    params(("id" = String, Path, description = "The rule")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = RuleView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<RuleId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<RuleView>, ApiError> {
    edit(&state, &actor, id, &expected, change, Edit::Replace).await
}

/// Changes parts of a rule.
#[utoipa::path(patch, path = "/api/v1/dispatch-rules/{id}", tag = "trunks", operation_id = "patchDispatchRule", request_body = RuleBody,
    params(("id" = String, Path, description = "The rule")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = RuleView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn patch(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<RuleId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<RuleView>, ApiError> {
    edit(&state, &actor, id, &expected, change, Edit::Patch).await
}

async fn edit(
    state: &State,
    actor: &Actor,
    id: RuleId,
    expected: &IfMatch,
    change: Change,
    how: Edit,
) -> Result<Tagged<RuleView>, ApiError> {
    actor.needs("trunks:write")?;
    let stored = state.app.store.rule(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    expected.check(stored.version, actor.require_if_match)?;
    let before = document(&stored);
    let new: RuleBody = how.read(change, &before, READ_ONLY)?;
    sound(check(&new))?;
    let row = of(id, new, stored.version + 1, stored.created_at, now_ms());
    if (RuleRow { version: stored.version, updated_at: stored.updated_at, ..row.clone() }) == stored {
        return Ok(Tagged(stored.version, show(stored)));
    }
    let mut tx = state.app.store.begin().await?;
    references(&mut tx, actor.tenant, &row).await?;
    if !rules::update(&mut tx, actor.tenant, &row).await? {
        return Err(IfMatch::conflict());
    }
    let diff = audit::diff(&before, &document(&row));
    audit::note(&mut tx, actor, "dispatch_rule.update", "dispatch_rule", &id.to_string(), Some(&diff)).await?;
    tx.commit().await?;
    state.app.store.changed();
    Ok(Tagged(row.version, show(row)))
}

/// Deletes a rule.
#[utoipa::path(delete, path = "/api/v1/dispatch-rules/{id}", tag = "trunks", operation_id = "deleteDispatchRule",
    params(("id" = String, Path, description = "The rule")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<RuleId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
) -> Result<StatusCode, ApiError> {
    actor.needs("trunks:write")?;
    let stored = state.app.store.rule(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    expected.check(stored.version, actor.require_if_match)?;
    let mut tx = state.app.store.begin().await?;
    if !rules::delete(&mut tx, actor.tenant, id, stored.version).await? {
        return Err(IfMatch::conflict());
    }
    audit::note(&mut tx, &actor, "dispatch_rule.delete", "dispatch_rule", &id.to_string(), None).await?;
    tx.commit().await?;
    state.app.store.changed();
    Ok(StatusCode::NO_CONTENT)
}

/// A call that does not happen.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"trunk_id": "0193481e-7a10-7000-8000-0000000000d1", "to": "+12125550123", "from": "+14155550100"}))]
pub(crate) struct ResolveBody {
    #[schema(value_type = String)]
    trunk_id: TrunkId,
    /// As the trunk would write it.
    to: String,
    from: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// When; now when absent.
    at: Option<String>,
}

/// Who would answer, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Resolved {
    /// `number`, `rule`, `default`, or `nothing`: the call would be refused with 404.
    pub(crate) matched: &'static str,
    /// The number or rule that decided.
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    /// The agent that would answer.
    #[schema(value_type = Option<String>)]
    pub(crate) agent_id: Option<AgentId>,
    /// Its version.
    #[schema(value_type = Option<Object>)]
    pub(crate) agent_version: Option<Value>,
    /// What would happen instead.
    #[schema(value_type = Option<Object>)]
    pub(crate) action: Option<Value>,
    /// A sentence.
    pub(crate) why: &'static str,
}

/// Tells who would answer a call, without one.
#[utoipa::path(post, path = "/api/v1/dispatch-rules/resolve", tag = "trunks", operation_id = "resolveDispatch", request_body = ResolveBody,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Resolved), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn resolve(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(asked): body::Json<ResolveBody>,
) -> Result<Json<Resolved>, ApiError> {
    actor.needs("trunks:read")?;
    let at = match asked.at.as_deref() {
        None => now_ms(),
        Some(text) => {
            time::parse(text).ok_or_else(|| ApiError::invalid("at", "at is a time like 2026-11-21T00:39:12.123Z"))?
        }
    };
    let headers: Vec<_> = asked.headers.into_iter().collect();
    let from = asked.from.unwrap_or_default();
    let question = Asked { call: CallId(Uuid::now_v7()), to: &asked.to, from: &from, headers: &headers, at_ms: at };
    let explained = state.app.directory.explain(actor.tenant, asked.trunk_id, question).await;
    let resolved = explained.ok_or_else(ApiError::not_found)?;
    Ok(Json(Resolved {
        matched: resolved.matched,
        id: resolved.id,
        name: resolved.name,
        agent_id: resolved.agent.map(|(agent, _)| agent),
        agent_version: resolved.agent.map(|(_, version)| json!(version)),
        action: resolved.action.map(|action| json!(action)),
        why: resolved.why,
    }))
}

/// What was read again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reloaded {
    reloaded: [&'static str; 4],
    /// How many kinds of objects had changed.
    changed: usize,
}

/// Reads again what calls are routed by. Running calls keep what they began with.
#[utoipa::path(post, path = "/api/v1/config/reload", tag = "operations", operation_id = "reloadConfig",
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Reloaded), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 503, body = ErrorEnvelope)))]
pub(crate) async fn reload(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Reloaded>, ApiError> {
    actor.needs("platform:admin")?;
    let changed = state.app.directory.look().await?;
    Ok(Json(Reloaded { reloaded: ["trunks", "acl", "rates", "keys"], changed }))
}

fn of(id: RuleId, new: RuleBody, version: i64, created_at: i64, updated_at: i64) -> RuleRow {
    let RuleBody { name, priority, enabled, matcher, action, variables } = new;
    RuleRow { id, name, priority, enabled, matcher, action, variables, version, created_at, updated_at }
}

fn check(new: &RuleBody) -> Faults {
    let mut faults = Faults::default();
    let named = (1..=64).contains(&new.name.chars().count()) && !new.name.contains('\0');
    faults.need(named, "name", "name has 1 to 64 characters and no NUL");
    faults.need((0..=10_000).contains(&new.priority), "priority", "priority is from 0 to 10000");
    faults.below("match", new.matcher.check());
    faults.below("action", new.action.check());
    let scalars =
        new.variables.len() <= 50 && !new.variables.values().any(|value| value.is_array() || value.is_object());
    faults.need(scalars, "variables", "variables are at most 50 scalars");
    faults
}

async fn references(tx: &mut sqlx::AnyConnection, tenant: TenantId, row: &RuleRow) -> Result<(), ApiError> {
    agents(tx, tenant, &row.action.agent_ids()).await?;
    let trunks = row.matcher.trunk_ids.as_deref().unwrap_or_default();
    if rules::trunks_exist(tx, tenant, trunks).await? { Ok(()) } else { Err(ApiError::not_found()) }
}
