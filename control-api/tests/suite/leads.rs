//! Leads, notes and templates over HTTP.

use axum::body::Body;
use serde_json::{Value, json};

use crate::{
    after::talk,
    db::{Db, on_both},
    fake::{Answer, Client},
    invariants,
};

async fn send(client: &Client, method: &str, path: &str, etag: &str, body: Value) -> Answer {
    let mut request = client.request(method, path).header("content-type", "application/json");
    if !etag.is_empty() {
        request = request.header("if-match", etag);
    }
    client.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn lead(client: &Client, body: Value) -> Value {
    let answer = client.post("/api/v1/leads", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

async fn template(client: &Client, body: Value) -> Answer {
    client.post("/api/v1/email-templates", body).await
}

fn ids(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|lead| lead["name"].as_str().unwrap()).collect()
}

async fn suppress(db: &Db, address: &'static str) {
    sqlx::query("INSERT INTO email_suppressions (tenant_id, address, reason, created_at) VALUES ($1, $2, 'asked', 1)")
        .bind(db.tenant.to_string())
        .bind(address)
        .execute(&db.raw)
        .await
        .unwrap();
}

on_both! {
    async fn a_lead_is_made_read_changed_and_erased(db) {
        let client = Client::new(&db);
        let made = client.post("/api/v1/leads", json!({"name": "Ann", "email": "Ann@Example.com", "fields": {"budget": "5"}})).await;
        let (path, etag) = (made.header("location").to_owned(), made.header("etag").to_owned());
        assert_eq!((etag.as_str(), &made.json()["stage"], &made.json()["email"]), ("\"1\"", &json!("new"), &json!("ann@example.com")));
        assert_eq!(client.get_with(&path, "if-none-match", "\"1\"").await.status, 304);
        // GET → PUT of the unchanged document changes nothing.
        let stored = client.get(&path).await.json();
        assert_eq!(send(&client, "PUT", &path, &etag, stored.clone()).await.header("etag"), "\"1\"");
        let patched = send(&client, "PATCH", &path, &etag, json!({"stage": "qualified", "score": 80, "fields": {"city": "Rome"}})).await;
        assert_eq!((patched.header("etag"), &patched.json()["fields"]), ("\"2\"", &json!({"budget": "5", "city": "Rome"})));
        assert_eq!(send(&client, "PATCH", &path, &etag, json!({"score": 1})).await.error().1, "version_conflict");
        let emptied = send(&client, "PATCH", &path, "", json!({"score": null, "stage": null})).await.json();
        assert_eq!((&emptied["score"], &emptied["stage"]), (&Value::Null, &json!("new")));
        for (body, code, field) in [
            (json!({"nme": "x"}), "unknown_field", "nme"), (json!({"version": 9}), "read_only_field", "version"),
            (json!({"tenant_id": "x"}), "read_only_field", "tenant_id"), (json!({"stage": "done"}), "validation_failed", "stage"),
            (json!({"email": "x"}), "validation_failed", "email"), (json!({"score": 101}), "validation_failed", "score"),
            (json!({"name": "x".repeat(201)}), "validation_failed", "name"),
        ] {
            let answer = send(&client, "PATCH", &path, "", body.clone()).await;
            let (status, named, at) = answer.error();
            assert_eq!((status, named.as_str(), at.as_deref()), (400, code, Some(field)), "{body}");
        }
        assert_eq!(send(&client, "PATCH", &path, "", json!({"owner_id": "0193481e-7a10-7000-8000-0000000000c1"})).await.error().0, 404);
        assert_eq!(send(&client, "DELETE", &path, "", json!({})).await.status, 204);
        assert_eq!(client.get(&path).await.error().0, 404);
        assert_eq!(db.number("SELECT COUNT(*) FROM leads WHERE name IS NULL AND email IS NULL AND fields = '{}' AND deleted_at > 0").await, 1);
        invariants::hold(&db).await;
    }

    async fn text_is_stored_as_it_came_whatever_it_says(db) {
        let client = Client::new(&db);
        for name in ["=cmd()", "\"><script>alert(1)</script>", "'; DROP TABLE leads; --", "\u{1f600} Zoë", "{{lead.name}}"] {
            let made = lead(&client, json!({"name": name})).await;
            assert_eq!(client.get(&format!("/api/v1/leads/{}", made["id"].as_str().unwrap())).await.json()["name"], name);
        }
    }

    async fn lists_are_filtered_and_searched(db) {
        let client = Client::new(&db);
        lead(&client, json!({"name": "Ann", "email": "ann@example.com", "stage": "won"})).await;
        lead(&client, json!({"name": "Bob 50%", "phone": "+12125550123", "business_type": "bakery"})).await;
        for (query, expected) in [
            ("", vec!["Bob 50%", "Ann"]), ("order=asc&limit=1", vec!["Ann"]), ("stage=won", vec!["Ann"]), ("email=ANN@example.com", vec!["Ann"]),
            ("phone=%2B12125550123", vec!["Bob 50%"]), ("q=BAK", vec!["Bob 50%"]), ("q=%25", vec!["Bob 50%"]), ("q=_", vec![]),
        ] {
            let page = client.get(&format!("/api/v1/leads?{query}")).await.json();
            assert_eq!(ids(&page), expected, "{query}");
        }
        assert_eq!(client.get("/api/v1/leads?stage=x").await.error().2.as_deref(), Some("stage"));
        assert_eq!(client.get("/api/v1/leads?colour=x").await.error().1, "unknown_parameter");
    }

    async fn notes_are_kept_with_their_author(db) {
        let client = Client::new(&db);
        let made = lead(&client, json!({"name": "Ann"})).await;
        let path = format!("/api/v1/leads/{}/notes", made["id"].as_str().unwrap());
        assert_eq!(client.post(&path, json!({"text": "Called back"})).await.status, 201);
        assert_eq!(client.post(&path, json!({"text": "x".repeat(4001)})).await.error().0, 400);
        let notes = client.get(&path).await.json();
        assert_eq!(notes["data"][0]["text"], "Called back");
        assert!(notes["data"][0]["author"].as_str().unwrap().starts_with("key:"));
        assert_eq!(client.get(&format!("/api/v1/leads/{}", made["id"].as_str().unwrap())).await.json()["notes_count"], 1);
    }

    async fn an_erased_lead_is_blank_in_its_transcript_too(db) {
        let client = Client::new(&db);
        let call = talk(&db, &json!({"name": "x"}), &["A: Name?", "C: I am Ann Smith, ann@example.com"]);
        db.journal.flush().await;
        let made = lead(&client, json!({"name": "Ann Smith", "email": "ann@example.com"})).await;
        let id = made["id"].as_str().unwrap().to_owned();
        sqlx::query("UPDATE leads SET call_id = $1 WHERE id = $2").bind(call.to_string()).bind(&id).execute(&db.raw).await.unwrap();
        assert_eq!(send(&client, "DELETE", &format!("/api/v1/leads/{id}"), "", json!({})).await.status, 204);
        let turns = client.get(&format!("/api/v1/calls/{call}/transcript")).await.json();
        assert_eq!(turns["turns"][1]["text"], "I am ••• •••••, •••@•••••••.com");
        invariants::hold(&db).await;
    }

    async fn mail_to_a_lead_needs_an_address_that_wants_it(db) {
        let client = Client::new(&db);
        let path = |lead: &Value| format!("/api/v1/leads/{}/email", lead["id"].as_str().unwrap());
        let nobody = lead(&client, json!({"name": "x"})).await;
        let ann = lead(&client, json!({"name": "Ann", "email": "ann@example.com"})).await;
        let bob = lead(&client, json!({"name": "Bob", "email": "bob@example.com"})).await;
        suppress(&db, "bob@example.com").await;
        let words = json!({"subject": "Hello", "body": "Hi"});
        assert_eq!(client.post(&path(&nobody), words.clone()).await.error().1, "no_email");
        assert_eq!(client.post(&path(&bob), words.clone()).await.error().1, "suppressed");
        assert_eq!(client.post(&path(&ann), words).await.json()["state"], "queued");
        let thanks = template(&client, json!({"name": "thanks", "subject": "Hello", "body_text": "Hi {{lead.name}}"})).await.json();
        let first = client.post(&path(&ann), json!({"template_id": thanks["id"]})).await.json();
        assert_eq!(client.post(&path(&ann), json!({"template_id": thanks["id"]})).await.json()["id"], first["id"]);
        assert_eq!(db.number("SELECT COUNT(*) FROM emails WHERE body_text = 'Hi Ann'").await, 1);
        assert_eq!(client.post(&path(&ann), json!({"template_id": "0193481e-7a10-7000-8000-0000000000c1"})).await.error().2.as_deref(), Some("template_id"));
        assert_eq!(client.post(&path(&ann), json!({"subject": "x"})).await.error().0, 400);
        // What was refused left nothing.
        assert_eq!(db.number("SELECT COUNT(*) FROM emails").await, 2);
    }

    async fn templates_are_checked_tried_and_changed(db) {
        let client = Client::new(&db);
        let body = json!({"name": "thanks", "subject": "Hello {{lead.name|there}}", "body_text": "Bye", "body_html": "<p>{{lead.name}}</p>"});
        let made = template(&client, body.clone()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let path = made.header("location").to_owned();
        assert_eq!(template(&client, body.clone()).await.error(), (409, "name_taken".into(), Some("name".into())));
        for (field, text) in [("subject", "{{lead.nam}}"), ("body_html", "{{oops"), ("subject", "two\nlines"), ("name", "")] {
            let mut wrong = body.clone();
            wrong[field] = text.into();
            assert_eq!(template(&client, wrong).await.error().2.as_deref(), Some(field), "{text}");
        }
        let tried = client.post(&format!("{path}/preview"), json!({"variables": {"lead.name": "<b>&"}})).await.json();
        assert_eq!((&tried["subject"], &tried["body_html"]), (&json!("Hello <b>&"), &json!("<p>&lt;b&gt;&amp;</p>")));
        let ann = lead(&client, json!({"name": "Ann"})).await;
        assert_eq!(client.post(&format!("{path}/preview"), json!({"lead_id": ann["id"]})).await.json()["subject"], "Hello Ann");
        let mut changed = body.clone();
        changed["subject"] = "Hi".into();
        assert_eq!(send(&client, "PUT", &path, "\"1\"", changed).await.header("etag"), "\"2\"");
        assert_eq!(send(&client, "PUT", &path, "\"1\"", body).await.error().0, 412);
        assert_eq!(client.get("/api/v1/email-templates").await.json()["data"].as_array().unwrap().len(), 1);
        assert_eq!(send(&client, "DELETE", &path, "", json!({})).await.status, 204);
        assert_eq!(client.get(&path).await.error().0, 404);
    }
}
