//! The end of a tenant. At once nobody works there any more, its numbers are free and its hooks are silent; thirty days later a job takes
//! its data. The ledger, its payments and the audit log stay, and of calls what bills say.

use domain::{EndedReason, TenantId};
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use crate::{
    BoxFuture,
    jobs::{Context, Fault, Handler, Job, NewJob, enqueue},
    journal::later,
    money::closing,
    time::now_ms,
};

/// The job that takes what is left.
pub(crate) const PURGE: &str = "tenant.purge";
/// How long the data are kept, ms.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// The job comes this much later than the last recording's date, which another job heeds once an hour.
const LATER_MS: i64 = 2 * 3_600_000;
/// Taken in one transaction.
const BATCH: i64 = 500;

/// Calls of the tenant that are not over.
pub(crate) async fn live_calls(db: &mut AnyConnection, tenant: TenantId) -> Result<i64, sqlx::Error> {
    sqlx::query("SELECT COUNT(*) FROM calls WHERE tenant_id = $1 AND ended_at IS NULL AND status <> 'pending'")
        .bind(tenant.to_string())
        .fetch_one(db)
        .await?
        .try_get(0)
}

/// What the tenant has, spendable and held; negative if it owes.
pub(crate) async fn balance_micros(db: &mut AnyConnection, tenant: TenantId) -> Result<i64, sqlx::Error> {
    sqlx::query(
        "SELECT CAST(COALESCE(SUM(balance_micros), 0) AS BIGINT) FROM ledger_accounts WHERE tenant_id = $1 AND livemode = 1",
    )
    .bind(tenant.to_string())
    .fetch_one(db)
    .await?
    .try_get(0)
}

/// Closes the tenant; false if somebody changed it meanwhile.
pub(crate) async fn close(tx: &mut AnyConnection, tenant: TenantId, version: i64) -> Result<bool, sqlx::Error> {
    let (id, now) = (tenant.to_string(), now_ms());
    let closed = sqlx::query(
        "UPDATE tenants SET status = 'deleting', version = version + 1, updated_at = $1, deleted_at = $1
         WHERE id = $2 AND version = $3 AND status IN ('active', 'suspended')",
    )
    .bind(now)
    .bind(id.clone())
    .bind(version)
    .execute(&mut *tx)
    .await?;
    if closed.rows_affected() == 0 {
        return Ok(false);
    }
    for sql in [
        "UPDATE api_keys SET revoked_at = $1 WHERE tenant_id = $2 AND revoked_at IS NULL",
        "UPDATE sessions SET revoked_at = $1 WHERE tenant_id = $2 AND revoked_at IS NULL",
        "UPDATE invitations SET revoked_at = $1 WHERE tenant_id = $2 AND accepted_at IS NULL AND revoked_at IS NULL",
        "UPDATE webhooks SET enabled = 0, disabled_reason = 'tenant_deleted', version = version + 1, updated_at = $1
         WHERE tenant_id = $2 AND enabled = 1",
        "UPDATE auto_top_ups SET enabled = 0, updated_at = $1 WHERE tenant_id = $2 AND enabled = 1",
        "UPDATE numbers SET status = CASE WHEN carrier = 'none' THEN 'released' ELSE 'releasing' END, released_at = $1,
           updated_at = $1, next_bill_at = NULL, version = version + 1 WHERE tenant_id = $2 AND released_at IS NULL",
        // What still comes from another carrier is called off there by the job that watches it.
        "UPDATE number_ports SET cancel_asked = 1, updated_at = $1
         WHERE order_id IN (SELECT o.id FROM number_orders o WHERE o.tenant_id = $2)
           AND state NOT IN ('rejected','completed','canceled')",
        "UPDATE trunks SET enabled = 0, version = version + 1, updated_at = $1 WHERE tenant_id = $2 AND enabled = 1",
    ] {
        sqlx::query(sql).bind(now).bind(id.clone()).execute(&mut *tx).await?;
    }
    later::end_all_waiting(tx, tenant, EndedReason::Canceled, now).await?;
    closing::tenant_ends(tx, tenant, now).await?;
    sqlx::query(
        "UPDATE recordings SET expires_at = $1 WHERE tenant_id = $2 AND deleted_at IS NULL
           AND (expires_at IS NULL OR expires_at > $1)",
    )
    .bind(now + KEPT_MS)
    .bind(id.clone())
    .execute(&mut *tx)
    .await?;
    let job = NewJob {
        tenant: Some(tenant),
        kind: PURGE,
        dedupe_key: format!("{PURGE}:{id}"),
        payload: json!({}),
        run_at_ms: now + KEPT_MS + LATER_MS,
    };
    enqueue(tx, job).await?;
    Ok(true)
}

/// Tables of a tenant, with the column by which rows are taken in batches and what hangs on them by it; what is pointed at comes after
/// what points.
#[allow(clippy::type_complexity)]
const TABLES: &[(&str, &str, &[(&str, &str)])] = &[
    ("webhook_deliveries", "id", &[("webhook_attempts", "delivery_id")]),
    ("webhooks", "id", &[]),
    ("turns", "call_id", &[]),
    ("call_analyses", "id", &[]),
    ("recordings", "id", &[]),
    ("call_legs", "id", &[]),
    ("taken", "id", &[]),
    ("events", "id", &[]),
    ("leads", "id", &[("lead_notes", "lead_id")]),
    ("emails", "id", &[]),
    ("email_templates", "id", &[]),
    ("email_suppressions", "address", &[]),
    ("call_rollup", "hour_at", &[]),
    ("latency_rollup", "day", &[]),
    ("files", "id", &[]),
    ("number_orders", "id", &[("number_ports", "order_id")]),
    ("do_not_call", "e164", &[]),
    ("dispatch_rules", "id", &[]),
    ("numbers", "id", &[]),
    ("trunks", "id", &[("trunk_gateways", "trunk_id"), ("trunk_status", "trunk_id")]),
    ("knowledge_docs", "id", &[("knowledge_chunks", "doc_id")]),
    ("agent_versions", "agent_id", &[]),
    ("agents", "id", &[]),
    ("credentials", "id", &[]),
    ("idempotency_keys", "key", &[]),
    ("sessions", "id", &[]),
    ("invitations", "id", &[]),
    ("memberships", "user_id", &[]),
    ("api_keys", "id", &[]),
];

/// Takes what is left of a tenant that was closed.
#[derive(Clone, Copy, Debug)]
pub struct Purge;

impl Handler for Purge {
    fn kind(&self) -> &'static str {
        PURGE
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let tenant = job.tenant.ok_or_else(|| Fault::Never("no tenant".into()))?;
            purge(context, tenant).await
        })
    }
}

async fn purge(context: &Context, tenant: TenantId) -> Result<(), Fault> {
    let id = tenant.to_string();
    let store = &context.store;
    let status: Option<String> = sqlx::query_scalar("SELECT status FROM tenants WHERE id = $1")
        .bind(id.clone())
        .fetch_optional(store.pool())
        .await?;
    if status.as_deref() != Some("deleting") {
        return Ok(());
    }
    let files: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM recordings WHERE tenant_id = $1 AND deleted_at IS NULL")
        .bind(id.clone())
        .fetch_one(store.pool())
        .await?;
    if files > 0 {
        return Err(Fault::Again(format!("{files} recordings have not been taken yet")));
    }
    let blanked = "UPDATE calls SET from_addr = '', to_addr = '', config = NULL, variables = '{}', metadata = '{}', summary_line = NULL,
           sip_call_id = NULL, number_id = NULL, trunk_id = NULL, agent_id = NULL, deleted_at = COALESCE(deleted_at, $2),
           blanked_at = COALESCE(blanked_at, $2)
         WHERE id IN (SELECT id FROM calls WHERE tenant_id = $1 AND from_addr <> '' ORDER BY id LIMIT $3)";
    let traced = "DELETE FROM sip_messages WHERE call_id IN
           (SELECT id FROM calls WHERE tenant_id = $1 AND from_addr <> '' AND $2 > 0 ORDER BY id LIMIT $3)";
    loop {
        let mut tx = store.begin().await?;
        let mut done = 0;
        for sql in [traced, blanked] {
            done = sqlx::query(sql)
                .bind(id.clone())
                .bind(context.clock.now_ms())
                .bind(BATCH)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        }
        tx.commit().await?;
        if done == 0 {
            break;
        }
    }
    for (table, key, children) in TABLES {
        loop {
            let batch = format!("(SELECT {key} FROM {table} WHERE tenant_id = $1 ORDER BY {key} LIMIT $2)");
            let mut tx = store.begin().await?;
            for (child, column) in *children {
                let sql = format!("DELETE FROM {child} WHERE {column} IN {batch}");
                sqlx::query(AssertSqlSafe(sql)).bind(id.clone()).bind(BATCH).execute(&mut *tx).await?;
            }
            let sql = format!("DELETE FROM {table} WHERE tenant_id = $1 AND {key} IN {batch}");
            let gone = sqlx::query(AssertSqlSafe(sql)).bind(id.clone()).bind(BATCH).execute(&mut *tx).await?;
            tx.commit().await?;
            if gone.rows_affected() == 0 {
                break;
            }
        }
    }
    sqlx::query(
        "UPDATE tenants SET status = 'deleted', name = '', settings = '{}', version = version + 1, updated_at = $1 WHERE id = $2",
    )
    .bind(context.clock.now_ms())
    .bind(id)
    .execute(store.writers())
    .await?;
    Ok(())
}
