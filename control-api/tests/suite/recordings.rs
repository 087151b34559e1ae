//! Recordings over HTTP: states, ranges, signed links.

use axum::{body::Body, http::Request};
use control_api::{Entry, RecordingStage, RecordingState};
use domain::RecordingId;
use uuid::Uuid;

use crate::{
    db::on_both,
    fake::{Client, conversation},
    invariants,
};

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
