//! The ledger: double entry, append only, micro-USD. Nothing is ever updated or deleted; a mistake is a new `adjust`.
//!
//! **Lock order.** Every money transaction opens the tenant's [`Purse`] first, which locks its `available` row; then come leases,
//! then `held`, then the rest. Whoever posts must hold a purse, so no transaction can come the other way round and deadlock.

use domain::{TenantId, event::Name};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _};

use crate::{
    jobs::{NewJob, enqueue},
    outbox::{NewEvent, emit},
    store::{fresh_id, json_text},
};

/// The job that buys credit by itself.
pub(crate) const AUTO_TOP_UP: &str = "billing.auto_top_up";

/// An account that money can be on. `Available` and `Held` are a tenant's, the rest are the house's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Account {
    Available,
    Held,
    Revenue,
    Payments,
    Promo,
    Adjustments,
    BadDebt,
}

impl Account {
    const fn word(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Held => "held",
            Self::Revenue => "revenue",
            Self::Payments => "payments",
            Self::Promo => "promo",
            Self::Adjustments => "adjustments",
            Self::BadDebt => "bad_debt",
        }
    }

    /// The row of this account: named after its owner, so that nobody has to look it up.
    pub(crate) fn id(self, tenant: TenantId, livemode: bool) -> String {
        let mode = if livemode { "live" } else { "test" };
        match self {
            Self::Available | Self::Held => format!("{tenant}:{}:{mode}", self.word()),
            _ => format!("house:{}:{mode}", self.word()),
        }
    }
}

/// Why a transaction is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TopUp,
    Promo,
    Hold,
    Settle,
    Charge,
    Refund,
    Adjust,
    LateCharge,
    WriteOff,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Promo => "promo",
            Self::Hold => "hold",
            Self::Settle => "settle",
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Adjust => "adjust",
            Self::LateCharge => "late_charge",
            Self::WriteOff => "write_off",
        }
    }
}

/// A transaction to be written.
#[derive(Debug)]
pub(crate) struct Txn<'a> {
    pub(crate) kind: Kind,
    /// The same key is written once, ever.
    pub(crate) idem_key: String,
    pub(crate) call: Option<&'a str>,
    pub(crate) lease: Option<&'a str>,
    pub(crate) payment: Option<&'a str>,
    /// What a person reads in the list of transactions.
    pub(crate) memo: Value,
    /// `system`, `stripe`, or who asked for it.
    pub(crate) actor: &'a str,
    pub(crate) at_ms: i64,
    /// They sum to zero; zeros are left out.
    pub(crate) entries: &'a [(Account, i64)],
}

/// Why nothing was written. The database transaction is to be dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// It would take the tenant below its floor.
    #[error("not enough credit")]
    NoCredit,
    /// A fault of ours: entries that do not sum to zero.
    #[error("ledger entries of {0} do not sum to zero")]
    Unbalanced(String),
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
}

/// A tenant's money, locked until the transaction ends.
#[derive(Debug)]
pub(crate) struct Purse {
    tenant: TenantId,
    livemode: bool,
    pub(crate) available: i64,
    /// 0, or the credit line as a negative number.
    pub(crate) floor: i64,
    /// Below this the tenant is told that its credit is low.
    low: i64,
    /// Told already: 1 low, 2 used up.
    told: i64,
    /// Below this credit is bought by itself, if the tenant wants that.
    buys_below: Option<i64>,
}

impl Purse {
    /// Locks a tenant's money. Must be the first thing that a money transaction does.
    pub(crate) async fn open(db: &mut AnyConnection, tenant: TenantId, livemode: bool) -> Result<Self, sqlx::Error> {
        let id = Account::Available.id(tenant, livemode);
        loop {
            let row = sqlx::query(
                "UPDATE ledger_accounts SET version = version + 1 WHERE id = $1 RETURNING balance_micros, floor_micros, low_micros, told,
                   (SELECT a.below_micros FROM auto_top_ups a WHERE a.tenant_id = $2 AND a.enabled = 1)",
            )
            .bind(id.clone())
            .bind(tenant.to_string())
            .fetch_optional(&mut *db)
            .await?;
            if let Some(row) = row {
                let floor: Option<i64> = row.try_get(1)?;
                return Ok(Self {
                    tenant,
                    livemode,
                    available: row.try_get(0)?,
                    floor: floor.unwrap_or(0),
                    low: row.try_get(2)?,
                    told: row.try_get(3)?,
                    buys_below: row.try_get(4)?,
                });
            }
            // Every tenant gets its accounts with its first movement; whoever comes second waits on the key and finds them.
            open_accounts(db, tenant).await?;
        }
    }

    /// What may still be taken.
    pub(crate) const fn spendable(&self) -> i64 {
        let spendable = self.available.saturating_sub(self.floor);
        if spendable > 0 { spendable } else { 0 }
    }

    /// Writes a transaction and moves the balances. False when its key is known: nothing happens then.
    pub(crate) async fn post(&mut self, db: &mut AnyConnection, txn: Txn<'_>) -> Result<bool, LedgerError> {
        let mut entries: Vec<(Account, i64)> = txn.entries.iter().copied().filter(|(_, amount)| *amount != 0).collect();
        entries.sort_unstable_by_key(|(account, _)| *account);
        if entries.iter().map(|(_, amount)| i128::from(*amount)).sum::<i128>() != 0 {
            return Err(LedgerError::Unbalanced(txn.idem_key));
        }
        if entries.is_empty() {
            return Ok(true);
        }
        let id = fresh_id();
        let of =
            |wanted| entries.iter().filter(|(account, _)| *account == wanted).map(|(_, amount)| amount).sum::<i64>();
        let (to_available, to_held) = (of(Account::Available), of(Account::Held));
        // What is held is read here and not in `open`: a statement that waited for a lock still sees the other rows as they were.
        let new = sqlx::query(
            "INSERT INTO ledger_txns (id, tenant_id, kind, idem_key, call_id, lease_id, payment_id, memo, actor, created_at,
               balance_after_micros) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,
               $11 + COALESCE((SELECT h.balance_micros FROM ledger_accounts h WHERE h.id = $12), 0)) ON CONFLICT (idem_key) DO NOTHING",
        )
        .bind(id.clone())
        .bind(self.tenant.to_string())
        .bind(txn.kind.as_str())
        .bind(txn.idem_key)
        .bind(txn.call.map(str::to_owned))
        .bind(txn.lease.map(str::to_owned))
        .bind(txn.payment.map(str::to_owned))
        .bind(json_text(&txn.memo))
        .bind(txn.actor.to_owned())
        .bind(txn.at_ms)
        .bind(self.available.saturating_add(to_available).saturating_add(to_held))
        .bind(Account::Held.id(self.tenant, self.livemode))
        .execute(&mut *db)
        .await?;
        if new.rows_affected() == 0 {
            return Ok(false);
        }
        self.enter(db, &id, &entries).await?;
        self.shift(db, to_available, to_held).await?;
        self.available += to_available;
        self.tell(db, txn.at_ms).await?;
        Ok(true)
    }
}

impl Purse {
    /// Writes the entries of a transaction.
    async fn enter(&self, db: &mut AnyConnection, txn: &str, entries: &[(Account, i64)]) -> Result<(), sqlx::Error> {
        let row = |n: usize| format!("($1, {}, ${}, ${})", n + 1, 2 * n + 2, 2 * n + 3);
        let rows: Vec<String> = (0..entries.len()).map(row).collect();
        let sql =
            format!("INSERT INTO ledger_entries (txn_id, n, account_id, amount_micros) VALUES {}", rows.join(", "));
        let mut query = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(txn.to_owned());
        for (account, amount) in entries {
            query = query.bind(account.id(self.tenant, self.livemode)).bind(*amount);
        }
        query.execute(db).await.map(drop)
    }

    /// Moves the tenant's own balances, in one statement. The rows are ours since `open`; the condition is the last line of defence, not
    /// the decision.
    async fn shift(&self, db: &mut AnyConnection, to_available: i64, to_held: i64) -> Result<(), LedgerError> {
        let wanted = u64::from(to_available != 0) + u64::from(to_held != 0);
        if wanted == 0 {
            return Ok(());
        }
        let moved = sqlx::query(
            "UPDATE ledger_accounts SET balance_micros = balance_micros + CASE WHEN id = $1 THEN $2 ELSE $4 END, version = version + 1
             WHERE ((id = $1 AND $2 <> 0) OR (id = $3 AND $4 <> 0))
               AND (CASE WHEN id = $1 THEN $2 ELSE $4 END > 0
                 OR balance_micros + CASE WHEN id = $1 THEN $2 ELSE $4 END >= COALESCE(floor_micros, 0))",
        )
        .bind(Account::Available.id(self.tenant, self.livemode))
        .bind(to_available)
        .bind(Account::Held.id(self.tenant, self.livemode))
        .bind(to_held)
        .execute(db)
        .await?;
        if moved.rows_affected() == wanted { Ok(()) } else { Err(LedgerError::NoCredit) }
    }

    /// Tells once for each crossing that credit is low or used up, and is ready to tell again a tenth above the mark.
    async fn tell(&mut self, db: &mut AnyConnection, at_ms: i64) -> Result<(), sqlx::Error> {
        let now = match self.available {
            _ if self.spendable() == 0 => 2,
            available if available < self.low => 1,
            available if available >= self.low.saturating_add(self.low / 10) => 0,
            _ => self.told.min(1),
        };
        if now > self.told {
            let kind = if now == 2 { Name::BalanceExhausted } else { Name::BalanceLow };
            let data = json!({"available_micros": self.available, "floor_micros": self.floor, "low_threshold_micros": self.low});
            emit(db, NewEvent { tenant: self.tenant, livemode: self.livemode, kind, data }).await?;
        }
        if now != self.told {
            sqlx::query("UPDATE ledger_accounts SET told = $1 WHERE id = $2")
                .bind(now)
                .bind(Account::Available.id(self.tenant, self.livemode))
                .execute(&mut *db)
                .await?;
            self.told = now;
        }
        if self.livemode && self.buys_below.is_some_and(|below| self.available < below) {
            // One job a minute at most; the job itself sees to it that only one attempt is open.
            let job = NewJob {
                tenant: Some(self.tenant),
                kind: AUTO_TOP_UP,
                dedupe_key: format!("{AUTO_TOP_UP}:{}:{}", self.tenant, at_ms / 60_000),
                payload: json!({}),
                run_at_ms: at_ms,
            };
            enqueue(db, job).await?;
        }
        Ok(())
    }
}

/// Makes a tenant's accounts, live and test, where they are missing.
pub(crate) async fn open_accounts(db: &mut AnyConnection, tenant: TenantId) -> Result<(), sqlx::Error> {
    for livemode in [true, false] {
        for account in [Account::Available, Account::Held] {
            sqlx::query(
                "INSERT INTO ledger_accounts (id, tenant_id, livemode, kind, floor_micros, created_at)
                 VALUES ($1, $2, $3, $4, 0, $5) ON CONFLICT (id) DO NOTHING",
            )
            .bind(account.id(tenant, livemode))
            .bind(tenant.to_string())
            .bind(i64::from(livemode))
            .bind(account.word())
            .bind(crate::now_ms())
            .execute(&mut *db)
            .await?;
        }
    }
    Ok(())
}
