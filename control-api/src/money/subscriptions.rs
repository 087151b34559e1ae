//! Plans and subscriptions: what a tenant pays each month, and which rates and limits it has for that. The gateway keeps the clock, the
//! card and the dunning of plans that cost something; what it tells is applied here.

use domain::{TenantId, event::Name};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{
    PlanSettings, calendar, closing,
    ledger::{Account, Kind, LedgerError, Purse, Txn},
};
use crate::{
    outbox::{NewEvent, emit},
    store::{Store, json_text, storable},
};

/// A row of `plans`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) monthly_micros: i64,
    /// Credit given each month.
    pub(crate) included_micros: i64,
    pub(crate) rate_plan_id: String,
    /// `{max_calls?, max_cps?}`.
    pub(crate) limits: Value,
    pub(crate) stripe_price: Option<String>,
}

/// A row of `subscriptions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) tenant: TenantId,
    pub(crate) plan: String,
    /// `pending`, `active`, `past_due` or `canceled`.
    pub(crate) state: String,
    pub(crate) period_start: i64,
    pub(crate) period_end: i64,
    pub(crate) cancel_at_end: bool,
    /// The plan that follows: when its page is paid, or when the period ends.
    pub(crate) next_plan: Option<String>,
    /// The page on which it waits for its first payment.
    pub(crate) checkout_ref: Option<String>,
    /// What the gateway calls it; none for plans that cost nothing.
    pub(crate) gateway_ref: Option<String>,
}

impl Subscription {
    /// It gives the tenant its rates and limits now.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "active" | "past_due")
    }
}

const PLAN: &str = "id, name, monthly_micros, included_micros, rate_plan_id, limits, stripe_price";
const COLUMNS: &str =
    "tenant_id, plan_id, state, period_start, period_end, cancel_at_end, next_plan_id, checkout_ref, gateway_ref";

fn plan(row: &AnyRow) -> Result<Plan, sqlx::Error> {
    Ok(Plan {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        monthly_micros: row.try_get(2)?,
        included_micros: row.try_get(3)?,
        rate_plan_id: row.try_get(4)?,
        limits: serde_json::from_str(&row.try_get::<String, _>(5)?).unwrap_or_default(),
        stripe_price: row.try_get(6)?,
    })
}

fn read(row: &AnyRow) -> Result<Subscription, sqlx::Error> {
    let tenant: String = row.try_get(0)?;
    Ok(Subscription {
        tenant: tenant.parse().map_err(|_| sqlx::Error::Decode("subscription with a broken tenant".into()))?,
        plan: row.try_get(1)?,
        state: row.try_get(2)?,
        period_start: row.try_get(3)?,
        period_end: row.try_get(4)?,
        cancel_at_end: row.try_get::<i64, _>(5)? != 0,
        next_plan: row.try_get(6)?,
        checkout_ref: row.try_get(7)?,
        gateway_ref: row.try_get(8)?,
    })
}

/// Why the configured plans cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum PlansRefused {
    /// It names rates that are not there.
    #[error("billing.plans: plan {plan:?} has the rate plan {rate_plan:?}, and there is none of that name")]
    NoRates {
        /// The plan's id.
        plan: String,
        /// The name.
        rate_plan: String,
    },
    /// A number below zero, or a price without a price of the gateway's.
    #[error("billing.plans: plan {plan:?}: {fault}")]
    Fault {
        /// The plan's id.
        plan: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// The store does not answer.
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
}

impl Store {
    /// Offers these plans and no others. Who has one that is not offered any more keeps it.
    pub async fn offer_plans(&self, plans: &[PlanSettings]) -> Result<(), PlansRefused> {
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE plans SET active = 0").execute(&mut *tx).await?;
        for plan in plans {
            let fault = |fault| PlansRefused::Fault { plan: plan.id.clone(), fault };
            if plan.monthly_micros < 0 || plan.included_micros < 0 {
                return Err(fault("amounts are not negative"));
            }
            if plan.monthly_micros > 0 && plan.stripe_price.is_none() {
                return Err(fault("a plan that costs something needs stripe_price"));
            }
            let rates = match &plan.rate_plan {
                Some(name) => {
                    sqlx::query("SELECT id FROM rate_plans WHERE name = $1 ORDER BY id LIMIT 1").bind(name.clone())
                }
                None => sqlx::query("SELECT id FROM rate_plans WHERE is_default = 1"),
            };
            let rates: String = match rates.fetch_optional(&mut *tx).await? {
                Some(row) => row.try_get(0)?,
                None => {
                    let rate_plan = plan.rate_plan.clone().unwrap_or_else(|| "default".into());
                    return Err(PlansRefused::NoRates { plan: plan.id.clone(), rate_plan });
                }
            };
            let mut limits = serde_json::Map::new();
            limits.extend(plan.max_calls.map(|limit| ("max_calls".to_owned(), limit.into())));
            limits.extend(plan.max_cps.map(|limit| ("max_cps".to_owned(), limit.into())));
            sqlx::query(
                "INSERT INTO plans (id, name, monthly_micros, included_micros, rate_plan_id, limits, stripe_price, active)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, 1)
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, monthly_micros = excluded.monthly_micros,
                   included_micros = excluded.included_micros, rate_plan_id = excluded.rate_plan_id, limits = excluded.limits,
                   stripe_price = excluded.stripe_price, active = 1",
            )
            .bind(storable(&plan.id))
            .bind(storable(&plan.name))
            .bind(plan.monthly_micros)
            .bind(plan.included_micros)
            .bind(rates)
            .bind(json_text(&limits))
            .bind(plan.stripe_price.as_deref().map(storable))
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// The plans on offer, cheapest first.
    pub(crate) async fn plans(&self) -> Result<Vec<Plan>, sqlx::Error> {
        let sql = format!("SELECT {PLAN} FROM plans WHERE active = 1 ORDER BY monthly_micros, id");
        sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(self.pool()).await?.iter().map(plan).collect()
    }

    /// What a tenant has subscribed to.
    pub(crate) async fn subscription(&self, tenant: TenantId) -> Result<Option<Subscription>, sqlx::Error> {
        let sql = format!("SELECT {COLUMNS} FROM subscriptions WHERE tenant_id = $1");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.to_string()).fetch_optional(self.pool()).await?;
        row.as_ref().map(read).transpose()
    }
}

async fn plan_by_id(db: &mut AnyConnection, id: &str) -> Result<Plan, sqlx::Error> {
    let sql = format!("SELECT {PLAN} FROM plans WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_owned()).fetch_one(db).await?;
    plan(&row)
}

/// Begins a plan that costs nothing, at once.
pub(crate) async fn begin_free(
    db: &mut AnyConnection,
    purse: &mut Purse,
    tenant: TenantId,
    plan: &Plan,
    at_ms: i64,
) -> Result<(), LedgerError> {
    let (start, end) = calendar::month_bounds(at_ms, &calendar::zone("UTC"));
    give(db, purse, plan.included_micros, format!("{tenant}:{start}:included"), at_ms).await?;
    sqlx::query(
        "INSERT INTO subscriptions (tenant_id, plan_id, state, period_start, period_end, updated_at) VALUES ($1, $2, 'active', $3, $4, $5)
         ON CONFLICT (tenant_id) DO UPDATE SET plan_id = excluded.plan_id, state = 'active', checkout_ref = NULL, gateway_ref = NULL,
           next_plan_id = NULL, cancel_at_end = 0, period_start = excluded.period_start, period_end = excluded.period_end,
           updated_at = excluded.updated_at",
    )
    .bind(tenant.to_string())
    .bind(plan.id.clone())
    .bind(start)
    .bind(end)
    .bind(at_ms)
    .execute(&mut *db)
    .await?;
    enter(db, tenant, plan, at_ms).await?;
    Ok(announce(db, tenant, Name::SubscriptionCreated, &plan.id, "active").await?)
}

/// The next month of plans that cost nothing: their credit, once a month.
pub(crate) async fn roll_free(store: &Store, at_ms: i64) -> Result<(), LedgerError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM subscriptions WHERE state = 'active' AND gateway_ref IS NULL AND period_end <= $1 LIMIT 1000"
    );
    let due = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(at_ms).fetch_all(store.pool()).await?;
    for row in &due {
        let subscription = read(row)?;
        let (start, end) = calendar::month_bounds(at_ms, &calendar::zone("UTC"));
        let mut tx = store.begin().await?;
        let mut purse = Purse::open(&mut tx, subscription.tenant, true).await?;
        let moved = sqlx::query(
            "UPDATE subscriptions SET period_start = $1, period_end = $2, updated_at = $3
             WHERE tenant_id = $4 AND plan_id = $5 AND state = 'active' AND gateway_ref IS NULL AND period_end <= $3",
        )
        .bind(start)
        .bind(end)
        .bind(at_ms)
        .bind(subscription.tenant.to_string())
        .bind(subscription.plan.clone())
        .execute(&mut *tx)
        .await?;
        if moved.rows_affected() == 1 {
            let plan = plan_by_id(&mut tx, &subscription.plan).await?;
            let key = format!("{}:{start}:included", subscription.tenant);
            give(&mut tx, &mut purse, plan.included_micros, key, at_ms).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}

/// Notes a plan that waits for its payment on the page `checkout_ref`; a plan that runs goes on until then.
pub(crate) async fn await_payment(
    db: &mut AnyConnection,
    tenant: TenantId,
    plan: &Plan,
    checkout_ref: &str,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    let (start, end) = calendar::month_bounds(at_ms, &calendar::zone("UTC"));
    sqlx::query(
        "INSERT INTO subscriptions (tenant_id, plan_id, state, checkout_ref, next_plan_id, period_start, period_end, updated_at)
         VALUES ($1, $2, 'pending', $3, $2, $4, $5, $6)
         ON CONFLICT (tenant_id) DO UPDATE SET
           plan_id = CASE WHEN subscriptions.state = 'active' THEN subscriptions.plan_id ELSE excluded.plan_id END,
           state = CASE WHEN subscriptions.state = 'active' THEN 'active' ELSE 'pending' END,
           checkout_ref = excluded.checkout_ref, gateway_ref = NULL, next_plan_id = excluded.next_plan_id, cancel_at_end = 0,
           updated_at = excluded.updated_at",
    )
    .bind(tenant.to_string())
    .bind(plan.id.clone())
    .bind(checkout_ref.to_owned())
    .bind(start)
    .bind(end)
    .bind(at_ms)
    .execute(db)
    .await
    .map(drop)
}

/// A dearer plan that the gateway has charged pro rata: it counts at once, with the rest of the month's difference in credit.
pub(crate) async fn upgraded(
    db: &mut AnyConnection,
    purse: &mut Purse,
    subscription: &Subscription,
    plan: &Plan,
    key: &str,
    at_ms: i64,
) -> Result<(), LedgerError> {
    let old = plan_by_id(db, &subscription.plan).await?;
    let whole = (subscription.period_end - subscription.period_start).max(1);
    let rest = (subscription.period_end - at_ms).clamp(0, whole);
    let more = i128::from((plan.included_micros - old.included_micros).max(0)) * i128::from(rest) / i128::from(whole);
    give(db, purse, i64::try_from(more).unwrap_or(0), format!("{}:{key}:included", subscription.tenant), at_ms).await?;
    follow(db, subscription, None, false, at_ms).await?;
    sqlx::query("UPDATE subscriptions SET plan_id = $1 WHERE tenant_id = $2")
        .bind(plan.id.clone())
        .bind(subscription.tenant.to_string())
        .execute(&mut *db)
        .await?;
    enter(db, subscription.tenant, plan, at_ms).await?;
    announce(db, subscription.tenant, Name::SubscriptionUpdated, &plan.id, &subscription.state).await?;
    Ok(())
}

/// What comes when the period ends: another plan, the end, or (neither) the same again.
pub(crate) async fn follow(
    db: &mut AnyConnection,
    subscription: &Subscription,
    next_plan: Option<&str>,
    cancel_at_end: bool,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE subscriptions SET next_plan_id = $1, cancel_at_end = $2, updated_at = $3 WHERE tenant_id = $4")
        .bind(next_plan.map(str::to_owned))
        .bind(i64::from(cancel_at_end))
        .bind(at_ms)
        .bind(subscription.tenant.to_string())
        .execute(db)
        .await
        .map(drop)
}

/// Rates and limits of a plan become the tenant's.
async fn enter(db: &mut AnyConnection, tenant: TenantId, plan: &Plan, at_ms: i64) -> Result<(), sqlx::Error> {
    let limit = |key: &str| plan.limits.get(key).and_then(Value::as_i64);
    sqlx::query(
        "UPDATE tenants SET rate_plan_id = $1, max_calls = COALESCE($2, max_calls), max_cps = COALESCE($3, max_cps), updated_at = $4,
           version = version + 1 WHERE id = $5",
    )
    .bind(plan.rate_plan_id.clone())
    .bind(limit("max_calls"))
    .bind(limit("max_cps"))
    .bind(at_ms)
    .bind(tenant.to_string())
    .execute(db)
    .await
    .map(drop)
}

/// Back to the default rates, and to the limits of a new tenant where the plan had set them.
async fn leave(db: &mut AnyConnection, tenant: TenantId, plan: &Plan, at_ms: i64) -> Result<(), sqlx::Error> {
    let limit = |key: &str| plan.limits.get(key).and_then(Value::as_i64);
    sqlx::query(
        "UPDATE tenants SET rate_plan_id = COALESCE((SELECT p.id FROM rate_plans p WHERE p.is_default = 1), rate_plan_id),
           max_calls = CASE WHEN max_calls = $1 THEN 20 ELSE max_calls END, max_cps = CASE WHEN max_cps = $2 THEN 2 ELSE max_cps END,
           updated_at = $3, version = version + 1 WHERE id = $4 AND rate_plan_id = $5",
    )
    .bind(limit("max_calls").unwrap_or(-1))
    .bind(limit("max_cps").unwrap_or(-1))
    .bind(at_ms)
    .bind(tenant.to_string())
    .bind(plan.rate_plan_id.clone())
    .execute(db)
    .await
    .map(drop)
}

/// A subscription by what the gateway calls it, or by the page on which it was begun.
pub(crate) async fn by_reference(db: &mut AnyConnection, reference: &str) -> Result<Option<Subscription>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM subscriptions WHERE gateway_ref = $1 OR checkout_ref = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(reference.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// The first payment was made: the plan begins, with its first credit. The gateway's invoice may come before or after.
pub(crate) async fn begin(
    db: &mut AnyConnection,
    purse: &mut Purse,
    subscription: &Subscription,
    gateway_ref: &str,
    at_ms: i64,
) -> Result<bool, LedgerError> {
    let Some(id) = subscription.next_plan.as_deref().filter(|_| subscription.checkout_ref.is_some()) else {
        return Ok(false);
    };
    let plan = plan_by_id(db, id).await?;
    let month_ms = 30 * 86_400_000;
    sqlx::query(
        "UPDATE subscriptions SET plan_id = $1, state = 'active', gateway_ref = $2, checkout_ref = NULL, next_plan_id = NULL,
           cancel_at_end = 0, period_start = $3, period_end = $4, updated_at = $3 WHERE tenant_id = $5",
    )
    .bind(plan.id.clone())
    .bind(gateway_ref.to_owned())
    .bind(at_ms)
    .bind(at_ms + month_ms)
    .bind(subscription.tenant.to_string())
    .execute(&mut *db)
    .await?;
    enter(db, subscription.tenant, &plan, at_ms).await?;
    give(db, purse, plan.included_micros, first_credit(gateway_ref), at_ms).await?;
    closing::began(db, subscription.tenant, at_ms).await?;
    announce(db, subscription.tenant, Name::SubscriptionCreated, &plan.id, "active").await?;
    Ok(true)
}

fn first_credit(gateway_ref: &str) -> String {
    format!("stripe:{gateway_ref}:first:included")
}

/// Nobody paid on the page: what there was before goes on.
pub(crate) async fn given_up(
    db: &mut AnyConnection,
    subscription: &Subscription,
    at_ms: i64,
) -> Result<bool, sqlx::Error> {
    sqlx::query(
        "UPDATE subscriptions SET state = CASE WHEN state = 'pending' THEN 'canceled' ELSE state END, checkout_ref = NULL,
           next_plan_id = NULL, updated_at = $1 WHERE tenant_id = $2",
    )
    .bind(at_ms)
    .bind(subscription.tenant.to_string())
    .execute(db)
    .await?;
    Ok(true)
}

/// The gateway's word on how it stands. What was canceled stays so: whoever comes back has a new subscription there.
pub(crate) async fn stands(
    db: &mut AnyConnection,
    purse: &mut Purse,
    subscription: &Subscription,
    state: &'static str,
    ends: Option<bool>,
    at_ms: i64,
) -> Result<bool, LedgerError> {
    let ends = ends.filter(|ends| *ends != subscription.cancel_at_end);
    if subscription.state == "canceled" || (subscription.state == state && ends.is_none()) {
        return Ok(false);
    }
    if state == "canceled" {
        return ended(db, purse, subscription, at_ms).await.map(|()| true);
    }
    sqlx::query("UPDATE subscriptions SET state = $1, cancel_at_end = COALESCE($2, cancel_at_end), updated_at = $3 WHERE tenant_id = $4")
        .bind(state)
        .bind(ends.map(i64::from))
        .bind(at_ms)
        .bind(subscription.tenant.to_string())
        .execute(&mut *db)
        .await?;
    announce(db, subscription.tenant, Name::SubscriptionUpdated, &subscription.plan, state).await?;
    Ok(true)
}

/// It is over: the plan that follows begins if it costs nothing, else the tenant is as one without a plan.
pub(crate) async fn ended(
    db: &mut AnyConnection,
    purse: &mut Purse,
    subscription: &Subscription,
    at_ms: i64,
) -> Result<(), LedgerError> {
    let plan = plan_by_id(db, &subscription.plan).await?;
    leave(db, subscription.tenant, &plan, at_ms).await?;
    if let Some(next) = &subscription.next_plan {
        let next = plan_by_id(db, next).await?;
        if next.monthly_micros == 0 {
            return begin_free(db, purse, subscription.tenant, &next, at_ms).await;
        }
    }
    sqlx::query(
        "UPDATE subscriptions SET state = 'canceled', next_plan_id = NULL, checkout_ref = NULL, cancel_at_end = 0, updated_at = $1
         WHERE tenant_id = $2",
    )
    .bind(at_ms)
    .bind(subscription.tenant.to_string())
    .execute(&mut *db)
    .await?;
    Ok(announce(db, subscription.tenant, Name::SubscriptionUpdated, &subscription.plan, "canceled").await?)
}

/// An invoice of the gateway's that was paid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaidInvoice<'a> {
    pub(crate) id: &'a str,
    /// `subscription_create`, `subscription_cycle`, `subscription_update` …
    pub(crate) reason: &'a str,
    pub(crate) period: Option<(i64, i64)>,
}

/// A month was paid: its period, the plan that was to follow, and the credit that is included, once for each of the gateway's invoices.
/// What is paid when a plan is changed has its credit with the change.
pub(crate) async fn renewed(
    db: &mut AnyConnection,
    purse: &mut Purse,
    subscription: &Subscription,
    invoice: PaidInvoice<'_>,
    at_ms: i64,
) -> Result<bool, LedgerError> {
    if subscription.state == "canceled" || invoice.reason == "subscription_update" {
        return Ok(false);
    }
    let first = invoice.reason == "subscription_create";
    let next = subscription.next_plan.as_deref().filter(|_| !first && subscription.checkout_ref.is_none());
    let plan = plan_by_id(db, next.unwrap_or(&subscription.plan)).await?;
    let key = match &subscription.gateway_ref {
        Some(gateway_ref) if first => first_credit(gateway_ref),
        _ => format!("stripe:{}:included", invoice.id),
    };
    let given = give(db, purse, plan.included_micros, key, at_ms).await?;
    if !first && !given {
        return Ok(false);
    }
    let (start, end) = invoice.period.unwrap_or((subscription.period_start, subscription.period_end));
    sqlx::query(
        "UPDATE subscriptions SET plan_id = $1, state = 'active', period_start = $2, period_end = $3, updated_at = $4,
           next_plan_id = CASE WHEN next_plan_id = $1 THEN NULL ELSE next_plan_id END WHERE tenant_id = $5",
    )
    .bind(plan.id.clone())
    .bind(start)
    .bind(end)
    .bind(at_ms)
    .bind(subscription.tenant.to_string())
    .execute(&mut *db)
    .await?;
    if next.is_some() {
        enter(db, subscription.tenant, &plan, at_ms).await?;
        announce(db, subscription.tenant, Name::SubscriptionUpdated, &plan.id, "active").await?;
    }
    Ok(true)
}

/// Gives a plan's credit, once per key.
async fn give(
    db: &mut AnyConnection,
    purse: &mut Purse,
    amount: i64,
    idem_key: String,
    at_ms: i64,
) -> Result<bool, LedgerError> {
    let txn = Txn {
        kind: Kind::Promo,
        idem_key,
        call: None,
        lease: None,
        payment: None,
        memo: json!({"text": "credit included in the plan"}),
        actor: "stripe",
        at_ms,
        entries: &[(Account::Promo, -amount), (Account::Available, amount)],
    };
    purse.post(db, txn).await
}

async fn announce(
    db: &mut AnyConnection,
    tenant: TenantId,
    kind: Name,
    plan: &str,
    state: &str,
) -> Result<(), sqlx::Error> {
    emit(db, NewEvent { tenant, livemode: true, kind, data: json!({"plan_id": plan, "state": state}) }).await
}
