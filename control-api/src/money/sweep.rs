//! The sweeper: leases whose node went away are settled by evidence, exactly once.
//!
//! The last evidence of a conversation is the later of the last renewal and the last stored event, and no more than the cover is
//! charged. A call that nobody ended is ended with it, so that its row, its event and its money say the same.

use domain::{BootId, CallId, EndedReason};
use sqlx::{AnyConnection, Row as _};

use super::{
    lease::{self, By},
    ledger::{LedgerError, Purse},
};
use crate::{
    journal::{Ended, Entry, Stamped, apply},
    store::Store,
};

/// Which leases are looked at.
#[derive(Clone, Copy, Debug)]
enum Whose<'a> {
    /// Those past their expiry, unless this run of this node holds them and knows better.
    Expired { node: &'a str, boot: BootId },
    /// Those of other runs of this node.
    OldBoots { node: &'a str, boot: BootId },
}

impl Store {
    /// Settles what is past its expiry. `lives` tells which of this run's own calls are still up: theirs are renewed, not swept.
    /// Returns how many were settled.
    pub async fn sweep(
        &self,
        node: &str,
        boot: BootId,
        lives: &(dyn Fn(CallId) -> bool + Sync),
        at_ms: i64,
    ) -> Result<u32, sqlx::Error> {
        sweep(self, Whose::Expired { node, boot }, lives, at_ms).await
    }

    /// Settles, at its start, what earlier runs of this node left open.
    pub async fn sweep_old_boots(&self, node: &str, boot: BootId, at_ms: i64) -> Result<u32, sqlx::Error> {
        sweep(self, Whose::OldBoots { node, boot }, &|_| false, at_ms).await
    }
}

async fn sweep(
    store: &Store,
    whose: Whose<'_>,
    lives: &(dyn Fn(CallId) -> bool + Sync),
    at_ms: i64,
) -> Result<u32, sqlx::Error> {
    let (sql, node, boot) = match whose {
        Whose::Expired { node, boot } => {
            ("SELECT id, call_id, node_id, boot_id FROM leases WHERE state = 'open' AND expires_at < $1", node, boot)
        }
        Whose::OldBoots { node, boot } => (
            "SELECT id, call_id, node_id, boot_id FROM leases WHERE state = 'open' AND opened_at <= $1 AND node_id = $2 AND boot_id <> $3",
            node,
            boot,
        ),
    };
    let mut query = sqlx::query(sql).bind(at_ms);
    if matches!(whose, Whose::OldBoots { .. }) {
        query = query.bind(node.to_owned()).bind(boot.to_string());
    }
    let mut settled = 0;
    for row in query.fetch_all(store.pool()).await? {
        let (id, call): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let ours = row.try_get::<String, _>(2)? == node && row.try_get::<String, _>(3)? == boot.to_string();
        let Ok(call) = call.parse::<CallId>() else { continue };
        if ours && lives(call) {
            continue;
        }
        settled += u32::from(settle_one(store, &id, call, at_ms).await?);
    }
    Ok(settled)
}

/// True if this sweep closed it.
async fn settle_one(store: &Store, id: &str, call: CallId, at_ms: i64) -> Result<bool, sqlx::Error> {
    let mut db = store.pool().acquire().await?;
    let Some(evidence) = evidence(&mut db, id).await? else { return Ok(false) };
    drop(db);
    if evidence.call_is_live {
        let ended = Ended {
            reason: EndedReason::NodeLost,
            at_ms: evidence.at_ms.min(at_ms),
            sip_status: None,
            media: None,
            degraded: false,
            silent_ms: 0,
        };
        apply(store, &[Stamped { call, at_ms, entry: Entry::Ended(Box::new(ended)) }]).await?;
        return Ok(true);
    }
    let mut tx = store.begin().await?;
    let mut purse = Purse::open(&mut tx, evidence.tenant, evidence.livemode).await?;
    let Some(lease) = lease::find(&mut tx, By::Id(id)).await?.filter(|lease| lease.open) else { return Ok(false) };
    let duration_ms = evidence.duration_ms.min(lease.covered_ms);
    match lease::settle(&mut tx, &mut purse, &lease, duration_ms, "sweeper", at_ms).await {
        Ok(_) => tx.commit().await.map(|()| true),
        Err(LedgerError::Sql(error)) => Err(error),
        Err(error) => Err(sqlx::Error::Protocol(error.to_string())),
    }
}

/// What is known of an orphan.
struct Evidence {
    tenant: domain::TenantId,
    livemode: bool,
    call_is_live: bool,
    /// The last sign of life.
    at_ms: i64,
    /// Conversation up to it; what the call's row says if it has ended.
    duration_ms: i64,
}

async fn evidence(db: &mut AnyConnection, id: &str) -> Result<Option<Evidence>, sqlx::Error> {
    let Some(lease) = lease::find(db, By::Id(id)).await?.filter(|lease| lease.open) else { return Ok(None) };
    let row = sqlx::query(
        "SELECT l.evidence_at, c.id AS call_id, c.answered_at, c.ended_at, c.duration_ms,
                (SELECT MAX(e.created_at) FROM events e WHERE e.call_id = l.call_id) AS event_at
         FROM leases l LEFT JOIN calls c ON c.id = l.call_id WHERE l.id = $1",
    )
    .bind(id.to_owned())
    .fetch_one(db)
    .await?;
    let at = |column: &str| row.try_get::<Option<i64>, _>(column);
    let has_row = row.try_get::<Option<String>, _>("call_id")?.is_some();
    let ended = at("ended_at")?;
    let answered = lease.answered_at.or(at("answered_at")?);
    let at_ms = at("evidence_at")?.into_iter().chain(at("event_at")?).max().unwrap_or(lease.opened_at);
    let duration_ms = match (ended, at("duration_ms")?) {
        (Some(_), Some(duration)) => duration,
        _ => answered.map_or(0, |answered| (at_ms - answered).max(0)),
    };
    Ok(Some(Evidence {
        tenant: lease.tenant,
        livemode: lease.livemode,
        call_is_live: has_row && ended.is_none(),
        at_ms,
        duration_ms,
    }))
}
