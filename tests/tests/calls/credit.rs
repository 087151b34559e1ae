//! Calls cost money: no credit, no call; a ceiling ends the call at the second that it pays for; and the books balance afterwards.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Cluster, Line, Phone, Sidetone, Sip, Sipp, enter, request, workspace};
use tokio::time::sleep;

/// $0.15 a minute, by the second.
const DECK: &str = "item,unit_micros\nvoice_in,150000\nvoice_out,150000\n";
/// Twenty seconds of it.
const CEILING: i64 = 50_000;

async fn open() -> Sidetone {
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let frugal = format!("{receptionist}\n[limits]\nmax_cost_micros = {CEILING}\n");
    let server = Sidetone::with(|plan| plan.agent("frugal", &frugal)).await;
    let plan = server.api.get("rate-plans").await["data"][0]["id"].as_str().unwrap().to_owned();
    server.api.put(&format!("rate-plans/{plan}/rates"), "text/csv", DECK).await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_refused_without_credit_warned_before_its_ceiling_and_ended_at_the_paid_second() {
    let server = open().await;
    let mut refused = Phone::new(&server, "frugal", "beggar").start();
    let call = server.api.ended("beggar").await;
    let told = ["status", "ended_reason", "sip_status"].map(|field| call[field].clone());
    assert_eq!(told, [json!("failed"), json!("insufficient_credit"), json!(480)]);
    assert_ne!(refused.wait().await.unwrap().code(), Some(0));

    let tenant = call["tenant_id"].as_str().unwrap();
    let gift = json!({"tenant_id": tenant, "amount_micros": 1_000_000, "reason": "welcome", "kind": "promo"});
    server.api.post_once("billing/adjustments", "gift", &gift).await;
    Phone::new(&server, "frugal", "spender").with("--linger", "60").call().await;
    let call = server.api.ended("spender").await;
    let id = call["id"].as_str().unwrap();
    assert_eq!((&call["status"], &call["ended_reason"]), (&json!("completed"), &json!("cost_cap")));
    let lasted = call["duration_ms"].as_i64().unwrap();
    assert!((20_000..23_000).contains(&lasted), "{lasted} ms");
    assert_eq!((&call["billed_s"], &call["cost"]["charged_micros"]), (&json!(20), &json!(CEILING)));
    let events = server.api.events(id).await;
    let low = events.iter().find(|event| event["type"] == "call.credit.low").expect("the end was told before");
    assert!((19_000..=20_000).contains(&low["data"]["remaining_ms"].as_i64().unwrap()), "{low}");
    let turns = server.api.transcript(id).await;
    let warned =
        turns.iter().find(|turn| turn["text"].as_str().is_some_and(|text| text.contains("our time is nearly up")));
    assert!(warned.is_some_and(|turn| turn["start_ms"].as_i64().unwrap() >= 5_000), "{turns:#?}");
    let balance = server.api.get("billing/balance").await;
    assert_eq!((&balance["available_micros"], &balance["held_micros"]), (&json!(1_000_000 - CEILING), &json!(0)));
    books_hold(&server).await;
}

/// The invariants find nothing.
async fn books_hold(server: &Sidetone) {
    let said = server.check_ledger().await;
    // An installation has no owner before somebody signs up (T2).
    let broken: Vec<_> =
        said.lines().filter(|line| !line.starts_with("T2 ") && !line.contains("invariants hold")).collect();
    assert!(!said.is_empty() && broken.is_empty(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_rings_on_what_was_known_of_its_tenant_and_is_refused_when_that_has_changed() {
    let server = Sidetone::start().await;
    let heard = async |from: &Sip| {
        let invite = request("INVITE", &server.uri("bench"), from.at(), "");
        from.send(invite.as_bytes()).await;
        let mut statuses = Vec::new();
        while statuses.last().is_none_or(|status| *status < 200) {
            let message = from.next(Duration::from_secs(5)).await.expect("a final response");
            statuses.push(message["SIP/2.0 ".len()..][..3].parse::<u16>().unwrap());
        }
        statuses.retain(|status| *status > 100);
        statuses
    };
    // A call costs nothing here, and the tenant may have many: all is to spare.
    Line::call(server.sip, &server.uri("bench")).await.hang_up().await;
    all_ended(&server, 1).await;
    let plan = server.api.get("rate-plans").await["data"][0]["id"].as_str().unwrap().to_owned();
    server.api.put(&format!("rate-plans/{plan}/rates"), "text/csv", DECK).await;
    assert_eq!(heard(&Sip::towards(server.sip).await).await, [180, 480]);
    // Now it is known: the next one does not ring.
    assert_eq!(heard(&Sip::towards(server.sip).await).await, [480]);
    let calls = all_ended(&server, 3).await;
    assert_eq!(count(&calls, "ended_reason", "insufficient_credit"), 2);
    books_hold(&server).await;
}

/// A server on a PostgreSQL of its own, where a minute costs $0.15 and the tenant has so much.
async fn with_postgres(url: &str, credit: i64) -> Sidetone {
    let server = Sidetone::with(|plan| plan.set("STORE__URL", url)).await;
    let plan = server.api.get("rate-plans").await["data"][0]["id"].as_str().unwrap().to_owned();
    server.api.put(&format!("rate-plans/{plan}/rates"), "text/csv", DECK).await;
    // The event of a new key is the first to name the tenant.
    server.api.post("api-keys", &json!({"name": "another", "scopes": ["calls:read"]})).await;
    let tenant = server.api.get("events?wait_ms=10000").await["data"][0]["tenant_id"].clone();
    let gift = json!({"tenant_id": tenant, "amount_micros": credit, "reason": "welcome", "kind": "promo"});
    server.api.post_once("billing/adjustments", "gift", &gift).await;
    server
}

fn count(calls: &[Value], field: &str, value: &str) -> usize {
    calls.iter().filter(|call| call[field] == value).count()
}

/// All calls, once every one of them has ended.
async fn all_ended(server: &Sidetone, expected: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let calls = server.api.calls().await;
        if calls.len() == expected && calls.iter().all(|call| call["ended_at"].is_string()) {
            return calls;
        }
        let live = calls.iter().filter(|call| call["ended_at"].is_null()).count();
        assert!(began.elapsed() < Duration::from_secs(20), "{} calls of {expected}, {live} not ended", calls.len());
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_calls_at_once_on_credit_for_one_one_is_admitted() {
    enter();
    let database = Cluster::start();
    let server = with_postgres(&database.database(), 150_000).await;
    Sipp::new(&server, "steady.xml", "bench").at_once(200, Duration::from_secs(5)).run().await;
    let calls = all_ended(&server, 200).await;
    assert_eq!((count(&calls, "status", "completed"), count(&calls, "ended_reason", "insufficient_credit")), (1, 199));
    let admitted = calls.iter().find(|call| call["status"] == "completed").unwrap();
    let charged = admitted["cost"]["charged_micros"].as_i64().unwrap();
    assert_eq!(charged, admitted["billed_s"].as_i64().unwrap() * 2_500);
    let balance = server.api.get("billing/balance").await;
    assert_eq!((&balance["available_micros"], &balance["held_micros"]), (&json!(150_000 - charged), &json!(0)));
    books_hold(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_fifty_calls_up_every_one_is_settled_by_its_evidence() {
    enter();
    let database = Cluster::start();
    let mut server = with_postgres(&database.database(), 50_000_000).await;
    let stay = Duration::from_secs(60);
    let callers = tokio::spawn(Sipp::new(&server, "steady.xml", "bench").at_once(50, stay).run());
    let began = Instant::now();
    loop {
        let calls = server.api.calls().await;
        if count(&calls, "status", "in_progress") == 50 {
            break;
        }
        let refused = calls.iter().find(|call| call["ended_at"].is_string());
        assert!(
            began.elapsed() < Duration::from_secs(20) && refused.is_none(),
            "fifty calls do not get through: {refused:?}"
        );
        sleep(Duration::from_millis(200)).await;
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(server.api.get("billing/balance").await["held_micros"], 50 * 150_000);
    server.kill().await;
    callers.abort();
    server.restart().await;
    let calls = all_ended(&server, 50).await;
    assert_eq!(count(&calls, "ended_reason", "node_lost"), 50);
    let charged: i64 = calls.iter().map(|call| call["cost"]["charged_micros"].as_i64().unwrap()).sum();
    // No more than the time that they were up: nobody pays for what nobody can prove.
    assert!(calls.iter().all(|call| call["billed_s"].as_i64() <= Some(25)), "{calls:#?}");
    let balance = server.api.get("billing/balance").await;
    assert_eq!((&balance["available_micros"], &balance["held_micros"]), (&json!(50_000_000 - charged), &json!(0)));
    assert_eq!(balance["open_leases"], 0);
    books_hold(&server).await;
    // Once more: what is settled stays so.
    server.kill().await;
    server.restart().await;
    assert_eq!(server.api.get("billing/balance").await["available_micros"], 50_000_000 - charged);
    books_hold(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_for_thirty_seconds_costs_no_event() {
    ten_calls_through(11, async |server, database| {
        database.stop();
        let away = Instant::now();
        // A new call is refused, as `store.down` says.
        let mut refused = Phone::new(server, "demo", "latecomer").start();
        assert_ne!(refused.wait().await.unwrap().code(), Some(0));
        sleep(Duration::from_secs(30).saturating_sub(away.elapsed())).await;
        database.go_on();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_whose_power_is_cut_costs_no_event() {
    ten_calls_through(10, async |_, database| {
        for _ in 0..3 {
            database.cut_power();
            sleep(Duration::from_secs(2)).await;
            database.go_on();
            sleep(Duration::from_secs(2)).await;
        }
    })
    .await;
}

/// Ten calls of twenty seconds, and what happens to the database meanwhile: they go on and come to their end, and everything is in the
/// records, once.
async fn ten_calls_through(expected: usize, happens: impl AsyncFnOnce(&Sidetone, &Cluster)) {
    enter();
    let database = Cluster::start();
    let url = database.database();
    // Tests are quicker without; but what was committed must be there when the power is back.
    let name = url.rsplit('/').next().unwrap();
    database.sql(&url, &format!("ALTER DATABASE {name} SET synchronous_commit = on"));
    let server = with_postgres(&url, 50_000_000).await;
    let callers = tokio::spawn(Sipp::new(&server, "steady.xml", "demo").at_once(10, Duration::from_secs(15)).run());
    let began = Instant::now();
    while count(&server.api.calls().await, "status", "in_progress") < 10 {
        assert!(began.elapsed() < Duration::from_secs(20) && !callers.is_finished(), "ten calls do not get through");
        sleep(Duration::from_millis(100)).await;
    }
    happens(&server, &database).await;
    callers.await.unwrap();
    let calls = all_ended(&server, expected).await;
    let refused = expected - 10;
    assert_eq!((count(&calls, "status", "completed"), count(&calls, "ended_reason", "no_capacity")), (10, refused));
    for call in calls.iter().filter(|call| call["status"] == "completed") {
        let events = server.api.events(call["id"].as_str().unwrap()).await;
        let numbers: Vec<_> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "events are numbered without holes");
        let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
        let told = ["call.created", "call.answered", "call.dtmf.received", "call.ended", "call.cost.final"].map(count);
        assert_eq!(told, [1, 1, 3, 1, 1], "{events:#?}");
        // It was on the line for twenty seconds, whatever the database knew of it meanwhile.
        assert!((19..=23).contains(&call["billed_s"].as_i64().unwrap()), "{call:#}");
    }
    assert_eq!(server.api.get("billing/balance").await["held_micros"], 0);
    books_hold(&server).await;
}
