//! Calls over HTTP: lists, one call and what belongs to it, placing and ending.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use control_api::Entry;
use domain::{Direction, EndedReason};
use serde_json::{Value, json};

use crate::{
    db::on_both,
    fake::{Client, call_id, conversation, ended, live, new_call},
    invariants,
};

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|call| call["id"].as_str().unwrap().to_owned()).collect()
}

on_both! {
    async fn a_call_reads_as_the_contract_has_it(db) {
        let call = conversation(&db.journal, db.tenant, 1_795_221_552_123);
        db.journal.flush().await;
        let client = Client::new(&db);
        let body = client.get(&format!("/api/v1/calls/{call}")).await.json();
        for (field, value) in [
            ("id", json!(call)), ("tenant_id", json!(db.tenant)), ("livemode", json!(true)), ("channel", json!("sip")),
            ("direction", json!("inbound")), ("status", json!("completed")), ("ended_reason", json!("caller_hung_up")),
            ("sip_status", json!(200)), ("from", json!({"address": "+12125550123"})),
            ("created_at", json!("2026-11-21T00:39:12.123Z")), ("answered_at", json!("2026-11-21T00:39:13.123Z")),
            ("ended_at", json!("2026-11-21T00:40:13.123Z")), ("duration_ms", json!(60_000)), ("ring_ms", json!(996)),
            ("turns", json!(3)), ("latency", json!({"voice_to_voice": {"p50": 840}})), ("recording", Value::Null),
            ("agent", json!({"id": null, "name": "Front desk", "version": null, "mode": "pipeline"})),
        ] {
            assert_eq!(body[field], value, "{field}");
        }
    }

    async fn a_caller_shows_what_his_signature_said(db) {
        let client = Client::new(&db);
        for verified in ["A", "B", "C", "failed", "none"] {
            let (call, mut new) = (call_id(), new_call(db.tenant, Direction::Inbound, 1_000_000));
            new.verified = Some(verified);
            db.journal.write(call, Entry::Created(Box::new(new)));
            db.journal.flush().await;
            let from = client.get(&format!("/api/v1/calls/{call}")).await.json()["from"].clone();
            assert_eq!(from, json!({"address": "+12125550123", "verified": verified}));
        }
    }

    async fn the_transcript_holds_what_was_heard(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        let client = Client::new(&db);
        let path = format!("/api/v1/calls/{call}/transcript");
        let body = client.get(&path).await.json();
        let turns: Vec<_> = body["turns"].as_array().unwrap().iter()
            .map(|turn| (turn["n"].as_i64().unwrap(), turn["speaker"].as_str().unwrap(), turn["heard_text"].as_str().unwrap(), turn["interrupted"] == true))
            .collect();
        assert_eq!(turns, [
            (1, "agent", "Hillside clinic, how can I help?", false),
            (2, "caller", "Friday at three", false),
            (3, "agent", "You are booked for Fri", true),
        ]);
        assert_eq!(body["turns"][2]["text"], "You are booked for Friday at three.");
        assert_eq!(body["turns"][2]["latency"]["own_overhead_ms"], 12);
        let text = client.get(&format!("{path}?format=text")).await;
        assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
        assert!(text.text().ends_with("[00:00:04.000] Agent: You are booked for Fri…\n"), "{}", text.text());
        assert!(client.get_with(&path, "accept", "text/vtt").await.text().starts_with("WEBVTT\n\n00:00:00.100 --> "));
        assert!(client.get(&format!("{path}?format=srt")).await.text().starts_with("1\n00:00:00,100 --> "));
        assert_eq!(client.get(&format!("{path}?format=pdf")).await.error().2.as_deref(), Some("format"));
    }

    async fn events_are_numbered_filtered_and_paged(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        let client = Client::new(&db);
        let path = format!("/api/v1/calls/{call}/events");
        let all = client.get(&path).await.json();
        let seqs: Vec<_> = all["data"].as_array().unwrap().iter().map(|event| event["seq"].as_i64().unwrap()).collect();
        assert_eq!(seqs, (1..=8).collect::<Vec<_>>());
        assert_eq!(all["data"][0]["data"]["status"], "pending");
        assert_eq!(all["data"][7]["data"]["status"], "completed");
        assert_eq!(all["data"][7]["data"]["duration_ms"], 60_000);
        assert_eq!(all["data"][6]["data"]["heard_text"], "You are booked for Fri");
        let turns = client.get(&format!("{path}?types=call.turn.*&limit=2")).await.json();
        assert_eq!((turns["data"].as_array().unwrap().len(), turns["next_after_seq"].as_i64()), (2, Some(6)));
        let rest = client.get(&format!("{path}?types=call.turn.*&limit=2&after_seq=6")).await.json();
        assert_eq!((rest["data"].as_array().unwrap().len(), rest["next_after_seq"].as_i64()), (1, None));
    }

    async fn latency_is_summed_up_by_stage(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        let body = Client::new(&db).get(&format!("/api/v1/calls/{call}/latency")).await.json();
        assert_eq!(body["turns"][0]["n"], 3);
        assert_eq!(body["summary"]["voice_to_voice"], json!({"p50": 840, "p90": 840, "p95": 840, "p99": 840, "max": 840, "n": 1}));
    }

    async fn row_11_paging_shows_each_call_once_while_new_ones_arrive(db) {
        let client = Client::new(&db);
        let old: BTreeSet<String> = (0..1000)
            .map(|n| {
                let call = call_id();
                // Many share a millisecond: the id decides.
                db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000 + n / 300))));
                call.to_string()
            })
            .collect();
        db.journal.flush().await;
        for order in ["desc", "asc"] {
            let mut seen = Vec::new();
            let mut next = format!("/api/v1/calls?limit=50&created_before=1970-01-01T00:20:00Z&order={order}");
            loop {
                let page = client.get(&next).await.json();
                seen.extend(ids(&page));
                db.journal.write(call_id(), Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 2_000_000))));
                db.journal.flush().await;
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                next = format!("/api/v1/calls?limit=50&created_before=1970-01-01T00:20:00Z&order={order}&cursor={cursor}");
            }
            assert_eq!(seen.len(), 1000, "{order}");
            assert_eq!(seen.iter().cloned().collect::<BTreeSet<_>>(), old, "{order}");
        }
    }

    async fn row_12_page_parameters_out_of_range_are_named(db) {
        for _ in 0..3 {
            conversation(&db.journal, db.tenant, 1_000_000);
        }
        db.journal.flush().await;
        let client = Client::new(&db);
        for (query, field) in [
            ("limit=0", "limit"), ("limit=9999", "limit"), ("limit=x", "limit"), ("order=up", "order"),
            ("status=done", "status"), ("created_after=yesterday", "created_after"), ("cursor=AAAA", "cursor"),
        ] {
            let (status, _, named) = client.get(&format!("/api/v1/calls?{query}")).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(field)), "{query}");
        }
        let cursor = client.get("/api/v1/calls?limit=1").await.json()["next_cursor"].as_str().unwrap().to_owned();
        assert_eq!(client.get(&format!("/api/v1/calls?limit=2&cursor={cursor}")).await.status, 200);
        let foreign = client.get(&format!("/api/v1/calls?status=failed&cursor={cursor}")).await;
        assert_eq!(foreign.error(), (400, "invalid_cursor".into(), Some("cursor".into())));
    }

    async fn filters_narrow_the_list(db) {
        let done = conversation(&db.journal, db.tenant, 1_000_000);
        let busy = call_id();
        db.journal.write(busy, Entry::Created(Box::new(new_call(db.tenant, Direction::Outbound, 2_000_000))));
        db.journal.write(busy, crate::fake::status(domain::Status::Initiating, 2_000_001));
        db.journal.write(busy, ended(EndedReason::Busy, 2_000_002));
        db.journal.flush().await;
        let client = Client::new(&db);
        for (query, expected) in [
            ("", vec![busy, done]), ("order=asc", vec![done, busy]), ("status=busy", vec![busy]), ("direction=inbound", vec![done]),
            ("ended_reason=caller_hung_up", vec![done]), ("created_after=1970-01-01T00:30:00Z", vec![busy]),
            ("created_before=1970-01-01T00:33:20.000Z", vec![done]), ("created_after=1970-01-01T00:33:20%2B00:00", vec![busy]),
            ("from=%2B12125550123&status=completed", vec![done]), ("to=nobody", vec![]),
        ] {
            let page = client.get(&format!("/api/v1/calls?{query}")).await.json();
            assert_eq!(ids(&page), expected.iter().map(ToString::to_string).collect::<Vec<_>>(), "{query}");
        }
    }

    async fn active_calls_come_from_the_node_and_only_ones_own(db) {
        let client = Client::new(&db);
        let (ours, theirs) = (call_id(), call_id());
        client.board.live.lock().unwrap().push(live(ours, db.tenant));
        client.board.live.lock().unwrap().push(live(theirs, uuid::Uuid::nil().into()));
        let page = client.get("/api/v1/calls/active").await.json();
        assert_eq!(ids(&page), [ours.to_string()]);
        assert_eq!((&page["data"][0]["status"], &page["data"][0]["from"]["verified"]), (&"initiating".into(), &"B".into()));
    }

    async fn a_call_is_placed_and_answered_with_201_pending(db) {
        let client = Client::new(&db);
        let body = json!({"to": "sip:bob@127.0.0.1:5080", "agent_id": "receptionist", "variables": {"company": "Acme", "n": 3}, "metadata": {"order": "1"}});
        let answer = client.post("/api/v1/calls", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let call = answer.json();
        assert_eq!((&call["status"], &call["direction"], &call["initiated_at"]), (&json!("pending"), &json!("outbound"), &Value::Null));
        assert_eq!(call["variables"]["company"], "Acme");
        assert_eq!(answer.header("location"), format!("/api/v1/calls/{}", call["id"].as_str().unwrap()));
        assert_eq!(client.get(answer.header("location")).await.json()["status"], "initiating");
        assert_eq!(client.board.dialled.lock().unwrap()[0].to.expose(), "sip:bob@127.0.0.1:5080");
        let inline = client.post("/api/v1/calls", json!({"to": "+12125550123", "agent": {"name": "x"}})).await;
        assert_eq!(inline.status, 201);
    }

    async fn several_calls_are_placed_or_refused_each_by_itself(db) {
        let client = Client::new(&db);
        let answer = client.post("/api/v1/calls", json!({
            "defaults": {"agent_id": "receptionist", "metadata": {"batch": "1"}},
            "calls": [{"to": "sip:a@127.0.0.1"}, {"to": "tel"}, {"to": "sip:b@127.0.0.1", "agent_id": "nobody"}, {"to": "sip:c@127.0.0.1", "colour": 1}],
        })).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let data = answer.json()["data"].as_array().unwrap().clone();
        assert_eq!((&data[0]["index"], &data[0]["call"]["status"]), (&json!(0), &json!("pending")));
        let errors: Vec<_> = data[1..].iter().map(|one| (one["error"]["code"].as_str().unwrap(), one["error"]["field"].as_str().unwrap())).collect();
        assert_eq!(errors, [("validation_failed", "to"), ("not_found", "agent_id"), ("unknown_field", "colour")]);
        assert_eq!(client.board.dialled.lock().unwrap().len(), 1);
        for body in [json!({"calls": []}), json!({"calls": vec![json!({}); 101]})] {
            assert_eq!(client.post("/api/v1/calls", body).await.error(), (400, "validation_failed".into(), Some("calls".into())));
        }
        assert_eq!(client.post("/api/v1/calls", json!({"calls": [{}], "more": 1})).await.error().1, "unknown_field");
    }

    async fn a_call_that_cannot_be_placed_says_why(db) {
        let client = Client::new(&db);
        for (body, expected) in [
            (json!({"to": "sip:a@b", "agent_id": "nobody"}), (404, "not_found", Some("agent_id"))),
            (json!({"to": "tel", "agent_id": "receptionist"}), (400, "validation_failed", Some("to"))),
            (json!({"to": "sip:a@b\r\nX: y", "agent_id": "receptionist"}), (400, "validation_failed", Some("to"))),
            (json!({"to": "sip:a@b"}), (400, "validation_failed", Some("agent_id"))),
            (json!({"to": "sip:a@b", "agent_id": "receptionist", "agent": {"name": "x"}}), (400, "validation_failed", Some("agent_id"))),
            (json!({"to": "sip:a@b", "agent": {"name": "x", "promt": {}}}), (400, "unknown_field", Some("agent.promt"))),
            (json!({"to": "sip:a@b", "agent": {"name": ""}}), (400, "validation_failed", Some("agent.name"))),
            (json!({"to": "sip:a@b", "agent_id": "receptionist", "ring_timeout_ms": 1}), (400, "validation_failed", Some("ring_timeout_ms"))),
            (json!({"to": "sip:a@b", "agent_id": "receptionist", "variables": {"a": []}}), (400, "validation_failed", Some("variables"))),
            (json!({"to": "sip:a@b", "agent_id": "receptionist", "metadata": {"a": 1}}), (400, "validation_failed", Some("metadata"))),
        ] {
            let (status, code, field) = client.post("/api/v1/calls", body.clone()).await.error();
            assert_eq!((status, code.as_str(), field.as_deref()), expected, "{body}");
        }
        client.board.draining.store(true, Ordering::Relaxed);
        let refused = client.post("/api/v1/calls", json!({"to": "sip:a@b", "agent_id": "receptionist"})).await;
        assert_eq!((refused.error().0, refused.error().1.as_str(), refused.header("retry-after")), (503, "draining", "30"));
        assert!(client.board.dialled.lock().unwrap().is_empty());
        assert_eq!(client.get("/api/v1/calls").await.json()["data"], json!([]));
    }

    async fn ending_twice_is_the_same_as_once(db) {
        let client = Client::new(&db);
        let call = client.post("/api/v1/calls", json!({"to": "sip:bob@127.0.0.1", "agent_id": "receptionist"})).await.json();
        let path = format!("/api/v1/calls/{}/end", call["id"].as_str().unwrap());
        let first = client.post(&path, json!({"reason": "changed my mind"})).await.json();
        assert_eq!((&first["status"], &first["ended_reason"]), (&json!("canceled"), &json!("canceled")));
        assert_eq!(client.post(&path, json!({})).await.json(), first);
        // Neither ended nor on this node.
        let stray = call_id();
        db.journal.write(stray, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        db.journal.flush().await;
        let answer = client.post(&format!("/api/v1/calls/{stray}/end"), json!({})).await;
        assert_eq!((answer.error().0, answer.error().1.as_str()), (409, "call_not_active"));
        invariants::hold(&db).await;
    }

    async fn a_booking_is_given_up_once_and_its_slot_is_free_again(db) {
        let client = Client::new(&db);
        let call = conversation(&db.journal, db.tenant, 1_795_221_552_123);
        db.journal.flush().await;
        let slot = "2026-11-24T10:00";
        let booking = db.store.book(db.tenant, call, slot, json!({"name": "Ann"})).await.unwrap();
        let path = format!("/api/v1/bookings/{}", booking.id);
        let reader = client.post("/api/v1/api-keys", json!({"name": "r", "scopes": ["leads:read"]})).await.json();
        let weak = Client { key: reader["key"].as_str().unwrap().into(), ..Client::new(&db) };
        assert_eq!(weak.delete(&path).await.error().1, "missing_scope");
        assert!(db.store.book(db.tenant, call, slot, json!({})).await.is_err());
        for _ in 0..2 {
            assert_eq!(client.delete(&path).await.status, 204);
        }
        let listed = client.get("/api/v1/bookings").await.json();
        assert!(listed["data"][0]["canceled_at"].is_string(), "{listed}");
        db.store.book(db.tenant, call, slot, json!({"name": "Bob"})).await.unwrap();
        // Told once, as an event of the call, and in the audit log.
        let events = client.get(&format!("/api/v1/calls/{call}/events?types=booking.*")).await.json();
        assert_eq!((events["data"].as_array().unwrap().len(), &events["data"][0]["data"]["slot"]), (1, &json!(slot)), "{events}");
        let audit = client.get("/api/v1/audit-log?action=booking.cancel").await.json();
        assert_eq!(audit["data"].as_array().unwrap().len(), 1, "{audit}");
        // A message is no booking, and nothing is nothing.
        let message = db.store.take_message(db.tenant, call, json!({"text": "x"})).await.unwrap();
        for id in [message.id.to_string(), "0193481e-7a10-7000-8000-0000000000ff".into()] {
            assert_eq!(client.delete(&format!("/api/v1/bookings/{id}")).await.error().0, 404);
        }
        crate::invariants::hold(&db).await;
    }

    async fn bookings_and_messages_are_listed_apart(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        for hour in 10..13 {
            db.store.book(db.tenant, call, &format!("2026-11-24T{hour}:00"), json!({"name": "Ann"})).await.unwrap();
        }
        db.store.take_message(db.tenant, call, json!({"text": "call me"})).await.unwrap();
        let client = Client::new(&db);
        let page = client.get("/api/v1/bookings?limit=2").await.json();
        assert_eq!(page["data"][0]["slot"], "2026-11-24T12:00");
        assert_eq!(page["data"][0]["data"]["name"], "Ann");
        let rest = client.get(&format!("/api/v1/bookings?limit=2&cursor={}", page["next_cursor"].as_str().unwrap())).await.json();
        assert_eq!((rest["data"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
        let messages = client.get("/api/v1/messages").await.json();
        assert_eq!((messages["data"].as_array().unwrap().len(), &messages["data"][0]["data"]["text"]), (1, &json!("call me")));
        // A cursor of one list is none of the other.
        let foreign = client.get(&format!("/api/v1/messages?limit=2&cursor={}", page["next_cursor"].as_str().unwrap())).await;
        assert_eq!(foreign.error().1, "invalid_cursor");
    }
}

on_both! {
    async fn further_filters_narrow_the_list(db) {
        let client = Client::new(&db);
        let one = conversation(&db.journal, db.tenant, 1_000_000);
        let two = call_id();
        let mut new = new_call(db.tenant, Direction::Outbound, 2_000_000);
        new.metadata = json!({"order": "12\"34", "Shop": "a%_b"}).as_object().unwrap().clone();
        db.journal.write(two, Entry::Created(Box::new(new)));
        db.journal.write(two, crate::fake::status(domain::Status::Initiating, 2_000_001));
        db.journal.write(two, ended(EndedReason::Busy, 2_000_002));
        db.journal.flush().await;
        db.run("UPDATE calls SET summary_line = 'Asked for OPENING hours', sentiment = 'positive', success = 1 WHERE direction = 'inbound'").await;
        for (query, expected) in [
            ("channel=sip", vec![two, one]), ("channel=web", vec![]), ("min_duration_ms=1", vec![one]), ("max_duration_ms=0", vec![two]),
            ("has_recording=true", vec![]), ("has_recording=false", vec![two, one]), ("degraded=false&success=true", vec![one]),
            ("sentiment=positive", vec![one]), ("q=opening%20HOURS", vec![one]), ("q=closing", vec![]),
            ("metadata.order=12%2234", vec![two]), ("metadata.order=12", vec![]), ("metadata.Shop=a%25_b", vec![two]), ("metadata.shop=a%25_b", vec![]),
            ("metadata.Shop=axxb", vec![]), ("agent_id=x", vec![]), ("answered_by=human", vec![]),
        ] {
            let page = client.get(&format!("/api/v1/calls?{query}")).await.json();
            assert_eq!(ids(&page), expected.iter().map(ToString::to_string).collect::<Vec<_>>(), "{query}");
        }
        for (query, field) in [
            ("success=maybe", "success"), ("min_duration_ms=-1", "min_duration_ms"), ("channel=smoke", "channel"), ("q=", "q"),
            ("include=everything", "include"), ("has_recording=1", "has_recording"),
        ] {
            let (status, _, named) = client.get(&format!("/api/v1/calls?{query}")).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(field)), "{query}");
        }
        // A page with a filter has a cursor that knows it.
        let page = client.get("/api/v1/calls?limit=1&channel=sip&include=transcript").await.json();
        assert_eq!(page["data"][0]["transcript"], json!([]));
        let next = page["next_cursor"].as_str().unwrap();
        let rest = client.get(&format!("/api/v1/calls?limit=1&channel=sip&include=transcript&cursor={next}")).await.json();
        assert_eq!(rest["data"][0]["transcript"][1]["text"], "Friday at three");
    }

    async fn a_call_brings_what_is_included(db) {
        let client = Client::new(&db);
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        let bare = client.get(&format!("/api/v1/calls/{call}")).await.json();
        assert!(bare.get("transcript").is_none() && bare.get("events").is_none());
        let whole = client.get(&format!("/api/v1/calls/{call}?include=transcript,events,latency,cost")).await.json();
        assert_eq!(whole["transcript"].as_array().unwrap().len(), 3);
        assert_eq!((whole["events"].as_array().unwrap().len(), &whole["status"]), (8, &json!("completed")));
        assert_eq!(whole["latency_detail"]["summary"]["voice_to_voice"]["p50"], 840);
        assert_eq!((&whole["cost_detail"]["duration_ms"], &whole["latency"]["voice_to_voice"]["p50"]), (&json!(60_000), &json!(840)));
        let (status, _, field) = client.get(&format!("/api/v1/calls/{call}?include=everything")).await.error();
        assert_eq!((status, field.as_deref()), (400, Some("include")));
    }

    async fn a_deleted_call_leaves_its_bill_and_nothing_of_its_people(db) {
        let client = Client::new(&db);
        let (call, live_one) = (conversation(&db.journal, db.tenant, 1_000_000), call_id());
        db.journal.write(live_one, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, 1_000_000))));
        db.journal.flush().await;
        let path = format!("/api/v1/calls/{call}");
        let active = client.delete(&format!("/api/v1/calls/{live_one}")).await;
        assert_eq!((active.error().0, active.error().1.as_str()), (409, "call_active"));
        assert_eq!(client.delete(&path).await.status, 204);
        assert_eq!(client.get(&path).await.error().0, 404);
        assert_eq!(client.delete(&path).await.error().0, 404);
        assert_eq!(db.number("SELECT COUNT(*) FROM turns").await, 0);
        assert_eq!(db.number("SELECT COUNT(*) FROM calls WHERE deleted_at IS NOT NULL AND duration_ms = 60000 AND from_addr = '+1•••••••123'").await, 1);
        assert_eq!(db.number("SELECT COUNT(*) FROM call_legs WHERE address LIKE '%2125550123%' AND ended_at IS NOT NULL").await, 0);
        // The other call has the number still.
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE data LIKE '%2125550123%' OR data LIKE '%Friday%'").await, 1);
        invariants::hold(&db).await;
    }
}
