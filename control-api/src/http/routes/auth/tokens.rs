//! Keys that verify our tokens, and tickets for those who cannot send headers.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{ApiKeyId, SessionId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    audit,
    auth::once::{self, Purpose},
    http::{
        State,
        actor::{self, Actor, Visitor, Who},
        body::Json as Body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
    time::{now_ms, rfc3339},
};

/// The keys that verify access tokens: next, active, and retired for less than an hour.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", operation_id = "jwks",
    responses((status = 200, description = "A JSON Web Key Set (RFC 7517)", body = Object)))]
pub(crate) async fn jwks(Extract(state): Extract<State>) -> Result<Response, ApiError> {
    let jwks = state.auth.signing.jwks().await?;
    Ok(([(header::CACHE_CONTROL, "public, max-age=300")], Json(jwks)).into_response())
}

/// The key that signs now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rotated {
    kid: String,
}

/// Nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Sign with the next key. The old one verifies for an hour more.
#[utoipa::path(post, path = "/api/v1/auth/keys/rotate", tag = "auth", operation_id = "rotateSigningKeys",
    request_body = Option<Nothing>, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Rotated), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn rotate(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Rotated>, ApiError> {
    actor.needs("platform:admin")?;
    let kid = state.auth.signing.rotate().await?;
    let mut tx = state.app.store.begin().await?;
    audit::note(&mut tx, &actor, "signing_key.rotate", "signing_key", &kid, None).await?;
    tx.commit().await?;
    Ok(Json(Rotated { kid }))
}

/// A ticket for one WebSocket.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ticket {
    /// Goes into `?ticket=`, once, within a minute.
    ticket: String,
    expires_at: String,
}

/// Whose ticket it is; what they may do is looked up when it is used.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Holder {
    Key(ApiKeyId),
    Session(SessionId),
}

/// A ticket for browsers, which cannot set headers on a WebSocket.
#[utoipa::path(post, path = "/api/v1/ws-tickets", tag = "auth", operation_id = "createWsTicket", request_body = Option<Nothing>,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Ticket), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn ticket(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<(StatusCode, Json<Ticket>), ApiError> {
    actor.needs("events:read")?;
    let holder = match actor.who {
        Who::Key(key) => Holder::Key(key),
        Who::User(_, session) => Holder::Session(session),
        Who::System(_) => return Err(ApiError::unauthenticated()),
    };
    let mut tx = state.app.store.begin().await?;
    let ticket = once::issue(&mut tx, Purpose::WsTicket, None, &holder).await?;
    tx.commit().await?;
    let expires_at = rfc3339(now_ms() + Purpose::WsTicket.lives_ms());
    Ok((StatusCode::CREATED, Json(Ticket { ticket, expires_at })))
}

/// Who holds a ticket, which is used up by asking.
pub(crate) async fn redeem(state: &State, ticket: &str, visitor: &Visitor) -> Result<Actor, ApiError> {
    let mut tx = state.app.store.begin().await?;
    let used = once::redeem::<Holder>(&mut tx, Purpose::WsTicket, ticket).await?;
    tx.commit().await?;
    match used.ok_or_else(ApiError::unauthenticated)?.data {
        Holder::Session(session) => actor::by_session(state, session, visitor.ip, visitor.request.clone()).await,
        Holder::Key(key) => actor::by_key_id(state, key, visitor.ip, visitor.request.clone()).await,
    }
}
