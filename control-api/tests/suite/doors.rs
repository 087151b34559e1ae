//! The doors of the API: credentials, envelopes, unknown things, limits.

use axum::{body::Body, http::Request};
use serde_json::json;

use crate::{
    db::on_both,
    fake::{Client, conversation},
};

on_both! {
    async fn row_1_without_a_credential_there_is_a_401_in_the_envelope(db) {
        let client = Client::new(&db);
        for path in ["/api/v1/calls", "/api/v1/calls/active", "/api/v1/bookings", "/api/v1/messages", "/metrics"] {
            let answer = client.send(Request::get(path).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.error(), (401, "unauthenticated".into(), None), "{path}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        for (name, value) in [
            ("authorization", "Bearer st_live_wrong000_0000000000000000"),
            ("authorization", "Basic YWxhZGRpbjpvcGVu"),
            ("authorization", "Bearer"),
            ("x-api-key", "st_live_"),
        ] {
            let answer = client.send(Request::get("/api/v1/calls").header(name, value).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.error().0, 401, "{name}: {value}");
        }
        let request = Request::get("/api/v1/calls").header("x-api-key", crate::db::KEY);
        assert_eq!(client.send(request.body(Body::empty()).unwrap()).await.status, 200);
    }

    async fn a_revoked_or_expired_key_opens_nothing(db) {
        db.run("UPDATE api_keys SET revoked_at = 1").await;
        assert_eq!(Client::new(&db).get("/api/v1/calls").await.error().0, 401);
        db.run("UPDATE api_keys SET revoked_at = NULL, expires_at = 1").await;
        assert_eq!(Client::new(&db).get("/api/v1/calls").await.error().0, 401);
        db.run("UPDATE api_keys SET expires_at = NULL").await;
        assert_eq!(Client::new(&db).get("/api/v1/calls").await.status, 200);
        db.run("UPDATE tenants SET status = 'suspended'").await;
        assert_eq!(Client::new(&db).get("/api/v1/calls").await.error().0, 401);
    }

    async fn a_key_does_only_what_its_scopes_say(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        db.run("UPDATE api_keys SET scopes = '[\"calls:read\"]'").await;
        let client = Client::new(&db);
        let read = client.get(&format!("/api/v1/calls/{call}")).await;
        assert_eq!(read.json()["from"]["address"], "+1•••••••123");
        for (path, scope) in [
            (format!("/api/v1/calls/{call}/transcript"), "transcripts:read"),
            (format!("/api/v1/calls/{call}/recording"), "recordings:read"),
            ("/api/v1/bookings".into(), "leads:read"),
            ("/metrics".into(), "platform:admin"),
        ] {
            assert_eq!(client.get(&path).await.error(), (403, "missing_scope".into(), Some(scope.into())), "{path}");
        }
        let end = client.post(&format!("/api/v1/calls/{call}/end"), json!({})).await;
        assert_eq!(end.error(), (403, "missing_scope".into(), Some("calls:control".into())));
    }

    async fn row_40_unknown_paths_methods_and_parameters_are_told_apart(db) {
        let client = Client::new(&db);
        assert_eq!(client.get("/api/v1/nope").await.error(), (404, "not_found".into(), None));
        let answer = client.send(client.request("PATCH", "/api/v1/calls").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.error().0, 405);
        let allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        assert!(allowed.contains(&"GET") && allowed.contains(&"POST"), "{allowed:?}");
        assert_eq!(
            client.get("/api/v1/calls?statsu=completed").await.error(),
            (400, "unknown_parameter".into(), Some("statsu".into()))
        );
        assert_eq!(client.get("/api/v1/calls/active?x=1").await.error().1, "unknown_parameter");
    }

    async fn ids_that_are_none_and_ids_of_others_look_alike(db) {
        let call = conversation(&db.journal, db.tenant, 1_000_000);
        db.journal.flush().await;
        db.run("INSERT INTO tenants (id, name, slug, rate_plan_id, created_at, updated_at) VALUES ('0193481e-7a10-7000-8000-0000000000d2', 'Other', 'other', 'p', 1, 1)").await;
        db.run("UPDATE api_keys SET tenant_id = '0193481e-7a10-7000-8000-0000000000d2'").await;
        let client = Client::new(&db);
        let mut answers = Vec::new();
        for id in [call.to_string(), "0193481e-7a10-7000-8000-0000000000ff".into(), "..%2F..%2Fetc".into(), "x".into()] {
            for rest in ["", "/transcript", "/recording", "/events", "/latency"] {
                let mut body = client.get(&format!("/api/v1/calls/{id}{rest}")).await.json();
                body["error"]["request_id"] = "".into();
                answers.push(body);
            }
        }
        assert!(answers.iter().all(|body| *body == answers[0] && body["error"]["code"] == "not_found"), "{answers:?}");
        let end = client.post(&format!("/api/v1/calls/{call}/end"), json!({})).await;
        assert_eq!(end.error().0, 404);
        assert_eq!(client.get("/api/v1/calls").await.json()["data"], json!([]));
    }

    async fn a_request_id_is_echoed_or_made_and_never_trusted(db) {
        let client = Client::new(&db);
        assert_eq!(client.get_with("/health", "x-request-id", "abc-123").await.header("x-request-id"), "abc-123");
        let long = "x".repeat(129);
        for odd in ["with space", &long] {
            let made = client.get_with("/health", "x-request-id", odd).await;
            assert_eq!(made.header("x-request-id").len(), 36, "{odd}");
        }
    }

    async fn every_answer_has_its_security_headers_and_a_trailing_slash_is_accepted(db) {
        let client = Client::new(&db);
        for path in ["/api/v1/calls", "/api/v1/calls/", "/health/", "/api/v1/nope", "/docs", "/api/v1/calls/?limit=1"] {
            let answer = client.get(path).await;
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("referrer-policy"), "no-referrer");
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.status == 404, path.ends_with("nope"), "{path}");
        }
        assert!(client.get("/docs").await.header("content-security-policy").contains("default-src 'none'"));
    }

    async fn row_13_bad_bodies_are_refused_by_what_is_wrong_with_them(db) {
        let client = Client::new(&db);
        let post = |kind: &'static str, body: String| {
            client.request("POST", "/api/v1/calls").header("content-type", kind).body(Body::from(body)).unwrap()
        };
        let json = "application/json";
        let cases = [
            (post(json, "{\"to\":".into()), 400, "malformed_json"),
            (post(json, "nonsense".into()), 400, "malformed_json"),
            (post(json, format!("{{\"variables\":{}", "[".repeat(1000))), 400, "malformed_json"),
            (post(json, format!("\"{}\"", "x".repeat(2 << 20))), 413, "too_large"),
            (post("text/plain", "{}".into()), 415, "unsupported_media_type"),
            (post(json, "{\"to\":\"sip:a@b\",\"agnet_id\":\"x\"}".into()), 400, "unknown_field"),
            (post(json, "{\"agent_id\":\"x\"}".into()), 400, "validation_failed"),
            (post(json, "[]".into()), 400, "validation_failed"),
            (post(json, String::new()), 400, "validation_failed"),
        ];
        for (request, status, code) in cases {
            let answer = client.send(request).await;
            assert_eq!((answer.error().0, answer.error().1.as_str()), (status, code));
        }
    }
}
