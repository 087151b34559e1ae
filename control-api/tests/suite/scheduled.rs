//! Calls that are placed later: kept, canceled, judged again, placed once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use control_api::{Background, BackgroundSettings, Clock, DialRefused, now_ms};
use domain::AgentId;
use serde_json::{Value, json};

use crate::{
    db::{Db, on_both},
    fake::{Client, node_info},
    invariants,
    routing::rows::{number, trunk},
};

const HOUR: i64 = 3_600_000;

/// A node that places calls, by a clock that can be set.
async fn node(db: &Db, client: &Client, clock: &Arc<AtomicI64>) -> Background {
    let time = Arc::clone(clock);
    let settings = BackgroundSettings {
        node: "n1".into(),
        clock: Clock::new(move || time.load(Ordering::SeqCst)),
        ..BackgroundSettings::default()
    };
    let mut background = Background::start(&db.store, settings).await.unwrap();
    background.place_calls(client.board.clone(), &node_info("n1"));
    background
}

fn clock() -> Arc<AtomicI64> {
    Arc::new(AtomicI64::new(now_ms()))
}

fn time(ms: i64) -> String {
    let ms = jiff::Timestamp::from_millisecond(ms).unwrap();
    format!("{ms:.3}")
}

/// A call to a phone on this machine, an hour from now.
fn later() -> Value {
    json!({"to": "sip:bob@127.0.0.1:5090", "agent_id": "receptionist", "scheduled_at": time(now_ms() + HOUR)})
}

async fn ask(client: &Client, body: Value) -> String {
    let answer = client.post("/api/v1/calls", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn read(client: &Client, call: &str) -> Value {
    client.get(&format!("/api/v1/calls/{call}")).await.json()
}

/// Waits until a call has ended, and tells how.
async fn outcome(client: &Client, call: &str) -> (String, String) {
    for _ in 0..400 {
        let call = read(client, call).await;
        if let Some(reason) = call["ended_reason"].as_str() {
            return (call["status"].as_str().unwrap().to_owned(), reason.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{}", read(client, call).await);
}

on_both! {
    async fn a_call_for_later_waits_across_a_restart_and_is_placed_once_at_its_time(db) {
        let client = Client::new(&db);
        let clock = clock();
        let first = node(&db, &client, &clock).await;
        let call = ask(&client, json!({"to": "sip:bob@127.0.0.1:5090", "agent_id": "receptionist",
            "scheduled_at": time(now_ms() + HOUR), "metadata": {"order": "12"}, "ring_timeout_ms": 9000})).await;
        let waiting = read(&client, &call).await;
        assert_eq!((&waiting["status"], &waiting["node_id"]), (&json!("pending"), &Value::Null));
        assert!(waiting["scheduled_at"].as_str().unwrap() > waiting["created_at"].as_str().unwrap());
        let listed = client.get("/api/v1/calls?status=pending").await.json();
        assert_eq!(listed["data"][0]["id"], call.as_str());
        assert_eq!(client.get("/api/v1/calls/active").await.json()["data"], json!([]));
        first.stop(Duration::from_secs(5)).await;
        assert!(client.board.dialled.lock().unwrap().is_empty());
        invariants::hold(&db).await;

        clock.fetch_add(HOUR + 1_000, Ordering::SeqCst);
        let (_one, _other) = (node(&db, &client, &clock).await, node(&db, &client, &clock).await);
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'call.place' AND state = 'done'", 1).await;
        db.journal.flush().await;
        let dialled = client.board.dialled.lock().unwrap().clone();
        assert_eq!((dialled.len(), dialled[0].call.to_string(), dialled[0].ring_timeout_ms), (1, call.clone(), Some(9000)));
        let placed = read(&client, &call).await;
        assert_eq!((&placed["status"], &placed["node_id"], &placed["created_at"]), (&json!("initiating"), &json!("n1"), &waiting["created_at"]));
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'call.created'").await, 1);
        assert_eq!(db.number("SELECT COUNT(*) FROM call_legs").await, 1);
        let ended = client.post(&format!("/api/v1/calls/{call}/end"), json!({})).await;
        assert_eq!(ended.json()["ended_reason"], "canceled");
        invariants::hold(&db).await;
    }

    async fn a_call_is_canceled_before_its_time_and_then_never_placed(db) {
        let client = Client::new(&db);
        let (by_end, by_delete, second) = (ask(&client, later()).await, ask(&client, later()).await, ask(&client, later()).await);
        let path = format!("/api/v1/calls/{by_end}/end");
        let canceled = client.post(&path, json!({})).await.json();
        assert_eq!((&canceled["status"], &canceled["ended_reason"]), (&json!("canceled"), &json!("canceled")));
        assert_eq!(client.post(&path, json!({})).await.json()["version"], canceled["version"]);
        assert_eq!(client.delete(&format!("/api/v1/calls/{by_delete}")).await.status, 204);
        assert_eq!(client.get(&format!("/api/v1/calls/{by_delete}")).await.status, 404);
        let clock = clock();
        clock.fetch_add(HOUR + 1_000, Ordering::SeqCst);
        let _node = node(&db, &client, &clock).await;
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'call.place' AND state = 'done'", 3).await;
        let dialled: Vec<_> = client.board.dialled.lock().unwrap().iter().map(|request| request.call.to_string()).collect();
        assert_eq!(dialled, [second]);
        db.journal.flush().await;
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'call.ended'").await, 2);
        invariants::hold(&db).await;
    }

    async fn a_time_that_is_past_too_far_or_none_is_refused_also_in_a_list(db) {
        let client = Client::new(&db);
        for wrong in [time(now_ms() - 1_000), time(now_ms() + 31 * 24 * HOUR), "tomorrow".into(), String::new()] {
            let mut body = later();
            body["scheduled_at"] = json!(wrong);
            let (status, _, field) = client.post("/api/v1/calls", body).await.error();
            assert_eq!((status, field.as_deref()), (400, Some("scheduled_at")), "{wrong}");
        }
        let list = json!({"calls": [{"to": "sip:bob@127.0.0.1:5090"}, {"to": "sip:bob@169.254.169.254"}, {"to": "sip:eve@127.0.0.1", "scheduled_at": "never"}],
            "defaults": {"agent_id": "receptionist", "scheduled_at": time(now_ms() + HOUR)}});
        let answer = client.post("/api/v1/calls", list).await.json();
        assert_eq!(answer["data"][0]["call"]["status"], "pending");
        assert_eq!(answer["data"][1]["error"]["code"], "forbidden_destination");
        assert_eq!(answer["data"][2]["error"]["field"], "scheduled_at");
        assert_eq!(db.number("SELECT COUNT(*) FROM calls").await, 1);
        invariants::hold(&db).await;
    }

    async fn what_was_allowed_at_the_request_is_judged_again_at_the_call(db) {
        let client = Client::new(&db);
        trunk(&db, None, json!({"name": "carrier", "gateways": [{"host": "198.51.100.7"}]})).await;
        let own = number(&db, db.tenant, "+12125550123", None, None, json!({})).await;
        let call = |to: &str| json!({"to": to, "from": "+12125550123", "agent_id": "receptionist", "scheduled_at": time(now_ms() + HOUR)});
        let unwanted = ask(&client, call("+12125550100")).await;
        let foreign = client.post("/api/v1/calls", json!({"to": "+12125550100", "from": "+12125550199", "agent_id": "receptionist", "scheduled_at": time(now_ms() + HOUR)})).await;
        assert_eq!(foreign.error().1, "caller_id_not_owned");
        db.run("INSERT INTO do_not_call (tenant_id, e164, reason, created_at) SELECT id, '+12125550100', 'asked', 1 FROM tenants WHERE slug = 'default'").await;
        assert_eq!(client.post("/api/v1/calls", call("+12125550100")).await.error().1, "forbidden_destination");
        let clock = clock();
        clock.fetch_add(HOUR + 1_000, Ordering::SeqCst);
        let running = node(&db, &client, &clock).await;
        assert_eq!(outcome(&client, &unwanted).await, ("failed".into(), "do_not_call".into()));
        running.stop(Duration::from_secs(5)).await;
        // The number that was to be shown is given back in between: waiting calls do not keep it.
        let orphaned = ask(&client, call("+12125550101")).await;
        assert_eq!(client.delete(&format!("/api/v1/numbers/{own}")).await.status, 202);
        clock.fetch_add(60_000, Ordering::SeqCst);
        let running = node(&db, &client, &clock).await;
        assert_eq!(outcome(&client, &orphaned).await, ("failed".into(), "forbidden_destination".into()));
        running.stop(Duration::from_secs(5)).await;
        let poor = ask(&client, later()).await;
        *client.board.refuses.lock().unwrap() = Some(DialRefused::NoCredit);
        clock.fetch_add(60_000, Ordering::SeqCst);
        let _node = node(&db, &client, &clock).await;
        assert_eq!(outcome(&client, &poor).await, ("failed".into(), "insufficient_credit".into()));
        assert!(client.board.dialled.lock().unwrap().is_empty());
        invariants::hold(&db).await;
    }

    async fn a_node_that_drains_leaves_calls_to_others_and_who_is_full_tries_again(db) {
        let (leaving, staying) = (Client::new(&db), Client::new(&db));
        leaving.board.draining.store(true, Ordering::SeqCst);
        let call = ask(&leaving, later()).await;
        let clock = clock();
        clock.fetch_add(HOUR + 1_000, Ordering::SeqCst);
        let _one = node(&db, &leaving, &clock).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'call.place' AND attempts = 0").await, 1);
        *staying.board.refuses.lock().unwrap() = Some(DialRefused::Concurrency);
        let _other = node(&db, &staying, &clock).await;
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'call.place' AND state = 'queued' AND attempts = 1", 1).await;
        assert_eq!(read(&staying, &call).await["node_id"], Value::Null);
        *staying.board.refuses.lock().unwrap() = None;
        clock.fetch_add(10_000, Ordering::SeqCst);
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'call.place' AND state = 'done'", 1).await;
        assert_eq!((leaving.board.dialled.lock().unwrap().len(), staying.board.dialled.lock().unwrap().len()), (0, 1));
        db.journal.flush().await;
        invariants::hold(&db).await;
    }

    async fn the_calls_of_a_tenant_that_ends_are_canceled_with_it(db) {
        let client = Client::new(&db);
        let call = ask(&client, later()).await;
        db.run("UPDATE tenants SET slug = 'clinic'").await;
        let ended = client.delete(&format!("/api/v1/tenants/{}", db.tenant)).await;
        assert_eq!(ended.status, 202, "a call that waits is none that is up: {}", ended.text());
        assert_eq!(db.number("SELECT COUNT(*) FROM calls WHERE status = 'canceled' AND ended_reason = 'canceled'").await, 1);
        let clock = clock();
        clock.fetch_add(HOUR + 1_000, Ordering::SeqCst);
        let _node = node(&db, &client, &clock).await;
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'call.place' AND state = 'done'", 1).await;
        assert!(client.board.dialled.lock().unwrap().is_empty(), "{call}");
        invariants::hold(&db).await;
    }

    async fn a_call_whose_time_went_by_while_nobody_was_there_is_not_placed(db) {
        let client = Client::new(&db);
        let call = ask(&client, later()).await;
        let clock = clock();
        clock.fetch_add(2 * HOUR, Ordering::SeqCst);
        let _node = node(&db, &client, &clock).await;
        assert_eq!(outcome(&client, &call).await, ("canceled".into(), "schedule_expired".into()));
        assert!(client.board.dialled.lock().unwrap().is_empty());
        invariants::hold(&db).await;
    }

    async fn the_agent_speaks_as_it_is_at_the_call_unless_a_version_was_named(db) {
        let client = Client::new(&db);
        let agent = client.post("/api/v1/agents", json!({"name": "Desk", "prompt": {"system": "Be kind."}})).await.json();
        let id: AgentId = agent["id"].as_str().unwrap().parse().unwrap();
        let other = client.post("/api/v1/agents", json!({"name": "Other"})).await.json();
        let call = |agent: &Value, version: Value| json!({"to": "sip:bob@127.0.0.1:5090", "agent_id": agent["id"], "agent_version": version, "scheduled_at": time(now_ms() + HOUR)});
        let (latest, first, nobody) = (ask(&client, call(&agent, json!("latest"))).await, ask(&client, call(&agent, json!(1))).await, ask(&client, call(&other, json!(1))).await);
        assert_eq!(client.patch(&format!("/api/v1/agents/{id}"), json!({"prompt": {"system": "Be brief."}})).await.status, 200);
        assert_eq!(client.delete(&format!("/api/v1/agents/{}", other["id"].as_str().unwrap())).await.status, 204);
        let clock = clock();
        clock.fetch_add(HOUR + 1_000, Ordering::SeqCst);
        let _node = node(&db, &client, &clock).await;
        assert_eq!(outcome(&client, &nobody).await, ("failed".into(), "no_agent".into()));
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'call.place' AND state = 'done'", 3).await;
        let dialled = client.board.dialled.lock().unwrap().clone();
        let of = |call: &str| dialled.iter().find(|request| request.call.to_string() == call).unwrap();
        assert_eq!((of(&latest).agent_version, of(&latest).agent.prompt.system.as_str()), (Some(2), "Be brief."));
        assert_eq!((of(&first).agent_version, of(&first).agent.prompt.system.as_str()), (Some(1), "Be kind."));
        db.journal.flush().await;
        invariants::hold(&db).await;
    }
}
