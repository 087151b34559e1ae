//! Accounts: register, sign in, stay signed in, forget a password.

use axum::http::StatusCode;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use control_api::{AuthSettings, Hub, Registration, Settings};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::{
    db::on_both,
    fake::Client,
    invariants,
    person::{PASSWORD, Person, letter, node, settings},
};

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

on_both! {
    async fn an_account_gets_a_tenant_of_its_own_and_is_signed_in(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "Janet@Example.com").await;
        let me = janet.get("/api/v1/calls").await;
        assert_eq!(me.status, 200, "{}", me.text());
        let claims = claims(&janet.token);
        assert_eq!((claims["sub"].as_str(), claims["tid"].as_str(), claims["role"].as_str()), (Some(&*janet.id), Some(&*janet.tenant), Some("owner")));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
        let again = Person::stranger(&node).post("/api/v1/auth/register", json!({"email": "janet@EXAMPLE.com", "password": PASSWORD, "name": "J"})).await;
        assert_eq!(again.error(), (409, "email_taken".into(), Some("email".into())));
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type IN ('user.created', 'tenant.created')").await, 2);
        assert!(letter(&db, "auth.verify_email", "Janet@Example.com").await.is_some());
        let stored: String = sqlx::query_scalar("SELECT password_hash FROM users WHERE email_key = 'janet@example.com'").fetch_one(&db.raw).await.unwrap();
        assert!(stored.starts_with("$argon2id$"));
        invariants::hold(&db).await;
    }

    async fn all_that_is_wrong_with_a_registration_is_told_at_once(db) {
        let answer = Person::stranger(&node(&db)).post("/api/v1/auth/register", json!({"email": "nobody", "password": "password123", "name": ""})).await;
        assert_eq!(answer.error(), (400, "validation_failed".into(), Some("email".into())));
        let fields: Vec<String> = answer.json()["error"]["details"].as_array().unwrap().iter().map(|fault| fault["field"].as_str().unwrap().into()).collect();
        assert_eq!(fields, ["email", "password", "name", "tenant_name"]);
    }

    async fn who_registers_is_welcomed_with_credit_once(db) {
        let auth = AuthSettings { welcome_micros: 5_000_000, ..settings().auth };
        let node = Arc::new(Client::with(&db, &Hub::new(0), Settings { auth, ..Settings::default() }));
        let janet = Person::registered(&node, "janet@example.com").await;
        let balance = janet.get("/api/v1/billing/balance").await;
        assert_eq!((balance.status.as_u16(), &balance.json()["available_micros"]), (200, &json!(5_000_000)), "{}", balance.text());
        assert_eq!(janet.post("/api/v1/tenants", json!({"name": "Second"})).await.status, 201);
        assert_eq!(db.number("SELECT CAST(SUM(balance_micros) AS BIGINT) FROM ledger_accounts WHERE kind = 'available'").await, 5_000_000);
        invariants::hold(&db).await;
    }

    async fn a_closed_door_stays_closed(db) {
        for registration in [Registration::Closed, Registration::Invite] {
            let auth = AuthSettings { registration, ..settings().auth };
            let node = Arc::new(Client::with(&db, &Hub::new(0), Settings { auth, ..Settings::default() }));
            let answer = Person::stranger(&node).post("/api/v1/auth/register", json!({"email": "a@b", "password": PASSWORD, "name": "A"})).await;
            assert_eq!(answer.error().1, "registration_closed");
        }
    }

    async fn row_15_wrong_password_unknown_address_and_no_password_look_alike(db) {
        let node = node(&db);
        Person::registered(&node, "janet@example.com").await;
        Person::registered(&node, "without@example.com").await;
        db.run("UPDATE users SET password_hash = NULL WHERE email_key = 'without@example.com'").await;
        let mut answers = Vec::new();
        for email in ["janet@example.com", "nobody@example.com", "without@example.com", "not an address"] {
            let answer = Person::stranger(&node).login(email, "wrong wrong wrong").await;
            assert_eq!(answer.error(), (401, "bad_credentials".into(), None));
            let mut body = answer.json();
            body["error"]["request_id"] = "".into();
            answers.push(body);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]));
        let good = Person::stranger(&node).login(" JANET@example.com ", PASSWORD).await;
        assert_eq!(good.status, 200, "{}", good.text());
        assert_eq!(good.json()["tenants"].as_array().unwrap().len(), 1);
        assert!(good.header("set-cookie").starts_with("st_refresh=rt_"));
    }

    async fn row_15_the_eleventh_guess_has_to_wait(db) {
        let node = node(&db);
        Person::registered(&node, "janet@example.com").await;
        let thief = Person::stranger(&node);
        for _ in 0..10 {
            assert_eq!(thief.login("janet@example.com", "wrong wrong wrong").await.error().0, 401);
        }
        let answer = thief.login("janet@example.com", PASSWORD).await;
        assert_eq!(answer.error().1, "rate_limited");
        assert!(answer.header("retry-after").parse::<u32>().unwrap() >= 1);
    }

    async fn row_16_a_refresh_token_is_good_once_and_used_twice_ends_the_session(db) {
        let node = node(&db);
        let mut janet = Person::registered(&node, "janet@example.com").await;
        let first = janet.refresh.clone();
        let refresh = |token: String| { let janet = janet.elsewhere(); async move { janet.post("/api/v1/auth/refresh", json!({"refresh_token": token})).await } };
        let renewed = refresh(first.clone()).await;
        assert_eq!(renewed.status, 200, "{}", renewed.text());
        let second = renewed.json()["refresh_token"].as_str().unwrap().to_owned();
        assert_eq!(refresh(first.clone()).await.error().1, "refresh_reused");
        assert_eq!(refresh(second).await.error().1, "refresh_invalid");
        assert_eq!(refresh("rt_nonsense".into()).await.error().1, "refresh_invalid");
        janet.holds(&renewed.json());
        assert_eq!(janet.get("/api/v1/calls").await.error(), (401, "unauthenticated".into(), None));
        assert_eq!(db.number("SELECT COUNT(*) FROM audit_log WHERE action = 'session.refresh_reused'").await, 1);
        invariants::hold(&db).await;
    }

    async fn of_eight_that_refresh_at_once_one_goes_on(db) {
        let janet = Person::registered(&node(&db), "janet@example.com").await;
        let all = (0..8).map(|_| { let janet = janet.elsewhere(); tokio::spawn(async move {
            janet.post("/api/v1/auth/refresh", json!({"refresh_token": janet.refresh})).await.status
        })});
        let mut good = 0;
        for one in all.collect::<Vec<_>>() {
            good += u32::from(one.await.unwrap() == StatusCode::OK);
        }
        assert_eq!(good, 1);
    }

    async fn a_browser_refreshes_with_its_cookie(db) {
        let janet = Person::registered(&node(&db), "janet@example.com").await;
        let answer = janet.send_with("POST", "/api/v1/auth/refresh", None, &[("cookie", &format!("x=1; st_refresh={}", janet.refresh))]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        for part in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/api/v1/auth"] {
            assert!(answer.header("set-cookie").contains(part), "{part}");
        }
    }

    async fn signing_out_kills_the_access_token_too(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let mut other = Person::stranger(&node);
        other.holds(&other.login("janet@example.com", PASSWORD).await.json()["tokens"]);
        assert_eq!(janet.get("/api/v1/auth/sessions").await.json()["data"].as_array().unwrap().len(), 2);
        assert_eq!(janet.post("/api/v1/auth/logout", json!({})).await.status, 204);
        assert_eq!(janet.get("/api/v1/calls").await.error().0, 401);
        assert_eq!(other.get("/api/v1/calls").await.status, 200);
        assert_eq!(other.post("/api/v1/auth/logout", json!({"all": true})).await.status, 204);
        assert_eq!(other.get("/api/v1/calls").await.error().0, 401);
    }

    async fn one_session_ends_another_of_the_same_user_and_no_stranger_s(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let eve = Person::registered(&node, "eve@example.com").await;
        let mut other = Person::stranger(&node);
        other.holds(&other.login("janet@example.com", PASSWORD).await.json()["tokens"]);
        let sessions = other.get("/api/v1/auth/sessions").await.json();
        let of_janet = sessions["data"].as_array().unwrap().iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/auth/sessions/{of_janet}");
        assert_eq!(eve.send("DELETE", &path, None).await.error().0, 404);
        assert_eq!(other.send("DELETE", &path, None).await.status, 204);
        assert_eq!(janet.get("/api/v1/calls").await.error().0, 401);
    }

    async fn row_15_a_forgotten_password_is_chosen_anew_by_a_link_that_works_once(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let stranger = Person::stranger(&node);
        let (known, unknown) = (
            stranger.post("/api/v1/auth/forgot-password", json!({"email": "janet@example.com"})).await,
            stranger.post("/api/v1/auth/forgot-password", json!({"email": "nobody@example.com"})).await,
        );
        assert_eq!((known.status, known.text()), (unknown.status, unknown.text()));
        assert_eq!(known.status, 202);
        let token = letter(&db, "auth.password_reset", "janet@example.com").await.unwrap();
        let reset = |password: &'static str| { let (stranger, token) = (stranger.elsewhere(), token.clone()); async move {
            stranger.post("/api/v1/auth/reset-password", json!({"token": token, "password": password})).await
        }};
        assert_eq!(reset("1234567890").await.error(), (400, "validation_failed".into(), Some("password".into())));
        assert_eq!(reset("another rainy night").await.status, 204);
        assert_eq!(reset("a third rainy night").await.error(), (400, "token_invalid".into(), Some("token".into())));
        assert_eq!(janet.get("/api/v1/calls").await.error().0, 401);
        assert_eq!(stranger.login("janet@example.com", PASSWORD).await.error().0, 401);
        assert_eq!(stranger.login("janet@example.com", "another rainy night").await.status, 200);
        db.run("UPDATE one_time_tokens SET used_at = NULL, expires_at = 1").await;
        assert_eq!(reset("a fourth rainy night").await.error().1, "token_invalid");
        assert_eq!(db.number("SELECT COUNT(*) FROM emails WHERE to_addr = 'nobody@example.com'").await, 0);
    }

    async fn an_address_is_proven_by_its_letter(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let token = letter(&db, "auth.verify_email", "janet@example.com").await.unwrap();
        assert_eq!(janet.post("/api/v1/auth/verify-email", json!({"token": token})).await.status, 204);
        assert_eq!(janet.post("/api/v1/auth/verify-email", json!({"token": token})).await.error().1, "token_invalid");
        assert_eq!(db.number("SELECT COUNT(*) FROM users WHERE email_verified_at IS NOT NULL AND email_key = 'janet@example.com'").await, 1);
    }

    async fn a_token_of_another_kind_of_signature_or_audience_or_time_is_refused(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let [header, body, signature] = janet.token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let mut said: Value = claims(&janet.token);
        said["role"] = "admin".into();
        let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
        let none = encode(json!({"alg": "none", "typ": "JWT"}).to_string());
        for forged in [
            format!("{none}.{body}."),
            format!("{header}.{}.{signature}", encode(said.to_string())),
            format!("{header}.{body}.{}", encode("x".repeat(256))),
            "a.b.c".into(),
            "ey".into(),
        ] {
            let thief = Person { token: forged, ..janet.elsewhere() };
            assert_eq!(thief.get("/api/v1/calls").await.error(), (401, "unauthenticated".into(), None));
        }
        // Another installation's issuer, the same key.
        let auth = AuthSettings { public_url: "https://elsewhere.example".into(), ..settings().auth };
        let elsewhere = Arc::new(Client::with(&db, &Hub::new(0), Settings { auth, ..Settings::default() }));
        let guest = Person { client: elsewhere, ..janet.elsewhere() };
        assert_eq!(guest.get("/api/v1/calls").await.error().1, "unauthenticated");
    }

    async fn keys_rotate_without_anybody_noticing(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        assert_eq!(janet.post("/api/v1/auth/keys/rotate", json!({})).await.error(), (403, "missing_scope".into(), Some("platform:admin".into())));
        let kid = |token: &str| -> Value {
            let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
            header["kid"].clone()
        };
        let before = kid(&janet.token);
        let rotated = node.post("/api/v1/auth/keys/rotate", json!({})).await;
        assert_eq!(rotated.status, 200, "{}", rotated.text());
        assert_ne!(rotated.json()["kid"], before);
        assert_eq!(janet.get("/api/v1/calls").await.status, 200);
        let mut later = janet.elsewhere();
        later.holds(&later.post("/api/v1/auth/refresh", json!({"refresh_token": janet.refresh})).await.json());
        assert_eq!(kid(&later.token), rotated.json()["kid"]);
        assert_eq!(later.get("/api/v1/calls").await.status, 200);
        let listed = janet.get("/.well-known/jwks.json").await;
        assert_eq!(listed.header("cache-control"), "public, max-age=300");
        let keys = listed.json()["keys"].as_array().unwrap().clone();
        assert!(keys.iter().any(|key| key["kid"] == before) && keys.iter().all(|key| key.get("d").is_none()));
        // Retired for more than an hour.
        db.run("UPDATE signing_keys SET retired_at = 1 WHERE state = 'retired'").await;
        let fresh = crate::person::node(&db);
        let late = Person { client: fresh, ..janet.elsewhere() };
        assert_eq!(late.get("/api/v1/calls").await.error().1, "unauthenticated");
        let private: Vec<String> = sqlx::query_scalar("SELECT sealed_private FROM signing_keys").fetch_all(&db.raw).await.unwrap();
        assert!(private.iter().all(|sealed| sealed.starts_with("v1.")));
    }

    async fn a_ticket_is_for_who_may_read_events(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let ticket = janet.post("/api/v1/ws-tickets", json!({})).await;
        assert_eq!(ticket.status, 201, "{}", ticket.text());
        assert!(ticket.json()["ticket"].as_str().unwrap().starts_with("wt_"));
        assert_eq!(Person::stranger(&node).post("/api/v1/ws-tickets", json!({})).await.error().0, 401);
    }

    async fn a_key_cannot_do_what_only_a_person_does(db) {
        let node = node(&db);
        for (method, path) in [("POST", "/api/v1/auth/logout"), ("GET", "/api/v1/auth/sessions")] {
            let answer = node.send(node.request(method, path).body(axum::body::Body::empty()).unwrap()).await;
            assert_eq!(answer.error().1, "user_session_required", "{path}");
        }
    }
}
