//! The nodes of an installation: each says every five seconds that it lives, and each watches the others.
//!
//! A node is lost when its sign has not changed for thirty seconds of the watcher's own clock; what their clocks say is compared with
//! nothing. A watcher whom the database did not answer begins to watch anew, so an outage makes nobody look dead.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{BootId, TenantId, event::Name};
use serde_json::json;
use sqlx::{AnyConnection, Row as _};
use tokio::{sync::watch, time::Instant};

use crate::{NewEvent, Store, Switchboard, emit, time::Clock};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(5);
/// Without a new sign for so long, a node is lost.
const LOST: Duration = Duration::from_secs(30);

/// Which node this is.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// Its name, the same in every run.
    pub id: String,
    /// This run.
    pub boot: BootId,
    /// Where its API listens.
    pub address: String,
    /// The version of the program.
    pub version: &'static str,
    /// Unix time of its start, ms.
    pub started_at_ms: i64,
}

/// A row of `nodes`.
#[derive(Clone, Debug)]
pub(crate) struct NodeRow {
    pub(crate) id: String,
    pub(crate) boot_id: String,
    pub(crate) address: String,
    pub(crate) state: String,
    pub(crate) calls: i64,
    pub(crate) max_calls: i64,
    pub(crate) version: String,
    pub(crate) started_at: i64,
    pub(crate) seen_at: i64,
}

/// Says that this node lives, and watches the others, until told to stop; then says that it is gone.
pub(crate) async fn run(
    store: Store,
    switchboard: Arc<dyn Switchboard>,
    node: NodeInfo,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let mut signs = HashMap::new();
    loop {
        let round = async {
            beat(&store, switchboard.as_ref(), &node, clock.now_ms()).await?;
            watch_others(&store, &node, &mut signs, Instant::now(), clock.now_ms()).await
        };
        if let Err(error) = round.await {
            tracing::debug!(%error, "store does not take a sign of life");
            signs.clear();
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    let gone = sqlx::query("UPDATE nodes SET state = 'gone', calls = 0 WHERE id = $1 AND boot_id = $2")
        .bind(&node.id)
        .bind(node.boot.to_string())
        .execute(store.writers());
    let _ = tokio::time::timeout(Duration::from_secs(2), gone).await;
}

/// This node's sign of life.
pub(crate) async fn beat(
    store: &Store,
    switchboard: &dyn Switchboard,
    node: &NodeInfo,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let health = switchboard.health();
    sqlx::query(
        "INSERT INTO nodes (id, boot_id, address, state, calls, max_calls, version, started_at, seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET boot_id = excluded.boot_id,
           address = excluded.address, state = excluded.state, calls = excluded.calls, max_calls = excluded.max_calls,
           version = excluded.version, started_at = excluded.started_at, seen_at = excluded.seen_at",
    )
    .bind(&node.id)
    .bind(node.boot.to_string())
    .bind(&node.address)
    .bind(if health.draining { "draining" } else { "up" })
    .bind(i64::from(health.calls))
    .bind(i64::from(health.max_calls))
    .bind(node.version)
    .bind(node.started_at_ms)
    .bind(now_ms)
    .execute(store.writers())
    .await
    .map(drop)
}

/// The last sign of each other node and when it was first seen here.
pub(crate) type Signs = HashMap<String, (i64, Instant)>;

/// Declares lost who has been silent for too long, and closes what lost nodes left behind.
pub(crate) async fn watch_others(
    store: &Store,
    own: &NodeInfo,
    signs: &mut Signs,
    now: Instant,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    for node in store.nodes().await? {
        if node.id == own.id || node.state == "gone" {
            signs.remove(&node.id);
            continue;
        }
        let sign = signs.entry(node.id.clone()).or_insert((node.seen_at, now));
        if sign.0 != node.seen_at {
            *sign = (node.seen_at, now);
        } else if now - sign.1 >= LOST {
            signs.remove(&node.id);
            declare_lost(store, &node, now_ms).await?;
        }
    }
    // Again and again, so that a watcher that died half-way is finished for.
    close_lost(store).await.map(drop)
}

/// Ends the calls of nodes that are lost; returns how many.
pub(crate) async fn close_lost(store: &Store) -> Result<usize, sqlx::Error> {
    let mut calls = 0;
    let left = sqlx::query(
        "SELECT DISTINCT n.id FROM nodes n JOIN calls c ON c.node_id = n.id WHERE n.state = 'gone' AND c.ended_at IS NULL",
    )
    .fetch_all(store.pool())
    .await?;
    for row in left {
        let id: String = row.try_get(0)?;
        match store.close_calls_of(&id).await {
            Ok(closed) => {
                calls += closed;
                tracing::warn!(node = %id, closed, "calls of a lost node are closed");
            }
            Err(error) => tracing::warn!(node = %id, %error, "calls of a lost node cannot be closed, trying again"),
        }
    }
    Ok(calls)
}

async fn declare_lost(store: &Store, node: &NodeRow, now_ms: i64) -> Result<(), sqlx::Error> {
    let mut tx = store.begin().await?;
    // Of several watchers one says it, and none if the node has spoken meanwhile.
    let lost = sqlx::query("UPDATE nodes SET state = 'gone' WHERE id = $1 AND seen_at = $2 AND state <> 'gone'")
        .bind(&node.id)
        .bind(node.seen_at)
        .execute(&mut *tx)
        .await?;
    if lost.rows_affected() == 1 {
        tracing::error!(node = %node.id, silent_ms = now_ms - node.seen_at, calls = node.calls, "node lost");
        tell(&mut tx, Name::NodeLost, &node.id, node.calls).await?;
    }
    tx.commit().await?;
    store.ring();
    Ok(())
}

/// Leaves an event of the installation, which its operator's tenant sees.
pub(crate) async fn tell(tx: &mut AnyConnection, kind: Name, node: &str, calls: i64) -> Result<(), sqlx::Error> {
    let row = sqlx::query("SELECT id FROM tenants WHERE slug = 'default'").fetch_optional(&mut *tx).await?;
    let Some(tenant) = row.map(|row| row.try_get::<String, _>(0)).transpose()? else { return Ok(()) };
    let tenant: TenantId = tenant.parse().map_err(|_| sqlx::Error::Decode("tenant id is no uuid".into()))?;
    emit(tx, NewEvent { tenant, livemode: true, kind, data: json!({"node_id": node, "calls": calls}) }).await
}

/// What waits in the store, for the operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) jobs_queued: i64,
    pub(crate) jobs_dead: i64,
    pub(crate) webhooks_pending: i64,
    /// Age of the oldest event without a number.
    pub(crate) outbox_lag_ms: i64,
    /// Enabled trunks; of them with a gateway that answers, and with gateways of which none does.
    pub(crate) trunks: i64,
    pub(crate) trunks_up: i64,
    pub(crate) trunks_down: i64,
}

impl Store {
    /// Every node that ever ran.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeRow>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT id, boot_id, address, state, calls, max_calls, version, started_at, seen_at FROM nodes ORDER BY id",
        )
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(NodeRow {
                    id: row.try_get("id")?,
                    boot_id: row.try_get("boot_id")?,
                    address: row.try_get("address")?,
                    state: row.try_get("state")?,
                    calls: row.try_get("calls")?,
                    max_calls: row.try_get("max_calls")?,
                    version: row.try_get("version")?,
                    started_at: row.try_get("started_at")?,
                    seen_at: row.try_get("seen_at")?,
                })
            })
            .collect()
    }

    /// What waits.
    pub(crate) async fn waiting(&self, now_ms: i64) -> Result<Waiting, sqlx::Error> {
        let row = sqlx::query(
            "SELECT (SELECT COUNT(*) FROM jobs WHERE state IN ('queued','running')) AS queued,
               (SELECT COUNT(*) FROM jobs WHERE state = 'dead') AS dead,
               (SELECT COUNT(*) FROM webhook_deliveries WHERE state IN ('pending','sending')) AS webhooks,
               (SELECT created_at FROM events WHERE pub_seq IS NULL ORDER BY id LIMIT 1) AS oldest,
               (SELECT COUNT(*) FROM trunks WHERE enabled = 1 AND deleted_at IS NULL) AS trunks,
               (SELECT COUNT(*) FROM trunks t WHERE t.enabled = 1 AND t.deleted_at IS NULL AND EXISTS
                 (SELECT 1 FROM trunk_status s WHERE s.trunk_id = t.id AND s.state = 'up')) AS trunks_up,
               (SELECT COUNT(*) FROM trunks t WHERE t.enabled = 1 AND t.deleted_at IS NULL AND EXISTS
                 (SELECT 1 FROM trunk_status s WHERE s.trunk_id = t.id AND s.state = 'down') AND NOT EXISTS
                 (SELECT 1 FROM trunk_status s WHERE s.trunk_id = t.id AND s.state = 'up')) AS trunks_down",
        )
        .fetch_one(self.pool())
        .await?;
        let oldest: Option<i64> = row.try_get("oldest")?;
        Ok(Waiting {
            jobs_queued: row.try_get("queued")?,
            jobs_dead: row.try_get("dead")?,
            webhooks_pending: row.try_get("webhooks")?,
            trunks: row.try_get("trunks")?,
            trunks_up: row.try_get("trunks_up")?,
            trunks_down: row.try_get("trunks_down")?,
            outbox_lag_ms: oldest.map_or(0, |at| (now_ms - at).max(0)),
        })
    }
}
