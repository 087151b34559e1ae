//! The job `file.export`: writes what was ordered below the folder of files, and tells when it is there.

use std::path::{Path, PathBuf};

use domain::event::Name;
use serde_json::json;
use tokio::{
    fs::File,
    io::{AsyncWriteExt as _, BufWriter},
};

use super::{
    FilesSettings,
    export::{self, Export},
    rows::{FileRow, close},
};
use crate::{
    BoxFuture, Store,
    jobs::{Context, Fault, Handler, Job},
    outbox::{NewEvent, emit},
};

/// The job's kind.
pub(super) const EXPORT: &str = "file.export";
/// How long a file is kept.
pub(super) const EXPORT_DAYS: i64 = 7;

/// Makes files.
#[derive(Clone, Debug)]
pub struct Exporter {
    folder: PathBuf,
}

impl Exporter {
    /// Writes below this folder, which is made when it is needed.
    pub fn new(settings: &FilesSettings) -> Self {
        Self { folder: settings.dir.clone() }
    }
}

impl Handler for Exporter {
    fn kind(&self) -> &'static str {
        EXPORT
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let store = &context.store;
            let id = job.payload["file_id"].as_str().unwrap_or_default();
            let Some(file) = store.file(id).await?.filter(|file| file.state == "queued") else { return Ok(()) };
            let Ok(export) = serde_json::from_value::<Export>(file.request.clone()) else {
                end(store, &file, None).await?;
                return Err(Fault::Never("the order cannot be read".into()));
            };
            let locator = format!("{}/{}.{}", file.tenant, file.id, export.format.extension());
            match write(store, &file, export, &self.folder.join(&locator)).await {
                Ok(bytes) => Ok(end(store, &file, Some((&locator, bytes))).await?),
                Err(error) if job.attempt < job.max_attempts => Err(Fault::Again(error)),
                Err(error) => {
                    end(store, &file, None).await?;
                    Err(Fault::Never(error))
                }
            }
        })
    }
}

/// Writes beside the place and moves the file there when it is whole, so that nobody fetches half of one.
async fn write(store: &Store, file: &FileRow, export: Export, path: &Path) -> Result<i64, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    let part = path.with_extension("part");
    let mut out = BufWriter::new(File::create(&part).await.map_err(failed)?);
    let mut lines = export::lines(store.clone(), file.tenant, export);
    let mut bytes = 0;
    while let Some(chunk) = lines.recv().await {
        let chunk = chunk.map_err(|error| format!("store: {error}"))?;
        out.write_all(chunk.as_bytes()).await.map_err(failed)?;
        bytes += chunk.len() as i64;
    }
    out.flush().await.map_err(failed)?;
    tokio::fs::rename(&part, path).await.map_err(failed)?;
    Ok(bytes)
}

async fn end(store: &Store, file: &FileRow, made: Option<(&str, i64)>) -> Result<(), sqlx::Error> {
    let mut tx = store.begin().await?;
    if close(&mut tx, &file.id, made).await? && made.is_some() {
        let kind = if file.kind == "report" { Name::ReportReady } else { Name::ExportReady };
        let data = json!({"file_id": file.id});
        emit(&mut tx, NewEvent { tenant: file.tenant, livemode: true, kind, data }).await?;
    }
    tx.commit().await?;
    store.ring();
    Ok(())
}
