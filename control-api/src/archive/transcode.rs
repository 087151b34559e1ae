//! The job `recording.transcode`: the node that has a finished WAV file makes an Ogg Opus file of it, where the agent wants one.
//!
//! The WAV file goes when the other is on the disk, whole, and the row says so. A node that dies anywhere between leaves a job that
//! finds out how far things are; the way into the bucket begins behind it.

use std::path::{Path, PathBuf};

use serde_json::json;
use sqlx::AnyConnection;
use tokio::sync::watch;

use super::{
    Archive,
    aside::aside,
    encode::{Described, EncodeFault, Encoding},
    move_out,
};
use crate::{
    BoxFuture, Store,
    jobs::{Context, Fault, Handler, Job, NewJob, Terms, enqueue_on},
    store::records::RecordingRow,
    time::now_ms,
};

pub(super) const TRANSCODE: &str = "recording.transcode";
/// How rows call an Ogg Opus file.
pub(crate) const OGG_OPUS: &str = "ogg_opus";
/// With an hour between the later ones, more than a day: then the WAV file stays one.
const ATTEMPTS: i64 = 40;
/// Below the folder of recordings, for what is not whole yet.
const PARTS: &str = "encoding";

/// Leaves the encoding of a recording to the node that has it.
pub(super) async fn leave(tx: &mut AnyConnection, id: &str, locator: &str, node: &str) -> Result<bool, sqlx::Error> {
    let job = NewJob {
        tenant: None,
        kind: TRANSCODE,
        dedupe_key: dedupe_key(id),
        payload: json!({"recording_id": id, "locator": locator}),
        run_at_ms: now_ms(),
    };
    enqueue_on(tx, job, Terms { node: Some(node), attempts: ATTEMPTS }).await
}

pub(super) fn dedupe_key(recording: &str) -> String {
    format!("{TRANSCODE}:{recording}")
}

/// Removes what an earlier run of this node was in the middle of; called before anything is encoded.
pub(crate) async fn sweep(archive: &Archive) {
    let _ = tokio::fs::remove_dir_all(archive.folder.join(PARTS)).await;
}

/// Encodes recordings.
#[derive(Debug)]
pub(crate) struct Transcode {
    pub(crate) archive: Archive,
    pub(crate) node: String,
    /// Says when this node stops: an encoding is long, and another run begins it again.
    pub(crate) stop: watch::Receiver<bool>,
}

/// The files of one recording.
struct Files {
    wav: PathBuf,
    ogg: PathBuf,
    part: PathBuf,
    /// Of the Ogg file.
    locator: String,
}

impl Handler for Transcode {
    fn kind(&self) -> &'static str {
        TRANSCODE
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (Some(id), Some(local)) = (job.payload["recording_id"].as_str(), job.payload["locator"].as_str())
            else {
                return Err(Fault::Never("no recording named".into()));
            };
            let files = self.files(id, local, job.attempt)?;
            if let Some(row) = context.store.recording(id).await?
                && row.state == "ready"
                && row.locator == local
            {
                match self.encode(&files, &row).await {
                    Ok(made) => self.note(&context.store, &row, &files, &made).await?,
                    Err(fault) if is_still(&context.store, &row).await? => {
                        if matches!(fault, Fault::Never(_)) || job.attempt >= job.max_attempts {
                            self.leave_upload(&context.store, id, local).await?;
                        }
                        return Err(fault);
                    }
                    // It was deleted meanwhile, which ends the work on it.
                    Err(_) => {}
                }
            }
            // What the row says now decides, whoever wrote it: it may have been deleted while the file was being made.
            match context.store.recording(id).await? {
                Some(row) if row.state == "ready" && row.locator == local => {
                    return Err(Fault::Again("the row did not take the new file".into()));
                }
                Some(row) if row.state == "ready" && row.locator == files.locator => {}
                // Deleted, or already in the bucket.
                _ => super::remove(&files.ogg).await,
            }
            super::remove(&files.wav).await;
            Ok(())
        })
    }
}

impl Transcode {
    fn files(&self, id: &str, local: &str, attempt: i64) -> Result<Files, Fault> {
        let outside = || Fault::Never("the file lies outside".into());
        let locator = local.strip_suffix(".wav").map(|stem| format!("{stem}.ogg")).ok_or_else(outside)?;
        let wav = self.archive.file(local).ok_or_else(outside)?;
        let ogg = self.archive.file(&locator).ok_or_else(outside)?;
        // An attempt whose claim was lost may still be at its last piece.
        let part = self.archive.file(&format!("{PARTS}/{id}.{attempt}")).ok_or_else(outside)?;
        Ok(Files { wav, ogg, part, locator })
    }

    /// Makes the file, unless this node stops.
    async fn encode(&self, files: &Files, row: &RecordingRow) -> Result<Described, Fault> {
        let expected = Described {
            bytes: row.bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default(),
            sha256: row.sha256.clone().unwrap_or_default(),
        };
        let mut stop = self.stop.clone();
        tokio::select! {
            made = pieces(&files.wav, &files.part, &files.ogg, serial(&row.id), expected) => made.map_err(|fault| match fault {
                EncodeFault::Io(_) => Fault::Again(fault.to_string()),
                EncodeFault::Missing | EncodeFault::Differs | EncodeFault::NoWav => Fault::Never(fault.to_string()),
            }),
            _ = stop.wait_for(|stop| *stop) => Err(Fault::Again("the node stopped meanwhile".into())),
        }
    }

    /// Says in the row that the file is another one, and begins its way into the bucket.
    async fn note(&self, store: &Store, row: &RecordingRow, files: &Files, made: &Described) -> Result<(), Fault> {
        let mut tx = store.begin().await?;
        let noted = sqlx::query(
            "UPDATE recordings SET locator = $1, format = $2, bytes = $3, sha256 = $4 WHERE id = $5 AND locator = $6 AND state = 'ready'",
        )
        .bind(&files.locator)
        .bind(OGG_OPUS)
        .bind(i64::try_from(made.bytes).unwrap_or(i64::MAX))
        .bind(&made.sha256)
        .bind(&row.id)
        .bind(&row.locator)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if noted == 1 && self.archive.target().is_some() {
            move_out::take_up(&mut tx, &row.id, &files.locator, &self.node).await?;
        }
        tx.commit().await?;
        store.ring();
        Ok(())
    }

    /// A file that cannot be encoded moves as it is.
    async fn leave_upload(&self, store: &Store, id: &str, local: &str) -> Result<(), Fault> {
        if self.archive.target().is_some() {
            let mut tx = store.begin().await?;
            move_out::take_up(&mut tx, id, local, &self.node).await?;
            tx.commit().await?;
            store.ring();
        }
        Ok(())
    }
}

/// Whether a row is as it was.
async fn is_still(store: &Store, row: &RecordingRow) -> Result<bool, sqlx::Error> {
    let now = store.recording(&row.id).await?;
    Ok(now.is_some_and(|now| now.state == row.state && now.locator == row.locator))
}

/// Names the stream in its file: the same each time, so that who repeats the work makes the same file.
fn serial(recording: &str) -> u32 {
    let id: uuid::Uuid = recording.parse().unwrap_or_default();
    let [.., a, b, c, d] = *id.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

async fn pieces(
    wav: &Path,
    part: &Path,
    ogg: &Path,
    serial: u32,
    expected: Described,
) -> Result<Described, EncodeFault> {
    let (wav, part, ogg) = (wav.to_owned(), part.to_owned(), ogg.to_owned());
    let mut encoding = aside(move || Encoding::open(&wav, part, serial)).await??;
    loop {
        let (taken, more) = aside(move || {
            let more = encoding.step();
            (encoding, more)
        })
        .await?;
        encoding = taken;
        if !more? {
            break;
        }
    }
    aside(move || encoding.finish(&expected, &ogg)).await?
}
