//! Idempotency keys: who was first, and what the answer was.

use domain::TenantId;
use sqlx::Row as _;

use super::{Store, storable};

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody had it.
    Ours,
    /// It belongs to another request.
    Mismatch,
    /// The same request runs now.
    Running,
    /// The same request was answered.
    Done {
        /// HTTP status.
        status: i64,
        /// What was kept of the answer.
        response: String,
    },
}

impl Store {
    /// Claims a key for a request until `locked_until`. A key that has expired, or whose request has died, is free.
    pub(crate) async fn claim(
        &self,
        tenant: TenantId,
        key: &str,
        fingerprint: &str,
        now: i64,
        locked_until: i64,
        expires_at: i64,
    ) -> Result<Claim, sqlx::Error> {
        let claimed = sqlx::query(
            "INSERT INTO idempotency_keys (tenant_id, key, fingerprint, state, locked_until, created_at, expires_at)
             VALUES ($1, $2, $3, 'running', $4, $5, $6)
             ON CONFLICT (tenant_id, key) DO UPDATE SET fingerprint = excluded.fingerprint, state = 'running', http_status = NULL,
               response = NULL, locked_until = excluded.locked_until, created_at = excluded.created_at, expires_at = excluded.expires_at
             WHERE idempotency_keys.expires_at <= $5
               OR (idempotency_keys.state = 'running' AND idempotency_keys.locked_until <= $5
                   AND idempotency_keys.fingerprint = excluded.fingerprint)",
        )
        .bind(tenant.to_string())
        .bind(storable(key))
        .bind(fingerprint)
        .bind(locked_until)
        .bind(now)
        .bind(expires_at)
        .execute(self.writers())
        .await?
        .rows_affected();
        if claimed == 1 {
            return Ok(Claim::Ours);
        }
        let row = sqlx::query(
            "SELECT fingerprint, state, http_status, response FROM idempotency_keys WHERE tenant_id = $1 AND key = $2",
        )
        .bind(tenant.to_string())
        .bind(storable(key))
        .fetch_optional(self.pool())
        .await?;
        // Unclaimed between the two statements: its holder failed and the client will try again.
        let Some(row) = row else { return Ok(Claim::Running) };
        if row.try_get::<String, _>("fingerprint")? != fingerprint {
            return Ok(Claim::Mismatch);
        }
        if row.try_get::<String, _>("state")? != "done" {
            return Ok(Claim::Running);
        }
        Ok(Claim::Done {
            status: row.try_get::<Option<i64>, _>("http_status")?.unwrap_or(200),
            response: row.try_get::<Option<String>, _>("response")?.unwrap_or_default(),
        })
    }

    /// Keeps the answer.
    pub(crate) async fn settle(
        &self,
        tenant: TenantId,
        key: &str,
        fingerprint: &str,
        status: i64,
        response: &str,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE idempotency_keys SET state = 'done', http_status = $1, response = $2
             WHERE tenant_id = $3 AND key = $4 AND fingerprint = $5 AND state = 'running'",
        )
        .bind(status)
        .bind(storable(response))
        .bind(tenant.to_string())
        .bind(storable(key))
        .bind(fingerprint)
        .execute(self.writers())
        .await
        .map(drop)
    }

    /// Gives a key back whose request had no lasting answer.
    pub(crate) async fn unclaim(&self, tenant: TenantId, key: &str, fingerprint: &str) -> Result<(), sqlx::Error> {
        sqlx::query(
            "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND key = $2 AND fingerprint = $3 AND state = 'running'",
        )
        .bind(tenant.to_string())
        .bind(storable(key))
        .bind(fingerprint)
        .execute(self.writers())
        .await
        .map(drop)
    }
}
