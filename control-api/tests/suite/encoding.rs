//! Recordings become Ogg Opus after the call: heard as both, nothing lost wherever it breaks off, and then into the bucket.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::Ordering,
    time::Duration,
};

use axum::body::Body;
use codecs::{
    pcm::rms_dbov,
    wav::{Reader, Wav, Writer},
};
use control_api::{Archive, Entry, RecordingStage, RecordingState, Storage};
use domain::{CallId, RecordingId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use vendor_sim::{Fault, Knobs};

use crate::{
    archive::{archive, bucket, kept, node, open, until},
    db::{Db, on_both},
    fake::Client,
    invariants,
};

const ENCODED: &str =
    "SELECT COUNT(*) FROM recordings WHERE format = 'ogg_opus' AND locator LIKE '%.ogg' AND state = 'ready'";
const DONE: &str = "SELECT COUNT(*) FROM jobs WHERE kind = 'recording.transcode' AND state = 'done'";
const OGG: &str = r#"{"name": "x"}"#;

/// Both sides, each with a tone of its own that swells and falls.
fn wav(frames: usize) -> Vec<u8> {
    let at = |n: usize, hz: f64| (n as f64 * hz / 8000.0 * std::f64::consts::TAU).sin();
    let samples: Vec<i16> = (0..frames)
        .flat_map(|n| {
            let swell = 0.6 + 0.4 * at(n, 2.0);
            [(9000.0 * swell * at(n, 440.0)) as i16, (4000.0 * swell * at(n, 1000.0)) as i16]
        })
        .collect();
    let mut writer = Writer::new(std::io::Cursor::new(Vec::new()), 8000, 2).unwrap();
    writer.write(&samples).unwrap();
    writer.finish().unwrap().into_inner()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file(db: &Db, call: CallId, ending: &str) -> PathBuf {
    db.folder.join(format!("recordings/{call}.{ending}"))
}

fn ready(call: CallId, content: &[u8], frames: usize) -> RecordingState {
    RecordingState {
        id: RecordingId(Uuid::now_v7()),
        state: RecordingStage::Ready,
        locator: format!("{call}.wav"),
        format: "wav",
        channels: 2,
        duration_ms: Some(frames as u64 / 8),
        bytes: Some(content.len() as u64),
        sha256: Some(sha256(content)),
    }
}

/// A call of the node n1 with a finished recording of so many samples on its disk.
async fn recorded(db: &Db, agent: &str, frames: usize) -> CallId {
    let agent: Value = serde_json::from_str(agent).unwrap();
    let call = crate::after::talk(db, &agent, &["A: Hello?", "C: hi"]);
    let content = wav(frames);
    std::fs::create_dir_all(db.folder.join("recordings")).unwrap();
    std::fs::write(file(db, call, "wav"), &content).unwrap();
    db.journal.write(call, Entry::Recording(ready(call, &content, frames)));
    db.journal.flush().await;
    call
}

/// How many files are being made.
fn parts(db: &Db) -> usize {
    std::fs::read_dir(db.folder.join("recordings/encoding")).map_or(0, Iterator::count)
}

fn local(db: &Db) -> Archive {
    db.folder.join("recordings").into()
}

/// That a decoded file is as long as it was, and each side as loud as it was.
fn sounds_like(decoded: &Wav, original: &[u8], side: Option<u16>) {
    let original = Reader::parse(original).unwrap();
    assert_eq!(decoded.rate, 8000);
    for channel in 0..decoded.channels {
        let (now, before) = (decoded.channel(channel), original.channel(side.unwrap_or(channel)));
        assert_eq!(now.len(), before.len());
        let (now, before) = (rms_dbov(&now), rms_dbov(&before));
        assert!((now - before).abs() < 1.0, "channel {channel}: {now} instead of {before} dBov");
    }
}

/// What `opusdec` makes of a file, where it is installed.
fn by_opusdec(ogg: &Path) -> Option<Wav> {
    let decoded = ogg.with_extension("opusdec.wav");
    let done =
        Command::new("opusdec").args(["--quiet", "--no-dither", "--rate", "8000"]).arg(ogg).arg(&decoded).status();
    assert!(done.ok()?.success());
    Some(Reader::parse(&std::fs::read(&decoded).unwrap()).unwrap())
}

on_both! {
    async fn a_recording_becomes_ogg_opus_and_is_heard_as_that_and_as_wav(db) {
        let client = Client::keeping(&db, local(&db));
        let frames = 30_123;
        let call = recorded(&db, OGG, frames).await;
        let path = format!("/api/v1/calls/{call}/recording");
        let early = client.get(&path).await.json();
        assert_eq!((early["format"].as_str(), early["bytes"].as_u64()), (Some("wav"), Some(44 + frames as u64 * 4)));
        assert_eq!(client.get(&format!("{path}?format=ogg")).await.error().0, 406);
        let _node = node(&db, "n1", &local(&db)).await;
        db.eventually(DONE, 1).await;
        assert_eq!(db.number(ENCODED).await, 1);
        assert!(!file(&db, call, "wav").exists());
        let ogg = std::fs::read(file(&db, call, "ogg")).unwrap();
        assert!(ogg.len() * 5 < frames * 4, "{} bytes", ogg.len());

        // As it is stored: described truly, with ranges, and by a link of before.
        let described = client.get(&path).await.json();
        assert_eq!((&described["format"], &described["channels"], &described["duration_ms"]), (&json!("ogg_opus"), &json!(2), &json!(frames / 8)));
        assert_eq!((described["bytes"].as_u64(), described["sha256"].as_str()), (Some(ogg.len() as u64), Some(sha256(&ogg).as_str())));
        let whole = client.get_with(&path, "accept", "audio/*").await;
        assert_eq!((whole.status.as_u16(), whole.header("content-type"), &whole.bytes[..]), (200, "audio/ogg", &ogg[..]));
        assert_eq!(open(&client, early["url"].as_str().unwrap()).await.bytes, ogg);
        assert_eq!(client.get_with(&format!("{path}?format=ogg"), "accept", "audio/*").await.bytes, ogg);
        let ranged = async |path: &str, range: String| {
            client.send(client.request("GET", path).header("accept", "audio/*").header("range", range).body(Body::empty()).unwrap()).await
        };
        let part = ranged(&path, "bytes=1000-1999".into()).await;
        assert_eq!((part.status.as_u16(), part.header("content-range"), &part.bytes[..]), (206, format!("bytes 1000-1999/{}", ogg.len()).as_str(), &ogg[1000..2000]));
        if let Some(decoded) = by_opusdec(&file(&db, call, "ogg")) {
            assert_eq!(decoded.channels, 2);
            sounds_like(&decoded, &wav(frames), None);
        }

        // Decoded, whole, in parts and by sides.
        for (query, channels, side) in [("format=wav", 2, None), ("channel=caller", 1, Some(0)), ("channel=agent&format=wav", 1, Some(1))] {
            let path = format!("{path}?{query}");
            let all = client.get_with(&path, "accept", "audio/*").await;
            let length = 44 + frames * 2 * usize::from(channels);
            assert_eq!((all.status.as_u16(), all.header("content-type"), all.header("content-length")), (200, "audio/wav", length.to_string().as_str()));
            let decoded = Reader::parse(&all.bytes).unwrap();
            assert_eq!(decoded.channels, channels);
            sounds_like(&decoded, &wav(frames), side);
            for (first, last) in [(0, 10), (40, 50), (45, 46), (30_001, length - 1)] {
                let part = ranged(&path, format!("bytes={first}-{last}")).await;
                assert_eq!((part.status.as_u16(), part.header("content-range")), (206, format!("bytes {first}-{last}/{length}").as_str()));
                assert_eq!(part.bytes, all.bytes[first..=last], "{first}");
            }
            assert_eq!(ranged(&path, format!("bytes={length}-")).await.error().0, 416);
            let described = client.get(&path).await.json();
            assert_eq!((&described["format"], &described["bytes"], &described["sha256"]), (&json!("wav"), &Value::Null, &Value::Null));
            let url = described["url"].as_str().unwrap();
            assert_eq!(open(&client, url).await.bytes, all.bytes);
            for altered in [url.replace("&format=wav", "").replace("&channel=caller", ""), format!("{url}&format=ogg"), url.replace("format=wav", "format=stored")] {
                assert!(altered == url || open(&client, &altered).await.status.is_client_error(), "{altered}");
            }
        }
        assert_eq!(client.get(&format!("{path}?format=ogg&channel=agent")).await.error().0, 406);
        assert_eq!(client.get(&format!("{path}?format=mp3")).await.error().0, 400);

        // Another tenant has no such call.
        crate::agents::become_another_tenant(&db).await;
        let stranger = Client::keeping(&db, local(&db));
        for query in ["", "?format=wav", "?format=ogg", "?channel=agent"] {
            assert_eq!(stranger.get_with(&format!("{path}{query}"), "accept", "audio/*").await.error().0, 404, "{query}");
        }
    }

    async fn an_agent_that_wants_wav_keeps_it(db) {
        let client = Client::keeping(&db, local(&db));
        let call = recorded(&db, r#"{"name": "x", "recording": {"format": "wav"}}"#, 8000).await;
        let (background, _) = node(&db, "n1", &local(&db)).await;
        db.eventually("SELECT COUNT(*) FROM recordings WHERE expires_at IS NOT NULL", 1).await;
        background.stop(Duration::from_secs(5)).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.transcode'").await, 0);
        let path = format!("/api/v1/calls/{call}/recording");
        for query in ["", "?format=wav", "?format=stored"] {
            let heard = client.get_with(&format!("{path}{query}"), "accept", "audio/*").await;
            assert_eq!((heard.header("content-type"), &heard.bytes[..]), ("audio/wav", &wav(8000)[..]));
        }
        let refused = client.get(&format!("{path}?format=ogg")).await;
        assert_eq!((refused.error().0, refused.error().2.as_deref()), (406, Some("format")));
    }

    async fn wherever_an_encoding_breaks_off_it_is_finished_by_the_next_run(db) {
        let calls = [recorded(&db, OGG, 8000).await, recorded(&db, OGG, 8000).await, recorded(&db, OGG, 8000).await];
        let (first, _) = node(&db, "n1", &local(&db)).await;
        db.eventually(DONE, 3).await;
        first.stop(Duration::from_secs(5)).await;
        let ogg = std::fs::read(file(&db, calls[0], "ogg")).unwrap();
        let again = "UPDATE jobs SET state = 'queued', run_at = 0, finished_at = NULL WHERE kind = 'recording.transcode'";
        let row = |call: CallId, content: &[u8]| format!(
            "UPDATE recordings SET locator = '{call}.wav', format = 'wav', bytes = {}, sha256 = '{}' WHERE call_id = '{call}'", content.len(), sha256(content));
        // In the middle: a part, and no more.
        std::fs::write(file(&db, calls[0], "wav"), wav(8000)).unwrap();
        std::fs::remove_file(file(&db, calls[0], "ogg")).unwrap();
        std::fs::create_dir_all(db.folder.join("recordings/encoding")).unwrap();
        std::fs::write(db.folder.join("recordings/encoding/left"), b"OggS").unwrap();
        db.run(&row(calls[0], &wav(8000))).await;
        // With its name, but not in the row.
        std::fs::write(file(&db, calls[1], "wav"), wav(8000)).unwrap();
        db.run(&row(calls[1], &wav(8000))).await;
        // In the row, and the WAV file is still there.
        std::fs::write(file(&db, calls[2], "wav"), wav(8000)).unwrap();
        db.run(again).await;
        let _node = node(&db, "n1", &local(&db)).await;
        db.eventually(DONE, 3).await;
        assert_eq!(db.number(ENCODED).await, 3);
        let client = Client::keeping(&db, local(&db));
        for call in calls {
            assert!(!file(&db, call, "wav").exists());
            let path = format!("/api/v1/calls/{call}/recording");
            let heard = client.get_with(&path, "accept", "audio/*").await.bytes;
            assert_eq!(client.get(&path).await.json()["sha256"], sha256(&heard));
        }
        // The same work makes the same file.
        assert_eq!(std::fs::read(file(&db, calls[0], "ogg")).unwrap(), ogg);
        assert!(!db.folder.join("recordings/encoding/left").exists());
        invariants::hold(&db).await;
    }

    async fn a_node_that_stops_leaves_the_encoding_to_its_next_run(db) {
        let call = recorded(&db, OGG, 8000 * 300).await;
        let (first, _) = node(&db, "n1", &local(&db)).await;
        until("the beginning", || parts(&db) > 0).await;
        first.stop(Duration::from_secs(5)).await;
        assert!(file(&db, call, "wav").exists() && !file(&db, call, "ogg").exists());
        until("the end of the part", || parts(&db) == 0).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.transcode' AND state = 'queued' AND node = 'n1'").await, 1);
        // Under another name it is the same node: what lies on its disk is its work. A shorter file does not keep the test waiting.
        std::fs::write(file(&db, call, "wav"), wav(800)).unwrap();
        db.run(&format!("UPDATE recordings SET bytes = {}, sha256 = '{}'", wav(800).len(), sha256(&wav(800)))).await;
        let (_node, ahead) = node(&db, "n7", &local(&db)).await;
        ahead.store(60_000, Ordering::Relaxed);
        db.eventually(DONE, 1).await;
        assert!(!file(&db, call, "wav").exists() && file(&db, call, "ogg").exists());
        invariants::hold(&db).await;
    }

    async fn what_is_deleted_while_it_is_encoded_leaves_nothing_behind(db) {
        let client = Client::keeping(&db, local(&db));
        let call = recorded(&db, OGG, 8000 * 300).await;
        let (_node, _) = node(&db, "n1", &local(&db)).await;
        until("the beginning", || parts(&db) > 0).await;
        assert_eq!(client.delete(&format!("/api/v1/calls/{call}/recording")).await.status, 204);
        db.eventually(DONE, 1).await;
        assert!(!file(&db, call, "wav").exists() && !file(&db, call, "ogg").exists());
        assert_eq!(client.get(&format!("/api/v1/calls/{call}/recording")).await.error().0, 410);
        invariants::hold(&db).await;
    }

    async fn a_file_that_is_not_what_was_recorded_stays_as_it_is(db) {
        let call = recorded(&db, OGG, 8000).await;
        let mut other = wav(8000);
        other[1000] ^= 1;
        std::fs::write(file(&db, call, "wav"), &other).unwrap();
        let _node = node(&db, "n1", &local(&db)).await;
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'recording.transcode' AND state = 'dead' AND last_error LIKE '%not what was recorded%'", 1).await;
        let client = Client::keeping(&db, local(&db));
        let heard = client.get_with(&format!("/api/v1/calls/{call}/recording"), "accept", "audio/*").await;
        assert_eq!((heard.header("content-type"), &heard.bytes[..]), ("audio/wav", &other[..]));
        assert!(!file(&db, call, "ogg").exists());
    }

    async fn the_bucket_gets_the_encoded_file_and_no_other(db) {
        let s3 = bucket(Knobs::default()).await;
        let archive = archive(&db, &s3);
        let client = Client::keeping(&db, archive.clone());
        let frames = 20_000;
        let call = recorded(&db, OGG, frames).await;
        let (_node, ahead) = node(&db, "n1", &archive).await;
        db.eventually("SELECT COUNT(*) FROM recordings WHERE locator LIKE 's3://%.ogg' AND format = 'ogg_opus'", 1).await;
        until("the end of the files", || !file(&db, call, "wav").exists() && !file(&db, call, "ogg").exists()).await;
        let stored: Vec<_> = s3.seen().iter().filter(|seen| seen["method"] == "PUT").cloned().collect();
        assert_eq!((stored.len(), s3.objects().len()), (1, 1), "{stored:?}");
        let path = format!("/api/v1/calls/{call}/recording");
        let described = client.get(&path).await.json();
        let whole = client.get_with(&path, "accept", "audio/*").await;
        assert_eq!((whole.header("content-type"), described["sha256"].as_str()), ("audio/ogg", Some(sha256(&whole.bytes).as_str())));
        for (query, side) in [("format=wav", None), ("channel=agent", Some(1))] {
            let decoded = client.get_with(&format!("{path}?{query}"), "accept", "audio/*").await;
            sounds_like(&Reader::parse(&decoded.bytes).unwrap(), &wav(frames), side);
        }
        s3.fault(Fault::Refuse { status: 500, retry_after: None, code: "InternalError".into() });
        assert_eq!(client.get_with(&format!("{path}?format=wav"), "accept", "audio/*").await.error().0, 502);
        s3.fault(Fault::None);
        // Past its date the object goes.
        ahead.store(91 * 86_400_000, Ordering::Relaxed);
        until("the end of the object", || s3.objects().is_empty()).await;
        invariants::hold(&db).await;
    }

    async fn what_cannot_be_encoded_moves_as_it_is(db) {
        let s3 = bucket(Knobs::default()).await;
        // As another recorder writes: with a chunk between, which nobody here streams through.
        let call = recorded(&db, OGG, 800).await;
        let mut other = wav(800);
        other.splice(36..36, *b"LIST\x04\0\0\0abcd");
        std::fs::write(file(&db, call, "wav"), &other).unwrap();
        db.run(&format!("UPDATE recordings SET bytes = {}, sha256 = '{}'", other.len(), sha256(&other))).await;
        let _node = node(&db, "n1", &archive(&db, &s3)).await;
        db.eventually("SELECT COUNT(*) FROM recordings WHERE locator LIKE 's3://%.wav' AND format = 'wav'", 1).await;
        assert_eq!(s3.objects()[0].1, other.len());
        invariants::hold(&db).await;
    }

    async fn what_was_encoded_moves_when_there_is_a_bucket_and_goes_at_its_date(db) {
        let s3 = bucket(Knobs::default()).await;
        let calls = [recorded(&db, OGG, 8000).await, recorded(&db, r#"{"name": "x", "recording": {"retention_days": 7}}"#, 8000).await];
        let (before, ahead) = node(&db, "n1", &kept(&db, &s3, Storage::Local, "sim-secret")).await;
        db.eventually(DONE, 2).await;
        assert!(s3.objects().is_empty());
        ahead.store(8 * 86_400_000, Ordering::Relaxed);
        until("the end of what is past its date", || !file(&db, calls[1], "ogg").exists()).await;
        assert!(file(&db, calls[0], "ogg").exists());
        before.stop(Duration::from_secs(5)).await;
        let _node = node(&db, "n1", &archive(&db, &s3)).await;
        db.eventually("SELECT COUNT(*) FROM recordings WHERE locator LIKE 's3://%.ogg' AND state = 'ready'", 1).await;
        assert_eq!(s3.objects().len(), 1);
        invariants::hold(&db).await;
    }
}
