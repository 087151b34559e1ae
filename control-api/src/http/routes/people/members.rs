//! Members of a tenant: who belongs to it, as what, and who no longer (API §1.2).

use axum::{Json, extract::State as Extract, http::StatusCode};
use domain::{TenantId, UserId, event::Name};
use serde::Deserialize;
use serde_json::json;
use sqlx::Row as _;
use utoipa::ToSchema;

use super::{admit, within_rank};
use crate::{
    audit,
    auth::sessions::{self, Which},
    http::{
        State,
        actor::Actor,
        body::Json as Body,
        error::{ApiError, ErrorEnvelope},
        ids::{Id, Ids},
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
        routes::auth::told,
    },
    people::members::{self, Member},
    scope::Role,
    store::page::Bound,
};

/// Who belongs to the tenant, newest first.
#[utoipa::path(get, path = "/api/v1/tenants/{id}/members", tag = "people", operation_id = "listMembers",
    params(("id" = String, Path, description = "The tenant"), PageQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Member>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(tenant): Id<TenantId>,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<Member>>, ApiError> {
    actor.needs("members:read")?;
    let actor = admit(&state, &actor, tenant).await?;
    let listing = Listing::open(&state, &actor, "members", &page).await?;
    let own = vec![("m.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
    let (sql, values) = listing.page.finish(members::SELECT.to_owned(), "m", own);
    let rows = state.app.store.fetch(sql, values).await?;
    let rows = rows.iter().map(|row| Ok((row.try_get("created_at")?, members::read(row)?)));
    let rows: Vec<(i64, Member)> = rows.collect::<Result<_, sqlx::Error>>()?;
    Ok(Json(listing.close(rows, |(at, member)| (*at, member.user_id.clone()), |(_, member)| member)))
}

/// What a member is to be; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Standing {
    /// `owner`, `admin`, `developer` or `analyst`; nobody gives more than they are.
    role: Option<Role>,
    /// May not work in this tenant.
    blocked: Option<bool>,
}

/// Change a member's role, or block them here. It counts within five seconds on all nodes.
#[utoipa::path(put, path = "/api/v1/tenants/{id}/members/{uid}", tag = "people", operation_id = "putMember", request_body = Standing,
    params(("id" = String, Path, description = "The tenant"), ("uid" = String, Path, description = "The user")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Member), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    actor: Actor,
    Ids(tenant, user): Ids<TenantId, UserId>,
    Query(NoParameters {}): Query<NoParameters>,
    Body(standing): Body<Standing>,
) -> Result<Json<Member>, ApiError> {
    actor.needs("members:write")?;
    let actor = admit(&state, &actor, tenant).await?;
    let (place, id) = (tenant.to_string(), user.to_string());
    let mut tx = state.app.store.begin().await?;
    members::in_turn(&mut tx, &place).await?;
    let before = members::get(&mut tx, &place, &id).await?.ok_or_else(ApiError::not_found)?;
    within_rank(&actor, before.role)?;
    let role = standing.role.unwrap_or(before.role);
    within_rank(&actor, role)?;
    members::set(&mut tx, &place, &id, role, standing.blocked.unwrap_or(before.blocked)).await?;
    members::still_owned(&mut tx, &place).await?;
    let after = members::get(&mut tx, &place, &id).await?.ok_or_else(ApiError::not_found)?;
    let diff = audit::diff(&json!(before), &json!(after));
    audit::note(&mut tx, &actor, "member.update", "user", &id, Some(&diff)).await?;
    tx.commit().await?;
    state.forget_user(user);
    Ok(Json(after))
}

/// Part with a member, or leave. Their sessions here end, and their keys here can do nothing any more.
#[utoipa::path(delete, path = "/api/v1/tenants/{id}/members/{uid}", tag = "people", operation_id = "removeMember",
    params(("id" = String, Path, description = "The tenant"), ("uid" = String, Path, description = "The user")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn remove(
    Extract(state): Extract<State>,
    actor: Actor,
    Ids(tenant, user): Ids<TenantId, UserId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    let leaves = actor.user().is_ok_and(|(me, _)| me == user) && tenant == actor.tenant;
    if !leaves {
        actor.needs("members:write")?;
    }
    let actor = admit(&state, &actor, tenant).await?;
    let (place, id) = (tenant.to_string(), user.to_string());
    let mut tx = state.app.store.begin().await?;
    members::in_turn(&mut tx, &place).await?;
    let member = members::get(&mut tx, &place, &id).await?.ok_or_else(ApiError::not_found)?;
    if !leaves {
        within_rank(&actor, member.role)?;
    }
    members::remove(&mut tx, &place, &id).await?;
    members::still_owned(&mut tx, &place).await?;
    sessions::revoke(&mut tx, &id, Which::In(&place)).await?;
    audit::note(&mut tx, &actor, "member.remove", "user", &id, Some(&json!({ "role": member.role }))).await?;
    told(&mut tx, tenant, Name::MemberRemoved, json!({ "user_id": user })).await?;
    tx.commit().await?;
    state.forget_user(user);
    Ok(StatusCode::NO_CONTENT)
}
