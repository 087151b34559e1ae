//! The money in a call's entries: it is settled in the transaction that ends the call, so row, event and ledger never differ.
//!
//! Such a transaction locks the tenant's purse before the call's row (`money::ledger`), therefore entries with money are stored in a
//! transaction of their call alone.

use domain::{CallId, EndedReason, TenantId};
use sqlx::{AnyConnection, Row as _};

use super::{Ended, Entry, Stamped};
use crate::{
    money::{
        lease::{self, By},
        ledger::{LedgerError, Purse},
        usage,
    },
    store::Store,
};

/// The transactions of a batch: all that is talk together, then each call with money by itself. Entries of a call stay in order.
pub(super) fn parts(batch: Vec<Stamped>) -> Vec<Vec<Stamped>> {
    let mut talk = Vec::new();
    let mut money: Vec<(CallId, Vec<Stamped>)> = Vec::new();
    for stamped in batch {
        match money.iter_mut().find(|(call, _)| *call == stamped.call) {
            Some((_, part)) => part.push(stamped),
            None if has_money(&stamped.entry) => money.push((stamped.call, vec![stamped])),
            None => talk.push(stamped),
        }
    }
    let money = money.into_iter().map(|(_, part)| part);
    std::iter::once(talk).filter(|part| !part.is_empty()).chain(money).collect()
}

const fn has_money(entry: &Entry) -> bool {
    matches!(entry, Entry::Used(_) | Entry::Unbilled(_) | Entry::Ended(_))
}

/// Opens the purse that a part needs, before anything else is locked.
pub(super) async fn purse(db: &mut AnyConnection, part: &[Stamped]) -> Result<Option<Purse>, sqlx::Error> {
    let Some(stamped) = part.iter().find(|stamped| has_money(&stamped.entry)) else { return Ok(None) };
    let row = sqlx::query(
        "SELECT c.tenant_id, c.livemode, (SELECT COUNT(*) FROM leases l WHERE l.call_id = c.id) FROM calls c WHERE c.id = $1",
    )
    .bind(stamped.call.to_string())
    .fetch_optional(&mut *db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let leases: i64 = row.try_get(2)?;
    if leases == 0 && part.iter().all(|stamped| matches!(stamped.entry, Entry::Ended(_)) || !has_money(&stamped.entry))
    {
        return Ok(None);
    }
    let tenant: TenantId =
        row.try_get::<String, _>(0)?.parse().map_err(|_| sqlx::Error::Decode("tenant id is no uuid".into()))?;
    Purse::open(db, tenant, row.try_get::<i64, _>(1)? != 0).await.map(Some)
}

/// What a part needs beside the database.
pub(super) async fn secret(store: &Store, part: &[Stamped]) -> Result<[u8; 32], sqlx::Error> {
    let needed = part.iter().any(|stamped| matches!(stamped.entry, Entry::Unbilled(_)));
    if needed { store.secret().await } else { Ok([0; 32]) }
}

/// Writes what a call used.
pub(super) async fn used(
    db: &mut AnyConnection,
    tenant: &str,
    livemode: bool,
    stamped: &Stamped,
    used: &[usage::Used],
) -> Result<(), sqlx::Error> {
    let tenant = tenant.parse().map_err(|_| sqlx::Error::Decode("tenant id is no uuid".into()))?;
    usage::of_call(db, tenant, livemode, stamped.call, used, stamped.at_ms).await
}

/// Settles the lease of a call that ends now; false if it never had one.
pub(super) async fn settle(
    db: &mut AnyConnection,
    purse: &mut Purse,
    call: &str,
    ended: &Ended,
    duration_ms: i64,
    at_ms: i64,
) -> Result<bool, sqlx::Error> {
    let Some(lease) = lease::find(db, By::Call(call)).await? else { return Ok(false) };
    let heard_ms = duration_ms - ended.silent_ms.clamp(0, duration_ms);
    let (billed_ms, by) = match ended.reason {
        EndedReason::NoAck => (0, "call"),
        // Nobody knows what was after the last evidence, and nobody paid for what is beyond the cover.
        EndedReason::NodeLost => (heard_ms.min(lease.covered_ms), "sweeper"),
        // The BYE leaves a moment after the paid second; that moment is ours.
        EndedReason::CreditExhausted | EndedReason::CostCap => (heard_ms.min(lease.covered_ms), "call"),
        _ => (heard_ms, "call"),
    };
    match lease::settle(db, purse, &lease, billed_ms, by, at_ms).await {
        Ok(_) => Ok(true),
        Err(LedgerError::Sql(error)) => Err(error),
        Err(error) => Err(sqlx::Error::Protocol(error.to_string())),
    }
}
