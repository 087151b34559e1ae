//! Recordings over HTTP: states, ranges, signed links.

use axum::{body::Body, http::Request};
use control_api::{
    AfterSettings, Background, BackgroundSettings, Clock, Entry, RecordingStage, RecordingState, after_call, now_ms,
};
use domain::RecordingId;
use serde_json::json;
use uuid::Uuid;

use crate::{
    db::on_both,
    fake::{Client, conversation},
    invariants,
    mail::until,
};

/// The header of a stereo file as the recorder writes it.
fn stereo_header(frames: u32) -> Vec<u8> {
    let data = frames * 4;
    let mut header = b"RIFF".to_vec();
    header.extend((data + 36).to_le_bytes());
    header.extend(b"WAVEfmt ");
    for (number, bytes) in [(16_u32, 4), (1, 2), (2, 2), (8000, 4), (32_000, 4), (4, 2), (16, 2)] {
        header.extend(&number.to_le_bytes()[..bytes]);
    }
    header.extend(b"data");
    header.extend(data.to_le_bytes());
    header
}

fn writing() -> RecordingState {
    RecordingState {
        id: RecordingId(Uuid::now_v7()),
        state: RecordingStage::Writing,
        locator: "2026/11/a.wav".into(),
        format: "wav",
        channels: 2,
        duration_ms: None,
        bytes: None,
        sha256: None,
    }
}

fn ready(writing: &RecordingState, bytes: u64) -> RecordingState {
    RecordingState {
        state: RecordingStage::Ready,
        duration_ms: Some(60_000),
        bytes: Some(bytes),
        sha256: Some("ab".repeat(32)),
        ..writing.clone()
    }
}

on_both! {
    async fn a_recording_goes_from_none_to_writing_to_bytes(db) {
        let client = Client::new(&db);
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        let path = format!("/api/v1/calls/{call}/recording");
        assert_eq!(client.get(&path).await.error().0, 404);

        let recording = writing();
        db.journal.write(call, Entry::Recording(recording.clone()));
        db.journal.flush().await;
        assert_eq!(client.get(&path).await.status, 202);

        let content: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        std::fs::create_dir_all(db.folder.join("recordings/2026/11")).unwrap();
        std::fs::write(db.folder.join("recordings/2026/11/a.wav"), &content).unwrap();
        db.journal.write(call, Entry::Recording(ready(&recording, 200_000)));
        // Ready is final: a straggler does not undo it.
        db.journal.write(call, Entry::Recording(recording));
        db.journal.flush().await;

        let described = client.get(&path).await.json();
        assert_eq!((&described["duration_ms"], &described["bytes"], &described["channels"]), (&60_000.into(), &200_000.into(), &2.into()));
        assert_eq!(client.get(&format!("/api/v1/calls/{call}")).await.json()["recording"]["state"], "ready");

        let whole = client.get_with(&path, "accept", "audio/*").await;
        assert_eq!((whole.status.as_u16(), whole.header("content-type"), whole.header("content-length")), (200, "audio/wav", "200000"));
        assert_eq!(whole.bytes, content);

        let ranged = |range: &'static str| client.request("GET", &path).header("accept", "audio/wav").header("range", range).body(Body::empty()).unwrap();
        let part = client.send(ranged("bytes=100000-100099")).await;
        assert_eq!((part.status.as_u16(), part.header("content-range")), (206, "bytes 100000-100099/200000"));
        assert_eq!(part.bytes, content[100_000..100_100]);
        let beyond = client.send(ranged("bytes=200000-")).await;
        assert_eq!((beyond.error().0, beyond.header("content-range")), (416, "bytes */200000"));

        let events = client.get(&format!("/api/v1/calls/{call}/events?types=call.recording.*")).await.json();
        assert_eq!((events["data"].as_array().unwrap().len(), &events["data"][0]["data"]["bytes"]), (1, &200_000.into()));
        invariants::hold(&db).await;
    }

    async fn one_side_of_a_recording_is_a_file_of_its_own(db) {
        let client = Client::new(&db);
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        let recording = writing();
        let mut wav = stereo_header(8000);
        for n in 0..8000_u16 {
            wav.extend(n.to_le_bytes());
            wav.extend((n ^ 0x5555).to_le_bytes());
        }
        std::fs::create_dir_all(db.folder.join("recordings/2026/11")).unwrap();
        std::fs::write(db.folder.join("recordings/2026/11/a.wav"), &wav).unwrap();
        db.journal.write(call, Entry::Recording(ready(&recording, wav.len() as u64)));
        db.journal.flush().await;
        let path = format!("/api/v1/calls/{call}/recording");
        let agent = client.get_with(&format!("{path}?channel=agent"), "accept", "audio/wav").await;
        assert_eq!((agent.status.as_u16(), agent.bytes.len()), (200, 44 + 16_000));
        assert_eq!((agent.bytes[22], u16::from_le_bytes([agent.bytes[44], agent.bytes[45]])), (1, 0x5555));
        // Any part of it is the same as that part of the whole.
        for (first, last) in [(0, 10), (40, 50), (45, 46), (10_001, 16_043)] {
            let request = client.request("GET", &format!("{path}?channel=agent")).header("accept", "audio/wav").header("range", format!("bytes={first}-{last}"));
            let part = client.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!((part.status.as_u16(), &part.bytes[..]), (206, &agent.bytes[first..=last]), "{first}");
        }
        // The link of one side opens that side and no other.
        let url = client.get(&format!("{path}?channel=agent")).await.json()["url"].as_str().unwrap().to_owned();
        let open = async |url: String| client.send(Request::get(url).body(Body::empty()).unwrap()).await;
        assert_eq!(open(url.clone()).await.bytes, agent.bytes);
        assert_eq!(open(url.replace("channel=agent", "channel=caller")).await.status, 403);
        assert_eq!(open(url.replace("&channel=agent", "")).await.status, 403);
        assert_eq!(client.get(&format!("{path}?channel=left")).await.error().2.as_deref(), Some("channel"));
        assert_eq!(client.get(&format!("{path}?format=ogg")).await.error().0, 406);
        assert_eq!(client.get(&format!("{path}?format=mp3")).await.error().0, 400);
    }

    async fn a_recording_goes_at_its_date_or_when_it_is_deleted(db) {
        let client = Client::new(&db);
        let settings = AfterSettings { recordings: db.folder.join("recordings").into(), files: control_api::FilesSettings { dir: db.folder.join("files") }, ..AfterSettings::default() };
        std::fs::create_dir_all(db.folder.join("recordings/2026/11")).unwrap();
        let file = |name: &str| db.folder.join("recordings/2026/11").join(name);
        let made = |name: &str, agent: serde_json::Value| {
            std::fs::write(file(name), b"RIFF").unwrap();
            let call = crate::after::talk(&db, &agent, &["A: Hello?", "C: hi"]);
            let state = RecordingState { locator: format!("2026/11/{name}"), ..writing() };
            db.journal.write(call, Entry::Recording(ready(&state, 4)));
            call
        };
        let kept = made("a.wav", json!({"name": "x"}));
        let analysed = made("b.wav", json!({"name": "x", "recording": {"retention_days": 0}}));
        let short = made("c.wav", json!({"name": "x", "recording": {"retention_days": 7}}));
        db.journal.flush().await;
        let ahead = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
        let read = ahead.clone();
        let clock = Clock::new(move || now_ms() + read.load(std::sync::atomic::Ordering::Relaxed));
        let settings = BackgroundSettings { node: "n1".into(), handlers: after_call(&settings).unwrap(), clock, ..Default::default() };
        let _background = Background::start(&db.store, settings).await.unwrap();
        until(&db, "SELECT COUNT(*) FROM recordings WHERE expires_at > created_at", 3).await;
        until(&db, "SELECT COUNT(*) FROM call_analyses WHERE state = 'done'", 3).await;
        let state = async |call| client.get(&format!("/api/v1/calls/{call}/recording")).await.status.as_u16();
        assert_eq!((state(kept).await, state(analysed).await, state(short).await), (200, 410, 200));
        // Eight days on: the round of the hour takes what is past its date, file and all.
        ahead.store(8 * 86_400_000, std::sync::atomic::Ordering::Relaxed);
        for _ in 0..400 {
            if !file("c.wav").exists() && !file("b.wav").exists() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
        assert_eq!((file("a.wav").exists(), file("b.wav").exists(), file("c.wav").exists()), (true, false, false));
        assert_eq!(state(short).await, 410);
        let delete = client.request("DELETE", &format!("/api/v1/calls/{kept}/recording")).body(Body::empty()).unwrap();
        assert_eq!(client.send(delete).await.status, 204);
        assert_eq!((state(kept).await, file("a.wav").exists()), (410, false));
        invariants::hold(&db).await;
    }

    async fn a_signed_link_needs_no_key_and_cannot_be_altered(db) {
        let client = Client::new(&db);
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        let recording = writing();
        db.journal.write(call, Entry::Recording(ready(&recording, 4)));
        db.journal.flush().await;
        std::fs::create_dir_all(db.folder.join("recordings/2026/11")).unwrap();
        std::fs::write(db.folder.join("recordings/2026/11/a.wav"), b"RIFF").unwrap();
        let anonymous = |uri: &str| Request::get(uri).body(Body::empty()).unwrap();
        let url = client.get(&format!("/api/v1/calls/{call}/recording")).await.json()["url"].as_str().unwrap().to_owned();
        assert_eq!(client.send(anonymous(&url)).await.bytes, b"RIFF");

        let redirect = client.get(&format!("/api/v1/calls/{call}/recording?redirect=true")).await;
        assert_eq!(redirect.status, 302);
        assert_eq!(client.send(anonymous(redirect.header("location"))).await.bytes, b"RIFF");

        let expires: i64 = url.split("expires=").nth(1).unwrap().split('&').next().unwrap().parse().unwrap();
        let later = url.replace(&expires.to_string(), &(expires + 1).to_string());
        let other = url.replace(&recording.id.to_string(), &Uuid::now_v7().to_string());
        let mut last = url.clone();
        last.pop();
        for altered in [later, other, last, format!("{url}0")] {
            assert_eq!(client.send(anonymous(&altered)).await.error().0, 403, "{altered}");
        }
        db.run("UPDATE recordings SET state = 'deleted', deleted_at = 1").await;
        assert_eq!(client.send(anonymous(&url)).await.error().0, 410);
        assert_eq!(client.get(&format!("/api/v1/calls/{call}/recording")).await.error().0, 410);
    }

    async fn a_locator_that_leads_out_of_the_folder_finds_nothing(db) {
        let client = Client::new(&db);
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        let mut recording = ready(&writing(), 4);
        recording.locator = "../secret".into();
        std::fs::create_dir_all(db.folder.join("recordings")).unwrap();
        std::fs::write(db.folder.join("secret"), b"key").unwrap();
        db.journal.write(call, Entry::Recording(recording));
        db.journal.flush().await;
        let answer = client.get_with(&format!("/api/v1/calls/{call}/recording"), "accept", "audio/*").await;
        assert_eq!(answer.error().0, 404);
    }
}
