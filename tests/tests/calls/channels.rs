//! Calls that leave by a trunk: at once or at their time, handed over by the same trunk, and never more than it carries.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tests::Sidetone;

use crate::company::carrier;

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value:#}"))
}

/// A server whose only trunk leads to a carrier and carries two calls, with legs at $0.30 a minute.
async fn server(carrier: &Sidetone) -> (Sidetone, Value) {
    let server = Sidetone::start().await;
    let plans = server.api.get("rate-plans").await;
    let deck = "item,unit_micros\nvoice_in,0\nvoice_out,0\ntransfer_leg,300000\n";
    server.api.put(&format!("rate-plans/{}/rates", id(&plans["data"][0])), "text/csv", deck).await;
    let gateway = json!({"host": "127.0.0.1", "port": carrier.sip.port(), "cidr": "127.0.0.1/32"});
    let trunk = json!({"name": "Carrier", "gateways": [gateway], "limits": {"max_channels": 2}});
    let trunk = server.api.post("trunks", &trunk).await;
    server.api.post("numbers", &json!({"e164": "+14155550111", "carrier": "none", "trunk_id": trunk["id"]})).await;
    let agent = server.api.post("agents", &json!({"name": "Front desk"})).await;
    (server, agent)
}

/// `2026-11-21T10:00:00Z`, so many seconds from now.
fn in_seconds(seconds: u64) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds;
    let (days, second) = ((at / 86_400) as i64, at % 86_400);
    // Civil from days (Hinnant), for the years of a test.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_takes_a_channel_of_its_trunk_and_is_paid_for() {
    let carrier = carrier().await;
    let (server, agent) = server(&carrier).await;
    let api = &server.api;
    let wanted = json!({"to": "+14155550100", "agent_id": id(&agent)});
    let first = api.post("calls", &wanted).await;
    api.until(id(&first), |call| call["status"] == "in_progress").await;
    let transfer = format!("calls/{}/transfer", id(&first));
    // Without credit nobody is rung up, and the call goes on.
    let order = json!({"to": "+14155550101", "mode": "bridge"});
    assert_eq!(api.refused(Method::POST, &transfer, &order).await, (402, "insufficient_credit".into()));
    let gift = json!({"tenant_id": agent["tenant_id"], "amount_micros": 5_000_000, "kind": "promo", "reason": "test"});
    api.post_once("billing/adjustments", "gift", &gift).await;
    api.post(&transfer, &order).await;
    api.told(id(&first), "call.transfer.bridged").await;
    // Call and leg are two: a third finds no room, and has it when they are gone.
    assert_eq!(api.refused(Method::POST, "calls", &wanted).await, (503, "no_capacity".into()));
    api.post(&format!("calls/{}/end", id(&first)), &json!({})).await;
    let ended = api.until(id(&first), |call| call["cost"]["final"] == true).await;
    let cost = api.get(&format!("calls/{}/cost", id(&first))).await;
    let leg = cost["lines"].as_array().unwrap().iter().find(|line| line["item"] == "transfer_leg").unwrap();
    let seconds = leg["quantity"].as_i64().unwrap();
    assert!(seconds > 0 && leg["amount_micros"] == seconds * 5_000, "{cost:#}");
    assert_eq!(ended["cost"]["charged_micros"], leg["amount_micros"]);
    let next = api.post("calls", &wanted).await;
    api.post(&format!("calls/{}/end", id(&next)), &json!({})).await;
    api.until(id(&next), |call| call["ended_at"].is_string()).await;
    assert!(server.check_ledger().await.contains("invariants hold"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_for_later_rings_at_its_time_also_after_a_restart() {
    let carrier = carrier().await;
    let (mut server, agent) = server(&carrier).await;
    let at = in_seconds(8);
    let wanted = json!({"to": "+14155550100", "agent_id": id(&agent), "scheduled_at": at});
    let call = server.api.post("calls", &wanted).await;
    let unwanted = server.api.post("calls", &wanted).await;
    assert_eq!((&call["status"], &call["node_id"]), (&json!("pending"), &Value::Null));
    let canceled = server.api.post(&format!("calls/{}/end", id(&unwanted)), &json!({})).await;
    assert_eq!(canceled["status"], "canceled");
    server.kill().await;
    server.restart().await;
    let answered = server.api.until(id(&call), |call| call["status"] == "in_progress").await;
    assert!(answered["initiated_at"].as_str().unwrap() >= at.trim_end_matches('Z'), "{answered:#}");
    server.api.post(&format!("calls/{}/end", id(&call)), &json!({})).await;
    let ended = server.api.until(id(&call), |call| call["ended_at"].is_string()).await;
    assert_eq!(ended["ended_reason"], "api_ended");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.api.get(&format!("calls/{}", id(&unwanted))).await["status"], "canceled");
    assert!(server.check_ledger().await.contains("invariants hold"));
}
