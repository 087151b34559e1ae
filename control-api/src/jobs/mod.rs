//! Jobs: work that a transaction leaves behind and that some node does soon after, at least once.

mod queue;
mod timetable;
mod worker;

use domain::TenantId;
use serde_json::Value;
use sqlx::AnyConnection;

pub(crate) use queue::{free, jitter};
pub(crate) use timetable::{Round, Timetable};
pub(crate) use worker::Workers;
pub use worker::{Context, Fault, Handler, Job};

use crate::{
    store::{fresh_id, json_text, storable},
    time::now_ms,
};

/// Work to be done.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// For whom; none for the installation's own.
    pub tenant: Option<TenantId>,
    /// Which handler does it.
    pub kind: &'static str,
    /// Two jobs with one key are one job, for as long as the first is remembered (done 7 days, dead 90).
    pub dedupe_key: String,
    /// What the handler reads.
    pub payload: Value,
    /// Not before this time, Unix ms.
    pub run_at_ms: i64,
}

/// By whom a job is done, and how often it is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    /// Only by this node, where the work lies on a node's own disk.
    pub(crate) node: Option<&'a str>,
    /// Before it is given up.
    pub(crate) attempts: i64,
}

/// Leaves a job in the caller's transaction; false when its key is already known.
pub async fn enqueue(tx: &mut AnyConnection, job: NewJob) -> Result<bool, sqlx::Error> {
    enqueue_on(tx, job, Terms { node: None, attempts: 8 }).await
}

/// The same on terms of its own.
pub(crate) async fn enqueue_on(tx: &mut AnyConnection, job: NewJob, terms: Terms<'_>) -> Result<bool, sqlx::Error> {
    let made = sqlx::query(
        "INSERT INTO jobs (id, tenant_id, kind, dedupe_key, payload, state, run_at, created_at, node, max_attempts)
         VALUES ($1, $2, $3, $4, $5, 'queued', $6, $7, $8, $9) ON CONFLICT (dedupe_key) DO NOTHING",
    )
    .bind(fresh_id())
    .bind(job.tenant.map(|tenant| tenant.to_string()))
    .bind(job.kind)
    .bind(storable(&job.dedupe_key))
    .bind(json_text(&job.payload))
    .bind(job.run_at_ms)
    .bind(now_ms())
    .bind(terms.node.map(storable))
    .bind(terms.attempts)
    .execute(tx)
    .await?;
    Ok(made.rows_affected() == 1)
}
