//! The platform's operator blocks a user: sessions and keys die within five seconds, on all nodes.

use axum::{Json, extract::State as Extract};
use domain::UserId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Row as _;
use utoipa::ToSchema;

use crate::{
    audit,
    auth::users::{self, User},
    http::{
        State,
        actor::Actor,
        body::Json as Body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::{NoParameters, Query},
    },
};

/// Blocked or not, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"blocked": true, "reason": "fraud"}))]
pub(crate) struct Block {
    blocked: bool,
    /// At most 200 characters; for the audit log.
    reason: Option<String>,
}

/// The user, and what else acts in their name.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Blocked {
    user: User,
    /// Keys that the user made and that are not revoked. They rest while the user is blocked.
    keys: Vec<KeyOf>,
}

/// A key of a user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyOf {
    id: String,
    tenant_id: String,
    name: String,
    prefix: String,
}

/// Block a user, or lift it.
#[utoipa::path(put, path = "/api/v1/users/{id}/blocked", tag = "people", operation_id = "blockUser", request_body = Block,
    params(("id" = String, Path, description = "The user")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Blocked), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<UserId>,
    Query(NoParameters {}): Query<NoParameters>,
    Body(block): Body<Block>,
) -> Result<Json<Blocked>, ApiError> {
    actor.needs("platform:admin")?;
    if block.reason.as_ref().is_some_and(|reason| reason.chars().count() > 200) {
        return Err(ApiError::invalid("reason", "reason has at most 200 characters"));
    }
    if block.blocked && actor.person == Some(id) {
        return Err(ApiError::conflict("conflict", "nobody blocks themselves"));
    }
    let mut tx = state.app.store.begin().await?;
    users::by_id(&mut tx, &id.to_string()).await?.ok_or_else(ApiError::not_found)?;
    users::set_blocked(&mut tx, &id.to_string(), block.blocked).await?;
    let user = users::by_id(&mut tx, &id.to_string()).await?.ok_or_else(ApiError::not_found)?;
    let diff = json!({ "blocked": block.blocked, "reason": block.reason });
    audit::note(&mut tx, &actor, "user.block", "user", &id.to_string(), Some(&diff)).await?;
    let rows = sqlx::query(
        "SELECT id, tenant_id, name, prefix FROM api_keys WHERE created_by = $1 AND revoked_at IS NULL ORDER BY created_at, id LIMIT 1000",
    )
    .bind(id.to_string())
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    state.forget_user(id);
    let keys = rows.iter().map(|row| {
        Ok(KeyOf { id: row.try_get(0)?, tenant_id: row.try_get(1)?, name: row.try_get(2)?, prefix: row.try_get(3)? })
    });
    Ok(Json(Blocked { user: user.into(), keys: keys.collect::<Result<_, sqlx::Error>>()? }))
}
