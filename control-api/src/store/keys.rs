//! API keys: made once, found by the hash of what was sent.

use std::collections::HashSet;

use domain::{ApiKeyId, TenantId, UserId};
use ipnet::IpNet;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{
    Store, json_text,
    page::{Bound, Page},
    storable,
};
use crate::{
    auth::sessions::member_scopes,
    scope::{Role, Scopes},
    time::now_ms,
};

/// Requests a minute at most; what the first run's key has.
pub(crate) const FASTEST: i64 = 6000;

/// Who a request with a key speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    pub(crate) key: ApiKeyId,
    pub(crate) tenant: TenantId,
    /// False for test keys.
    pub(crate) livemode: bool,
    pub(crate) scopes: Scopes,
    /// Where it may be used from; anywhere when absent.
    pub(crate) allowed: Option<Vec<IpNet>>,
    pub(crate) rate_per_min: u32,
    /// Pages that a public key may be used on; null for the others.
    pub(crate) origins: Option<Vec<String>>,
    /// Whose scopes bound the key's.
    pub(crate) maker: Option<UserId>,
    /// The maker's role now.
    pub(crate) role: Option<Role>,
    /// The maker is blocked.
    pub(crate) blocked: bool,
    pub(crate) require_if_match: bool,
}

/// A key as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) id: ApiKeyId,
    pub(crate) name: String,
    pub(crate) kind: String,
    /// The first 16 characters, by which people tell keys apart.
    pub(crate) prefix: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) agent_ids: Option<Vec<String>>,
    pub(crate) origins: Option<Vec<String>>,
    pub(crate) allowed_ips: Option<Vec<IpNet>>,
    pub(crate) rate_per_min: i64,
    pub(crate) created_by: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) last_used_at: Option<i64>,
    pub(crate) expires_at: Option<i64>,
    pub(crate) revoked_at: Option<i64>,
}

const SELECT: &str =
    "SELECT k.id, k.name, k.kind, k.prefix, k.scopes, k.agent_ids, k.origins, k.allowed_ips, k.rate_per_min,
    k.created_by, k.created_at, k.last_used_at, k.expires_at, k.revoked_at FROM api_keys k";

fn read(row: &AnyRow) -> Result<KeyRow, sqlx::Error> {
    let list = |column: &str| -> Result<Option<Vec<String>>, sqlx::Error> {
        Ok(row.try_get::<Option<String>, _>(column)?.and_then(|text| serde_json::from_str(&text).ok()))
    };
    Ok(KeyRow {
        id: row.try_get::<String, _>("id")?.parse().map_err(|_| sqlx::Error::Decode("key id is no uuid".into()))?,
        name: row.try_get("name")?,
        kind: row.try_get("kind")?,
        prefix: row.try_get("prefix")?,
        scopes: list("scopes")?.unwrap_or_default(),
        agent_ids: list("agent_ids")?,
        origins: list("origins")?,
        allowed_ips: networks(row.try_get("allowed_ips")?),
        rate_per_min: row.try_get("rate_per_min")?,
        created_by: row.try_get("created_by")?,
        created_at: row.try_get("created_at")?,
        last_used_at: row.try_get("last_used_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}

/// A stored list of networks. One that cannot be read allows nobody: a limit is not lifted by damage.
fn networks(text: Option<String>) -> Option<Vec<IpNet>> {
    text.map(|text| serde_json::from_str(&text).unwrap_or_default())
}

impl Store {
    /// The owner of a key by its SHA-256, if the key is neither revoked nor expired and its tenant is active.
    pub(crate) async fn principal(&self, key_hash: &str) -> Result<Option<Principal>, sqlx::Error> {
        self.principal_by("k.key_hash = $1", key_hash).await
    }

    /// The same by its id, for what was handed out in its name.
    pub(crate) async fn principal_of(&self, key: ApiKeyId) -> Result<Option<Principal>, sqlx::Error> {
        self.principal_by("k.id = $1", &key.to_string()).await
    }

    async fn principal_by(&self, which: &'static str, value: &str) -> Result<Option<Principal>, sqlx::Error> {
        let now = now_ms();
        let sql = format!(
            "SELECT k.id, k.tenant_id, k.kind, k.scopes, k.last_used_at, k.allowed_ips, k.rate_per_min, k.origins, k.created_by,
               t.settings, u.blocked_at, u.deleted_at, u.is_platform_admin, m.role, m.blocked_at AS member_blocked_at
             FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
             LEFT JOIN users u ON u.id = k.created_by
             LEFT JOIN memberships m ON m.tenant_id = k.tenant_id AND m.user_id = k.created_by
             WHERE {which} AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2) AND t.status = 'active'"
        );
        let row = sqlx::query(AssertSqlSafe(sql)).bind(value.to_owned()).bind(now).fetch_optional(self.pool()).await?;
        let Some(row) = row else { return Ok(None) };
        let (id, tenant, kind): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let mut scopes = Scopes::stored(&row.try_get::<String, _>(3)?);
        let settings = serde_json::from_str(&row.try_get::<String, _>("settings")?).unwrap_or_default();
        let maker: Option<UserId> = row.try_get::<Option<String>, _>("created_by")?.and_then(|id| id.parse().ok());
        let role: Option<Role> = row.try_get::<Option<String>, _>("role")?.and_then(|role| role.parse().ok());
        if maker.is_some() {
            // A key never does more than its maker could do now; who has gone can do nothing.
            let gone = row.try_get::<Option<i64>, _>("deleted_at")?.is_some();
            let is_admin = row.try_get::<Option<i64>, _>("is_platform_admin")? == Some(1) && !gone;
            scopes = scopes & member_scopes(role.filter(|_| !gone), is_admin, &settings);
        }
        let blocked = row.try_get::<Option<i64>, _>("blocked_at")?.or(row.try_get("member_blocked_at")?).is_some();
        let origins = row.try_get::<Option<String>, _>("origins")?;
        let used: Option<i64> = row.try_get(4)?;
        if used.is_none_or(|at| now - at >= 60_000) {
            // The clock of the last use is a courtesy: a request is not refused because it could not be moved.
            let _ = sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE id = $2")
                .bind(now)
                .bind(&id)
                .execute(self.writers())
                .await;
        }
        let (Ok(key), Ok(tenant)) = (id.parse(), tenant.parse()) else { return Ok(None) };
        let livemode = kind != "test";
        Ok(Some(Principal {
            key,
            tenant,
            livemode,
            scopes: if livemode { scopes } else { scopes.in_test() },
            allowed: networks(row.try_get(5)?),
            rate_per_min: row.try_get::<i64, _>(6)?.clamp(1, FASTEST) as u32,
            // Damage allows no page rather than every page.
            origins: origins.filter(|_| kind == "public").map(|text| serde_json::from_str(&text).unwrap_or_default()),
            maker,
            role,
            blocked,
            require_if_match: settings["require_if_match"] == true,
        }))
    }

    /// Every origin that a public key names which is good now.
    pub(crate) async fn public_origins(&self) -> Result<HashSet<String>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT k.origins FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
             WHERE k.kind = 'public' AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $1) AND t.status = 'active'
               AND k.origins IS NOT NULL",
        )
        .bind(now_ms())
        .fetch_all(self.pool())
        .await?;
        let mut origins = HashSet::new();
        for row in rows {
            let named: Vec<String> = serde_json::from_str(&row.try_get::<String, _>(0)?).unwrap_or_default();
            origins.extend(named);
        }
        Ok(origins)
    }

    /// A page of a tenant's keys, or of those that one user made; one more than asked if there are more.
    pub(crate) async fn keys(
        &self,
        tenant: TenantId,
        maker: Option<UserId>,
        page: &Page,
    ) -> Result<Vec<KeyRow>, sqlx::Error> {
        let mut own = vec![("k.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        own.extend(maker.map(|user| ("k.created_by = {}".to_owned(), Bound::Text(user.to_string()))));
        let (sql, values) = page.finish(format!("{SELECT} WHERE 1 = 1"), "k", own);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    /// One key of a tenant.
    pub(crate) async fn key(&self, tenant: TenantId, key: ApiKeyId) -> Result<Option<KeyRow>, sqlx::Error> {
        let row = sqlx::query(AssertSqlSafe(format!("{SELECT} WHERE k.id = $1 AND k.tenant_id = $2")))
            .bind(key.to_string())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read).transpose()
    }
}

/// Stores a new key.
pub(crate) async fn insert(
    tx: &mut AnyConnection,
    tenant: TenantId,
    key: &KeyRow,
    key_hash: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO api_keys (id, tenant_id, name, kind, prefix, key_hash, scopes, agent_ids, origins, allowed_ips, rate_per_min,
           created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(key.id.to_string())
    .bind(tenant.to_string())
    .bind(storable(&key.name))
    .bind(&key.kind)
    .bind(&key.prefix)
    .bind(key_hash)
    .bind(json_text(&key.scopes))
    .bind(key.agent_ids.as_ref().map(json_text))
    .bind(key.origins.as_ref().map(|origins| storable(&json_text(origins))))
    .bind(key.allowed_ips.as_ref().map(json_text))
    .bind(key.rate_per_min)
    .bind(&key.created_by)
    .bind(key.created_at)
    .bind(key.expires_at)
    .execute(tx)
    .await
    .map(drop)
}

/// Revokes a key; false if there is none, or if it was revoked before.
pub(crate) async fn revoke(
    tx: &mut AnyConnection,
    tenant: TenantId,
    key: ApiKeyId,
    now: i64,
) -> Result<bool, sqlx::Error> {
    let revoked =
        sqlx::query("UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND tenant_id = $3 AND revoked_at IS NULL")
            .bind(now)
            .bind(key.to_string())
            .bind(tenant.to_string())
            .execute(tx)
            .await?;
    Ok(revoked.rows_affected() == 1)
}
