//! Sign-in through others: there and back again with the browser, and then one exchange that gives the tokens.
//!
//! The state is bound to the browser by a cookie, so that nobody can be signed in to somebody else's account by a link (RFC 9700 §4.7).

use axum::{
    extract::{Path, State as Extract},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::event::Name;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{AnyConnection, Row as _};
use utoipa::{IntoParams, ToSchema};

use super::{
    account::{LoggedIn, enter},
    cookie_of, settle, told,
};
use crate::{
    auth::{
        Registration,
        oauth::{OauthError, Person, Provider, Secrets},
        once::{self, Purpose},
        sessions::{self, Which},
        users::{self, NewUser, UserRow},
    },
    http::{
        State,
        actor::Visitor,
        body::Json as Body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
    people::{invitations, members},
    seal,
    time::now_ms,
};

const COOKIE: &str = "st_oauth";

/// Where the browser goes afterwards.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Start {
    /// A path of this server, `/` when absent. A `code` for `oauth/exchange` is added.
    redirect: Option<String>,
    /// Who recommended us.
    #[serde(rename = "ref")]
    referral: Option<String>,
    /// The token of an invitation.
    invite_token: Option<String>,
}

/// What is remembered until the browser is back.
#[derive(Debug, Serialize, Deserialize)]
struct Way {
    provider: String,
    redirect: String,
    verifier: String,
    nonce: String,
    /// Hash of what the browser keeps in its cookie.
    browser: String,
    invite_token: Option<String>,
}

fn provider(state: &State, name: &str) -> Result<Provider, ApiError> {
    let unknown = || ApiError::new(StatusCode::NOT_FOUND, "unknown_provider", "nobody of that name signs in here");
    let settings = state.app.settings.auth.providers.get(name).filter(|provider| !provider.client_id.is_empty());
    let http = state.auth.http.clone().ok_or_else(|| ApiError::internal("no HTTP client"))?;
    Ok(Provider::new(name, settings.ok_or_else(unknown)?, http))
}

fn failed(error: OauthError) -> ApiError {
    tracing::warn!(%error, "sign-in through a provider failed");
    match error {
        OauthError::Provider(_) => ApiError::new(
            StatusCode::BAD_GATEWAY,
            "vendor_failed",
            "the provider does not answer as it should; try again",
        ),
        OauthError::Refused(reason) => ApiError::new(StatusCode::BAD_REQUEST, "oauth_refused", reason),
    }
}

fn bad_state() -> ApiError {
    let message = "this sign-in was not begun in this browser, or is too old; begin again";
    ApiError::new(StatusCode::BAD_REQUEST, "oauth_state", message).at("state")
}

fn callback_url(state: &State, provider: &str) -> String {
    format!("{}/api/v1/auth/oauth/{provider}/callback", state.app.settings.auth.base())
}

/// A path of our own origin and nothing that a browser reads as another one.
fn own_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= 2048
        && path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'))
}

fn found(location: &str, cookie: &str) -> Result<Response, ApiError> {
    let header = |text: &str| HeaderValue::from_str(text).map_err(ApiError::internal);
    Ok((StatusCode::FOUND, [(header::LOCATION, header(location)?), (header::SET_COOKIE, header(cookie)?)])
        .into_response())
}

/// Go to a provider to sign in.
#[utoipa::path(get, path = "/api/v1/auth/oauth/{provider}", tag = "auth", operation_id = "oauthStart",
    params(("provider" = String, Path, description = "`google`, `github`, or a configured name"), Start),
    responses((status = 302, description = "to the provider"), (status = 400, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 502, body = ErrorEnvelope)))]
pub(crate) async fn start(
    Extract(state): Extract<State>,
    Path(name): Path<String>,
    Query(start): Query<Start>,
) -> Result<Response, ApiError> {
    let provider = provider(&state, &name)?;
    let redirect = start.redirect.unwrap_or_else(|| "/".into());
    if !own_path(&redirect) {
        return Err(ApiError::invalid("redirect", "redirect is a path of this server, as /welcome"));
    }
    if start.referral.as_ref().is_some_and(|code| !(4..=32).contains(&code.chars().count())) {
        return Err(ApiError::invalid("ref", "ref has 4 to 32 characters"));
    }
    let endpoints = provider.endpoints().await.map_err(failed)?;
    let browser = seal::fresh_token("");
    let secrets = Secrets { verifier: seal::fresh_token(""), nonce: seal::fresh_token("") };
    let way = Way {
        provider: name.clone(),
        redirect,
        verifier: secrets.verifier.clone(),
        nonce: secrets.nonce.clone(),
        browser: seal::sha256_hex(browser.as_bytes()),
        invite_token: start.invite_token,
    };
    let mut tx = state.app.store.begin().await?;
    let token = once::issue(&mut tx, Purpose::OauthState, None, &way).await?;
    tx.commit().await?;
    let url = provider.authorize_url(&endpoints, &callback_url(&state, &name), &token, &secrets).map_err(failed)?;
    // Lax: the way back is a navigation from the provider's site, which Strict would leave without cookies.
    let cookie = format!("{COOKIE}={browser}; HttpOnly; Secure; SameSite=Lax; Path=/api/v1/auth/oauth; Max-Age=600");
    found(&url, &cookie)
}

/// What the provider sends back. It may send more than we read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Callback {
    code: Option<String>,
    state: Option<String>,
    /// Why there is no code.
    error: Option<String>,
}

/// Come back from a provider.
#[utoipa::path(get, path = "/api/v1/auth/oauth/{provider}/callback", tag = "auth", operation_id = "oauthCallback",
    params(("provider" = String, Path, description = "The provider"), Callback),
    responses((status = 302, description = "to the dashboard, with a `code` that is good once, for a minute"),
        (status = 400, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 502, body = ErrorEnvelope)))]
pub(crate) async fn callback(
    Extract(state): Extract<State>,
    Path(name): Path<String>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Result<Response, ApiError> {
    let provider = provider(&state, &name)?;
    let token = callback.state.ok_or_else(bad_state)?;
    let mut tx = state.app.store.begin().await?;
    let way = once::redeem::<Way>(&mut tx, Purpose::OauthState, &token).await?.ok_or_else(bad_state)?.data;
    tx.commit().await?;
    let browser = cookie_of(&headers, COOKIE).map(|browser| seal::sha256_hex(browser.as_bytes()));
    if way.provider != name || browser.as_deref() != Some(way.browser.as_str()) {
        return Err(bad_state());
    }
    if callback.error.is_some() {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "oauth_refused",
            "the sign-in was given up at the provider",
        ));
    }
    let code = callback.code.ok_or_else(bad_state)?;
    let secrets = Secrets { verifier: way.verifier.clone(), nonce: way.nonce.clone() };
    let person = provider.person(&code, &callback_url(&state, &name), &secrets).await.map_err(failed)?;
    let mut tx = state.app.store.begin().await?;
    let user = arrive(&state, &mut tx, &name, person, way.invite_token.as_deref()).await?;
    let code = once::issue(&mut tx, Purpose::OauthCode, Some(&user.id), &()).await?;
    tx.commit().await?;
    state.auth.seen.forget_user(&user.id);
    let join = if way.redirect.contains('?') { '&' } else { '?' };
    let gone = format!("{COOKIE}=; HttpOnly; Secure; SameSite=Lax; Path=/api/v1/auth/oauth; Max-Age=0");
    found(&format!("{}{join}code={code}", way.redirect), &gone)
}

/// The user of a person at a provider: known, linked by a proven address, or new.
async fn arrive(
    state: &State,
    tx: &mut AnyConnection,
    provider: &str,
    person: Person,
    invite_token: Option<&str>,
) -> Result<UserRow, ApiError> {
    let known = sqlx::query("SELECT user_id FROM oauth_identities WHERE provider = $1 AND subject = $2")
        .bind(provider.to_owned())
        .bind(person.subject.clone())
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(row) = known {
        let user = users::by_id(tx, &row.try_get::<String, _>(0)?).await?;
        return user.ok_or_else(|| ApiError::forbidden("blocked", "this account was deleted"));
    }
    let unproven = || {
        let message = "the provider does not say that your e-mail address is yours";
        ApiError::forbidden("email_unverified", message)
    };
    let email =
        person.email.clone().filter(|email| person.email_verified && users::is_email(email)).ok_or_else(unproven)?;
    let user = match users::by_email(tx, &email).await? {
        Some(user) => {
            if user.email_verified_at.is_none() {
                // Whoever registered this address never proved it; who does so now must not share the account with them.
                users::set_password(tx, &user.id, None).await?;
                sessions::revoke(tx, &user.id, Which::All).await?;
                users::set_verified(tx, &user.id).await?;
            }
            user
        }
        None => newcomer(state, tx, &email, &person, invite_token).await?,
    };
    sqlx::query(
        "INSERT INTO oauth_identities (provider, subject, user_id, email_key, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(provider.to_owned())
    .bind(person.subject)
    .bind(user.id.clone())
    .bind(users::email_key(&email))
    .bind(now_ms())
    .execute(&mut *tx)
    .await?;
    Ok(user)
}

async fn newcomer(
    state: &State,
    tx: &mut AnyConnection,
    email: &str,
    person: &Person,
    invite_token: Option<&str>,
) -> Result<UserRow, ApiError> {
    let offer = match invite_token {
        Some(token) => invitations::by_token(tx, token).await?,
        None => None,
    };
    let offer = offer.filter(|offer| offer.is_open && offer.email_key == users::email_key(email));
    let open = state.app.settings.auth.registration;
    if open == Registration::Closed || (open == Registration::Invite && offer.is_none()) {
        return Err(ApiError::forbidden("registration_closed", "new accounts are not made here"));
    }
    let name =
        person.name.as_deref().unwrap_or(email).chars().filter(|c| !c.is_control()).take(100).collect::<String>();
    let name = if name.is_empty() { email.chars().take(100).collect() } else { name };
    let new = NewUser { email, name: &name, password_hash: None, is_platform_admin: false, email_verified: true };
    let user = users::create(tx, new)
        .await?
        .ok_or_else(|| ApiError::conflict("email_taken", "there is an account with this address"))?;
    match offer {
        Some(offer) if invitations::take(tx, &offer).await? => {
            members::add(tx, &offer.tenant, &user.id, offer.role).await?;
            let tenant = offer.tenant.parse().map_err(ApiError::internal)?;
            told(tx, tenant, Name::UserCreated, json!({ "user_id": user.id })).await?;
            told(tx, tenant, Name::MemberJoined, json!({ "user_id": user.id, "role": offer.role })).await?;
        }
        _ => {
            settle(state, tx, &user, &name).await?;
        }
    }
    Ok(user)
}

/// The code that the dashboard was given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exchange {
    code: String,
}

/// Exchange the code of a sign-in through others for tokens.
#[utoipa::path(post, path = "/api/v1/auth/oauth/exchange", tag = "auth", operation_id = "oauthExchange", request_body = Exchange,
    responses((status = 200, body = LoggedIn), (status = 400, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn exchange(
    Extract(state): Extract<State>,
    visitor: Visitor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(exchange): Body<Exchange>,
) -> Result<Response, ApiError> {
    let invalid = || {
        let message = "the code is unknown, used or too old";
        ApiError::new(StatusCode::BAD_REQUEST, "token_invalid", message).at("code")
    };
    let mut tx = state.app.store.begin().await?;
    let used = once::redeem::<()>(&mut tx, Purpose::OauthCode, &exchange.code).await?;
    let user = used.and_then(|used| used.user).ok_or_else(invalid)?;
    let user = users::by_id(&mut tx, &user).await?.ok_or_else(invalid)?;
    tx.commit().await?;
    enter(&state, &visitor, user, None, "user.login_oauth").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_our_own_are_gone_back_to() {
        assert!(own_path("/") && own_path("/welcome?from=google#x"));
        for foreign in [
            "",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "welcome",
            "/a b",
            "/a\r\nX: y",
            "javascript:1",
        ] {
            assert!(!own_path(foreign), "{foreign}");
        }
    }
}
