//! Tenants: a user's own, what they may use and spend, and their end (API §1.2).

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{EndedReason, TenantId, event::Name};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::{admit, rank};
use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        change::Change,
        error::{ApiError, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
        routes::{
            auth::{account::faults_of, told},
            routing::{Edit, sound},
        },
    },
    people::{
        end,
        form::TenantForm,
        tenants::{self, Tenant},
    },
    scope::Role,
    store::page::Bound,
};

/// Tenants that one user owns at most.
const OWNED: i64 = 10;
/// What the server sets.
const READ_ONLY: &[&str] = &["id", "slug", "version", "created_at"];

/// A tenant to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// 1 to 100 characters.
    name: String,
    /// IANA name; `UTC` when absent.
    timezone: Option<String>,
}

/// The user's tenants, newest first; the platform's operator sees all.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "people", operation_id = "listTenants", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Tenant>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<Tenant>>, ApiError> {
    let mut select = format!("{} WHERE t.status <> 'deleted'", tenants::select());
    let mut conditions = Vec::new();
    if !actor.is_platform() {
        let (user, _) = actor.user()?;
        select.push_str(" AND t.status <> 'deleting'");
        let mine = "t.id IN (SELECT m.tenant_id FROM memberships m WHERE m.blocked_at IS NULL AND m.user_id = {})";
        conditions.push((mine.to_owned(), Bound::Text(user.to_string())));
    }
    let whose = actor.person.map(|user| user.to_string());
    let listing = Listing::open(&state, &actor, ("tenants", whose, actor.is_platform()), &page).await?;
    let (sql, values) = listing.page.finish(select, "t", conditions);
    let rows = state.app.store.fetch(sql, values).await?;
    let rows = rows.iter().map(tenants::read).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.shown.id.clone()), |row| row.shown)))
}

/// Make a tenant; whoever asks owns it.
#[utoipa::path(post, path = "/api/v1/tenants", tag = "people", operation_id = "createTenant", request_body = NewTenant,
    security(("bearer" = [])),
    responses((status = 201, body = Tenant), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    let (user, _) = actor.user()?;
    let new: NewTenant = change.create(&["id", "slug", "status", "version", "created_at"])?;
    faults_of(None, None, &[("name", &new.name)])?;
    let timezone = new.timezone.unwrap_or_else(|| "UTC".into());
    if !tenants::is_timezone(&timezone) {
        return Err(ApiError::invalid("timezone", format!("{timezone:?} is no time zone, as Europe/Berlin")));
    }
    let mut tx = state.app.store.begin().await?;
    if tenants::owned(&mut tx, &user.to_string()).await? >= OWNED {
        return Err(ApiError::conflict("too_many_tenants", format!("a user owns at most {OWNED} tenants")));
    }
    let tenant = tenants::create(&mut tx, &new.name, &timezone, &user.to_string()).await?;
    let id = tenant.to_string();
    let row = tenants::get(&mut tx, &id).await?.ok_or_else(ApiError::not_found)?;
    told(&mut tx, tenant, Name::TenantCreated, json!({ "tenant_id": tenant, "owner_id": user })).await?;
    audit::note(&mut tx, &actor.inside(tenant), "tenant.create", "tenant", &id, Some(&json!(row.shown))).await?;
    tx.commit().await?;
    state.app.store.changed();
    let location = format!("/api/v1/tenants/{id}");
    let made = Tagged(row.shown.version, row.shown);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], made).into_response())
}

/// One tenant.
#[utoipa::path(get, path = "/api/v1/tenants/{id}", tag = "people", operation_id = "getTenant",
    params(("id" = String, Path, description = "The tenant")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Tenant), (status = 304), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TenantId>,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("tenant:read")?;
    admit(&state, &actor, id).await?;
    let mut db = state.app.store.pool().acquire().await?;
    let tenant = tenants::get(&mut db, &id.to_string()).await?.ok_or_else(ApiError::not_found)?.shown;
    Ok(known.answer(tenant.version, tenant))
}

/// Write a tenant anew.
#[utoipa::path(put, path = "/api/v1/tenants/{id}", tag = "people", operation_id = "putTenant", request_body = TenantForm,
    params(("id" = String, Path, description = "The tenant")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Tenant), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TenantId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<Tenant>, ApiError> {
    edit(&state, &actor, id, &expected, change, Edit::Replace).await
}

/// Change parts of a tenant.
#[utoipa::path(patch, path = "/api/v1/tenants/{id}", tag = "people", operation_id = "patchTenant", request_body = TenantForm,
    params(("id" = String, Path, description = "The tenant")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Tenant), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn patch(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TenantId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<Tenant>, ApiError> {
    edit(&state, &actor, id, &expected, change, Edit::Patch).await
}

async fn edit(
    state: &State,
    actor: &Actor,
    id: TenantId,
    expected: &IfMatch,
    change: Change,
    how: Edit,
) -> Result<Tagged<Tenant>, ApiError> {
    actor.needs("tenant:write")?;
    let actor = admit(state, actor, id).await?;
    let mut tx = state.app.store.begin().await?;
    let row = tenants::get(&mut tx, &id.to_string()).await?.ok_or_else(ApiError::not_found)?;
    expected.check(row.shown.version, actor.require_if_match)?;
    let before = json!(row.shown);
    let form: TenantForm = how.read(change, &before, READ_ONLY)?;
    let (after, granted) = form.over(&row, actor.is_platform())?;
    sound(after.check())?;
    if after == row.shown && granted == row.granted {
        return Ok(Tagged(row.shown.version, row.shown));
    }
    if after.rate_plan_id != row.shown.rate_plan_id && !tenants::plan_exists(&mut tx, &after.rate_plan_id).await? {
        return Err(ApiError::invalid("rate_plan_id", "there is no such rate plan"));
    }
    if !tenants::update(&mut tx, &row, &after, &granted).await? {
        return Err(IfMatch::conflict());
    }
    let after = Tenant { version: after.version + 1, ..after };
    let diff = audit::diff(&before, &json!(after));
    audit::note(&mut tx, &actor, "tenant.update", "tenant", &after.id, Some(&diff)).await?;
    tx.commit().await?;
    state.forget_tenant(id);
    state.app.store.changed();
    Ok(Tagged(after.version, after))
}

/// How to end a tenant.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HowToEnd {
    /// Also with calls up, and with money left or owed.
    #[serde(default)]
    force: bool,
}

/// A tenant that ends.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ending {
    id: String,
    /// `deleting`.
    state: &'static str,
}

/// End a tenant. Nobody works there any more; its data are purged after thirty days, the ledger and the audit log are kept.
#[utoipa::path(delete, path = "/api/v1/tenants/{id}", tag = "people", operation_id = "deleteTenant",
    params(("id" = String, Path, description = "The tenant"), HowToEnd), security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = Ending), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TenantId>,
    Query(how): Query<HowToEnd>,
    expected: IfMatch,
) -> Result<(StatusCode, Json<Ending>), ApiError> {
    actor.needs("tenant:write")?;
    let actor = admit(&state, &actor, id).await?;
    if rank(&actor) != Role::Owner {
        return Err(ApiError::forbidden("owner_only", "only an owner ends a tenant"));
    }
    let mut tx = state.app.store.begin().await?;
    let row = tenants::get(&mut tx, &id.to_string()).await?.ok_or_else(ApiError::not_found)?;
    expected.check(row.shown.version, actor.require_if_match)?;
    if row.shown.slug == "default" {
        return Err(ApiError::conflict("default_tenant", "the installation's first tenant stays"));
    }
    if !how.force {
        if end::live_calls(&mut tx, id).await? > 0 {
            return Err(ApiError::conflict("calls_active", "calls are up; end them first, or use force=true"));
        }
        if end::balance_micros(&mut tx, id).await? != 0 {
            let message = "there is money on the account or owed; settle it first, or use force=true";
            return Err(ApiError::conflict("balance_not_zero", message));
        }
    }
    if !end::close(&mut tx, id, row.shown.version).await? {
        return Err(IfMatch::conflict());
    }
    audit::note(&mut tx, &actor, "tenant.delete", "tenant", &id.to_string(), Some(&json!({ "force": how.force })))
        .await?;
    tx.commit().await?;
    state.forget_tenant(id);
    state.app.store.changed();
    state.app.store.ring();
    for call in state.app.switchboard.live().into_iter().filter(|call| call.tenant == id) {
        let reason = if call.answered_at_ms.is_some() { EndedReason::ApiEnded } else { EndedReason::Canceled };
        // Whoever hung up first is as good.
        let _ = state.app.switchboard.end(call.id, reason).await;
    }
    Ok((StatusCode::ACCEPTED, Json(Ending { id: id.to_string(), state: "deleting" })))
}
