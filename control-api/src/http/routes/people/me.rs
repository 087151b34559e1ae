//! The user who asks: what others see of them, their password, their end (API §1.2).

use axum::{extract::State as Extract, http::StatusCode, response::Response};
use domain::{TenantId, UserId, event::Name};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit,
    auth::{
        letters, once, password,
        sessions::{self, Which},
        users::{self, User, UserRow},
    },
    http::{
        State,
        actor::{Actor, Visitor},
        body::Json as Body,
        change::Change,
        error::{ApiError, Detail, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        query::{NoParameters, Query},
        routes::auth::{account::faults_of, told},
    },
    mail,
    people::members,
};

/// What the server sets.
const READ_ONLY: &[&str] = &["id", "email_verified", "is_platform_admin", "blocked", "version", "created_at"];

async fn myself(state: &State, actor: &Actor) -> Result<(UserId, UserRow), ApiError> {
    let (id, _) = actor.user()?;
    let mut db = state.app.store.pool().acquire().await?;
    let user = users::by_id(&mut db, &id.to_string()).await?.ok_or_else(ApiError::unauthenticated)?;
    Ok((id, user))
}

/// Refuses who does not know the user's password; guesses count like guesses at the door.
async fn proven(state: &State, visitor: &Visitor, user: &UserRow, guess: Option<&str>) -> Result<(), ApiError> {
    let fault = |code, message: &str| ApiError::forbidden(code, message).at("current_password");
    if user.password_hash.is_none() {
        return Err(fault("no_password", "this account has no password; choose one by auth/forgot-password first"));
    }
    let Some(guess) = guess else { return Err(fault("bad_credentials", "this needs current_password")) };
    let (account, now) = (users::email_key(&user.email), std::time::Instant::now());
    if let Some(wait) = state.auth.lockout.wait_s(&account, visitor.ip, now) {
        let message = "too many wrong passwords; wait as Retry-After says";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(wait));
    }
    if password::matches(guess.chars().take(200).collect(), user.password_hash.clone()).await? {
        return Ok(());
    }
    state.auth.lockout.failed(&account, visitor.ip, now);
    Err(fault("bad_credentials", "current_password is wrong"))
}

/// The user who asks.
#[utoipa::path(get, path = "/api/v1/users/me", tag = "people", operation_id = "getMe", security(("bearer" = [])),
    responses((status = 200, body = User), (status = 304), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    let (_, user) = myself(&state, &actor).await?;
    Ok(known.answer(user.version, User::from(user)))
}

/// What a user may change of themselves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Me {
    /// 1 to 100 characters.
    name: String,
    /// An https URL of at most 2048 characters.
    avatar_url: Option<String>,
    /// Another address takes effect when it is proven: a letter goes there.
    email: Option<String>,
    /// For another address.
    current_password: Option<String>,
}

/// Change name, picture or address.
#[utoipa::path(put, path = "/api/v1/users/me", tag = "people", operation_id = "putMe", request_body = Me, security(("bearer" = [])),
    responses((status = 200, body = User), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    actor: Actor,
    visitor: Visitor,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<User>, ApiError> {
    let (_, stored) = myself(&state, &actor).await?;
    let before = json!(User::from(stored.clone()));
    let me: Me = change.replace(&before, READ_ONLY)?;
    expected.check(stored.version, actor.require_if_match)?;
    faults_of(me.email.as_deref(), None, &[("name", &me.name)])?;
    if me.avatar_url.as_ref().is_some_and(|url| !is_picture(url)) {
        let message = "avatar_url is an https URL of at most 2048 characters";
        return Err(ApiError::invalid("avatar_url", message));
    }
    let wanted = me.email.filter(|email| users::email_key(email) != users::email_key(&stored.email));
    if wanted.is_some() {
        proven(&state, &visitor, &stored, me.current_password.as_deref()).await?;
    }
    let same = me.name == stored.name && me.avatar_url == stored.avatar_url;
    if same && wanted.is_none() {
        return Ok(Tagged(stored.version, stored.into()));
    }
    let mut tx = state.app.store.begin().await?;
    if let Some(email) = &wanted {
        once::void(&mut tx, once::Purpose::EmailVerify, &stored.id).await?;
        let token = once::issue(&mut tx, once::Purpose::EmailVerify, Some(&stored.id), email).await?;
        let base = state.app.settings.auth.base();
        mail::queue(&mut tx, letters::verify_email(base, email, &me.name, &token)).await?;
    }
    if !same && !users::update(&mut tx, &stored.id, stored.version, &me.name, me.avatar_url.as_deref()).await? {
        return Err(IfMatch::conflict());
    }
    let user = users::by_id(&mut tx, &stored.id).await?.ok_or_else(ApiError::unauthenticated)?;
    let mut diff = audit::diff(&before, &json!(User::from(user.clone())));
    diff["email_asked_for"] = json!(wanted);
    audit::note(&mut tx, &actor, "user.update", "user", &user.id, Some(&diff)).await?;
    tx.commit().await?;
    Ok(Tagged(user.version, user.into()))
}

fn is_picture(url: &str) -> bool {
    url.len() <= 2048
        && url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
        && url.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\'))
}

/// The password, and the one that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    current_password: String,
    /// 10 to 200 characters, and none of the first that anybody would try.
    password: String,
}

/// Change the password. All other sessions end.
#[utoipa::path(post, path = "/api/v1/users/me/password", tag = "people", operation_id = "changePassword", request_body = NewPassword,
    security(("bearer" = [])),
    responses((status = 204), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn password(
    Extract(state): Extract<State>,
    actor: Actor,
    visitor: Visitor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(new): Body<NewPassword>,
) -> Result<StatusCode, ApiError> {
    let (id, user) = myself(&state, &actor).await?;
    let (_, session) = actor.user()?;
    if let Some(fault) = password::fault(&new.password, &user.email) {
        return Err(ApiError::invalid("password", fault));
    }
    proven(&state, &visitor, &user, Some(&new.current_password)).await?;
    let hash = password::hash(new.password).await?;
    let mut tx = state.app.store.begin().await?;
    users::set_password(&mut tx, &user.id, Some(hash)).await?;
    sessions::revoke(&mut tx, &user.id, Which::But(session)).await?;
    once::void(&mut tx, once::Purpose::PasswordReset, &user.id).await?;
    audit::note(&mut tx, &actor, "user.password", "user", &user.id, None).await?;
    tx.commit().await?;
    state.forget_user(id);
    Ok(StatusCode::NO_CONTENT)
}

/// The password, once more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leave {
    current_password: Option<String>,
}

/// Delete the account. What is personal is blanked; the id stays in the audit log.
#[utoipa::path(delete, path = "/api/v1/users/me", tag = "people", operation_id = "deleteMe", request_body = Leave,
    security(("bearer" = [])),
    responses((status = 204), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    visitor: Visitor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(leave): Body<Leave>,
) -> Result<StatusCode, ApiError> {
    let (id, user) = myself(&state, &actor).await?;
    proven(&state, &visitor, &user, leave.current_password.as_deref()).await?;
    let mut tx = state.app.store.begin().await?;
    let tenants = members::tenants_of(&mut tx, &user.id).await?;
    for tenant in &tenants {
        members::in_turn(&mut tx, tenant).await?;
    }
    let alone = members::owned_alone(&mut tx, &user.id).await?;
    if !alone.is_empty() {
        let message = "these tenants would be left without an owner; delete them or make another owner first";
        let mut error = ApiError::conflict("last_owner", message);
        let tenants = alone.into_iter().take(20);
        error.details =
            tenants.map(|place| Detail { field: "tenant".into(), code: place.id, message: place.name }).collect();
        return Err(error);
    }
    for tenant in tenants {
        let tenant: TenantId = tenant.parse().map_err(ApiError::internal)?;
        told(&mut tx, tenant, Name::MemberRemoved, json!({ "user_id": id })).await?;
        audit::note(&mut tx, &actor.inside(tenant), "user.delete", "user", &user.id, None).await?;
    }
    users::forget(&mut tx, &user.id).await?;
    tx.commit().await?;
    state.forget_user(id);
    Ok(StatusCode::NO_CONTENT)
}
