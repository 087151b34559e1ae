//! The money in a call's entries: it is settled in the transaction that ends the call, so row, event and ledger never differ.
//!
//! Such a transaction locks the tenant's purse before the rows of its calls (`money::ledger`), therefore entries with money are stored in
//! transactions of one tenant each.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::{CallId, EndedReason, TenantId};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::{Ended, Entry, Stamped};
use crate::{
    money::{
        lease::{self, By},
        ledger::{LedgerError, Purse},
        usage,
    },
    store::{
        Store,
        many::{places, portions},
    },
};

/// So many calls are settled in one transaction: a purse is not held for long.
const TOGETHER: usize = 16;

/// Whose money a call moves.
pub(super) type Owner = (TenantId, bool);

/// Looks up whose the calls with money in a batch are; those that it makes itself say so.
pub(super) async fn owners(store: &Store, batch: &[Stamped]) -> Result<HashMap<CallId, Owner>, sqlx::Error> {
    let mut owners = HashMap::new();
    let mut others = Vec::new();
    for stamped in batch {
        match &stamped.entry {
            Entry::Created(new) => drop(owners.insert(stamped.call, (new.tenant, new.livemode))),
            entry if has_money(entry) && !owners.contains_key(&stamped.call) => others.push(stamped.call.to_string()),
            _ => {}
        }
    }
    for portion in portions(&others) {
        let sql = format!("SELECT id, tenant_id, livemode FROM calls WHERE id IN {}", places(1, portion.len()));
        let query = portion.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, id| query.bind(id));
        for row in query.fetch_all(store.pool()).await? {
            let (call, tenant): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            if let (Ok(call), Ok(tenant)) = (call.parse(), tenant.parse()) {
                owners.insert(call, (tenant, row.try_get::<i64, _>(2)? != 0));
            }
        }
    }
    Ok(owners)
}

/// The transactions of a batch: all that is talk together, then the calls with money, some of one owner in each; one of nobody known is
/// by itself. Entries of a call stay in order.
pub(super) fn parts(batch: Vec<Stamped>, owners: &HashMap<CallId, Owner>) -> Vec<Vec<Stamped>> {
    let mut talk = Vec::new();
    let mut money: Vec<Money> = Vec::new();
    for stamped in batch {
        let call = stamped.call;
        if let Some(part) = money.iter_mut().find(|part| part.calls.contains(&call)) {
            part.entries.push(stamped);
        } else if has_money(&stamped.entry) {
            let owner = owners.get(&call).copied();
            let open = |part: &&mut Money| part.owner == owner && owner.is_some() && part.calls.len() < TOGETHER;
            match money.iter_mut().find(open) {
                Some(part) => {
                    part.calls.insert(call);
                    part.entries.push(stamped);
                }
                None => money.push(Money { owner, calls: HashSet::from([call]), entries: vec![stamped] }),
            }
        } else {
            talk.push(stamped);
        }
    }
    let money = money.into_iter().map(|part| part.entries);
    std::iter::once(talk).filter(|part| !part.is_empty()).chain(money).collect()
}

/// A transaction that moves money.
struct Money {
    owner: Option<Owner>,
    calls: HashSet<CallId>,
    entries: Vec<Stamped>,
}

const fn has_money(entry: &Entry) -> bool {
    matches!(entry, Entry::Used(_) | Entry::Unbilled(_) | Entry::Ended(_))
}

/// Opens the purse that a part needs, before anything else is locked.
pub(super) async fn purse(db: &mut AnyConnection, part: &[Stamped]) -> Result<Option<Purse>, sqlx::Error> {
    let money: Vec<&Stamped> = part.iter().filter(|stamped| has_money(&stamped.entry)).collect();
    if money.is_empty() {
        return Ok(None);
    }
    let calls: BTreeSet<String> = money.iter().map(|stamped| stamped.call.to_string()).collect();
    let sql = format!(
        "SELECT c.tenant_id, c.livemode, COUNT(l.id) FROM calls c LEFT JOIN leases l ON l.call_id = c.id WHERE c.id IN {}
         GROUP BY c.tenant_id, c.livemode",
        places(1, calls.len())
    );
    let query = calls.into_iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, call| query.bind(call));
    let Some(row) = query.fetch_optional(&mut *db).await? else { return Ok(None) };
    let leases: i64 = row.try_get(2)?;
    if leases == 0 && money.iter().all(|stamped| matches!(stamped.entry, Entry::Ended(_))) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Ended;
    use domain::event::Name;

    #[test]
    fn calls_of_one_owner_are_settled_together_and_nobody_else_s_with_them() {
        let owner = |n: u128| (TenantId(uuid::Uuid::from_u128(n)), true);
        let stamped = |call: u128, entry| Stamped { call: CallId(uuid::Uuid::from_u128(call)), at_ms: 0, entry };
        let over = Ended {
            reason: EndedReason::CallerHungUp,
            at_ms: 0,
            sip_status: None,
            media: None,
            degraded: false,
            silent_ms: 0,
        };
        let ended = |call| stamped(call, Entry::Ended(Box::new(over.clone())));
        let used = |call| stamped(call, Entry::Used(Vec::new()));
        let note = |call| stamped(call, Entry::Event { name: Name::DtmfSent, data: serde_json::Value::Null });
        let owners = (0..40).map(|call| (CallId(uuid::Uuid::from_u128(call)), owner(call % 2))).collect();
        let mut batch: Vec<Stamped> = (0..40).map(note).collect();
        batch.extend((0..40).flat_map(|call| [used(call), note(call), ended(call)]));
        batch.push(ended(99));
        let parts = parts(batch, &owners);
        let calls = |part: &[Stamped]| part.iter().map(|stamped| stamped.call).collect::<BTreeSet<_>>();
        let sizes: Vec<_> = parts.iter().map(|part| (part.len(), calls(part).len())).collect();
        // The talk, then twice sixteen, what is left of both, and the one of nobody known.
        assert_eq!(sizes, [(40, 40), (48, 16), (48, 16), (12, 4), (12, 4), (1, 1)]);
        for part in &parts[1..5] {
            let whose: BTreeSet<_> = calls(part).iter().map(|call| owners[call].0.to_string()).collect();
            assert_eq!(whose.len(), 1);
            let order: Vec<_> = part.chunks(3).map(|of| [&of[0].entry, &of[2].entry]).collect();
            assert!(
                order.iter().all(|[first, last]| matches!(first, Entry::Used(_)) && matches!(last, Entry::Ended(_)))
            );
        }
    }
}
