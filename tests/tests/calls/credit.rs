//! Calls cost money: no credit, no call; a ceiling ends the call at the second that it pays for; and the books balance afterwards.

use serde_json::json;
use tests::{Phone, Sidetone, workspace};

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
    let said = server.check_ledger().await;
    // An installation has no owner before somebody signs up (T2).
    let broken: Vec<_> =
        said.lines().filter(|line| !line.starts_with("T2 ") && !line.contains("invariants hold")).collect();
    assert!(!said.is_empty() && broken.is_empty(), "{said}");
}
