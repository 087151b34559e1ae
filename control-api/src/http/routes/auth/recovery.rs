//! Passwords forgotten and addresses proven, by letters with a link that works once.

use axum::{Json, extract::State as Extract, http::StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::account::faults_of;
use crate::{
    auth::{
        letters,
        once::{self, Purpose},
        password,
        sessions::{self, Which},
        users,
    },
    http::{
        State,
        body::Json as Body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
        rate::{self, Source},
    },
    mail,
};

/// Whose password was forgotten.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgot {
    email: String,
}

/// Nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Empty {}

/// Send a letter with a link for a new password, if there is such an account. The answer does not tell.
#[utoipa::path(post, path = "/api/v1/auth/forgot-password", tag = "auth", operation_id = "forgotPassword", request_body = Forgot,
    responses((status = 202, body = Empty), (status = 400, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn forgot(
    Extract(state): Extract<State>,
    Query(NoParameters {}): Query<NoParameters>,
    Body(forgot): Body<Forgot>,
) -> Result<(StatusCode, Json<Empty>), ApiError> {
    faults_of(Some(&forgot.email), None, &[])?;
    let account = users::email_key(&forgot.email);
    let standing = state.limiter.take(Source::account(&account), rate::AUTH, Instant::now());
    if standing.passes {
        // In its own time: the answer is the same, and as quick, for an address that nobody has.
        tokio::spawn(async move {
            if let Err(error) = send_reset(&state, &account).await {
                tracing::error!(?error, "a password letter could not be queued");
            }
        });
    }
    Ok((StatusCode::ACCEPTED, Json(Empty {})))
}

async fn send_reset(state: &State, account: &str) -> Result<(), ApiError> {
    let mut tx = state.app.store.begin().await?;
    let Some(user) = users::by_email(&mut tx, account).await?.filter(|user| user.blocked_at.is_none()) else {
        return Ok(());
    };
    once::void(&mut tx, Purpose::PasswordReset, &user.id).await?;
    let token = once::issue(&mut tx, Purpose::PasswordReset, Some(&user.id), &user.email).await?;
    let letter = letters::password_reset(state.app.settings.auth.base(), &user.email, &user.name, &token);
    mail::queue(&mut tx, letter).await?;
    Ok(tx.commit().await?)
}

/// The link's token, and the password that is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    token: String,
    /// 10 to 200 characters.
    password: String,
}

fn token_invalid() -> ApiError {
    let message = "the token is unknown, used or too old";
    ApiError::new(StatusCode::BAD_REQUEST, "token_invalid", message).at("token")
}

/// Choose a new password. All sessions end.
#[utoipa::path(post, path = "/api/v1/auth/reset-password", tag = "auth", operation_id = "resetPassword", request_body = Reset,
    responses((status = 204), (status = 400, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn reset(
    Extract(state): Extract<State>,
    Query(NoParameters {}): Query<NoParameters>,
    Body(reset): Body<Reset>,
) -> Result<StatusCode, ApiError> {
    faults_of(None, Some(&reset.password), &[])?;
    let hash = password::hash(reset.password).await?;
    let mut tx = state.app.store.begin().await?;
    let used = once::redeem::<String>(&mut tx, Purpose::PasswordReset, &reset.token).await?;
    let (user, email) = used.and_then(|used| Some((used.user?, used.data))).ok_or_else(token_invalid)?;
    let row = users::by_id(&mut tx, &user).await?.ok_or_else(token_invalid)?;
    users::set_password(&mut tx, &user, Some(hash)).await?;
    if users::email_key(&row.email) == users::email_key(&email) {
        // The letter arrived: the address is theirs.
        users::set_verified(&mut tx, &user).await?;
    }
    sessions::revoke(&mut tx, &user, Which::All).await?;
    once::void(&mut tx, Purpose::PasswordReset, &user).await?;
    tx.commit().await?;
    state.auth.seen.forget_user(&user);
    Ok(StatusCode::NO_CONTENT)
}

/// The link's token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Verify {
    token: String,
}

/// Prove an address. A changed one takes effect now.
#[utoipa::path(post, path = "/api/v1/auth/verify-email", tag = "auth", operation_id = "verifyEmail", request_body = Verify,
    responses((status = 204), (status = 400, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope),
        (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn verify(
    Extract(state): Extract<State>,
    Query(NoParameters {}): Query<NoParameters>,
    Body(verify): Body<Verify>,
) -> Result<StatusCode, ApiError> {
    let mut tx = state.app.store.begin().await?;
    let used = once::redeem::<String>(&mut tx, Purpose::EmailVerify, &verify.token).await?;
    let (user, email) = used.and_then(|used| Some((used.user?, used.data))).ok_or_else(token_invalid)?;
    let row = users::by_id(&mut tx, &user).await?.ok_or_else(token_invalid)?;
    if users::email_key(&row.email) != users::email_key(&email) && !users::set_email(&mut tx, &user, &email).await? {
        return Err(ApiError::conflict("email_taken", "there is an account with this address").at("email"));
    }
    users::set_verified(&mut tx, &user).await?;
    // A link that went to the address before is good no more.
    once::void(&mut tx, Purpose::PasswordReset, &user).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
