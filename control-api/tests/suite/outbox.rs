//! Events are numbered in order and without a hole, whoever writes and whoever publishes.

use std::{sync::Arc, time::Duration};

use control_api::{Background, BackgroundSettings, NewEvent, Store, emit};
use domain::{TenantId, event::Name};
use serde_json::json;

use crate::{
    db::{Db, on_both},
    fake::conversation,
    invariants,
};

/// The background of a node of this name.
pub(crate) async fn background(store: &Store, node: &str) -> Background {
    Background::start(store, BackgroundSettings { node: node.into(), ..Default::default() }).await.unwrap()
}

/// Writes an event the way a route does, its transaction open for a while.
pub(crate) async fn write(db: &Db, tenant: TenantId, kind: Name, data: serde_json::Value, open: Duration) {
    let mut tx = db.begin().await;
    emit(&mut tx, NewEvent { tenant, livemode: true, kind, data }).await.unwrap();
    tokio::time::sleep(open).await;
    tx.commit().await.unwrap();
}

/// Waits until every event has a number.
pub(crate) async fn all_published(db: &Db) {
    for _ in 0..600 {
        if db.number("SELECT COUNT(*) FROM events WHERE pub_seq IS NULL").await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("events are not published");
}

on_both! {
    async fn eight_writers_and_two_publishers_lose_nothing_and_leave_no_hole(db) {
        let db = Arc::new(db);
        // The other node has its own connection pool.
        let other = Store::open(&db.url).await.unwrap();
        let (one, two) = (background(&db.store, "n1").await, background(&other, "n2").await);
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..8 {
            let db = Arc::clone(&db);
            writers.spawn(async move {
                for n in 0..30_u64 {
                    // Commits overtake each other: an id that is older may commit later.
                    let open = Duration::from_millis((n * 7 + writer * 3) % 5);
                    write(&db, db.tenant, Name::AgentUpdated, json!({"writer": writer, "n": n}), open).await;
                }
            });
        }
        // A reader that remembers the highest number, as every consumer does.
        let mut seen = Vec::<(i64, String)>::new();
        let mut rest = 3;
        while rest > 0 {
            if writers.is_empty() {
                all_published(&db).await;
                rest -= 1;
            } else {
                let _ = tokio::time::timeout(Duration::from_millis(2), writers.join_next()).await;
            }
            let after = seen.last().map_or(0, |last| last.0);
            let new: Vec<(i64, String)> = sqlx::query_as("SELECT pub_seq, id FROM events WHERE pub_seq > $1 ORDER BY pub_seq")
                .bind(after).fetch_all(&db.raw).await.unwrap();
            seen.extend(new);
        }
        assert!(seen.iter().map(|(seq, _)| *seq).eq(1..=240), "{:?}", seen.iter().map(|(seq, _)| seq).collect::<Vec<_>>());
        assert_eq!(db.number("SELECT fence FROM locks WHERE name = 'publisher'").await, 240);
        one.stop(Duration::from_secs(5)).await;
        two.stop(Duration::from_secs(5)).await;
        invariants::hold(&db).await;
    }

    async fn within_a_call_numbers_follow_the_calls_own_even_when_the_clock_steps_back(db) {
        let calls: Vec<_> = (0..6).map(|n| conversation(&db.journal, db.tenant, 1_000_000 + n)).collect();
        db.journal.flush().await;
        // What a clock that was set back an hour leaves behind.
        db.run("UPDATE events SET created_at = created_at - 3600000 * call_seq").await;
        let background = background(&db.store, "n1").await;
        all_published(&db).await;
        for call in calls {
            let order: Vec<i64> = sqlx::query_scalar("SELECT call_seq FROM events WHERE call_id = $1 ORDER BY pub_seq")
                .bind(call.to_string()).fetch_all(&db.raw).await.unwrap();
            assert_eq!(order, [1, 2, 3, 4, 5, 6, 7, 8]);
        }
        background.stop(Duration::from_secs(5)).await;
    }

    async fn an_event_of_a_transaction_that_fails_never_was(db) {
        let mut tx = db.begin().await;
        emit(&mut tx, NewEvent { tenant: db.tenant, livemode: true, kind: Name::AgentCreated, data: json!({}) }).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM events").await, 0);
    }
}
