//! The hub: the newest events in memory, for everyone who watches on this node, so that a hundred watchers are one read.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError, RwLock},
};

use domain::{CallId, TenantId, event::Live};
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::Published;

/// Durable events kept in memory; who is further behind reads the store.
const KEPT: usize = 4096;
/// Live events that a slow watcher may have waiting.
const LIVE: usize = 1024;

/// Where events meet those who watch. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: RwLock<VecDeque<Arc<Published>>>,
    /// The last number that is in memory or before it.
    head: watch::Sender<i64>,
    live: broadcast::Sender<Arc<LiveEvent>>,
}

/// Something that is shown and forgotten.
#[derive(Clone, Debug)]
pub struct LiveEvent {
    /// Whose call it is.
    pub tenant: TenantId,
    /// False for test traffic.
    pub livemode: bool,
    /// The call.
    pub call: CallId,
    /// Its stored agent.
    pub agent_id: Option<String>,
    /// What it is.
    pub kind: Live,
    /// The event's `data`.
    pub data: Value,
    /// Unix time, ms.
    pub at_ms: i64,
}

impl Hub {
    /// A hub that stands after the number `head`.
    pub fn new(head: i64) -> Self {
        Self(Arc::new(Inner {
            kept: RwLock::default(),
            head: watch::Sender::new(head),
            live: broadcast::Sender::new(LIVE),
        }))
    }

    /// Shows a live event to whoever watches; never waits.
    pub fn show(&self, event: LiveEvent) {
        // No watcher is no fault.
        let _ = self.0.live.send(Arc::new(event));
    }

    /// Whether anybody watches live events, so that they need not be made for nobody.
    pub fn is_watched(&self) -> bool {
        self.0.live.receiver_count() > 0
    }

    /// The number of the newest event that is shown here.
    pub fn seen(&self) -> i64 {
        self.head()
    }

    /// Live events from now on.
    pub(crate) fn live(&self) -> broadcast::Receiver<Arc<LiveEvent>> {
        self.0.live.subscribe()
    }

    /// The number of the newest event that this node has seen.
    pub(crate) fn head(&self) -> i64 {
        *self.0.head.borrow()
    }

    /// Tells when the head moves.
    pub(crate) fn watch(&self) -> watch::Receiver<i64> {
        self.0.head.subscribe()
    }

    /// Adds the events that follow the head, in order.
    pub(super) fn extend(&self, events: Vec<Published>) {
        let Some(last) = events.last().map(|event| event.seq) else { return };
        {
            let mut kept = self.0.kept.write().unwrap_or_else(PoisonError::into_inner);
            kept.extend(events.into_iter().map(Arc::new));
            let over = kept.len().saturating_sub(KEPT);
            kept.drain(..over);
        }
        self.0.head.send_replace(last);
    }

    /// The events after a number, if memory reaches back to it.
    pub(crate) fn after(&self, seq: i64) -> Option<Vec<Arc<Published>>> {
        if seq >= self.head() {
            return Some(Vec::new());
        }
        let kept = self.0.kept.read().unwrap_or_else(PoisonError::into_inner);
        // Memory begins after the number before its oldest event.
        let oldest = kept.front()?.seq;
        if seq + 1 < oldest {
            return None;
        }
        let from = kept.partition_point(|event| event.seq <= seq);
        Some(kept.range(from..).cloned().collect())
    }
}
