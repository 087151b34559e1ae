//! What crosses on the wire, played by sipp: calls taken back, hung up, changed and passed on at the worst moment have one outcome each.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Sidetone, Sipp, free_port, workspace};

/// Rings long enough to be given up on.
fn slow() -> String {
    agent("[sip]\nanswer_after_ms = 3000\n")
}

/// Hangs up by itself.
fn brief() -> String {
    agent("[limits]\nmax_duration_ms = 10000\n")
}

fn agent(more: &str) -> String {
    format!("name = \"Test\"\n{more}\n[greeting]\ntext = \"Hello.\"\n")
}

/// One scenario, how its call is to end, and with which final answer to the INVITE.
async fn caller(server: &Sidetone, scenario: &str, to: &str, change: impl FnOnce(Sipp) -> Sipp) -> Value {
    change(Sipp::new(server, &format!("{scenario}.xml"), to).calls(1)).run().await;
    server.api.ended(scenario).await
}

fn same(sipp: Sipp) -> Sipp {
    sipp
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_cross_us_have_one_outcome() {
    let server = Sidetone::with(|plan| plan.agent("slow", &slow())).await;
    let ends = async |scenario: &str, to: &str, change: fn(Sipp) -> Sipp, reason: &str| {
        let call = caller(&server, scenario, to, change).await;
        assert_eq!(call["ended_reason"], reason, "{scenario}: {call:#}");
    };
    const GONE: &str = "caller_hung_up";
    tokio::join!(
        ends("cancel-crosses-200", "echo", same, GONE),
        ends("cancel", "slow", same, "canceled"),
        ends("ack-lost", "echo", Sipp::seeing_all, GONE),
        ends("bye-before-ack", "echo", same, GONE),
        ends("merged", "slow", same, GONE),
        ends("prack", "slow", same, GONE),
        ends("session-too-brief", "echo", same, GONE),
        ends("refused", "echo", same, GONE),
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_change_their_call_keep_it() {
    let server = Sidetone::start().await;
    let changes = async |scenario: &str| {
        let call = caller(&server, scenario, "demo", same).await;
        assert_eq!(call["ended_reason"], "caller_hung_up", "{scenario}: {call:#}");
        let events = server.api.events(call["id"].as_str().unwrap_or_default()).await;
        events.iter().filter_map(|event| Some((event["type"].as_str()?.to_owned(), event["data"].clone()))).collect()
    };
    let (held, late, updated, overlap, keys): (Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>) = tokio::join!(
        changes("hold"),
        changes("late-offer"),
        changes("update"),
        changes("reinvite-overlap"),
        changes("info-keys"),
    );
    let count = |events: &[(String, Value)], kind: &str| events.iter().filter(|(known, _)| known == kind).count();
    for (what, events, holds) in
        [("hold", &held, 3), ("update", &updated, 1), ("late", &late, 0), ("overlap", &overlap, 0)]
    {
        assert_eq!(
            (count(events, "call.hold.started"), count(events, "call.hold.ended")),
            (holds, holds),
            "{what}: {events:#?}"
        );
    }
    let digits: String = keys
        .iter()
        .filter(|(kind, data)| kind == "call.dtmf.received" && data["via"] == "info")
        .filter_map(|(_, data)| data["digit"].as_str())
        .collect();
    assert_eq!(digits, "57", "{keys:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_we_call_crosses_us_and_has_one_outcome() {
    let receptionist = std::fs::read_to_string(workspace().join("conf/agents/receptionist.toml")).unwrap();
    let server = Sidetone::with(|plan| plan.agent("announcer", &receptionist)).await;
    // Waits for one call with a scenario, and calls it; `then` says what happens once it is up.
    let calls = async |scenario: &str, wait: Duration, answered: bool| {
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let order = json!({"to": format!("sip:{scenario}@{at}"), "agent_id": "announcer"});
        let steer = async {
            let placed = server.api.post("calls", &order).await;
            let id = placed["id"].as_str().unwrap_or_default().to_owned();
            let wanted = if answered { "in_progress" } else { "ringing" };
            server.api.until(&id, |call| call["status"] == wanted).await;
            tokio::time::sleep(wait).await;
            server.api.post(&format!("calls/{id}/end"), &json!({})).await;
            server.api.until(&id, |call| call["ended_at"].is_string()).await
        };
        let ((), call) = tokio::join!(Sipp::called(&server, at, &format!("{scenario}.xml")).run(), steer);
        let wanted = if answered { "api_ended" } else { "canceled" };
        assert_eq!(call["ended_reason"], wanted, "{scenario}: {call:#}");
    };
    let soon = Duration::from_millis(500);
    tokio::join!(
        calls("forked", soon, true),
        calls("early-media", soon, true),
        calls("answer-crosses-cancel", soon, false),
        calls("session-wanted-longer", soon, true),
        // The refresh is due after half the session of 30 s, and comes again up to 4 s after it met theirs.
        calls("glare", Duration::from_secs(20), true),
    );
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_passed_on_by_refer_both_ways_and_hung_up_by_both_at_once() {
    let server = Sidetone::with(|plan| plan.agent("brief", &brief())).await;
    let there = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let by_them = async {
        let place = there.to_string();
        let refer = Sipp::new(&server, "refer.xml", "demo").calls(1).with("there", &place).run();
        let answer = async {
            Sipp::called(&server, there, "answer.xml").run().await;
        };
        let end = async {
            let id = loop {
                if let Some(call) = server.api.call_from("refer").await {
                    break call["id"].as_str().unwrap_or_default().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            server.api.told(&id, "call.transfer.bridged").await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            server.api.post(&format!("calls/{id}/end"), &json!({})).await;
        };
        tokio::join!(refer, answer, end);
        server.api.ended("refer").await
    };
    let by_us = async {
        let order = async {
            let id = loop {
                if let Some(call) =
                    server.api.call_from("referred").await.filter(|call| call["status"] == "in_progress")
                {
                    break call["id"].as_str().unwrap_or_default().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            let order = json!({"to": "sip:colleague@127.0.0.1:5999", "mode": "refer"});
            server.api.post(&format!("calls/{id}/transfer"), &order).await;
        };
        tokio::join!(Sipp::new(&server, "referred.xml", "demo").calls(1).run(), order);
        server.api.ended("referred").await
    };
    let crossing = caller(&server, "bye-crosses-bye", "brief", same);
    let (theirs, ours, crossed) = tokio::join!(by_them, by_us, crossing);
    assert_eq!(theirs["transfer"]["state"], "completed", "{theirs:#}");
    assert_eq!(
        (&ours["ended_reason"], &ours["transfer"]["state"]),
        (&json!("transferred"), &json!("completed")),
        "{ours:#}"
    );
    assert_eq!(crossed["ended_reason"], "max_duration", "{crossed:#}");
}
