//! Opening, first run, bookings, and what a crash leaves.

use control_api::{Entry, RecordingStage, RecordingState, Store, TakeError};
use domain::{BootId, EndedReason, RecordingId, Speaker, Status, Turn};
use serde_json::json;
use uuid::Uuid;

use crate::{
    db::{KEY, on_both},
    fake::{Client, call_id, conversation, new_call, status},
    invariants,
};

on_both! {
    async fn migrating_again_changes_nothing(db) {
        conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        db.store.migrate().await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM calls").await, 1);
    }

    async fn the_first_run_makes_one_tenant_and_shows_its_key_once(db) {
        db.run("DELETE FROM api_keys").await;
        let first = db.store.first_run(None).await.unwrap();
        let key = first.new_key.unwrap();
        assert!(key.starts_with("st_live_"));
        assert_eq!(first.tenant, db.tenant);
        let second = db.store.first_run(None).await.unwrap();
        assert_eq!((second.tenant, second.new_key), (db.tenant, None));
        let stored: (String, String) = sqlx::query_as("SELECT prefix, key_hash FROM api_keys").fetch_one(&db.raw).await.unwrap();
        assert_eq!((stored.0.as_str(), stored.1.len()), (&key[..16], 64));
        assert!(!stored.1.contains(&key[8..]));
        let client = Client { key, ..Client::new(&db) };
        assert_eq!(client.get("/api/v1/calls").await.status, 200);
    }

    async fn a_bootstrap_key_is_set_once_and_must_look_like_one(db) {
        assert_eq!(db.store.first_run(Some(KEY)).await.unwrap().new_key, None);
        let other = "st_live_another_key_0001";
        assert_eq!(db.store.first_run(Some(other)).await.unwrap().new_key.as_deref(), Some(other));
        assert_eq!(db.number("SELECT COUNT(*) FROM api_keys").await, 2);
        for bad in ["hunter2", "st_live_short", "st_test_0123456789abcdef", "st_live_with space 0123456"] {
            let error = db.store.first_run(Some(bad)).await.unwrap_err().to_string();
            assert!(error.starts_with("bootstrap key must") && !error.contains(bad), "{error}");
        }
    }

    async fn of_twenty_who_want_a_slot_one_gets_it(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        let wishes: Vec<_> = (0..20)
            .map(|n| {
                let store: Store = db.store.clone();
                let tenant = db.tenant;
                tokio::spawn(async move { store.book(tenant, call, "2026-11-24T10:00", json!({"name": format!("n{n}")})).await })
            })
            .collect();
        let mut booked = 0;
        for wish in wishes {
            match wish.await.unwrap() {
                Ok(_) => booked += 1,
                Err(TakeError::SlotTaken(_)) => {}
                Err(TakeError::Sql(error)) => panic!("{error}"),
            }
        }
        assert_eq!(booked, 1);
        assert_eq!(db.store.taken_slots(db.tenant, "2026-11-24", "2026-11-25").await.unwrap(), ["2026-11-24T10:00"]);
        // A booking given up frees its slot.
        db.run("UPDATE taken SET canceled_at = 1").await;
        assert!(db.store.taken_slots(db.tenant, "2026-11-24", "2026-11-25").await.unwrap().is_empty());
        db.store.book(db.tenant, call, "2026-11-24T10:00", json!({})).await.unwrap();
    }

    async fn calls_left_by_a_crash_end_at_their_last_sign_of_life(db) {
        let done = conversation(&db.journal, db.tenant, 1_000_000);
        let (ringing, talking, ours) = (call_id(), call_id(), call_id());
        for call in [ringing, talking, ours] {
            let mut new = new_call(db.tenant, domain::Direction::Inbound, 2_000_000);
            if call == ours {
                new.boot_id = BootId(Uuid::max());
            }
            db.journal.write(call, Entry::Created(Box::new(new)));
            db.journal.write(call, status(Status::Initiating, 2_000_001));
            db.journal.write(call, status(Status::Ringing, 2_000_002));
        }
        let recording = RecordingState {
            id: RecordingId(Uuid::now_v7()),
            state: RecordingStage::Writing,
            locator: "2026/talking.wav".into(),
            format: "wav",
            channels: 2,
            duration_ms: None,
            bytes: None,
            sha256: None,
        };
        db.journal.write(talking, status(Status::InProgress, 2_001_000));
        db.journal.write(talking, Entry::Recording(recording.clone()));
        db.journal.write(talking, Entry::Turn(Box::new(Turn::new(Speaker::Caller, "hello", 100, 900))));
        db.journal.flush().await;
        // The events were written now, in the test's own time; as evidence they would outweigh everything.
        db.run("UPDATE events SET created_at = 2000500").await;

        let orphans = db.store.close_orphans("n1", BootId(Uuid::max())).await.unwrap();
        let mut closed: Vec<_> = orphans.iter().map(|orphan| orphan.call).collect();
        closed.sort();
        let mut expected = [ringing, talking];
        expected.sort();
        assert_eq!(closed, expected);
        let orphan = orphans.iter().find(|orphan| orphan.call == talking).unwrap();
        assert_eq!(orphan.recordings, [(recording.id, "2026/talking.wav".to_owned())]);
        assert_eq!(db.number("SELECT COUNT(*) FROM calls WHERE status = 'failed' AND ended_reason = 'node_lost'").await, 2);
        assert_eq!(db.number("SELECT ended_at FROM calls WHERE answered_at IS NOT NULL AND status = 'failed'").await, 2_001_900);
        assert_eq!(db.number("SELECT ended_at FROM calls WHERE answered_at IS NULL AND status = 'failed'").await, 2_000_500);

        // The mended recording is journalled like any other, and a second look finds nothing to do.
        let mended = RecordingState { state: RecordingStage::Ready, duration_ms: Some(900), bytes: Some(28_844), sha256: Some("ab".repeat(32)), ..recording };
        db.journal.write(talking, Entry::Recording(mended));
        db.journal.flush().await;
        assert!(db.store.close_orphans("n1", BootId(Uuid::max())).await.unwrap().is_empty());
        db.journal.write(ours, crate::fake::ended(EndedReason::Canceled, 2_000_100));
        db.journal.flush().await;
        assert_eq!(db.journal.counts().bad_transitions, 0);
        let client = Client::new(&db);
        assert_eq!(client.get(&format!("/api/v1/calls/{done}")).await.json()["status"], "completed");
        invariants::hold(&db).await;
    }
}
