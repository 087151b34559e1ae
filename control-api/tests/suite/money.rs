//! Leases on credit: the worked examples to the micro, races for the last cent, orphans by evidence, and the ledger after all of it.

use control_api::{
    Adjustment, Admission, Cover, Ended, Entry, Grant, Item, Limit, Movement, NotAdmitted, NotRenewed, Used, now_ms,
};
use domain::{BootId, CallId, Direction, EndedReason, Status};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::{
    db::{Db, on_both},
    fake::{call_id, new_call, status},
    invariants,
};

/// A tenant with money, and a clock of its own.
pub(crate) struct Till<'a> {
    pub(crate) db: &'a Db,
    pub(crate) t0: i64,
}

impl<'a> Till<'a> {
    /// A tenant with `balance`, whose calls cost $0.15 a minute by `first/next`.
    pub(crate) async fn open(db: &'a Db, balance: i64, first_s: i64, next_s: i64) -> Self {
        let sql = format!("UPDATE rates SET unit_micros = 150000, first_s = {first_s}, next_s = {next_s}");
        sqlx::query(AssertSqlSafe(sql)).execute(&db.raw).await.unwrap();
        // Far enough back that the whole of a test has happened by now.
        let till = Self { db, t0: now_ms() - 600_000 };
        till.give(balance, "start").await;
        till
    }

    pub(crate) async fn give(&self, amount_micros: i64, key: &str) {
        let movement = Movement {
            tenant: self.db.tenant,
            livemode: true,
            amount_micros,
            idem_key: key.into(),
            memo: "test".into(),
            actor: "test".into(),
            at_ms: self.t0,
        };
        self.db.store.adjust(Adjustment::Promo, &movement).await.unwrap();
    }

    pub(crate) fn admission(&self, call: CallId) -> Admission {
        Admission {
            tenant: self.db.tenant,
            livemode: true,
            call,
            item: Item::VoiceIn,
            address: "+12125550100".into(),
            number: None,
            node: "n1".into(),
            boot: BootId(Uuid::nil()),
            max_cost_micros: None,
        }
    }

    /// A call that is admitted, and answered at the clock's zero.
    pub(crate) async fn call(&self) -> (CallId, Grant) {
        let call = call_id();
        let grant = self.db.store.admit(&self.admission(call), self.t0).await.unwrap();
        self.answer(call).await;
        self.db.store.lease_answered(&grant.id, self.t0).await.unwrap();
        (call, grant)
    }

    pub(crate) async fn answer(&self, call: CallId) {
        let journal = &self.db.journal;
        journal.write(call, Entry::Created(Box::new(new_call(self.db.tenant, Direction::Inbound, self.t0))));
        journal.write(call, status(Status::Initiating, self.t0));
        journal.write(call, status(Status::InProgress, self.t0));
        journal.flush().await;
        // As evidence the test's own time would outweigh everything.
        let sql = format!("UPDATE events SET created_at = {}", self.t0);
        sqlx::query(AssertSqlSafe(sql)).execute(&self.db.raw).await.unwrap();
    }

    pub(crate) async fn renew(&self, call: CallId, elapsed_ms: i64) -> Cover {
        self.db.store.renew(call, elapsed_ms, self.t0 + elapsed_ms).await.unwrap()
    }

    pub(crate) async fn end(&self, call: CallId, reason: EndedReason, after_ms: i64) {
        let ended =
            Ended { reason, at_ms: self.t0 + after_ms, sip_status: None, media: None, degraded: false, silent_ms: 0 };
        self.db.journal.write(call, Entry::Ended(Box::new(ended)));
        self.db.journal.flush().await;
    }

    /// Available and held.
    pub(crate) async fn balances(&self) -> (i64, i64) {
        let available = self
            .db
            .number("SELECT balance_micros FROM ledger_accounts WHERE kind = 'available' AND livemode = 1")
            .await;
        (
            available,
            self.db.number("SELECT balance_micros FROM ledger_accounts WHERE kind = 'held' AND livemode = 1").await,
        )
    }

    /// Charged, refunded and billed seconds of the last lease and its call.
    pub(crate) async fn outcome(&self) -> (i64, i64, i64) {
        sqlx::query_as(
            "SELECT c.charged_micros, l.refunded_micros, c.billed_s FROM leases l JOIN calls c ON c.id = l.call_id ORDER BY l.opened_at DESC LIMIT 1",
        )
        .fetch_one(&self.db.raw)
        .await
        .unwrap()
    }

    pub(crate) async fn sweep(&self, after_ms: i64) -> u32 {
        self.db.store.sweep("n2", BootId(Uuid::max()), &|_| false, self.t0 + after_ms).await.unwrap()
    }

    pub(crate) async fn hold(&self) {
        invariants::hold(self.db).await;
    }
}

const HUNG_UP: EndedReason = EndedReason::CallerHungUp;

on_both! {
    async fn two_and_a_half_minutes_by_the_second(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (call, grant) = till.call().await;
        assert_eq!((grant.held_micros, grant.covered_ms, till.balances().await), (150_000, 60_000, (4_850_000, 150_000)));
        for (elapsed, held, covered) in [(45_000, 262_500, 105_000), (90_000, 375_000, 150_000), (135_000, 487_500, 195_000)] {
            let cover = till.renew(call, elapsed).await;
            assert_eq!((cover.held_micros, cover.added_micros, cover.covered_ms, cover.limit), (held, 112_500, covered, None));
        }
        till.end(call, HUNG_UP, 150_000).await;
        assert_eq!((till.outcome().await, till.balances().await), ((375_000, 112_500, 150), (4_625_000, 0)));
        // What the event says is what the ledger took, and the money is final with the end.
        let ended: String = sqlx::query_scalar("SELECT data FROM events WHERE type = 'call.ended'").fetch_one(&db.raw).await.unwrap();
        let ended: serde_json::Value = serde_json::from_str(&ended).unwrap();
        assert_eq!(ended["cost"], serde_json::json!({"final": true, "charged_micros": 375_000, "currency": "USD"}));
        let cost: String = sqlx::query_scalar("SELECT data FROM events WHERE type = 'call.cost.final'").fetch_one(&db.raw).await.unwrap();
        let cost: serde_json::Value = serde_json::from_str(&cost).unwrap();
        assert_eq!((&cost["display"], &cost["lease"]["held_micros"], &cost["lease"]["renewals"], &cost["lines"][0]["quantity"]),
            (&"$0.38".into(), &487_500.into(), &3.into(), &150.into()));
        till.hold().await;
    }

    async fn two_and_a_half_minutes_by_the_minute(db) {
        let till = Till::open(&db, 5_000_000, 60, 60).await;
        let (call, _) = till.call().await;
        for (elapsed, held, covered) in [(45_000, 300_000, 120_000), (90_000, 450_000, 180_000), (135_000, 600_000, 240_000)] {
            let cover = till.renew(call, elapsed).await;
            assert_eq!((cover.held_micros, cover.added_micros, cover.covered_ms), (held, 150_000, covered));
        }
        till.end(call, HUNG_UP, 150_000).await;
        assert_eq!((till.outcome().await, till.balances().await), ((450_000, 150_000, 180), (4_550_000, 0)));
        till.hold().await;
    }

    async fn thirty_six_with_a_connection_fee(db) {
        let till = Till::open(&db, 5_000_000, 30, 6).await;
        db.run("UPDATE rates SET connect_micros = 10000").await;
        let (call, grant) = till.call().await;
        assert_eq!(grant.held_micros, 160_000);
        for (elapsed, added) in [(45_000, 120_000), (90_000, 105_000), (135_000, 120_000)] {
            assert_eq!(till.renew(call, elapsed).await.added_micros, added);
        }
        assert_eq!(db.number("SELECT covered_ms FROM leases").await, 198_000);
        till.end(call, HUNG_UP, 150_400).await;
        assert_eq!((till.outcome().await, till.balances().await), ((400_000, 105_000, 156), (4_600_000, 0)));
        till.hold().await;
    }

    async fn whole_cents_where_the_rate_says_so(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        db.run("UPDATE rates SET quantum_micros = 10000").await;
        let (call, _) = till.call().await;
        till.renew(call, 45_000).await;
        till.renew(call, 90_000).await;
        till.renew(call, 135_000).await;
        till.end(call, HUNG_UP, 150_000).await;
        assert_eq!((till.outcome().await.0, till.balances().await), (380_000, (4_620_000, 0)));
        till.hold().await;
    }

    async fn credit_that_runs_out_is_spent_to_the_second_and_never_overspent(db) {
        let till = Till::open(&db, 200_000, 1, 1).await;
        let (call, _) = till.call().await;
        let cover = till.renew(call, 45_000).await;
        assert_eq!((cover.added_micros, cover.covered_ms, cover.limit, cover.warn_at_ms()), (50_000, 80_000, Some(Limit::Credit), Some(65_000)));
        // Every five seconds it asks again; nothing is there.
        assert_eq!(till.renew(call, 50_000).await.covered_ms, 80_000);
        till.end(call, EndedReason::CreditExhausted, 80_000).await;
        assert_eq!((till.outcome().await, till.balances().await), ((200_000, 0, 80), (0, 0)));
        assert!(matches!(db.store.admit(&till.admission(call_id()), till.t0).await, Err(NotAdmitted::NoCredit)));
        till.hold().await;
    }

    async fn credit_that_runs_out_by_the_minute_takes_no_part_of_one(db) {
        let till = Till::open(&db, 200_000, 60, 60).await;
        let (call, _) = till.call().await;
        let cover = till.renew(call, 45_000).await;
        assert_eq!((cover.added_micros, cover.covered_ms, cover.limit, cover.warn_at_ms()), (0, 60_000, Some(Limit::Credit), Some(45_000)));
        till.end(call, EndedReason::CreditExhausted, 60_000).await;
        assert_eq!((till.outcome().await, till.balances().await), ((150_000, 0, 60), (50_000, 0)));
        assert!(matches!(db.store.admit(&till.admission(call_id()), till.t0).await, Err(NotAdmitted::NoCredit)));
        till.hold().await;
    }

    async fn a_top_up_meanwhile_makes_a_final_lease_go_on(db) {
        let till = Till::open(&db, 200_000, 1, 1).await;
        let (call, _) = till.call().await;
        assert_eq!(till.renew(call, 45_000).await.limit, Some(Limit::Credit));
        till.give(5_000_000, "more").await;
        let cover = till.renew(call, 50_000).await;
        assert_eq!((cover.limit, cover.covered_ms, cover.held_micros), (None, 110_000, 275_000));
        till.end(call, HUNG_UP, 100_000).await;
        assert_eq!(till.balances().await, (4_950_000, 0));
        till.hold().await;
    }

    async fn a_crashed_call_is_settled_by_its_last_renewal_once(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (call, _) = till.call().await;
        till.renew(call, 45_000).await;
        till.renew(call, 90_000).await;
        assert_eq!((till.sweep(100_000).await, till.sweep(180_000).await), (0, 0));
        assert_eq!((till.sweep(180_001).await, till.sweep(300_000).await), (1, 0));
        assert_eq!((till.outcome().await, till.balances().await), ((225_000, 150_000, 90), (4_775_000, 0)));
        let row: (String, String, i64) = sqlx::query_as("SELECT status, ended_reason, duration_ms FROM calls").fetch_one(&db.raw).await.unwrap();
        assert_eq!(row, ("failed".into(), "node_lost".into(), 90_000));
        till.hold().await;
    }

    async fn a_stored_event_is_later_evidence(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (call, _) = till.call().await;
        till.renew(call, 45_000).await;
        till.renew(call, 90_000).await;
        let sql = format!("UPDATE events SET created_at = {} WHERE type = 'call.answered'", till.t0 + 97_200);
        sqlx::query(AssertSqlSafe(sql)).execute(&db.raw).await.unwrap();
        assert_eq!(till.sweep(200_000).await, 1);
        assert_eq!(till.outcome().await, (245_000, 130_000, 98));
        till.hold().await;
    }

    async fn a_crashed_call_by_the_minute_pays_the_minute_it_was_in(db) {
        let till = Till::open(&db, 5_000_000, 60, 60).await;
        let (call, _) = till.call().await;
        till.renew(call, 45_000).await;
        till.renew(call, 90_000).await;
        assert_eq!(till.sweep(300_000).await, 1);
        assert_eq!(till.outcome().await, (300_000, 150_000, 120));
        till.hold().await;
    }

    async fn a_node_settles_its_older_boots_at_once_at_its_start(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (call, _) = till.call().await;
        till.renew(call, 45_000).await;
        let boot = BootId(Uuid::max());
        db.store.close_orphans("n1", boot).await.unwrap();
        assert_eq!(db.store.sweep_old_boots("n1", boot, till.t0 + 46_000).await.unwrap(), 0, "the end of the call settled it");
        assert_eq!(till.outcome().await, (112_500, 150_000, 45));
        // A lease without a row (its worker never journalled) goes the same way.
        let stray = db.store.admit(&till.admission(call_id()), till.t0).await.unwrap();
        assert_eq!(db.store.sweep_old_boots("n1", BootId(Uuid::nil()), till.t0 + 1).await.unwrap(), 0, "this boot's own");
        assert_eq!(db.store.sweep_old_boots("n1", boot, till.t0 + 1).await.unwrap(), 1);
        assert!(!stray.token.is_empty());
        assert_eq!(till.balances().await, (4_887_500, 0));
        till.hold().await;
    }

    async fn a_live_call_of_this_boot_is_not_swept(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (call, _) = till.call().await;
        let ours = BootId(Uuid::nil());
        assert_eq!(db.store.sweep("n1", ours, &|id| id == call, till.t0 + 500_000).await.unwrap(), 0);
        assert_eq!(db.store.sweep("n1", ours, &|_| false, till.t0 + 500_000).await.unwrap(), 1);
        till.hold().await;
    }

    async fn a_call_that_is_not_answered_costs_nothing(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let call = call_id();
        db.store.admit(&till.admission(call), till.t0).await.unwrap();
        assert_eq!(till.balances().await, (4_850_000, 150_000));
        db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Outbound, till.t0))));
        db.journal.write(call, status(Status::Initiating, till.t0));
        till.end(call, EndedReason::Busy, 9_000).await;
        assert_eq!((till.outcome().await, till.balances().await), ((0, 150_000, 0), (5_000_000, 0)));
        let state: String = sqlx::query_scalar("SELECT state FROM leases").fetch_one(&db.raw).await.unwrap();
        assert_eq!((state.as_str(), db.number("SELECT COUNT(*) FROM usage_records").await), ("released", 0));
        till.hold().await;
    }

    async fn talk_beyond_the_cover_is_taken_as_far_as_there_is_credit_and_never_as_debt(db) {
        let till = Till::open(&db, 300_000, 1, 1).await;
        let (call, _) = till.call().await;
        till.end(call, HUNG_UP, 150_000).await;
        assert_eq!((till.outcome().await, till.balances().await), ((300_000, 0, 150), (0, 0)));
        let row: (i64, i64) = sqlx::query_as("SELECT uncollected_micros, (SELECT uncollected_micros FROM leases) FROM calls").fetch_one(&db.raw).await.unwrap();
        assert_eq!(row, (75_000, 75_000));
        assert_eq!(db.number("SELECT COUNT(*) FROM ledger_txns WHERE kind = 'late_charge'").await, 1);
        till.hold().await;
    }

    async fn a_lease_closes_once(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (call, _) = till.call().await;
        till.end(call, HUNG_UP, 30_000).await;
        till.end(call, HUNG_UP, 60_000).await;
        assert_eq!((till.sweep(500_000).await, till.outcome().await), (0, (75_000, 75_000, 30)));
        assert!(matches!(db.store.renew(call, 60_000, till.t0).await, Err(NotRenewed::Closed)));
        assert!(matches!(db.store.renew(call_id(), 60_000, till.t0).await, Err(NotRenewed::Unknown)));
        till.hold().await;
    }

    async fn a_second_admission_of_a_call_finds_the_first(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let admission = till.admission(call_id());
        let first = db.store.admit(&admission, till.t0).await.unwrap();
        assert_eq!(first.spare, 5_000_000 / 150_000 - 1);
        assert_eq!(db.store.admit(&admission, till.t0 + 5).await.unwrap(), Grant { is_new: false, spare: 0, ..first });
        assert_eq!(till.balances().await, (4_850_000, 150_000));
        till.sweep(1_000_000).await;
        till.hold().await;
    }

    async fn of_two_hundred_on_credit_for_one_one_is_admitted(db) {
        let till = Till::open(&db, 150_000, 1, 1).await;
        let (admitted, no_credit, full) = race(&db, &till).await;
        assert_eq!((admitted, no_credit, full, till.balances().await), (1, 199, 0, (0, 150_000)));
        assert_eq!(till.sweep(1_000_000).await, 1);
        assert_eq!(till.balances().await, (150_000, 0));
        till.hold().await;
    }

    async fn of_two_hundred_under_a_limit_of_three_three_are_admitted(db) {
        let till = Till::open(&db, 50_000_000, 1, 1).await;
        db.run("UPDATE tenants SET max_calls = 3").await;
        let (admitted, no_credit, full) = race(&db, &till).await;
        assert_eq!((admitted, no_credit, full), (3, 0, 197));
        assert_eq!(till.sweep(1_000_000).await, 3);
        till.hold().await;
    }

    async fn of_two_hundred_under_a_days_cap_for_two_two_are_admitted(db) {
        let till = Till::open(&db, 50_000_000, 1, 1).await;
        db.run("UPDATE tenants SET daily_cap_micros = 300000, monthly_cap_micros = 900000").await;
        let mut tasks = Vec::new();
        for _ in 0..200 {
            let (store, admission, t0) = (db.store.clone(), till.admission(call_id()), till.t0);
            tasks.push(tokio::spawn(async move { store.admit(&admission, t0).await.map(|grant| (admission.call, grant)) }));
        }
        let mut admitted = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(call) => admitted.push(call),
                Err(NotAdmitted::SpendCap) => {}
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(admitted.len(), 2);
        assert_eq!(db.number("SELECT used_micros FROM spend_caps WHERE period = 'day'").await, 300_000);
        for (call, _) in admitted {
            till.answer(call).await;
            till.end(call, HUNG_UP, 30_000).await;
        }
        assert_eq!(db.number("SELECT used_micros FROM spend_caps WHERE period = 'day'").await, 150_000);
        assert_eq!(db.number("SELECT used_micros FROM spend_caps WHERE period = 'month'").await, 150_000);
        till.hold().await;
    }

    async fn a_cap_ends_a_running_call_like_credit_does(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        db.run("UPDATE tenants SET daily_cap_micros = 200000").await;
        let (call, _) = till.call().await;
        let cover = till.renew(call, 45_000).await;
        assert_eq!((cover.covered_ms, cover.limit), (80_000, Some(Limit::Credit)));
        // A cap lowered below what is used is no broken cap.
        db.run("UPDATE tenants SET daily_cap_micros = 1000").await;
        assert!(matches!(db.store.admit(&till.admission(call_id()), till.t0).await, Err(NotAdmitted::SpendCap)));
        till.end(call, EndedReason::CreditExhausted, 80_000).await;
        till.hold().await;
    }

    async fn the_agents_ceiling_bounds_the_cover(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let call = call_id();
        let admission = Admission { max_cost_micros: Some(200_000), ..till.admission(call) };
        db.store.admit(&admission, till.t0).await.unwrap();
        till.answer(call).await;
        let cover = till.renew(call, 45_000).await;
        assert_eq!((cover.covered_ms, cover.limit.map(Limit::ended_reason)), (80_000, Some(EndedReason::CostCap)));
        till.end(call, EndedReason::CostCap, 80_000).await;
        assert_eq!(till.outcome().await.0, 200_000);
        let never = Admission { max_cost_micros: Some(1), ..till.admission(call_id()) };
        assert!(matches!(db.store.admit(&never, till.t0).await, Err(NotAdmitted::SpendCap)));
        till.hold().await;
    }

    async fn destinations_are_refused_by_one_rule(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        db.run("INSERT INTO do_not_call (tenant_id, e164, reason, created_at) SELECT id, '+12125550199', 'asked', 0 FROM tenants").await;
        db.run("INSERT INTO rates (id, plan_id, item, prefix, unit_micros, blocked, starts_at) SELECT 'b', plan_id, item, '1809', 0, 1, 0 FROM rates WHERE item = 'voice_out'").await;
        db.run("INSERT INTO rates (id, plan_id, item, prefix, unit_micros, starts_at) SELECT 'c', plan_id, item, '1416', 600000, 0 FROM rates WHERE item = 'voice_out' AND prefix = ''").await;
        db.run("UPDATE tenants SET countries = '[\"US\",\"CA\",\"DO\"]'").await;
        for (to, why) in [
            ("+9001234567", Some("premium")), ("+881612345678", Some("satellite")), ("sip:x@169.254.169.254", Some("network")),
            ("+12125550199", Some("do_not_call")), ("+442071234567", Some("country")), ("+18095550100", Some("no_rate")),
            ("+14165550100", Some("max_rate_micros")), ("+12125550100", None), ("sip:bob@127.0.0.1:5080", None),
        ] {
            let admission = Admission { item: Item::VoiceOut, address: to.into(), ..till.admission(call_id()) };
            let refused = match db.store.admit(&admission, till.t0).await {
                Ok(_) => None,
                Err(NotAdmitted::Forbidden(why)) => Some(why.as_str()),
                Err(other) => panic!("{to}: {other}"),
            };
            assert_eq!(refused, why, "{to}");
        }
        till.sweep(1_000_000).await;
        till.hold().await;
    }

    async fn the_longest_prefix_in_force_is_the_rate_and_it_stays_frozen(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        db.run("INSERT INTO rates (id, plan_id, item, prefix, unit_micros, starts_at, ends_at) SELECT 'old', plan_id, item, '1212', 900000, 0, 1000 FROM rates WHERE item = 'voice_in'").await;
        db.run("INSERT INTO rates (id, plan_id, item, prefix, unit_micros, starts_at) SELECT 'new', plan_id, item, '1212', 300000, 1000 FROM rates WHERE id = 'old'").await;
        let (call, grant) = till.call().await;
        assert_eq!((grant.held_micros, grant.rate["prefix"].as_str()), (300_000, Some("1212")));
        db.run("UPDATE rates SET unit_micros = 1").await;
        assert_eq!(till.renew(call, 45_000).await.held_micros, 525_000);
        till.end(call, HUNG_UP, 60_000).await;
        assert_eq!(till.outcome().await.0, 300_000);
        db.run("DELETE FROM rates WHERE id = 'old'").await;
        till.hold().await;
    }

    async fn test_traffic_has_leases_and_costs_nothing(db) {
        let till = Till::open(&db, 0, 1, 1).await;
        let admission = Admission { livemode: false, ..till.admission(call_id()) };
        let grant = db.store.admit(&admission, till.t0).await.unwrap();
        assert_eq!(grant.held_micros, 0);
        assert_eq!(till.renew(admission.call, 45_000).await.covered_ms, 105_000);
        till.sweep(1_000_000).await;
        till.hold().await;
    }

    async fn what_a_call_used_is_charged_where_the_plan_prices_it_and_held_beside_the_talk(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        db.run("INSERT INTO rates (id, plan_id, item, unit_micros, per_units, starts_at) SELECT 'tok', plan_id, 'llm_out_token', 2000000, 1000000, 0 FROM rates WHERE item = 'voice_in'").await;
        db.run("INSERT INTO rates (id, plan_id, item, unit_micros, per_units, starts_at) SELECT 'est', plan_id, 'hold_per_min', 30000, 60, 0 FROM rates WHERE item = 'voice_in'").await;
        let (call, grant) = till.call().await;
        assert_eq!((grant.held_micros, grant.covered_ms), (180_000, 60_000));
        let used = |item, provider: &str, quantity, vendor_micros| Used { item, provider: provider.into(), quantity, vendor_micros };
        let all = vec![used("llm_out_token", "openai/x", 1_200, 500), used("tts_char", "elevenlabs/y", 900, 27_000), used("stt_s", "none", 0, 0)];
        db.journal.write(call, Entry::Used(all.clone()));
        db.journal.write(call, Entry::Used(all));
        till.end(call, HUNG_UP, 60_000).await;
        assert_eq!((till.outcome().await, till.balances().await), ((152_400, 27_600, 60), (4_847_600, 0)));
        assert_eq!(db.number("SELECT vendor_micros FROM calls").await, 27_500);
        assert_eq!(db.number("SELECT CAST(SUM(amount_micros) AS BIGINT) FROM usage_daily").await, 152_400);
        till.hold().await;
    }

    async fn a_call_admitted_while_the_store_was_away_gets_its_lease_later(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (rich, poor) = (call_id(), call_id());
        for call in [rich, poor] {
            if call == poor {
                let take = Movement { tenant: db.tenant, livemode: true, amount_micros: 4_700_000, idem_key: "take".into(), memo: "rent".into(), actor: "test".into(), at_ms: till.t0 };
                db.store.deduct("number_month", &take).await.unwrap();
            }
            db.journal.write(call, Entry::Created(Box::new(new_call(db.tenant, Direction::Inbound, till.t0))));
            db.journal.write(call, Entry::Unbilled(Box::new(till.admission(call))));
            db.journal.write(call, status(Status::Initiating, till.t0));
            db.journal.write(call, status(Status::InProgress, till.t0));
            db.journal.flush().await;
            assert_eq!(till.renew(call, 60_000).await.limit.is_some(), call == poor);
        }
        assert_eq!(till.balances().await, (0, 300_000));
        till.end(rich, HUNG_UP, 60_000).await;
        till.end(poor, HUNG_UP, 120_000).await;
        assert_eq!(till.outcome().await.1, 0);
        assert_eq!(db.journal.counts().refused, 0);
        till.hold().await;
    }

    async fn silence_before_a_call_was_given_up_is_not_billed(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (call, _) = till.call().await;
        let ended = Ended { reason: EndedReason::RtpTimeout, at_ms: till.t0 + 50_000, sip_status: None, media: None, degraded: false, silent_ms: 30_000 };
        db.journal.write(call, Entry::Ended(Box::new(ended)));
        db.journal.flush().await;
        assert_eq!(till.outcome().await, (50_000, 100_000, 20));
        till.hold().await;
    }

    async fn twenty_four_at_once_finish_without_a_deadlock(db) {
        let till = Till::open(&db, 1_000_000_000, 1, 1).await;
        db.run("UPDATE tenants SET max_calls = 1000, daily_cap_micros = 900000000").await;
        let t0 = till.t0;
        let workers: Vec<_> = (0..24)
            .map(|n| {
                let (store, journal, tenant) = (db.store.clone(), db.journal.clone(), db.tenant);
                let base = till.admission(call_id());
                tokio::spawn(async move {
                    for round in 0..10 {
                        let call = call_id();
                        let admission = Admission { call, ..base.clone() };
                        let grant = store.admit(&admission, t0).await.unwrap();
                        journal.write(call, Entry::Created(Box::new(new_call(tenant, Direction::Inbound, t0))));
                        journal.write(call, status(Status::Initiating, t0));
                        journal.write(call, status(Status::InProgress, t0));
                        store.lease_answered(&grant.id, t0).await.unwrap();
                        let cover = store.renew(call, 45_000, t0 + 45_000).await.unwrap();
                        assert_eq!(cover.covered_ms, 105_000);
                        if n % 3 == 0 {
                            store.sweep("n1", BootId(Uuid::nil()), &|_| false, t0 - 1_000).await.unwrap();
                        }
                        let at_ms = t0 + 50_000 + round;
                        let ended = Ended { reason: HUNG_UP, at_ms, sip_status: None, media: None, degraded: false, silent_ms: 0 };
                        journal.write(call, Entry::Ended(Box::new(ended)));
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.await.unwrap();
        }
        db.journal.flush().await;
        let counts = db.journal.counts();
        assert_eq!((counts.retries, counts.refused, counts.bad_transitions), (0, 0, 0));
        assert_eq!(db.number("SELECT COUNT(*) FROM leases WHERE state = 'settled'").await, 240);
        assert_eq!(till.balances().await.1, 0);
        till.hold().await;
    }

    async fn the_invariants_find_what_is_broken(db) {
        let till = Till::open(&db, 5_000_000, 1, 1).await;
        let (call, _) = till.call().await;
        till.end(call, HUNG_UP, 30_000).await;
        till.hold().await;
        for (name, sql, back) in [
            ("M2", "UPDATE ledger_accounts SET balance_micros = balance_micros + 1 WHERE kind = 'available' AND livemode = 1", "UPDATE ledger_accounts SET balance_micros = balance_micros - 1 WHERE kind = 'available' AND livemode = 1"),
            ("M7", "UPDATE leases SET charged_micros = charged_micros + 1", "UPDATE leases SET charged_micros = charged_micros - 1"),
            ("M8", "UPDATE calls SET charged_micros = charged_micros + 1", "UPDATE calls SET charged_micros = charged_micros - 1"),
            ("M13", "UPDATE usage_daily SET quantity = quantity + 1", "UPDATE usage_daily SET quantity = quantity - 1"),
            ("C2", "UPDATE calls SET duration_ms = 1", "UPDATE calls SET duration_ms = 30000"),
        ] {
            db.run(sql).await;
            let broken = db.store.check_invariants(now_ms()).await.unwrap();
            assert!(broken.iter().any(|broken| broken.name == name && !broken.rows.is_empty()), "{name}: {broken:?}");
            db.run(back).await;
        }
        till.hold().await;
    }
}

/// 200 admissions at once: admitted, refused for credit, refused for the number of calls.
async fn race(db: &Db, till: &Till<'_>) -> (u32, u32, u32) {
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (store, admission, t0) = (db.store.clone(), till.admission(call_id()), till.t0);
            tokio::spawn(async move { store.admit(&admission, t0).await })
        })
        .collect();
    let mut counts = (0, 0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => counts.0 += 1,
            Err(NotAdmitted::NoCredit) => counts.1 += 1,
            Err(NotAdmitted::Concurrency { .. }) => counts.2 += 1,
            Err(other) => panic!("{other}"),
        }
    }
    counts
}
