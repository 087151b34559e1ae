//! What every route has in common: rates, repetition, keys, browsers.

use axum::{body::Body, extract::ConnectInfo, http::Request};
use control_api::{HttpSettings, Hub, Settings};
use serde_json::{Value, json};
use std::net::SocketAddr;

use crate::{
    db::on_both,
    fake::{Answer, Client},
};

const KEYS: &str = "/api/v1/api-keys";

async fn with_key(client: &Client, key: &str, method: &str, path: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {key}"));
    client.send(request.body(Body::empty()).unwrap()).await
}

async fn repeated(client: &Client, key: &str, path: &str, body: serde_json::Value) -> Answer {
    let request =
        client.request("POST", path).header("content-type", "application/json").header("idempotency-key", key);
    client.send(request.body(Body::from(body.to_string())).unwrap()).await
}

on_both! {
    async fn a_public_key_s_own_pages_may_read_its_answers_and_no_other_s(db) {
        let client = Client::new(&db);
        let agent = client.post("/api/v1/agents", json!({"name": "x"})).await.json()["id"].clone();
        let public = |origins: Value| json!({"name": "w", "kind": "public", "scopes": ["web:join"], "agent_ids": [agent], "origins": origins});
        for origins in [json!(["*"]), json!(["https://a.example/path"]), json!(["a.example"]), json!(["file:///x"])] {
            assert_eq!(client.post("/api/v1/api-keys", public(origins)).await.error().2.as_deref(), Some("origins"));
        }
        let made = client.post("/api/v1/api-keys", public(json!(["https://shop.example"]))).await.json();
        let key = made["key"].as_str().unwrap();
        let preflight = async |origin: &str| {
            let request = Request::builder().method("OPTIONS").uri("/api/v1/calls").header("origin", origin)
                .header("access-control-request-method", "POST").header("access-control-request-headers", "authorization");
            client.send(request.body(Body::empty()).unwrap()).await
        };
        let asked = async |origin: &str, key: &str| {
            let request = Request::builder().uri("/api/v1/calls").header("origin", origin).header("authorization", format!("Bearer {key}"));
            client.send(request.body(Body::empty()).unwrap()).await
        };
        let allowed = preflight("https://shop.example").await;
        assert_eq!((allowed.header("access-control-allow-origin"), allowed.header("access-control-allow-credentials")), ("https://shop.example", ""));
        assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), "");
        let told = asked("https://shop.example", key).await;
        // Let in by its page; what it may not do there it is told in words that the page can read.
        assert_eq!((told.error().1.as_str(), told.header("access-control-allow-origin"), told.header("access-control-allow-credentials")), ("missing_scope", "https://shop.example", ""));
        let elsewhere = asked("https://evil.example", key).await;
        assert_eq!((elsewhere.error().1.as_str(), elsewhere.header("access-control-allow-origin")), ("forbidden_origin", ""));
        // A page of one key reads nothing that another credential asks for.
        assert_eq!(asked("https://shop.example", &client.key).await.header("access-control-allow-origin"), "");
    }

    async fn row_18_a_key_is_shown_once_and_never_again(db) {
        let client = Client::new(&db);
        let made = client.post(KEYS, json!({"name": "reports", "scopes": ["calls:read", "keys:read"]})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let (id, key) = (made.json()["id"].as_str().unwrap().to_owned(), made.json()["key"].as_str().unwrap().to_owned());
        assert_eq!(made.header("location"), format!("{KEYS}/{id}"));
        assert!(key.starts_with("st_live_") && made.json()["prefix"] == key[..16]);
        assert_eq!(with_key(&client, &key, "GET", "/api/v1/calls").await.status, 200);
        for path in [KEYS.to_owned(), format!("{KEYS}/{id}")] {
            let shown = client.get(&path).await;
            assert!(shown.status == 200 && !shown.text().contains(&key), "{path}");
        }
        let rest = &key[17..];
        for table in ["SELECT COUNT(*) FROM audit_log WHERE diff LIKE $1", "SELECT COUNT(*) FROM events WHERE data LIKE $1"] {
            let found: i64 = sqlx::query_scalar(table).bind(format!("%{rest}%")).fetch_one(&db.raw).await.unwrap();
            assert_eq!(found, 0, "{table}");
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM audit_log WHERE action = 'key.create'").await, 1);
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'key.created'").await, 1);
    }

    async fn row_17_a_revoked_key_is_dead_at_once_where_it_was_revoked(db) {
        let client = Client::new(&db);
        let made = client.post(KEYS, json!({"name": "x", "scopes": ["calls:read"]})).await.json();
        let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
        assert_eq!(with_key(&client, key, "GET", "/api/v1/calls").await.status, 200);
        for _ in 0..2 {
            assert_eq!(with_key(&client, &client.key, "DELETE", &format!("{KEYS}/{id}")).await.status, 204);
        }
        assert_eq!(with_key(&client, key, "GET", "/api/v1/calls").await.error().1, "unauthenticated");
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'key.revoked'").await, 1);
        let nobody = format!("{KEYS}/{}", uuid::Uuid::now_v7());
        assert_eq!(with_key(&client, &client.key, "DELETE", &nobody).await.error().0, 404);
    }

    async fn a_key_never_exceeds_its_maker_and_a_test_key_spends_nothing(db) {
        let client = Client::new(&db);
        let made = client.post(KEYS, json!({"name": "maker", "scopes": ["keys:write", "calls:read"]})).await.json();
        let maker = Client { key: made["key"].as_str().unwrap().into(), ..Client::new(&db) };
        let more = maker.post(KEYS, json!({"name": "more", "scopes": ["agents:write"]})).await;
        assert_eq!(more.error(), (400, "scope_not_held".into(), Some("scopes".into())));
        let full = maker.post(KEYS, json!({"name": "same", "scopes": ["full"]})).await.json();
        assert_eq!(full["scopes"], json!(["calls:read", "keys:write"]));
        let test = client.post(KEYS, json!({"name": "t", "kind": "test", "scopes": ["full"]})).await.json();
        let test = Client { key: test["key"].as_str().unwrap().into(), ..Client::new(&db) };
        assert!(test.key.starts_with("st_test_"));
        assert_eq!(test.get("/api/v1/calls").await.status, 200);
        assert_eq!(test.post(KEYS, json!({"name": "n", "scopes": ["calls:read"]})).await.error().1, "missing_scope");
    }

    async fn all_that_is_wrong_with_a_key_is_told_at_once(db) {
        let client = Client::new(&db);
        let bad = json!({"name": "", "scopes": ["agents:fly"], "allowed_ips": ["10.0.0.0/99"], "rate_per_min": 0, "expires_at": "2001-01-01T00:00:00Z"});
        let answer = client.post(KEYS, bad).await;
        assert_eq!(answer.error(), (400, "validation_failed".into(), Some("name".into())));
        let fields: Vec<_> = answer.json()["error"]["details"].as_array().unwrap().iter().map(|d| d["field"].as_str().unwrap().to_owned()).collect();
        assert_eq!(fields, ["name", "scopes", "allowed_ips", "rate_per_min", "expires_at"]);
        let public = client.post(KEYS, json!({"name": "w", "kind": "public", "scopes": ["calls:read"]})).await;
        assert_eq!(public.json()["error"]["details"].as_array().unwrap().len(), 3);
        for (body, code, field) in [
            (json!({"name": "x", "scopes": ["calls:read"], "tenant_id": "y"}), "read_only_field", "tenant_id"),
            (json!({"name": "x", "scopes": ["calls:read"], "id": "y"}), "read_only_field", "id"),
            (json!({"name": "x", "scopes": ["calls:read"], "nmae": "y"}), "unknown_field", "nmae"),
            (json!({"name": "x"}), "validation_failed", "scopes"),
        ] {
            assert_eq!(client.post(KEYS, body).await.error(), (400, code.into(), Some(field.into())));
        }
    }

    async fn a_key_is_bound_to_its_networks(db) {
        let client = Client::new(&db);
        let body = json!({"name": "office", "scopes": ["calls:read"], "allowed_ips": ["192.0.2.0/24", "2001:db8::7"]});
        let made = client.post(KEYS, body).await.json();
        let from = async |address: &str| {
            let mut request = Request::get("/api/v1/calls").header("x-api-key", made["key"].as_str().unwrap());
            request.extensions_mut().unwrap().insert(ConnectInfo(address.parse::<SocketAddr>().unwrap()));
            client.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
        };
        assert_eq!(from("192.0.2.9:1").await, 200);
        assert_eq!(from("[::ffff:192.0.2.9]:1").await, 200);
        assert_eq!(from("[2001:db8::7]:1").await, 200);
        assert_eq!(from("192.0.3.9:1").await, 401);
    }

    async fn row_14_the_hundred_and_first_request_waits_and_another_key_is_served(db) {
        let client = Client::new(&db);
        let made = client.post(KEYS, json!({"name": "busy", "scopes": ["calls:read"]})).await.json();
        let busy = made["key"].as_str().unwrap();
        for n in 0..100 {
            let answer = with_key(&client, busy, "GET", "/api/v1/calls/active").await;
            assert_eq!(answer.status, 200, "{n}");
        }
        let refused = with_key(&client, busy, "GET", "/api/v1/calls/active").await;
        // A slow machine may have earned a token meanwhile; it has not earned many.
        let refused = if refused.status == 200 { with_key(&client, busy, "GET", "/api/v1/calls/active").await } else { refused };
        assert_eq!(refused.error().1, "rate_limited");
        assert_eq!((refused.header("ratelimit-limit"), refused.header("ratelimit-remaining"), refused.header("retry-after")), ("100", "0", "1"));
        assert_eq!(client.get("/api/v1/calls/active").await.status, 200);
        let mut statuses = Vec::new();
        while statuses.len() < 150 && statuses.last() != Some(&429) {
            statuses.push(with_key(&client, "st_live_nobody", "GET", "/api/v1/calls").await.status.as_u16());
        }
        assert!(statuses.len() > 100 && statuses.last() == Some(&429), "{}", statuses.len());
        let page = client.send(Request::get("/health").body(Body::empty()).unwrap()).await;
        assert_eq!(page.status, 200);
    }

    async fn rows_7_and_8_a_repeated_post_works_once(db) {
        let client = Client::new(&db);
        let body = json!({"name": "once", "scopes": ["calls:read"]});
        let first = repeated(&client, "k1", KEYS, body.clone()).await;
        let second = repeated(&client, "k1", KEYS, body.clone()).await;
        assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
        assert_eq!((first.json(), first.header("location")), (second.json(), second.header("location")));
        assert_eq!((first.header("idempotent-replay"), second.header("idempotent-replay")), ("", "true"));
        assert_eq!(db.number("SELECT COUNT(*) FROM api_keys WHERE name = 'once'").await, 1);
        let other = repeated(&client, "k1", KEYS, json!({"name": "other", "scopes": ["calls:read"]})).await;
        assert_eq!(other.error(), (422, "idempotency_mismatch".into(), None));
        let wrong = repeated(&client, "k2", KEYS, json!({"name": ""})).await;
        let again = repeated(&client, "k2", KEYS, json!({"name": ""})).await;
        assert_eq!(wrong.error().0, 400);
        assert_eq!((again.json(), again.header("idempotent-replay")), (wrong.json(), "true"));
        assert_eq!(repeated(&client, "", KEYS, body.clone()).await.error().2.as_deref(), Some("Idempotency-Key"));
        db.run("UPDATE idempotency_keys SET state = 'running', locked_until = 9000000000000000 WHERE key = 'k1'").await;
        let running = repeated(&client, "k1", KEYS, body.clone()).await;
        assert_eq!((running.error().1.as_str(), running.header("retry-after")), ("idempotency_in_progress", "1"));
        db.run("UPDATE idempotency_keys SET locked_until = 1 WHERE key = 'k1'").await;
        assert_eq!(repeated(&client, "k1", KEYS, body).await.status, 201);
    }

    async fn row_8_of_thirty_that_race_for_one_key_one_works(db) {
        let client = std::sync::Arc::new(Client::new(&db));
        let racers: Vec<_> = (0..30).map(|_| {
            let client = client.clone();
            tokio::spawn(async move { repeated(&client, "race", KEYS, json!({"name": "race", "scopes": ["calls:read"]})).await.status.as_u16() })
        }).collect();
        for racer in racers {
            let status = racer.await.unwrap();
            assert!(status == 201 || status == 409, "{status}");
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM api_keys WHERE name = 'race'").await, 1);
    }

    async fn only_listed_pages_may_call(db) {
        let settings = Settings { http: HttpSettings { cors_origins: vec!["https://console.example.com".into()], ..HttpSettings::default() }, ..Settings::default() };
        let client = Client::with(&db, &Hub::new(0), settings);
        let asked = async |origin: &str| {
            let request = Request::builder().method("OPTIONS").uri(KEYS).header("origin", origin);
            let request = request.header("access-control-request-method", "POST").header("access-control-request-headers", "idempotency-key");
            let answer = client.send(request.body(Body::empty()).unwrap()).await;
            (answer.header("access-control-allow-origin").to_owned(), answer.header("access-control-allow-credentials").to_owned())
        };
        assert_eq!(asked("https://console.example.com").await, ("https://console.example.com".into(), "true".into()));
        assert_eq!(asked("https://evil.example.com").await.0, "");
    }
}
