//! Money over HTTP: buying credit, reading what became of it, decks, statements, and leases for other workers.

use std::net::{Ipv4Addr, SocketAddr};

use axum::{
    body::Body,
    extract::ConnectInfo,
    http::{Request, header},
};
use control_api::{
    Adjustment, Background, BackgroundSettings, BillingSettings, Ended, Entry, Hub, Movement, PlanSettings, Settings,
    billing_handlers, now_ms,
};
use domain::{Direction, EndedReason, Status};
use serde_json::{Value, json};
use vendor_sim::{Stripe, StripeEvent};

use crate::{
    db::{Db, on_both},
    fake::{Answer, Client, call_id, new_call, status},
    invariants,
};

const KEY: &str = "sk_live_simulated";
const SECRET: &str = "whsec_simulated";

struct Shop {
    client: Client,
    stripe: Stripe,
    billing: BillingSettings,
}

impl Shop {
    async fn open(db: &Db) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stripe = Stripe::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), KEY, None).await.unwrap();
        let mut billing = BillingSettings {
            stripe_secret_key: KEY.into(),
            stripe_webhook_secret: SECRET.into(),
            stripe_url: stripe.url(),
            ..BillingSettings::default()
        };
        billing.fx_ppm.insert("eur".into(), 1_085_000);
        let settings = Settings { billing: billing.clone(), ..Settings::default() };
        let client = Client::with(db, &Hub::new(0), settings);
        Self { client, stripe, billing }
    }

    async fn tell(&self, event: &StripeEvent, at_s: i64) -> Answer {
        let request = Request::post("/webhooks/stripe").header("stripe-signature", event.signature(SECRET, at_s));
        self.client.send(request.body(Body::from(event.body.clone())).unwrap()).await
    }

    async fn balance(&self) -> Value {
        self.client.get("/api/v1/billing/balance").await.json()
    }
}

fn now_s() -> i64 {
    now_ms() / 1000
}

async fn give(db: &Db, amount_micros: i64) {
    let movement = Movement {
        tenant: db.tenant,
        livemode: true,
        amount_micros,
        idem_key: format!("gift {amount_micros}"),
        memo: "welcome".into(),
        actor: "test".into(),
        at_ms: now_ms() - 900_000,
    };
    db.store.adjust(Adjustment::Promo, &movement).await.unwrap();
}

/// A request from this machine itself, as other workers make it.
async fn inside(client: &Client, path: &str, key: Option<&str>, body: Value) -> Answer {
    let mut request = client.request("POST", path).header(header::CONTENT_TYPE, "application/json");
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let mut request = request.body(Body::from(body.to_string())).unwrap();
    request.extensions_mut().insert(ConnectInfo("127.0.0.1:4000".parse::<SocketAddr>().unwrap()));
    client.send(request).await
}

async fn put(client: &Client, path: &str, kind: &str, body: String) -> Answer {
    client.send(client.request("PUT", path).header(header::CONTENT_TYPE, kind).body(Body::from(body)).unwrap()).await
}

on_both! {
    async fn credit_is_bought_on_the_gateways_page_and_comes_with_its_signed_word_once(db) {
        let shop = Shop::open(&db).await;
        let answer = shop.client.post("/api/v1/billing/top-up", json!({"amount_minor": 2_000})).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let page = answer.json();
        let session = page["checkout_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert_eq!(shop.balance().await["available_micros"], 0);
        let events = shop.stripe.pay(&session);
        for _ in 0..5 {
            assert_eq!(shop.tell(&events[0], now_s()).await.status, 200);
        }
        assert_eq!(shop.tell(&events[1], now_s()).await.status, 200);
        assert_eq!(shop.tell(&shop.stripe.event("charge.updated", &json!({"id": "ch_1"})), now_s()).await.status, 200);
        let balance = shop.balance().await;
        assert_eq!((&balance["available_micros"], &balance["display"], &balance["exhausted"]), (&json!(20_000_000), &json!("$20.00"), &json!(false)));
        let payments = shop.client.get("/api/v1/billing/payments").await.json();
        assert_eq!((payments["data"].as_array().unwrap().len(), &payments["data"][0]["state"]), (1, &json!("succeeded")));
        assert_eq!(payments["data"][0]["id"], page["payment_id"]);
        let line = &shop.client.get("/api/v1/billing/transactions").await.json()["data"][0];
        assert_eq!((&line["kind"], &line["amount_micros"], &line["balance_after_micros"]), (&json!("top_up"), &json!(20_000_000), &json!(20_000_000)));
        invariants::hold(&db).await;
    }

    async fn the_gateways_word_is_believed_only_with_a_fresh_and_fitting_signature(db) {
        let shop = Shop::open(&db).await;
        let event = shop.stripe.event("charge.updated", &json!({"id": "ch_1"}));
        for at in [now_s() - 600, now_s() + 600] {
            assert_eq!(shop.tell(&event, at).await.error().1, "bad_signature");
        }
        let off = event.signature(SECRET, now_s()).replace("v1=", "v1=0");
        for signature in [off.as_str(), "", "t=1"] {
            let request = Request::post("/webhooks/stripe").header("stripe-signature", signature);
            let answer = shop.client.send(request.body(Body::from(event.body.clone())).unwrap()).await;
            assert_eq!((answer.error().0, answer.error().1.as_str()), (400, "bad_signature"), "{signature}");
        }
        assert_eq!(db.number("SELECT COUNT(*) FROM gateway_events").await, 0);
        let plain = Client::new(&db);
        assert_eq!(plain.post("/webhooks/stripe", json!({})).await.error().1, "payments_not_configured");
    }

    async fn what_cannot_be_bought_says_why(db) {
        let shop = Shop::open(&db).await;
        for (body, field) in [
            (json!({"amount_minor": 499}), "amount_minor"), (json!({"amount_minor": 1_000_001}), "amount_minor"),
            (json!({"amount_minor": 2_000, "currency": "gbp"}), "currency"), (json!({"amount_minor": 2_000, "success_url": "http://evil.example"}), "success_url"),
        ] {
            let (status, _, named) = shop.client.post("/api/v1/billing/top-up", body.clone()).await.error();
            assert_eq!((status, named.as_deref()), (400, Some(field)), "{body}");
        }
        let euros = shop.client.post("/api/v1/billing/top-up", json!({"amount_minor": 2_000, "currency": "EUR"})).await;
        assert_eq!(euros.status, 201);
        assert_eq!(db.number("SELECT credit_micros FROM payments WHERE currency = 'eur'").await, 21_700_000);
        shop.stripe.refuse_next(402);
        assert_eq!(shop.client.post("/api/v1/billing/top-up", json!({"amount_minor": 2_000})).await.error().1, "vendor_failed");
        let plain = Client::new(&db);
        let refused = plain.post("/api/v1/billing/top-up", json!({"amount_minor": 2_000})).await;
        assert_eq!((refused.error().0, refused.error().1.as_str()), (409, "payments_not_configured"));
    }

    async fn a_call_of_two_and_a_half_minutes_reads_in_every_list(db) {
        db.run("UPDATE rates SET unit_micros = 150000, name = 'Inbound US' WHERE item = 'voice_in'").await;
        give(&db, 5_000_000).await;
        let client = Client::new(&db);
        let (call, t0) = (call_id(), now_ms() - 600_000);
        let lease = inside(&client, "/internal/v1/lease", None, json!({"tenant_id": db.tenant, "call_id": call, "direction": "inbound", "to": "+12125550100"})).await;
        assert_eq!(lease.status, 201, "{}", lease.text());
        let balance = client.get("/api/v1/billing/balance").await.json();
        assert_eq!((&balance["available_micros"], &balance["held_micros"], &balance["open_leases"]), (&json!(4_850_000), &json!(150_000), &json!(1)));
        db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, t0))));
        db.journal.write(call, status(Status::Initiating, t0));
        db.journal.write(call, status(Status::InProgress, t0));
        let token = lease.json()["lease_token"].as_str().unwrap().to_owned();
        for elapsed in [45_000, 90_000, 135_000] {
            let renewed = inside(&client, "/internal/v1/lease/renew", None, json!({"lease_token": token, "elapsed_ms": elapsed})).await.json();
            assert_eq!((&renewed["added_micros"], &renewed["final"]), (&json!(112_500), &json!(false)));
        }
        let ended = Ended { reason: EndedReason::CallerHungUp, at_ms: t0 + 150_000, sip_status: None, media: None, degraded: false, silent_ms: 0 };
        db.journal.write(call, Entry::Ended(Box::new(ended)));
        db.journal.flush().await;
        // The worker's own release comes late and hears what was done.
        let released = inside(&client, "/internal/v1/lease/release", None, json!({"lease_token": token, "duration_ms": 999_000})).await.json();
        assert_eq!(released, json!({"charged_micros": 375_000, "refunded_micros": 112_500, "uncollected_micros": 0}));
        let late = inside(&client, "/internal/v1/lease/renew", None, json!({"lease_token": token, "elapsed_ms": 1})).await;
        assert_eq!(late.error().1, "lease_closed");
        let cost = client.get(&format!("/api/v1/calls/{call}/cost")).await.json();
        assert_eq!((&cost["final"], &cost["charged_micros"], &cost["display"], &cost["billed_s"]), (&json!(true), &json!(375_000), &json!("$0.38"), &json!(150)));
        assert_eq!((&cost["lease"]["held_micros"], &cost["lease"]["refunded_micros"], &cost["lines"][0]["label"]), (&json!(487_500), &json!(112_500), &json!("Inbound US")));
        assert_eq!(client.get(&format!("/api/v1/calls/{call}")).await.json()["cost"]["charged_micros"], 375_000);
        let lines = client.get("/api/v1/billing/transactions").await.json();
        let amounts: Vec<_> = lines["data"].as_array().unwrap().iter().map(|line| (line["amount_micros"].as_i64().unwrap(), line["balance_after_micros"].as_i64().unwrap())).collect();
        assert_eq!(amounts, [(-375_000, 4_625_000), (5_000_000, 5_000_000)]);
        assert_eq!(client.get(&format!("/api/v1/billing/transactions?call_id={call}")).await.json()["data"].as_array().unwrap().len(), 1);
        let usage = client.get("/api/v1/billing/usage").await.json();
        assert_eq!((&usage["total_micros"], &usage["items"][0]["quantity"], &usage["items"][0]["unit"]), (&json!(375_000), &json!(150), &json!("s")));
        assert_eq!(client.get("/api/v1/billing/usage?group_by=agent").await.json()["total_micros"], 375_000);
        let daily = client.get("/api/v1/billing/usage/daily").await.json();
        let days = daily["days"].as_array().unwrap();
        let used: Vec<_> = days.iter().filter(|day| day["amount_micros"] != 0).collect();
        assert!(days.len() >= 30 && used.len() == 1, "{} days", days.len());
        assert_eq!((&used[0]["calls"], &used[0]["minutes"]), (&json!(1), &json!(2.5)));
        for (query, field) in [("from=x", "from"), ("group_by=colour", "group_by"), ("from=2026-01-02&to=2026-01-01", "from")] {
            assert_eq!(client.get(&format!("/api/v1/billing/usage?{query}")).await.error().2.as_deref(), Some(field));
        }
        assert_eq!(client.get("/api/v1/billing/usage/daily?timezone=Mars/Base").await.error().2.as_deref(), Some("timezone"));
        invariants::hold(&db).await;
    }

    async fn leases_are_for_this_machine_and_say_no_as_the_door_does(db) {
        db.run("UPDATE rates SET unit_micros = 150000").await;
        give(&db, 200_000).await;
        let client = Client::new(&db);
        let wish = |to: &str| json!({"tenant_id": db.tenant, "call_id": call_id(), "direction": "outbound", "to": to});
        assert_eq!(client.post("/internal/v1/lease", wish("+12125550100")).await.status, 404, "not from elsewhere");
        let forbidden = inside(&client, "/internal/v1/lease", None, wish("+9001234567")).await;
        assert_eq!((forbidden.error().0, forbidden.error().1.as_str()), (403, "forbidden_destination"));
        let first = wish("+12125550100");
        let made = inside(&client, "/internal/v1/lease", None, first.clone()).await;
        let again = inside(&client, "/internal/v1/lease", None, first).await;
        assert_eq!((made.status.as_u16(), again.status.as_u16()), (201, 200));
        assert_eq!(made.json()["lease_token"], again.json()["lease_token"]);
        let poor = inside(&client, "/internal/v1/lease", None, wish("+12125550100")).await;
        assert_eq!((poor.error().0, poor.error().1.as_str()), (402, "insufficient_credit"));
        let strange = inside(&client, "/internal/v1/lease/renew", None, json!({"lease_token": "lt_x", "elapsed_ms": 0})).await;
        assert_eq!(strange.error().0, 404);
        let usage = json!([{"item": "tts_char", "provider": "elevenlabs/x", "quantity": 1000}]);
        let body = json!({"lease_token": made.json()["lease_token"], "duration_ms": 30_000, "usage": usage});
        let released = inside(&client, "/internal/v1/lease/release", None, body).await.json();
        assert_eq!(released, json!({"charged_micros": 75_000, "refunded_micros": 75_000, "uncollected_micros": 0}));
        assert_eq!(db.number("SELECT vendor_micros FROM usage_records WHERE item = 'tts_char'").await, 60_000);
        invariants::hold(&db).await;
    }

    async fn moving_money_by_hand_needs_a_key_and_moves_once(db) {
        let client = Client::new(&db);
        let gift = json!({"tenant_id": db.tenant, "amount_micros": 1_000_000, "reason": "welcome", "kind": "promo"});
        assert_eq!(client.post("/api/v1/billing/adjustments", gift.clone()).await.error().1, "idempotency_key_required");
        let send = |body: Value, key: &'static str| {
            let request = client.request("POST", "/api/v1/billing/adjustments").header(header::CONTENT_TYPE, "application/json").header("idempotency-key", key);
            client.send(request.body(Body::from(body.to_string())).unwrap())
        };
        assert_eq!(send(gift.clone(), "k1").await.json()["available_micros"], 1_000_000);
        let replayed = send(gift.clone(), "k1").await;
        assert_eq!((replayed.status.as_u16(), replayed.header("idempotent-replay")), (201, "true"));
        assert_eq!(client.get("/api/v1/billing/balance").await.json()["available_micros"], 1_000_000);
        let mut take = gift.clone();
        (take["kind"], take["amount_micros"]) = (json!("adjust"), json!(-1_000_001));
        assert_eq!(send(take, "k2").await.error().1, "insufficient_credit");
        let mut negative = gift.clone();
        negative["amount_micros"] = json!(-1);
        assert_eq!(send(negative, "k3").await.error().2.as_deref(), Some("amount_micros"));
        let mut stranger = gift;
        stranger["tenant_id"] = json!(call_id());
        assert_eq!(send(stranger, "k4").await.error().0, 404);
        let rent = json!({"tenant_id": db.tenant, "amount_micros": 400_000, "item": "number_month", "memo": "+1212…"});
        assert_eq!(inside(&client, "/internal/v1/deduct", None, rent.clone()).await.error().1, "idempotency_key_required");
        assert_eq!(inside(&client, "/internal/v1/deduct", Some("d1"), rent.clone()).await.json()["available_micros"], 600_000);
        assert_eq!(inside(&client, "/internal/v1/deduct", Some("d1"), rent.clone()).await.json()["available_micros"], 600_000);
        assert_eq!(inside(&client, "/internal/v1/deduct", Some("d2"), rent).await.json()["available_micros"], 200_000);
        assert_eq!(db.number("SELECT COUNT(*) FROM audit_log WHERE action = 'billing.adjust'").await, 1);
        invariants::hold(&db).await;
    }

    async fn a_deck_is_replaced_whole_or_not_at_all(db) {
        let client = Client::new(&db);
        let plan = client.get("/api/v1/rate-plans").await.json()["data"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/rate-plans/{plan}/rates");
        let csv = "item,prefix,name,unit_micros,first_s,next_s,blocked\nvoice_in,,In,0,,,\nvoice_out,,World,200000,60,60,\nvoice_out,1,US,15000,6,6,\nvoice_out,1809,DR,0,,,1\n";
        let changed = put(&client, &path, "text/csv", csv.into()).await;
        assert_eq!(changed.json(), json!({"added": 2, "changed": 2, "ended": 2}), "{}", changed.text());
        assert_eq!(put(&client, &path, "text/csv", csv.into()).await.json(), json!({"added": 0, "changed": 0, "ended": 0}));
        let quote = client.get("/api/v1/billing/rates?to=%2B12125550100").await.json();
        assert_eq!((&quote["rate"]["prefix"], &quote["prices"][1]["amount_micros"], &quote["prices"][1]["minutes"]), (&json!("1"), &json!(45_000), &json!(3)));
        assert_eq!(client.get("/api/v1/billing/rates?to=%2B18095550100").await.error().1, "forbidden_destination");
        assert_eq!(client.get("/api/v1/billing/rates?item=voice_out").await.json()["data"].as_array().unwrap().len(), 3);
        for (body, field) in [
            (json!({"rates": [{"item": "voice_in", "unit_micros": 1}, {"item": "voice_in", "unit_micros": 2}]}), "rates.1"),
            (json!({"rates": [{"item": "gold", "unit_micros": 1}]}), "rates.0"), (json!({"rates": [{"item": "web"}]}), "rates"),
        ] {
            let answer = put(&client, &path, "application/json", body.to_string()).await;
            assert_eq!((answer.error().0, answer.error().2.as_deref()), (400, Some(field)), "{body}");
        }
        assert_eq!(put(&client, &format!("{path}?starts_at=2020-01-01"), "text/csv", csv.into()).await.error().2.as_deref(), Some("starts_at"));
        assert_eq!(db.number("SELECT COUNT(*) FROM rates WHERE ends_at IS NULL").await, 4, "a refused deck changes nothing");
        // Announced for later, then thought better of: what is in force stays in force.
        let later = put(&client, &format!("{path}?starts_at=2099-01-01"), "application/json", json!({"rates": []}).to_string()).await;
        assert_eq!(later.json()["ended"], 4);
        put(&client, &path, "text/csv", csv.into()).await;
        assert_eq!(db.number("SELECT COUNT(*) FROM rates WHERE ends_at IS NULL").await, 4);
        let made = client.post("/api/v1/rate-plans", json!({"name": "Gold"})).await;
        let renamed = put(&client, made.header("location"), "application/json", json!({"name": "Silver"}).to_string()).await.json();
        assert_eq!((&renamed["name"], &renamed["version"]), (&json!("Silver"), &json!(2)));
        invariants::hold(&db).await;
    }

    async fn a_month_becomes_one_statement_with_its_sum_rounded_once(db) {
        let client = Client::new(&db);
        let october = 1_793_000_000_000; // the 26th of 2026, UTC
        give(&db, 50_000_000).await;
        for (n, amount) in [4_999, 4_999, 4_999].into_iter().enumerate() {
            let item = ["number_month", "analysis", "recording_s"][n];
            let movement = Movement { tenant: db.tenant, livemode: true, amount_micros: amount, idem_key: format!("m{n}"), memo: "x".into(), actor: "test".into(), at_ms: october };
            db.store.deduct(item, &movement).await.unwrap();
        }
        let month = 30 * 86_400_000;
        let mut written = 0;
        for at in [october + month, october + month + 1, october + month + 2] {
            written += db.store.write_statements(at).await.unwrap();
        }
        assert_eq!(written, 1);
        let invoice = client.get("/api/v1/billing/invoices").await.json()["data"][0].clone();
        assert_eq!((&invoice["total_micros"], &invoice["total_cents"], &invoice["state"]), (&json!(14_997), &json!(1), &json!("paid")));
        let path = format!("/api/v1/billing/invoices/{}", invoice["id"].as_str().unwrap());
        assert_eq!(client.get(&path).await.json()["lines"].as_array().unwrap().len(), 3);
        let pdf = client.get(&format!("{path}/pdf")).await;
        assert_eq!((pdf.header("content-type"), &pdf.bytes[..5]), ("application/pdf", &b"%PDF-"[..]));
        assert_eq!(client.get_with(&path, "accept", "application/pdf").await.bytes[..5], b"%PDF-"[..]);
        assert_eq!(client.get(&format!("/api/v1/billing/invoices/{}", call_id())).await.error().0, 404);
        assert_eq!(db.store.write_statement(db.tenant, "2026-13", 0).await.unwrap(), None);
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'invoice.created'").await, 1);
        invariants::hold(&db).await;
    }

    async fn credit_is_bought_by_itself_once_when_it_runs_low(db) {
        let shop = Shop::open(&db).await;
        let wish = json!({"enabled": true, "below_micros": 1_000_000, "amount_minor": 1_000, "monthly_max_minor": 1_500, "payment_method": "pm_card"});
        assert_eq!(shop.client.get("/api/v1/billing/auto-top-up").await.status, 404);
        assert_eq!(put(&shop.client, "/api/v1/billing/auto-top-up", "application/json", wish.to_string()).await.status, 200);
        let handlers = billing_handlers(&shop.billing);
        let settings = BackgroundSettings { node: "n1".into(), handlers, ..BackgroundSettings::default() };
        let background = Background::start(&db.store, settings).await.unwrap();
        give(&db, 1_500_000).await;
        for n in 0..3 {
            let movement = Movement { tenant: db.tenant, livemode: true, amount_micros: 300_000, idem_key: format!("r{n}"), memo: "rent".into(), actor: "test".into(), at_ms: now_ms() + n * 60_000 };
            db.store.deduct("number_month", &movement).await.unwrap();
        }
        db.run("UPDATE jobs SET run_at = 0 WHERE kind = 'billing.auto_top_up'").await;
        let charged = || shop.stripe.requests().into_iter().filter(|form| form.get("off_session").is_some()).count();
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'billing.auto_top_up' AND state <> 'done'").await > 0 {
            assert!(tokio::time::Instant::now() < deadline, "the jobs are not done");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(charged(), 1, "one attempt at a time, and the month's limit leaves no room for a second");
        let reference: String = sqlx::query_scalar("SELECT payment_ref FROM payments WHERE auto = 1 AND payment_ref IS NOT NULL").fetch_one(&db.raw).await.unwrap();
        let paid = shop.stripe.event("payment_intent.succeeded", &json!({"id": reference, "amount_received": 1_000, "currency": "usd"}));
        assert_eq!(shop.tell(&paid, now_s()).await.status, 200);
        assert_eq!(shop.balance().await["available_micros"], 10_600_000);
        background.stop(std::time::Duration::from_secs(5)).await;
        invariants::hold(&db).await;
    }

    async fn a_plan_is_subscribed_to_and_gives_its_credit_each_month(db) {
        let shop = Shop::open(&db).await;
        db.store.offer_plans(&plans()).await.unwrap();
        let plans = shop.client.get("/api/v1/billing/plans").await.json();
        assert_eq!((plans["data"].as_array().unwrap().len(), &plans["data"][1]["display"]), (3, &json!("$49.00")));
        let free = shop.client.post("/api/v1/billing/subscription", json!({"plan_id": "free"})).await;
        assert_eq!((free.status.as_u16(), &free.json()["state"]), (200, &json!("active")));
        assert_eq!(db.number("SELECT max_calls FROM tenants").await, 5);
        let page = shop.client.post("/api/v1/billing/subscription", json!({"plan_id": "pro"})).await;
        assert_eq!(page.status, 202, "{}", page.text());
        let waiting = shop.client.get("/api/v1/billing/subscription").await.json();
        assert_eq!((&waiting["state"], &waiting["plan_id"], &waiting["next_plan_id"]), (&json!("active"), &json!("free"), &json!("pro")));
        let session = page.json()["checkout_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        // The gateway's events come in any order, and again.
        let mut events = shop.stripe.pay(&session);
        events.reverse();
        for event in &events {
            assert_eq!(shop.tell(event, now_s()).await.status, 200);
            assert_eq!(shop.tell(event, now_s()).await.status, 200);
        }
        let subscription = shop.client.get("/api/v1/billing/subscription").await.json();
        assert_eq!((&subscription["state"], &subscription["plan_id"]), (&json!("active"), &json!("pro")));
        assert_eq!((shop.balance().await["available_micros"].as_i64(), db.number("SELECT max_calls FROM tenants").await), (Some(10_000_000), 50));
        let gateway_ref: String = sqlx::query_scalar("SELECT gateway_ref FROM subscriptions").fetch_one(&db.raw).await.unwrap();
        let month = |id: &str| shop.stripe.event("invoice.paid", &json!({
            "id": id, "parent": {"subscription_details": {"subscription": gateway_ref}}, "billing_reason": "subscription_cycle",
            "lines": {"data": [{"period": {"start": now_s(), "end": now_s() + 30 * 86_400}}]},
        }));
        for event in [month("in_2"), month("in_2")] {
            assert_eq!(shop.tell(&event, now_s()).await.status, 200);
        }
        assert_eq!(shop.balance().await["available_micros"], 20_000_000, "a month's credit once");
        // Up: at once, with the difference for the rest of the month. Down: when the month is over.
        let subscribe = |body: Value| shop.client.post("/api/v1/billing/subscription", body);
        let up = subscribe(json!({"plan_id": "max"})).await;
        assert_eq!((up.status.as_u16(), &up.json()["plan_id"]), (200, &json!("max")), "{}", up.text());
        let available = shop.balance().await["available_micros"].as_i64().unwrap();
        assert!((29_900_000..=30_000_000).contains(&available), "{available}");
        let down = subscribe(json!({"plan_id": "pro"})).await.json();
        assert_eq!((&down["plan_id"], &down["next_plan_id"]), (&json!("max"), &json!("pro")));
        shop.tell(&month("in_3"), now_s()).await;
        assert_eq!(shop.client.get("/api/v1/billing/subscription").await.json()["plan_id"], "pro");
        assert_eq!(shop.balance().await["available_micros"].as_i64().unwrap(), available + 10_000_000);
        let changes: Vec<_> = shop.stripe.requests().into_iter().filter_map(|form| form.get("proration_behavior").cloned()).collect();
        assert_eq!(changes, ["always_invoice", "none"]);
        // The end is told to the gateway, and may be taken back; when it comes, the limits of a new tenant are back.
        let ends = subscribe(json!({"plan_id": "pro", "cancel_at_period_end": true})).await.json();
        assert_eq!(ends["cancel_at_period_end"], true);
        assert_eq!(shop.stripe.requests().last().unwrap()["cancel_at_period_end"], "true");
        shop.tell(&shop.stripe.event("customer.subscription.deleted", &json!({"id": gateway_ref, "status": "canceled"})), now_s()).await;
        let over = shop.client.get("/api/v1/billing/subscription").await.json();
        assert_eq!((&over["state"], db.number("SELECT max_calls FROM tenants").await), (&json!("canceled"), 20));
        shop.tell(&shop.stripe.event("customer.subscription.updated", &json!({"id": gateway_ref, "status": "active"})), now_s()).await;
        assert_eq!(shop.client.get("/api/v1/billing/subscription").await.json()["state"], "canceled", "what is over stays over");
        invariants::hold(&db).await;
    }

    async fn the_subscription_of_a_tenant_that_ends_is_canceled_at_the_gateway_however_often_it_is_away(db) {
        let shop = Shop::open(&db).await;
        db.store.offer_plans(&plans()).await.unwrap();
        let page = shop.client.post("/api/v1/billing/subscription", json!({"plan_id": "pro"})).await.json();
        let session = page["checkout_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        for event in shop.stripe.pay(&session) {
            shop.tell(&event, now_s()).await;
        }
        let reference: String = sqlx::query_scalar("SELECT gateway_ref FROM subscriptions").fetch_one(&db.raw).await.unwrap();
        // The installation's first tenant stays; this one shall not be it.
        db.run("UPDATE tenants SET slug = 'clinic'").await;
        let deleted = shop.client.delete(&format!("/api/v1/tenants/{}?force=true", db.tenant)).await;
        assert_eq!(deleted.status, 202, "{}", deleted.text());
        assert_eq!(shop.stripe.status_of(&reference).as_deref(), Some("active"), "not in the request: the gateway may be slow");
        shop.stripe.refuse_next(503);
        let time = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(now_ms()));
        let clock = time.clone();
        let settings = BackgroundSettings {
            node: "n1".into(),
            handlers: billing_handlers(&shop.billing),
            clock: control_api::Clock::new(move || clock.load(std::sync::atomic::Ordering::SeqCst)),
            ..Default::default()
        };
        let background = Background::start(&db.store, settings).await.unwrap();
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'billing.subscription_end' AND state = 'queued' AND attempts = 1", 1).await;
        time.fetch_add(10_000, std::sync::atomic::Ordering::SeqCst);
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'billing.subscription_end' AND state = 'done'", 1).await;
        assert_eq!(shop.stripe.status_of(&reference).as_deref(), Some("canceled"));
        assert_eq!(db.number("SELECT COUNT(*) FROM subscriptions WHERE state = 'canceled'").await, 1);
        // The gateway's own word on it comes after that, and changes nothing.
        let told = shop.stripe.event("customer.subscription.deleted", &json!({"id": reference, "status": "canceled"}));
        assert_eq!(shop.tell(&told, now_s()).await.status, 200);
        background.stop(std::time::Duration::from_secs(5)).await;
        invariants::hold(&db).await;
    }

    async fn a_page_that_is_paid_after_the_tenant_ended_begins_nothing_that_lasts(db) {
        let shop = Shop::open(&db).await;
        db.store.offer_plans(&plans()).await.unwrap();
        let page = shop.client.post("/api/v1/billing/subscription", json!({"plan_id": "pro"})).await.json();
        let session = page["checkout_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        db.run("UPDATE tenants SET slug = 'clinic'").await;
        let events = shop.stripe.pay(&session);
        let deleted = shop.client.delete(&format!("/api/v1/tenants/{}?force=true", db.tenant)).await;
        assert_eq!(deleted.status, 202, "{}", deleted.text());
        for event in &events {
            assert_eq!(shop.tell(event, now_s()).await.status, 200);
        }
        let reference: String = sqlx::query_scalar("SELECT gateway_ref FROM subscriptions").fetch_one(&db.raw).await.unwrap();
        let settings = BackgroundSettings { node: "n1".into(), handlers: billing_handlers(&shop.billing), ..Default::default() };
        let _background = Background::start(&db.store, settings).await.unwrap();
        db.eventually("SELECT COUNT(*) FROM jobs WHERE kind = 'billing.subscription_end' AND state = 'done'", 2).await;
        assert_eq!(shop.stripe.status_of(&reference).as_deref(), Some("canceled"));
        invariants::hold(&db).await;
    }

    async fn two_pages_are_never_open_at_once(db) {
        let shop = Shop::open(&db).await;
        db.store.offer_plans(&plans()).await.unwrap();
        let subscribe = |plan: &'static str| shop.client.post("/api/v1/billing/subscription", json!({"plan_id": plan}));
        let first = subscribe("pro").await.json()["checkout_url"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        assert_eq!(subscribe("max").await.status, 202);
        assert_eq!(shop.client.get("/api/v1/billing/subscription").await.json()["state"], "pending");
        let expired = shop.stripe.event("checkout.session.expired", &json!({"id": first}));
        shop.tell(&expired, now_s()).await;
        let page = shop.client.get("/api/v1/billing/subscription").await.json();
        assert_eq!((&page["state"], &page["next_plan_id"]), (&json!("pending"), &json!("max")));
        let session: String = sqlx::query_scalar("SELECT checkout_ref FROM subscriptions").fetch_one(&db.raw).await.unwrap();
        let events = shop.stripe.pay(&session);
        assert_eq!(subscribe("pro").await.error().1, "payment_in_progress");
        shop.tell(&events[0], now_s()).await;
        assert_eq!(shop.client.get("/api/v1/billing/subscription").await.json()["plan_id"], "max");
        assert_eq!(subscribe("none").await.error().0, 404);
        invariants::hold(&db).await;
    }

    async fn a_number_pays_its_rent_each_month_once(db) {
        give(&db, 2_500_000).await;
        let due = now_ms() - 86_400_000;
        db.run(&format!("INSERT INTO numbers (id, tenant_id, e164, carrier, kind, country, status, monthly_micros, next_bill_at, created_at, updated_at)
            VALUES ('00000000-0000-7000-8000-00000000aaaa', '{}', '+12125550111', 'twilio', 'local', 'US', 'active', 1000000, {due}, {due}, {due})", db.tenant)).await;
        assert_eq!(db.store.take_rents(now_ms()).await.unwrap(), 1);
        assert_eq!(db.store.take_rents(now_ms()).await.unwrap(), 0);
        let month = 31 * 86_400_000;
        assert_eq!(db.store.take_rents(now_ms() + month).await.unwrap(), 1);
        assert_eq!(db.store.take_rents(now_ms() + 2 * month).await.unwrap(), 0, "there is no credit for a third");
        give(&db, 1_000_000).await;
        assert_eq!(db.store.take_rents(now_ms() + 2 * month).await.unwrap(), 1);
        let left = db.number("SELECT balance_micros FROM ledger_accounts WHERE kind = 'available' AND livemode = 1").await;
        assert_eq!((left, db.number("SELECT COUNT(*) FROM usage_records WHERE item = 'number_month'").await), (500_000, 3));
        invariants::hold(&db).await;
    }
}

/// One that costs nothing, and two that do.
fn plans() -> Vec<PlanSettings> {
    let plan = |id: &str, monthly_micros, included_micros, max_calls| PlanSettings {
        id: id.into(),
        name: id.to_uppercase(),
        monthly_micros,
        included_micros,
        rate_plan: None,
        max_calls: Some(max_calls),
        max_cps: None,
        stripe_price: (monthly_micros > 0).then(|| format!("price_{id}")),
    };
    vec![plan("free", 0, 0, 5), plan("pro", 49_000_000, 10_000_000, 50), plan("max", 99_000_000, 20_000_000, 90)]
}
