//! `GET events`: every event once, in order, by cursor, with or without waiting.

use std::time::Duration;

use domain::event::Name;
use serde_json::{Value, json};

use crate::{
    db::on_both,
    fake::{Client, conversation},
    outbox::{all_published, background, write},
};

fn kinds(answer: &Value) -> Vec<&str> {
    answer["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

on_both! {
    async fn events_come_once_in_order_and_go_on_where_they_stopped(db) {
        let background = background(&db.store, "n1").await;
        let client = Client::watching(&db, background.hub());
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        write(&db, db.tenant, Name::AgentCreated, json!({"agent_id": "a"}), Duration::ZERO).await;
        all_published(&db).await;
        let (mut all, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let page = client.get(&format!("/api/v1/events?after={cursor}&limit=4")).await.json();
            all.extend(kinds(&page).into_iter().map(str::to_owned));
            cursor = page["cursor"].as_str().unwrap().into();
            if kinds(&page).is_empty() {
                break;
            }
        }
        assert_eq!(all, [
            "call.created", "call.initiating", "call.ringing", "call.answered", "call.turn.agent", "call.turn.caller",
            "call.turn.agent", "call.ended", "agent.created",
        ]);
        let some = client.get("/api/v1/events?types=call.turn.*,agent.*,!call.turn.caller").await.json();
        assert_eq!(kinds(&some), ["call.turn.agent", "call.turn.agent", "agent.created"]);
        assert_eq!(some["cursor"], "9");
        let of_call = client.get(&format!("/api/v1/events?call_id={call}&after=6")).await.json();
        assert_eq!((kinds(&of_call), &of_call["data"][1]["seq"]), (vec!["call.turn.agent", "call.ended"], &json!(8)));
    }

    async fn a_long_poll_waits_for_the_event_and_no_longer_than_told(db) {
        let background = background(&db.store, "n1").await;
        let client = Client::watching(&db, background.hub());
        let started = tokio::time::Instant::now();
        let nothing = client.get("/api/v1/events?wait_ms=200").await.json();
        assert_eq!((kinds(&nothing), nothing["cursor"].as_str()), (vec![], Some("0")));
        assert!(started.elapsed() >= Duration::from_millis(200));
        let wait = client.get("/api/v1/events?after=0&wait_ms=25000&types=agent.deleted");
        let make = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            write(&db, db.tenant, Name::AgentUpdated, json!({}), Duration::ZERO).await;
            write(&db, db.tenant, Name::AgentDeleted, json!({}), Duration::ZERO).await;
        };
        let (answer, ()) = tokio::join!(wait, make);
        assert_eq!(kinds(&answer.json()), ["agent.deleted"]);
        assert!(started.elapsed() < Duration::from_secs(20), "it waited although there was an event");
    }

    async fn cursors_that_were_never_given_and_those_too_old_are_refused(db) {
        let client = Client::new(&db);
        assert_eq!(client.get("/api/v1/events?after=1").await.error(), (400, "invalid_cursor".into(), Some("after".into())));
        assert_eq!(client.get("/api/v1/events?after=x").await.error(), (400, "invalid_cursor".into(), Some("after".into())));
        assert_eq!(client.get("/api/v1/events?wait_ms=25001").await.error().0, 400);
        assert_eq!(client.get("/api/v1/events?call_id=0193481e-7a10-7000-8000-0000000000ff").await.error().0, 404);
        sqlx::query("INSERT INTO consumers (name, pub_seq, updated_at) VALUES ($1, 1199, 0)")
            .bind(format!("retention:{}", db.tenant)).execute(&db.raw).await.unwrap();
        db.run("INSERT INTO locks (name, holder, until_ms, fence) VALUES ('publisher', 'n1', 0, 1300)").await;
        let expired = client.get("/api/v1/events?after=1198").await;
        assert!(expired.text().contains("1200"), "{}", expired.text());
        assert_eq!(expired.error(), (410, "cursor_expired".into(), Some("after".into())));
        assert_eq!(client.get("/api/v1/events?after=1199").await.status, 200);
    }

    async fn another_tenants_events_and_the_other_modes_are_not_there(db) {
        let background = background(&db.store, "n1").await;
        let client = Client::watching(&db, background.hub());
        let stranger: domain::TenantId = uuid::Uuid::now_v7().into();
        write(&db, stranger, Name::AgentCreated, json!({}), Duration::ZERO).await;
        write(&db, db.tenant, Name::AgentDeleted, json!({}), Duration::ZERO).await;
        db.run("UPDATE events SET livemode = 0 WHERE type = 'agent.deleted'").await;
        all_published(&db).await;
        assert_eq!(kinds(&client.get("/api/v1/events").await.json()), Vec::<&str>::new());
    }

    async fn rollups_count_each_call_and_turn_once_whatever_the_number_of_nodes(db) {
        let other = control_api::Store::open(&db.url).await.unwrap();
        let (_one, _two) = (background(&db.store, "n1").await, background(&other, "n2").await);
        for n in 0..40 {
            conversation(&db.journal, db.tenant, 7_200_000 + n);
        }
        db.journal.flush().await;
        all_published(&db).await;
        for _ in 0..1200 {
            if db.number("SELECT COALESCE(MAX(pub_seq), 0) FROM consumers WHERE name = 'rollups'").await == 320 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let row: (i64, String, String, i64, i64, i64) =
            sqlx::query_as("SELECT hour_at, direction, outcome, calls, answered, duration_ms FROM call_rollup").fetch_one(&db.raw).await.unwrap();
        assert_eq!(row, (7_200_000, "inbound".into(), "completed".into(), 40, 40, 2_400_000));
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT stage, bucket, count FROM latency_rollup ORDER BY stage").fetch_all(&db.raw).await.unwrap();
        assert_eq!(rows, [("own_overhead".into(), 86, 40), ("voice_to_voice".into(), 233, 40)]);
    }
}
