//! Money moved by hand or by another worker: gifts, corrections, write-offs, and charges that belong to no call.

use domain::TenantId;
use serde_json::json;
use sqlx::AnyConnection;

use super::{
    ledger::{Account, Kind, LedgerError, Purse, Txn},
    usage,
};
use crate::store::Store;

/// Why money is moved by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjustment {
    /// A gift; positive.
    Promo,
    /// A correction of either sign.
    Adjust,
    /// What a tenant with a credit line will never pay; positive.
    WriteOff,
}

impl Adjustment {
    const fn sides(self) -> (Kind, Account) {
        match self {
            Self::Promo => (Kind::Promo, Account::Promo),
            Self::Adjust => (Kind::Adjust, Account::Adjustments),
            Self::WriteOff => (Kind::WriteOff, Account::BadDebt),
        }
    }
}

/// A movement that is asked for.
#[derive(Clone, Debug)]
pub struct Movement {
    /// Whose account.
    pub tenant: TenantId,
    /// Which of its two.
    pub livemode: bool,
    /// Added to what is available; negative takes.
    pub amount_micros: i64,
    /// The same key moves money once.
    pub idem_key: String,
    /// What the list of transactions says.
    pub memo: String,
    /// Who asks.
    pub actor: String,
    /// Unix time, ms.
    pub at_ms: i64,
}

/// Why nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum NotMoved {
    /// It would go below the floor.
    #[error("not enough credit")]
    NoCredit,
    /// The store does not answer.
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
}

impl From<LedgerError> for NotMoved {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NoCredit => Self::NoCredit,
            LedgerError::Sql(error) => Self::Store(error),
            LedgerError::Unbalanced(_) => Self::Store(sqlx::Error::Protocol(error.to_string())),
        }
    }
}

impl Store {
    /// Moves money by hand; returns what is available then. False with it when the key had been used: nothing moved.
    pub async fn adjust(&self, kind: Adjustment, movement: &Movement) -> Result<(i64, bool), NotMoved> {
        let mut tx = self.begin().await?;
        let moved = adjust(&mut tx, kind, movement).await?;
        tx.commit().await?;
        Ok(moved)
    }

    /// Takes an amount for something that is no call (`item` says what), and records it as used. Amount > 0.
    pub async fn deduct(&self, item: &str, movement: &Movement) -> Result<(i64, bool), NotMoved> {
        let amount = movement.amount_micros;
        let mut tx = self.begin().await?;
        let mut purse = Purse::open(&mut tx, movement.tenant, movement.livemode).await?;
        let entries = [(Account::Available, -amount), (Account::Revenue, amount)];
        let new = purse.post(&mut tx, txn(Kind::Charge, movement, &entries)).await?;
        if new {
            let record = usage::Record {
                tenant: movement.tenant,
                livemode: movement.livemode,
                call: None,
                item,
                provider: "",
                quantity: 1,
                amount_micros: amount,
                vendor_micros: 0,
                dedupe_key: movement.idem_key.clone(),
                at_ms: movement.at_ms,
            };
            usage::record(&mut tx, &record).await?;
        }
        tx.commit().await?;
        Ok((purse.available, new))
    }
}

/// [`Store::adjust`] in the caller's transaction, as its first statement.
pub(crate) async fn adjust(
    db: &mut AnyConnection,
    kind: Adjustment,
    movement: &Movement,
) -> Result<(i64, bool), NotMoved> {
    let (kind, other) = kind.sides();
    let amount = movement.amount_micros;
    let mut purse = Purse::open(db, movement.tenant, movement.livemode).await?;
    let entries = [(Account::Available, amount), (other, -amount)];
    let new = purse.post(db, txn(kind, movement, &entries)).await?;
    Ok((purse.available, new))
}

fn txn<'a>(kind: Kind, movement: &'a Movement, entries: &'a [(Account, i64)]) -> Txn<'a> {
    Txn {
        kind,
        idem_key: movement.idem_key.clone(),
        call: None,
        lease: None,
        payment: None,
        memo: json!({"text": movement.memo}),
        actor: &movement.actor,
        at_ms: movement.at_ms,
        entries,
    }
}
