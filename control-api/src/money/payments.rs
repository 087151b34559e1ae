//! Payments: credit that is bought, given back and disputed. The gateway's events move the money; a request only begins a payment.

use domain::{TenantId, event::Name};
use serde_json::json;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::ledger::{Account, Kind, LedgerError, Purse, Txn};
use crate::{
    jobs::{NewJob, enqueue},
    outbox::{NewEvent, emit},
    store::{
        Store, fresh_id,
        page::{Bound, Page},
    },
};

/// The job that writes to the operator about a disputed payment.
pub(crate) const TELL_OPERATOR: &str = "billing.dispute";

/// Currencies whose smallest unit is the unit itself (ISO 4217, as the gateway counts them).
const ZERO_DECIMAL: &[&str] =
    &["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"];

/// What an amount in the smallest unit of a currency is worth, rounded down once: `fx_ppm` is the dollar value of the currency in
/// millionths.
pub(crate) fn credit_micros(amount_minor: i64, currency: &str, fx_ppm: i64) -> i64 {
    let per_major = if ZERO_DECIMAL.contains(&currency) { 1 } else { 100 };
    let micros = i128::from(amount_minor) * i128::from(fx_ppm) / per_major;
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// What to give back in the original currency for an amount of credit, at the stored rate, rounded down.
pub(crate) fn minor_of(micros: i64, currency: &str, fx_ppm: i64) -> i64 {
    let per_major = if ZERO_DECIMAL.contains(&currency) { 1 } else { 100 };
    i64::try_from(i128::from(micros) * per_major / i128::from(fx_ppm.max(1))).unwrap_or(i64::MAX)
}

/// A row of `payments`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    pub(crate) livemode: bool,
    pub(crate) payment_ref: Option<String>,
    pub(crate) amount_minor: i64,
    pub(crate) currency: String,
    pub(crate) fx_ppm: i64,
    pub(crate) credit_micros: i64,
    pub(crate) refunded_micros: i64,
    /// `open`, `succeeded`, `failed`, `expired`, `refunded` or `disputed`.
    pub(crate) state: String,
    pub(crate) auto: bool,
    pub(crate) created_at: i64,
    pub(crate) settled_at: Option<i64>,
}

const COLUMNS: &str =
    "id, tenant_id, livemode, payment_ref, amount_minor, currency, fx_ppm, credit_micros, refunded_micros, state, auto,
    created_at, settled_at";

fn read(row: &AnyRow) -> Result<Payment, sqlx::Error> {
    Ok(Payment {
        id: row.try_get("id")?,
        tenant: row
            .try_get::<String, _>("tenant_id")?
            .parse()
            .map_err(|_| sqlx::Error::Decode("payment with a broken tenant".into()))?,
        livemode: row.try_get::<i64, _>("livemode")? != 0,
        payment_ref: row.try_get("payment_ref")?,
        amount_minor: row.try_get("amount_minor")?,
        currency: row.try_get("currency")?,
        fx_ppm: row.try_get("fx_ppm")?,
        credit_micros: row.try_get("credit_micros")?,
        refunded_micros: row.try_get("refunded_micros")?,
        state: row.try_get("state")?,
        auto: row.try_get::<i64, _>("auto")? != 0,
        created_at: row.try_get("created_at")?,
        settled_at: row.try_get("settled_at")?,
    })
}

/// A payment that is about to begin.
#[derive(Clone, Debug)]
pub struct NewPayment {
    /// Who buys.
    pub tenant: TenantId,
    /// False buys credit for test objects, with the gateway's test money.
    pub livemode: bool,
    /// In the smallest unit of the currency.
    pub amount_minor: i64,
    /// Lower case, `usd`.
    pub currency: String,
    /// Dollars for the currency, in millionths.
    pub fx_ppm: i64,
    /// Begun by the house because credit ran low.
    pub auto: bool,
    /// Unix time, ms.
    pub at_ms: i64,
}

impl Store {
    /// Notes a payment that begins; it credits nothing.
    pub async fn begin_payment(&self, new: &NewPayment) -> Result<String, sqlx::Error> {
        let id = fresh_id();
        sqlx::query(
            "INSERT INTO payments (id, tenant_id, livemode, amount_minor, currency, fx_ppm, credit_micros, state, auto, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 'open', $8, $9)",
        )
        .bind(id.clone())
        .bind(new.tenant.to_string())
        .bind(i64::from(new.livemode))
        .bind(new.amount_minor)
        .bind(new.currency.clone())
        .bind(new.fx_ppm)
        .bind(credit_micros(new.amount_minor, &new.currency, new.fx_ppm))
        .bind(i64::from(new.auto))
        .bind(new.at_ms)
        .execute(self.writers())
        .await?;
        Ok(id)
    }

    /// The gateway's names for a payment, as they become known.
    pub async fn name_payment(
        &self,
        payment: &str,
        checkout_ref: Option<&str>,
        payment_ref: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        sqlx::query(
            "UPDATE payments SET checkout_ref = COALESCE(checkout_ref, $1), payment_ref = COALESCE(payment_ref, $2) WHERE id = $3",
        )
        .bind(checkout_ref.map(str::to_owned))
        .bind(payment_ref.map(str::to_owned))
        .bind(payment.to_owned())
        .execute(self.writers())
        .await
        .map(drop)
    }

    pub(crate) async fn payments(&self, tenant: TenantId, page: &Page) -> Result<Vec<Payment>, sqlx::Error> {
        let conditions = vec![("p.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let (sql, values) = page.finish(format!("SELECT {COLUMNS} FROM payments p WHERE 1 = 1"), "p", conditions);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    pub(crate) async fn payment(&self, tenant: TenantId, id: &str) -> Result<Option<Payment>, sqlx::Error> {
        let sql = format!("SELECT {COLUMNS} FROM payments WHERE id = $1 AND tenant_id = $2");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id.to_owned())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read).transpose()
    }
}

/// A payment by what the gateway calls it.
pub(crate) async fn by_reference(db: &mut AnyConnection, reference: &str) -> Result<Option<Payment>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM payments WHERE checkout_ref = $1 OR payment_ref = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(reference.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// A payment as it is under its tenant's purse.
pub(crate) async fn locked(db: &mut AnyConnection, id: &str) -> Result<Option<Payment>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM payments WHERE id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// A payment that was begun without a page and of which the gateway's name is not known yet.
pub(crate) async fn unnamed(db: &mut AnyConnection, id: &str) -> Result<Option<Payment>, sqlx::Error> {
    let sql = format!("SELECT {COLUMNS} FROM payments WHERE id = $1 AND auto = 1 AND payment_ref IS NULL");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// The payment was made: credits it, once for each of the gateway's payments. The purse is open.
pub(crate) async fn succeed(
    db: &mut AnyConnection,
    purse: &mut Purse,
    payment: &Payment,
    payment_ref: &str,
    at_ms: i64,
) -> Result<bool, LedgerError> {
    let amount = payment.credit_micros;
    let txn = Txn {
        kind: Kind::TopUp,
        idem_key: format!("stripe:{payment_ref}"),
        call: None,
        lease: None,
        payment: Some(&payment.id),
        memo: json!({"amount_minor": payment.amount_minor, "currency": payment.currency}),
        actor: "stripe",
        at_ms,
        entries: &[(Account::Payments, -amount), (Account::Available, amount)],
    };
    if !purse.post(db, txn).await? {
        return Ok(false);
    }
    set_state(db, payment, "succeeded", Some(payment_ref), at_ms).await?;
    if payment.auto {
        sqlx::query(
            "UPDATE auto_top_ups SET open_payment = NULL, failures = 0 WHERE tenant_id = $1 AND open_payment = $2",
        )
        .bind(payment.tenant.to_string())
        .bind(payment.id.clone())
        .execute(&mut *db)
        .await?;
    }
    announce(db, payment, Name::TopUpSucceeded, amount).await?;
    Ok(true)
}

/// The payment will not be made. Three in a row switch the automatic purchase off.
pub(crate) async fn fail(
    db: &mut AnyConnection,
    payment: &Payment,
    state: &'static str,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    set_state(db, payment, state, None, at_ms).await?;
    if payment.auto {
        sqlx::query(
            "UPDATE auto_top_ups SET open_payment = NULL, enabled = CASE WHEN failures >= 2 THEN 0 ELSE enabled END,
               failures = failures + 1 WHERE tenant_id = $1 AND open_payment = $2",
        )
        .bind(payment.tenant.to_string())
        .bind(payment.id.clone())
        .execute(&mut *db)
        .await?;
    }
    announce(db, payment, Name::TopUpFailed, payment.credit_micros).await
}

/// Money went back to the payer: what the tenant still has of it is taken, the rest is a bad debt of the house. `refunded` is the sum
/// of everything given back of this payment so far.
pub(crate) async fn refunded_outside(
    db: &mut AnyConnection,
    purse: &mut Purse,
    payment: &Payment,
    refunded: i64,
    at_ms: i64,
) -> Result<bool, LedgerError> {
    let amount = refunded.min(payment.credit_micros) - payment.refunded_micros;
    if amount <= 0 {
        return Ok(false);
    }
    let have = amount.min(purse.spendable());
    let entries = [(Account::Available, -have), (Account::BadDebt, have - amount), (Account::Payments, amount)];
    refund(db, purse, payment, amount, format!("stripe:{}:refunded:{refunded}", payment.id), "stripe", at_ms, &entries)
        .await
}

/// Money is to go back to the payer by our own wish: never what is held or spent.
pub(crate) async fn refund_by_wish(
    db: &mut AnyConnection,
    purse: &mut Purse,
    payment: &Payment,
    amount: i64,
    key: &str,
    actor: &str,
    at_ms: i64,
) -> Result<bool, LedgerError> {
    let entries = [(Account::Available, -amount), (Account::Payments, amount)];
    refund(db, purse, payment, amount, format!("refund:{key}"), actor, at_ms, &entries).await
}

#[allow(clippy::too_many_arguments, reason = "the fields of one transaction")]
async fn refund(
    db: &mut AnyConnection,
    purse: &mut Purse,
    payment: &Payment,
    amount: i64,
    idem_key: String,
    actor: &str,
    at_ms: i64,
    entries: &[(Account, i64)],
) -> Result<bool, LedgerError> {
    let txn = Txn {
        kind: Kind::Refund,
        idem_key,
        call: None,
        lease: None,
        payment: Some(&payment.id),
        memo: json!({}),
        actor,
        at_ms,
        entries,
    };
    if !purse.post(db, txn).await? {
        return Ok(false);
    }
    sqlx::query(
        "UPDATE payments SET refunded_micros = refunded_micros + $1,
           state = CASE WHEN refunded_micros + $1 >= credit_micros AND state = 'succeeded' THEN 'refunded' ELSE state END WHERE id = $2",
    )
    .bind(amount)
    .bind(payment.id.clone())
    .execute(&mut *db)
    .await?;
    announce(db, payment, Name::Refunded, amount).await?;
    Ok(true)
}

/// The gateway did not take a refund that was posted: it is taken back.
pub(crate) async fn refund_undone(
    db: &mut AnyConnection,
    purse: &mut Purse,
    payment: &Payment,
    amount: i64,
    key: &str,
    at_ms: i64,
) -> Result<(), LedgerError> {
    let txn = Txn {
        kind: Kind::Adjust,
        idem_key: format!("refund:{key}:undone"),
        call: None,
        lease: None,
        payment: Some(&payment.id),
        memo: json!({"text": "the card refund was not taken"}),
        actor: "system",
        at_ms,
        entries: &[(Account::Available, amount), (Account::Payments, -amount)],
    };
    if purse.post(db, txn).await? {
        sqlx::query(
            "UPDATE payments SET refunded_micros = refunded_micros - $1,
               state = CASE WHEN state = 'refunded' THEN 'succeeded' ELSE state END WHERE id = $2",
        )
        .bind(amount)
        .bind(payment.id.clone())
        .execute(db)
        .await?;
    }
    Ok(())
}

/// The payer disputes it. The credit stays until that is decided; nothing more is bought from that card by itself, and the operator
/// is told.
pub(crate) async fn dispute(db: &mut AnyConnection, payment: &Payment, at_ms: i64) -> Result<(), sqlx::Error> {
    tracing::error!(payment = payment.id, tenant = %payment.tenant, "a payment is disputed");
    if !matches!(payment.state.as_str(), "succeeded" | "refunded") {
        return Ok(());
    }
    set_state(db, payment, "disputed", None, at_ms).await?;
    sqlx::query("UPDATE auto_top_ups SET enabled = 0, updated_at = $1 WHERE tenant_id = $2")
        .bind(at_ms)
        .bind(payment.tenant.to_string())
        .execute(&mut *db)
        .await?;
    let job = NewJob {
        tenant: Some(payment.tenant),
        kind: TELL_OPERATOR,
        dedupe_key: format!("{TELL_OPERATOR}:{}", payment.id),
        payload: json!({"payment": payment.id, "amount_minor": payment.amount_minor, "currency": payment.currency}),
        run_at_ms: at_ms,
    };
    enqueue(db, job).await.map(drop)
}

/// The dispute is decided. `lost` is what the payer got back, in the smallest unit: it is taken as a refund from outside is.
pub(crate) async fn dispute_closed(
    db: &mut AnyConnection,
    purse: &mut Purse,
    payment: &Payment,
    lost: Option<i64>,
    at_ms: i64,
) -> Result<(), LedgerError> {
    let Some(minor) = lost else {
        let state = if payment.refunded_micros >= payment.credit_micros { "refunded" } else { "succeeded" };
        return Ok(set_state(db, payment, state, None, at_ms).await?);
    };
    let gone = payment.refunded_micros.saturating_add(credit_micros(minor, &payment.currency, payment.fx_ppm));
    refunded_outside(db, purse, payment, gone, at_ms).await.map(drop)
}

async fn set_state(
    db: &mut AnyConnection,
    payment: &Payment,
    state: &'static str,
    payment_ref: Option<&str>,
    at_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE payments SET state = $1, payment_ref = COALESCE(payment_ref, $2), settled_at = COALESCE(settled_at, $3) WHERE id = $4",
    )
    .bind(state)
    .bind(payment_ref.map(str::to_owned))
    .bind(at_ms)
    .bind(payment.id.clone())
    .execute(db)
    .await
    .map(drop)
}

async fn announce(db: &mut AnyConnection, payment: &Payment, kind: Name, micros: i64) -> Result<(), sqlx::Error> {
    let data = json!({"payment_id": payment.id, "credit_micros": micros});
    emit(db, NewEvent { tenant: payment.tenant, livemode: payment.livemode, kind, data }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_currencies_become_dollars_rounded_down_once() {
        assert_eq!(credit_micros(2_000, "usd", 1_000_000), 20_000_000);
        assert_eq!(credit_micros(2_000, "eur", 1_085_000), 21_700_000);
        assert_eq!(credit_micros(3_000, "jpy", 6_400), 19_200_000);
        assert_eq!(credit_micros(1, "eur", 1_085_050), 10_850);
    }

    #[test]
    fn what_goes_back_is_the_original_currency_at_the_stored_rate() {
        assert_eq!(minor_of(5_000_000, "usd", 1_000_000), 500);
        assert_eq!(minor_of(21_700_000, "eur", 1_085_000), 2_000);
        assert_eq!(minor_of(19_200_000, "jpy", 6_400), 3_000);
    }
}
