//! A user's sessions, on all devices.

use axum::{Json, extract::State as Extract, http::StatusCode};
use domain::SessionId;
use serde::Serialize;
use sqlx::Row as _;
use utoipa::ToSchema;

use crate::{
    audit,
    auth::sessions::{self, Which},
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    store::page::Bound,
    time::{now_ms, rfc3339},
};

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    id: String,
    tenant_id: String,
    /// Where it was begun from.
    ip: Option<String>,
    user_agent: Option<String>,
    created_at: String,
    /// When its tokens were renewed.
    used_at: String,
    expires_at: String,
    /// It is the one that asks.
    current: bool,
}

/// The user's sessions that are not over, newest first.
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "auth", operation_id = "listSessions", params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = List<Session>), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<Session>>, ApiError> {
    let (user, current) = actor.user()?;
    let listing = Listing::open(&state, &actor, ("sessions", user), &page).await?;
    let select =
        "SELECT s.id, s.tenant_id, s.ip, s.user_agent, s.created_at, s.rotated_at, s.expires_at FROM sessions s
        WHERE s.revoked_at IS NULL";
    let conditions = vec![
        ("s.user_id = {}".to_owned(), Bound::Text(user.to_string())),
        ("s.expires_at > {}".to_owned(), Bound::Number(now_ms())),
    ];
    let (sql, values) = listing.page.finish(select.to_owned(), "s", conditions);
    let rows = state.app.store.fetch(sql, values).await?;
    let rows = rows
        .iter()
        .map(|row| {
            let (id, at): (String, i64) = (row.try_get("id")?, row.try_get("created_at")?);
            let session = Session {
                current: id == current.to_string(),
                tenant_id: row.try_get("tenant_id")?,
                ip: row.try_get("ip")?,
                user_agent: row.try_get("user_agent")?,
                created_at: rfc3339(at),
                used_at: rfc3339(row.try_get("rotated_at")?),
                expires_at: rfc3339(row.try_get("expires_at")?),
                id,
            };
            Ok((at, session))
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok(Json(listing.close(rows, |(at, session)| (*at, session.id.clone()), |(_, session)| session)))
}

/// End one of the user's sessions.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", tag = "auth", operation_id = "endSession",
    params(("id" = String, Path, description = "The session")), security(("bearer" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn end(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<SessionId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    let user = actor.user()?.0.to_string();
    let mut tx = state.app.store.begin().await?;
    if sessions::revoke(&mut tx, &user, Which::One(id)).await? == 0 {
        return Err(ApiError::not_found());
    }
    audit::note(&mut tx, &actor, "session.end", "session", &id.to_string(), None).await?;
    tx.commit().await?;
    state.auth.seen.forget_user(&user);
    Ok(StatusCode::NO_CONTENT)
}
