//! Webhooks, against a receiver that misbehaves in every way; hours pass by moving the clock.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use control_api::{Background, BackgroundSettings, Clock, Entry, Guard, Lookup, WebhookSender, now_ms};
use domain::{CallId, Direction, event::Name};
use ring::hmac;
use serde_json::{Value, json};

use crate::{
    db::{Db, on_both},
    fake::{Client, call_id, conversation, new_call, seal_key, sender},
    invariants,
    outbox::write,
};

/// What came in.
#[derive(Clone, Debug)]
struct Received {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks it the way a receiver does.
    fn is_signed_by(&self, secret: &str) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap());
        let mut text = format!("{}.{}.", self.header("webhook-id"), self.header("webhook-timestamp")).into_bytes();
        text.extend_from_slice(&self.body);
        self.header("webhook-signature").split(' ').any(|signature| {
            let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            hmac::verify(&key, &text, &tag).is_ok()
        })
    }
}

/// A receiver on this machine; it answers by its script, then 200.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    inbox: Arc<Mutex<Vec<Received>>>,
    script: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    /// While set, answers wait.
    slow: Arc<AtomicBool>,
    at_once: Arc<Mutex<(i32, i32)>>,
}

impl Receiver {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            inbox: Arc::default(),
            script: Arc::default(),
            slow: Arc::default(),
            at_once: Arc::default(),
        };
        let router = Router::new().fallback(Self::answer).with_state(receiver.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        receiver
    }

    async fn answer(State(receiver): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        receiver.inbox.lock().unwrap().push(Received { headers, body: body.to_vec() });
        {
            let mut at_once = receiver.at_once.lock().unwrap();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
        }
        while receiver.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        receiver.at_once.lock().unwrap().0 -= 1;
        let next = receiver.script.lock().unwrap().pop_front();
        let (status, header) = next.unwrap_or((200, ""));
        let mut response = (StatusCode::from_u16(status).unwrap(), "noted").into_response();
        if let Some((name, value)) = header.split_once(": ") {
            let name = axum::http::HeaderName::try_from(name).unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }

    fn then(&self, status: u16, header: &'static str) {
        self.script.lock().unwrap().push_back((status, header));
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    fn got(&self) -> Vec<Received> {
        self.inbox.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.got().iter().map(|received| received.event()["type"].as_str().unwrap().into()).collect()
    }

    async fn until(&self, count: usize) -> Vec<Received> {
        for _ in 0..400 {
            if self.got().len() >= count {
                return self.got();
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} of {count}: {:?}", self.got().len(), self.kinds());
    }
}

/// A node whose clock the test moves.
struct Node {
    client: Client,
    time: Arc<AtomicI64>,
    _background: Background,
}

impl Node {
    async fn start(db: &Db) -> Self {
        Self::with(db, sender()).await
    }

    async fn with(db: &Db, sender: WebhookSender) -> Self {
        let time = Arc::new(AtomicI64::new(now_ms()));
        let moved = Arc::clone(&time);
        let clock = Clock::new(move || moved.load(Ordering::SeqCst));
        let webhooks = Some((sender, seal_key()));
        let settings = BackgroundSettings { node: "n1".into(), clock, webhooks, ..BackgroundSettings::default() };
        let background = Background::start(&db.store, settings).await.unwrap();
        Self { client: Client::watching(db, background.hub()), time, _background: background }
    }

    fn pass(&self, ms: i64) {
        self.time.fetch_add(ms, Ordering::SeqCst);
    }

    /// Makes a webhook; its id and secret.
    async fn hook(&self, url: &str, more: Value) -> (String, String) {
        let mut body = json!({"url": url});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.client.post("/api/v1/webhooks", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let made = answer.json();
        (made["id"].as_str().unwrap().into(), made["secret"].as_str().unwrap().into())
    }
}

async fn state(db: &Db, sql: &'static str, wanted: i64) {
    for _ in 0..400 {
        if db.number(sql).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{sql}: {} and not {wanted}", db.number(sql).await);
}

/// Long enough for a delivery that should not happen to have happened.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(1200)).await;
}

/// Calls whose events are delivered while everything competes and fails.
const CALLS: i64 = 40;

async fn change(db: &Db, kind: Name) {
    write(db, db.tenant, kind, json!({"agent_id": "x", "version": 1}), Duration::ZERO).await;
}

on_both! {
    async fn row_30_a_receiver_that_fails_thrice_gets_the_same_id_later_each_time_and_newly_signed(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        let (_, secret) = node.hook(&receiver.url(), json!({"headers": {"Authorization": "Bearer theirs"}})).await;
        for _ in 0..3 {
            receiver.then(500, "");
        }
        change(&db, Name::AgentUpdated).await;
        receiver.until(1).await;
        let mut spaces = Vec::new();
        for (n, pause) in [5_000, 30_000, 120_000].into_iter().enumerate() {
            state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'pending'", 1).await;
            let next = db.number("SELECT next_at FROM webhook_deliveries").await - node.time.load(Ordering::SeqCst);
            assert!((pause * 8 / 10..=pause * 12 / 10).contains(&next), "{next} after failure {n}");
            spaces.push(next);
            node.pass(next - 500);
            a_while().await;
            assert_eq!(receiver.got().len(), n + 1, "before its time");
            node.pass(600);
            receiver.until(n + 2).await;
        }
        state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'delivered' AND attempts = 4", 1).await;
        let got = receiver.got();
        let ids: Vec<_> = got.iter().map(|received| received.header("webhook-id")).collect();
        assert!(ids.iter().all(|id| *id == got[0].event()["id"].as_str().unwrap()));
        assert!(got.iter().all(|received| received.is_signed_by(&secret) && received.header("authorization") == "Bearer theirs"));
        let attempts: Vec<_> = got.iter().map(|received| received.header("sidetone-attempt")).collect();
        assert_eq!(attempts, ["1", "2", "3", "4"]);
        let times: std::collections::BTreeSet<_> = got.iter().map(|received| received.header("webhook-timestamp")).collect();
        assert_eq!(times.len(), 4);
        assert_eq!((got[0].header("content-type"), got[0].header("user-agent"), got[0].header("sidetone-event")), ("application/json", "Sidetone/1", "agent.updated"));
        invariants::hold(&db).await;
    }

    async fn events_of_a_call_wait_for_one_another_and_for_no_other_call(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        node.hook(&receiver.url(), json!({})).await;
        receiver.then(503, "");
        let first = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        receiver.until(1).await;
        let second = conversation(&db.journal, db.tenant, 2_000_000);
        receiver.until(6).await;
        a_while().await;
        let of = |call: CallId| -> Vec<i64> {
            receiver.got().iter().filter(|received| received.event()["call_id"] == call.to_string())
                .map(|received| received.event()["seq"].as_i64().unwrap()).collect()
        };
        assert_eq!((of(first), of(second)), (vec![1], vec![1, 2, 3, 4, 8]));
        node.pass(6_000);
        receiver.until(11).await;
        assert_eq!(of(first), [1, 1, 2, 3, 4, 8]);
        invariants::hold(&db).await;
    }

    async fn two_nodes_that_compete_and_a_receiver_that_fails_keep_the_order_of_every_call(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        let moved = Arc::clone(&node.time);
        let other = control_api::Store::open(&db.url).await.unwrap();
        let _two = Background::start(&other, BackgroundSettings {
            node: "n2".into(),
            clock: Clock::new(move || moved.load(Ordering::SeqCst)),
            webhooks: Some((sender(), seal_key())),
            ..BackgroundSettings::default()
        }).await.unwrap();
        node.hook(&receiver.url(), json!({})).await;
        for _ in 0..20 {
            receiver.then(500, "");
        }
        let calls: Vec<_> = (0..CALLS).map(|n| conversation(&db.journal, db.tenant, 1_000_000 + n)).collect();
        // What is not of a call waits for nobody.
        change(&db, Name::AgentCreated).await;
        let begun = std::time::Instant::now();
        let letters = CALLS * 5 + 1;
        while db.number("SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'delivered'").await < letters {
            assert!(begun.elapsed() < Duration::from_secs(300), "{:?}", receiver.got().len());
            tokio::time::sleep(Duration::from_millis(100)).await;
            let due = db.number("SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'sending'").await == 0;
            node.pass(if due { 6_000 } else { 0 });
        }
        let mut of: std::collections::HashMap<String, Vec<i64>> = std::collections::HashMap::new();
        for event in receiver.got().iter().map(Received::event) {
            if let (Some(call), Some(seq)) = (event["call_id"].as_str(), event["seq"].as_i64()) {
                of.entry(call.to_owned()).or_default().push(seq);
            }
        }
        for call in calls {
            let mut seen = of.remove(&call.to_string()).unwrap();
            assert!(seen.is_sorted(), "{seen:?}");
            seen.dedup();
            assert_eq!(seen, [1, 2, 3, 4, 8]);
        }
        assert_eq!(receiver.got().len() as i64, letters + 20);
        invariants::hold(&db).await;
    }

    async fn after_ten_minutes_the_next_event_of_a_call_no_longer_waits(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        node.hook(&receiver.url(), json!({})).await;
        receiver.then(429, "retry-after: 3600");
        let call = call_id();
        db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        db.journal.write(call, Entry::Event { name: Name::Consent, data: json!({"given": true}) });
        receiver.until(1).await;
        node.pass(590_000);
        a_while().await;
        assert_eq!(receiver.got().len(), 1);
        node.pass(11_000);
        let got = receiver.until(2).await;
        assert_eq!((got[1].event()["seq"].as_i64(), got[1].header("sidetone-seq")), (Some(2), "2"));
        // The receiver's wish was an hour.
        state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'pending'", 1).await;
        node.pass(3_000_000);
        assert_eq!(receiver.until(3).await[2].event()["seq"], 1);
        // By then the first had failed once: each was sent as often as the rows say.
        state(&db, "SELECT CAST(SUM(attempts) AS BIGINT) FROM webhook_deliveries", 3).await;
    }

    async fn ten_failures_are_the_end_until_someone_asks_again(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        let (hook, _) = node.hook(&receiver.url(), json!({})).await;
        for _ in 0..10 {
            receiver.then(404, "");
        }
        change(&db, Name::AgentCreated).await;
        for n in 1..=10 {
            receiver.until(n).await;
            state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'sending'", 0).await;
            node.pass(12 * 3_600_000);
        }
        state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'dead'", 1).await;
        a_while().await;
        assert_eq!(receiver.got().len(), 10);
        let dead = node.client.get(&format!("/api/v1/webhooks/{hook}/events?state=dead")).await.json();
        let letter = &dead["data"][0];
        assert_eq!((&letter["attempts"], &letter["last"]["http_status"], &letter["last"]["error"], &letter["last"]["response_head"]),
            (&json!(10), &json!(404), &json!("http_status"), &json!("noted")));
        let retry = format!("/api/v1/deliveries/{}/retry", letter["id"].as_str().unwrap());
        assert_eq!(node.client.post(&retry, json!({})).await.status, 202);
        let got = receiver.until(11).await;
        assert_eq!((got[10].header("sidetone-attempt"), got[10].header("webhook-id")), ("11", got[0].header("webhook-id")));
        state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'delivered' AND attempts = 11", 1).await;
        invariants::hold(&db).await;
    }

    async fn a_receiver_that_is_gone_or_failed_for_days_is_switched_off_and_others_hear_of_it(db) {
        let (node, gone, failing, other) = (Node::start(&db).await, Receiver::open().await, Receiver::open().await, Receiver::open().await);
        let (gone_id, _) = node.hook(&gone.url(), json!({"types": ["agent.*"]})).await;
        let (failing_id, _) = node.hook(&failing.url(), json!({"types": ["agent.*"]})).await;
        node.hook(&other.url(), json!({"types": ["webhook.disabled"]})).await;
        for (user, role) in [("owner", "owner"), ("reader", "analyst")] {
            sqlx::query("INSERT INTO users (id, email, email_key, name, created_at, updated_at) VALUES ($1, $2, $2, $1, 0, 0)")
                .bind(user).bind(format!("{user}@example.com")).execute(&db.raw).await.unwrap();
            sqlx::query("INSERT INTO memberships (tenant_id, user_id, role, created_at) VALUES ($1, $2, $3, 0)")
                .bind(db.tenant.to_string()).bind(user).bind(role).execute(&db.raw).await.unwrap();
        }
        gone.then(410, "");
        for _ in 0..99 {
            failing.then(500, "");
        }
        change(&db, Name::AgentCreated).await;
        let told = other.until(1).await;
        assert_eq!((&told[0].event()["data"]["webhook_id"], &told[0].event()["data"]["reason"]), (&json!(gone_id), &json!("gone")));
        let row = node.client.get(&format!("/api/v1/webhooks/{gone_id}")).await.json();
        assert_eq!((&row["enabled"], &row["disabled_reason"]), (&json!(false), &json!("gone")));
        for day in 0..6 {
            state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'sending'", 0).await;
            node.pass(86_400_000);
            failing.until(day + 2).await;
        }
        let told = other.until(2).await;
        assert_eq!((&told[1].event()["data"]["webhook_id"], &told[1].event()["data"]["reason"]), (&json!(failing_id), &json!("failing")));
        let before = gone.got().len();
        change(&db, Name::AgentUpdated).await;
        a_while().await;
        assert_eq!(gone.got().len(), before);
        let mails: Vec<(String, String)> = sqlx::query_as("SELECT to_addr, subject FROM emails WHERE to_addr <> 'owner@localhost'").fetch_all(&db.raw).await.unwrap();
        assert_eq!(mails, vec![("owner@example.com".into(), "A webhook was switched off".into()); 2]);
        invariants::hold(&db).await;
    }

    async fn everything_leaves_out_what_must_be_named_and_agents_narrow_it_down(db) {
        let (node, all, turns, one) = (Node::start(&db).await, Receiver::open().await, Receiver::open().await, Receiver::open().await);
        let agent = uuid::Uuid::now_v7().to_string();
        sqlx::query("INSERT INTO agents (id, tenant_id, name, config, created_at, updated_at) VALUES ($1, $2, 'a', '{}', 0, 0)")
            .bind(&agent).bind(db.tenant.to_string()).execute(&db.raw).await.unwrap();
        node.hook(&all.url(), json!({})).await;
        node.hook(&turns.url(), json!({"types": ["call.turn.*", "!call.turn.caller"]})).await;
        node.hook(&one.url(), json!({"agent_ids": [agent]})).await;
        conversation(&db.journal, db.tenant, 1_000_000);
        all.until(5).await;
        write(&db, db.tenant, Name::AgentUpdated, json!({"agent_id": agent}), Duration::ZERO).await;
        all.until(6).await;
        turns.until(2).await;
        one.until(1).await;
        a_while().await;
        assert_eq!(all.kinds(), ["call.created", "call.initiating", "call.ringing", "call.answered", "call.ended", "agent.updated"]);
        assert_eq!(turns.kinds(), ["call.turn.agent", "call.turn.agent"]);
        assert_eq!(one.kinds(), ["agent.updated"]);
        sqlx::query("DELETE FROM agents").execute(&db.raw).await.unwrap();
    }

    async fn one_slow_receiver_has_eight_letters_under_way_and_delays_nobody(db) {
        let (node, slow, quick) = (Node::start(&db).await, Receiver::open().await, Receiver::open().await);
        slow.slow.store(true, Ordering::SeqCst);
        node.hook(&slow.url(), json!({})).await;
        node.hook(&quick.url(), json!({})).await;
        for _ in 0..20 {
            change(&db, Name::AgentUpdated).await;
        }
        quick.until(20).await;
        slow.until(8).await;
        assert_eq!((slow.got().len(), slow.at_once.lock().unwrap().1), (8, 8));
        slow.slow.store(false, Ordering::SeqCst);
        slow.until(20).await;
        assert!(slow.at_once.lock().unwrap().1 <= 8);
        state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'delivered'", 40).await;
        invariants::hold(&db).await;
    }

    async fn a_secret_is_shown_once_kept_sealed_and_overlaps_when_it_is_rotated(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        let (hook, first) = node.hook(&receiver.url(), json!({})).await;
        let rotated = node.client.post(&format!("/api/v1/webhooks/{hook}/rotate-secret"), json!({"overlap_s": 60})).await.json();
        let second = rotated["secret"].as_str().unwrap().to_owned();
        assert_ne!(first, second);
        change(&db, Name::AgentUpdated).await;
        let got = receiver.until(1).await;
        assert!(got[0].is_signed_by(&first) && got[0].is_signed_by(&second));
        node.pass(61_000);
        change(&db, Name::AgentUpdated).await;
        let got = receiver.until(2).await;
        assert!(!got[1].is_signed_by(&first) && got[1].is_signed_by(&second));
        for path in ["/api/v1/webhooks".to_owned(), format!("/api/v1/webhooks/{hook}"), format!("/api/v1/webhooks/{hook}/events")] {
            let text = node.client.get(&path).await.text();
            assert!(!text.contains("whsec_") && !text.contains("sealed"), "{text}");
        }
        let row: (String, String) = sqlx::query_as("SELECT sealed_secret, sealed_old_secret FROM webhooks").fetch_one(&db.raw).await.unwrap();
        assert!(![&first, &second].iter().any(|secret| row.0.contains(&secret[6..]) || row.1.contains(&secret[6..])));
    }

    async fn row_31_urls_into_the_house_are_refused_when_stored_and_when_sent(db) {
        let inside = Arc::new(AtomicBool::new(true));
        let says = Arc::clone(&inside);
        let lookup: Lookup = Arc::new(move |name| {
            let inside = says.load(Ordering::SeqCst);
            Box::pin(async move {
                assert_eq!(name, "turncoat.example");
                Ok(vec![if inside { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([203, 0, 114, 9]) }])
            })
        });
        let strict = WebhookSender::new(Guard::new(false).with_lookup(lookup)).unwrap();
        let mut node = Node::with(&db, strict.clone()).await;
        node.client = Client::sending(&db, node._background.hub(), strict);
        for url in ["http://127.0.0.1/x", "https://10.0.0.1/x", "https://[::ffff:169.254.169.254]/x", "https://turncoat.example/x", "http://example.com/"] {
            let answer = node.client.post("/api/v1/webhooks", json!({"url": url})).await;
            assert_eq!(answer.error(), (400, "url_forbidden".into(), Some("url".into())), "{url}");
        }
        inside.store(false, Ordering::SeqCst);
        let (hook, _) = node.hook("https://turncoat.example/x", json!({})).await;
        inside.store(true, Ordering::SeqCst);
        change(&db, Name::AgentUpdated).await;
        state(&db, "SELECT COUNT(*) FROM webhook_attempts WHERE error = 'url_forbidden'", 1).await;
        let tested = node.client.post(&format!("/api/v1/webhooks/{hook}/test"), json!({})).await.json();
        assert_eq!((&tested["delivered"], &tested["error"]), (&json!(false), &json!("url_forbidden")));
    }

    async fn row_31_a_redirect_is_a_failure_and_is_not_followed(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        let (hook, _) = node.hook(&receiver.url(), json!({})).await;
        receiver.then(302, "location: http://127.0.0.1:9/metadata");
        let tested = node.client.post(&format!("/api/v1/webhooks/{hook}/test"), json!({})).await.json();
        assert_eq!((&tested["delivered"], &tested["http_status"], &tested["error"]), (&json!(false), &json!(302), &json!("redirect")));
        assert_eq!(receiver.got().len(), 1);
    }

    async fn a_test_is_sent_at_once_signed_and_marked(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        let (hook, secret) = node.hook(&receiver.url(), json!({})).await;
        let tested = node.client.post(&format!("/api/v1/webhooks/{hook}/test"), json!({"type": "call.ended"})).await.json();
        assert_eq!((&tested["delivered"], &tested["http_status"], &tested["error"]), (&json!(true), &json!(200), &Value::Null));
        let got = receiver.got();
        assert!(got[0].is_signed_by(&secret));
        assert_eq!((&got[0].event()["test"], &got[0].event()["type"]), (&json!(true), &json!("call.ended")));
        let unknown = node.client.post(&format!("/api/v1/webhooks/{hook}/test"), json!({"type": "call.nonsense"})).await;
        assert_eq!(unknown.error(), (400, "validation_failed".into(), Some("type".into())));
        assert_eq!(db.number("SELECT COUNT(*) FROM events").await, 0);
    }

    async fn row_32_a_test_of_a_slow_receiver_ends_after_ten_seconds(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        receiver.slow.store(true, Ordering::SeqCst);
        let (hook, _) = node.hook(&receiver.url(), json!({})).await;
        let tested = node.client.post(&format!("/api/v1/webhooks/{hook}/test"), json!({})).await.json();
        assert_eq!((&tested["delivered"], &tested["error"]), (&json!(false), &json!("timeout")));
        assert!(tested["duration_ms"].as_i64().unwrap() >= 10_000, "{tested}");
    }

    async fn a_span_of_time_is_sent_again_dead_letters_or_all(db) {
        let (node, receiver) = (Node::start(&db).await, Receiver::open().await);
        change(&db, Name::AgentCreated).await;
        state(&db, "SELECT COALESCE(MAX(pub_seq), 0) FROM consumers WHERE name = 'webhooks'", 1).await;
        let (hook, _) = node.hook(&receiver.url(), json!({"types": ["agent.*"]})).await;
        change(&db, Name::AgentUpdated).await;
        receiver.until(1).await;
        state(&db, "SELECT COUNT(*) FROM webhook_deliveries WHERE state = 'delivered'", 1).await;
        let path = format!("/api/v1/webhooks/{hook}/replay");
        let made = node.client.get(&format!("/api/v1/webhooks/{hook}")).await.json()["created_at"].as_str().unwrap().to_owned();
        let today = &made[..10];
        let span = |more: Value| {
            let mut body = json!({"from": today, "to": format!("{today}T23:59:59.999Z")});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            body
        };
        assert_eq!(node.client.post(&path, span(json!({}))).await.json(), json!({"queued": 0}));
        let all = node.client.post(&path, span(json!({"only_dead": false}))).await;
        assert_eq!((all.status.as_u16(), all.json()), (202, json!({"queued": 2})));
        node.pass(60_000);
        receiver.until(3).await;
        assert_eq!(receiver.kinds().iter().filter(|kind| *kind == "agent.created").count(), 1);
        let wrong = node.client.post(&path, json!({"from": "2026-01-02", "to": "2026-01-01"})).await;
        assert_eq!(wrong.error().0, 400);
        invariants::hold(&db).await;
    }

    async fn what_was_read_can_be_put_back_and_what_is_patched_is_merged(db) {
        let client = Client::new(&db);
        let made = client.post("/api/v1/webhooks", json!({"url": "https://203.0.114.9/x", "headers": {"X-A": "1", "X-B": "2"}, "types": ["call.*"]})).await.json();
        let path = format!("/api/v1/webhooks/{}", made["id"].as_str().unwrap());
        let read = client.get(&path).await;
        assert_eq!(read.header("etag"), "\"1\"");
        let same = client.put(&path, read.json()).await;
        assert_eq!((same.status.as_u16(), same.header("etag"), same.json()), (200, "\"1\"", read.json()));
        let patched = client.patch(&path, json!({"headers": {"X-B": null, "X-C": "3"}, "description": "CRM", "types": null})).await.json();
        assert_eq!(patched["headers"], json!({"X-A": "1", "X-C": "3"}));
        assert_eq!((&patched["description"], &patched["types"], &patched["version"]), (&json!("CRM"), &json!(["*"]), &json!(2)));
        assert_eq!(client.patch(&path, json!({"version": 7})).await.error(), (400, "read_only_field".into(), Some("version".into())));
        assert_eq!(client.patch(&path, json!({"urll": 7})).await.error(), (400, "unknown_field".into(), Some("urll".into())));
        let stale = client.request("PATCH", &path).header("if-match", "\"1\"").header("content-type", "application/json");
        let stale = client.send(stale.body(r#"{"enabled":false}"#.into()).unwrap()).await;
        assert_eq!(stale.error().0, 412);
        db.run("UPDATE webhooks SET enabled = 0, disabled_reason = 'failing', failing_since = 1").await;
        let on = client.patch(&path, json!({"enabled": true})).await.json();
        assert_eq!((&on["enabled"], &on["disabled_reason"], &on["failing_since"]), (&json!(true), &Value::Null, &Value::Null));
    }

    async fn bodies_are_checked_field_by_field(db) {
        let client = Client::new(&db);
        let try_with = async |more: Value| {
            let mut body = json!({"url": "https://203.0.114.9/x"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let (status, code, field) = client.post("/api/v1/webhooks", body).await.error();
            (status, code, field.unwrap_or_default())
        };
        let invalid = |field: &str| (400, "validation_failed".to_owned(), field.to_owned());
        assert_eq!(try_with(json!({"types": []})).await, invalid("types"));
        assert_eq!(try_with(json!({"types": ["call.nonsense"]})).await, invalid("types"));
        assert_eq!(try_with(json!({"ordering": "random"})).await, invalid("ordering"));
        assert_eq!(try_with(json!({"description": "x".repeat(201)})).await, invalid("description"));
        assert_eq!(try_with(json!({"headers": {"webhook-id": "x"}})).await, invalid("headers.webhook-id"));
        assert_eq!(try_with(json!({"headers": {"X-A": "a\r\nb"}})).await, invalid("headers.X-A"));
        assert_eq!(try_with(json!({"urll": 1})).await, (400, "unknown_field".into(), "urll".into()));
        assert_eq!(try_with(json!({"agent_ids": ["0193481e-7a10-7000-8000-0000000000ff"]})).await.0, 404);
        for _ in 0..20 {
            assert_eq!(client.post("/api/v1/webhooks", json!({"url": "https://203.0.114.9/x"})).await.status, 201);
        }
        assert_eq!(client.post("/api/v1/webhooks", json!({"url": "https://203.0.114.9/x"})).await.error(), (409, "too_many".into(), None));
        let page = client.get("/api/v1/webhooks?limit=15").await.json();
        let next = page["next_cursor"].as_str().unwrap();
        let rest = client.get(&format!("/api/v1/webhooks?limit=15&cursor={next}")).await.json();
        assert_eq!((page["data"].as_array().unwrap().len(), rest["data"].as_array().unwrap().len(), &rest["next_cursor"]), (15, 5, &Value::Null));
        let id = page["data"][0]["id"].as_str().unwrap();
        assert_eq!(client.delete(&format!("/api/v1/webhooks/{id}")).await.status, 204);
        assert_eq!(client.get(&format!("/api/v1/webhooks/{id}")).await.error().0, 404);
    }
}
