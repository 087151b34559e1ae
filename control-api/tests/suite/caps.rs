//! Spending caps by country and by number, beside those by day and month.

use control_api::{Admission, Entry, Item, LegAdmission, LegState, Limit, NotAdmitted};
use domain::{EndedReason, TrunkId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    db::{Db, on_both},
    fake::{Client, call_id},
    money::Till,
    routing::rows::number,
};

const TORONTO: &str = "+14165550100";
const NEW_YORK: &str = "+12125550100";

fn out(till: &Till<'_>, to: &str) -> Admission {
    Admission { item: Item::VoiceOut, address: to.into(), ..till.admission(call_id()) }
}

/// So many admissions at once: admitted, and refused for a cap.
async fn race(db: &Db, count: usize, t0: i64, admission: &Admission) -> (u32, u32) {
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (store, admission) = (db.store.clone(), Admission { call: call_id(), ..admission.clone() });
            tokio::spawn(async move { store.admit(&admission, t0).await })
        })
        .collect();
    let mut counts = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => counts.0 += 1,
            Err(NotAdmitted::SpendCap) => counts.1 += 1,
            Err(other) => panic!("{other}"),
        }
    }
    counts
}

async fn spent(db: &Db, scope: &str) -> i64 {
    sqlx::query_scalar("SELECT used_micros FROM spend_caps WHERE scope LIKE $1")
        .bind(scope)
        .fetch_one(&db.raw)
        .await
        .unwrap()
}

on_both! {
    async fn two_hundred_at_once_under_a_country_s_cap_for_two_are_two(db) {
        let till = Till::open(&db, 100_000_000, 1, 1).await;
        db.run("UPDATE tenants SET max_calls = 1000, country_caps = '{\"CA\":300000,\"GB\":0}'").await;
        assert_eq!(race(&db, 200, till.t0, &out(&till, TORONTO)).await, (2, 198));
        assert_eq!(spent(&db, "country:CA").await, 300_000);
        assert_eq!(race(&db, 5, till.t0, &out(&till, NEW_YORK)).await, (5, 0));
        assert_eq!(race(&db, 5, till.t0, &till.admission(call_id())).await, (5, 0));
        assert_eq!((spent(&db, "country:CA").await, db.number("SELECT COUNT(*) FROM spend_caps").await), (300_000, 1));
        till.sweep(1_000_000).await;
        assert_eq!(spent(&db, "country:CA").await, 0, "nobody answered");
        till.hold().await;
    }

    async fn two_hundred_at_once_under_a_number_s_cap_for_one_are_one_each(db) {
        let till = Till::open(&db, 100_000_000, 1, 1).await;
        db.run("UPDATE tenants SET max_calls = 1000").await;
        let capped = number(&db, db.tenant, "+12125550123", None, None, json!({"daily_cap_micros": 299_999})).await;
        let free = number(&db, db.tenant, "+12125550124", None, None, json!({})).await;
        let on = |id: &str, admission: Admission| Admission { number: Some(id.parse().unwrap()), ..admission };
        assert_eq!(race(&db, 200, till.t0, &on(&capped, till.admission(call_id()))).await, (1, 199));
        assert_eq!(race(&db, 1, till.t0, &on(&capped, out(&till, NEW_YORK))).await, (0, 1), "both directions");
        assert_eq!(race(&db, 5, till.t0, &on(&free, out(&till, NEW_YORK))).await, (5, 0));
        assert_eq!(spent(&db, &format!("number:{capped}")).await, 150_000);
        till.sweep(1_000_000).await;
        till.hold().await;
    }

    async fn a_country_s_cap_ends_a_call_at_the_paid_second_and_gets_the_rest_back(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        db.run("UPDATE tenants SET country_caps = '{\"CA\":200000}'").await;
        let admission = out(&till, TORONTO);
        let grant = db.store.admit(&admission, till.t0).await.unwrap();
        till.answer(admission.call).await;
        db.store.lease_answered(&grant.id, till.t0).await.unwrap();
        let cover = till.renew(admission.call, 45_000).await;
        assert_eq!((cover.held_micros, cover.covered_ms, cover.limit), (200_000, 80_000, Some(Limit::Credit)));
        till.end(admission.call, EndedReason::CallerHungUp, 50_000).await;
        assert_eq!((spent(&db, "country:CA").await, till.balances().await), (125_000, (4_875_000, 0)));
        till.hold().await;
    }

    async fn of_a_call_with_a_leg_abroad_the_leg_alone_counts_there(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        db.run("UPDATE tenants SET daily_cap_micros = 1000000, country_caps = '{\"CA\":200000}'").await;
        let (call, _) = till.call().await;
        let leg = Uuid::now_v7().to_string();
        let wanted = LegAdmission { call, leg: leg.clone(), address: TORONTO.into(), elapsed_ms: 10_000 };
        db.store.admit_leg(&wanted, till.t0 + 10_000).await.unwrap();
        assert_eq!((spent(&db, "country:CA").await, spent(&db, "").await), (150_000, 325_000));
        let mut state = LegState {
            id: leg, role: "transfer", address: TORONTO.to_owned().into(), trunk: Some(TrunkId(Uuid::nil())), codec: None,
            started_at_ms: till.t0 + 10_000, answered_at_ms: Some(till.t0 + 10_000), ended_at_ms: None, sip_status: None, media: None,
        };
        db.journal.write(call, Entry::Leg(Box::new(state.clone())));
        db.journal.flush().await;
        let cover = till.renew(call, 45_000).await;
        assert_eq!((cover.covered_ms, cover.limit), (90_000, Some(Limit::Credit)), "80 s of the leg, and then the call ends");
        state.ended_at_ms = Some(till.t0 + 50_000);
        db.journal.write(call, Entry::Leg(Box::new(state)));
        till.end(call, EndedReason::CallerHungUp, 60_000).await;
        assert_eq!((spent(&db, "country:CA").await, spent(&db, "").await), (100_000, 250_000));
        till.hold().await;
    }

    async fn caps_are_set_over_http_and_read_with_the_balance(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let client = Client::new(&db);
        let path = format!("/api/v1/tenants/{}", db.tenant);
        let set = client.patch(&path, json!({"limits": {"country_caps_micros": {"CA": 400_000}}})).await;
        assert_eq!((set.status.as_u16(), &set.json()["limits"]["country_caps_micros"]), (200, &json!({"CA": 400_000})), "{}", set.text());
        for wrong in [json!({"CANADA": 1}), json!({"CA": -1}), json!({"CA": 0.5})] {
            assert_eq!(client.patch(&path, json!({"limits": {"country_caps_micros": wrong}})).await.status, 400);
        }
        let trunk = client.post("/api/v1/trunks", json!({"name": "carrier", "gateways": [{"host": "9.9.9.9"}]})).await.json();
        let number = client.post("/api/v1/numbers", json!({"e164": "+12125550123", "carrier": "none", "trunk_id": trunk["id"]})).await.json();
        let number = format!("/api/v1/numbers/{}", number["id"].as_str().unwrap());
        let capped = client.patch(&number, json!({"routing": {"daily_cap_micros": 150_000}})).await;
        assert_eq!((capped.status.as_u16(), &capped.json()["routing"]["daily_cap_micros"]), (200, &json!(150_000)), "{}", capped.text());
        assert_eq!(client.patch(&number, json!({"routing": {"daily_cap_micros": -1}})).await.status, 400);
        let now = control_api::now_ms();
        db.store.admit(&out(&till, TORONTO), now).await.unwrap();
        let caps = client.get("/api/v1/billing/balance").await.json()["caps"].clone();
        assert_eq!((&caps["day"], caps["countries"].as_array().map(Vec::len)), (&Value::Null, Some(1)));
        assert_eq!((&caps["countries"][0]["country"], &caps["countries"][0]["cap_micros"], &caps["countries"][0]["used_micros"]), (&json!("CA"), &json!(400_000), &json!(150_000)));
    }
}
