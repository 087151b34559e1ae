//! Dispatch rules, their dry run, and the do-not-call list over HTTP.

use serde_json::json;
use uuid::Uuid;

use super::rows::{agent, number, tenant};
use crate::{db::on_both, fake::Client};

const RULES: &str = "/api/v1/dispatch-rules";

on_both! {
    async fn a_rule_lives(db) {
        let client = Client::new(&db);
        let desk = agent(&db, db.tenant, "desk", 1).await;
        let new = json!({"name": "support", "match": {"to": "+1800*"}, "action": {"kind": "weighted", "agents": [{"agent_id": desk}]}, "variables": {"tier": 1}});
        let made = client.post(RULES, new).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let path = made.header("location").to_owned();
        let document = client.get(&path).await.json();
        assert_eq!((&document["priority"], &document["enabled"], &document["match"]), (&json!(100), &json!(true), &json!({"to": "+1800*"})));
        assert_eq!(client.put(&path, document.clone()).await.header("etag"), "\"1\"");
        let patched = client.patch(&path, json!({"priority": 5, "variables": null})).await;
        assert_eq!((patched.header("etag"), &patched.json()["variables"]), ("\"2\"", &json!({})));
        assert_eq!(client.get(RULES).await.json()["data"].as_array().unwrap().len(), 1);
        assert_eq!(client.delete(&path).await.status, 204);
        assert_eq!(client.get(&path).await.error().0, 404);
        assert_eq!(db.number("SELECT COUNT(*) FROM audit_log WHERE object_kind = 'dispatch_rule'").await, 3);
    }

    async fn faults_and_foreign_objects_are_refused(db) {
        let client = Client::new(&db);
        let foreign = agent(&db, tenant(&db, "other").await, "foreign", 1).await;
        for (body, field) in [
            (json!({"name": "x", "action": {"kind": "agent"}}), "action.agent_id"),
            (json!({"name": "x", "action": {"kind": "reject", "sip_status": 200}}), "action.sip_status"),
            (json!({"name": "x", "priority": 10_001, "action": {"kind": "reject"}}), "priority"),
            (json!({"name": "x", "match": {"pin": "1"}, "action": {"kind": "reject"}}), "match.pin"),
            (json!({"name": "x", "match": {"hours": {"timezone": "Mars/Base"}}, "action": {"kind": "reject"}}), "match.hours.timezone"),
            (json!({"name": "x"}), "action"),
        ] {
            assert_eq!(client.post(RULES, body.clone()).await.error(), (400, "validation_failed".into(), Some(field.into())), "{body}");
        }
        let unknown = client.post(RULES, json!({"name": "x", "action": {"kind": "reject", "status": 1}})).await;
        assert_eq!((unknown.error().1.as_str(), unknown.error().2.as_deref()), ("unknown_field", Some("action.status")));
        let mut answers = Vec::new();
        for id in [foreign.0, Uuid::now_v7()] {
            let refused = client.post(RULES, json!({"name": "x", "action": {"kind": "agent", "agent_id": id}})).await;
            let mut body = refused.json();
            body["error"]["request_id"] = json!("");
            answers.push((refused.status, body));
        }
        assert_eq!(answers[0], answers[1], "another tenant's agent is as good as none");
        assert_eq!(answers[0].0, 404);
    }

    async fn a_dry_run_tells_who_would_answer_and_why(db) {
        let client = Client::new(&db);
        let desk = agent(&db, db.tenant, "desk", 1).await;
        let trunk = client.post("/api/v1/trunks", json!({"name": "pbx", "gateways": [{"host": "9.9.9.9"}]})).await.json()["id"].clone();
        number(&db, db.tenant, "+12125550123", Some(desk), None, json!({"callers": {"block": ["+1900"]}})).await;
        let rule = json!({"name": "day", "match": {"to": "sales", "hours": {"timezone": "UTC", "open": [{"days": ["fri"], "from": "09:00", "to": "17:00"}]}}, "action": {"kind": "agent", "agent_id": desk}});
        client.post(RULES, rule).await;
        let ask = async |to: &str, from: &str, at: &str| {
            let answer = client.post(&format!("{RULES}/resolve"), json!({"trunk_id": trunk, "to": to, "from": from, "at": at})).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            answer.json()
        };
        let by_number = ask("2125550123", "+14155550100", "2026-11-20T10:00:00Z").await;
        assert_eq!((&by_number["matched"], &by_number["agent_id"], &by_number["agent_version"]), (&json!("number"), &json!(desk), &json!("latest")));
        assert_eq!(ask("+12125550123", "+19005550100", "2026-11-20T10:00:00Z").await["action"]["sip_status"], 603);
        let by_rule = ask("sales", "x", "2026-11-20T10:00:00Z").await;
        assert_eq!((&by_rule["matched"], &by_rule["name"]), (&json!("rule"), &json!("day")));
        let closed = ask("sales", "x", "2026-11-20T18:00:00Z").await;
        assert_eq!((&closed["matched"], &closed["action"]["sip_status"]), (&json!("nothing"), &json!(404)));
        let nowhere = client.post(&format!("{RULES}/resolve"), json!({"trunk_id": Uuid::now_v7(), "to": "x"})).await;
        assert_eq!(nowhere.error().0, 404);
    }

    async fn reload_sees_what_was_written_behind_the_nodes_back(db) {
        let client = Client::new(&db);
        client.post("/api/v1/config/reload", json!({})).await;
        assert_eq!(client.post("/api/v1/config/reload", json!({})).await.json()["changed"], 0);
        number(&db, db.tenant, "+12125550123", None, None, json!({})).await;
        assert_eq!(client.post("/api/v1/config/reload", json!({})).await.json()["changed"], 1);
    }

    async fn the_do_not_call_list_is_kept_once_per_number(db) {
        let client = Client::new(&db);
        let list = "/api/v1/do-not-call";
        let made = client.post(list, json!({"e164": "+12125550123", "reason": "asked"})).await;
        assert_eq!((made.status.as_u16(), made.header("location")), (201, "/api/v1/do-not-call/+12125550123"));
        assert_eq!(client.post(list, json!({"e164": "+12125550123", "reason": "again"})).await.error().1, "already_listed");
        assert_eq!(client.post(list, json!({"e164": "12125550123", "reason": "x"})).await.error(), (400, "validation_failed".into(), Some("e164".into())));
        assert_eq!(client.get(list).await.json()["data"][0]["reason"], "asked");
        assert_eq!(client.delete(&format!("{list}/+12125550123")).await.status, 204);
        assert_eq!(client.delete(&format!("{list}/%2B12125550123")).await.error().0, 404);
        assert_eq!(client.get(list).await.json()["data"], json!([]));
    }
}
