//! Calls left behind by a run of this node that ended without saying goodbye.

use std::collections::BTreeMap;

use domain::{BootId, EndedReason};
use sqlx::Row as _;

use super::{Store, StoreError};
use crate::{
    journal::{Ended, Entry, Orphan, Stamped, apply},
    time::now_ms,
};

impl Store {
    /// Closes the calls of other runs of this node as `failed`/`node_lost`. They ended at the last evidence of life: the latest of
    /// their own times, their events, and the end of their last turn. Returns them with the recordings that were being written.
    pub async fn close_orphans(&self, node_id: &str, boot_id: BootId) -> Result<Vec<Orphan>, StoreError> {
        let rows = sqlx::query(
            "SELECT c.id, c.tenant_id, c.created_at, c.initiated_at, c.ringing_at, c.answered_at,
                    (SELECT MAX(e.created_at) FROM events e WHERE e.call_id = c.id) AS event_at,
                    (SELECT MAX(t.end_ms) FROM turns t WHERE t.call_id = c.id) AS turn_ms,
                    (SELECT MAX(l.evidence_at) FROM leases l WHERE l.call_id = c.id) AS lease_at
             FROM calls c WHERE c.node_id = $1 AND c.boot_id <> $2 AND c.ended_at IS NULL ORDER BY c.created_at, c.id",
        )
        .bind(node_id.to_owned())
        .bind(boot_id.to_string())
        .fetch_all(self.pool())
        .await?;
        let mut batch = Vec::new();
        let mut orphans = BTreeMap::new();
        for row in rows {
            let (Ok(call), Ok(tenant)) =
                (row.try_get::<String, _>("id")?.parse(), row.try_get::<String, _>("tenant_id")?.parse())
            else {
                continue;
            };
            let at = |column: &str| row.try_get::<Option<i64>, _>(column);
            let answered = at("answered_at")?;
            let spoken = answered.zip(at("turn_ms")?).map(|(answered, turn)| answered + turn);
            let steps = [at("created_at")?, at("initiated_at")?, at("ringing_at")?, answered];
            let evidence = steps.into_iter().chain([at("event_at")?, spoken, at("lease_at")?]);
            let at_ms = evidence.flatten().max().unwrap_or_default().min(now_ms());
            let ended = Ended {
                reason: EndedReason::NodeLost,
                at_ms,
                sip_status: None,
                media: None,
                degraded: false,
                silent_ms: 0,
            };
            batch.push(Stamped { call, at_ms: now_ms(), entry: Entry::Ended(Box::new(ended)) });
            orphans.insert(call, Orphan { call, tenant, recordings: Vec::new() });
        }
        apply(self, &batch).await?;
        let writing = sqlx::query(
            "SELECT r.id, r.call_id, r.locator FROM recordings r JOIN calls c ON c.id = r.call_id
             WHERE r.state = 'writing' AND c.node_id = $1 AND c.boot_id <> $2 ORDER BY r.created_at, r.id",
        )
        .bind(node_id.to_owned())
        .bind(boot_id.to_string())
        .fetch_all(self.pool())
        .await?;
        for row in writing {
            let (Ok(id), Ok(call)) = (row.try_get::<String, _>(0)?.parse(), row.try_get::<String, _>(1)?.parse())
            else {
                continue;
            };
            // A recording may have outlived its call's end but not its own: the call ended, the crash came before `ready`.
            let tenant = match orphans.get(&call) {
                Some(orphan) => orphan.tenant,
                None => self.tenant_of(call).await?,
            };
            let orphan = orphans.entry(call).or_insert(Orphan { call, tenant, recordings: Vec::new() });
            orphan.recordings.push((id, row.try_get(2)?));
        }
        Ok(orphans.into_values().collect())
    }

    /// Closes the calls of a node that will not come back by itself; returns how many there were. Its recordings lie on its own disk:
    /// they are described when it runs again.
    pub(crate) async fn close_calls_of(&self, node_id: &str) -> Result<usize, StoreError> {
        // No run has this id, so every run of it counts as another.
        self.close_orphans(node_id, BootId(uuid::Uuid::max())).await.map(|orphans| orphans.len())
    }

    async fn tenant_of(&self, call: domain::CallId) -> Result<domain::TenantId, sqlx::Error> {
        let row = sqlx::query("SELECT tenant_id FROM calls WHERE id = $1")
            .bind(call.to_string())
            .fetch_one(self.pool())
            .await?;
        row.try_get::<String, _>(0)?.parse().map_err(|_| sqlx::Error::Decode("tenant id is no uuid".into()))
    }
}
