//! What comes round by itself: the statements of the last month, the rent of numbers, the months of plans that cost nothing; and the
//! letter to the operator about a dispute.

use domain::{Pii, TenantId};
use serde_json::json;
use sqlx::Row as _;

use super::{
    calendar,
    charge::{self, Charge},
    ledger::{LedgerError, Purse},
    payments::TELL_OPERATOR,
    subscriptions,
};
use crate::{
    BoxFuture,
    jobs::{Context, Fault, Handler, Job},
    mail::{self, NewMail},
    store::Store,
};

/// The job that does all of it; it comes round every hour and does nothing twice.
pub(crate) const MONTHLY: &str = "billing.monthly";
/// How often.
pub(crate) const EVERY_MS: i64 = 3_600_000;

impl Store {
    /// Takes the month's rent of every number whose month is over; returns how many paid. Who cannot pay keeps the number and is asked
    /// again an hour later.
    pub async fn take_rents(&self, at_ms: i64) -> Result<u32, sqlx::Error> {
        let due = sqlx::query(
            "SELECT n.id, n.tenant_id, n.e164, n.monthly_micros, n.next_bill_at FROM numbers n JOIN tenants t ON t.id = n.tenant_id
             WHERE n.released_at IS NULL AND n.status IN ('active','porting') AND n.monthly_micros > 0 AND n.next_bill_at <= $1 AND t.status <> 'deleted'
             ORDER BY n.next_bill_at, n.id LIMIT 10000",
        )
        .bind(at_ms)
        .fetch_all(self.pool())
        .await?;
        let mut paid = 0;
        for row in due {
            let rent = Rent {
                number: row.try_get(0)?,
                tenant: row
                    .try_get::<String, _>(1)?
                    .parse()
                    .map_err(|_| sqlx::Error::Decode("number with a broken tenant".into()))?,
                e164: row.try_get(2)?,
                amount: row.try_get(3)?,
                month_at: row.try_get(4)?,
            };
            match self.take_rent(&rent, at_ms).await {
                Ok(taken) => paid += u32::from(taken),
                Err(LedgerError::NoCredit) => {
                    tracing::warn!(number = rent.number, tenant = %rent.tenant, "no credit for the rent of a number");
                }
                Err(LedgerError::Sql(error)) => return Err(error),
                Err(error) => return Err(sqlx::Error::Protocol(error.to_string())),
            }
        }
        Ok(paid)
    }

    async fn take_rent(&self, rent: &Rent, at_ms: i64) -> Result<bool, LedgerError> {
        let mut tx = self.begin().await?;
        let mut purse = Purse::open(&mut tx, rent.tenant, true).await?;
        let charge = Charge {
            item: "number_month",
            quantity: 1,
            amount_micros: rent.amount,
            key: format!("rent:{}:{}", rent.number, rent.month_at),
            memo: json!({"text": format!("rent of {}", rent.e164)}),
            at_ms,
        };
        let new = charge::charge(&mut tx, &mut purse, rent.tenant, charge).await?;
        // The month that was due is paid, whoever did it; the next one begins where it ended.
        let next = calendar::month_after(rent.month_at);
        sqlx::query("UPDATE numbers SET next_bill_at = $1 WHERE id = $2 AND next_bill_at = $3")
            .bind(next)
            .bind(rent.number.clone())
            .bind(rent.month_at)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(new)
    }
}

struct Rent {
    number: String,
    tenant: TenantId,
    e164: String,
    amount: i64,
    month_at: i64,
}

/// Does [`MONTHLY`].
pub(crate) struct Monthly;

impl Handler for Monthly {
    fn kind(&self) -> &'static str {
        MONTHLY
    }

    fn run<'a>(&'a self, context: &'a Context, _: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let (store, now) = (&context.store, context.clock.now_ms());
            subscriptions::roll_free(store, now).await.map_err(|error| Fault::Again(error.to_string()))?;
            let rents = store.take_rents(now).await?;
            let statements = store.write_statements(now).await?;
            if rents + statements > 0 {
                tracing::info!(rents, statements, "rents are taken and statements written");
                store.ring();
            }
            Ok(())
        })
    }
}

/// Writes to the operator about a disputed payment; to nobody without an address.
pub(crate) struct Disputes(pub(crate) String);

impl Handler for Disputes {
    fn kind(&self) -> &'static str {
        TELL_OPERATOR
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.0.is_empty() {
                return Ok(());
            }
            let payment = job.payload["payment"].as_str().unwrap_or_default();
            let tenant = job.tenant.map(|tenant| tenant.to_string()).unwrap_or_default();
            let mut tx = context.store.begin().await?;
            let letter = NewMail {
                tenant: None,
                lead_id: None,
                template: "billing.dispute".into(),
                to: Pii::new(self.0.clone()),
                subject: format!("A payment is disputed: {payment}"),
                text: format!(
                    "Payment {payment} of tenant {tenant} ({} {}, smallest units) is disputed by its payer.\n\
                     Its credit stays until the gateway has decided; automatic purchases of this tenant are switched off.\n",
                    job.payload["amount_minor"],
                    job.payload["currency"].as_str().unwrap_or_default(),
                ),
                html: None,
                dedupe_key: format!("{TELL_OPERATOR}:{payment}"),
                send_at_ms: context.clock.now_ms(),
            };
            mail::queue(&mut tx, letter).await?;
            tx.commit().await?;
            context.store.ring();
            Ok(())
        })
    }
}
