//! How long recordings and files are kept: a date when they are stored, and a job that comes round and takes what is past it.

use std::path::PathBuf;

use domain::{AgentSpec, CallId};
use serde_json::Value;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::agent;
use crate::{
    BoxFuture, FilesSettings, Store,
    archive::{self, Archive},
    jobs::{Context, Fault, Handler, Job},
    time::now_ms,
};

/// The job that takes what is past its date.
pub(crate) const PURGE: &str = "media.purge";
/// How often it comes round.
pub(crate) const PURGE_EVERY_MS: i64 = 3_600_000;

/// Days, where neither agent nor tenant says otherwise.
const RECORDING_DAYS: i64 = 90;
const DAY_MS: i64 = 86_400_000;
/// Taken in one statement.
const BATCH: i64 = 1000;

/// Dates a recording that was stored: the agent's days, else the tenant's. 0 days mean: until the analysis is done, which dates it.
/// Returns the agent as it ran.
pub(super) async fn date(tx: &mut AnyConnection, call: CallId) -> Result<Option<AgentSpec>, sqlx::Error> {
    let row =
        sqlx::query("SELECT c.config, t.settings FROM calls c JOIN tenants t ON t.id = c.tenant_id WHERE c.id = $1")
            .bind(call.to_string())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(row) = row else { return Ok(None) };
    let settings: Value = serde_json::from_str(&row.try_get::<String, _>("settings")?).unwrap_or_default();
    let agent = agent(row.try_get("config")?);
    let own = agent.as_ref().and_then(|agent| {
        let days = agent.recording.retention_days.and_then(|days| i64::try_from(days).ok())?;
        // Without an analysis there is nothing to wait for.
        Some(if days == 0 && agent.analysis.enabled { 1 } else { days })
    });
    let days = own.or_else(|| settings.pointer("/retention/recording_days")?.as_i64()).unwrap_or(RECORDING_DAYS);
    sqlx::query("UPDATE recordings SET expires_at = created_at + $1 WHERE call_id = $2 AND expires_at IS NULL")
        .bind(days * DAY_MS)
        .bind(call.to_string())
        .execute(tx)
        .await?;
    Ok(agent)
}

/// An analysis is done: a recording that was kept for it only is past its date now.
pub(super) async fn analysed(tx: &mut AnyConnection, call: CallId, now_ms: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE recordings SET expires_at = $1 WHERE call_id = $2 AND deleted_at IS NULL")
        .bind(now_ms)
        .bind(call.to_string())
        .execute(tx)
        .await
        .map(drop)
}

/// Deletes a call's recordings: the rows say so first, and leave jobs; what lies here goes at once.
pub(crate) async fn delete(store: &Store, archive: &Archive, call: CallId) -> Result<(), sqlx::Error> {
    let mut tx = store.begin().await?;
    let rows = sqlx::query(
        "UPDATE recordings SET state = 'deleted', deleted_at = $1 WHERE call_id = $2 AND state <> 'deleted' RETURNING locator, call_id",
    )
    .bind(now_ms())
    .bind(call.to_string())
    .fetch_all(&mut *tx)
    .await?;
    let locators = discard(&mut tx, &rows).await?;
    tx.commit().await?;
    store.ring();
    for locator in locators {
        archive.remove_file(&locator).await;
    }
    Ok(())
}

/// Leaves jobs for rows of locator and call: for an object any node's, for a file that of the node which has it.
async fn discard(tx: &mut AnyConnection, rows: &[AnyRow]) -> Result<Vec<String>, sqlx::Error> {
    let mut locators = Vec::with_capacity(rows.len());
    for row in rows {
        let (locator, call): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        archive::discard(tx, &locator, &call).await?;
        locators.push(locator);
    }
    Ok(locators)
}

/// Takes recordings and files that are past their date.
#[derive(Clone, Debug)]
pub struct Purge {
    recordings: Archive,
    files: PathBuf,
}

impl Purge {
    /// Of this archive and below this folder.
    pub fn new(recordings: Archive, files: &FilesSettings) -> Self {
        Self { recordings, files: files.dir.clone() }
    }
}

impl Handler for Purge {
    fn kind(&self) -> &'static str {
        PURGE
    }

    fn run<'a>(&'a self, context: &'a Context, _: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let now = context.clock.now_ms();
            let recordings = "UPDATE recordings SET state = 'deleted', deleted_at = $1 WHERE id IN
                (SELECT id FROM recordings WHERE expires_at <= $1 AND deleted_at IS NULL AND state <> 'writing' LIMIT $2) RETURNING locator, call_id";
            let files = "UPDATE files SET state = 'expired' WHERE id IN
                (SELECT id FROM files WHERE expires_at <= $1 AND state <> 'expired' LIMIT $2) RETURNING locator";
            loop {
                let mut tx = context.store.begin().await?;
                let rows = sqlx::query(recordings).bind(now).bind(BATCH).fetch_all(&mut *tx).await?;
                let locators = discard(&mut tx, &rows).await?;
                tx.commit().await?;
                if locators.is_empty() {
                    break;
                }
                for locator in locators {
                    self.recordings.remove_file(&locator).await;
                }
            }
            loop {
                let rows = sqlx::query(files).bind(now).bind(BATCH).fetch_all(context.store.writers()).await?;
                if rows.is_empty() {
                    break;
                }
                for row in rows {
                    let locator = row.try_get::<Option<String>, _>(0)?;
                    if let Some(path) = locator.and_then(|locator| archive::below(&self.files, &locator)) {
                        archive::remove(&path).await;
                    }
                }
            }
            context.store.ring();
            Ok(())
        })
    }
}
