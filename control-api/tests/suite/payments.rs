//! Buying credit: the gateway's events count once, refunds never eat what is held, a card is charged when credit runs low.

use std::net::{Ipv4Addr, SocketAddr};

use control_api::{
    Adjustment, Background, BackgroundSettings, BillingSettings, Cashier, CashierError, EventOutcome, GatewayEvent,
    Movement, NewPayment, RefundFailed, RefundWish, billing_handlers, now_ms, verify,
};
use vendor_sim::{Stripe, StripeEvent};

use crate::{
    db::{Db, on_both},
    invariants,
};

const KEY: &str = "sk_live_simulated";
const SECRET: &str = "whsec_simulated_endpoint_secret";

struct Shop<'a> {
    db: &'a Db,
    stripe: Stripe,
    gateway: Cashier,
}

impl<'a> Shop<'a> {
    async fn open(db: &'a Db, key: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stripe = Stripe::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), key, None).await.unwrap();
        let settings = BillingSettings {
            stripe_secret_key: key.into(),
            stripe_webhook_secret: SECRET.into(),
            stripe_url: stripe.url(),
            ..BillingSettings::default()
        };
        Self { db, stripe, gateway: Cashier::new(settings) }
    }

    /// Begins to buy for $20; the payment and the session.
    async fn begin(&self, livemode: bool) -> (String, String) {
        let new = NewPayment {
            tenant: self.db.tenant,
            livemode,
            amount_minor: 2_000,
            currency: "usd".into(),
            fx_ppm: 1_000_000,
            auto: false,
            at_ms: now_ms(),
        };
        let payment = self.db.store.begin_payment(&new).await.unwrap();
        let page = self
            .gateway
            .checkout(&payment, 2_000, "usd", "https://a.example/ok", "https://a.example/no")
            .await
            .unwrap();
        assert!(page.url.starts_with("http://") && page.expires_at_s > 0);
        self.db.store.name_payment(&payment, Some(&page.reference), None).await.unwrap();
        (payment, page.reference)
    }

    /// An event by the door: signed, checked, applied.
    async fn post(&self, event: &StripeEvent) -> EventOutcome {
        let now = now_ms();
        let header = event.signature(SECRET, now / 1000);
        verify(SECRET, &header, event.body.as_bytes(), now / 1000).unwrap();
        let event: GatewayEvent = serde_json::from_str(&event.body).unwrap();
        self.db.store.gateway_event(&event, now).await.unwrap()
    }

    async fn available(&self) -> i64 {
        self.db
            .number(
                "SELECT CAST(COALESCE(SUM(balance_micros), 0) AS BIGINT) FROM ledger_accounts WHERE kind = 'available'",
            )
            .await
    }

    async fn refund(&self, payment: &str, amount: i64, key: &str) -> Result<i64, RefundFailed> {
        let wish = RefundWish {
            tenant: self.db.tenant,
            payment,
            amount_micros: Some(amount),
            key,
            actor: "operator",
            at_ms: now_ms(),
        };
        let refunded = self.db.store.refund(&self.gateway, &wish).await;
        refunded.map(|refunded| refunded.amount_minor)
    }
}

fn dispute_again(shop: &Shop<'_>, reference: &str) -> StripeEvent {
    shop.stripe.event("charge.dispute.created", &serde_json::json!({"id": "dp_2", "payment_intent": reference}))
}

on_both! {
    async fn an_event_five_times_and_its_sibling_are_one_credit(db) {
        let shop = Shop::open(&db, KEY).await;
        let (_, session) = shop.begin(true).await;
        assert_eq!(shop.available().await, 0);
        let [completed, succeeded] = &shop.stripe.pay(&session)[..] else { panic!("two events") };
        assert_eq!(shop.post(completed).await, EventOutcome::Applied);
        for _ in 0..4 {
            assert_eq!(shop.post(completed).await, EventOutcome::Known);
        }
        assert_eq!(shop.post(succeeded).await, EventOutcome::Known);
        assert_eq!(shop.available().await, 20_000_000);
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'billing.top_up.succeeded'").await, 1);
        invariants::hold(&db).await;
    }

    async fn an_event_that_comes_five_times_at_once_is_one_credit(db) {
        let shop = Shop::open(&db, KEY).await;
        let (_, session) = shop.begin(true).await;
        let event: GatewayEvent = serde_json::from_str(&shop.stripe.pay(&session)[0].body).unwrap();
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let (store, event) = (db.store.clone(), event.clone());
                tokio::spawn(async move { store.gateway_event(&event, now_ms()).await.unwrap() })
            })
            .collect();
        let mut applied = 0;
        for task in tasks {
            applied += u32::from(task.await.unwrap() == EventOutcome::Applied);
        }
        assert_eq!((applied, shop.available().await), (1, 20_000_000));
        invariants::hold(&db).await;
    }

    async fn another_amount_another_mode_and_another_payment_credit_nothing(db) {
        let shop = Shop::open(&db, KEY).await;
        let (_, session) = shop.begin(true).await;
        let paid = &shop.stripe.pay(&session)[0];
        let cheap: GatewayEvent = serde_json::from_str(&paid.body.replace("\"amount_total\":2000", "\"amount_total\":1999")).unwrap();
        assert_eq!(db.store.gateway_event(&cheap, now_ms()).await.unwrap(), EventOutcome::Mismatch);
        let test: GatewayEvent = serde_json::from_str(&paid.body.replace("\"livemode\":true", "\"livemode\":false").replace("evt_", "evt_test_")).unwrap();
        assert_eq!(db.store.gateway_event(&test, now_ms()).await.unwrap(), EventOutcome::Ignored);
        let unpaid: GatewayEvent = serde_json::from_str(&paid.body.replace("\"payment_status\":\"paid\"", "\"payment_status\":\"unpaid\"").replace("evt_", "evt_u_")).unwrap();
        assert_eq!(db.store.gateway_event(&unpaid, now_ms()).await.unwrap(), EventOutcome::Ignored);
        let stranger = shop.stripe.event("payment_intent.succeeded", &serde_json::json!({"id": "pi_stranger", "amount_received": 1, "currency": "usd"}));
        assert_eq!(shop.post(&stranger).await, EventOutcome::Ignored);
        assert_eq!(shop.post(&shop.stripe.event("product.created", &serde_json::json!({"id": "prod_1"}))).await, EventOutcome::Ignored);
        assert_eq!(shop.available().await, 0);
        invariants::hold(&db).await;
    }

    async fn test_money_buys_test_credit(db) {
        let shop = Shop::open(&db, "sk_test_simulated").await;
        assert_eq!(shop.gateway.livemode(), Some(false));
        let (_, session) = shop.begin(false).await;
        assert_eq!(shop.post(&shop.stripe.pay(&session)[0]).await, EventOutcome::Applied);
        assert_eq!(db.number("SELECT balance_micros FROM ledger_accounts WHERE kind = 'available' AND livemode = 0").await, 20_000_000);
        assert_eq!(db.number("SELECT balance_micros FROM ledger_accounts WHERE kind = 'available' AND livemode = 1").await, 0);
        invariants::hold(&db).await;
    }

    async fn a_refund_is_made_once_and_never_eats_what_is_spent(db) {
        let shop = Shop::open(&db, KEY).await;
        let (payment, session) = shop.begin(true).await;
        assert!(matches!(shop.refund(&payment, 5_000_000, "early").await, Err(RefundFailed::NoCredit)));
        shop.post(&shop.stripe.pay(&session)[0]).await;
        assert_eq!(shop.refund(&payment, 5_000_000, "r1").await.unwrap(), 500);
        assert_eq!(shop.refund(&payment, 5_000_000, "r1").await.unwrap(), 500);
        assert_eq!(shop.available().await, 15_000_000);
        assert!(matches!(shop.refund(&payment, 50_000_000, "r2").await, Err(RefundFailed::NoCredit)));
        let take = Movement { tenant: db.tenant, livemode: true, amount_micros: 14_000_000, idem_key: "rent".into(), memo: "rent".into(), actor: "test".into(), at_ms: now_ms() };
        db.store.deduct("number_month", &take).await.unwrap();
        assert!(matches!(shop.refund(&payment, 2_000_000, "r3").await, Err(RefundFailed::NoCredit)));
        assert_eq!(shop.stripe.requests().iter().filter(|form| form.contains_key("payment_intent")).count(), 1);
        // What the gateway tells of our own refund changes nothing; what it tells of another one does, to the last cent and no further.
        let reference: String = sqlx::query_scalar("SELECT payment_ref FROM payments").fetch_one(&db.raw).await.unwrap();
        let told = |minor: i64| shop.stripe.event("charge.refunded", &serde_json::json!({"id": "ch_1", "payment_intent": reference, "amount_refunded": minor}));
        assert_eq!(shop.post(&told(500)).await, EventOutcome::Known);
        assert_eq!(shop.post(&told(2_000)).await, EventOutcome::Applied);
        assert_eq!(shop.available().await, 0);
        assert_eq!(db.number("SELECT CAST(SUM(amount_micros) AS BIGINT) FROM ledger_entries WHERE account_id = 'house:bad_debt:live'").await, -14_000_000);
        let state: String = sqlx::query_scalar("SELECT state FROM payments").fetch_one(&db.raw).await.unwrap();
        assert_eq!(state, "refunded");
        invariants::hold(&db).await;
    }

    async fn a_refund_that_the_gateway_refuses_is_taken_back(db) {
        let shop = Shop::open(&db, KEY).await;
        let (payment, session) = shop.begin(true).await;
        shop.post(&shop.stripe.pay(&session)[0]).await;
        shop.stripe.refuse_next(402);
        assert!(matches!(shop.refund(&payment, 5_000_000, "r1").await, Err(RefundFailed::Gateway(_))));
        assert_eq!((shop.available().await, db.number("SELECT refunded_micros FROM payments").await), (20_000_000, 0));
        assert!(matches!(shop.refund(&payment, 5_000_000, "r1").await, Err(RefundFailed::RefusedBefore)));
        assert_eq!(shop.refund(&payment, 5_000_000, "r2").await.unwrap(), 500);
        invariants::hold(&db).await;
    }

    async fn a_refund_whose_answer_is_lost_stays_booked_and_is_finished_later(db) {
        let shop = Shop::open(&db, KEY).await;
        let (payment, session) = shop.begin(true).await;
        shop.post(&shop.stripe.pay(&session)[0]).await;
        shop.stripe.refuse_next(503);
        assert!(matches!(shop.refund(&payment, 5_000_000, "r1").await, Err(RefundFailed::Gateway(CashierError::Away(_)))));
        assert_eq!(shop.available().await, 15_000_000, "nobody knows, so it cannot be spent meanwhile");
        db.run("UPDATE jobs SET run_at = 0").await;
        let handlers = billing_handlers(shop.gateway.settings());
        let background = Background::start(&db.store, BackgroundSettings { node: "n1".into(), handlers, ..BackgroundSettings::default() }).await.unwrap();
        db.eventually("SELECT COUNT(*) FROM refunds WHERE state = 'done'", 1).await;
        background.stop(std::time::Duration::from_secs(5)).await;
        assert_eq!(shop.refund(&payment, 5_000_000, "r1").await.unwrap(), 500);
        assert_eq!((shop.available().await, db.number("SELECT refunded_micros FROM payments").await), (15_000_000, 5_000_000));
        invariants::hold(&db).await;
    }

    async fn the_event_of_a_stored_card_may_be_faster_than_the_answer(db) {
        let shop = Shop::open(&db, KEY).await;
        let new = NewPayment { tenant: db.tenant, livemode: true, amount_minor: 1_000, currency: "usd".into(), fx_ppm: 1_000_000, auto: true, at_ms: now_ms() };
        let payment = db.store.begin_payment(&new).await.unwrap();
        let intent = |id: &str, amount: i64| shop.stripe.event("payment_intent.succeeded", &serde_json::json!({
            "id": "pi_fast", "amount_received": amount, "currency": "usd", "metadata": {"payment_id": id},
        }));
        assert_eq!(shop.post(&intent(&payment, 999)).await, EventOutcome::Mismatch);
        assert_eq!(shop.post(&intent("stranger", 1_000)).await, EventOutcome::Ignored);
        assert_eq!(shop.post(&intent(&payment, 1_000)).await, EventOutcome::Applied);
        db.store.name_payment(&payment, None, Some("pi_fast")).await.unwrap();
        assert_eq!(shop.post(&intent(&payment, 1_000)).await, EventOutcome::Known);
        assert_eq!(shop.available().await, 10_000_000);
        invariants::hold(&db).await;
    }

    async fn a_dispute_marks_the_payment(db) {
        let shop = Shop::open(&db, KEY).await;
        let (_, session) = shop.begin(true).await;
        shop.post(&shop.stripe.pay(&session)[0]).await;
        let reference: String = sqlx::query_scalar("SELECT payment_ref FROM payments").fetch_one(&db.raw).await.unwrap();
        let dispute = shop.stripe.event("charge.dispute.created", &serde_json::json!({"id": "dp_1", "payment_intent": reference}));
        assert_eq!(shop.post(&dispute).await, EventOutcome::Applied);
        let state: String = sqlx::query_scalar("SELECT state FROM payments").fetch_one(&db.raw).await.unwrap();
        assert_eq!((state.as_str(), shop.available().await), ("disputed", 20_000_000));
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs WHERE kind = 'billing.dispute'").await, 1);
        let closed = |status: &str| shop.stripe.event("charge.dispute.closed", &serde_json::json!({"id": "dp_1", "payment_intent": reference, "status": status, "amount": 2_000}));
        assert_eq!(shop.post(&closed("won")).await, EventOutcome::Applied);
        assert_eq!(shop.available().await, 20_000_000);
        shop.post(&dispute_again(&shop, &reference)).await;
        assert_eq!(shop.post(&closed("lost")).await, EventOutcome::Applied);
        assert_eq!((shop.available().await, db.number("SELECT refunded_micros FROM payments").await), (0, 20_000_000));
        invariants::hold(&db).await;
    }

    async fn low_and_used_up_are_told_once_for_each_crossing(db) {
        let move_by = |amount_micros: i64, key: &str| {
            let movement = Movement { tenant: db.tenant, livemode: true, amount_micros, idem_key: key.into(), memo: "x".into(), actor: "test".into(), at_ms: now_ms() };
            let store = db.store.clone();
            async move { store.adjust(Adjustment::Adjust, &movement).await.unwrap() }
        };
        let told = || async {
            (db.number("SELECT COUNT(*) FROM events WHERE type = 'billing.balance.low'").await, db.number("SELECT COUNT(*) FROM events WHERE type = 'billing.balance.exhausted'").await)
        };
        move_by(6_000_000, "a").await;
        assert_eq!(told().await, (0, 0));
        move_by(-1_500_000, "b").await;
        move_by(-500_000, "c").await;
        assert_eq!(told().await, (1, 0));
        move_by(-4_000_000, "d").await;
        assert_eq!(told().await, (1, 1));
        // A tenth above the mark it is ready to tell again.
        move_by(5_400_000, "e").await;
        move_by(-1_000_000, "f").await;
        assert_eq!(told().await, (1, 1));
        move_by(1_100_000, "g").await;
        move_by(-1_000_000, "h").await;
        assert_eq!(told().await, (2, 1));
        assert!(!move_by(-1_000_000, "h").await.1, "the same key moves nothing");
        invariants::hold(&db).await;
    }
}
