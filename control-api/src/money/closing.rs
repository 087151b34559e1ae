//! The subscription of a tenant that ends is canceled at the gateway, however long that takes: a card must not be charged for nobody.

use domain::TenantId;
use serde_json::json;
use sqlx::AnyConnection;

use super::stripe::{Cashier, CashierError};
use crate::{
    BoxFuture,
    jobs::{Context, Fault, Handler, Job, NewJob, enqueue},
    store::Store,
    time::now_ms,
};

/// The job that cancels.
const KIND: &str = "billing.subscription_end";
/// After all attempts of a job the next one begins so much later, ms.
const AGAIN_MS: i64 = 3_600_000;

/// Leaves the work in the caller's transaction; a plan that costs nothing is over with it.
pub(crate) async fn tenant_ends(tx: &mut AnyConnection, tenant: TenantId, at_ms: i64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE subscriptions SET state = 'canceled', next_plan_id = NULL, updated_at = $1
         WHERE tenant_id = $2 AND gateway_ref IS NULL AND checkout_ref IS NULL AND state <> 'canceled'",
    )
    .bind(at_ms)
    .bind(tenant.to_string())
    .execute(&mut *tx)
    .await?;
    let open = sqlx::query("SELECT 1 FROM subscriptions WHERE tenant_id = $1 AND state <> 'canceled'")
        .bind(tenant.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    if open.is_some() { leave(tx, tenant, at_ms, 0).await } else { Ok(()) }
}

/// A page that was paid at the last moment: what it began is canceled, too.
pub(crate) async fn began(tx: &mut AnyConnection, tenant: TenantId, at_ms: i64) -> Result<(), sqlx::Error> {
    let gone = sqlx::query("SELECT 1 FROM tenants WHERE id = $1 AND status IN ('deleting', 'deleted')")
        .bind(tenant.to_string())
        .fetch_optional(&mut *tx)
        .await?;
    if gone.is_some() { leave(tx, tenant, at_ms, at_ms).await } else { Ok(()) }
}

/// `round` tells one job of a tenant's from the next.
async fn leave(tx: &mut AnyConnection, tenant: TenantId, run_at_ms: i64, round: i64) -> Result<(), sqlx::Error> {
    let job = NewJob {
        tenant: Some(tenant),
        kind: KIND,
        dedupe_key: format!("{KIND}:{tenant}:{round}"),
        payload: json!({}),
        run_at_ms,
    };
    enqueue(tx, job).await.map(drop)
}

/// Cancels subscriptions of tenants that have ended.
pub(crate) struct Closing(pub(crate) Cashier);

impl Handler for Closing {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let tenant = job.tenant.ok_or_else(|| Fault::Never("no tenant".into()))?;
            match self.cancel(&context.store, tenant).await {
                Err(Fault::Again(reason)) if job.attempt >= job.max_attempts => {
                    let now = context.clock.now_ms();
                    let mut tx = context.store.begin().await?;
                    leave(&mut tx, tenant, now + AGAIN_MS, now).await?;
                    tx.commit().await?;
                    tracing::error!(%tenant, reason, "the subscription of a tenant that ended is not canceled yet");
                    Err(Fault::Never(format!("tried again in an hour: {reason}")))
                }
                outcome => outcome,
            }
        })
    }
}

impl Closing {
    async fn cancel(&self, store: &Store, tenant: TenantId) -> Result<(), Fault> {
        let Some(subscription) = store.subscription(tenant).await?.filter(|found| found.state != "canceled") else {
            return Ok(());
        };
        let again = |error: CashierError| Fault::Again(error.to_string());
        if let Some(page) = &subscription.checkout_ref {
            match self.0.expire(page, &format!("{page}:expire")).await {
                // Paid, or closed by itself: the gateway's word on it is on its way.
                Err(CashierError::Refused(reason)) if subscription.gateway_ref.is_none() => {
                    return Err(Fault::Again(reason));
                }
                Err(CashierError::Refused(_)) | Ok(()) => {}
                Err(error) => return Err(again(error)),
            }
        }
        if let Some(reference) = &subscription.gateway_ref {
            self.0.cancel(reference).await.map_err(again)?;
        }
        // What began meanwhile has another name there and a job of its own.
        sqlx::query(
            "UPDATE subscriptions SET state = 'canceled', next_plan_id = NULL, checkout_ref = NULL, cancel_at_end = 0, updated_at = $1
             WHERE tenant_id = $2 AND COALESCE(gateway_ref, '') = $3",
        )
        .bind(now_ms())
        .bind(tenant.to_string())
        .bind(subscription.gateway_ref.unwrap_or_default())
        .execute(store.writers())
        .await?;
        Ok(())
    }
}
