//! Retention: what is kept for how long, and how it goes (API.md §4.3). A job once a day, in batches, so that nobody waits for it.
//!
//! Money is never touched: ledger, payments, invoices and usage stay as they are. So do roll-ups, leads, messages and the do-not-call
//! list, which go when somebody deletes them. Recordings and exports have a date of their own (`after/keep.rs`).

use domain::TenantId;
use sqlx::Row as _;

use crate::{
    BoxFuture, Store,
    jobs::{Context, Fault, Handler, Job},
    outbox::purge_cursor,
    people::tenants,
    store::page::Bound,
    time::now_ms,
};

/// The kind of the job.
pub(crate) const KIND: &str = "retention";

const DAY_MS: i64 = 86_400_000;
/// Rows of one statement.
const BATCH: u64 = 1000;
/// The least that events are kept, days: who is cut off for a week can still catch up.
const EVENTS_AT_LEAST: i64 = 7;
/// A reader of events that has not moved for so long, days, holds nothing back: it has gone.
const READERS: i64 = 30;
/// Rows of calls, days.
const CALLS: i64 = 3 * 365;

/// What belongs to no tenant's choice: a statement with the time before which rows go, and how many days back that is. Order matters
/// where a row refers to another.
const FIXED: &[(&str, i64)] = &[
    (
        "DELETE FROM webhook_attempts WHERE (delivery_id, n) IN
           (SELECT delivery_id, n FROM webhook_attempts WHERE started_at < $1 LIMIT 1000)",
        30,
    ),
    (
        "DELETE FROM webhook_deliveries WHERE id IN (SELECT d.id FROM webhook_deliveries d WHERE d.created_at < $1 AND d.state <> 'dead'
           AND NOT EXISTS (SELECT 1 FROM webhook_attempts a WHERE a.delivery_id = d.id) LIMIT 1000)",
        90,
    ),
    (
        "DELETE FROM webhook_deliveries WHERE id IN (SELECT d.id FROM webhook_deliveries d WHERE d.created_at < $1 AND d.state = 'dead'
           AND NOT EXISTS (SELECT 1 FROM webhook_attempts a WHERE a.delivery_id = d.id) LIMIT 1000)",
        180,
    ),
    ("DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state = 'done' AND finished_at < $1 LIMIT 1000)", 7),
    ("DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state = 'dead' AND finished_at < $1 LIMIT 1000)", 90),
    ("DELETE FROM journal_marks WHERE journal IN (SELECT journal FROM journal_marks WHERE at < $1 LIMIT 1000)", 30),
    (
        "DELETE FROM idempotency_keys WHERE (tenant_id, key) IN
           (SELECT tenant_id, key FROM idempotency_keys WHERE expires_at < $1 LIMIT 1000)",
        0,
    ),
    (
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE COALESCE(revoked_at, expires_at) < $1 LIMIT 1000)",
        30,
    ),
    (
        "DELETE FROM one_time_tokens WHERE token_hash IN (SELECT token_hash FROM one_time_tokens WHERE expires_at < $1 LIMIT 1000)",
        30,
    ),
    ("DELETE FROM audit_log WHERE id IN (SELECT id FROM audit_log WHERE created_at < $1 LIMIT 1000)", 2 * 365),
    (
        "DELETE FROM knowledge_chunks WHERE (doc_id, n) IN (SELECT k.doc_id, k.n FROM knowledge_chunks k JOIN agents a ON a.id = k.agent_id
           WHERE a.deleted_at < $1 LIMIT 1000)",
        30,
    ),
    (
        "DELETE FROM knowledge_docs WHERE id IN (SELECT k.id FROM knowledge_docs k JOIN agents a ON a.id = k.agent_id
           WHERE a.deleted_at < $1 LIMIT 1000)",
        30,
    ),
];

impl Store {
    /// Days for which a tenant's traces are kept.
    pub(crate) async fn trace_days(&self, tenant: TenantId) -> Result<i64, sqlx::Error> {
        let settings = sqlx::query("SELECT settings FROM tenants WHERE id = $1").bind(tenant.to_string());
        let settings: String = settings.fetch_one(self.pool()).await?.try_get(0)?;
        Ok(kept(&settings).trace_days)
    }
}

/// The handler of the daily job.
#[derive(Clone, Copy, Debug)]
pub struct Retention;

impl Handler for Retention {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn run<'a>(&'a self, context: &'a Context, _: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (store, now) = (&context.store, context.clock.now_ms());
            let rows = sqlx::query("SELECT id, settings FROM tenants ORDER BY id").fetch_all(store.pool()).await?;
            for row in rows {
                let (tenant, settings): (String, String) =
                    (row.try_get(0).map_err(Fault::from)?, row.try_get(1).map_err(Fault::from)?);
                let kept = kept(&settings);
                transcripts(store, &tenant, now - kept.transcript_days * DAY_MS, now).await?;
                events(store, &tenant, kept.event_days.max(EVENTS_AT_LEAST), now).await?;
                traces(store, &tenant, now - kept.trace_days * DAY_MS).await?;
                calls(store, &tenant, now - CALLS * DAY_MS).await?;
            }
            for (sql, days) in FIXED {
                batches(store, sql, vec![Bound::Number(now - days * DAY_MS)]).await?;
            }
            Ok(())
        })
    }
}

/// How long things of a tenant are kept, by its settings.
fn kept(settings: &str) -> tenants::Retention {
    let settings: serde_json::Value = serde_json::from_str(settings).unwrap_or_default();
    settings.get("retention").and_then(|kept| serde_json::from_value(kept.clone()).ok()).unwrap_or_default()
}

/// Repeats a statement that takes at most 1000 rows until it takes fewer.
async fn batches(store: &Store, sql: &'static str, values: Vec<Bound>) -> Result<(), sqlx::Error> {
    loop {
        let mut query = sqlx::query(sql);
        for value in &values {
            query = match value {
                Bound::Text(text) => query.bind(text.clone()),
                Bound::Number(number) => query.bind(*number),
            };
        }
        if query.execute(store.writers()).await?.rows_affected() < BATCH {
            return Ok(());
        }
    }
}

/// What was said, known and thought of a call goes; the row stays for the bill, its numbers masked.
async fn transcripts(store: &Store, tenant: &str, before: i64, now: i64) -> Result<(), sqlx::Error> {
    loop {
        let rows = sqlx::query(
            "SELECT id, from_addr, to_addr FROM calls WHERE tenant_id = $1 AND ended_at < $2 AND blanked_at IS NULL LIMIT 100",
        )
        .bind(tenant.to_owned())
        .bind(before)
        .fetch_all(store.pool())
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut tx = store.begin().await?;
        for row in &rows {
            let (id, from, to): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            for sql in ["DELETE FROM turns WHERE call_id = $1", "DELETE FROM call_analyses WHERE call_id = $1"] {
                sqlx::query(sql).bind(&id).execute(&mut *tx).await?;
            }
            sqlx::query(
                "UPDATE calls SET config = NULL, variables = '{}', metadata = '{}', summary_line = NULL, from_addr = $1, to_addr = $2,
                   blanked_at = $3 WHERE id = $4",
            )
            .bind(domain::phone::mask(&from))
            .bind(domain::phone::mask(&to))
            .bind(now)
            .bind(&id)
            .execute(&mut *tx)
            .await?;
            let legs =
                sqlx::query("SELECT id, address FROM call_legs WHERE call_id = $1").bind(&id).fetch_all(&mut *tx);
            for leg in legs.await? {
                let (id, address): (String, String) = (leg.try_get(0)?, leg.try_get(1)?);
                sqlx::query("UPDATE call_legs SET address = $1 WHERE id = $2")
                    .bind(domain::phone::mask(&address))
                    .bind(id)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        tx.commit().await?;
    }
}

/// Whole days of events, and a call's events together: those of a call that goes on past midnight stay until the next day goes. No
/// further than the slowest reader has come.
async fn events(store: &Store, tenant: &str, days: i64, now: i64) -> Result<(), sqlx::Error> {
    let midnight = (now - days * DAY_MS).div_euclid(DAY_MS) * DAY_MS;
    let row = sqlx::query(
        "SELECT MIN(CASE WHEN created_at >= $1 THEN pub_seq END), MAX(pub_seq),
           (SELECT MIN(pub_seq) FROM consumers WHERE name NOT LIKE 'retention:%' AND updated_at > $3) FROM events WHERE tenant_id = $2",
    )
    .bind(midnight)
    .bind(tenant.to_owned())
    .bind(now - READERS * DAY_MS)
    .fetch_one(store.pool())
    .await?;
    let (first_kept, newest, slowest): (Option<i64>, Option<i64>, Option<i64>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let Some(last) = first_kept.map(|first| first - 1).or(newest) else { return Ok(()) };
    let last = last.min(slowest.unwrap_or(last));
    // The mark is set before anything goes, so that no cursor is believed whose events are already missing.
    sqlx::query(
        "INSERT INTO consumers (name, pub_seq, updated_at) VALUES ($1, $2, $3) ON CONFLICT (name)
         DO UPDATE SET pub_seq = excluded.pub_seq, updated_at = excluded.updated_at WHERE consumers.pub_seq < excluded.pub_seq",
    )
    .bind(purge_cursor(tenant))
    .bind(last)
    .bind(now_ms())
    .execute(store.writers())
    .await?;
    batches(
        store,
        "DELETE FROM events WHERE id IN (SELECT e.id FROM events e WHERE e.tenant_id = $1 AND e.pub_seq <= $2 AND (e.call_id IS NULL
           OR NOT EXISTS (SELECT 1 FROM events l WHERE l.call_id = e.call_id AND (l.pub_seq IS NULL OR l.pub_seq > $2))) LIMIT 1000)",
        vec![Bound::Text(tenant.to_owned()), Bound::Number(last)],
    )
    .await
}

/// SIP messages of calls that ended before a time.
async fn traces(store: &Store, tenant: &str, before: i64) -> Result<(), sqlx::Error> {
    batches(
        store,
        "DELETE FROM sip_messages WHERE (call_id, n) IN (SELECT m.call_id, m.n FROM sip_messages m JOIN calls c ON c.id = m.call_id
           WHERE c.tenant_id = $1 AND c.ended_at < $2 LIMIT 1000)",
        vec![Bound::Text(tenant.to_owned()), Bound::Number(before)],
    )
    .await
}

/// The rows of calls themselves, when the last bill that could be asked about is old.
async fn calls(store: &Store, tenant: &str, before: i64) -> Result<(), sqlx::Error> {
    loop {
        let rows = sqlx::query(
            "SELECT id FROM calls c WHERE tenant_id = $1 AND ended_at < $2 AND blanked_at IS NOT NULL AND NOT EXISTS
               (SELECT 1 FROM recordings r WHERE r.call_id = c.id AND r.state <> 'deleted') LIMIT 100",
        )
        .bind(tenant.to_owned())
        .bind(before)
        .fetch_all(store.pool())
        .await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut tx = store.begin().await?;
        for row in &rows {
            let id: String = row.try_get(0)?;
            for sql in [
                "DELETE FROM call_legs WHERE call_id = $1",
                "DELETE FROM turns WHERE call_id = $1",
                "DELETE FROM call_analyses WHERE call_id = $1",
                "DELETE FROM recordings WHERE call_id = $1",
                "DELETE FROM sip_messages WHERE call_id = $1",
                "DELETE FROM events WHERE call_id = $1",
                "DELETE FROM calls WHERE id = $1",
            ] {
                sqlx::query(sql).bind(&id).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_chooses_and_the_rest_is_the_default() {
        assert_eq!(kept("{}"), tenants::Retention::default());
        let own = kept(r#"{"retention":{"event_days":7,"recording_days":0},"mask":true}"#);
        assert_eq!(own, tenants::Retention { event_days: 7, recording_days: 0, ..Default::default() });
    }
}
