//! API keys: found by the hash of what was sent, remembered for five seconds.

use std::collections::HashSet;

use domain::{ApiKeyId, TenantId};
use sqlx::Row as _;

use super::Store;
use crate::time::now_ms;

/// Who a request speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    pub(crate) key: ApiKeyId,
    pub(crate) tenant: TenantId,
    /// False for test keys, which see and make test objects only.
    pub(crate) livemode: bool,
    pub(crate) scopes: HashSet<String>,
}

impl Principal {
    pub(crate) fn has(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }
}

impl Store {
    /// The owner of a key by its SHA-256, if the key is neither revoked nor expired and its tenant is active.
    pub(crate) async fn principal(&self, key_hash: &str) -> Result<Option<Principal>, sqlx::Error> {
        let now = now_ms();
        let row = sqlx::query(
            "SELECT k.id, k.tenant_id, k.kind, k.scopes, k.last_used_at FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
             WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2) AND t.status = 'active'",
        )
        .bind(key_hash)
        .bind(now)
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let (id, tenant, kind): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let scopes: String = row.try_get(3)?;
        let used: Option<i64> = row.try_get(4)?;
        if used.is_none_or(|at| now - at >= 60_000) {
            // The clock of the last use is a courtesy: a request is not refused because it could not be moved.
            let _ = sqlx::query("UPDATE api_keys SET last_used_at = $1 WHERE id = $2")
                .bind(now)
                .bind(&id)
                .execute(self.pool())
                .await;
        }
        let (Ok(key), Ok(tenant)) = (id.parse(), tenant.parse()) else { return Ok(None) };
        let scopes = serde_json::from_str(&scopes).unwrap_or_default();
        Ok(Some(Principal { key, tenant, livemode: kind != "test", scopes }))
    }
}
