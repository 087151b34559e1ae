//! Files that somebody sends.

use std::io;

use domain::TenantId;
use sqlx::AnyConnection;

use super::FilesSettings;
use crate::{archive, store::fresh_id, time::now_ms};

/// How long a bill is kept: a port request is over by then, or asks for a new one.
const KEPT_MS: i64 = 30 * 86_400_000;

/// A file on its way to its place: first the bytes, then the row.
pub(crate) struct Sent {
    pub(crate) id: String,
    tenant: TenantId,
    locator: String,
    content_type: &'static str,
    pub(crate) bytes: i64,
    at_ms: i64,
}

impl Sent {
    pub(crate) fn new(tenant: TenantId, content_type: &'static str, ending: &str, bytes: usize) -> Self {
        let id = fresh_id();
        let locator = format!("{tenant}/{id}.{ending}");
        Self { id, tenant, locator, content_type, bytes: i64::try_from(bytes).unwrap_or(i64::MAX), at_ms: now_ms() }
    }

    /// When it goes.
    pub(crate) fn expires_at(&self) -> i64 {
        self.at_ms + KEPT_MS
    }

    /// Writes beside the place and moves the file there when it is whole.
    pub(crate) async fn write(&self, settings: &FilesSettings, content: &[u8]) -> io::Result<()> {
        let path = settings.dir.join(&self.locator);
        if let Some(folder) = path.parent() {
            tokio::fs::create_dir_all(folder).await?;
        }
        let part = path.with_extension("part");
        tokio::fs::write(&part, content).await?;
        tokio::fs::rename(&part, path).await
    }

    /// Takes the bytes away again: nothing tells of them.
    pub(crate) async fn remove(&self, settings: &FilesSettings) {
        archive::remove(&settings.dir.join(&self.locator)).await;
    }

    pub(crate) async fn add(&self, tx: &mut AnyConnection) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO files (id, tenant_id, kind, state, locator, content_type, bytes, request, created_at, expires_at)
             VALUES ($1, $2, 'bill', 'ready', $3, $4, $5, '{}', $6, $7)",
        )
        .bind(&self.id)
        .bind(self.tenant.to_string())
        .bind(&self.locator)
        .bind(self.content_type)
        .bind(self.bytes)
        .bind(self.at_ms)
        .bind(self.expires_at())
        .execute(tx)
        .await
        .map(drop)
    }
}
