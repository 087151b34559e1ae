//! Numbers are bought and given back at simulated carriers, whatever fails in between.

use std::time::Duration;

use control_api::{
    Adjustment, Background, BackgroundSettings, CarrierSettings, FilesSettings, Hub, Movement, Settings,
    TelnyxSettings, TwilioSettings, number_orders, number_ports,
};
use serde_json::{Value, json};
use vendor_sim::{Fault, Knobs, Running, Telnyx, Twilio};

use crate::{
    db::{Db, on_both},
    fake::{Client, seal_key},
    invariants,
};

const NUMBERS: &str = "/api/v1/numbers";

/// Two carriers, a node with its background, and five dollars.
pub(super) struct Shop {
    pub(super) twilio: Running,
    pub(super) telnyx: Running,
    pub(super) settings: CarrierSettings,
    pub(super) client: Client,
    pub(super) background: Background,
}

impl Shop {
    pub(super) async fn open(db: &Db, twilio: Knobs, telnyx: Knobs) -> Self {
        let twilio = Twilio::start(Knobs { key: Some("AC1:secret".into()), ..twilio }).await.unwrap();
        let telnyx = Telnyx::start(Knobs { key: Some("KEY".into()), ..telnyx }).await.unwrap();
        let settings = CarrierSettings {
            twilio: TwilioSettings {
                account_sid: "AC1".into(),
                auth_token: "secret".into(),
                trunk_sid: "TK1".into(),
                base_url: format!("http://{}", twilio.addr()),
                porting_url: format!("http://{}", twilio.addr()),
                upload_url: format!("http://{}", twilio.addr()),
                setup_micros: 500_000,
                monthly_micros: 1_000_000,
            },
            telnyx: TelnyxSettings {
                api_key: "KEY".into(),
                connection_id: "conn-1".into(),
                base_url: format!("http://{}/v2", telnyx.addr()),
                setup_micros: 0,
                monthly_micros: 2_000_000,
            },
        };
        let all = Settings { carriers: settings.clone(), files: files(db), ..Settings::default() };
        let client = Client::with(db, &Hub::new(0), all);
        let background = work(db, &settings).await;
        db.store
            .adjust(
                Adjustment::Promo,
                &Movement {
                    tenant: db.tenant,
                    livemode: true,
                    amount_micros: 5_000_000,
                    idem_key: "gift".into(),
                    memo: "gift".into(),
                    actor: "test".into(),
                    at_ms: control_api::now_ms(),
                },
            )
            .await
            .unwrap();
        Self { twilio, telnyx, settings, client, background }
    }

    /// Waits until the newest order has one of these states.
    pub(super) async fn until(&self, states: &[&str]) -> Value {
        for _ in 0..600 {
            let order = self.client.get(&format!("{NUMBERS}/orders")).await.json()["data"][0].clone();
            if states.contains(&order["state"].as_str().unwrap_or_default()) {
                return order;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no order came to {states:?}");
    }
}

fn files(db: &Db) -> FilesSettings {
    FilesSettings { dir: db.folder.join("files") }
}

pub(super) async fn work(db: &Db, settings: &CarrierSettings) -> Background {
    let settings = BackgroundSettings {
        node: "n1".into(),
        handlers: vec![number_orders(settings), number_ports(settings, seal_key(), &files(db))],
        ..BackgroundSettings::default()
    };
    Background::start(&db.store, settings).await.unwrap()
}

pub(super) async fn balance(db: &Db) -> i64 {
    db.number("SELECT balance_micros FROM ledger_accounts WHERE kind = 'available' AND livemode = 1 AND tenant_id IS NOT NULL").await
}

/// Makes what waits for its next attempt due now.
pub(super) async fn hurry(db: &Db) {
    db.run("UPDATE jobs SET run_at = 0 WHERE state = 'queued'").await;
}

on_both! {
    async fn a_number_is_found_bought_called_and_given_back(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        let found = shop.client.get(&format!("{NUMBERS}/available?areaCode=212&limit=5")).await;
        assert_eq!(found.status, 200, "{}", found.text());
        assert_eq!(found.json()["data"][0], json!({"e164": "+12125550160", "carrier": "twilio", "kind": "local", "locality": "New York", "region": "NY",
            "capabilities": {"voice": true, "sms": true}, "monthly_micros": 1_000_000, "setup_micros": 500_000}));
        let ordered = shop.client.post(NUMBERS, json!({"e164": "+12125550160", "carrier": "twilio"})).await;
        assert_eq!((ordered.status.as_u16(), &ordered.json()["status"]), (202, &json!("pending")));
        assert_eq!(balance(&db).await, 3_500_000, "the money is taken with the order");
        shop.until(&["done"]).await;
        let number = shop.client.get(ordered.header("location")).await.json();
        assert_eq!((&number["status"], number["next_bill_at"].is_string()), (&json!("active"), true));
        assert!(shop.twilio.seen().iter().any(|seen| seen["form"][0] == json!(["TrunkSid", "TK1"])), "its calls come to us");
        let found = shop.client.get(&format!("{NUMBERS}/available?area_code=212")).await.json();
        assert_eq!(found["data"][0]["e164"], "+12125550161");
        assert_eq!(shop.client.delete(ordered.header("location")).await.json()["state"], "started");
        shop.until(&["done"]).await;
        assert_eq!(shop.client.get(ordered.header("location")).await.json()["status"], "released");
        assert_eq!(balance(&db).await, 3_500_000, "rent is not returned");
        for name in ["number.purchased", "number.released"] {
            let told: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM events WHERE type = $1").bind(name).fetch_one(&db.raw).await.unwrap();
            assert_eq!(told, 1, "{name}");
        }
        invariants::hold(&db).await;
        shop.background.stop(Duration::from_secs(1)).await;
    }

    async fn an_order_that_stays_pending_is_asked_about_again(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs { fault: Fault::Stall { after: 0 }, ..Knobs::default() }).await;
        let ordered = shop.client.post(NUMBERS, json!({"e164": "+13125550170", "carrier": "telnyx"})).await;
        assert_eq!(ordered.status, 202, "{}", ordered.text());
        for _ in 0..100 {
            hurry(&db).await;
            if shop.client.get(ordered.header("location")).await.json()["status"] == "active" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        shop.until(&["done"]).await;
        let orders = shop.telnyx.seen().iter().filter(|seen| seen.get("order").is_some()).count();
        assert_eq!(orders, 1, "one order, however often it is asked about");
        assert!(shop.telnyx.seen().iter().any(|seen| seen["body"]["connection_id"] == "conn-1"));
        invariants::hold(&db).await;
    }

    async fn an_answer_that_is_lost_buys_nothing_twice(db) {
        let shop = Shop::open(&db, Knobs { fault: Fault::Drop { after: 0 }, ..Knobs::default() }, Knobs::default()).await;
        let ordered = shop.client.post(NUMBERS, json!({"e164": "+12125550160", "carrier": "twilio"})).await;
        for _ in 0..100 {
            hurry(&db).await;
            if shop.client.get(ordered.header("location")).await.json()["status"] == "active" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        shop.until(&["done"]).await;
        let bought = shop.twilio.seen().iter().filter(|seen| seen.get("buy").is_some()).count();
        assert_eq!((bought, balance(&db).await), (1, 3_500_000));
    }

    async fn what_fails_for_good_is_taken_back(db) {
        let shop = Shop::open(&db, Knobs::default(), Knobs::default()).await;
        // Not for sale there.
        let ordered = shop.client.post(NUMBERS, json!({"e164": "+12125550199", "carrier": "twilio"})).await;
        assert_eq!(ordered.status, 202, "{}", ordered.text());
        let order = shop.until(&["compensated"]).await;
        assert!(order["error"].as_str().unwrap().contains("not available"), "{order}");
        assert_eq!(shop.client.get(ordered.header("location")).await.json()["status"], "failed");
        assert_eq!(balance(&db).await, 5_000_000);
        // Bought, but the trunk that it should point to does not exist: given back to the carrier too.
        let mut settings = shop.settings.clone();
        settings.twilio.trunk_sid = "nothing".into();
        shop.background.stop(Duration::from_secs(1)).await;
        let background = work(&db, &settings).await;
        shop.client.post(NUMBERS, json!({"e164": "+12125550160", "carrier": "twilio"})).await;
        for _ in 0..200 {
            let released = shop.twilio.seen().iter().any(|seen| seen.get("release").is_some());
            if released && balance(&db).await == 5_000_000 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(balance(&db).await, 5_000_000);
        assert!(shop.twilio.seen().iter().any(|seen| seen.get("release").is_some()));
        assert_eq!(db.number("SELECT COUNT(*) FROM events WHERE type = 'number.order.failed'").await, 2);
        assert_eq!(db.number("SELECT COUNT(*) FROM numbers WHERE released_at IS NULL").await, 0, "both are free again");
        invariants::hold(&db).await;
        background.stop(Duration::from_secs(1)).await;
    }

    async fn without_credit_or_an_account_nothing_is_ordered(db) {
        let shop = Shop::open(&db, Knobs { fault: Fault::Refuse { status: 500, retry_after: None, code: "20500".into() }, ..Knobs::default() }, Knobs::default()).await;
        let failed = shop.client.get(&format!("{NUMBERS}/available?carrier=twilio")).await;
        assert_eq!(failed.error().1, "vendor_failed");
        assert!(!failed.text().contains("secret"));
        for number in ["+13125550170", "+13125550171"] {
            assert_eq!(shop.client.post(NUMBERS, json!({"e164": number, "carrier": "telnyx"})).await.status, 202);
            shop.until(&["done"]).await;
        }
        assert_eq!(balance(&db).await, 1_000_000);
        let poor = shop.client.post(NUMBERS, json!({"e164": "+13125550172", "carrier": "telnyx"})).await;
        assert_eq!(poor.error().1, "insufficient_credit");
        assert_eq!(db.number("SELECT COUNT(*) FROM numbers WHERE e164 = '+13125550172'").await, 0);
        let plain = Client::new(&db);
        assert_eq!(plain.get(&format!("{NUMBERS}/available")).await.error().1, "no_carrier_configured");
        assert_eq!(plain.post(NUMBERS, json!({"e164": "+12125550160", "carrier": "twilio"})).await.error().1, "no_carrier_configured");
        assert_eq!(shop.client.get(&format!("{NUMBERS}/available?country=XX")).await.error().2.as_deref(), Some("country"));
    }
}
