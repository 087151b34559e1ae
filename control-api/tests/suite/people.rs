//! Tenants, members and invitations, one's own account, and what the operator does to others.

use std::sync::Arc;

use control_api::{Background, BackgroundSettings, TenantPurge};
use serde_json::{Value, json};

use crate::{
    db::{Db, on_both},
    fake::{Client, conversation},
    invariants,
    person::{PASSWORD, Person, letter, node},
};

const ME: &str = "/api/v1/users/me";

impl Person {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/tenants/{}{rest}", self.tenant)
    }

    async fn put(&self, path: &str, body: Value) -> crate::fake::Answer {
        self.send("PUT", path, Some(body)).await
    }

    async fn delete(&self, path: &str) -> crate::fake::Answer {
        self.send("DELETE", path, None).await
    }

    /// Brings somebody into the tenant, who then works there.
    pub(crate) async fn brings(&self, email: &str, role: &str) -> Self {
        let made = self.post(&self.path("/invitations"), json!({"email": email, "role": role})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let token = made.json()["accept_url"].as_str().unwrap().split_once("token=").unwrap().1.to_owned();
        let mut person = Self::stranger(&self.client);
        let body = json!({"email": email, "password": PASSWORD, "name": "N", "invite_token": token});
        let answer = person.post("/api/v1/auth/register", body).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        person.id = answer.json()["user"]["id"].as_str().unwrap().into();
        person.holds(&answer.json()["tokens"]);
        assert_eq!((&person.tenant, answer.json()["tokens"]["role"].as_str()), (&self.tenant, Some(role)));
        person
    }
}

/// The owner of the tenant `default`, who runs the platform.
async fn operator(db: &Db, node: &Arc<Client>) -> Person {
    db.run("UPDATE users SET password_hash = (SELECT password_hash FROM users u WHERE u.email_key = 'janet@example.com') WHERE is_platform_admin = 1").await;
    let mut operator = Person::stranger(node);
    let answer = operator.login("owner@localhost", PASSWORD).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    operator.id = answer.json()["user"]["id"].as_str().unwrap().into();
    operator.holds(&answer.json()["tokens"]);
    operator
}

on_both! {
    async fn one_reads_and_changes_oneself(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let me = janet.get(ME).await;
        assert_eq!((me.status.as_u16(), me.header("etag")), (200, "\"1\""));
        assert_eq!(janet.send_with("GET", ME, None, &[("if-none-match", "\"1\"")]).await.status, 304);
        assert_eq!(janet.put(ME, me.json()).await.header("etag"), "\"1\"");
        let named = janet.put(ME, json!({"name": "Janet Q. Smith", "avatar_url": "https://pictures.example/1.png"})).await;
        assert_eq!((named.status.as_u16(), named.header("etag")), (200, "\"2\""), "{}", named.text());
        let stale = janet.send_with("PUT", ME, Some(json!({"name": "J"})), &[("if-match", "\"1\"")]).await;
        assert_eq!(stale.error().1, "version_conflict");
        for (body, code, field) in [
            (json!({"name": "J", "is_platform_admin": true}), "read_only_field", "is_platform_admin"),
            (json!({"name": "J", "blocked": true}), "read_only_field", "blocked"),
            (json!({"name": ""}), "validation_failed", "name"),
            (json!({"name": "J", "avatar_url": "javascript:alert(1)"}), "validation_failed", "avatar_url"),
            (json!({"name": "J", "nick": "x"}), "unknown_field", "nick"),
        ] {
            assert_eq!(janet.put(ME, body).await.error(), (400, code.into(), Some(field.into())));
        }
        let answer = node.get(ME).await;
        assert_eq!(answer.error(), (403, "user_session_required".into(), None));
        invariants::hold(&db).await;
    }

    async fn another_address_needs_the_password_and_counts_when_it_is_proven(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        Person::registered(&node, "eve@example.com").await;
        let change = |password: Value| json!({"name": "J", "email": "new@example.com", "current_password": password});
        for wrong in [Value::Null, "wrong wrong wrong".into()] {
            assert_eq!(janet.put(ME, change(wrong)).await.error(), (403, "bad_credentials".into(), Some("current_password".into())));
        }
        let asked = janet.put(ME, change(PASSWORD.into())).await;
        assert_eq!((asked.status.as_u16(), &asked.json()["email"]), (200, &json!("janet@example.com")), "{}", asked.text());
        let token = letter(&db, "auth.verify_email", "new@example.com").await.unwrap();
        assert_eq!(janet.post("/api/v1/auth/verify-email", json!({"token": token})).await.status, 204);
        let me = janet.get(ME).await.json();
        assert_eq!((&me["email"], &me["email_verified"]), (&json!("new@example.com"), &json!(true)));
        // Somebody else's: nothing tells that it is taken until the letter would be followed.
        let taken = json!({"name": "J", "email": "eve@example.com", "current_password": PASSWORD});
        assert_eq!(janet.put(ME, taken).await.status, 200);
    }

    async fn another_password_ends_the_other_sessions(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let mut other = Person::stranger(&node);
        other.holds(&other.login("janet@example.com", PASSWORD).await.json()["tokens"]);
        let to = |current: &str, new: &str| json!({"current_password": current, "password": new});
        let path = "/api/v1/users/me/password";
        assert_eq!(janet.post(path, to("wrong wrong wrong", "another rainy night")).await.error().1, "bad_credentials");
        assert_eq!(janet.post(path, to(PASSWORD, "1234567890")).await.error().2.as_deref(), Some("password"));
        assert_eq!(janet.post(path, to(PASSWORD, "another rainy night")).await.status, 204);
        assert_eq!((janet.get(ME).await.status.as_u16(), other.get(ME).await.error().0), (200, 401));
        assert_eq!(Person::stranger(&node).login("janet@example.com", "another rainy night").await.status, 200);
    }

    async fn who_leaves_takes_everything_personal_along(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let key = janet.post("/api/v1/api-keys", json!({"name": "k", "scopes": ["calls:read"]})).await.json()["key"].as_str().unwrap().to_owned();
        let bye = json!({"current_password": PASSWORD});
        let alone = janet.send("DELETE", ME, Some(bye.clone())).await;
        assert_eq!(alone.error().1, "last_owner");
        assert_eq!(alone.json()["error"]["details"][0]["code"], janet.tenant);
        let bob = janet.brings("bob@example.com", "owner").await;
        assert_eq!(janet.send("DELETE", ME, Some(json!({}))).await.error().1, "bad_credentials");
        assert_eq!(janet.send("DELETE", ME, Some(bye)).await.status, 204);
        assert_eq!(janet.get(ME).await.error().0, 401);
        let with_key = Client { key, ..Client::new(&db) };
        assert_eq!(with_key.get("/api/v1/calls").await.error().1, "missing_scope");
        assert_eq!(Person::stranger(&node).login("janet@example.com", PASSWORD).await.error().1, "bad_credentials");
        let left = "SELECT COUNT(*) FROM users WHERE email LIKE 'janet%' OR email_key LIKE 'janet%' OR (deleted_at IS NOT NULL AND (name <> '' OR password_hash IS NOT NULL))";
        assert_eq!(db.number(left).await, 0);
        assert_eq!(bob.get(&bob.path("/members")).await.json()["data"].as_array().unwrap().len(), 1);
        let again = Person::registered(&node, "janet@example.com").await;
        assert_ne!(again.id, janet.id);
        invariants::hold(&db).await;
    }

    async fn a_user_has_tenants_and_switches_between_them(db) {
        let node = node(&db);
        let mut janet = Person::registered(&node, "janet@example.com").await;
        let first = janet.tenant.clone();
        let made = janet.post("/api/v1/tenants", json!({"name": "Second & Söhne", "timezone": "Europe/Berlin"})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let second = made.json()["id"].as_str().unwrap().to_owned();
        assert_eq!(made.header("location"), format!("/api/v1/tenants/{second}"));
        assert!(made.json()["slug"].as_str().unwrap().starts_with("second-s-hne-"));
        let eve = Person::registered(&node, "eve@example.com").await;
        let ids = |list: Value| list["data"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(ids(janet.get("/api/v1/tenants").await.json()), [second.clone(), first.clone()]);
        assert_eq!(ids(eve.get("/api/v1/tenants").await.json()), std::slice::from_ref(&eve.tenant));
        // The credential is for one tenant; the other is reached by switching.
        assert_eq!(janet.get(&format!("/api/v1/tenants/{second}")).await.error().0, 404);
        assert_eq!(eve.post("/api/v1/auth/switch", json!({"tenant_id": second})).await.error().0, 404);
        let tokens = janet.post("/api/v1/auth/switch", json!({"tenant_id": second})).await;
        janet.holds(&tokens.json());
        assert_eq!(janet.get(&janet.path("")).await.json()["timezone"], "Europe/Berlin");
        assert_eq!(janet.post("/api/v1/tenants", json!({"name": "x", "timezone": "Mars/Base"})).await.error().2.as_deref(), Some("timezone"));
        for _ in 0..8 {
            assert_eq!(janet.post("/api/v1/tenants", json!({"name": "more"})).await.status, 201);
        }
        assert_eq!(janet.post("/api/v1/tenants", json!({"name": "more"})).await.error().1, "too_many_tenants");
        invariants::hold(&db).await;
    }

    async fn a_tenant_sets_what_it_may_below_what_the_platform_grants(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let path = janet.path("");
        let before = janet.get(&path).await;
        let same = janet.put(&path, before.json()).await;
        assert_eq!((same.status.as_u16(), same.header("etag")), (200, before.header("etag")), "{}", same.text());
        let patch = async |who: &Person, body: Value| who.send("PATCH", &path, Some(body)).await;
        for (body, field) in [
            (json!({"limits": {"max_calls": 500}}), "limits.max_calls"),
            (json!({"status": "suspended"}), "status"),
            (json!({"rate_plan_id": "x"}), "rate_plan_id"),
            (json!({"slug": "mine"}), "slug"),
            (json!({"tenant_id": "x"}), "tenant_id"),
        ] {
            assert_eq!(patch(&janet, body).await.error(), (400, "read_only_field".into(), Some(field.into())));
        }
        for (body, field) in [
            (json!({"limits": {"countries": ["US", "DE"]}}), "limits.countries"),
            (json!({"limits": {"max_rate_micros": 500_001}}), "limits.max_rate_micros"),
            (json!({"timezone": "Mars/Base"}), "timezone"),
            (json!({"retention": {"recording_days": 0}}), "retention.recording_days"),
            (json!({"settings": {"default_language": "English"}}), "settings.default_language"),
            (json!({"name": "x".repeat(101)}), "name"),
        ] {
            assert_eq!(patch(&janet, body).await.error(), (400, "validation_failed".into(), Some(field.into())));
        }
        let lower = patch(&janet, json!({"limits": {"countries": ["US"], "max_rate_micros": 100, "daily_cap_micros": 5_000_000}, "retention": {"trace_days": 1}})).await;
        assert_eq!(lower.status, 200, "{}", lower.text());
        assert_eq!((&lower.json()["limits"]["countries"], &lower.json()["limits"]["max_calls"]), (&json!(["US"]), &json!(20)));
        // Up again, but not above what was granted.
        assert_eq!(patch(&janet, json!({"limits": {"countries": ["CA", "US"], "max_rate_micros": 500_000}})).await.status, 200);
        let operator = operator(&db, &node).await;
        let granted = patch(&operator, json!({"limits": {"max_calls": 500, "countries": ["US", "CA", "DE"], "monthly_cap_micros": 9_000_000}})).await;
        assert_eq!((granted.status.as_u16(), &granted.json()["limits"]["max_calls"]), (200, &json!(500)), "{}", granted.text());
        assert_eq!(db.number("SELECT COUNT(*) FROM audit_log WHERE action = 'tenant.visit'").await, 1);
        assert_eq!(patch(&janet, json!({"limits": {"countries": ["DE"]}})).await.status, 200);
        assert_eq!(patch(&janet, json!({"limits": {"monthly_cap_micros": 9_000_001}})).await.error().2.as_deref(), Some("limits.monthly_cap_micros"));
        // Suspended: nobody works there.
        assert_eq!(patch(&operator, json!({"status": "suspended"})).await.status, 200);
        assert_eq!(janet.get(ME).await.error().0, 401);
        invariants::hold(&db).await;
    }

    async fn a_tenant_may_ask_for_if_match_everywhere(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let path = janet.path("");
        let version = janet.send("PATCH", &path, Some(json!({"settings": {"require_if_match": true}}))).await.header("etag").to_owned();
        for (path, body) in [(&*path, json!({"name": "x"})), (ME, json!({"name": "x"}))] {
            let method = if path == ME { "PUT" } else { "PATCH" };
            assert_eq!(janet.send(method, path, Some(body)).await.error().0, 428, "{path}");
        }
        let good = janet.send_with("PATCH", &path, Some(json!({"name": "x"})), &[("if-match", &version)]).await;
        assert_eq!(good.status, 200, "{}", good.text());
    }

    async fn somebody_is_invited_and_joins(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let path = janet.path("/invitations");
        let made = janet.post(&path, json!({"email": "Bob@Example.com", "role": "analyst"})).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let token = letter(&db, "auth.invitation", "Bob@Example.com").await.unwrap();
        assert!(made.json()["accept_url"].as_str().unwrap().ends_with(&token));
        let listed = janet.get(&path).await;
        assert_eq!(listed.json()["data"].as_array().unwrap().len(), 1);
        assert!(!listed.text().contains(&token));
        let eve = Person::registered(&node, "eve@example.com").await;
        let accept = async |who: &Person, token: &str| who.post("/api/v1/invitations/accept", json!({"token": token})).await;
        assert_eq!(accept(&eve, &token).await.error().1, "email_mismatch");
        assert_eq!(accept(&eve, "iv_nonsense").await.error().1, "token_invalid");
        let mut bob = Person::registered(&node, "bob@example.com").await;
        let joined = accept(&bob, &token).await;
        assert_eq!((joined.status.as_u16(), &joined.json()["role"]), (200, &json!("analyst")), "{}", joined.text());
        assert_eq!(accept(&bob, &token).await.error().0, 410);
        assert_eq!(janet.get(&path).await.json()["data"], json!([]));
        bob.holds(&bob.post("/api/v1/auth/switch", json!({"tenant_id": janet.tenant})).await.json());
        assert_eq!(bob.get("/api/v1/calls").await.status, 200);
        assert_eq!(bob.post(&path, json!({"email": "x@example.com"})).await.error(), (403, "missing_scope".into(), Some("members:write".into())));
        assert_eq!(janet.post(&path, json!({"email": "bob@example.com"})).await.error().1, "already_member");
        // An expired one is over, and the address can be asked again.
        let first = janet.post(&path, json!({"email": "eve@example.com"})).await.json();
        db.run("UPDATE invitations SET expires_at = 1 WHERE accepted_at IS NULL").await;
        let late = first["accept_url"].as_str().unwrap().split_once("token=").unwrap().1;
        assert_eq!(accept(&eve, late).await.error().0, 410);
        let second = janet.post(&path, json!({"email": "eve@example.com"})).await.json();
        let one = format!("{path}/{}", second["id"].as_str().unwrap());
        assert_eq!(eve.delete(&one).await.error().0, 404);
        assert_eq!((janet.delete(&one).await.status.as_u16(), janet.delete(&one).await.error().0), (204, 404));
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'member.joined'").await, 1);
        invariants::hold(&db).await;
    }

    // API.md §7, row 37.
    async fn row_37_the_last_owner_stays_nobody_raises_themselves_and_nobody_is_invited_twice(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let of = |person: &Person| janet.path(&format!("/members/{}", person.id));
        assert_eq!(janet.delete(&of(&janet)).await.error().1, "last_owner");
        for change in [json!({"role": "admin"}), json!({"blocked": true})] {
            assert_eq!(janet.put(&of(&janet), change).await.error().1, "last_owner");
        }
        let bob = janet.brings("bob@example.com", "admin").await;
        assert_eq!(bob.put(&of(&bob), json!({"role": "owner"})).await.error(), (403, "role_too_high".into(), None));
        assert_eq!(bob.put(&of(&janet), json!({"role": "analyst"})).await.error().1, "role_too_high");
        assert_eq!(bob.delete(&of(&janet)).await.error().1, "role_too_high");
        assert_eq!(bob.post(&janet.path("/invitations"), json!({"email": "c@example.com", "role": "owner"})).await.error().1, "role_too_high");
        let twice = json!({"email": "carol@example.com"});
        assert_eq!(janet.post(&janet.path("/invitations"), twice.clone()).await.status, 201);
        assert_eq!(janet.post(&janet.path("/invitations"), twice).await.error(), (409, "already_invited".into(), Some("email".into())));
        assert_eq!(janet.put(&of(&bob), json!({"role": "owner"})).await.json()["role"], "owner");
        // Two owners who part with each other at once: one of them stays.
        let (to_janet, to_bob) = (of(&janet), of(&bob));
        let (janet_goes, bob_goes) = tokio::join!(bob.delete(&to_janet), janet.delete(&to_bob));
        let gone = [janet_goes.status.as_u16(), bob_goes.status.as_u16()];
        assert!(gone.contains(&204), "{gone:?}");
        assert_eq!(db.number("SELECT COUNT(*) FROM memberships WHERE role = 'owner' AND tenant_id <> (SELECT id FROM tenants WHERE slug = 'default')").await, 1);
        invariants::hold(&db).await;
    }

    async fn a_member_who_is_blocked_or_gone_works_here_no_more_and_nor_do_their_keys(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let bob = janet.brings("bob@example.com", "developer").await;
        let key = bob.post("/api/v1/api-keys", json!({"name": "k", "scopes": ["calls:read"]})).await.json()["key"].as_str().unwrap().to_owned();
        let with_key = async || {
            let request = axum::http::Request::get("/api/v1/calls").header("x-api-key", &key);
            node.send(request.body(axum::body::Body::empty()).unwrap()).await
        };
        assert_eq!(with_key().await.status, 200);
        let path = janet.path(&format!("/members/{}", bob.id));
        assert_eq!(janet.put(&path, json!({"blocked": true})).await.json()["blocked"], true);
        assert_eq!((bob.get(ME).await.error().1, with_key().await.error().1), ("blocked".into(), "blocked".into()));
        assert_eq!(janet.put(&path, json!({"blocked": false})).await.status, 200);
        assert_eq!((bob.get(ME).await.status.as_u16(), with_key().await.status.as_u16()), (200, 200));
        // A lower role is a lower key.
        assert_eq!(janet.put(&path, json!({"role": "analyst"})).await.status, 200);
        assert_eq!(bob.post("/api/v1/api-keys", json!({"name": "k", "scopes": ["calls:read"]})).await.error().1, "missing_scope");
        assert_eq!(janet.delete(&path).await.status, 204);
        assert_eq!((bob.get(ME).await.error().0, with_key().await.error().1), (401, "missing_scope".into()));
        let eve = Person::registered(&node, "eve@example.com").await;
        assert_eq!(eve.put(&janet.path(&format!("/members/{}", janet.id)), json!({"role": "analyst"})).await.error(), (404, "not_found".into(), None));
    }

    async fn a_blocked_user_is_out_at_once_and_everywhere(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let made = janet.post("/api/v1/api-keys", json!({"name": "k", "scopes": ["calls:read"]})).await.json();
        let path = format!("/api/v1/users/{}/blocked", janet.id);
        assert_eq!(janet.put(&path, json!({"blocked": true})).await.error().1, "missing_scope");
        let blocked = node.put(&path, json!({"blocked": true, "reason": "fraud"})).await;
        assert_eq!((blocked.status.as_u16(), &blocked.json()["keys"][0]["id"]), (200, &made["id"]), "{}", blocked.text());
        assert_eq!(janet.get(ME).await.error().1, "blocked");
        let key = Client { key: made["key"].as_str().unwrap().into(), ..Client::new(&db) };
        assert_eq!(key.get("/api/v1/calls").await.error().1, "blocked");
        assert_eq!(Person::stranger(&node).login("janet@example.com", PASSWORD).await.error().1, "blocked");
        assert_eq!(node.put(&path, json!({"blocked": false})).await.status, 200);
        assert_eq!(Person::stranger(&node).login("janet@example.com", PASSWORD).await.status, 200);
        assert_eq!(node.put(&format!("/api/v1/users/{}/blocked", uuid::Uuid::now_v7()), json!({"blocked": true})).await.error().0, 404);
    }

    async fn a_developer_sees_their_own_keys(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let bob = janet.brings("bob@example.com", "developer").await;
        let mut ids = Vec::new();
        for person in [&janet, &bob] {
            let made = person.post("/api/v1/api-keys", json!({"name": "k", "scopes": ["calls:read"]})).await;
            ids.push(made.json()["id"].as_str().unwrap().to_owned());
        }
        let count = async |who: &Person| who.get("/api/v1/api-keys").await.json()["data"].as_array().unwrap().len();
        assert_eq!((count(&janet).await, count(&bob).await), (2, 1));
        let foreign = format!("/api/v1/api-keys/{}", ids[0]);
        assert_eq!((bob.get(&foreign).await.error().0, bob.delete(&foreign).await.error().0), (404, 404));
        assert_eq!(janet.delete(&format!("/api/v1/api-keys/{}", ids[1])).await.status, 204);
    }

    async fn the_audit_log_tells_who_did_what_and_no_secret(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let bob = janet.brings("bob@example.com", "developer").await;
        janet.put(&janet.path(&format!("/members/{}", bob.id)), json!({"role": "analyst"})).await;
        let all = janet.get("/api/v1/audit-log").await;
        let data = all.json()["data"].as_array().unwrap().clone();
        let update = data.iter().find(|row| row["action"] == "member.update").unwrap();
        assert_eq!((&update["actor"]["id"], &update["object"]["id"]), (&json!(janet.id), &json!(bob.id)));
        assert_eq!(update["diff"]["role"], json!({"from": "developer", "to": "analyst"}));
        assert_eq!(update["ip"], janet.address.ip().to_string());
        for secret in [PASSWORD, &janet.refresh, "iv_", "argon2"] {
            assert!(!all.text().contains(secret), "{secret}");
        }
        let one = janet.get(&format!("/api/v1/audit-log?action=member.update&actor_id={}", janet.id)).await.json();
        assert_eq!(one["data"].as_array().unwrap().len(), 1);
        assert_eq!(janet.get("/api/v1/audit-log?actor_id=nobody").await.json()["data"], json!([]));
        assert_eq!(bob.get("/api/v1/audit-log").await.error().1, "missing_scope");
        let eve = Person::registered(&node, "eve@example.com").await;
        assert!(!eve.get("/api/v1/audit-log").await.text().contains(&bob.id));
    }

    async fn a_tenant_ends_and_its_data_go_thirty_days_later(db) {
        let node = node(&db);
        let janet = Person::registered(&node, "janet@example.com").await;
        let bob = janet.brings("bob@example.com", "admin").await;
        let key = janet.post("/api/v1/api-keys", json!({"name": "k", "scopes": ["full"]})).await.json()["key"].as_str().unwrap().to_owned();
        let key = Client { key, router: node.router.clone(), board: node.board.clone() };
        let trunk = key.post("/api/v1/trunks", json!({"name": "t"})).await.json();
        let number = key.post("/api/v1/numbers", json!({"e164": "+12125550177", "carrier": "none", "trunk_id": trunk["id"]})).await;
        assert_eq!(number.status, 201, "{}", number.text());
        let tenant = janet.tenant.parse().unwrap();
        let call = conversation(&db.journal, tenant, control_api::now_ms());
        db.journal.flush().await;
        assert_eq!(bob.delete(&janet.path("")).await.error().1, "owner_only");
        sqlx::query("UPDATE ledger_accounts SET balance_micros = 5 WHERE tenant_id = $1 AND livemode = 1 AND kind = 'available'")
            .bind(janet.tenant.clone()).execute(&db.raw).await.unwrap();
        assert_eq!(janet.delete(&janet.path("")).await.error().1, "balance_not_zero");
        db.run("UPDATE ledger_accounts SET balance_micros = 0").await;
        let ending = janet.delete(&janet.path("")).await;
        assert_eq!((ending.status.as_u16(), ending.json()["state"].as_str()), (202, Some("deleting")), "{}", ending.text());
        assert_eq!((janet.get(ME).await.error().0, key.get("/api/v1/calls").await.error().0), (401, 401));
        assert_eq!(db.number("SELECT COUNT(*) FROM numbers WHERE released_at IS NULL").await, 0);
        // Signing in still works for who belongs nowhere else: it says so.
        assert_eq!(Person::stranger(&node).login("bob@example.com", PASSWORD).await.error().1, "no_membership");
        assert_eq!(db.number("SELECT COUNT(*) FROM turns").await, 3);
        db.run("UPDATE jobs SET run_at = 0 WHERE kind = 'tenant.purge'").await;
        let settings = BackgroundSettings { node: "n1".into(), handlers: vec![Arc::new(TenantPurge)], ..BackgroundSettings::default() };
        let background = Background::start(&db.store, settings).await.unwrap();
        for _ in 0..500 {
            if db.number("SELECT COUNT(*) FROM tenants WHERE status = 'deleted'").await == 1 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        background.stop(std::time::Duration::from_secs(5)).await;
        let fault: Option<String> = sqlx::query_scalar("SELECT last_error FROM jobs WHERE kind = 'tenant.purge'").fetch_one(&db.raw).await.unwrap();
        assert_eq!(fault, None);
        assert_eq!(db.number("SELECT COUNT(*) FROM tenants WHERE status = 'deleted'").await, 1);
        for empty in ["SELECT COUNT(*) FROM turns", "SELECT COUNT(*) FROM numbers", "SELECT COUNT(*) FROM calls WHERE from_addr <> ''"] {
            assert_eq!(db.number(empty).await, 0, "{empty}");
        }
        assert!(db.number("SELECT COUNT(*) FROM audit_log WHERE action = 'tenant.delete'").await == 1);
        let _ = call;
        invariants::hold(&db).await;
    }

    async fn the_first_tenant_stays(db) {
        let node = node(&db);
        assert_eq!(node.delete(&format!("/api/v1/tenants/{}", db.tenant)).await.error().1, "default_tenant");
        assert_eq!(node.get("/api/v1/tenants").await.json()["data"].as_array().unwrap().len(), 1);
    }
}
