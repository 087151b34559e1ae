//! The bus: every published event goes to NATS JetStream too, for the operator's own programs (API.md §3.7).
//!
//! The subject is `sidetone.v1.<tenant>.<type>`, the body the envelope that webhooks get. The cursor moves after the stream has
//! acknowledged, so an event comes at least once; its id is the message's, so the stream drops what comes twice within two minutes.
//! Each message names the one before it as the last that the stream must hold: when one is lost on the way, those behind it are
//! refused and sent again, and the order holds.

use std::time::Duration;

use async_nats::{
    ConnectOptions, HeaderMap,
    jetstream::{self, Context, context::PublishErrorKind, stream},
};
use serde::Deserialize;
use sqlx::Row as _;
use tokio::sync::watch;

use super::{Hub, Published, published};
use crate::{
    Store,
    store::fresh_id,
    time::{Clock, now_ms},
};

/// Its row in `consumers`, and the lease in `locks`.
const NAME: &str = "bus";
/// Messages that wait for their acknowledgement at once.
const BATCH: i64 = 200;
/// How often is looked without being woken, and the pause after a fault.
const POLL: Duration = Duration::from_secs(1);
/// How long one node sends without a word before another takes over, ms.
const LEASE_MS: i64 = 15_000;
/// How long the stream drops messages with a known id.
const WINDOW: Duration = Duration::from_secs(120);
/// How long a stream that we make keeps its messages.
const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// `[events.nats]` of the configuration.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct NatsSettings {
    /// `nats://[user:password@]host:port` or `tls://…`; empty: no bus.
    pub url: String,
    /// The stream that takes `sidetone.v1.>`; made with a week's memory if it is missing.
    pub stream: String,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self { url: String::new(), stream: "SIDETONE".into() }
    }
}

#[derive(Debug, thiserror::Error)]
enum BusError {
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
    #[error("nats: {0}")]
    Nats(String),
}

/// Forwards until told to stop. Of several nodes one does, the holder of the lease; two at once would do no harm.
pub(super) async fn run(
    store: Store,
    hub: Hub,
    node: String,
    settings: NatsSettings,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) {
    let holder = format!("{node}/{}", fresh_id());
    let mut head = hub.watch();
    let mut bus = None;
    let mut failed = false;
    loop {
        head.mark_unchanged();
        let round = async {
            if bus.is_none() {
                bus = Some(connect(&settings).await?);
            }
            match &bus {
                Some(context) => forward(&store, context, &holder, clock.now_ms()).await,
                None => Ok(false),
            }
        };
        let more = tokio::select! {
            more = round => more,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match more {
            Ok(more) => {
                if std::mem::take(&mut failed) {
                    tracing::info!("the bus takes events again");
                }
                if more {
                    continue;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(%error, "the bus does not take events, trying again");
                }
            }
        }
        tokio::select! {
            _ = head.changed(), if !failed => {}
            () = tokio::time::sleep(POLL) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    let free = sqlx::query("UPDATE locks SET until_ms = 0 WHERE name = $1 AND holder = $2").bind(NAME).bind(&holder);
    let _ = tokio::time::timeout(POLL, free.execute(store.writers())).await;
}

/// Opens the connection, which then mends itself, and finds or makes the stream.
async fn connect(settings: &NatsSettings) -> Result<Context, BusError> {
    let options = ConnectOptions::new().name("sidetone").connection_timeout(Duration::from_secs(5));
    let client = options.connect(settings.url.as_str()).await.map_err(|error| BusError::Nats(error.to_string()))?;
    let context = jetstream::new(client);
    let wanted = stream::Config {
        name: settings.stream.clone(),
        subjects: vec!["sidetone.v1.>".into()],
        duplicate_window: WINDOW,
        max_age: KEPT,
        ..stream::Config::default()
    };
    context.get_or_create_stream(wanted).await.map_err(|error| BusError::Nats(error.to_string()))?;
    Ok(context)
}

/// One batch; true when there may be more.
async fn forward(store: &Store, context: &Context, holder: &str, now: i64) -> Result<bool, BusError> {
    let cursor = cursor(store).await?;
    let mut connection = store.pool().acquire().await?;
    let events = published::after(&mut connection, cursor, BATCH).await?;
    drop(connection);
    if events.is_empty() || !lease(store, holder, now).await? {
        return Ok(false);
    }
    let (sent, fault) = publish(context, &events).await;
    if let Some(seq) = sent {
        sqlx::query("UPDATE consumers SET pub_seq = $1, updated_at = $2 WHERE name = $3 AND pub_seq < $1")
            .bind(seq)
            .bind(now_ms())
            .bind(NAME)
            .execute(store.writers())
            .await?;
    }
    match fault {
        None => Ok(events.len() as i64 == BATCH),
        Some(fault) => Err(fault),
    }
}

/// How far the stream is. The first time it begins with what is published from then on.
async fn cursor(store: &Store) -> Result<i64, sqlx::Error> {
    let known = async || {
        sqlx::query("SELECT pub_seq FROM consumers WHERE name = $1").bind(NAME).fetch_optional(store.pool()).await
    };
    if let Some(row) = known().await? {
        return row.try_get(0);
    }
    sqlx::query("INSERT INTO consumers (name, pub_seq, updated_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING")
        .bind(NAME)
        .bind(store.last_published().await?)
        .bind(now_ms())
        .execute(store.writers())
        .await?;
    known().await?.map_or(Ok(0), |row| row.try_get(0))
}

/// Takes or keeps the lease; false when another node has it.
async fn lease(store: &Store, holder: &str, now: i64) -> Result<bool, sqlx::Error> {
    let held = sqlx::query(
        "INSERT INTO locks (name, holder, until_ms, fence) VALUES ($1, $2, $3, 0) ON CONFLICT (name) DO UPDATE
           SET holder = excluded.holder, until_ms = excluded.until_ms WHERE locks.holder = excluded.holder OR locks.until_ms < $4",
    )
    .bind(NAME)
    .bind(holder.to_owned())
    .bind(now + LEASE_MS)
    .bind(now)
    .execute(store.writers())
    .await?;
    Ok(held.rows_affected() == 1)
}

/// Sends events in order; the number of the last of those that the stream holds without a gap, and what went wrong after it.
async fn publish(context: &Context, events: &[Published]) -> (Option<i64>, Option<BusError>) {
    let mut under_way = Vec::with_capacity(events.len());
    let mut before: Option<&str> = None;
    let mut fault = None;
    for published in events {
        let event = &published.event;
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", event.id.as_str());
        if let Some(before) = before {
            headers.insert("Nats-Expected-Last-Msg-Id", before);
        }
        if let Some(call) = &event.call_id {
            headers.insert("Sidetone-Call", call.as_str());
        }
        let subject = format!("sidetone.v1.{}.{}", published.tenant, event.kind);
        let body = serde_json::to_vec(event).unwrap_or_default();
        match context.publish_with_headers(subject, headers, body.into()).await {
            Ok(ack) => {
                before = Some(event.id.as_str());
                under_way.push((published.seq, Some(ack)));
            }
            Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                tracing::error!(event = %event.id, kind = %event.kind, "an event is larger than the bus takes, it is left out");
                under_way.push((published.seq, None));
            }
            Err(error) => {
                fault = Some(BusError::Nats(error.to_string()));
                break;
            }
        }
    }
    let mut sent = None;
    for (seq, ack) in under_way {
        if let Some(ack) = ack
            && let Err(error) = ack.await
        {
            return (sent, Some(BusError::Nats(error.to_string())));
        }
        sent = Some(seq);
    }
    (sent, fault)
}
