//! Legs to which a call is handed over: held, cut off, settled and shown with the call, by the rate of their own number.

use control_api::{Entry, Forbidden, LegAdmission, LegState, Limit, NotAdmitted};
use domain::{CallId, EndedReason, TrunkId};
use serde_json::json;
use uuid::Uuid;

use crate::{
    db::{Db, on_both},
    fake::Client,
    money::Till,
};

const HUNG_UP: EndedReason = EndedReason::CallerHungUp;
/// In Canada, where a leg costs twice what a call does.
const DESK: &str = "+14165550100";

/// A tenant with money whose calls cost $0.15 a minute, and legs to Toronto $0.30.
async fn till(db: &Db, balance: i64) -> Till<'_> {
    let till = Till::open(db, balance, 1, 1).await;
    db.run("INSERT INTO rates (id, plan_id, item, prefix, name, unit_micros, starts_at) SELECT 'toronto', plan_id, item, '1416', 'Toronto', 300000, 0 FROM rates WHERE item = 'transfer_leg'").await;
    till
}

/// A leg of a call; times are ms since the answer of the call.
struct Leg<'a> {
    till: &'a Till<'a>,
    call: CallId,
    state: LegState,
}

impl<'a> Leg<'a> {
    fn of(till: &'a Till<'a>, call: CallId, began: i64) -> Self {
        let state = LegState {
            id: Uuid::now_v7().to_string(),
            role: "transfer",
            address: DESK.to_owned().into(),
            trunk: Some(TrunkId(Uuid::nil())),
            codec: None,
            started_at_ms: till.t0 + began,
            answered_at_ms: None,
            ended_at_ms: None,
            sip_status: None,
            media: None,
        };
        Self { till, call, state }
    }

    async fn admit(&self, elapsed_ms: i64) -> Result<(), NotAdmitted> {
        let wanted = LegAdmission {
            call: self.call,
            leg: self.state.id.clone(),
            address: self.state.address.expose().clone(),
            elapsed_ms,
        };
        self.till.db.store.admit_leg(&wanted, self.till.t0 + elapsed_ms).await
    }

    async fn write(&self) {
        self.till.db.journal.write(self.call, Entry::Leg(Box::new(self.state.clone())));
        self.till.db.journal.flush().await;
    }

    async fn answered(&mut self, at: i64) {
        self.state.answered_at_ms = Some(self.till.t0 + at);
        self.write().await;
    }

    async fn ended(&mut self, at: i64) {
        self.state.ended_at_ms = Some(self.till.t0 + at);
        self.write().await;
    }
}

async fn used(db: &Db, item: &str) -> (i64, i64) {
    sqlx::query_as("SELECT CAST(COALESCE(SUM(quantity), 0) AS BIGINT), CAST(COALESCE(SUM(amount_micros), 0) AS BIGINT) FROM usage_daily WHERE item = $1")
        .bind(item)
        .fetch_one(&db.raw)
        .await
        .unwrap()
}

on_both! {
    async fn a_leg_is_charged_by_its_own_number_from_its_answer_to_its_end(db) {
        let till = till(&db, 5_000_000).await;
        let (call, _) = till.call().await;
        let mut leg = Leg::of(&till, call, 30_000);
        leg.admit(30_000).await.unwrap();
        assert_eq!(till.balances().await.1, 225_000 + 300_000, "90 s of the call and a minute of the leg");
        leg.admit(30_000).await.unwrap();
        leg.write().await;
        leg.answered(40_000).await;
        assert_eq!(till.renew(call, 45_000).await.held_micros, 262_500 + 325_000);
        leg.ended(100_000).await;
        assert_eq!(till.renew(call, 90_000).await.held_micros, 587_500 + 87_500, "the leg is over, and what was held for it pays for the call");
        till.end(call, HUNG_UP, 120_000).await;
        assert_eq!((till.outcome().await.0, till.outcome().await.2, till.balances().await), (600_000, 120, (4_400_000, 0)));
        assert_eq!((used(&db, "voice_in").await, used(&db, "transfer_leg").await), ((120, 300_000), (60, 300_000)));
        let client = Client::new(&db);
        let cost = client.get(&format!("/api/v1/calls/{call}/cost")).await.json();
        assert_eq!((&cost["final"], &cost["charged_micros"], &cost["billed_s"]), (&json!(true), &json!(600_000), &json!(120)));
        let lines: Vec<_> = cost["lines"].as_array().unwrap().iter().map(|line| (line["item"].as_str().unwrap(), line["amount_micros"].as_i64().unwrap())).collect();
        assert_eq!((lines.len(), lines.contains(&("voice_in", 300_000)), lines.contains(&("transfer_leg", 300_000))), (2, true, true), "{cost}");
        let usage = client.get("/api/v1/billing/usage").await.json();
        let items = usage["items"].as_array().unwrap();
        assert!(items.iter().any(|line| line["item"] == "transfer_leg" && line["quantity"] == 60 && line["amount_micros"] == 300_000), "{usage}");
        let statement = client.get("/api/v1/billing/transactions?kind=settle").await.json();
        assert_eq!((statement["data"].as_array().unwrap().len(), &statement["data"][0]["amount_micros"]), (1, &json!(-600_000)));
        till.hold().await;
    }

    async fn a_leg_that_nobody_answers_costs_nothing_and_the_next_one_its_own_time(db) {
        let till = till(&db, 5_000_000).await;
        let (call, _) = till.call().await;
        let mut first = Leg::of(&till, call, 5_000);
        first.admit(5_000).await.unwrap();
        first.write().await;
        first.ended(25_000).await;
        let mut second = Leg::of(&till, call, 26_000);
        second.admit(26_000).await.unwrap();
        second.answered(30_000).await;
        // The call ends under it.
        till.end(call, HUNG_UP, 50_000).await;
        assert_eq!((till.outcome().await.0, till.balances().await.1), (125_000 + 100_000, 0));
        assert_eq!(used(&db, "transfer_leg").await, (20, 100_000));
        till.hold().await;
    }

    async fn a_leg_without_credit_for_its_first_minute_is_refused_and_the_call_goes_on(db) {
        let till = till(&db, 400_000).await;
        let (call, _) = till.call().await;
        let leg = Leg::of(&till, call, 10_000);
        assert!(matches!(leg.admit(10_000).await, Err(NotAdmitted::NoCredit)));
        assert_eq!(till.balances().await, (250_000, 150_000));
        assert_eq!(till.renew(call, 45_000).await.held_micros, 262_500);
        till.end(call, HUNG_UP, 60_000).await;
        assert_eq!(till.outcome().await.0, 150_000);
        till.hold().await;
    }

    async fn credit_that_runs_out_ends_call_and_leg_at_the_paid_second(db) {
        let till = till(&db, 600_000).await;
        let (call, _) = till.call().await;
        let mut leg = Leg::of(&till, call, 0);
        leg.admit(0).await.unwrap();
        assert_eq!(till.balances().await, (150_000, 450_000));
        leg.answered(0).await;
        // 7500 a second together: 20 s more.
        let cover = till.renew(call, 45_000).await;
        assert_eq!((cover.covered_ms, cover.limit, cover.warn_at_ms()), (80_000, Some(Limit::Credit), Some(65_000)));
        leg.ended(80_300).await;
        till.end(call, EndedReason::CreditExhausted, 80_300).await;
        assert_eq!((till.outcome().await.0, till.balances().await), (600_000, (0, 0)));
        assert_eq!(db.number("SELECT uncollected_micros FROM calls").await, 0);
        till.hold().await;
    }

    async fn caps_and_forbidden_destinations_hold_for_legs(db) {
        let till = till(&db, 5_000_000).await;
        db.run("UPDATE tenants SET daily_cap_micros = 500000").await;
        let (call, _) = till.call().await;
        let mut leg = Leg::of(&till, call, 30_000);
        assert!(matches!(leg.admit(30_000).await, Err(NotAdmitted::SpendCap)));
        leg.state.address = "+12125550100".to_owned().into();
        leg.admit(30_000).await.unwrap();
        assert_eq!(db.number("SELECT used_micros FROM spend_caps WHERE period = 'day'").await, 375_000);
        for (to, why) in [("+9001234567", "premium"), ("+442071234567", "country")] {
            let mut leg = Leg::of(&till, call, 31_000);
            leg.state.address = to.to_owned().into();
            assert!(matches!(leg.admit(31_000).await, Err(NotAdmitted::Forbidden(found)) if found.as_str() == why), "{to}");
        }
        db.run("UPDATE rates SET blocked = 1 WHERE id = 'toronto'").await;
        let blocked = Leg::of(&till, call, 32_000).admit(32_000).await;
        assert!(matches!(blocked, Err(NotAdmitted::Forbidden(Forbidden::NoRate))));
        till.end(call, HUNG_UP, 60_000).await;
        assert_eq!(db.number("SELECT used_micros FROM spend_caps WHERE period = 'day'").await, 150_000, "nobody answered the leg");
        till.hold().await;
    }

    async fn a_ceiling_of_the_agent_counts_the_leg(db) {
        let till = till(&db, 5_000_000).await;
        let call = crate::fake::call_id();
        let admission = control_api::Admission { max_cost_micros: Some(500_000), ..till.admission(call) };
        let grant = db.store.admit(&admission, till.t0).await.unwrap();
        till.answer(call).await;
        db.store.lease_answered(&grant.id, till.t0).await.unwrap();
        let mut leg = Leg::of(&till, call, 0);
        leg.admit(0).await.unwrap();
        leg.answered(0).await;
        let cover = till.renew(call, 45_000).await;
        assert_eq!((cover.covered_ms, cover.limit), (66_000, Some(Limit::Cost)));
        till.end(call, EndedReason::CostCap, 66_000).await;
        assert_eq!(till.outcome().await.0, 495_000);
        till.hold().await;
    }

    async fn a_leg_that_began_while_the_store_was_away_is_charged_at_the_end(db) {
        let till = till(&db, 5_000_000).await;
        let (call, _) = till.call().await;
        let mut leg = Leg::of(&till, call, 10_000);
        leg.answered(20_000).await;
        leg.ended(50_000).await;
        let mut direct = Leg::of(&till, call, 51_000);
        direct.state.trunk = None;
        direct.answered(51_000).await;
        till.end(call, HUNG_UP, 60_000).await;
        assert_eq!((till.outcome().await.0, till.balances().await), (300_000, (4_700_000, 0)));
        assert_eq!(used(&db, "transfer_leg").await, (30, 150_000), "a leg to a SIP address takes no trunk and has no price");
        till.hold().await;
    }

    async fn an_orphan_s_legs_are_settled_with_it(db) {
        let till = till(&db, 5_000_000).await;
        let (call, _) = till.call().await;
        let mut leg = Leg::of(&till, call, 10_000);
        leg.admit(10_000).await.unwrap();
        leg.answered(20_000).await;
        till.renew(call, 45_000).await;
        assert_eq!(till.sweep(1_000_000).await, 1);
        // The last sign of life came at 45 s.
        assert_eq!((till.outcome().await.0, till.balances().await.1), (112_500 + 125_000, 0));
        till.hold().await;
    }
}
