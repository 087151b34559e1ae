//! The publisher numbers committed events, one after the other and without a hole.
//!
//! An id is given before its transaction commits, so a reader that remembers the highest id skips what commits later. A number is
//! given after: every node may publish, the row `publisher` of `locks` lets one at a time, and a number is visible only with all
//! smaller ones. Within a call the numbers follow `call_seq`: its row is locked while its events are written, so they commit in order,
//! and the ids of one process only grow, whatever its clock does.

use std::time::Duration;

use sqlx::Row as _;
use tokio::sync::watch;

use super::{Hub, published};
use crate::{Store, store::Engine, time::now_ms};

/// Events of one transaction.
const BATCH: i64 = 500;
/// What other nodes wrote is found at the latest after this.
const POLL: Duration = Duration::from_millis(500);

/// Publishes what is committed until told to stop, and shows it to the hub.
pub(super) async fn run(store: Store, hub: Hub, node: String, mut stop: watch::Receiver<bool>) {
    let mut bell = store.listen();
    let mut away = false;
    loop {
        match round(&store, &hub, &node).await {
            Ok(more) => {
                if std::mem::take(&mut away) {
                    tracing::info!("store is back, publishing again");
                }
                if more {
                    continue;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(%error, "store does not let events be published, trying again");
                }
                tokio::time::sleep(POLL).await;
            }
        }
        tokio::select! {
            () = bell.rung() => {}
            () = tokio::time::sleep(POLL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// One look: numbers what waits, reads what is new (ours or another node's). True when there may be more.
async fn round(store: &Store, hub: &Hub, node: &str) -> Result<bool, sqlx::Error> {
    let numbered = publish(store, node).await?;
    let mut connection = store.pool().acquire().await?;
    let new = published::after(&mut connection, hub.head(), BATCH).await?;
    let more = numbered == BATCH || new.len() as i64 == BATCH;
    hub.extend(new);
    Ok(more)
}

/// Numbers up to 500 committed events; returns how many.
pub(crate) async fn publish(store: &Store, node: &str) -> Result<i64, sqlx::Error> {
    let waiting = sqlx::query("SELECT id FROM events WHERE pub_seq IS NULL LIMIT 1").fetch_optional(store.pool());
    if waiting.await?.is_none() {
        return Ok(0);
    }
    let mut tx = store.begin().await?;
    if store.engine() == Engine::Postgres {
        // A node that the network took away in here must not hold the others for as long as TCP believes in it.
        for limit in ["SET LOCAL lock_timeout = '10s'", "SET LOCAL idle_in_transaction_session_timeout = '5s'"] {
            sqlx::raw_sql(limit).execute(&mut *tx).await?;
        }
    }
    // The row lock lasts until the commit; the statements after it see everything that was committed before it was had.
    let lock = "UPDATE locks SET holder = $1, until_ms = $2 WHERE name = 'publisher' RETURNING fence";
    let last: i64 = match sqlx::query(lock).bind(node.to_owned()).bind(now_ms()).fetch_optional(&mut *tx).await? {
        Some(row) => row.try_get(0)?,
        None => {
            sqlx::query("INSERT INTO locks (name, holder, until_ms, fence) VALUES ('publisher', $1, $2, 0) ON CONFLICT (name) DO NOTHING")
                .bind(node.to_owned())
                .bind(now_ms())
                .execute(&mut *tx)
                .await?;
            sqlx::query(lock).bind(node.to_owned()).bind(now_ms()).fetch_one(&mut *tx).await?.try_get(0)?
        }
    };
    let numbered = sqlx::query(
        "WITH waiting AS (SELECT id FROM events WHERE pub_seq IS NULL ORDER BY id LIMIT $1),
              numbered AS (SELECT id, ROW_NUMBER() OVER (ORDER BY id) AS n FROM waiting)
         UPDATE events SET pub_seq = $2 + numbered.n FROM numbered WHERE events.id = numbered.id",
    )
    .bind(BATCH)
    .bind(last)
    .execute(&mut *tx)
    .await?
    .rows_affected() as i64;
    sqlx::query("UPDATE locks SET fence = fence + $1 WHERE name = 'publisher'")
        .bind(numbered)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(numbered)
}
