//! The first run: a tenant and a key, so that there is something to sign in with.

use domain::TenantId;
use sqlx::{AnyConnection, Row as _};

use super::{Store, StoreError, fresh_id, keys};
use crate::{
    AuthSettings,
    auth::users::{self, NewUser},
    people::{members, tenants::DEFAULT_PLAN},
    scope::{Role, Scopes},
    seal,
    time::now_ms,
};

/// What the first run found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstRun {
    /// The tenant `default`.
    pub tenant: TenantId,
    /// The key, when one was made now. It is shown once and nowhere stored in clear.
    pub new_key: Option<String>,
}

impl Store {
    /// Makes the tenant `default` and one key with every scope if there is none. `bootstrap_key` sets that key (and adds it to an
    /// installation that has others); without it a fresh one is drawn.
    pub async fn first_run(&self, bootstrap_key: Option<&str>) -> Result<FirstRun, StoreError> {
        self.first_run_for(bootstrap_key, &AuthSettings::default().owner_email).await
    }

    /// The same with the address of the tenant's owner, who also runs the platform. The owner has no password until one is set.
    pub async fn first_run_for(&self, bootstrap_key: Option<&str>, owner: &str) -> Result<FirstRun, StoreError> {
        if bootstrap_key.is_some_and(|key| !sound(key)) {
            return Err(StoreError::BootstrapKey);
        }
        let now = now_ms();
        let mut tx = self.begin().await?;
        // The operator's own tenant is bounded by its nodes, not by a number for customers.
        sqlx::query(
            "INSERT INTO tenants (id, name, slug, rate_plan_id, max_calls, created_at, updated_at)
             VALUES ($1, 'Default', 'default', $2, 100000, $3, $3)
             ON CONFLICT (slug) DO NOTHING",
        )
        .bind(fresh_id())
        .bind(DEFAULT_PLAN)
        .bind(now)
        .execute(&mut *tx)
        .await?;
        // FOR UPDATE has no portable spelling; touching the row is one: two nodes starting together take turns here.
        let tenant: String =
            sqlx::query("UPDATE tenants SET updated_at = updated_at WHERE slug = 'default' RETURNING id")
                .fetch_one(&mut *tx)
                .await?
                .try_get(0)?;
        ensure_owner(&mut tx, &tenant, owner).await?;
        let keys: i64 = sqlx::query("SELECT COUNT(*) FROM api_keys WHERE tenant_id = $1")
            .bind(&tenant)
            .fetch_one(&mut *tx)
            .await?
            .try_get(0)?;
        let key = match bootstrap_key {
            Some(key) => Some(key.to_owned()),
            None => (keys == 0).then(|| seal::fresh_key("live")),
        };
        let mut new_key = None;
        if let Some(key) = key {
            let made = sqlx::query(
                "INSERT INTO api_keys (id, tenant_id, name, kind, prefix, key_hash, scopes, rate_per_min, created_at)
                 VALUES ($1, $2, 'first run', 'live', $3, $4, $5, $6, $7) ON CONFLICT (key_hash) DO NOTHING",
            )
            .bind(fresh_id())
            .bind(&tenant)
            .bind(key.chars().take(16).collect::<String>())
            .bind(seal::sha256_hex(key.as_bytes()))
            .bind(super::json_text(&(Scopes::of(Role::Owner) | Scopes::platform()).names()))
            .bind(keys::FASTEST)
            .bind(now)
            .execute(&mut *tx)
            .await?;
            new_key = (made.rows_affected() == 1).then_some(key);
        }
        tx.commit().await?;
        let tenant = tenant.parse().map_err(|_| StoreError::Sql(sqlx::Error::Decode("tenant id is no uuid".into())))?;
        Ok(FirstRun { tenant, new_key })
    }
}

/// Gives a tenant an owner if it has none.
async fn ensure_owner(tx: &mut AnyConnection, tenant: &str, email: &str) -> Result<(), sqlx::Error> {
    let owners: i64 = sqlx::query("SELECT COUNT(*) FROM memberships WHERE tenant_id = $1 AND role = 'owner'")
        .bind(tenant.to_owned())
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    if owners > 0 {
        return Ok(());
    }
    // The operator wrote the address down: it needs no letter to prove it.
    let new = NewUser { email, name: "Owner", password_hash: None, is_platform_admin: true, email_verified: true };
    let made = users::create(tx, new).await?;
    let user = match made {
        Some(user) => Some(user),
        None => users::by_email(tx, email).await?,
    };
    if let Some(user) = user {
        members::add(tx, tenant, &user.id, Role::Owner).await?;
    }
    Ok(())
}

fn sound(key: &str) -> bool {
    key.starts_with("st_live_")
        && (20..=200).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
