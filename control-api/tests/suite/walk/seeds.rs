//! One of everything that a path can name, made by its owner.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    db::Db,
    fake::{Client, conversation},
};

/// The word in everything the owner made: it must appear in no answer to anybody else.
pub(super) const MARK: &str = "Zzyzx";

/// Made by a POST to its collection, whose answer has an `id`.
fn posted() -> Vec<(&'static str, Value)> {
    vec![
        ("/api/v1/api-keys", json!({"name": MARK, "scopes": ["calls:read"]})),
        ("/api/v1/trunks", json!({"name": MARK, "gateways": [{"host": "9.9.9.9"}]})),
        ("/api/v1/dispatch-rules", json!({"name": MARK, "action": {"kind": "reject"}})),
        ("/api/v1/agents", json!({"name": MARK, "tools": [{"name": "bye", "kind": "hang_up"}]})),
        ("/api/v1/credentials", json!({"provider": "openai", "name": MARK, "secret": "sk-zzyzx-0123456789"})),
        ("/api/v1/leads", json!({"name": MARK, "email": "zzyzx@example.com"})),
        ("/api/v1/webhooks", json!({"url": "http://127.0.0.1:59999/hook", "description": MARK})),
        ("/api/v1/email-templates", json!({"name": MARK, "subject": MARK, "body_text": "Hello"})),
    ]
}

/// What was made: by the path before its parameter, the value that names it.
pub(super) struct Seeds(BTreeMap<String, String>);

impl Seeds {
    pub(super) async fn sow(db: &Db, client: &Client) -> Self {
        let mut made = BTreeMap::new();
        for (collection, body) in posted() {
            let answer = client.post(collection, body).await;
            assert_eq!(answer.status, 201, "{collection}: {}", answer.text());
            made.insert(collection.to_owned(), answer.json()["id"].as_str().unwrap().to_owned());
        }
        let agent = format!("/api/v1/agents/{}", made["/api/v1/agents"]);
        let tool = client.get(&agent).await.json()["tools"][0]["id"].as_str().unwrap().to_owned();
        made.insert("/api/v1/agents/{id}/tools".into(), tool);
        let text = client.post(&format!("{agent}/knowledge"), json!({"title": MARK, "text": MARK})).await.json();
        made.insert("/api/v1/agents/{id}/knowledge".into(), text["id"].as_str().unwrap().to_owned());
        made.insert("/api/v1/agents/{id}/versions".into(), "1".into());
        let number = json!({"e164": "+12125550188", "carrier": "none", "trunk_id": made["/api/v1/trunks"]});
        let number = client.post("/api/v1/numbers", number).await.json();
        made.insert("/api/v1/numbers".into(), number["id"].as_str().unwrap().into());
        let listed = client.post("/api/v1/do-not-call", json!({"e164": "+12125550177", "reason": MARK})).await;
        assert_eq!(listed.status, 201, "{}", listed.text());
        made.insert("/api/v1/do-not-call".into(), "+12125550177".into());
        let call = conversation(&db.journal, db.tenant, 1_795_221_552_123);
        db.journal.flush().await;
        made.insert("/api/v1/calls".into(), call.to_string());
        let booking = db.store.book(db.tenant, call, "2026-12-24T10:00", json!({"name": MARK})).await.unwrap();
        made.insert("/api/v1/bookings".into(), booking.id.to_string());
        let file = client.post("/api/v1/calls/export", json!({"format": "csv"})).await;
        assert_eq!(file.status, 202, "{}", file.text());
        made.insert("/api/v1/files".into(), file.json()["id"].as_str().unwrap().into());
        made.insert("/api/v1/numbers/orders".into(), order(db).await);
        made.insert("/api/v1/deliveries".into(), delivery(db, &made["/api/v1/webhooks"]).await);
        made.insert("/api/v1/billing/payments".into(), payment(db).await);
        made.insert("/api/v1/billing/invoices".into(), invoice(db).await);
        let plan = client.post("/api/v1/rate-plans", json!({"name": MARK})).await.json();
        made.insert("/api/v1/rate-plans".into(), plan["id"].as_str().unwrap().into());
        let tenant = format!("/api/v1/tenants/{}", db.tenant);
        let invited = client.post(&format!("{tenant}/invitations"), json!({"email": "zzyzx@example.com"})).await;
        assert_eq!(invited.status, 201, "{}", invited.text());
        made.insert("/api/v1/tenants".into(), db.tenant.to_string());
        made.insert("/api/v1/tenants/{id}/invitations".into(), invited.json()["id"].as_str().unwrap().into());
        made.insert("/api/v1/tenants/{id}/members".into(), user(db).await);
        made.insert("/api/v1/users".into(), user(db).await);
        // Sessions are for who signed in; a key is told so whatever it asks for.
        made.insert("/api/v1/auth/sessions".into(), Uuid::now_v7().to_string());
        Self(made)
    }

    /// Values for the parameters of a path.
    pub(super) fn values(&self, named: &[&str]) -> Vec<String> {
        let value = |name: &&str| {
            let found = self.0.get(*name);
            found.unwrap_or_else(|| panic!("what {name}/{{…}} names has no seed in walk/seeds.rs")).clone()
        };
        named.iter().map(value).collect()
    }

    /// Everything by which the owner's things could be known.
    pub(super) fn traces(&self) -> Vec<&str> {
        self.0.values().map(String::as_str).filter(|value| value.len() >= 8).chain([MARK]).collect()
    }
}

/// A port request that waits for its carrier.
async fn order(db: &Db) -> String {
    let id = Uuid::now_v7().to_string();
    sqlx::query(
        "INSERT INTO number_orders (id, tenant_id, kind, e164, carrier, state, data, sealed, created_at, updated_at)
         VALUES ($1, $2, 'port', '+12125550166', 'twilio', 'exception', '{}', 'v1.', 1, 1)",
    )
    .bind(&id)
    .bind(db.tenant.to_string())
    .execute(&db.raw)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO number_ports (order_id, number_id, e164, state, reason, updated_at)
         VALUES ($1, $2, '+12125550166', 'exception', $3, 1)",
    )
    .bind(&id)
    .bind(Uuid::now_v7().to_string())
    .bind(MARK)
    .execute(&db.raw)
    .await
    .unwrap();
    id
}

/// A payment that was never made.
async fn payment(db: &Db) -> String {
    let id = Uuid::now_v7().to_string();
    sqlx::query(
        "INSERT INTO payments (id, tenant_id, amount_minor, currency, credit_micros, state, created_at)
         VALUES ($1, $2, 2000, 'usd', 20000000, 'expired', 1)",
    )
    .bind(&id)
    .bind(db.tenant.to_string())
    .execute(&db.raw)
    .await
    .unwrap();
    id
}

/// A statement without a line.
async fn invoice(db: &Db) -> String {
    let id = Uuid::now_v7().to_string();
    sqlx::query(
        "INSERT INTO invoices (id, tenant_id, number, period, state, created_at) VALUES ($1, $2, $3, '2026-10', 'paid', 1)",
    )
    .bind(&id)
    .bind(db.tenant.to_string())
    .bind(MARK)
    .execute(&db.raw)
    .await
    .unwrap();
    id
}

/// A member without power.
async fn user(db: &Db) -> String {
    let id = Uuid::now_v7().to_string();
    let made = "INSERT INTO users (id, email, email_key, name, created_at, updated_at) VALUES ($1, $1, $1, $2, 1, 1)";
    sqlx::query(made).bind(&id).bind(MARK).execute(&db.raw).await.unwrap();
    let joined = "INSERT INTO memberships (tenant_id, user_id, role, created_at) VALUES ($1, $2, 'analyst', 1)";
    sqlx::query(joined).bind(db.tenant.to_string()).bind(&id).execute(&db.raw).await.unwrap();
    id
}

/// A delivery that was given up.
async fn delivery(db: &Db, webhook: &str) -> String {
    let id = Uuid::now_v7().to_string();
    sqlx::query(
        "INSERT INTO webhook_deliveries (id, webhook_id, tenant_id, event_id, type, state, attempts, created_at)
         VALUES ($1, $2, $3, $1, 'agent.created', 'dead', 10, 1)",
    )
    .bind(&id)
    .bind(webhook)
    .bind(db.tenant.to_string())
    .execute(&db.raw)
    .await
    .unwrap();
    id
}
