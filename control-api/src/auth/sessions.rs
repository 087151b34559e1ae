//! Sessions: what a person who signed in holds. An access token for a quarter of an hour, and a refresh token that is good once.
//!
//! A refresh token names its session and is sealed by the installation. So one that was used before is recognised however old it is:
//! somebody has a copy, and the session ends for both (RFC 9700 §4.14.2).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::{SessionId, TenantId, UserId};
use serde::Serialize;
use sqlx::{AnyConnection, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Store,
    scope::{Role, Scopes},
    seal,
    store::storable,
    time::now_ms,
};

/// How long an access token lives, s.
pub(crate) const ACCESS_S: i64 = 900;
/// How long a session lives without being used, s.
pub(crate) const REFRESH_S: i64 = 2_592_000;
/// How long a session is believed without asking the store.
const BELIEVED: Duration = Duration::from_secs(5);

/// What a client gets when it signs in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// A JWT, signed RS256.
    pub(crate) access_token: String,
    /// `Bearer`.
    pub(crate) token_type: &'static str,
    /// Seconds.
    pub(crate) expires_in: i64,
    /// Good once; the answer to it brings the next.
    pub(crate) refresh_token: String,
    /// Seconds.
    pub(crate) refresh_expires_in: i64,
    pub(crate) tenant_id: String,
    pub(crate) role: Role,
}

/// Where a session was begun from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) user_agent: Option<String>,
}

/// A session that has just been begun or renewed.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: SessionId,
    pub(crate) user: String,
    pub(crate) tenant: String,
    pub(crate) refresh_token: String,
}

fn refresh_token(secret: &[u8; 32], session: SessionId) -> String {
    let body = format!("rt_{}{}", session.0.simple(), seal::fresh_token(""));
    let tag = seal::hex(&seal::hmac(secret, body.as_bytes())[..8]);
    body + &tag
}

/// The session that a refresh token names, if we made the token.
fn session_of(secret: &[u8; 32], token: &str) -> Option<SessionId> {
    let (body, tag) = token.split_at_checked(token.len().checked_sub(16)?)?;
    let own = seal::hex(&seal::hmac(secret, body.as_bytes())[..8]);
    let id = body.strip_prefix("rt_")?.get(..32)?;
    seal::same(own.as_bytes(), tag.as_bytes()).then(|| Uuid::try_parse(id).ok().map(SessionId))?
}

/// Begins a session.
pub(crate) async fn open(
    db: &mut AnyConnection,
    secret: &[u8; 32],
    user: &str,
    tenant: &str,
    device: &Device,
) -> Result<Opened, sqlx::Error> {
    let (id, now) = (SessionId(Uuid::now_v7()), now_ms());
    let token = refresh_token(secret, id);
    let agent = device.user_agent.as_deref().map(|agent| storable(&agent.chars().take(200).collect::<String>()));
    sqlx::query(
        "INSERT INTO sessions (id, user_id, tenant_id, refresh_hash, ip, user_agent, created_at, rotated_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)",
    )
    .bind(id.to_string())
    .bind(user.to_owned())
    .bind(tenant.to_owned())
    .bind(seal::sha256_hex(token.as_bytes()))
    .bind(device.ip.map(|ip| ip.to_string()))
    .bind(agent)
    .bind(now)
    .bind(now + REFRESH_S * 1000)
    .execute(db)
    .await?;
    Ok(Opened { id, user: user.to_owned(), tenant: tenant.to_owned(), refresh_token: token })
}

/// What became of a refresh token.
#[derive(Debug)]
pub(crate) enum Renewed {
    /// It was good, and is no more.
    Good(Opened),
    /// It was good once before: the session is over. Whose it was.
    Reused { session: SessionId, user: String, tenant: String },
    /// Not ours, or of a session that is over.
    Invalid,
}

/// Exchanges a refresh token for the next one.
pub(crate) async fn renew(db: &mut AnyConnection, secret: &[u8; 32], token: &str) -> Result<Renewed, sqlx::Error> {
    let Some(id) = session_of(secret, token) else { return Ok(Renewed::Invalid) };
    let (now, next) = (now_ms(), refresh_token(secret, id));
    let row = sqlx::query(
        "UPDATE sessions SET refresh_hash = $1, prev_refresh_hash = refresh_hash, rotated_at = $2, expires_at = $3
         WHERE id = $4 AND refresh_hash = $5 AND revoked_at IS NULL AND expires_at > $2 RETURNING user_id, tenant_id",
    )
    .bind(seal::sha256_hex(next.as_bytes()))
    .bind(now)
    .bind(now + REFRESH_S * 1000)
    .bind(id.to_string())
    .bind(seal::sha256_hex(token.as_bytes()))
    .fetch_optional(&mut *db)
    .await?;
    if let Some(row) = row {
        let (user, tenant) = (row.try_get(0)?, row.try_get(1)?);
        return Ok(Renewed::Good(Opened { id, user, tenant, refresh_token: next }));
    }
    let row = sqlx::query(
        "UPDATE sessions SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL AND expires_at > $1 AND refresh_hash <> $3
         RETURNING user_id, tenant_id",
    )
    .bind(now)
    .bind(id.to_string())
    .bind(seal::sha256_hex(token.as_bytes()))
    .fetch_optional(db)
    .await?;
    match row {
        Some(row) => Ok(Renewed::Reused { session: id, user: row.try_get(0)?, tenant: row.try_get(1)? }),
        None => Ok(Renewed::Invalid),
    }
}

/// Which sessions of a user end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    All,
    One(SessionId),
    /// All others.
    But(SessionId),
    /// Those in a tenant.
    In(&'a str),
}

/// Ends sessions of a user; how many. Access tokens die with them, within five seconds on all nodes.
pub(crate) async fn revoke(db: &mut AnyConnection, user: &str, which: Which<'_>) -> Result<u64, sqlx::Error> {
    let sql = match which {
        Which::All => "UPDATE sessions SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL AND $3 = ''",
        Which::One(_) => "UPDATE sessions SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL AND id = $3",
        Which::But(_) => "UPDATE sessions SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL AND id <> $3",
        Which::In(_) => {
            "UPDATE sessions SET revoked_at = $1 WHERE user_id = $2 AND revoked_at IS NULL AND tenant_id = $3"
        }
    };
    let object = match which {
        Which::All => String::new(),
        Which::One(id) | Which::But(id) => id.to_string(),
        Which::In(tenant) => tenant.to_owned(),
    };
    if matches!(which, Which::All) {
        sqlx::query("UPDATE users SET token_epoch = token_epoch + 1 WHERE id = $1")
            .bind(user.to_owned())
            .execute(&mut *db)
            .await?;
    }
    Ok(sqlx::query(sql).bind(now_ms()).bind(user.to_owned()).bind(object).execute(db).await?.rows_affected())
}

/// What a session may do now.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) user: UserId,
    pub(crate) tenant: TenantId,
    pub(crate) role: Option<Role>,
    pub(crate) scopes: Scopes,
    pub(crate) blocked: bool,
    pub(crate) require_if_match: bool,
}

/// What a member may do, by the words of the store: role, the tenant's settings, whether the user runs the platform.
pub(crate) fn member_scopes(role: Option<Role>, is_platform_admin: bool, settings: &serde_json::Value) -> Scopes {
    let mut scopes = role.map_or(Scopes::NONE, Scopes::of);
    if role == Some(Role::Analyst) && settings["mask_numbers_for_analyst"] == false {
        scopes = scopes | Scopes::named("calls:pii").unwrap_or_default();
    }
    if is_platform_admin { scopes | Scopes::of(Role::Owner) | Scopes::platform() } else { scopes }
}

impl Store {
    /// How a session stands; none if it is over, or its user or tenant is gone.
    pub(crate) async fn session(&self, id: SessionId) -> Result<Option<Standing>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT s.user_id, s.tenant_id, u.blocked_at, u.is_platform_admin, m.role, m.blocked_at AS member_blocked_at, t.settings
             FROM sessions s JOIN users u ON u.id = s.user_id JOIN tenants t ON t.id = s.tenant_id
             LEFT JOIN memberships m ON m.tenant_id = s.tenant_id AND m.user_id = s.user_id
             WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND u.deleted_at IS NULL AND t.status = 'active'",
        )
        .bind(id.to_string())
        .bind(now_ms())
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let (user, tenant): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (Ok(user), Ok(tenant)) = (user.parse(), tenant.parse()) else { return Ok(None) };
        let blocked = row.try_get::<Option<i64>, _>(2)?.or(row.try_get::<Option<i64>, _>(5)?).is_some();
        let is_platform_admin = row.try_get::<i64, _>(3)? != 0;
        let role: Option<Role> = row.try_get::<Option<String>, _>(4)?.and_then(|role| role.parse().ok());
        if role.is_none() && !is_platform_admin {
            return Ok(None);
        }
        let settings = serde_json::from_str(&row.try_get::<String, _>(6)?).unwrap_or_default();
        let scopes = member_scopes(role, is_platform_admin, &settings);
        let require_if_match = settings["require_if_match"] == true;
        Ok(Some(Standing { user, tenant, role, scopes, blocked, require_if_match }))
    }
}

/// Sessions seen lately.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<SessionId, (Arc<Standing>, Instant)>>);

impl Seen {
    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Standing>> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (standing, at) = seen.get(&id)?;
        (at.elapsed() < BELIEVED).then(|| Arc::clone(standing))
    }

    pub(crate) fn put(&self, id: SessionId, standing: Arc<Standing>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= 4096 {
            seen.retain(|_, (_, at)| at.elapsed() < BELIEVED);
        }
        seen.insert(id, (standing, Instant::now()));
    }

    /// What this node itself has just changed counts at once.
    pub(crate) fn forget_user(&self, user: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (standing, _)| standing.user.to_string() != user);
    }

    /// The same for everybody in a tenant.
    pub(crate) fn forget_tenant(&self, tenant: TenantId) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, (standing, _)| standing.tenant != tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_names_its_session_to_the_installation_that_made_it() {
        let (secret, id) = ([7; 32], SessionId(Uuid::now_v7()));
        let token = refresh_token(&secret, id);
        assert_eq!(session_of(&secret, &token), Some(id));
        assert_ne!(token, refresh_token(&secret, id));
        assert_eq!(session_of(&[8; 32], &token), None);
        for broken in ["", "rt_", "x", "ééééééééééééé", &token[1..], &token[..token.len() - 1]] {
            assert_eq!(session_of(&secret, broken), None, "{broken}");
        }
    }
}
