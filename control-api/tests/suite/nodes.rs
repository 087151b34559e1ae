//! Nodes: signs of life, the loss of one, and how one is emptied.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};

use crate::{
    db::on_both,
    fake::{Client, node_info},
    invariants,
    outbox::background,
};

on_both! {
    async fn a_node_that_falls_silent_is_lost_once_and_its_calls_are_closed_by_the_others(db) {
        // Another node took a call and spoke for the last time long ago; nobody knows yet.
        db.run("INSERT INTO nodes (id, boot_id, address, state, calls, max_calls, version, started_at, seen_at) VALUES ('n1', 'b', 'a', 'up', 1, 10, '1', 0, 5)").await;
        let call = crate::fake::call_id();
        let new = crate::fake::new_call(db.tenant, domain::Direction::Inbound, 1_000_000);
        db.journal.write(call, control_api::Entry::Created(Box::new(new)));
        db.journal.flush().await;
        let (mut one, mut two) = (background(&db.store, "n2").await, background(&db.store, "n3").await);
        let client = Client::watching(&db, one.hub());
        one.attend(client.board.clone(), node_info("n2"));
        two.attend(client.board.clone(), node_info("n3"));
        tokio::time::sleep(Duration::from_secs(8)).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM nodes WHERE state = 'up'").await, 3, "silence is counted by the watcher's clock");
        for _ in 0..800 {
            if db.number("SELECT COUNT(*) FROM calls WHERE ended_at IS NOT NULL").await == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let row: (String, String) = sqlx::query_as("SELECT status, ended_reason FROM calls").fetch_one(&db.raw).await.unwrap();
        assert_eq!(row, ("failed".into(), "node_lost".into()));
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'node.lost'").await, 1);
        let states: Vec<String> = sqlx::query_scalar("SELECT state FROM nodes ORDER BY id").fetch_all(&db.raw).await.unwrap();
        assert_eq!(states, ["gone", "up", "up"]);
        one.stop(Duration::from_secs(5)).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM nodes WHERE state = 'gone'").await, 2);
        invariants::hold(&db).await;
    }

    async fn draining_refuses_new_calls_is_told_and_can_be_undone(db) {
        let mut background = background(&db.store, "n1").await;
        let client = Client::watching(&db, background.hub());
        background.attend(client.board.clone(), node_info("n1"));
        let drained = client.post("/drain", json!({"timeout_ms": 1000})).await;
        assert_eq!((drained.status.as_u16(), drained.json()), (202, json!({"state": "draining", "calls": 0})));
        let refused = client.post("/api/v1/calls", json!({"to": "sip:x@127.0.0.1", "agent_id": "receptionist"})).await;
        assert_eq!((refused.status.as_u16(), refused.header("retry-after").is_empty()), (503, false), "{}", refused.text());
        assert_eq!((client.get("/ready").await.status.as_u16(), client.get("/health").await.status.as_u16()), (503, 200));
        let status = client.get("/status").await.json();
        assert_eq!((&status["state"], &status["node_id"], &status["jobs"]["dead"]), (&json!("draining"), &json!("n1"), &json!(0)));
        assert_eq!((&status["cps"], &status["trunks"]), (&json!(0.5), &json!({"up": 0, "down": 0, "unknown": 0})));
        assert_eq!(client.post("/drain", json!({"cancel": true})).await.json()["state"], "up");
        assert!(!client.board.draining.load(Ordering::SeqCst));
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'node.draining'").await, 1);
        assert_eq!(client.post("/drain", json!({"timeout_ms": 86_400_001_i64})).await.error().0, 400);
        for _ in 0..200 {
            if client.get("/api/v1/nodes").await.json()["data"][0]["state"] == "up" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let nodes = client.get("/api/v1/nodes").await.json();
        assert_eq!((&nodes["data"][0]["id"], &nodes["next_cursor"]), (&json!("n1"), &Value::Null));
    }

    async fn the_operators_routes_are_for_the_operator(db) {
        let mut client = Client::new(&db);
        let made = client.post("/api/v1/api-keys", json!({"name": "reader", "scopes": ["events:read", "calls:read"]})).await.json();
        client.key = made["key"].as_str().unwrap().to_owned();
        for path in ["/status", "/api/v1/nodes"] {
            assert_eq!(client.get(path).await.error(), (403, "missing_scope".into(), Some("platform:admin".into())));
        }
        assert_eq!(client.post("/drain", json!({})).await.error().0, 403);
        client.key = "st_live_unknown0_0000".into();
        assert_eq!(client.get("/status").await.error().0, 401);
    }
}
