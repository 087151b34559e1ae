//! Closing the lease of a call that another worker carries: its usage and its settlement in one transaction.

use super::{
    NotMoved,
    lease::{self, By, Settled},
    ledger::Purse,
    usage::{self, Used},
};
use crate::{seal, store::Store};

impl Store {
    /// Closes the lease with this token for a conversation of so long and what it used; what was charged, or none if there is no such
    /// lease. The first close counts, and every later one hears the same.
    pub async fn release(
        &self,
        token: &str,
        duration_ms: i64,
        used: &[Used],
        at_ms: i64,
    ) -> Result<Option<i64>, NotMoved> {
        let settled = by_token(self, &seal::sha256_hex(token.as_bytes()), duration_ms, used, at_ms).await?;
        Ok(settled.map(|settled| settled.charged))
    }
}

/// Closes the lease with this token's hash; none if there is no such lease.
pub(crate) async fn by_token(
    store: &Store,
    hash: &str,
    duration_ms: i64,
    used: &[Used],
    at_ms: i64,
) -> Result<Option<Settled>, NotMoved> {
    let mut db = store.pool().acquire().await?;
    let Some(owner) = lease::find(&mut db, By::Token(hash)).await? else { return Ok(None) };
    drop(db);
    let mut tx = store.begin().await?;
    let mut purse = Purse::open(&mut tx, owner.tenant, owner.livemode).await?;
    let Some(lease) = lease::find(&mut tx, By::Id(&owner.id)).await? else { return Ok(None) };
    if lease.open
        && let Ok(call) = lease.call.parse()
    {
        usage::of_call(&mut tx, lease.tenant, lease.livemode, call, used, at_ms).await?;
    }
    let settled = lease::settle(&mut tx, &mut purse, &lease, duration_ms, "worker", at_ms).await?;
    tx.commit().await?;
    store.ring();
    Ok(Some(settled))
}
