//! The rows of webhooks.

use domain::TenantId;
use serde_json::{Map, Value};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{
    Store,
    outbox::{Patterns, Published},
    store::{json_text, storable},
};

/// Hooks of a tenant at most.
pub(crate) const MOST: i64 = 20;

/// Whether events of a call wait for one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ordering {
    /// The next event of a call waits for the one before.
    PerCall,
    /// Each goes at once.
    None,
}

impl Ordering {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::PerCall => "per_call",
            Self::None => "none",
        }
    }
}

/// What the owner of a hook decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) url: String,
    pub(crate) description: Option<String>,
    pub(crate) types: Patterns,
    /// Only events of these agents; of all when absent.
    pub(crate) agent_ids: Option<Vec<String>>,
    pub(crate) headers: Map<String, Value>,
    pub(crate) ordering: Ordering,
    pub(crate) enabled: bool,
}

/// A webhook.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    pub(crate) draft: Draft,
    pub(crate) sealed_secret: String,
    pub(crate) sealed_old_secret: Option<String>,
    pub(crate) old_secret_until: Option<i64>,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) failing_since: Option<i64>,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

/// Columns that [`read`] reads; hooks stand in the alias `w`.
pub(super) const COLUMNS: &str = "w.id, w.tenant_id, w.url, w.description, w.types, w.agent_ids, w.sealed_secret, w.sealed_old_secret,
    w.old_secret_until, w.headers, w.ordering, w.enabled, w.disabled_reason, w.failing_since, w.version, w.created_at, w.updated_at";

pub(super) fn read(row: &AnyRow) -> Result<Hook, sqlx::Error> {
    let texts = |text: Option<String>| text.and_then(|text| serde_json::from_str::<Vec<String>>(&text).ok());
    Ok(Hook {
        id: row.try_get("id")?,
        tenant: tenant(row)?,
        draft: Draft {
            url: row.try_get("url")?,
            description: row.try_get("description")?,
            types: Patterns::new(texts(row.try_get("types")?).unwrap_or_default()),
            agent_ids: texts(row.try_get("agent_ids")?),
            headers: serde_json::from_str(&row.try_get::<String, _>("headers")?).unwrap_or_default(),
            ordering: if row.try_get::<String, _>("ordering")? == "none" { Ordering::None } else { Ordering::PerCall },
            enabled: row.try_get::<i64, _>("enabled")? != 0,
        },
        sealed_secret: row.try_get("sealed_secret")?,
        sealed_old_secret: row.try_get("sealed_old_secret")?,
        old_secret_until: row.try_get("old_secret_until")?,
        disabled_reason: row.try_get("disabled_reason")?,
        failing_since: row.try_get("failing_since")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

pub(super) fn tenant(row: &AnyRow) -> Result<TenantId, sqlx::Error> {
    row.try_get::<String, _>("tenant_id")?.parse().map_err(|_| sqlx::Error::Decode("tenant id is no uuid".into()))
}

impl Hook {
    /// Whether an event goes to this hook.
    pub(crate) fn wants(&self, published: &Published) -> bool {
        let agent = |ids: &Vec<String>| published.agent_id.as_ref().is_some_and(|agent| ids.contains(agent));
        self.draft.types.want_delivered(&published.event.kind) && self.draft.agent_ids.as_ref().is_none_or(agent)
    }
}

/// A tenant's hook, and with `lock` its row until the transaction ends.
pub(crate) async fn find(tx: &mut AnyConnection, tenant: TenantId, id: &str) -> Result<Option<Hook>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM webhooks w WHERE w.id = $1 AND w.tenant_id = $2 AND w.deleted_at IS NULL");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_owned()).bind(tenant.to_string()).fetch_optional(tx).await?;
    row.as_ref().map(read).transpose()
}

/// The hooks of a tenant that are switched on.
pub(super) async fn enabled(tx: &mut AnyConnection, tenant: TenantId) -> Result<Vec<Hook>, sqlx::Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM webhooks w WHERE w.tenant_id = $1 AND w.enabled = 1 AND w.deleted_at IS NULL");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.to_string()).fetch_all(tx).await?;
    rows.iter().map(read).collect()
}

/// Stores a new hook; false when the tenant has as many as it may have.
pub(crate) async fn insert(tx: &mut AnyConnection, hook: &Hook) -> Result<bool, sqlx::Error> {
    let draft = &hook.draft;
    // The count stands in the statement, and touching the tenant's row makes two of these take turns.
    sqlx::query("UPDATE tenants SET updated_at = updated_at WHERE id = $1")
        .bind(hook.tenant.to_string())
        .execute(&mut *tx)
        .await?;
    let made = sqlx::query(
        "INSERT INTO webhooks (id, tenant_id, url, description, types, agent_ids, sealed_secret, headers, ordering, enabled, created_at,
           updated_at) SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11
         WHERE (SELECT COUNT(*) FROM webhooks WHERE tenant_id = $2 AND deleted_at IS NULL) < $12",
    )
    .bind(&hook.id)
    .bind(hook.tenant.to_string())
    .bind(storable(&draft.url))
    .bind(draft.description.as_deref().map(storable))
    .bind(json_text(&draft.types.as_slice()))
    .bind(draft.agent_ids.as_ref().map(json_text))
    .bind(&hook.sealed_secret)
    .bind(json_text(&draft.headers))
    .bind(draft.ordering.as_str())
    .bind(i64::from(draft.enabled))
    .bind(hook.created_at)
    .bind(MOST)
    .execute(tx)
    .await?;
    Ok(made.rows_affected() == 1)
}

/// Replaces what the owner decides, if the version is still `version`. Switching on forgets why it was off.
pub(crate) async fn update(
    tx: &mut AnyConnection,
    hook: &Hook,
    draft: &Draft,
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE webhooks SET url = $1, description = $2, types = $3, agent_ids = $4, headers = $5, ordering = $6, enabled = $7,
           disabled_reason = CASE WHEN $7 = 1 THEN NULL ELSE disabled_reason END,
           failing_since = CASE WHEN $7 = 1 AND enabled = 0 THEN NULL ELSE failing_since END,
           dead_in_row = CASE WHEN $7 = 1 AND enabled = 0 THEN 0 ELSE dead_in_row END,
           version = version + 1, updated_at = $8
         WHERE id = $9 AND tenant_id = $10 AND version = $11 AND deleted_at IS NULL",
    )
    .bind(storable(&draft.url))
    .bind(draft.description.as_deref().map(storable))
    .bind(json_text(&draft.types.as_slice()))
    .bind(draft.agent_ids.as_ref().map(json_text))
    .bind(json_text(&draft.headers))
    .bind(draft.ordering.as_str())
    .bind(i64::from(draft.enabled))
    .bind(now_ms)
    .bind(&hook.id)
    .bind(hook.tenant.to_string())
    .bind(hook.version)
    .execute(tx)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Sets another secret; the one before signs until `old_until_ms`.
pub(crate) async fn rotate(
    tx: &mut AnyConnection,
    hook: &Hook,
    sealed: &str,
    sealed_old: Option<&str>,
    old_until_ms: i64,
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE webhooks SET sealed_secret = $1, sealed_old_secret = $2, old_secret_until = $3, version = version + 1, updated_at = $4
         WHERE id = $5 AND tenant_id = $6 AND version = $7 AND deleted_at IS NULL",
    )
    .bind(sealed.to_owned())
    .bind(sealed_old.map(str::to_owned))
    .bind(sealed_old.map(|_| old_until_ms))
    .bind(now_ms)
    .bind(&hook.id)
    .bind(hook.tenant.to_string())
    .bind(hook.version)
    .execute(tx)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// Removes a hook; what still waited for it is not sent.
pub(crate) async fn delete(tx: &mut AnyConnection, hook: &Hook, now_ms: i64) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE webhooks SET deleted_at = $1, enabled = 0, version = version + 1 WHERE id = $2 AND tenant_id = $3 AND version = $4 AND deleted_at IS NULL",
    )
    .bind(now_ms)
    .bind(&hook.id)
    .bind(hook.tenant.to_string())
    .bind(hook.version)
    .execute(&mut *tx)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    for sql in [
        "DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND state = 'pending' AND attempts = 0",
        "UPDATE webhook_deliveries SET state = 'dead' WHERE webhook_id = $1 AND state = 'pending'",
    ] {
        sqlx::query(sql).bind(&hook.id).execute(&mut *tx).await?;
    }
    Ok(true)
}

impl Store {
    /// Whether all these agents are the tenant's.
    pub(crate) async fn has_agents(&self, tenant: TenantId, ids: &[String]) -> Result<bool, sqlx::Error> {
        for id in ids {
            let found = sqlx::query("SELECT id FROM agents WHERE id = $1 AND tenant_id = $2 AND deleted_at IS NULL")
                .bind(storable(id))
                .bind(tenant.to_string())
                .fetch_optional(self.pool())
                .await?;
            if found.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A page of a tenant's hooks, one more than asked if there are more.
    pub(crate) async fn webhooks(
        &self,
        tenant: TenantId,
        page: &crate::store::page::Page,
    ) -> Result<Vec<Hook>, sqlx::Error> {
        use crate::store::page::Bound;
        let conditions = vec![("w.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let (sql, values) =
            page.finish(format!("SELECT {COLUMNS} FROM webhooks w WHERE w.deleted_at IS NULL"), "w", conditions);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }
}
