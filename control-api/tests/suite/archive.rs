//! Recordings in a bucket: moved when they are finished, heard from there, gone at their date; nothing lost while the bucket is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, http::Request};
use control_api::{
    AfterSettings, Archive, Background, BackgroundSettings, Clock, Entry, RecordingStage, RecordingState, S3Settings,
    Storage, after_call, now_ms,
};
use domain::{CallId, RecordingId};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use vendor_sim::{Fault, Knobs, S3, S3Keys};

use crate::{
    db::{Db, on_both},
    fake::Client,
    invariants,
};

const MOVED: &str = "SELECT COUNT(*) FROM recordings WHERE locator LIKE 's3://%' AND state = 'ready'";
const FAILED: &str = "SELECT COUNT(*) FROM jobs WHERE kind = 'recording.upload' AND last_error IS NOT NULL";

pub(crate) async fn bucket(knobs: Knobs) -> S3 {
    S3::start("calls", S3Keys::default(), knobs).await.unwrap()
}

pub(crate) fn archive(db: &Db, s3: &S3) -> Archive {
    kept(db, s3, Storage::S3, "sim-secret")
}

pub(crate) fn kept(db: &Db, s3: &S3, storage: Storage, secret: &str) -> Archive {
    let settings = S3Settings {
        bucket: "calls".into(),
        endpoint: s3.endpoint(),
        region: "eu-central-1".into(),
        access_key: "AKIDSIM".into(),
        secret_key: secret.into(),
        prefix: "a b/side+tone".into(),
        ..S3Settings::default()
    };
    Archive::open(db.folder.join("recordings"), storage, &settings).unwrap()
}

/// The background of a node, at a time that the test moves.
pub(crate) async fn node(db: &Db, name: &str, archive: &Archive) -> (Background, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let read = ahead.clone();
    let after = AfterSettings {
        recordings: archive.clone(),
        files: control_api::FilesSettings { dir: db.folder.join("files") },
        ..AfterSettings::default()
    };
    let settings = BackgroundSettings {
        node: name.into(),
        handlers: after_call(&after).unwrap(),
        clock: Clock::new(move || now_ms() + read.load(Ordering::Relaxed)),
        archive: Some(archive.clone()),
        ..Default::default()
    };
    (Background::start(&db.store, settings).await.unwrap(), ahead)
}

/// A second of both sides, as the recorder writes it.
fn wav() -> Vec<u8> {
    let mut wav = b"RIFF".to_vec();
    wav.extend(32_036_u32.to_le_bytes());
    wav.extend(b"WAVEfmt ");
    for (number, bytes) in [(16_u32, 4), (1, 2), (2, 2), (8000, 4), (32_000, 4), (4, 2), (16, 2)] {
        wav.extend(&number.to_le_bytes()[..bytes]);
    }
    wav.extend(b"data");
    wav.extend(32_000_u32.to_le_bytes());
    for n in 0..8000_u16 {
        wav.extend(n.to_le_bytes());
        wav.extend((n ^ 0x5555).to_le_bytes());
    }
    wav
}

/// A call of the node n1 with a finished recording on its disk.
async fn recorded(db: &Db) -> CallId {
    let call = crate::after::talk(db, &json!({"name": "x", "recording": {"format": "wav"}}), &["A: Hello?", "C: hi"]);
    let content = wav();
    std::fs::create_dir_all(db.folder.join("recordings")).unwrap();
    std::fs::write(db.folder.join(format!("recordings/{call}.wav")), &content).unwrap();
    let state = RecordingState {
        id: RecordingId(Uuid::now_v7()),
        state: RecordingStage::Ready,
        locator: format!("{call}.wav"),
        format: "wav",
        channels: 2,
        duration_ms: Some(1000),
        bytes: Some(content.len() as u64),
        sha256: Some(Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    db.journal.write(call, Entry::Recording(state));
    db.journal.flush().await;
    call
}

fn on_disk(db: &Db, call: CallId) -> bool {
    db.folder.join(format!("recordings/{call}.wav")).exists()
}

/// Waits for what no row tells.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..400 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} does not come");
}

pub(crate) async fn open(client: &Client, url: &str) -> crate::fake::Answer {
    client.send(Request::get(url).body(Body::empty()).unwrap()).await
}

on_both! {
    async fn a_finished_recording_moves_to_the_bucket_and_is_heard_from_there(db) {
        let s3 = bucket(Knobs::default()).await;
        let archive = archive(&db, &s3);
        let client = Client::keeping(&db, archive.clone());
        let call = recorded(&db).await;
        let path = format!("/api/v1/calls/{call}/recording");
        let early = client.get(&path).await.json()["url"].as_str().unwrap().to_owned();
        assert_eq!(open(&client, &early).await.bytes, wav());
        let _node = node(&db, "n1", &archive).await;
        db.eventually(MOVED, 1).await;
        until("the end of the file", || !on_disk(&db, call)).await;
        let objects = s3.objects();
        assert_eq!((objects.len(), objects[0].1), (1, wav().len()));
        assert!(objects[0].0.starts_with(&format!("a b/side+tone/{}/", db.tenant)), "{objects:?}");

        // A link of before still leads there; nothing of the bucket is shown.
        assert_eq!(open(&client, &early).await.bytes, wav());
        let described = client.get(&path).await;
        assert!(!described.text().contains("calls/a") && !described.text().contains("Amz"), "{}", described.text());
        let whole = client.get_with(&path, "accept", "audio/*").await;
        assert_eq!((whole.status.as_u16(), whole.header("content-type"), whole.header("content-length")), (200, "audio/wav", "32044"));
        assert_eq!(whole.bytes, wav());
        let ranged = async |path: &str, range: String| {
            client.send(client.request("GET", path).header("accept", "audio/wav").header("range", range).body(Body::empty()).unwrap()).await
        };
        let part = ranged(&path, "bytes=30000-30099".into()).await;
        assert_eq!((part.status.as_u16(), part.header("content-range"), &part.bytes[..]), (206, "bytes 30000-30099/32044", &wav()[30_000..30_100]));
        assert_eq!(ranged(&path, "bytes=32044-".into()).await.error().0, 416);
        let side = format!("{path}?channel=agent");
        let agent = client.get_with(&side, "accept", "audio/wav").await;
        assert_eq!((agent.bytes.len(), agent.bytes[22], u16::from_le_bytes([agent.bytes[46], agent.bytes[47]])), (16_044, 1, 1 ^ 0x5555));
        for (first, last) in [(0, 10), (40, 50), (45, 46), (10_001, 16_043)] {
            let part = ranged(&side, format!("bytes={first}-{last}")).await;
            assert_eq!((part.status.as_u16(), &part.bytes[..]), (206, &agent.bytes[first..=last]), "{first}");
        }

        assert_eq!(client.delete(&path).await.status, 204);
        assert_eq!(open(&client, &early).await.error().0, 410);
        until("the end of the object", || s3.objects().is_empty()).await;
        invariants::hold(&db).await;
    }

    async fn a_file_stays_until_the_bucket_has_it_whole(db) {
        let s3 = bucket(Knobs::default()).await;
        let wrong = kept(&db, &s3, Storage::S3, "another");
        let client = Client::keeping(&db, archive(&db, &s3));
        let call = recorded(&db).await;
        let heard = async || client.get_with(&format!("/api/v1/calls/{call}/recording"), "accept", "audio/*").await.bytes == wav();
        // Signed with another secret: the bucket refuses it.
        let (stranger, _) = node(&db, "n1", &wrong).await;
        db.eventually(FAILED, 1).await;
        assert!(s3.seen().iter().all(|seen| seen["status"] == 403) && s3.objects().is_empty(), "{:?}", s3.seen());
        stranger.stop(Duration::from_secs(5)).await;
        assert!(heard().await && on_disk(&db, call));
        // Then it is out of order, and then it keeps half and says that all is well.
        let (_node, ahead) = node(&db, "n1", &archive(&db, &s3)).await;
        for (n, (fault, said)) in [
            (Fault::Refuse { status: 500, retry_after: None, code: "InternalError".into() }, "%500 InternalError%"),
            (Fault::Refuse { status: 503, retry_after: None, code: "SlowDown".into() }, "%503 SlowDown%"),
            (Fault::Drop { after: 0 }, "%16022%of 32044%"),
        ].into_iter().enumerate() {
            s3.fault(fault);
            db.run("UPDATE jobs SET last_error = NULL WHERE kind = 'recording.upload'").await;
            ahead.store(3_600_000 * (n as i64 + 1), Ordering::Relaxed);
            db.eventually(FAILED, 1).await;
            let error: String = sqlx::query_scalar("SELECT last_error FROM jobs WHERE kind = 'recording.upload'").fetch_one(&db.raw).await.unwrap();
            assert!(said.split('%').all(|part| error.contains(part)), "{error}");
            assert!(heard().await && on_disk(&db, call));
            assert_eq!(db.number(MOVED).await, 0);
        }
        s3.fault(Fault::None);
        ahead.store(3_600_000 * 10, Ordering::Relaxed);
        db.eventually(MOVED, 1).await;
        until("the end of the file", || !on_disk(&db, call)).await;
        assert!(heard().await);
        assert_eq!(s3.objects()[0].1, wav().len());
        invariants::hold(&db).await;
    }

    async fn a_file_that_is_not_what_was_recorded_is_not_moved(db) {
        let s3 = bucket(Knobs::default()).await;
        let call = recorded(&db).await;
        std::fs::write(db.folder.join(format!("recordings/{call}.wav")), b"RIFF").unwrap();
        let _node = node(&db, "n1", &archive(&db, &s3)).await;
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.upload' AND state = 'dead'", 1).await;
        assert!(on_disk(&db, call) && s3.objects().is_empty());
    }

    async fn what_is_past_its_date_goes_from_the_bucket_too(db) {
        let s3 = bucket(Knobs::default()).await;
        let archive = archive(&db, &s3);
        let client = Client::keeping(&db, archive.clone());
        let call = recorded(&db).await;
        let (_node, ahead) = node(&db, "n1", &archive).await;
        db.eventually(MOVED, 1).await;
        // The bucket is away at that moment: the row says at once that it is gone, the object goes when it can.
        s3.fault(Fault::Refuse { status: 503, retry_after: None, code: "SlowDown".into() });
        ahead.store(91 * 86_400_000, Ordering::Relaxed);
        db.eventually("SELECT COUNT(*) FROM recordings WHERE state = 'deleted'", 1).await;
        assert_eq!(client.get(&format!("/api/v1/calls/{call}/recording")).await.error().0, 410);
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.discard' AND last_error IS NOT NULL", 1).await;
        assert_eq!(s3.objects().len(), 1);
        s3.fault(Fault::None);
        ahead.store(92 * 86_400_000, Ordering::Relaxed);
        until("the end of the object", || s3.objects().is_empty()).await;
        invariants::hold(&db).await;
    }

    async fn what_is_deleted_while_it_is_on_its_way_leaves_nothing_behind(db) {
        let s3 = bucket(Knobs { first_byte: Duration::from_millis(600), ..Knobs::default() }).await;
        let archive = archive(&db, &s3);
        let client = Client::keeping(&db, archive.clone());
        let call = recorded(&db).await;
        let _node = node(&db, "n1", &archive).await;
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.upload' AND state = 'running'", 1).await;
        assert_eq!(client.delete(&format!("/api/v1/calls/{call}/recording")).await.status, 204);
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.upload' AND state = 'done'", 1).await;
        assert!(s3.objects().is_empty() && !on_disk(&db, call), "{:?}", s3.objects());
        invariants::hold(&db).await;
    }

    async fn only_the_node_that_has_the_file_moves_it(db) {
        let s3 = bucket(Knobs::default()).await;
        let (here, mut settings) = (archive(&db, &s3), S3Settings::default());
        (settings.bucket, settings.endpoint, settings.access_key, settings.secret_key) = ("calls".into(), s3.endpoint(), "AKIDSIM".into(), "sim-secret".into());
        settings.region = "eu-central-1".into();
        let there = Archive::open(db.folder.join("other"), Storage::S3, &settings).unwrap();
        let call = recorded(&db).await;
        let (other, ahead) = node(&db, "n2", &there).await;
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.upload' AND node = 'n1'", 1).await;
        ahead.store(60_000, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.upload' AND state = 'queued' AND attempts = 0").await, 1);
        // Who asks the other node meanwhile is told to come again.
        let asked = Client::keeping(&db, there);
        let path = format!("/api/v1/calls/{call}/recording");
        let answer = asked.get_with(&path, "accept", "audio/*").await;
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (202, "1"));
        let _node = node(&db, "n1", &here).await;
        db.eventually(MOVED, 1).await;
        assert_eq!(asked.get_with(&path, "accept", "audio/*").await.bytes, wav());
        other.stop(Duration::from_secs(5)).await;
    }

    async fn a_node_takes_charge_of_what_lies_on_its_disk(db) {
        // Two recordings of the time before there was a bucket, one of them of a node that had another name.
        let s3 = bucket(Knobs::default()).await;
        let calls = [recorded(&db).await, recorded(&db).await];
        let (before, _) = node(&db, "n1", &kept(&db, &s3, Storage::Local, "sim-secret")).await;
        db.eventually("SELECT COUNT(*) FROM recordings WHERE expires_at IS NOT NULL", 2).await;
        before.stop(Duration::from_secs(5)).await;
        assert_eq!((db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.upload'").await, s3.objects().len()), (0, 0));
        let archive = archive(&db, &s3);
        let (renamed, _) = node(&db, "n7", &archive).await;
        db.eventually(MOVED, 2).await;
        until("the end of the files", || calls.iter().all(|call| !on_disk(&db, *call))).await;
        renamed.stop(Duration::from_secs(5)).await;
        // Back to the folder: what lies in the bucket is still heard.
        let client = Client::keeping(&db, kept(&db, &s3, Storage::Local, "sim-secret"));
        assert_eq!(client.get_with(&format!("/api/v1/calls/{}/recording", calls[0]), "accept", "audio/*").await.bytes, wav());
    }

    async fn a_bucket_that_is_away_is_told_and_breaks_nothing(db) {
        let s3 = bucket(Knobs::default()).await;
        let archive = archive(&db, &s3);
        let client = Client::keeping(&db, archive.clone());
        let call = recorded(&db).await;
        let _node = node(&db, "n1", &archive).await;
        db.eventually(MOVED, 1).await;
        let path = format!("/api/v1/calls/{call}/recording");
        s3.fault(Fault::Refuse { status: 500, retry_after: None, code: "InternalError".into() });
        let refused = client.get_with(&path, "accept", "audio/*").await;
        assert_eq!((refused.error().0, refused.error().1.as_str()), (502, "vendor_failed"));
        // The description needs no bucket.
        assert_eq!(client.get(&path).await.status, 200);
        // What breaks off in the middle is cut off here too, not padded.
        s3.fault(Fault::Drop { after: 0 });
        let request = client.request("GET", &path).header("accept", "audio/*").body(Body::empty()).unwrap();
        let response = tower::ServiceExt::oneshot(client.router.clone(), request).await.unwrap();
        assert!(axum::body::to_bytes(response.into_body(), usize::MAX).await.is_err());
        s3.fault(Fault::None);
        assert_eq!(client.get_with(&path, "accept", "audio/*").await.bytes, wav());
    }
}
