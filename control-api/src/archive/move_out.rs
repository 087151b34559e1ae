//! The way into the bucket, by jobs: `recording.upload` on the node that has the file, `recording.discard` on any.
//!
//! The file goes when the bucket has it, whole, and the row says so. A node that dies anywhere between leaves a job that finds out how
//! far things are.

use std::path::Path;

use md5::Digest as _;
use serde_json::json;
use sqlx::{AnyConnection, Row as _};

use super::{Archive, BucketFault, SCHEME, bucket::Sums, content_type, is_remote, transcode};
use crate::{
    BoxFuture, Store,
    jobs::{Context, Fault, Handler, Job, NewJob, Terms, enqueue_on},
    store::{json_text, storable},
    time::now_ms,
};

const UPLOAD: &str = "recording.upload";
const DISCARD: &str = "recording.discard";
/// With an hour between the later ones, more than a week: a bucket that is away for so long is missed by somebody.
const ATTEMPTS: i64 = 200;
/// Rows that are looked at in one go.
const ROWS: i64 = 500;

/// What becomes of a finished recording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    /// It becomes an Ogg Opus file.
    pub(crate) encodes: bool,
    /// It moves into the bucket.
    pub(crate) uploads: bool,
}

/// Leaves a call's finished recordings to the node whose call it was: their encoding, or at once their upload, which comes behind it.
pub(crate) async fn leave(tx: &mut AnyConnection, call: &str, ways: Ways) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT r.id, r.locator, r.format, c.node_id FROM recordings r JOIN calls c ON c.id = r.call_id
         WHERE r.call_id = $1 AND r.state = 'ready' AND c.node_id IS NOT NULL",
    )
    .bind(call.to_owned())
    .fetch_all(&mut *tx)
    .await?;
    for row in rows {
        let (id, locator, format): (String, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let node: String = row.try_get(3)?;
        match is_remote(&locator) {
            true => {}
            false if ways.encodes && format == "wav" => {
                transcode::leave(tx, &id, &locator, &node).await?;
            }
            false if ways.uploads => {
                enqueue_on(tx, upload(&id, &locator), Terms { node: Some(&node), attempts: ATTEMPTS }).await?;
            }
            false => {}
        }
    }
    Ok(())
}

fn upload(id: &str, locator: &str) -> NewJob {
    NewJob {
        tenant: None,
        kind: UPLOAD,
        dedupe_key: format!("{UPLOAD}:{id}"),
        payload: json!({"recording_id": id, "locator": locator}),
        run_at_ms: now_ms(),
    }
}

/// Has this node move a file, whatever became of an upload that was left before; how many jobs it is more.
pub(super) async fn take_up(tx: &mut AnyConnection, id: &str, locator: &str, node: &str) -> Result<u64, sqlx::Error> {
    let job = upload(id, locator);
    let payload = json_text(&job.payload);
    if enqueue_on(tx, job, Terms { node: Some(node), attempts: ATTEMPTS }).await? {
        return Ok(1);
    }
    sqlx::query(
        "UPDATE jobs SET node = $1, state = 'queued', attempts = 0, run_at = $2, finished_at = NULL, payload = $3
         WHERE dedupe_key = $4 AND (state IN ('dead','done') OR (state = 'queued' AND (node IS NULL OR node <> $1)))",
    )
    .bind(storable(node))
    .bind(now_ms())
    .bind(payload)
    .bind(format!("{UPLOAD}:{id}"))
    .execute(tx)
    .await
    .map(|done| done.rows_affected())
}

/// Whether a recording is still to be moved by the node that has it.
pub(crate) async fn is_pending(store: &Store, archive: &Archive, recording: &str) -> Result<bool, sqlx::Error> {
    if archive.target().is_none() {
        return Ok(false);
    }
    let row = sqlx::query("SELECT id FROM jobs WHERE dedupe_key IN ($1, $2) AND state IN ('queued','running') LIMIT 1")
        .bind(format!("{UPLOAD}:{recording}"))
        .bind(transcode::dedupe_key(recording))
        .fetch_optional(store.pool())
        .await?;
    Ok(row.is_some())
}

/// Takes charge of the finished recordings whose files lie on this node: to be encoded, and to be moved. They are those of a node that
/// had another name, those of the time before there was a bucket, and those whose upload was given up.
pub(crate) async fn adopt(store: &Store, archive: &Archive, node: &str) -> Result<u64, sqlx::Error> {
    let encoded = adopt_encodings(store, archive, node).await?;
    let moved = if archive.target().is_some() { adopt_uploads(store, archive, node).await? } else { 0 };
    store.ring();
    Ok(encoded + moved)
}

async fn adopt_encodings(store: &Store, archive: &Archive, node: &str) -> Result<u64, sqlx::Error> {
    let (mut last, mut adopted) = (String::new(), 0);
    loop {
        let rows = sqlx::query(
            "SELECT id, payload FROM jobs WHERE id > $1 AND kind = $2 AND state = 'queued' AND node <> $3 ORDER BY id LIMIT $4",
        )
        .bind(last.clone())
        .bind(transcode::TRANSCODE)
        .bind(storable(node))
        .bind(ROWS)
        .fetch_all(store.pool())
        .await?;
        if rows.is_empty() {
            return Ok(adopted);
        }
        for row in &rows {
            last = row.try_get(0)?;
            let payload: serde_json::Value = serde_json::from_str(&row.try_get::<String, _>(1)?).unwrap_or_default();
            if !lies_here(archive, payload["locator"].as_str().unwrap_or_default()).await {
                continue;
            }
            adopted += sqlx::query("UPDATE jobs SET node = $1 WHERE id = $2 AND state = 'queued'")
                .bind(storable(node))
                .bind(last.clone())
                .execute(store.writers())
                .await?
                .rows_affected();
        }
    }
}

async fn adopt_uploads(store: &Store, archive: &Archive, node: &str) -> Result<u64, sqlx::Error> {
    let (mut last, mut adopted) = (String::new(), 0);
    loop {
        // What is still to be encoded moves after that. Without a date nobody has looked yet whether it is to be encoded.
        let rows = sqlx::query(
            "SELECT id, locator FROM recordings WHERE id > $1 AND state = 'ready' AND expires_at IS NOT NULL AND locator NOT LIKE $2 AND NOT EXISTS
               (SELECT 1 FROM jobs j WHERE j.dedupe_key = $3 || recordings.id AND j.state IN ('queued','running')) ORDER BY id LIMIT $4",
        )
        .bind(last.clone())
        .bind(format!("{SCHEME}%"))
        .bind(transcode::dedupe_key(""))
        .bind(ROWS)
        .fetch_all(store.pool())
        .await?;
        if rows.is_empty() {
            return Ok(adopted);
        }
        for row in &rows {
            let (id, locator): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            if lies_here(archive, &locator).await {
                let mut tx = store.begin().await?;
                adopted += take_up(&mut tx, &id, &locator, node).await?;
                tx.commit().await?;
            }
            last = id;
        }
    }
}

async fn lies_here(archive: &Archive, locator: &str) -> bool {
    match archive.file(locator) {
        Some(path) => tokio::fs::try_exists(&path).await.unwrap_or(false),
        None => false,
    }
}

/// Leaves the deletion of a recording of a call, in the transaction whose row says that it is deleted: on the node that has the file, or
/// on any if it is an object.
pub(crate) async fn discard(tx: &mut AnyConnection, locator: &str, call: &str) -> Result<(), sqlx::Error> {
    let node = match is_remote(locator) {
        true => None,
        false => {
            let row = sqlx::query("SELECT node_id FROM calls WHERE id = $1").bind(call.to_owned());
            let row = row.fetch_optional(&mut *tx).await?;
            row.and_then(|row| row.try_get::<Option<String>, _>(0).transpose()).transpose()?
        }
    };
    let job = NewJob {
        tenant: None,
        kind: DISCARD,
        dedupe_key: format!("{DISCARD}:{locator}"),
        payload: json!({"locator": locator}),
        run_at_ms: now_ms(),
    };
    enqueue_on(tx, job, Terms { node: node.as_deref(), attempts: ATTEMPTS }).await.map(drop)
}

/// Moves a recording into the bucket.
#[derive(Clone, Debug)]
pub struct Upload(pub(crate) Archive);

impl Handler for Upload {
    fn kind(&self) -> &'static str {
        UPLOAD
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (Some(id), Some(local)) = (job.payload["recording_id"].as_str(), job.payload["locator"].as_str())
            else {
                return Err(Fault::Never("no recording named".into()));
            };
            let Some(bucket) = self.0.target() else {
                return Err(Fault::Again("recordings stay where they are".into()));
            };
            let Some(path) = self.0.file(local) else { return Err(Fault::Never("the file lies outside".into())) };
            let Some(row) = context.store.recording(id).await? else {
                // The call itself is past its retention; where the object would be is known no more, and it was deleted before.
                super::remove(&path).await;
                return Ok(());
            };
            let remote = bucket.locator(&row.tenant, id, &row.format);
            if row.state == "ready" && row.locator == local {
                let sums = sums(&path).await?;
                if Some(sums.bytes) != row.bytes.and_then(|bytes| u64::try_from(bytes).ok())
                    || row.sha256.as_deref() != Some(sums.sha256.as_str())
                {
                    return Err(Fault::Never("the file is not what was recorded; it stays where it is".into()));
                }
                bucket.put(&remote, &path, &sums, content_type(&row.format)).await.map_err(again)?;
                sqlx::query("UPDATE recordings SET locator = $1 WHERE id = $2 AND locator = $3 AND state = 'ready'")
                    .bind(&remote)
                    .bind(id)
                    .bind(local)
                    .execute(context.store.writers())
                    .await?;
            }
            // What the row says now decides, whoever wrote it: it may have been deleted while the bytes were on their way.
            match context.store.recording(id).await? {
                Some(row) if row.state == "ready" && row.locator == local => {
                    return Err(Fault::Again("the row did not take the new place".into()));
                }
                Some(row) if row.state == "ready" => {}
                _ => bucket.delete(&remote).await.map_err(again)?,
            }
            super::remove(&path).await;
            Ok(())
        })
    }
}

/// Deletes an object, or a file on its node.
#[derive(Clone, Debug)]
pub struct Discard(pub(crate) Archive);

impl Handler for Discard {
    fn kind(&self) -> &'static str {
        DISCARD
    }

    fn run<'a>(&'a self, _: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let locator = job.payload["locator"].as_str().unwrap_or_default();
            match &self.0.bucket {
                _ if !is_remote(locator) => {
                    self.0.remove_file(locator).await;
                    Ok(())
                }
                Some(bucket) => bucket.delete(locator).await.map_err(again),
                None => Err(Fault::Again("no bucket is configured".into())),
            }
        })
    }
}

fn again(fault: BucketFault) -> Fault {
    Fault::Again(fault.to_string())
}

/// Length and checksums of a file, read on a thread that may block.
async fn sums(path: &Path) -> Result<Sums, Fault> {
    let path = path.to_owned();
    let summed = tokio::task::spawn_blocking(move || {
        use std::io::Read as _;
        let mut file = std::fs::File::open(&path)?;
        let (mut md5, mut sha256, mut bytes) = (md5::Md5::new(), sha2::Sha256::new(), 0_u64);
        let mut piece = vec![0; super::CHUNK];
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                break;
            }
            md5.update(&piece[..read]);
            sha256.update(&piece[..read]);
            bytes += read as u64;
        }
        Ok::<_, std::io::Error>(Sums {
            bytes,
            md5: md5.finalize().into(),
            sha256: crate::seal::hex(&sha256.finalize()),
        })
    })
    .await;
    match summed {
        Ok(Ok(sums)) => Ok(sums),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Fault::Never("the file is not on this node".into()))
        }
        Ok(Err(error)) => Err(Fault::Again(error.to_string())),
        Err(error) => Err(Fault::Again(error.to_string())),
    }
}
