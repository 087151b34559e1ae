//! Calls under way over HTTP: what may be asked of them, by whom, and what of it reaches the node.

use control_api::{Ask, Ended, Entry, LegState, TransferState};
use domain::{CallId, Direction, EndedReason, Status, event::Name};
use serde_json::json;

use crate::{
    db::{Db, on_both},
    fake::{Client, call_id, ended, live, new_call, status},
    invariants,
};

/// A call that is answered and live on the node.
async fn talking(db: &Db, client: &Client) -> CallId {
    let call = call_id();
    db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
    for (step, at) in [(Status::Initiating, 1_000_001), (Status::Ringing, 1_000_002), (Status::InProgress, 1_001_000)] {
        db.journal.write(call, status(step, at));
    }
    db.journal.flush().await;
    let mut known = live(call, db.tenant);
    (known.status, known.activity) = (Status::InProgress, Some("listening"));
    client.board.live.lock().unwrap().push(known);
    call
}

fn asked(client: &Client) -> Vec<String> {
    client.board.asked.lock().unwrap().drain(..).map(|(_, ask)| format!("{ask:?}")).collect()
}

on_both! {
    async fn what_is_asked_reaches_the_call(db) {
        let client = Client::new(&db);
        let call = talking(&db, &client).await;
        assert_eq!(client.get(&format!("/api/v1/calls/{call}")).await.json()["activity"], "listening");
        let say = client.post(&format!("/api/v1/calls/{call}/say"), json!({"text": "One moment."})).await;
        assert_eq!(say.status, 202, "{}", say.text());
        let id = say.json()["say_id"].as_str().unwrap().to_owned();
        for (path, body, status) in [
            ("say", json!({"text": "Stop!", "when": "now", "interruptible": false}), 202),
            ("dtmf", json!({"digits": "12w#", "via": "inband", "tone_ms": 200}), 202),
            ("hold", json!({"on": true}), 200),
            ("hold", json!({"on": false, "music": false}), 200),
            ("mute", json!({"who": "caller", "on": true}), 200),
        ] {
            let answer = client.post(&format!("/api/v1/calls/{call}/{path}"), body).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
        }
        let asked = asked(&client);
        assert_eq!(asked[0], format!("Say {{ id: {id:?}, text: \"One moment.\", now: false, interruptible: true }}"));
        assert!(asked[1].ends_with("text: \"Stop!\", now: true, interruptible: false }"), "{}", asked[1]);
        assert_eq!(asked[2..], [
            "Press { digits: \"12w#\", tone_ms: 200, gap_ms: 60, via: InBand }",
            "Hold { on: true, music: true }", "Hold { on: false, music: false }", "Mute { who: Caller, on: true }",
        ]);
        let note = client.post(&format!("/api/v1/calls/{call}/instruct"), json!({"text": "Be brief.", "respond": true})).await;
        assert_eq!((note.error().0, note.error().1.as_str()), (409, "no_model"));
        let last = client.post(&format!("/api/v1/calls/{call}/end"), json!({"reason": "done", "say": "Goodbye."})).await.json();
        assert_eq!((&last["status"], &last["ended_reason"]), (&json!("completed"), &json!("api_ended")));
        assert!(matches!(&client.board.asked.lock().unwrap().last().unwrap().1, Ask::End { say: Some(say), .. } if say == "Goodbye."));
        invariants::hold(&db).await;
    }

    async fn what_cannot_be_asked_is_named(db) {
        let client = Client::new(&db);
        let call = talking(&db, &client).await;
        for (path, body, code, field) in [
            ("say", json!({}), "validation_failed", "text"),
            ("say", json!({"text": " "}), "validation_failed", "text"),
            ("say", json!({"text": "x".repeat(1001)}), "validation_failed", "text"),
            ("say", json!({"text": "x", "when": "later"}), "validation_failed", "when"),
            ("say", json!({"text": "x", "loud": true}), "unknown_field", "loud"),
            ("instruct", json!({"text": "x".repeat(4001)}), "validation_failed", "text"),
            ("dtmf", json!({"digits": ""}), "validation_failed", "digits"),
            ("dtmf", json!({"digits": "1".repeat(65)}), "validation_failed", "digits"),
            ("dtmf", json!({"digits": "12x"}), "validation_failed", "digits"),
            ("dtmf", json!({"digits": "1", "tone_ms": 39}), "validation_failed", "tone_ms"),
            ("dtmf", json!({"digits": "1", "gap_ms": 1001}), "validation_failed", "gap_ms"),
            ("dtmf", json!({"digits": "1", "via": "pigeon"}), "validation_failed", "via"),
            ("hold", json!({}), "validation_failed", "on"),
            ("mute", json!({"who": "everybody", "on": true}), "validation_failed", "who"),
            ("end", json!({"say": "x".repeat(501)}), "validation_failed", "say"),
        ] {
            let answer = client.post(&format!("/api/v1/calls/{call}/{path}"), body.clone()).await;
            assert_eq!(answer.error(), (400, code.into(), Some(field.into())), "{path} {body}");
        }
        assert!(asked(&client).is_empty());
    }

    async fn calls_that_are_over_elsewhere_or_somebody_elses_cannot_be_asked(db) {
        let client = Client::new(&db);
        let over = talking(&db, &client).await;
        client.board.live.lock().unwrap().clear();
        db.journal.write(over, ended(EndedReason::CallerHungUp, 1_002_000));
        let elsewhere = call_id();
        db.journal.write(elsewhere, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        db.journal.flush().await;
        let bodies = [
            ("say", json!({"text": "x"})), ("instruct", json!({"text": "x"})), ("dtmf", json!({"digits": "1"})),
            ("hold", json!({"on": true})), ("mute", json!({"who": "agent", "on": true})),
        ];
        for (path, body) in bodies {
            for (call, expected) in [(over, (409, "call_not_active")), (elsewhere, (409, "call_not_active")), (call_id(), (404, "not_found"))] {
                let answer = client.post(&format!("/api/v1/calls/{call}/{path}"), body.clone()).await;
                assert_eq!((answer.error().0, answer.error().1.as_str()), expected, "{path}");
            }
        }
        assert_eq!(client.post(&format!("/api/v1/calls/{over}/end"), json!({})).await.status, 200);
    }
}

on_both! {
    async fn a_transfer_is_asked_for_by_name_or_in_full(db) {
        let client = Client::new(&db);
        let call = talking(&db, &client).await;
        let path = format!("/api/v1/calls/{call}/transfer");
        let begun = client.post(&path, json!({"destination": "sales"})).await;
        assert_eq!(begun.status, 202, "{}", begun.text());
        assert!(begun.json()["transfer_id"].is_string());
        let full = json!({"to": "+12125550100", "mode": "warm", "caller_id": "caller", "ring_timeout_ms": 20_000, "on_fail": "hang_up"});
        assert_eq!(client.post(&path, full).await.status, 202);
        assert_eq!(client.delete(&path).await.status, 200);
        let asked = asked(&client);
        assert!(asked[0].contains("to: Named(\"sales\")"), "{}", asked[0]);
        assert!(asked[1].contains("mode: Warm, brief: Some(Summary), shows_caller: true, ring_timeout_ms: 20000, on_fail: HangUp"), "{}", asked[1]);
        assert_eq!(asked[2], "TakeBack");
        for (body, field) in [
            (json!({}), "destination"),
            (json!({"destination": "sales", "mode": "warm"}), "destination"),
            (json!({"destination": "sales", "to": "+12125550100"}), "destination"),
            (json!({"to": "sales"}), "to"),
            (json!({"to": "+12125550100", "mode": "blind"}), "mode"),
            (json!({"to": "+12125550100", "ring_timeout_ms": 1}), "ring_timeout_ms"),
            (json!({"to": "+12125550100", "brief": "x".repeat(1001)}), "brief"),
            (json!({"to": "+12125550100", "brief": "a", "whisper": "b"}), "whisper"),
            (json!({"to": "+12125550100", "mode": "refer", "brief": "summary"}), "brief"),
            (json!({"to": "+12125550100", "on_fail": "cry"}), "on_fail"),
        ] {
            let answer = client.post(&path, body.clone()).await;
            assert_eq!(answer.error(), (400, "validation_failed".into(), Some(field.into())), "{body}");
        }
        let stranger = client.post(&format!("/api/v1/calls/{}/transfer", call_id()), json!({"destination": "sales"})).await;
        assert_eq!(stranger.error().0, 404);
    }

    async fn a_call_shows_its_transfer_and_keeps_the_leg(db) {
        let client = Client::new(&db);
        let call = talking(&db, &client).await;
        let data = json!({"transfer_id": "t1", "destination": "sales", "to": "+12125550100", "mode": "bridge"});
        let step = |name| Entry::Transfer(Box::new(TransferState { name, data: data.as_object().unwrap().clone() }));
        let mut leg = LegState {
            id: "0193481e-7a10-7000-8000-00000000aaaa".into(), role: "transfer", address: "+12125550100".to_owned().into(), trunk: None, codec: None,
            started_at_ms: 1_002_000, answered_at_ms: None, ended_at_ms: None, sip_status: None, media: None,
        };
        db.journal.write(call, step(Name::TransferStarted));
        db.journal.write(call, Entry::Leg(Box::new(leg.clone())));
        (leg.answered_at_ms, leg.codec) = (Some(1_005_000), Some("pcma"));
        db.journal.write(call, Entry::Leg(Box::new(leg.clone())));
        db.journal.write(call, step(Name::TransferBridged));
        db.journal.flush().await;
        let shown = client.get(&format!("/api/v1/calls/{call}")).await.json();
        assert_eq!((&shown["transfer"]["state"], &shown["transfer"]["to"]), (&json!("bridged"), &json!("+12125550100")));
        (leg.ended_at_ms, leg.media) = (Some(1_065_000), Some(json!({"mos": 4.1})));
        db.journal.write(call, Entry::Leg(Box::new(leg)));
        let media = json!({"codec": "pcmu", "mos": 4.3});
        let over = Ended { reason: EndedReason::Transferred, at_ms: 1_065_000, sip_status: None, media: Some(media), degraded: false, silent_ms: 0 };
        db.journal.write(call, Entry::Ended(Box::new(over)));
        db.journal.flush().await;
        let shown = client.get(&format!("/api/v1/calls/{call}")).await.json();
        assert_eq!((&shown["ended_reason"], &shown["media"]["codec"]), (&json!("transferred"), &json!("pcmu")));
        assert_eq!(db.number("SELECT COUNT(*) FROM call_legs WHERE role = 'transfer' AND answered_at = 1005000 AND ended_at = 1065000").await, 1);
        let types: Vec<String> = client.get(&format!("/api/v1/calls/{call}/events?types=call.transfer.*")).await.json()["data"]
            .as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
        assert_eq!(types, ["call.transfer.started", "call.transfer.bridged"]);
        invariants::hold(&db).await;
    }
}
