//! Paths of earlier products (API §1.14): each row answers like the canonical path, and says which that is.

use std::net::SocketAddr;

use axum::{body::Body, extract::ConnectInfo, http::Request};
use control_api::{HttpSettings, Hub, Settings};
use serde_json::{Value, json};

use crate::{
    db::on_both,
    fake::{Answer, Client, conversation},
};

/// Method, alias, method and path that it stands for. `T` is the tenant, `C` a call, `N` an id of nothing.
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("POST", "/api/v1/orgs", "POST", "/api/v1/tenants"),
    ("GET", "/api/v1/orgs", "GET", "/api/v1/tenants"),
    ("GET", "/api/v1/orgs/T", "GET", "/api/v1/tenants/T"),
    ("PUT", "/api/v1/orgs/T", "PUT", "/api/v1/tenants/T"),
    ("POST", "/api/v1/orgs/T/invitations", "POST", "/api/v1/tenants/T/invitations"),
    ("GET", "/api/v1/orgs/T/members", "GET", "/api/v1/tenants/T/members"),
    ("PUT", "/api/v1/orgs/T/members/N", "PUT", "/api/v1/tenants/T/members/N"),
    ("DELETE", "/api/v1/orgs/T/members/N", "DELETE", "/api/v1/tenants/T/members/N"),
    ("POST", "/api/v1/numbers/buy", "POST", "/api/v1/numbers"),
    ("GET", "/api/v1/calls/C/logs", "GET", "/api/v1/calls/C/events"),
    ("POST", "/api/v1/calls/outbound", "POST", "/api/v1/calls"),
    ("POST", "/api/v1/rooms", "POST", "/api/v1/calls"),
    ("GET", "/api/v1/rooms/C", "GET", "/api/v1/calls/C"),
    ("DELETE", "/api/v1/rooms/N", "POST", "/api/v1/calls/N/end"),
    ("POST", "/api/v1/calls/initiate", "POST", "/api/v1/calls"),
    ("GET", "/api/v1/calls/active/list", "GET", "/api/v1/calls/active"),
    ("GET", "/api/v1/calls/dashboard/analytics", "GET", "/api/v1/analytics/overview"),
    ("POST", "/api/outbound-call", "POST", "/api/v1/calls"),
    ("GET", "/api/calls", "GET", "/api/v1/calls"),
    ("GET", "/api/leads", "GET", "/api/v1/leads"),
    ("GET", "/api/active-calls", "GET", "/api/v1/calls/active"),
    ("POST", "/api/v1/tenants/T/phone-numbers", "POST", "/api/v1/numbers"),
    ("GET", "/api/v1/tenants/T/phone-numbers", "GET", "/api/v1/numbers"),
    ("GET", "/api/v1/tenants/T/phone-numbers/N", "GET", "/api/v1/numbers/N"),
    ("PUT", "/api/v1/tenants/T/phone-numbers/N", "PUT", "/api/v1/numbers/N"),
    ("DELETE", "/api/v1/tenants/T/phone-numbers/N", "DELETE", "/api/v1/numbers/N"),
    ("GET", "/api/v1/tenants/T/platform-trunks", "GET", "/api/v1/trunks"),
    ("POST", "/api/v1/tenants/T/platform-trunks", "POST", "/api/v1/trunks"),
    ("GET", "/api/v1/tenants/T/platform-trunks/N", "GET", "/api/v1/trunks/N"),
    ("PUT", "/api/v1/tenants/T/platform-trunks/N", "PUT", "/api/v1/trunks/N"),
    ("DELETE", "/api/v1/tenants/T/platform-trunks/N", "DELETE", "/api/v1/trunks/N"),
    ("GET", "/api/v1/tenants/T/livekit-trunks", "GET", "/api/v1/trunks"),
    ("POST", "/api/v1/tenants/T/livekit-trunks", "POST", "/api/v1/trunks"),
    ("GET", "/api/v1/tenants/T/livekit-trunks/N", "GET", "/api/v1/trunks/N"),
    ("PUT", "/api/v1/tenants/T/livekit-trunks/N", "PUT", "/api/v1/trunks/N"),
    ("DELETE", "/api/v1/tenants/T/livekit-trunks/N", "DELETE", "/api/v1/trunks/N"),
    ("GET", "/api/v1/tenants/T/phone-numbers/available", "GET", "/api/v1/numbers/available"),
    ("GET", "/internal/v1/workers", "GET", "/api/v1/nodes"),
    ("POST", "/internal/v1/retry/N", "POST", "/api/v1/deliveries/N/retry"),
    ("GET", "/usage", "GET", "/api/v1/billing/usage"),
    ("GET", "/agents", "GET", "/api/v1/agents"),
    ("POST", "/agents", "POST", "/api/v1/agents"),
    ("PUT", "/agents/N", "PUT", "/api/v1/agents/N"),
    ("DELETE", "/agents/N", "DELETE", "/api/v1/agents/N"),
    ("GET", "/agents/N/transcripts", "GET", "/api/v1/agents/N/transcripts"),
    ("POST", "/agents/N/tools/N/invoke", "POST", "/api/v1/agents/N/tools/N/invoke"),
    ("POST", "/auth/login", "POST", "/api/v1/auth/login"),
    ("POST", "/auth/signup", "POST", "/api/v1/auth/register"),
];

async fn ask(client: &Client, method: &str, path: &str, body: Value) -> Answer {
    let request = client.request(method, path).header("content-type", "application/json");
    let body = if method == "GET" { Body::empty() } else { Body::from(body.to_string()) };
    client.send(request.body(body).unwrap()).await
}

/// What must be alike: status, code and field of an error, or the body.
fn essence(answer: &Answer) -> (u16, Value) {
    let mut body = if answer.bytes.is_empty() { Value::Null } else { answer.json() };
    if body["error"].is_object() {
        body["error"]["request_id"] = Value::Null;
    }
    (answer.status.as_u16(), body)
}

/// Answered with 501: what carries audio, referrals, workers outside of the process.
const LATER: &[(&str, &str)] = &[
    ("POST", "/api/v1/webhooks/twilio/voice"),
    ("POST", "/api/v1/webhooks/twilio/connect/N"),
    ("POST", "/api/v1/webhooks/twilio/status/N"),
    ("POST", "/api/v1/webhooks/ultravox/events"),
    ("POST", "/api/inbound-call"),
    ("POST", "/api/outbound-call-webhook"),
    ("POST", "/twilio/voice"),
    ("GET", "/twilio/media"),
    ("GET", "/media-stream"),
    ("GET", "/stream"),
    ("GET", "/api/v1/calls/N/token"),
    ("POST", "/internal/v1/dispatch"),
    ("POST", "/internal/v1/calls"),
    ("PUT", "/internal/v1/calls/N"),
    ("POST", "/internal/v1/calls/N/events"),
    ("POST", "/events"),
    ("GET", "/referrals/me"),
    ("POST", "/referral-links"),
    ("GET", "/referral-links"),
    ("GET", "/affiliate-dashboard"),
];

/// From this machine, as the internal paths want it.
async fn near(client: &Client, method: &str, path: &str) -> Answer {
    let mut request = client.request(method, path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo::<SocketAddr>("127.0.0.1:50000".parse().unwrap()));
    client.send(request).await
}

on_both! {
    async fn row_40_what_is_not_served_yet_says_so_and_is_no_wrong_address(db) {
        let client = Client::new(&db);
        for (method, path) in LATER {
            let path = path.replace("/N", "/0193481e-7a10-7000-8000-0000000000ff");
            let (status, code, _) = near(&client, method, &path).await.error();
            assert_eq!((status, code.as_str()), (501, "not_served"), "{method} {path}");
            if path.starts_with("/internal/") {
                let far = client.send(client.request(method, &path).body(Body::empty()).unwrap()).await;
                assert_eq!(far.error().0, 404, "{method} {path}");
            }
        }
        // A Twilio that is told so keeps its fallback; a webhook's own routes are where they were.
        assert_eq!(client.get("/api/v1/webhooks/0193481e-7a10-7000-8000-0000000000ff/events").await.error().0, 404);
        let wrong = client.send(client.request("PATCH", "/api/v1/calls").body(Body::empty()).unwrap()).await;
        assert_eq!((wrong.error().0, wrong.header("allow").contains("GET")), (405, true));
        assert_eq!(client.get("/api/v1/nope").await.error(), (404, "not_found".into(), None));
    }

    async fn the_transcripts_of_an_agent_are_its_calls_with_what_was_said(db) {
        let client = Client::new(&db);
        let agent = client.post("/api/v1/agents", json!({"name": "x"})).await.json()["id"].as_str().unwrap().to_owned();
        let call = conversation(&db.journal, db.tenant, 1_795_221_552_123);
        conversation(&db.journal, db.tenant, 1_795_221_552_124);
        db.journal.flush().await;
        db.run(&format!("UPDATE calls SET agent_id = '{agent}' WHERE id = '{call}'")).await;
        for path in ["/api/v1/agents", "/agents"] {
            let listed = client.get(&format!("{path}/{agent}/transcripts?limit=10")).await.json();
            let calls = listed["data"].as_array().unwrap();
            assert_eq!((calls.len(), &calls[0]["id"], calls[0]["transcript"].as_array().unwrap().len()), (1, &json!(call), 3), "{listed}");
        }
        let other = client.get(&format!("/api/v1/agents/{agent}/transcripts?agent_id={agent}")).await;
        assert_eq!(other.error().2.as_deref(), Some("agent_id"));
        let weak = client.post("/api/v1/api-keys", json!({"name": "w", "scopes": ["calls:read"]})).await.json();
        let weak = Client { key: weak["key"].as_str().unwrap().into(), ..Client::new(&db) };
        assert_eq!(weak.get(&format!("/api/v1/agents/{agent}/transcripts")).await.error().1, "missing_scope");
    }

    async fn the_watchdog_sweeps_now_and_for_this_machine_only(db) {
        let client = Client::new(&db);
        db.run("INSERT INTO jobs (id, kind, dedupe_key, state, locked_by, locked_until, run_at, created_at) VALUES ('j', 'x', 'x', 'running', 'gone', 1, 1, 1)").await;
        let swept = near(&client, "POST", "/internal/v1/watchdog").await;
        assert_eq!((swept.status.as_u16(), swept.json()), (200, json!({"leases_settled": 0, "calls_closed": 0, "jobs_freed": 1})), "{}", swept.text());
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND locked_by IS NULL").await, 1);
        assert_eq!(client.post("/internal/v1/watchdog", json!({})).await.error().0, 404);
        crate::invariants::hold(&db).await;
    }

    async fn row_40_every_alias_answers_like_its_canonical_path(db) {
        let client = Client::new(&db);
        let call = conversation(&db.journal, db.tenant, 1_795_221_552_123).to_string();
        db.journal.flush().await;
        let filled = |path: &str| path.replace("/T", &format!("/{}", db.tenant)).replace("/C", &format!("/{call}"))
            .replace("/N", "/0193481e-7a10-7000-8000-0000000000ff");
        for (method, alias, to_method, to) in ROWS {
            // A body that every POST and PUT refuses, so that nothing is made twice.
            let (old, new) = (
                ask(&client, method, &filled(alias), json!({"nmae": 1})).await,
                ask(&client, to_method, &filled(to), json!({"nmae": 1})).await,
            );
            assert_eq!(old.header("deprecation"), "true", "{method} {alias}");
            assert_eq!(old.header("link"), format!("<{}>; rel=\"canonical\"", filled(to)), "{method} {alias}");
            assert_eq!(new.header("deprecation"), "", "{to}");
            let (old, new) = (essence(&old), essence(&new));
            // Some answers carry old names too; all that the new one says is there.
            let adds = ["/rooms", "/calls/initiate", "/active/list", "/api/calls", "active-calls"].iter().any(|part| alias.contains(part));
            assert_eq!(old.0, new.0, "{method} {alias}: {}", old.1);
            assert!(adds || old.1 == new.1, "{method} {alias}: {} {}", old.1, new.1);
            assert!(![405, 500].contains(&new.0), "{method} {to}");
        }
    }

    async fn old_names_are_understood_and_answered(db) {
        let client = Client::new(&db);
        let made = client.post("/api/v1/calls/initiate", json!({"phone_number": "sip:bob@127.0.0.1", "agent_id": "receptionist"})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let body = made.json();
        assert_eq!((&body["call_id"], &body["phone_number"]), (&body["id"], &json!("sip:bob@127.0.0.1")));
        let made = client.post("/api/outbound-call", json!({"phoneNumber": "sip:bob@127.0.0.1", "agent_id": "receptionist"})).await;
        assert_eq!((made.status.as_u16(), &made.json()["callSid"]), (201, &made.json()["id"]), "{}", made.text());
        let ended = client.delete(&format!("/api/v1/rooms/{}", made.json()["id"].as_str().unwrap())).await;
        assert_eq!((ended.status.as_u16(), ended.text()), (204, String::new()));
        let listed = client.get("/api/calls").await.json();
        assert!(listed["data"].as_array().unwrap().iter().all(|call| call["callSid"] == call["id"]));
        let trunk = client.post(&format!("/api/v1/tenants/{}/livekit-trunks", db.tenant), json!({"name": "T", "trunkType": "INBOUND"})).await;
        assert_eq!((trunk.status.as_u16(), &trunk.json()["direction"]), (201, &json!("inbound")), "{}", trunk.text());
        let number = json!({"number": "+12125550177", "type": "LOCAL", "carrier": "NONE", "trunk_id": trunk.json()["id"]});
        let number = client.post(&format!("/api/v1/tenants/{}/phone-numbers", db.tenant), number).await;
        assert_eq!((number.status.as_u16(), &number.json()["kind"]), (201, &json!("local")), "{}", number.text());
        let active = client.get(&format!("/api/v1/tenants/{}/phone-numbers?status=ACTIVE", db.tenant)).await.json();
        assert_eq!(active["data"].as_array().unwrap().len(), 1);
        let agent = client.post("/agents", json!({"name": "A", "systemPrompt": "Be brief."})).await;
        assert_eq!((agent.status.as_u16(), &agent.json()["prompt"]["system"]), (201, &json!("Be brief.")), "{}", agent.text());
        // Old names are for old paths only.
        let refused = client.post("/api/v1/calls", json!({"phone_number": "sip:bob@127.0.0.1"})).await;
        assert_eq!(refused.error(), (400, "unknown_field".into(), Some("phone_number".into())));
        // With a slash at the end, as one of them wrote it.
        assert_eq!(client.get("/api/v1/orgs/").await.status, 200);
    }

    async fn the_tenant_of_a_path_is_the_credential_s(db) {
        let client = Client::new(&db);
        for foreign in ["0193481e-7a10-7000-8000-0000000000ff", "x", "..%2f"] {
            let answer = client.get(&format!("/api/v1/tenants/{foreign}/phone-numbers")).await;
            assert_eq!(answer.error(), (404, "not_found".into(), None), "{foreign}");
        }
        let nobody = Request::get(format!("/api/v1/tenants/{}/phone-numbers", db.tenant)).body(Body::empty()).unwrap();
        assert_eq!(client.send(nobody).await.error().0, 401);
    }

    async fn bodies_of_aliases_have_the_limits_of_all_bodies(db) {
        let client = Client::new(&db);
        let big = format!("{{\"phone_number\":\"{}\"}}", "x".repeat(2 << 20));
        for (body, status) in [(big, 413), ("{".into(), 400), ("[".repeat(1000), 400), ("[]".into(), 400)] {
            let request = client.request("POST", "/api/v1/calls/initiate").header("content-type", "application/json");
            let answer = client.send(request.body(Body::from(body)).unwrap()).await;
            assert_eq!(answer.error().0, status);
        }
    }

    async fn they_can_be_switched_off(db) {
        let settings = Settings { http: HttpSettings { compat: false, ..HttpSettings::default() }, ..Settings::default() };
        let client = Client::with(&db, &Hub::new(0), settings);
        assert_eq!(client.get("/api/v1/orgs").await.error().0, 404);
    }
}
