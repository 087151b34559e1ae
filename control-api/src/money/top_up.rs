//! Credit that is bought by itself when it runs low: one attempt at a time, within the month's limit, off after three failures.

use domain::TenantId;
use sqlx::{AnyConnection, Row as _};

use super::{
    calendar,
    ledger::AUTO_TOP_UP,
    payments::NewPayment,
    stripe::{Cashier, CashierError},
};
use crate::{
    BoxFuture,
    jobs::{Context, Fault, Handler, Job},
    store::Store,
};

/// An attempt of which nothing was heard for so long has failed.
const FORGOTTEN_MS: i64 = 3_600_000;

/// What a tenant has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AutoTopUp {
    pub(crate) enabled: bool,
    pub(crate) below_micros: i64,
    pub(crate) amount_minor: i64,
    pub(crate) monthly_max_minor: i64,
    pub(crate) payment_method: String,
    pub(crate) customer: Option<String>,
}

impl Store {
    pub(crate) async fn auto_top_up(&self, tenant: TenantId) -> Result<Option<AutoTopUp>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT enabled, below_micros, amount_minor, monthly_max_minor, payment_method, customer_ref FROM auto_top_ups WHERE tenant_id = $1",
        )
        .bind(tenant.to_string())
        .fetch_optional(self.pool())
        .await?;
        row.map(|row| {
            Ok(AutoTopUp {
                enabled: row.try_get::<i64, _>(0)? != 0,
                below_micros: row.try_get(1)?,
                amount_minor: row.try_get(2)?,
                monthly_max_minor: row.try_get(3)?,
                payment_method: row.try_get(4)?,
                customer: row.try_get(5)?,
            })
        })
        .transpose()
    }

    /// Takes the one place for an attempt; the payment that holds it, or none.
    async fn claim_auto_top_up(
        &self,
        tenant: TenantId,
        set: &AutoTopUp,
        at_ms: i64,
    ) -> Result<Option<(String, i64)>, sqlx::Error> {
        // An attempt of which the answer was lost is made again under its own name: the gateway charges that once.
        let lost = sqlx::query(
            "SELECT p.id, p.amount_minor FROM auto_top_ups a JOIN payments p ON p.id = a.open_payment
             WHERE a.tenant_id = $1 AND p.state = 'open' AND p.payment_ref IS NULL AND p.created_at >= $2",
        )
        .bind(tenant.to_string())
        .bind(at_ms - FORGOTTEN_MS)
        .fetch_optional(self.pool())
        .await?;
        if let Some(row) = lost {
            return Ok(Some((row.try_get(0)?, row.try_get(1)?)));
        }
        let (month, _) = calendar::month_bounds(at_ms, &calendar::zone("UTC"));
        let spent: i64 = sqlx::query(
            "SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) FROM payments
             WHERE tenant_id = $1 AND auto = 1 AND created_at >= $2 AND state IN ('open','succeeded','disputed')",
        )
        .bind(tenant.to_string())
        .bind(month)
        .fetch_one(self.pool())
        .await?
        .try_get(0)?;
        if spent + set.amount_minor > set.monthly_max_minor {
            tracing::warn!(%tenant, "the month's limit leaves no room for an automatic purchase");
            return Ok(None);
        }
        let new = NewPayment {
            tenant,
            livemode: true,
            amount_minor: set.amount_minor,
            currency: "usd".into(),
            fx_ppm: 1_000_000,
            auto: true,
            at_ms,
        };
        let payment = self.begin_payment(&new).await?;
        let claimed = sqlx::query(
            "UPDATE auto_top_ups SET open_payment = $1 WHERE tenant_id = $2 AND enabled = 1
             AND (open_payment IS NULL OR open_payment IN (SELECT id FROM payments WHERE state <> 'open' OR created_at < $3))",
        )
        .bind(payment.clone())
        .bind(tenant.to_string())
        .bind(at_ms - FORGOTTEN_MS)
        .execute(self.writers())
        .await?;
        if claimed.rows_affected() == 1 {
            return Ok(Some((payment, set.amount_minor)));
        }
        sqlx::query("UPDATE payments SET state = 'expired' WHERE id = $1")
            .bind(payment)
            .execute(self.writers())
            .await?;
        Ok(None)
    }

    async fn auto_top_up_failed(&self, tenant: TenantId, payment: &str, at_ms: i64) -> Result<(), sqlx::Error> {
        let Some(payment) = self.payment(tenant, payment).await? else { return Ok(()) };
        let mut tx = self.begin().await?;
        super::payments::fail(&mut tx, &payment, "failed", at_ms).await?;
        tx.commit().await
    }
}

/// Sets it; failures are forgotten.
pub(crate) async fn set(
    db: &mut AnyConnection,
    tenant: TenantId,
    set: &AutoTopUp,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO auto_top_ups (tenant_id, enabled, below_micros, amount_minor, monthly_max_minor, payment_method, customer_ref, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (tenant_id) DO UPDATE SET enabled = excluded.enabled, below_micros = excluded.below_micros,
           amount_minor = excluded.amount_minor, monthly_max_minor = excluded.monthly_max_minor,
           payment_method = excluded.payment_method, customer_ref = excluded.customer_ref, failures = 0,
           updated_at = excluded.updated_at",
    )
    .bind(tenant.to_string())
    .bind(i64::from(set.enabled))
    .bind(set.below_micros)
    .bind(set.amount_minor)
    .bind(set.monthly_max_minor)
    .bind(set.payment_method.clone())
    .bind(set.customer.clone())
    .bind(at_ms)
    .execute(db)
    .await
    .map(drop)
}

/// Does the jobs that [`super::ledger::Purse`] leaves when credit runs low.
pub(crate) struct AutoTopUps(pub(crate) Cashier);

impl Handler for AutoTopUps {
    fn kind(&self) -> &'static str {
        AUTO_TOP_UP
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let tenant = job.tenant.ok_or_else(|| Fault::Never("a purchase without a tenant".into()))?;
            let (store, now) = (&context.store, context.clock.now_ms());
            let Some(set) = store.auto_top_up(tenant).await?.filter(|set| set.enabled) else { return Ok(()) };
            let available: i64 = sqlx::query("SELECT balance_micros FROM ledger_accounts WHERE id = $1")
                .bind(super::ledger::Account::Available.id(tenant, true))
                .fetch_one(store.pool())
                .await?
                .try_get(0)?;
            if available >= set.below_micros || self.0.livemode() != Some(true) {
                return Ok(());
            }
            let Some((payment, amount)) = store.claim_auto_top_up(tenant, &set, now).await? else { return Ok(()) };
            let customer = set.customer.as_deref();
            match self.0.charge(&payment, amount, "usd", customer, &set.payment_method).await {
                Ok(reference) => Ok(store.name_payment(&payment, None, Some(&reference)).await?),
                // Nobody knows whether it was charged: the payment stays open for its event and for the next try.
                Err(CashierError::Away(reason)) => Err(Fault::Again(reason)),
                Err(refused) => {
                    tracing::warn!(%tenant, %refused, "an automatic purchase was refused");
                    store.auto_top_up_failed(tenant, &payment, now).await?;
                    Ok(())
                }
            }
        })
    }
}
