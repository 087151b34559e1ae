//! What a reviewer tries (API §7), where no other module has it already: `row_N` in the names of tests is the row there.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes},
    http::Request,
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use control_api::now_ms;
use futures_util::stream;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};

use crate::{
    db::on_both,
    fake::Client,
    person::{PASSWORD, Person, SIGNING_KEY, node},
    walk,
};

fn part(token: &str, n: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap()).unwrap()
}

/// A token that the installation's own key signs.
fn signed(header: &Value, claims: &Value) -> String {
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(SIGNING_KEY.trim()).unwrap()).unwrap();
    let message =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

on_both! {
    async fn row_2_only_our_own_fresh_tokens_for_us_are_believed(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let (header, claims) = (part(&janet.token, 0), part(&janet.token, 1));
        let with = |name: &str, value: Value| { let mut claims = claims.clone(); claims[name] = value; claims };
        let asked = async |token: String| {
            let thief = Person { token, ..janet.elsewhere() };
            let answer = thief.get("/api/v1/calls").await;
            if answer.status == 200 { (200, String::new()) } else { (answer.error().0, answer.error().1) }
        };
        // The forge works: the same claims, signed anew, are believed.
        assert_eq!(asked(signed(&header, &claims)).await.0, 200);
        let now = now_ms() / 1000;
        assert_eq!(asked(signed(&header, &with("exp", json!(now - 1)))).await, (401, "token_expired".into()));
        for (name, value) in [
            ("aud", json!("another")),
            ("iss", json!("https://elsewhere.example")),
            ("nbf", json!(now + 600)),
            ("sid", json!("0193481e-7a10-7000-8000-0000000000ff")),
            ("exp", json!("tomorrow")),
        ] {
            assert_eq!(asked(signed(&header, &with(name, value))).await, (401, "unauthenticated".into()), "{name}");
        }
        let body = URL_SAFE_NO_PAD.encode(claims.to_string());
        let none = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(json!({"alg": "none", "kid": header["kid"]}).to_string()));
        assert_eq!(asked(none).await, (401, "unauthenticated".into()));
        // An HMAC whose secret is the public key, in the forms in which people have it.
        let jwks = janet.get("/.well-known/jwks.json").await;
        let keys = jwks.json()["keys"].as_array().unwrap().clone();
        let n = keys.iter().find(|key| key["kid"] == header["kid"]).unwrap()["n"].as_str().unwrap().to_owned();
        for secret in [n.clone().into_bytes(), URL_SAFE_NO_PAD.decode(&n).unwrap(), jwks.bytes.clone()] {
            let message = format!("{}.{body}", URL_SAFE_NO_PAD.encode(json!({"alg": "HS256", "kid": header["kid"]}).to_string()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
            assert_eq!(asked(format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))).await, (401, "unauthenticated".into()));
        }
    }

    async fn row_13_a_body_that_comes_byte_by_byte_is_given_up_and_disturbs_nobody(db) {
        let client = Arc::new(Client::new(&db));
        let slow = |path: &'static str| {
            let bytes = stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
            });
            let request = client.request("POST", path).header("content-type", "application/json");
            let (client, request) = (client.clone(), request.body(Body::from_stream(bytes)).unwrap());
            tokio::spawn(async move { client.send(request).await })
        };
        let began = Instant::now();
        // An alias reads the body before the route does.
        let both = [slow("/api/v1/calls"), slow("/api/v1/calls/initiate")];
        assert_eq!(client.get("/api/v1/calls").await.status, 200);
        for answer in both {
            assert_eq!(answer.await.unwrap().error(), (408, "slow_body".into(), None));
        }
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    async fn row_17_a_key_that_was_revoked_elsewhere_is_dead_within_five_seconds(db) {
        let (here, there) = (Client::new(&db), Client::new(&db));
        let made = here.post("/api/v1/api-keys", json!({"name": "x", "scopes": ["calls:read"]})).await.json();
        let asked = async || {
            let request = Request::get("/api/v1/calls").header("x-api-key", made["key"].as_str().unwrap());
            there.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
        };
        assert_eq!(asked().await, 200);
        assert_eq!(here.delete(&format!("/api/v1/api-keys/{}", made["id"].as_str().unwrap())).await.status, 204);
        let revoked = Instant::now();
        while asked().await == 200 {
            assert!(revoked.elapsed() < Duration::from_secs(10), "it lives on");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn row_19_what_a_key_may_not_do_is_named(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let bob = janet.brings("bob@example.com", "developer").await;
        let keys = [
            (&bob, json!({"name": "k", "scopes": ["full"]}), "POST", "/api/v1/billing/top-up", json!({"amount_minor": 2000}), "billing:write"),
            (&janet, json!({"name": "k", "scopes": ["calls"]}), "PUT", "/api/v1/agents/0193481e-7a10-7000-8000-0000000000ff", json!({"name": "x"}), "agents:write"),
        ];
        for (maker, wish, method, path, body, scope) in keys {
            let made = maker.post("/api/v1/api-keys", wish).await;
            assert_eq!(made.status, 201, "{}", made.text());
            let key = Person { token: made.json()["key"].as_str().unwrap().to_owned(), ..maker.elsewhere() };
            let asked = key.send_with(method, path, Some(body), &[]).await;
            assert_eq!(asked.error(), (403, "missing_scope".into(), Some(scope.into())), "{method} {path}");
        }
    }

    async fn row_18_secrets_are_nowhere(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let bodies = [
            ("/api/v1/api-keys", json!({"name": "k", "scopes": ["calls:read"]})),
            ("/api/v1/trunks", json!({"name": "t", "auth": {"outbound": {"username": "u", "password": "carrier-secret-1"}}})),
            ("/api/v1/webhooks", json!({"url": "http://127.0.0.1:59999/hook"})),
        ];
        let mut secrets = vec![PASSWORD.to_owned(), "carrier-secret-1".to_owned(), janet.refresh.clone(), janet.token.clone()];
        for (n, (path, body)) in bodies.into_iter().enumerate() {
            // Kept for a repetition, too.
            let key = n.to_string();
            let made = janet.send_with("POST", path, Some(body), &[("idempotency-key", &key)]).await;
            assert!(made.status.is_success(), "{path}: {}", made.text());
            secrets.extend(["key", "secret"].iter().filter_map(|name| made.json()[*name].as_str().map(str::to_owned)));
        }
        assert!(secrets.len() > 5, "{}", secrets.len());
        let ticket = janet.post("/api/v1/ws-tickets", json!({})).await.json();
        secrets.push(ticket["ticket"].as_str().unwrap().to_owned());
        for path in ["/api/v1/api-keys", "/api/v1/trunks", "/api/v1/webhooks", "/api/v1/audit-log", "/api/v1/users/me", "/api/v1/auth/sessions", "/api/v1/events"] {
            let shown = janet.get(path).await;
            assert_eq!(shown.status, 200, "{path}: {}", shown.text());
            assert!(secrets.iter().all(|secret| !shown.text().contains(secret.as_str())), "{path}: {}", shown.text());
        }
        for row in walk::everything(&db).await {
            assert!(secrets.iter().all(|secret| !row.contains(secret.as_str())), "{row}");
        }
    }
}
