//! The rows of the queue: claimed by one worker at a time, given back with an outcome.
//!
//! A claim holds until its lock runs out. The whole condition stands twice in the statement: PostgreSQL tests the outer one again on
//! the newest version of a row that it waited for, which another worker may have claimed, or even finished, meanwhile.

use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};

use super::{Fault, Job};
use crate::{Store, store::storable};

/// How long a claim holds without a sign of life, ms.
pub(super) const LOCK_MS: i64 = 60_000;

/// The pause after the first failure, doubled with each further one up to the longest, ms.
const FIRST_PAUSE_MS: i64 = 5_000;
const LONGEST_PAUSE_MS: i64 = 3_600_000;

/// Takes up to `limit` due jobs of these kinds that this node may do.
pub(super) async fn claim(
    store: &Store,
    worker: &str,
    node: &str,
    kinds: &[&'static str],
    now_ms: i64,
    limit: i64,
) -> Result<Vec<Job>, sqlx::Error> {
    let due = |now: usize, node: usize| {
        let names = (1..=kinds.len()).map(|n| format!("${}", node + n)).collect::<Vec<_>>().join(", ");
        format!(
            "state IN ('queued','running') AND run_at <= ${now} AND locked_until < ${now} AND (node IS NULL OR node = ${node}) AND kind IN ({names})"
        )
    };
    // A look without the writer's lock first: most looks find nothing.
    let sql = format!("SELECT id FROM jobs WHERE {} LIMIT 1", due(1, 2));
    let mut look = sqlx::query(AssertSqlSafe(sql)).bind(now_ms).bind(storable(node));
    for kind in kinds {
        look = look.bind(*kind);
    }
    if look.fetch_optional(store.pool()).await?.is_none() {
        return Ok(Vec::new());
    }
    let due = due(3, 5);
    let sql = format!(
        "UPDATE jobs SET state = 'running', locked_by = $1, locked_until = $2, attempts = attempts + 1
         WHERE id IN (SELECT id FROM jobs WHERE {due} ORDER BY run_at, id LIMIT $4) AND {due}
         RETURNING id, tenant_id, kind, dedupe_key, payload, attempts, max_attempts"
    );
    let mut query = sqlx::query(AssertSqlSafe(sql))
        .bind(worker.to_owned())
        .bind(now_ms + LOCK_MS)
        .bind(now_ms)
        .bind(limit)
        .bind(storable(node));
    for kind in kinds {
        query = query.bind(*kind);
    }
    let rows = query.fetch_all(store.writers()).await?;
    rows.iter()
        .map(|row| {
            let payload: String = row.try_get("payload")?;
            Ok(Job {
                id: row.try_get("id")?,
                tenant: row.try_get::<Option<String>, _>("tenant_id")?.and_then(|id| id.parse().ok()),
                kind: row.try_get("kind")?,
                dedupe_key: row.try_get("dedupe_key")?,
                payload: serde_json::from_str(&payload).unwrap_or(Value::Null),
                attempt: row.try_get("attempts")?,
                max_attempts: row.try_get("max_attempts")?,
            })
        })
        .collect()
}

/// Holds on to a claim; false when it is lost.
pub(super) async fn extend(store: &Store, worker: &str, job: &Job, now_ms: i64) -> Result<bool, sqlx::Error> {
    let held = sqlx::query(
        "UPDATE jobs SET locked_until = $1 WHERE id = $2 AND locked_by = $3 AND attempts = $4 AND state = 'running'",
    )
    .bind(now_ms + LOCK_MS)
    .bind(&job.id)
    .bind(worker.to_owned())
    .bind(job.attempt)
    .execute(store.writers())
    .await?;
    Ok(held.rows_affected() == 1)
}

/// Stores an outcome, unless the claim was lost.
pub(super) async fn settle(
    store: &Store,
    worker: &str,
    job: &Job,
    outcome: &Result<(), Fault>,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let (state, error, run_at, finished) = match outcome {
        Ok(()) => ("done", None, now_ms, Some(now_ms)),
        Err(Fault::Again(error)) if job.attempt < job.max_attempts => {
            ("queued", Some(error), now_ms + pause_ms(job.attempt), None)
        }
        Err(Fault::Again(error) | Fault::Never(error)) => ("dead", Some(error), now_ms, Some(now_ms)),
    };
    sqlx::query(
        "UPDATE jobs SET state = $1, last_error = $2, run_at = $3, finished_at = $4, locked_until = 0, locked_by = NULL
         WHERE id = $5 AND locked_by = $6 AND attempts = $7 AND state = 'running'",
    )
    .bind(state)
    .bind(error.map(|error| storable(error)))
    .bind(run_at)
    .bind(finished)
    .bind(&job.id)
    .bind(worker.to_owned())
    .bind(job.attempt)
    .execute(store.writers())
    .await
    .map(drop)
}

/// Gives back what a worker still holds, as if it had not been claimed; for a node that stops.
pub(super) async fn release(store: &Store, worker: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE jobs SET state = 'queued', locked_until = 0, locked_by = NULL, attempts = attempts - 1
         WHERE locked_by = $1 AND state = 'running'",
    )
    .bind(worker.to_owned())
    .execute(store.writers())
    .await
    .map(drop)
}

/// Frees what no worker holds on to any more; who claims would find it anyway. Returns how many there were.
pub(crate) async fn free(store: &Store, now_ms: i64) -> Result<u64, sqlx::Error> {
    let freed = sqlx::query(
        "UPDATE jobs SET state = 'queued', locked_until = 0, locked_by = NULL WHERE state = 'running' AND locked_until < $1",
    )
    .bind(now_ms)
    .execute(store.writers())
    .await?
    .rows_affected();
    if freed > 0 {
        store.ring();
    }
    Ok(freed)
}

/// 5 s, 10 s, 20 s … 1 h, each ± 20 %.
fn pause_ms(attempt: i64) -> i64 {
    let doublings = attempt.clamp(1, 20) - 1;
    jitter((FIRST_PAUSE_MS << doublings).min(LONGEST_PAUSE_MS))
}

/// The pause, up to a fifth shorter or longer, so that what failed together does not return together.
pub(crate) fn jitter(pause_ms: i64) -> i64 {
    let dice = i64::from(uuid::Uuid::new_v4().as_fields().0 % 401) - 200;
    pause_ms + pause_ms * dice / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_lean_by_a_fifth_at_most() {
        for (attempt, middle) in [(1, 5_000), (2, 10_000), (5, 80_000), (11, 3_600_000), (64, 3_600_000)] {
            for _ in 0..50 {
                let pause = pause_ms(attempt);
                assert!((middle * 8 / 10..=middle * 12 / 10).contains(&pause), "{attempt}: {pause}");
            }
        }
    }
}
