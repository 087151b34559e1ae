//! The numbers that a tenant does not call (API.md §1.11); asked before every dial.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::phone::E164;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    routing::rows::do_not_call::{self, Listed},
    time::{now_ms, rfc3339},
};

/// A number that is not called.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DoNotCall {
    e164: String,
    reason: String,
    /// The call on which it was asked for.
    call_id: Option<String>,
    created_at: String,
}

fn show(row: Listed) -> DoNotCall {
    DoNotCall { e164: row.e164, reason: row.reason, call_id: row.call_id, created_at: rfc3339(row.created_at) }
}

/// A number to be listed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"e164": "+12125550123", "reason": "asked by mail"}))]
pub(crate) struct NewDoNotCall {
    /// In international form.
    #[schema(value_type = String)]
    e164: E164,
    /// 1 to 200 characters.
    reason: String,
}

/// The list, newest first.
#[utoipa::path(get, path = "/api/v1/do-not-call", tag = "numbers", operation_id = "listDoNotCall", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<DoNotCall>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<DoNotCall>>, ApiError> {
    actor.needs("campaigns:read")?;
    let listing = Listing::open(&state, &actor, "do-not-call", &page).await?;
    let rows = state.app.store.do_not_call(actor.tenant, &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.e164.clone()), show)))
}

/// Lists a number: nothing of this tenant dials it from now on.
#[utoipa::path(post, path = "/api/v1/do-not-call", tag = "numbers", operation_id = "addDoNotCall", request_body = NewDoNotCall,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = DoNotCall), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(new): body::Json<NewDoNotCall>,
) -> Result<Response, ApiError> {
    actor.needs("campaigns:write")?;
    if !(1..=200).contains(&new.reason.chars().count()) {
        return Err(ApiError::invalid("reason", "reason has 1 to 200 characters"));
    }
    let now = now_ms();
    let mut tx = state.app.store.begin().await?;
    if !do_not_call::insert(&mut tx, actor.tenant, &new.e164, &new.reason, now).await? {
        return Err(ApiError::conflict("already_listed", "the number is on the list").at("e164"));
    }
    let number = new.e164.as_str().to_owned();
    audit::note(&mut tx, &actor, "do_not_call.add", "number", &number, Some(&json!({ "reason": new.reason }))).await?;
    tx.commit().await?;
    let location = format!("/api/v1/do-not-call/{number}");
    let made = DoNotCall { e164: number, reason: new.reason, call_id: None, created_at: rfc3339(now) };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// Takes a number off the list.
#[utoipa::path(delete, path = "/api/v1/do-not-call/{e164}", tag = "numbers", operation_id = "removeDoNotCall",
    params(("e164" = String, Path, description = "The number")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(e164): Id<E164>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    actor.needs("campaigns:write")?;
    let mut tx = state.app.store.begin().await?;
    if !do_not_call::delete(&mut tx, actor.tenant, &e164).await? {
        return Err(ApiError::not_found());
    }
    audit::note(&mut tx, &actor, "do_not_call.remove", "number", e164.as_str(), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
