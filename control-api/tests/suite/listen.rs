//! A live call is listened to by WebSocket.

use std::{sync::Arc, time::Duration};

use control_api::Entry;
use domain::{Direction, EndedReason, Status};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::{
    db::{KEY, on_both},
    fake::{call_id, conversation, ended, new_call, status},
    invariants,
    ws::{Node, Socket},
};

on_both! {
    async fn who_may_hears_both_sides_and_the_call_tells_of_it(db) {
        let node = Node::start(&db).await;
        let call = call_id();
        db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        for (n, step) in [Status::Initiating, Status::Ringing, Status::InProgress].into_iter().enumerate() {
            db.journal.write(call, status(step, 1_000_001 + n as i64));
        }
        db.journal.flush().await;
        let line = broadcast::Sender::new(4);
        *node.client.board.line.lock().unwrap() = Some((call, line.clone()));
        let bearer = format!("Bearer {KEY}");
        let request = node.request(&format!("/api/v1/calls/{call}/listen?side=stereo"), &[("authorization", &bearer)]);
        let mut socket = connect_async(request).await.unwrap().0;
        let first: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
        assert_eq!(first, json!({"format": "pcm_s16le", "rate": 8000, "channels": 2, "side": "stereo", "frame_ms": 20}));
        line.send(Arc::new([[1; 160], [2; 160]])).unwrap();
        let Some(Ok(Message::Binary(frame))) = socket.next().await else { panic!("no audio") };
        assert_eq!((frame.len(), &frame[..4]), (640, &[1, 0, 2, 0][..]));
        *node.client.board.line.lock().unwrap() = None;
        drop(line);
        assert_eq!(Socket(socket).closed().await, 1000);
        for _ in 0..200 {
            db.journal.flush().await;
            if db.number("SELECT COUNT(*) FROM events WHERE type = 'call.listen.ended'").await == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        let told: Vec<String> = sqlx::query_scalar("SELECT data FROM events WHERE type LIKE 'call.listen.%' ORDER BY call_seq").fetch_all(&db.raw).await.unwrap();
        assert!(told.len() == 2 && told.iter().all(|data| data.contains("key_id")), "{told:?}");
        assert_eq!(db.number("SELECT COUNT(*) FROM audit_log WHERE action = 'call.listen'").await, 1);
        db.journal.write(call, ended(EndedReason::CallerHungUp, 2_000_000));
        db.journal.flush().await;
        invariants::hold(&db).await;
    }

    async fn who_may_not_hears_nothing(db) {
        let node = Node::start(&db).await;
        let over = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        let bearer = format!("Bearer {KEY}");
        let as_key = [("authorization", bearer.as_str())];
        let path = format!("/api/v1/calls/{over}/listen");
        assert_eq!(node.refused(&path, &as_key).await, 409);
        assert_eq!(node.refused(&format!("/api/v1/calls/{}/listen", call_id()), &as_key).await, 404);
        assert_eq!(node.refused(&format!("{path}?side=left"), &as_key).await, 400);
        assert_eq!(node.refused(&format!("{path}?token={KEY}"), &[]).await, 400);
        assert_eq!(node.refused(&path, &[]).await, 401);
        assert_eq!(node.client.get(&path).await.error(), (400, "upgrade_required".into(), None));
        let made = node.client.post("/api/v1/api-keys", json!({"name": "reader", "scopes": ["calls:read"]})).await.json();
        let reader = format!("Bearer {}", made["key"].as_str().unwrap());
        assert_eq!(node.refused(&path, &[("authorization", &reader)]).await, 403);
        assert_eq!(db.number("SELECT COUNT(*) FROM audit_log WHERE action = 'call.listen'").await, 0);
    }
}
