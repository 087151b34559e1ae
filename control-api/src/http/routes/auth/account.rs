//! Register, sign in, stay signed in, sign out.

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use domain::{TenantId, event::Name};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{COOKIE, begin, cookie, cookie_of, place, settle, tokens, told};
use crate::{
    audit,
    auth::{
        Registration, letters, once, password,
        sessions::{self, Renewed, Tokens, Which},
        users::{self, NewUser, User},
    },
    http::{
        State,
        actor::{Actor, Visitor},
        body::Json as Body,
        change::Change,
        error::{ApiError, Detail, ErrorEnvelope},
        query::{NoParameters, Query},
        rate::{self, Source},
    },
    mail,
    people::{
        invitations,
        members::{self, Place},
        tenants::{self, Tenant},
    },
};

/// A new account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "janet@example.com", "password": "summer rain on tin", "name": "Janet Smith"}))]
pub(crate) struct Register {
    /// 3 to 254 characters.
    email: String,
    /// 10 to 200 characters, and none of the first that anybody would try.
    password: String,
    /// 1 to 100 characters.
    name: String,
    /// 1 to 100 characters; `name` when absent.
    tenant_name: Option<String>,
    /// The token of an invitation: the account joins that tenant and gets none of its own.
    invite_token: Option<String>,
    /// Who recommended us, 4 to 32 characters.
    #[serde(rename = "ref")]
    referral: Option<String>,
}

/// A new account, signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Registered {
    user: User,
    tenant: Tenant,
    tokens: Tokens,
}

/// Who signs in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    email: String,
    password: String,
    /// Where to work; the oldest membership when absent.
    tenant_id: Option<String>,
}

/// Signed in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    pub(super) user: User,
    pub(super) tokens: Tokens,
    /// Where else this user may work.
    pub(super) tenants: Vec<Place>,
}

/// Each account is counted beside each address.
fn count(state: &State, account: &str) -> Result<(), ApiError> {
    let standing = state.limiter.take(Source::account(account), rate::AUTH, Instant::now());
    if standing.passes { Ok(()) } else { Err(locked(standing.retry_after_s())) }
}

fn locked(wait_s: u32) -> ApiError {
    let message = "too many attempts; wait as Retry-After says";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(wait_s)
}

fn bad_credentials() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "bad_credentials", "the e-mail address or the password is wrong")
}

pub(crate) fn faults_of(email: Option<&str>, password: Option<&str>, names: &[(&str, &str)]) -> Result<(), ApiError> {
    let mut faults = Vec::new();
    let mut fault = |field: &str, message: String| {
        faults.push(Detail { field: field.into(), code: "invalid".into(), message });
    };
    if let Some(email) = email.filter(|email| !users::is_email(email)) {
        fault("email", format!("{:?} is no e-mail address", email.chars().take(64).collect::<String>()));
    }
    if let Some(reason) = password.and_then(|password| password::fault(password, email.unwrap_or_default())) {
        fault("password", reason.into());
    }
    for (field, name) in names {
        let count = name.chars().count();
        if !(1..=100).contains(&count) || name.contains('\0') {
            fault(field, format!("{field} has 1 to 100 characters, without NUL"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(ApiError::faults(faults)) }
}

/// Make an account.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "auth", operation_id = "register", request_body = Register,
    responses((status = 201, body = Registered), (status = 400, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn register(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    let new: Register = change.create(&["id", "role"])?;
    let tenant_name = new.tenant_name.as_deref().unwrap_or(&new.name);
    faults_of(Some(&new.email), Some(&new.password), &[("name", &new.name), ("tenant_name", tenant_name)])?;
    if new.referral.as_ref().is_some_and(|code| !(4..=32).contains(&code.chars().count())) {
        return Err(ApiError::invalid("ref", "ref has 4 to 32 characters"));
    }
    let open = state.app.settings.auth.registration;
    if open == Registration::Closed || (open == Registration::Invite && new.invite_token.is_none()) {
        return Err(ApiError::forbidden("registration_closed", "new accounts are not made here"));
    }
    let hash = password::hash(new.password).await?;
    let mut tx = state.app.store.begin().await?;
    let offer = match &new.invite_token {
        None => None,
        Some(token) => {
            let offer = invitations::by_token(&mut tx, token).await?;
            let good = offer.filter(|offer| offer.is_open && offer.email_key == users::email_key(&new.email));
            Some(good.ok_or_else(|| {
                ApiError::new(
                    StatusCode::BAD_REQUEST,
                    "token_invalid",
                    "the invitation is over, or for another address",
                )
                .at("invite_token")
            })?)
        }
    };
    let wanted = NewUser {
        email: &new.email,
        name: &new.name,
        password_hash: Some(hash),
        is_platform_admin: false,
        // The link of an invitation proves nothing: whoever invited has it too.
        email_verified: false,
    };
    let user = users::create(&mut tx, wanted).await?;
    let user =
        user.ok_or_else(|| ApiError::conflict("email_taken", "there is an account with this address").at("email"))?;
    let token = once::issue(&mut tx, once::Purpose::EmailVerify, Some(&user.id), &user.email).await?;
    let base = state.app.settings.auth.base();
    mail::queue(&mut tx, letters::verify_email(base, &user.email, &user.name, &token)).await?;
    let (tenant, role) = match offer {
        None => (settle(&state, &mut tx, &user, tenant_name).await?, crate::scope::Role::Owner),
        Some(offer) => {
            if !invitations::take(&mut tx, &offer).await? {
                return Err(ApiError::conflict("conflict", "the invitation has just been taken"));
            }
            members::add(&mut tx, &offer.tenant, &user.id, offer.role).await?;
            let tenant: TenantId = offer.tenant.parse().map_err(ApiError::internal)?;
            told(&mut tx, tenant, Name::UserCreated, json!({ "user_id": user.id })).await?;
            told(&mut tx, tenant, Name::MemberJoined, json!({ "user_id": user.id, "role": offer.role })).await?;
            (tenant, offer.role)
        }
    };
    let opened = begin(&state, &mut tx, &visitor, &user.id, &tenant.to_string()).await?;
    let id = user.id.parse().map_err(ApiError::internal)?;
    let actor = Actor::arriving(&visitor, tenant, id, opened.id);
    audit::note(&mut tx, &actor, "user.register", "user", &user.id, None).await?;
    let shown = tenants::get(&mut tx, &tenant.to_string()).await?.ok_or_else(ApiError::not_found)?.shown;
    tx.commit().await?;
    let tokens = tokens(&state, opened, role).await?;
    let set = cookie(Some(&tokens.refresh_token));
    Ok((StatusCode::CREATED, set, Json(Registered { user: user.into(), tenant: shown, tokens })).into_response())
}

/// Sign in with a password.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "auth", operation_id = "login", request_body = Login,
    responses((status = 200, body = LoggedIn), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn login(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(login): Body<Login>,
) -> Result<Response, ApiError> {
    let account = users::email_key(&login.email.chars().take(254).collect::<String>());
    if let Some(wait) = state.auth.lockout.wait_s(&account, visitor.ip, std::time::Instant::now()) {
        return Err(locked(wait));
    }
    count(&state, &account)?;
    let mut db = state.app.store.pool().acquire().await?;
    let user = users::by_email(&mut db, &account).await?;
    drop(db);
    let hash = user.as_ref().and_then(|user| user.password_hash.clone());
    // Nobody's password takes as long to check as somebody's, and a long one is refused like a wrong one.
    let password = login.password.chars().take(200).collect();
    let good = password::matches(password, hash).await?;
    let Some(user) = user.filter(|_| good) else {
        state.auth.lockout.failed(&account, visitor.ip, std::time::Instant::now());
        return Err(bad_credentials());
    };
    state.auth.lockout.forget(&account, visitor.ip);
    let tenant = match login.tenant_id.as_deref() {
        None => None,
        Some(id) => Some(id.parse::<TenantId>().map_err(|_| ApiError::not_found())?),
    };
    enter(&state, &visitor, user, tenant, "user.login").await
}

/// Begins a session for a user who has proven who they are.
pub(super) async fn enter(
    state: &State,
    visitor: &Visitor,
    user: users::UserRow,
    tenant: Option<TenantId>,
    how: &'static str,
) -> Result<Response, ApiError> {
    if user.blocked_at.is_some() {
        return Err(ApiError::forbidden("blocked", "this account is blocked"));
    }
    let mut tx = state.app.store.begin().await?;
    let place = place(&mut tx, &user.id, tenant).await?;
    let opened = begin(state, &mut tx, visitor, &user.id, &place.id).await?;
    let (id, tenant) = (user.id.parse().map_err(ApiError::internal)?, place.id.parse().map_err(ApiError::internal)?);
    let actor = Actor::arriving(visitor, tenant, id, opened.id);
    audit::note(&mut tx, &actor, how, "session", &opened.id.to_string(), None).await?;
    let tenants = members::places(&mut tx, &user.id).await?;
    tx.commit().await?;
    let tokens = tokens(state, opened, place.role).await?;
    let set = cookie(Some(&tokens.refresh_token));
    Ok((set, Json(LoggedIn { user: user.into(), tokens, tenants })).into_response())
}

/// A refresh token; from the cookie when absent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refresh {
    refresh_token: Option<String>,
}

/// Exchange a refresh token for new tokens. Used twice, it ends the session.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "auth", operation_id = "refresh", request_body = Option<Refresh>,
    responses((status = 200, body = Tokens), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn refresh(
    Extract(state): Extract<State>,
    visitor: Visitor,
    headers: HeaderMap,
    Query(NoParameters {}): Query<NoParameters>,
    Body(refresh): Body<Refresh>,
) -> Result<Response, ApiError> {
    let refused = |code, message| Err(ApiError::new(StatusCode::UNAUTHORIZED, code, message));
    let Some(token) = refresh.refresh_token.or_else(|| cookie_of(&headers, COOKIE)) else {
        return refused("refresh_invalid", "no refresh token");
    };
    let secret = state.app.store.secret().await?;
    let mut tx = state.app.store.begin().await?;
    let opened = match sessions::renew(&mut tx, &secret, &token).await? {
        Renewed::Good(opened) => opened,
        Renewed::Invalid => return refused("refresh_invalid", "the refresh token is not good, or its session is over"),
        Renewed::Reused { session, user, tenant } => {
            let (id, tenant) = (user.parse().map_err(ApiError::internal)?, tenant.parse().map_err(ApiError::internal)?);
            let actor = Actor::arriving(&visitor, tenant, id, session);
            audit::note(&mut tx, &actor, "session.refresh_reused", "session", &session.to_string(), None).await?;
            tx.commit().await?;
            state.auth.seen.forget_user(&user);
            return refused("refresh_reused", "the refresh token was used before; the session is over");
        }
    };
    let user = users::by_id(&mut tx, &opened.user).await?;
    let blocked = user.is_none_or(|user| user.blocked_at.is_some());
    let places = members::places(&mut tx, &opened.user).await?;
    let place = places.into_iter().find(|place| place.id == opened.tenant);
    let Some(place) = place.filter(|_| !blocked) else {
        return Err(ApiError::forbidden("blocked", "this account can no longer work here"));
    };
    tx.commit().await?;
    let tokens = tokens(&state, opened, place.role).await?;
    Ok((cookie(Some(&tokens.refresh_token)), Json(tokens)).into_response())
}

/// Where to go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switch {
    tenant_id: String,
}

/// Work in another tenant: tokens of a session there.
#[utoipa::path(post, path = "/api/v1/auth/switch", tag = "auth", operation_id = "switchTenant", request_body = Switch,
    security(("bearer" = [])),
    responses((status = 200, body = Tokens), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn switch(
    Extract(state): Extract<State>,
    actor: Actor,
    visitor: Visitor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(switch): Body<Switch>,
) -> Result<Response, ApiError> {
    let (user, _) = actor.user()?;
    let tenant = switch.tenant_id.parse().map_err(|_| ApiError::not_found())?;
    let mut tx = state.app.store.begin().await?;
    let place = place(&mut tx, &user.to_string(), Some(tenant)).await?;
    let opened = begin(&state, &mut tx, &visitor, &user.to_string(), &place.id).await?;
    let there = Actor::arriving(&visitor, tenant, user, opened.id);
    audit::note(&mut tx, &there, "user.switch", "session", &opened.id.to_string(), None).await?;
    tx.commit().await?;
    let tokens = tokens(&state, opened, place.role).await?;
    Ok((cookie(Some(&tokens.refresh_token)), Json(tokens)).into_response())
}

/// How far to sign out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logout {
    /// On all devices.
    #[serde(default)]
    all: bool,
}

/// Sign out, here or everywhere. Access tokens die with their session, within five seconds.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth", operation_id = "logout", request_body = Option<Logout>,
    security(("bearer" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn logout(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(logout): Body<Logout>,
) -> Result<Response, ApiError> {
    let (user, session) = actor.user()?;
    let user = user.to_string();
    let mut tx = state.app.store.begin().await?;
    let which = if logout.all { Which::All } else { Which::One(session) };
    sessions::revoke(&mut tx, &user, which).await?;
    audit::note(&mut tx, &actor, "user.logout", "session", &session.to_string(), Some(&json!({ "all": logout.all })))
        .await?;
    tx.commit().await?;
    state.auth.seen.forget_user(&user);
    Ok((StatusCode::NO_CONTENT, cookie(None)).into_response())
}
