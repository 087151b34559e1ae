//! Numbers over HTTP.

use serde_json::json;
use uuid::Uuid;

use super::rows::{agent, answered, arrival, directory, number, tenant, trunk};
use crate::{db::on_both, fake::Client, invariants};

const NUMBERS: &str = "/api/v1/numbers";

on_both! {
    async fn a_number_of_ones_own_is_brought_changed_and_given_back(db) {
        let client = Client::new(&db);
        let trunk = client.post("/api/v1/trunks", json!({"name": "pbx", "gateways": [{"host": "9.9.9.9"}]})).await.json()["id"].clone();
        let new = json!({"e164": "+12125550123", "carrier": "none", "trunk_id": trunk, "label": "Front"});
        let made = client.post(NUMBERS, new.clone()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let path = made.header("location").to_owned();
        let document = client.get(&path).await.json();
        assert_eq!((&document["country"], &document["status"], &document["capabilities"]), (&json!("US"), &json!("active"), &json!({"voice": true, "sms": false})));
        assert_eq!(client.post(NUMBERS, new.clone()).await.error(), (409, "number_taken".into(), Some("e164".into())));
        assert_eq!(client.put(&path, document.clone()).await.header("etag"), "\"1\"");
        let patched = client.patch(&path, json!({"label": null})).await;
        assert_eq!((patched.header("etag"), &patched.json()["label"]), ("\"2\"", &json!(null)));
        for field in ["agent_id", "status", "monthly_micros"] {
            let refused = client.patch(&path, json!({field: "7"})).await;
            assert_eq!(refused.error(), (400, "read_only_field".into(), Some(field.into())));
        }
        assert_eq!(client.get(&format!("{NUMBERS}?e164=%2B12125550123&status=active&carrier=none")).await.json()["data"].as_array().unwrap().len(), 1);
        assert_eq!(client.get(&format!("{NUMBERS}?status=sleeping")).await.error().2.as_deref(), Some("status"));
        let released = client.delete(&path).await;
        assert_eq!((released.status.as_u16(), &released.json()["state"]), (202, &json!("done")));
        let order = released.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(client.get(&format!("{NUMBERS}/orders/{order}")).await.json()["kind"], "release");
        assert_eq!(client.get(&format!("{NUMBERS}/orders")).await.json()["data"].as_array().unwrap().len(), 1);
        assert_eq!(client.get(NUMBERS).await.json()["data"], json!([]));
        assert_eq!(client.post(NUMBERS, new).await.status, 201, "it is free again");
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'number.released'").await, 1);
        invariants::hold(&db).await;
    }

    async fn an_assignment_takes_effect_for_the_next_call(db) {
        let client = Client::new(&db);
        let (desk, night) = (agent(&db, db.tenant, "desk", 2).await, agent(&db, db.tenant, "night", 1).await);
        let directory = directory(&db).await;
        let trunk = client.post("/api/v1/trunks", json!({"name": "pbx", "gateways": [{"host": "9.9.9.9"}]})).await.json()["id"].clone();
        let new = json!({"e164": "+12125550123", "carrier": "none", "trunk_id": trunk, "agent_id": night});
        let path = client.post(NUMBERS, new).await.header("location").to_owned();
        let call = async || directory.route(&arrival("9.9.9.9", "+12125550123", "sip:x@y")).await;
        assert_eq!(answered(call().await), "night 1");
        assert_eq!(client.put(&format!("{path}/assign"), json!({"agent_id": desk})).await.status, 200);
        assert_eq!(answered(call().await), "desk 2");
        assert_eq!(client.put(&format!("{path}/assign"), json!({"agent_id": desk, "version": 1})).await.status, 200);
        assert_eq!(answered(call().await), "desk 1");
        assert_eq!(client.put(&format!("{path}/assign"), json!({"agent_id": desk, "version": 9})).await.error().0, 404);
        assert_eq!(client.delete(&format!("{path}/assign")).await.status, 204);
        assert!(call().await.is_err());
        let routing = json!({"agents": [{"agent_id": desk, "weight": 1}, {"agent_id": desk, "weight": 2}], "fallback": {"kind": "reject", "sip_status": 486}});
        let written = client.put(&format!("{path}/routing"), routing).await;
        assert_eq!(written.json()["agents"], json!([{"agent_id": desk, "version": "latest", "weight": 3}]));
        assert_eq!(answered(call().await), "desk 2");
        assert_eq!(client.get(&format!("{path}/routing")).await.json()["fallback"]["sip_status"], 486);
        // Brought along with an agent, then assigned twice, taken away, and shared: four tellings.
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'number.assigned'").await, 4);
        invariants::hold(&db).await;
    }

    async fn what_belongs_to_others_is_not_there(db) {
        let client = Client::new(&db);
        let other = tenant(&db, "other").await;
        let foreign = agent(&db, other, "foreign", 1).await;
        let theirs = trunk(&db, Some(other), json!({"name": "t"})).await;
        let their_number = number(&db, other, "+12125550199", None, None, json!({})).await;
        let own = number(&db, db.tenant, "+12125550123", None, None, json!({})).await;
        for path in [format!("{NUMBERS}/{their_number}"), format!("{NUMBERS}/{}", Uuid::now_v7()), format!("{NUMBERS}/x")] {
            for answer in [client.get(&path).await, client.patch(&path, json!({"label": "mine"})).await, client.delete(&path).await,
                client.put(&format!("{path}/assign"), json!({"agent_id": foreign})).await] {
                assert_eq!(answer.error().1, "not_found", "{path}");
            }
        }
        let own = format!("{NUMBERS}/{own}");
        for (path, body) in [
            (format!("{own}/assign"), json!({"agent_id": foreign})),
            (format!("{own}/routing"), json!({"agents": [{"agent_id": foreign}]})),
            (format!("{own}/routing"), json!({"fallback": {"kind": "agent", "agent_id": foreign}})),
            (own.clone(), json!({"trunk_id": theirs})),
        ] {
            assert_eq!(client.put(&path, body.clone()).await.error().1, "not_found", "{body}");
        }
        let new = json!({"e164": "+12125550124", "carrier": "none", "trunk_id": theirs});
        assert_eq!(client.post(NUMBERS, new).await.error().0, 404);
        assert_eq!(client.post(NUMBERS, json!({"e164": "+12125550199", "carrier": "none", "trunk_id": theirs})).await.error().0, 404);
        invariants::hold(&db).await;
    }

    async fn a_number_with_a_live_call_is_kept(db) {
        let client = Client::new(&db);
        let id = number(&db, db.tenant, "+12125550123", None, None, json!({})).await;
        let mut call = crate::fake::new_call(db.tenant, domain::Direction::Inbound, control_api::now_ms());
        call.number_id = Some(id.parse().unwrap());
        db.journal.write(crate::fake::call_id(), control_api::Entry::Created(Box::new(call)));
        db.journal.flush().await;
        assert_eq!(client.delete(&format!("{NUMBERS}/{id}")).await.error().1, "calls_active");
        assert_eq!(client.get(&format!("{NUMBERS}/{id}")).await.json()["status"], "active");
    }
}
