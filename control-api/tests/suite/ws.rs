//! `/ws` with a real client: nothing is lost and nothing comes twice, whatever is cut in between.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use control_api::{Background, Hub, LiveEvent, NewEvent, emit, now_ms};
use domain::event::{Live, Name};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::Request},
};

use crate::{
    db::{Db, KEY, on_both},
    fake::{Client, call_id, conversation},
    outbox::{all_published, background, write},
};

/// A node with a door to the network.
pub(crate) struct Node {
    pub(crate) client: Client,
    address: SocketAddr,
    background: Background,
}

impl Node {
    pub(crate) async fn start(db: &Db) -> Self {
        let background = background(&db.store, "n1").await;
        let client = Client::watching(db, background.hub());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = client.router.clone().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(listener, service).into_future());
        Self { client, address, background }
    }

    fn hub(&self) -> &Hub {
        self.background.hub()
    }

    pub(crate) fn request(&self, path: &str, headers: &[(&'static str, &str)]) -> Request<()> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    async fn connect(&self) -> Socket {
        self.connect_as(KEY).await
    }

    async fn connect_as(&self, key: &str) -> Socket {
        let request = self.request("/ws", &[("authorization", &format!("Bearer {key}"))]);
        Socket(connect_async(request).await.unwrap().0)
    }

    /// The status with which a connection is refused.
    pub(crate) async fn refused(&self, path: &str, headers: &[(&'static str, &str)]) -> u16 {
        match connect_async(self.request(path, headers)).await {
            Err(Error::Http(response)) => response.status().as_u16(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) struct Socket(pub(crate) WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame, or the code of the close.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let frame = tokio::time::timeout(Duration::from_secs(30), self.0.next()).await.expect("nothing came");
            match frame {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(0, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("{error}"),
                None => return Err(1),
            }
        }
    }

    async fn hears(&mut self) -> Value {
        self.next().await.unwrap()
    }

    async fn event(&mut self) -> Value {
        let frame = self.hears().await;
        assert_eq!(frame["op"], "event", "{frame}");
        frame["event"].clone()
    }

    pub(crate) async fn closed(&mut self) -> u16 {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}

pub(crate) async fn many(db: &Db, from: usize, count: usize, pad: usize) {
    let mut tx = db.begin().await;
    for n in from..from + count {
        let data = json!({"n": n, "pad": "x".repeat(pad)});
        emit(&mut tx, NewEvent { tenant: db.tenant, livemode: true, kind: Name::AgentUpdated, data }).await.unwrap();
    }
    tx.commit().await.unwrap();
}

on_both! {
    async fn row_33_a_client_that_was_cut_off_gets_what_it_missed_once_in_order_and_then_what_happens(db) {
        let node = Node::start(&db).await;
        let mut first = node.connect().await;
        first.say(json!({"op": "subscribe", "id": "a", "types": ["agent.*"]})).await;
        let subscribed = first.hears().await;
        assert_eq!(subscribed, json!({"op": "subscribed", "id": "a", "cursor": "0", "replaying": 0}));
        assert_eq!(first.hears().await, json!({"op": "live", "id": "a"}));
        many(&db, 0, 3, 0).await;
        let mut cursor = Value::Null;
        for n in 0..3 {
            let event = first.event().await;
            assert_eq!(event["data"]["n"], n);
            cursor = event["cursor"].clone();
        }
        drop(first);
        many(&db, 3, 20, 0).await;
        all_published(&db).await;
        let mut second = node.connect().await;
        second.say(json!({"op": "subscribe", "id": "b", "types": ["agent.*"], "after": cursor})).await;
        assert_eq!(second.hears().await, json!({"op": "subscribed", "id": "b", "cursor": cursor, "replaying": 20}));
        for n in 3..23 {
            assert_eq!(second.event().await["data"]["n"], n);
        }
        assert_eq!(second.hears().await["op"], "live");
        many(&db, 23, 1, 0).await;
        assert_eq!(second.event().await["data"]["n"], 23);
    }

    async fn at_the_seam_between_stored_and_new_nothing_is_lost_or_twice(db) {
        let node = Node::start(&db).await;
        let watch = async {
            let mut seen = Vec::new();
            let mut cursor = json!("0");
            // Comes and goes all the while.
            while seen.len() < 900 {
                let mut socket = node.connect().await;
                socket.say(json!({"op": "subscribe", "id": "a", "types": ["agent.*"], "after": cursor})).await;
                assert_eq!(socket.hears().await["op"], "subscribed");
                for _ in 0..150 {
                    let frame = socket.hears().await;
                    if frame["op"] == "event" {
                        cursor = frame["event"]["cursor"].clone();
                        seen.push(frame["event"]["data"]["n"].as_i64().unwrap());
                    }
                    if seen.len() == 900 {
                        break;
                    }
                }
            }
            seen
        };
        let make = async {
            for batch in 0..45 {
                many(&db, batch * 20, 20, 0).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (seen, ()) = tokio::join!(watch, make);
        assert!(seen.iter().copied().eq(0..900), "{seen:?}");
    }

    async fn row_34_credentials_come_in_headers_or_protocols_and_never_in_the_query(db) {
        let node = Node::start(&db).await;
        let bearer = format!("sidetone.v1, bearer.{KEY}");
        let (mut socket, response) =
            connect_async(node.request("/ws", &[("sec-websocket-protocol", &bearer)])).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "sidetone.v1");
        socket.send(Message::text(r#"{"op":"ping","t":1}"#)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), r#"{"op":"pong","t":1}"#);
        assert_eq!(node.refused("/ws", &[]).await, 401);
        assert_eq!(node.refused(&format!("/ws?token={KEY}"), &[]).await, 401);
        assert_eq!(node.refused(&format!("/ws?api_key={KEY}"), &[]).await, 401);
        assert_eq!(node.refused("/ws", &[("authorization", "Bearer st_live_wrong")]).await, 401);
        let made = node.client.post("/api/v1/api-keys", json!({"name": "blind", "scopes": ["calls:read"]})).await.json();
        let blind = format!("Bearer {}", made["key"].as_str().unwrap());
        assert_eq!(node.refused("/ws", &[("authorization", &blind)]).await, 403);
        assert_eq!(node.client.get("/ws").await.error(), (400, "upgrade_required".into(), None));
        // A ticket is the one thing that may stand there: it is good once.
        let ticket = node.client.post("/api/v1/ws-tickets", json!({})).await.json();
        let path = format!("/ws?ticket={}", ticket["ticket"].as_str().unwrap());
        assert_eq!(node.client.get(&path).await.error().0, 400);
        let mut socket = Socket(connect_async(node.request(&path, &[])).await.unwrap().0);
        socket.say(json!({"op": "subscribe", "id": "t"})).await;
        assert_eq!(socket.hears().await["op"], "subscribed");
        assert_eq!(node.refused(&path, &[]).await, 401);
        let key: String = sqlx::query_scalar("SELECT id FROM api_keys WHERE name = 'first run'").fetch_one(&db.raw).await.unwrap();
        assert_eq!(node.client.delete(&format!("/api/v1/api-keys/{key}")).await.status, 204);
        assert_eq!(socket.closed().await, 4401);
    }

    async fn row_34_what_cannot_be_subscribed_is_told_and_what_is_no_frame_closes(db) {
        let node = Node::start(&db).await;
        let mut socket = node.connect().await;
        let error = async |socket: &mut Socket, frame: Value| {
            socket.say(frame).await;
            let told = socket.hears().await;
            assert_eq!((&told["op"], &told["id"]), (&json!("error"), &json!("a")), "{told}");
            told
        };
        let foreign = json!({"op": "subscribe", "id": "a", "call_id": call_id().to_string()});
        assert_eq!(error(&mut socket, foreign).await["code"], "not_found");
        let nonsense = json!({"op": "subscribe", "id": "a", "types": ["call.nonsense"]});
        assert_eq!(error(&mut socket, nonsense).await["code"], "invalid_types");
        let future = json!({"op": "subscribe", "id": "a", "after": "9000"});
        assert_eq!(error(&mut socket, future).await["code"], "invalid_cursor");
        sqlx::query("INSERT INTO consumers (name, pub_seq, updated_at) VALUES ($1, 1199, 0)")
            .bind(format!("retention:{}", db.tenant)).execute(&db.raw).await.unwrap();
        db.run("INSERT INTO locks (name, holder, until_ms, fence) VALUES ('publisher', 'n1', 0, 1300)").await;
        let old = error(&mut socket, json!({"op": "subscribe", "id": "a", "after": "7"})).await;
        assert_eq!((&old["code"], &old["oldest"]), (&json!("cursor_expired"), &json!("1200")));
        for frame in ["{", "[]", r#"{"op":"dance"}"#, r#"{"op":"ping","extra":1,"op":"x"}"#] {
            let mut socket = node.connect().await;
            socket.0.send(Message::text(frame)).await.unwrap();
            assert_eq!(socket.closed().await, 4400, "{frame}");
        }
        let mut binary = node.connect().await;
        binary.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
        assert_eq!(binary.closed().await, 4400);
    }

    async fn one_call_is_followed_by_its_own_numbers_and_live_events_are_shown_unnumbered(db) {
        let node = Node::start(&db).await;
        let (call, other) = (conversation(&db.journal, db.tenant, 1_000_000), conversation(&db.journal, db.tenant, 2_000_000));
        db.journal.flush().await;
        all_published(&db).await;
        let mut socket = node.connect().await;
        socket.say(json!({"op": "subscribe", "id": "c", "call_id": call.to_string(), "after_seq": 5})).await;
        assert_eq!(socket.hears().await["replaying"], 3);
        for seq in 6..=8 {
            let event = socket.event().await;
            assert_eq!((&event["call_id"], &event["seq"]), (&json!(call.to_string()), &json!(seq)));
        }
        assert_eq!(socket.hears().await["op"], "live");
        assert!(node.hub().is_watched());
        for call in [other, call] {
            node.hub().show(LiveEvent {
                tenant: db.tenant, livemode: true, call, agent_id: None, kind: Live::Activity,
                data: json!({"activity": "speaking"}), at_ms: now_ms(),
            });
        }
        let live = socket.event().await;
        assert_eq!((&live["type"], &live["call_id"], &live["seq"], &live["cursor"]),
            (&json!("call.activity"), &json!(call.to_string()), &Value::Null, &Value::Null));
        socket.say(json!({"op": "unsubscribe", "id": "c"})).await;
        assert_eq!(socket.hears().await, json!({"op": "unsubscribed", "id": "c"}));
    }

    async fn who_does_not_read_is_closed_and_comes_back_without_a_loss(db) {
        let node = Node::start(&db).await;
        let mut socket = node.connect().await;
        socket.say(json!({"op": "subscribe", "id": "a", "types": ["agent.*"]})).await;
        assert_eq!(socket.hears().await["op"], "subscribed");
        assert_eq!(socket.hears().await["op"], "live");
        // More than the network's buffers and a thousand frames hold.
        for batch in 0..20 {
            many(&db, batch * 200, 200, 8_000).await;
        }
        all_published(&db).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (mut seen, mut cursor) = (0, Value::Null);
        let code = loop {
            match socket.next().await {
                Ok(frame) => {
                    assert_eq!(frame["event"]["data"]["n"], seen);
                    seen += 1;
                    cursor = frame["event"]["cursor"].clone();
                }
                Err(code) => break code,
            }
        };
        assert_eq!(code, 4429);
        assert!(seen < 4000);
        let mut again = node.connect().await;
        again.say(json!({"op": "subscribe", "id": "a", "types": ["agent.*"], "after": cursor})).await;
        assert_eq!(again.hears().await["replaying"], 4000 - seen);
        while seen < 4000 {
            assert_eq!(again.event().await["data"]["n"], seen);
            seen += 1;
        }
    }

    async fn a_revoked_key_and_a_closing_node_end_the_connection(db) {
        let node = Node::start(&db).await;
        let made = node.client.post("/api/v1/api-keys", json!({"name": "watcher", "scopes": ["events:read"]})).await.json();
        let mut revoked = node.connect_as(made["key"].as_str().unwrap()).await;
        revoked.say(json!({"op": "subscribe", "id": "a"})).await;
        let mut kept = node.connect().await;
        kept.say(json!({"op": "subscribe", "id": "a"})).await;
        let key = format!("/api/v1/api-keys/{}", made["id"].as_str().unwrap());
        assert_eq!(node.client.delete(&key).await.status, 204);
        assert_eq!(revoked.closed().await, 4401);
        write(&db, db.tenant, Name::AgentCreated, json!({}), Duration::ZERO).await;
        while kept.hears().await["event"]["type"] != "agent.created" {}
        node.client.board.draining.store(true, Ordering::SeqCst);
        assert_eq!(kept.closed().await, 4503);
        assert_eq!(node.refused("/ws", &[("authorization", &format!("Bearer {KEY}"))]).await, 503);
    }

    async fn a_key_has_twenty_connections_and_another_tenants_events_are_not_shown(db) {
        let node = Node::start(&db).await;
        let mut sockets = Vec::new();
        for _ in 0..20 {
            sockets.push(node.connect().await);
        }
        let bearer = format!("Bearer {KEY}");
        assert_eq!(node.refused("/ws", &[("authorization", &bearer)]).await, 429);
        let mut first = sockets.remove(0);
        drop(sockets);
        first.say(json!({"op": "subscribe", "id": "a", "after": "0"})).await;
        let stranger: domain::TenantId = uuid::Uuid::now_v7().into();
        write(&db, stranger, Name::AgentCreated, json!({}), Duration::ZERO).await;
        write(&db, db.tenant, Name::AgentDeleted, json!({}), Duration::ZERO).await;
        let mut told = Vec::new();
        while !told.contains(&json!("agent.deleted")) {
            told.push(first.hears().await["event"]["type"].clone());
        }
        assert!(!told.contains(&json!("agent.created")), "{told:?}");
    }
}
