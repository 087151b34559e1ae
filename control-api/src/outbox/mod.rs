//! The outbox: durable events leave with the transaction that made them true, are numbered, and reach everyone who reads.
//!
//! An event of a call is written by the [`crate::Journal`] and by nobody else; every other event by [`emit`], in the transaction of
//! what it tells about.

mod bus;
mod consumer;
mod hub;
mod pattern;
mod published;
mod publisher;
pub(crate) mod rollups;
mod settings;
pub(crate) mod webhooks;

use std::sync::Arc;

use domain::{TenantId, event::Name};
use serde_json::Value;
use sqlx::AnyConnection;

pub use bus::NatsSettings;
pub(crate) use consumer::Consumer;
pub use hub::{Hub, LiveEvent};
pub(crate) use pattern::Patterns;
pub(crate) use published::{Published, purge_cursor};
pub(crate) use rollups::Rollups;
pub use settings::EventsSettings;
pub use webhooks::WebhookSender;

use crate::{
    Store,
    background::Tasks,
    store::{fresh_id, json_text},
    time::now_ms,
};

/// A durable event that belongs to no call.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Whose it is.
    pub tenant: TenantId,
    /// False for what test keys caused.
    pub livemode: bool,
    /// What happened.
    pub kind: Name,
    /// The event's `data` (API.md §3.5).
    pub data: Value,
}

/// Writes an event into the caller's transaction: it exists if and only if that commits.
pub async fn emit(tx: &mut AnyConnection, event: NewEvent) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO events (id, tenant_id, type, livemode, data, created_at) VALUES ($1, $2, $3, $4, $5, $6)")
        .bind(fresh_id())
        .bind(event.tenant.to_string())
        .bind(event.kind.as_str())
        .bind(i64::from(event.livemode))
        .bind(json_text(&event.data))
        .bind(now_ms())
        .execute(tx)
        .await
        .map(drop)
}

/// Starts the bus, if there is one.
pub(crate) fn start_bus(
    tasks: &mut Tasks,
    store: &Store,
    hub: &Hub,
    node: &str,
    settings: NatsSettings,
    clock: crate::time::Clock,
) {
    if !settings.url.is_empty() {
        tasks.spawn(|stop| bus::run(store.clone(), hub.clone(), node.to_owned(), settings, clock, stop));
    }
}

/// Starts the publisher and a task per consumer.
pub(crate) fn start(tasks: &mut Tasks, store: &Store, hub: &Hub, node: &str, consumers: Vec<Arc<dyn Consumer>>) {
    tasks.spawn(|stop| publisher::run(store.clone(), hub.clone(), node.to_owned(), stop));
    for consumer in consumers {
        tasks.spawn(|stop| consumer::run(store.clone(), hub.clone(), consumer, stop));
    }
}
