//! What a reviewer tries with calls that leave the house (API §7): `row_N` in the names of tests is the row there.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Line, Phone, Sidetone, Sip, request, workspace};

/// $0.15 a minute, by the second.
const DECK: &str = "item,unit_micros\nvoice_in,150000\nvoice_out,150000\n";
const QUIET: [u8; 160] = [0xff; 160];

/// A server where a minute costs $0.15 and the tenant has so much.
async fn priced(credit: i64) -> Sidetone {
    // Beside the receptionist one that can hear silence for two minutes.
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let patient = format!("{receptionist}\n[turn.silence]\nprompt_after_ms = 120000\nhang_up_after_ms = 0\n");
    let server = Sidetone::with(|plan| plan.agent("patient", &patient)).await;
    let plan = server.api.get("rate-plans").await["data"][0]["id"].as_str().unwrap().to_owned();
    server.api.put(&format!("rate-plans/{plan}/rates"), "text/csv", DECK).await;
    if credit > 0 {
        let tenant = server.api.get("tenants").await["data"][0]["id"].clone();
        let gift = json!({"tenant_id": tenant, "amount_micros": credit, "reason": "welcome", "kind": "promo"});
        server.api.post_once("billing/adjustments", "gift", &gift).await;
    }
    server
}

/// Somebody who is called, by hand.
async fn callee(server: &Sidetone) -> (Sip, String) {
    let sip = Sip::towards(server.sip).await;
    let uri = format!("sip:callee@{}", sip.at());
    (sip, uri)
}

fn place(to: &str) -> Value {
    json!({"to": to, "agent_id": "receptionist", "ring_timeout_ms": 5000})
}

/// Nothing is held, and that is all there is.
async fn nothing_spent(server: &Sidetone, credit: i64) {
    let balance = server.api.get("billing/balance").await;
    assert_eq!((&balance["available_micros"], &balance["held_micros"]), (&json!(credit), &json!(0)), "{balance}");
    assert_eq!(balance["open_leases"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_a_call_that_nobody_takes_costs_nothing() {
    let server = priced(1_000_000).await;
    for (answer, status, reason) in [
        ("486 Busy Here", "busy", "busy"),
        ("404 Not Found", "failed", "unknown_number"),
        ("180 Ringing", "no_answer", "no_answer"),
    ] {
        let (callee, uri) = callee(&server).await;
        let placed = server.api.post("calls", &place(&uri)).await;
        assert_eq!(placed["status"], "pending");
        let invite = callee.request("INVITE").await;
        // It rings while the hold is there.
        callee.answer(&invite, answer, "").await;
        if answer.starts_with('1') {
            assert_eq!(server.api.get("billing/balance").await["held_micros"], 150_000);
            let cancel = callee.request("CANCEL").await;
            callee.answer(&cancel, "200 OK", "").await;
            callee.answer(&invite, "487 Request Terminated", "").await;
        }
        let id = placed["id"].as_str().unwrap();
        let call = server.api.until(id, |call| call["ended_at"].is_string()).await;
        assert_eq!((&call["status"], &call["ended_reason"]), (&json!(status), &json!(reason)), "{call:#}");
        assert_eq!((&call["cost"]["charged_micros"], &call["billed_s"]), (&json!(0), &json!(0)));
        let events = server.api.events(id).await;
        let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
        assert_eq!(events.iter().filter(|event| event["type"] == "call.ended").count(), 1);
        nothing_spent(&server, 1_000_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_21_without_credit_no_invite_leaves() {
    let server = priced(0).await;
    let (callee, uri) = callee(&server).await;
    let refused = server.api.refused(Method::POST, "calls", &place(&uri)).await;
    assert_eq!(refused, (402, "insufficient_credit".into()));
    assert!(callee.next(Duration::from_millis(700)).await.is_none());
    assert!(server.api.calls().await.iter().all(|call| call["ended_at"].is_string()));
    assert!(server.api.get("calls/active").await["data"].as_array().unwrap().is_empty());
    nothing_spent(&server, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_of_two_hundred_posts_on_credit_for_one_one_is_placed() {
    let server = priced(150_000).await;
    let (callee, uri) = callee(&server).await;
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let (api, body) = (server.api.clone(), place(&uri));
        posts.spawn(async move { api.root(Method::POST, "/api/v1/calls", Some(&body)).await });
    }
    let answers = posts.join_all().await;
    let count = |status: u16| answers.iter().filter(|(found, _, _)| *found == status).count();
    assert_eq!(
        (count(201), count(402)),
        (1, 199),
        "{:?}",
        answers.iter().find(|answer| ![201, 402].contains(&answer.0))
    );
    let invite = callee.request("INVITE").await;
    callee.answer(&invite, "486 Busy Here", "").await;
    let id = answers.iter().find(|answer| answer.0 == 201).unwrap().2["id"].as_str().unwrap().to_owned();
    server.api.until(&id, |call| call["ended_at"].is_string()).await;
    // One dialogue and no more.
    while let Some(more) = callee.next(Duration::from_millis(700)).await {
        assert!(
            !more.starts_with("INVITE") || tests::header(&more, "Call-ID") == tests::header(&invite, "Call-ID"),
            "{more}"
        );
    }
    nothing_spent(&server, 150_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_23_where_nobody_may_call_is_said_before_anything_is_held() {
    let server = priced(1_000_000).await;
    server.api.post("trunks", &json!({"name": "out", "gateways": [{"host": "127.0.0.1", "port": 9}]})).await;
    server.api.post("do-not-call", &json!({"e164": "+12125550177", "reason": "asked"})).await;
    for to in ["+9001234567", "+881612345678", "sip:x@169.254.169.254", "+12125550177"] {
        let refused = server.api.refused(Method::POST, "calls", &place(to)).await;
        assert_eq!(refused, (403, "forbidden_destination".into()), "{to}");
    }
    let foreign = json!({"to": "+12125550123", "from": "+12125559999", "agent_id": "receptionist"});
    assert_eq!(server.api.refused(Method::POST, "calls", &foreign).await, (400, "caller_id_not_owned".into()));
    assert!(server.api.calls().await.is_empty());
    nothing_spent(&server, 1_000_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_25_a_call_ends_once_and_before_its_answer_it_is_canceled() {
    let server = Sidetone::start().await;
    let (callee, uri) = callee(&server).await;
    let id = server.api.post("calls", &place(&uri)).await["id"].as_str().unwrap().to_owned();
    let invite = callee.request("INVITE").await;
    callee.answer(&invite, "180 Ringing", "").await;
    server.api.until(&id, |call| call["status"] == "ringing").await;
    let end = format!("calls/{id}/end");
    server.api.post(&end, &json!({})).await;
    let cancel = callee.request("CANCEL").await;
    callee.answer(&cancel, "200 OK", "").await;
    callee.answer(&invite, "487 Request Terminated", "").await;
    let call = server.api.until(&id, |call| call["ended_at"].is_string()).await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&json!("canceled"), &json!("canceled")), "{call:#}");
    // Again: the same object.
    assert_eq!(server.api.post(&end, &json!({})).await, server.api.post(&end, &json!({})).await);
    let say = server.api.refused(Method::POST, &format!("calls/{id}/say"), &json!({"text": "hello"})).await;
    assert_eq!(say, (409, "call_not_active".into()));
    let events = server.api.events(&id).await;
    assert_eq!(events.iter().filter(|event| event["type"] == "call.ended").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_28_credit_that_runs_out_warns_first_and_ends_the_call_at_the_paid_second() {
    // A minute, and not a second more.
    let server = priced(150_000).await;
    Phone::new(&server, "patient", "spender").with("--linger", "90").call().await;
    let call = server.api.ended("spender").await;
    assert_eq!((&call["status"], &call["ended_reason"]), (&json!("completed"), &json!("credit_exhausted")), "{call:#}");
    assert_eq!((&call["billed_s"], &call["cost"]["charged_micros"]), (&json!(60), &json!(150_000)));
    let lasted = call["duration_ms"].as_i64().unwrap();
    assert!((60_000..63_000).contains(&lasted), "{lasted} ms");
    let id = call["id"].as_str().unwrap();
    let events = server.api.events(id).await;
    assert_eq!(events.iter().filter(|event| event["type"] == "call.credit.low").count(), 1);
    let turns = server.api.transcript(id).await;
    let warned =
        turns.iter().find(|turn| turn["text"].as_str().is_some_and(|text| text.contains("our time is nearly up")));
    let at = warned.unwrap_or_else(|| panic!("no warning: {turns:#?}"))["start_ms"].as_i64().unwrap();
    assert!((44_000..52_000).contains(&at), "warned at {at} ms");
    nothing_spent(&server, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_39_a_draining_node_takes_nothing_new_and_lets_calls_finish() {
    let server = Sidetone::start().await;
    let mut line = Line::call(server.sip, &server.uri("echo")).await;
    line.talk(10, Duration::ZERO, |_| QUIET).await;
    let api = &server.api;
    assert_eq!(api.root(Method::POST, "/drain", Some(&json!({"timeout_ms": 600_000}))).await.0, 202);
    let (status, later, body) = api.root(Method::POST, "/api/v1/calls", Some(&place("sip:x@127.0.0.1:9"))).await;
    assert_eq!((status, later.is_some(), &body["error"]["code"]), (503, true, &json!("draining")));
    let by_hand = Sip::towards(server.sip).await;
    let offer = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";
    for (method, body) in [("OPTIONS", ""), ("INVITE", offer)] {
        let answer = by_hand.ask(&request(method, &server.uri("echo"), by_hand.at(), body)).await;
        assert!(answer.starts_with("SIP/2.0 503"), "{method}: {answer}");
    }
    assert_eq!(api.root(Method::GET, "/ready", None).await.0, 503);
    assert_eq!(api.root(Method::GET, "/health", None).await.0, 200);
    // The call that was there goes on: what is said comes back.
    let came = line.talk(50, Duration::from_millis(200), |_| QUIET).await;
    assert!(came.len() > 40, "{} frames", came.len());
    line.hang_up().await;
    // Undone: it takes calls again.
    api.root(Method::POST, "/drain", Some(&json!({"cancel": true}))).await;
    assert_eq!(api.root(Method::GET, "/ready", None).await.0, 200);
    Line::call(server.sip, &server.uri("echo")).await.hang_up().await;
}
