//! Rows of `files`.

use domain::TenantId;
use serde_json::Value;
use sqlx::{AnyConnection, Row as _};

use super::exporter::{EXPORT, EXPORT_DAYS};
use crate::{
    Store,
    jobs::{NewJob, enqueue},
    store::{fresh_id, json_text, storable},
    time::now_ms,
};

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct FileRow {
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    pub(crate) kind: String,
    pub(crate) state: String,
    pub(crate) locator: Option<String>,
    pub(crate) content_type: String,
    pub(crate) bytes: Option<i64>,
    pub(crate) request: Value,
    pub(crate) expires_at: i64,
}

/// Orders a file: its row, and the job that makes it.
pub(crate) async fn order(
    tx: &mut AnyConnection,
    tenant: TenantId,
    kind: &'static str,
    content_type: &str,
    request: &Value,
) -> Result<String, sqlx::Error> {
    let (id, now) = (fresh_id(), now_ms());
    sqlx::query(
        "INSERT INTO files (id, tenant_id, kind, state, content_type, request, created_at, expires_at)
         VALUES ($1, $2, $3, 'queued', $4, $5, $6, $7)",
    )
    .bind(&id)
    .bind(tenant.to_string())
    .bind(kind)
    .bind(content_type.to_owned())
    .bind(json_text(request))
    .bind(now)
    .bind(now + EXPORT_DAYS * 86_400_000)
    .execute(&mut *tx)
    .await?;
    let job = NewJob {
        tenant: Some(tenant),
        kind: EXPORT,
        dedupe_key: format!("{EXPORT}:{id}"),
        payload: serde_json::json!({"file_id": id}),
        run_at_ms: now,
    };
    enqueue(tx, job).await?;
    Ok(id)
}

impl Store {
    /// A file by its id alone, for signed links and for the job.
    pub(crate) async fn file(&self, id: &str) -> Result<Option<FileRow>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT id, tenant_id, kind, state, locator, content_type, bytes, request, expires_at FROM files WHERE id = $1",
        )
        .bind(id.to_owned())
        .fetch_optional(self.pool())
        .await?;
        row.map(|row| {
            Ok(FileRow {
                id: row.try_get(0)?,
                tenant: row
                    .try_get::<String, _>(1)?
                    .parse()
                    .map_err(|_| sqlx::Error::Decode("tenant id is no uuid".into()))?,
                kind: row.try_get(2)?,
                state: row.try_get(3)?,
                locator: row.try_get(4)?,
                content_type: row.try_get(5)?,
                bytes: row.try_get(6)?,
                request: serde_json::from_str(&row.try_get::<String, _>(7)?).unwrap_or_default(),
                expires_at: row.try_get(8)?,
            })
        })
        .transpose()
    }
}

/// Marks a file as there, or as impossible; false when that was known before.
pub(super) async fn close(tx: &mut AnyConnection, id: &str, made: Option<(&str, i64)>) -> Result<bool, sqlx::Error> {
    let closed =
        sqlx::query("UPDATE files SET state = $1, locator = $2, bytes = $3 WHERE id = $4 AND state = 'queued'")
            .bind(if made.is_some() { "ready" } else { "failed" })
            .bind(made.map(|(locator, _)| storable(locator)))
            .bind(made.map(|(_, bytes)| bytes))
            .bind(id.to_owned())
            .execute(tx)
            .await?;
    Ok(closed.rows_affected() == 1)
}
