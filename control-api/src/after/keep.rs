//! How long recordings and files are kept: a date when they are stored, and a job that comes round and takes what is past it.

use std::path::{Path, PathBuf};

use domain::CallId;
use serde_json::Value;
use sqlx::{AnyConnection, Row as _};

use super::agent;
use crate::{
    BoxFuture, FilesSettings, Store,
    http::below,
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
pub(super) async fn date(tx: &mut AnyConnection, call: CallId) -> Result<(), sqlx::Error> {
    let row =
        sqlx::query("SELECT c.config, t.settings FROM calls c JOIN tenants t ON t.id = c.tenant_id WHERE c.id = $1")
            .bind(call.to_string())
            .fetch_optional(&mut *tx)
            .await?;
    let Some(row) = row else { return Ok(()) };
    let settings: Value = serde_json::from_str(&row.try_get::<String, _>("settings")?).unwrap_or_default();
    let own = agent(row.try_get("config")?).and_then(|agent| {
        let days = agent.recording.retention_days.and_then(|days| i64::try_from(days).ok())?;
        // Without an analysis there is nothing to wait for.
        Some(if days == 0 && agent.analysis.enabled { 1 } else { days })
    });
    let days = own.or_else(|| settings.pointer("/retention/recording_days")?.as_i64()).unwrap_or(RECORDING_DAYS);
    sqlx::query("UPDATE recordings SET expires_at = created_at + $1 WHERE call_id = $2 AND expires_at IS NULL")
        .bind(days * DAY_MS)
        .bind(call.to_string())
        .execute(tx)
        .await
        .map(drop)
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

/// Deletes a call's recordings: the rows say so first, then the files go. A file whose deletion fails has no row that leads to it.
pub(crate) async fn delete(store: &Store, folder: &Path, call: CallId) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "UPDATE recordings SET state = 'deleted', deleted_at = $1 WHERE call_id = $2 AND state <> 'deleted' RETURNING locator",
    )
    .bind(now_ms())
    .bind(call.to_string())
    .fetch_all(store.pool())
    .await?;
    for row in rows {
        remove(folder, &row.try_get::<String, _>(0)?).await;
    }
    Ok(())
}

async fn remove(folder: &Path, locator: &str) {
    let Some(path) = below(folder, locator) else { return };
    match tokio::fs::remove_file(&path).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => tracing::error!(path = %path.display(), %error, "a file past its date cannot be deleted"),
    }
}

/// Takes recordings and files that are past their date.
#[derive(Clone, Debug)]
pub struct Purge {
    recordings: PathBuf,
    files: PathBuf,
}

impl Purge {
    /// Below these folders.
    pub fn new(recordings: PathBuf, files: &FilesSettings) -> Self {
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
                (SELECT id FROM recordings WHERE expires_at <= $1 AND deleted_at IS NULL AND state <> 'writing' LIMIT $2) RETURNING locator";
            let files = "UPDATE files SET state = 'expired' WHERE id IN
                (SELECT id FROM files WHERE expires_at <= $1 AND state <> 'expired' LIMIT $2) RETURNING locator";
            for (sql, folder) in [(recordings, &self.recordings), (files, &self.files)] {
                loop {
                    let rows = sqlx::query(sql).bind(now).bind(BATCH).fetch_all(context.store.pool()).await?;
                    if rows.is_empty() {
                        break;
                    }
                    for row in rows {
                        if let Some(locator) = row.try_get::<Option<String>, _>(0)? {
                            remove(folder, &locator).await;
                        }
                    }
                }
            }
            Ok(())
        })
    }
}
