//! What happens to a call becomes rows and events, in order and without holes.

use control_api::{Entry, Journal, JournalSettings};
use domain::{Direction, EndedReason, Speaker, Status, Turn, event::Name};
use serde_json::json;

use crate::{
    db::on_both,
    fake::{call_id, conversation, ended, new_call, status},
    invariants,
};

on_both! {
    async fn a_conversation_is_stored_whole_and_in_order(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        let events: Vec<String> = sqlx::query_scalar("SELECT type FROM events WHERE call_id = $1 ORDER BY call_seq")
            .bind(call.to_string()).fetch_all(&db.raw).await.unwrap();
        assert_eq!(events, [
            "call.created", "call.initiating", "call.ringing", "call.answered", "call.turn.agent", "call.turn.caller",
            "call.turn.agent", "call.ended",
        ]);
        let row: (String, i64, i64, i64) =
            sqlx::query_as("SELECT status, duration_ms, turns, v2v_p50_ms FROM calls").fetch_one(&db.raw).await.unwrap();
        assert_eq!(row, ("completed".into(), 60_000, 3, 840));
        let counts = db.journal.counts();
        assert_eq!((counts.stored, counts.backlog, counts.bad_transitions, counts.refused), (8, 0, 0, 0));
        invariants::hold(&db).await;
    }

    async fn numbers_have_no_holes_over_many_batches_and_calls(db) {
        let journal = Journal::start(db.store.clone(), JournalSettings { batch: 7, ..JournalSettings::default() });
        let calls: Vec<_> = (0..10).map(|_| call_id()).collect();
        for call in &calls {
            journal.write(*call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        }
        for n in 0..30 {
            for call in &calls {
                journal.write(*call, Entry::Event { name: Name::DtmfReceived, data: json!({"digit": n.to_string()}) });
            }
        }
        journal.flush().await;
        assert_eq!(db.number("SELECT COUNT(*) FROM events").await, 310);
        assert_eq!(db.number("SELECT MIN(event_seq) FROM calls").await, 31);
        let digits: Vec<String> = sqlx::query_scalar("SELECT data FROM events WHERE call_id = $1 AND call_seq > 1 ORDER BY call_seq")
            .bind(calls[3].to_string()).fetch_all(&db.raw).await.unwrap();
        assert!(digits.iter().enumerate().all(|(n, data)| data.contains(&format!("\"{n}\""))), "{digits:?}");
        invariants::hold(&db).await;
    }

    async fn a_call_ends_once_and_the_first_end_wins(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.write(call, ended(EndedReason::AgentHungUp, 1_070_000));
        db.journal.flush().await;
        let reason: String = sqlx::query_scalar("SELECT ended_reason FROM calls").fetch_one(&db.raw).await.unwrap();
        assert_eq!(reason, "caller_hung_up");
        assert_eq!(db.journal.counts().bad_transitions, 1);
        invariants::hold(&db).await;
    }

    async fn steps_that_do_not_exist_are_counted_and_an_impossible_end_is_a_failure(db) {
        let call = call_id();
        db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        db.journal.write(call, status(Status::InProgress, 1_000_001));
        db.journal.write(call, status(Status::Completed, 1_000_001));
        db.journal.write(call, ended(EndedReason::CallerHungUp, 1_000_002));
        db.journal.flush().await;
        assert_eq!(db.journal.counts().bad_transitions, 3);
        let row: (String, String) = sqlx::query_as("SELECT status, ended_reason FROM calls").fetch_one(&db.raw).await.unwrap();
        assert_eq!(row, ("failed".into(), "internal".into()));
        invariants::hold(&db).await;
    }

    async fn an_entry_the_database_refuses_does_not_take_its_neighbours_along(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        // The same call again: its key is taken.
        db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        let after = conversation(&db.journal, db.tenant, 3_000_000);
        db.journal.write(call_id(), Entry::Event { name: Name::HoldStarted, data: json!({}) });
        db.journal.flush().await;
        let counts = db.journal.counts();
        assert_eq!((counts.refused, counts.strays, counts.backlog), (1, 1, 0));
        assert_eq!(db.number("SELECT COUNT(*) FROM calls WHERE status = 'completed'").await, 2);
        assert_ne!(call, after);
        invariants::hold(&db).await;
    }

    async fn words_survive_as_they_were_said(db) {
        let call = call_id();
        db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        let said = "'; DROP TABLE calls; -- \"><script> 🙂 Grüße\u{0}end";
        db.journal.write(call, Entry::Turn(Box::new(Turn::new(Speaker::Caller, said, 0, 1))));
        db.journal.flush().await;
        let text: String = sqlx::query_scalar("SELECT text FROM turns").fetch_one(&db.raw).await.unwrap();
        assert_eq!(text, said.replace('\0', "\u{fffd}"));
        assert_eq!(db.journal.counts().refused, 0);
    }
}

#[tokio::test]
async fn beyond_its_bound_a_journal_drops_talk_before_it_drops_lives() {
    let db = crate::db::Db::open(crate::db::Engine::Sqlite).await;
    let journal = Journal::start(db.store.clone(), JournalSettings { capacity: 100, ..JournalSettings::default() });
    let call = call_id();
    // One thread and no await: nothing is stored meanwhile.
    journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
    for _ in 0..150 {
        journal.write(call, Entry::Event { name: Name::DtmfReceived, data: json!({}) });
    }
    for step in [Status::Initiating, Status::InProgress] {
        journal.write(call, status(step, 1_000_001));
    }
    journal.write(call, ended(EndedReason::CallerHungUp, 1_000_002));
    let full = journal.counts();
    assert_eq!((full.backlog, full.dropped), (103, 51));
    journal.flush().await;
    assert_eq!((journal.counts().stored, journal.counts().backlog), (103, 0));
    let status: String = sqlx::query_scalar("SELECT status FROM calls").fetch_one(&db.raw).await.unwrap();
    assert_eq!(status, "completed");
    invariants::hold(&db).await;
}
