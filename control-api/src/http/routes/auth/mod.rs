//! Accounts and sign-in (API §1.1).

pub(crate) mod account;
pub(crate) mod oauth;
pub(crate) mod recovery;
pub(crate) mod sessions;
pub(crate) mod tokens;

use axum::http::{HeaderMap, HeaderValue, header};
use domain::{TenantId, event::Name};
use serde_json::json;
use sqlx::AnyConnection;

use crate::{
    NewEvent,
    auth::{
        AUDIENCE,
        jwt::Claims,
        sessions::{ACCESS_S, Device, Opened, REFRESH_S, Tokens, open},
        users::UserRow,
    },
    emit,
    http::{State, actor::Visitor, error::ApiError},
    money::ledger::{Account, Kind, Purse, Txn},
    people::{members, tenants},
    scope::Role,
    time::now_ms,
};

/// Where browsers keep the refresh token, out of reach of scripts and of other sites.
const COOKIE: &str = "st_refresh";

impl Visitor {
    fn device(&self) -> Device {
        Device { ip: self.ip, user_agent: self.user_agent.clone() }
    }
}

/// The tokens of a session that was begun or renewed.
async fn tokens(state: &State, opened: Opened, role: Role) -> Result<Tokens, ApiError> {
    let now = now_ms() / 1000;
    let claims = Claims {
        iss: state.app.settings.auth.base().to_owned(),
        aud: AUDIENCE.into(),
        sub: opened.user,
        tid: opened.tenant.clone(),
        role: role.to_string(),
        sid: opened.id.to_string(),
        iat: now,
        nbf: now,
        exp: now + ACCESS_S,
        jti: uuid::Uuid::now_v7().to_string(),
    };
    Ok(Tokens {
        access_token: state.auth.signing.sign(&claims).await?,
        token_type: "Bearer",
        expires_in: ACCESS_S,
        refresh_token: opened.refresh_token,
        refresh_expires_in: REFRESH_S,
        tenant_id: opened.tenant,
        role,
    })
}

/// Begins a session and gives its tokens.
async fn begin(
    state: &State,
    db: &mut AnyConnection,
    visitor: &Visitor,
    user: &str,
    tenant: &str,
) -> Result<Opened, ApiError> {
    let secret = state.app.store.secret().await?;
    Ok(open(db, &secret, user, tenant, &visitor.device()).await?)
}

/// `Set-Cookie` with the refresh token, or without one to take it away.
fn cookie(token: Option<&str>) -> [(header::HeaderName, HeaderValue); 1] {
    let (token, age) = token.map_or(("", 0), |token| (token, REFRESH_S));
    let text = format!("{COOKIE}={token}; HttpOnly; Secure; SameSite=Strict; Path=/api/v1/auth; Max-Age={age}");
    [(header::SET_COOKIE, HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("")))]
}

/// A cookie of a request.
fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| Some(pair.trim().strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

/// A new user's own tenant: owner, ledger, a credit to begin with, events.
async fn settle(
    state: &State,
    db: &mut AnyConnection,
    user: &UserRow,
    tenant_name: &str,
) -> Result<TenantId, ApiError> {
    let tenant = tenants::create(db, tenant_name, "UTC", &user.id).await?;
    let welcome = i64::from(state.app.settings.auth.welcome_micros);
    if welcome > 0 {
        let txn = Txn {
            kind: Kind::Promo,
            idem_key: format!("welcome:{tenant}"),
            call: None,
            lease: None,
            payment: None,
            memo: json!({ "text": "welcome" }),
            actor: "system",
            at_ms: now_ms(),
            entries: &[(Account::Promo, -welcome), (Account::Available, welcome)],
        };
        Purse::open(db, tenant, true).await?.post(db, txn).await.map_err(ApiError::internal)?;
    }
    told(db, tenant, Name::TenantCreated, json!({ "tenant_id": tenant, "owner_id": user.id })).await?;
    told(db, tenant, Name::UserCreated, json!({ "user_id": user.id })).await?;
    Ok(tenant)
}

/// An event of a tenant that no key caused.
pub(crate) async fn told(
    db: &mut AnyConnection,
    tenant: TenantId,
    kind: Name,
    data: serde_json::Value,
) -> Result<(), sqlx::Error> {
    emit(db, NewEvent { tenant, livemode: true, kind, data }).await
}

/// The role in which a user signs in to a tenant, the oldest one if none is named.
async fn place(db: &mut AnyConnection, user: &str, tenant: Option<TenantId>) -> Result<members::Place, ApiError> {
    let places = members::places(db, user).await?;
    let wanted = tenant.map(|tenant| tenant.to_string());
    let place = places.into_iter().find(|place| wanted.as_ref().is_none_or(|wanted| *wanted == place.id));
    place.ok_or_else(|| match wanted {
        Some(_) => ApiError::not_found(),
        None => ApiError::forbidden("no_membership", "this account belongs to no tenant; ask for an invitation"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1; xst_refresh=no; st_refresh=rt_1"));
        assert_eq!(cookie_of(&headers, COOKIE).as_deref(), Some("rt_1"));
        assert_eq!(cookie_of(&HeaderMap::new(), COOKIE), None);
        let set = cookie(Some("rt_1"));
        assert!(set[0].1.to_str().unwrap().starts_with("st_refresh=rt_1; HttpOnly; Secure; SameSite=Strict"));
    }
}
