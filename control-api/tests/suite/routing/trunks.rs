//! Trunks over HTTP.

use serde_json::{Value, json};

use super::rows::{number, tenant, trunk};
use crate::{db::on_both, fake::Client, invariants};

const TRUNKS: &str = "/api/v1/trunks";
const SECRET: &str = "correct-horse-battery";

fn carrier() -> Value {
    json!({"name": "Carrier", "gateways": [{"host": "sip.carrier.example", "cidr": "8.8.8.0/28"}],
        "auth": {"inbound": {"mode": "digest", "username": "them", "password": format!("{SECRET}-in")},
            "outbound": {"username": "us", "password": SECRET}}})
}

on_both! {
    async fn a_trunk_lives_and_its_secrets_are_seen_nowhere(db) {
        let client = Client::new(&db);
        let made = client.post(TRUNKS, carrier()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let path = made.header("location").to_owned();
        let shown = client.get(&path).await;
        let mut document = shown.json();
        assert_eq!(document["auth"]["outbound"], json!({"username": "us", "password_set": true, "algorithms": ["SHA-256", "MD5"]}));
        assert_eq!((shown.header("etag"), &document["version"]), ("\"1\"", &json!(1)));
        // GET → PUT changes nothing, a new name is version 2, and the password stays.
        assert_eq!(client.put(&path, document.clone()).await.header("etag"), "\"1\"");
        document["name"] = json!("Other");
        let changed = client.put(&path, document.clone()).await;
        assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""));
        assert_eq!(changed.json()["auth"]["outbound"]["password_set"], true);
        assert_eq!(db.number("SELECT COUNT(*) FROM trunks WHERE sealed_secrets IS NOT NULL").await, 1);
        let patched = client.patch(&path, json!({"auth": {"inbound": {"password": ""}}, "limits": {"max_cps": null}})).await.json();
        assert_eq!((&patched["auth"]["inbound"]["password_set"], &patched["auth"]["outbound"]["password_set"]), (&json!(false), &json!(true)));
        let told = client.patch(&path, json!({"auth": {"outbound": {"password_set": false}}})).await;
        assert_eq!(told.error(), (400, "read_only_field".into(), Some("auth.outbound.password_set".into())));
        for shown in [client.get(TRUNKS).await, client.get(&path).await, made, changed] {
            assert!(!shown.text().contains(SECRET));
        }
        for table in ["SELECT COUNT(*) FROM audit_log WHERE diff LIKE $1", "SELECT COUNT(*) FROM events WHERE data LIKE $1",
            "SELECT COUNT(*) FROM trunks WHERE config LIKE $1 OR sealed_secrets LIKE $1"] {
            let found: i64 = sqlx::query_scalar(table).bind(format!("%{SECRET}%")).fetch_one(&db.raw).await.unwrap();
            assert_eq!(found, 0, "{table}");
        }
        assert_eq!(client.delete(&path).await.status, 204);
        assert_eq!(client.get(&path).await.error().0, 404);
        assert_eq!(db.number("SELECT COUNT(*) FROM trunks WHERE sealed_secrets IS NOT NULL").await, 0);
        invariants::hold(&db).await;
    }

    async fn a_stale_version_and_bad_documents_change_nothing(db) {
        let client = Client::new(&db);
        let path = client.post(TRUNKS, carrier()).await.header("location").to_owned();
        client.patch(&path, json!({"name": "Second"})).await;
        let stale = client.request("PATCH", &path).header("if-match", "\"1\"").header("content-type", "application/json");
        let stale = client.send(stale.body(json!({"name": "Third"}).to_string().into()).unwrap()).await;
        assert_eq!(stale.error().1, "version_conflict");
        for (body, code, field) in [
            (json!({"name": "x", "tenant_id": "other"}), "read_only_field", "tenant_id"),
            (json!({"name": "x", "promt": 1}), "unknown_field", "promt"),
            (json!({"name": "x", "sip": {"prak": "off"}}), "unknown_field", "sip.prak"),
            (json!({"name": "x", "gateways": [{"host": "sip.example", "cidr": "8.8.0.0/16"}]}), "validation_failed", "gateways.0.cidr"),
            (json!({"name": "x", "gateways": [{"host": "169.254.169.254"}]}), "validation_failed", "gateways.0.host"),
            (json!({"gateways": []}), "validation_failed", "name"),
        ] {
            // The first key of a new installation is the platform's too, who may name any network.
            let answer = client.post(TRUNKS, body.clone()).await;
            if answer.status == 201 {
                assert!(field.starts_with("gateways"), "{body}");
                continue;
            }
            assert_eq!(answer.error(), (400, code.into(), Some(field.into())), "{body}");
        }
        assert_eq!(client.get(&path).await.json()["name"], "Second");
    }

    async fn an_address_belongs_to_one_tenant(db) {
        let client = Client::new(&db);
        let other = tenant(&db, "other").await;
        let theirs = trunk(&db, Some(other), json!({"name": "theirs", "gateways": [{"host": "8.8.4.4"}]})).await;
        sqlx::query("INSERT INTO trunk_gateways (id, trunk_id, host, cidr) VALUES ('g', $1, '8.8.4.4', '8.8.4.4/32')").bind(&theirs).execute(&db.raw).await.unwrap();
        let taken = client.post(TRUNKS, json!({"name": "x", "gateways": [{"host": "sip.example", "cidr": "8.8.4.0/24"}]})).await;
        assert_eq!(taken.error(), (409, "cidr_overlaps".into(), Some("gateways".into())));
        assert_eq!(db.number("SELECT COUNT(*) FROM trunks WHERE name = 'x'").await, 0);
        // Calling out there is another matter, and the same tenant may have an address twice.
        let out = json!({"name": "out", "direction": "outbound", "gateways": [{"host": "8.8.4.4"}]});
        assert_eq!(client.post(TRUNKS, out).await.status, 201);
        for name in ["a", "b"] {
            let made = client.post(TRUNKS, json!({"name": name, "gateways": [{"host": "9.9.9.9"}]})).await;
            assert_eq!(made.status, 201, "{}", made.text());
        }
        assert_eq!(client.get(&format!("{TRUNKS}/{theirs}")).await.error().0, 404);
        assert_eq!(client.delete(&format!("{TRUNKS}/{theirs}")).await.error().0, 404);
    }

    async fn a_trunk_in_use_stays_and_its_status_tells_what_is_known(db) {
        let client = Client::new(&db);
        let made = client.post(TRUNKS, carrier()).await.json();
        let (id, path) = (made["id"].as_str().unwrap(), format!("{TRUNKS}/{}", made["id"].as_str().unwrap()));
        number(&db, db.tenant, "+12125550123", None, Some(id), json!({})).await;
        let rule = json!({"name": "night", "match": {"trunk_ids": [id]}, "action": {"kind": "reject"}});
        assert_eq!(client.post("/api/v1/dispatch-rules", rule).await.status, 201);
        let refused = client.delete(&path).await;
        assert_eq!(refused.error().1, "in_use");
        let users: Vec<_> = refused.json()["error"]["details"].as_array().unwrap().iter().map(|user| user["message"].clone()).collect();
        assert_eq!(users, [json!("+12125550123"), json!("night")]);
        let status = client.get(&format!("{path}/status")).await.json();
        assert_eq!(status, json!({"state": "unknown", "channels": {"now": 0, "max": 30}, "asr_pct": null, "last_error": null,
            "gateways": [{"host": "sip.carrier.example", "state": "unknown", "rtt_ms": null, "detail": null, "last_sip_status": null, "checked_at": null, "registered_until": null}]}));
        sqlx::query("INSERT INTO trunk_status (trunk_id, gateway_id, node_id, state, detail, rtt_ms, checked_at)
            SELECT trunk_id, id, 'n1', 'down', '503', 12, 5 FROM trunk_gateways WHERE trunk_id = $1").bind(id).execute(&db.raw).await.unwrap();
        let status = client.get(&format!("{path}/status")).await.json();
        assert_eq!((&status["state"], &status["last_error"]), (&json!("down"), &json!("503")));
        // A change of anything else keeps what is known of a gateway.
        client.patch(&path, json!({"name": "Renamed"})).await;
        assert_eq!(client.get(&format!("{path}/status")).await.json()["state"], "down");
    }
}

on_both! {
    async fn a_trunk_is_tested_and_says_what_its_gateways_said(db) {
        let client = Client::new(&db);
        let made = client.post(TRUNKS, json!({"name": "carrier", "gateways": [{"host": "a.example"}]})).await.json();
        let path = format!("{TRUNKS}/{}/test", made["id"].as_str().unwrap());
        let tested = client.post(&path, json!({})).await;
        assert_eq!(tested.status, 200, "{}", tested.text());
        assert_eq!(tested.json(), json!({"options": {"status": 200, "rtt_ms": 12}, "register": null, "gateways": [
            {"host": "a.example", "status": 408, "rtt_ms": null, "detail": "no answer"},
            {"host": "b.example", "status": 503, "rtt_ms": 3, "detail": null},
            {"host": "c.example", "status": 200, "rtt_ms": 12, "detail": null}]}));
        client.board.draining.store(true, std::sync::atomic::Ordering::Relaxed);
        let busy = client.post(&path, json!({})).await;
        let error = busy.error();
        assert_eq!((error.0, error.1.as_str()), (409, "test_running"));
    }
}

/// The bodies of `docs/CARRIERS.md`, by their names.
fn carriers() -> Vec<(String, Value)> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CARRIERS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```json ").skip(1).map(|block| {
        let (name, rest) = block.split_once('\n').unwrap();
        let body = rest.split("```").next().unwrap();
        (name.to_owned(), serde_json::from_str(body).unwrap_or_else(|error| panic!("{name}: {error}")))
    });
    blocks.collect()
}

on_both! {
    async fn the_trunks_of_the_manual_can_be_made(db) {
        let client = Client::new(&db);
        let names: Vec<_> = carriers().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["twilio", "telnyx", "registered", "addresses", "exchange", "signed"]);
        for (name, body) in carriers() {
            let made = client.post(TRUNKS, body.clone()).await;
            assert_eq!(made.status, 201, "{name}: {}", made.text());
            let made = made.json();
            assert_eq!(made["gateways"].as_array().map(Vec::len), body["gateways"].as_array().map(Vec::len), "{name}");
        }
        invariants::hold(&db).await;
    }
}
