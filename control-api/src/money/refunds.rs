//! Giving money back: first out of the books, then to the card, and back into the books when the card's side refuses. A row of
//! `refunds` holds what is on its way, so that neither a crash nor a gateway that is away leaves it half done.

use domain::TenantId;
use serde_json::json;
use sqlx::{AnyConnection, Row as _};

use super::{
    NotMoved,
    ledger::Purse,
    payments,
    stripe::{Cashier, CashierError},
};
use crate::{
    BoxFuture,
    jobs::{Context, Fault, Handler, Job, NewJob, enqueue},
    store::Store,
};

/// The job that finishes what a request could not.
const REFUND: &str = "billing.refund";
/// How long a request has for it before the job looks.
const REQUEST_MS: i64 = 60_000;

/// Money that is on its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// Taken from the credit.
    pub amount_micros: i64,
    /// In the payment's own currency.
    pub amount_minor: i64,
}

/// A refund that is asked for.
#[derive(Clone, Debug)]
pub struct RefundWish<'a> {
    /// Whose payment.
    pub tenant: TenantId,
    /// Which.
    pub payment: &'a str,
    /// All that is left of it when absent.
    pub amount_micros: Option<i64>,
    /// The same key gives back once.
    pub key: &'a str,
    /// Who asks.
    pub actor: &'a str,
    /// Unix time, ms.
    pub at_ms: i64,
}

/// Why nothing goes back.
#[derive(Debug, thiserror::Error)]
pub enum RefundFailed {
    /// There is no such payment of this tenant.
    #[error("no such payment")]
    Unknown,
    /// It was never made, or more is asked for than is left of it.
    #[error("only {left_micros} of this payment can be given back")]
    TooMuch {
        /// What is left.
        left_micros: i64,
    },
    /// It is spent or held.
    #[error("the credit is spent or held by running calls")]
    NoCredit,
    /// The gateway said no to this key before.
    #[error("the gateway has refused this refund; ask again under another Idempotency-Key")]
    RefusedBefore,
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] CashierError),
    /// The store does not answer.
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
}

impl From<super::ledger::LedgerError> for RefundFailed {
    fn from(error: super::ledger::LedgerError) -> Self {
        match NotMoved::from(error) {
            NotMoved::NoCredit => Self::NoCredit,
            NotMoved::Store(error) => Self::Store(error),
        }
    }
}

/// A row of `refunds`.
struct Row {
    tenant: TenantId,
    payment: String,
    amount: Refunded,
    state: String,
}

async fn find(db: &mut AnyConnection, key: &str) -> Result<Option<Row>, sqlx::Error> {
    let row =
        sqlx::query("SELECT tenant_id, payment_id, amount_micros, amount_minor, state FROM refunds WHERE key = $1")
            .bind(key.to_owned())
            .fetch_optional(db)
            .await?;
    row.map(|row| {
        let tenant: String = row.try_get(0)?;
        Ok(Row {
            tenant: tenant.parse().map_err(|_| sqlx::Error::Decode("refund with a broken tenant".into()))?,
            payment: row.try_get(1)?,
            amount: Refunded { amount_micros: row.try_get(2)?, amount_minor: row.try_get(3)? },
            state: row.try_get(4)?,
        })
    })
    .transpose()
}

impl Store {
    /// Gives money of a payment back, once per key. When the gateway does not answer, the error says so and the refund is finished
    /// later; asking again under the same key tells how it stands.
    pub async fn refund(&self, gateway: &Cashier, wish: &RefundWish<'_>) -> Result<Refunded, RefundFailed> {
        let payment = self.payment(wish.tenant, wish.payment).await?.ok_or(RefundFailed::Unknown)?;
        let mut tx = self.begin().await?;
        let mut purse = Purse::open(&mut tx, wish.tenant, payment.livemode).await?;
        if let Some(known) = find(&mut tx, wish.key).await? {
            drop(tx);
            return match known.state.as_str() {
                "done" => Ok(known.amount),
                "refused" => Err(RefundFailed::RefusedBefore),
                _ => self.finish_refund(gateway, wish.key, wish.at_ms).await,
            };
        }
        let payment = payments::locked(&mut tx, &payment.id).await?.unwrap_or(payment);
        let paid = matches!(payment.state.as_str(), "succeeded" | "refunded");
        let left_micros = if paid { payment.credit_micros - payment.refunded_micros } else { 0 };
        let amount_micros = wish.amount_micros.unwrap_or(left_micros);
        let amount_minor = payments::minor_of(amount_micros, &payment.currency, payment.fx_ppm);
        if amount_micros <= 0 || amount_minor <= 0 {
            return Err(RefundFailed::TooMuch { left_micros });
        }
        if purse.spendable() < amount_micros {
            return Err(RefundFailed::NoCredit);
        }
        if payment.payment_ref.is_none() || amount_micros > left_micros {
            return Err(RefundFailed::TooMuch { left_micros });
        }
        let (key, actor) = (wish.key, wish.actor);
        payments::refund_by_wish(&mut tx, &mut purse, &payment, amount_micros, key, actor, wish.at_ms).await?;
        sqlx::query(
            "INSERT INTO refunds (key, tenant_id, payment_id, amount_micros, amount_minor, state, created_at)
             VALUES ($1, $2, $3, $4, $5, 'open', $6)",
        )
        .bind(key.to_owned())
        .bind(wish.tenant.to_string())
        .bind(payment.id.clone())
        .bind(amount_micros)
        .bind(amount_minor)
        .bind(wish.at_ms)
        .execute(&mut *tx)
        .await?;
        let job = NewJob {
            tenant: Some(wish.tenant),
            kind: REFUND,
            dedupe_key: format!("{REFUND}:{key}"),
            payload: json!({"key": key}),
            run_at_ms: wish.at_ms + REQUEST_MS,
        };
        enqueue(&mut tx, job).await?;
        tx.commit().await?;
        self.finish_refund(gateway, key, wish.at_ms).await
    }

    /// Asks the gateway for a refund that is booked, under its key, and notes the answer.
    async fn finish_refund(&self, gateway: &Cashier, key: &str, at_ms: i64) -> Result<Refunded, RefundFailed> {
        let mut db = self.pool().acquire().await?;
        let row = find(&mut db, key).await?.ok_or(RefundFailed::Unknown)?;
        drop(db);
        let payment = self.payment(row.tenant, &row.payment).await?.ok_or(RefundFailed::Unknown)?;
        let reference = payment.payment_ref.as_deref().ok_or(RefundFailed::Unknown)?;
        let refusal = match gateway.refund(reference, row.amount.amount_minor, key).await {
            Ok(()) => None,
            // Nobody knows whether it was done: it stays booked until that is known.
            Err(CashierError::Away(reason)) => return Err(CashierError::Away(reason).into()),
            Err(refusal) => Some(refusal),
        };
        let mut tx = self.begin().await?;
        let mut purse = Purse::open(&mut tx, row.tenant, payment.livemode).await?;
        let settled = sqlx::query("UPDATE refunds SET state = $1, settled_at = $2 WHERE key = $3 AND state = 'open'")
            .bind(if refusal.is_some() { "refused" } else { "done" })
            .bind(at_ms)
            .bind(key.to_owned())
            .execute(&mut *tx)
            .await?;
        if refusal.is_some() && settled.rows_affected() == 1 {
            let amount = row.amount.amount_micros;
            payments::refund_undone(&mut tx, &mut purse, &payment, amount, key, at_ms).await?;
        }
        tx.commit().await?;
        refusal.map_or(Ok(row.amount), |refusal| Err(refusal.into()))
    }
}

/// Finishes refunds that a request could not.
pub(crate) struct Refunds(pub(crate) Cashier);

impl Handler for Refunds {
    fn kind(&self) -> &'static str {
        REFUND
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let key = job.payload["key"].as_str().unwrap_or_default();
            let mut db = context.store.pool().acquire().await?;
            let open = find(&mut db, key).await?.is_some_and(|row| row.state == "open");
            drop(db);
            if !open {
                return Ok(());
            }
            match context.store.finish_refund(&self.0, key, context.clock.now_ms()).await {
                Ok(_) => Ok(()),
                Err(RefundFailed::Gateway(CashierError::Away(reason))) => Err(Fault::Again(reason)),
                Err(RefundFailed::Store(error)) => Err(error.into()),
                Err(refused) => {
                    tracing::error!(key, %refused, "a refund was refused and taken back");
                    Ok(())
                }
            }
        })
    }
}
