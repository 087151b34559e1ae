//! Consumers: they read published events in order, and what they make of them commits together with how far they are.
//!
//! So each event has its effect exactly once, whichever node does it and whenever one dies.

use std::{sync::Arc, time::Duration};

use sqlx::{AnyConnection, Row as _};
use tokio::sync::watch;

use super::{Hub, Published, published};
use crate::{BoxFuture, Store, store::Ear, time::now_ms};

/// Events of one transaction.
const BATCH: i64 = 200;
/// How often a consumer looks without being woken; another node may have done its work meanwhile.
const POLL: Duration = Duration::from_secs(1);

/// Someone who makes rows of events.
pub(crate) trait Consumer: Send + Sync {
    /// Its row in `consumers`.
    fn name(&self) -> &'static str;

    /// Takes events in the order of their numbers, inside the transaction that moves the cursor. An error undoes the batch.
    fn take<'a>(&'a self, tx: &'a mut AnyConnection, events: &'a [Published])
    -> BoxFuture<'a, Result<(), sqlx::Error>>;
}

/// Feeds one consumer until told to stop.
pub(super) async fn run(store: Store, hub: Hub, consumer: Arc<dyn Consumer>, mut stop: watch::Receiver<bool>) {
    let mut head = Ear::new(hub.watch());
    let mut failed = false;
    loop {
        match step(&store, consumer.as_ref(), BATCH).await {
            Ok(taken) => {
                failed = false;
                if taken == BATCH as usize {
                    continue;
                }
            }
            Err(error) if crate::journal::is_refusal(&error) => skip(&store, consumer.as_ref(), &error).await,
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(consumer = consumer.name(), %error, "store does not serve a consumer, trying again");
                }
            }
        }
        tokio::select! {
            () = head.rung(), if !failed => {}
            () = tokio::time::sleep(POLL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// One transaction; returns how many events it took.
pub(crate) async fn step(store: &Store, consumer: &dyn Consumer, limit: i64) -> Result<usize, sqlx::Error> {
    let cursor: Option<i64> = sqlx::query("SELECT pub_seq FROM consumers WHERE name = $1")
        .bind(consumer.name())
        .fetch_optional(store.pool())
        .await?
        .map(|row| row.try_get(0))
        .transpose()?;
    // A look without a lock first: most wakes find nothing to do.
    let waiting = sqlx::query("SELECT pub_seq FROM events WHERE pub_seq > $1 ORDER BY pub_seq LIMIT 1")
        .bind(cursor.unwrap_or(0))
        .fetch_optional(store.pool())
        .await?;
    if waiting.is_none() {
        return Ok(0);
    }
    let mut tx = store.begin().await?;
    let cursor = lock(&mut tx, consumer.name()).await?;
    let events = published::after(&mut tx, cursor, limit).await?;
    if let Some(last) = events.last() {
        consumer.take(&mut tx, &events).await?;
        advance(&mut tx, consumer.name(), last.seq).await?;
    }
    tx.commit().await?;
    if !events.is_empty() {
        store.ring();
    }
    Ok(events.len())
}

/// A batch was refused for what it holds: event by event, and the one that is refused alone is left out, with a line in the log.
async fn skip(store: &Store, consumer: &dyn Consumer, error: &sqlx::Error) {
    tracing::warn!(consumer = consumer.name(), %error, "a consumer's batch was refused, taking it event by event");
    loop {
        match step(store, consumer, 1).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if crate::journal::is_refusal(&error) => {
                let passed = pass(store, consumer).await;
                tracing::error!(consumer = consumer.name(), %error, event = ?passed.ok().flatten(), "a consumer leaves an event out");
                return;
            }
            Err(_) => return,
        }
    }
}

/// Moves the cursor past the next event without its effect; returns the event's id.
async fn pass(store: &Store, consumer: &dyn Consumer) -> Result<Option<String>, sqlx::Error> {
    let mut tx = store.begin().await?;
    let cursor = lock(&mut tx, consumer.name()).await?;
    let events = published::after(&mut tx, cursor, 1).await?;
    if let Some(event) = events.first() {
        advance(&mut tx, consumer.name(), event.seq).await?;
    }
    tx.commit().await?;
    Ok(events.into_iter().next().map(|event| event.event.id))
}

/// Locks the consumer's row, made if missing, and reads its cursor.
async fn lock(tx: &mut AnyConnection, name: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query("INSERT INTO consumers (name, pub_seq, updated_at) VALUES ($1, 0, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(now_ms())
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE consumers SET updated_at = $1 WHERE name = $2 RETURNING pub_seq")
        .bind(now_ms())
        .bind(name)
        .fetch_one(tx)
        .await?
        .try_get(0)
}

async fn advance(tx: &mut AnyConnection, name: &'static str, seq: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE consumers SET pub_seq = $1 WHERE name = $2").bind(seq).bind(name).execute(tx).await.map(drop)
}
