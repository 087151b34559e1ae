//! What runs beside requests and calls: the publisher, the consumers of events, the workers of jobs.
//!
//! This file is the roster: a room that reads events, does jobs or has work that comes round adds its line here.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    Store, after,
    jobs::{Context, Handler, Round, Timetable, Workers},
    outbox::{self, Consumer, Hub, Rollups},
    time::Clock,
};

/// Who reads published events.
fn consumers() -> Vec<Arc<dyn Consumer>> {
    vec![Arc::new(Rollups), Arc::new(after::Ended)]
}

/// Who does jobs.
fn handlers() -> Vec<Arc<dyn Handler>> {
    Vec::new()
}

/// Which jobs come round.
fn timetable() -> Timetable {
    Timetable(vec![Round { kind: after::PURGE, every_ms: after::PURGE_EVERY_MS }])
}

/// How a node's background is set up.
#[derive(Clone, Default)]
pub struct BackgroundSettings {
    /// Names this node in locks.
    pub node: String,
    /// Handlers that need more than the store, from whoever has it.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// The time.
    pub clock: Clock,
}

/// The background of one node.
#[derive(Debug)]
pub struct Background {
    hub: Hub,
    tasks: Tasks,
}

impl Background {
    /// Starts everything on the current tokio runtime.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn start(store: &Store, settings: BackgroundSettings) -> Result<Self, sqlx::Error> {
        let hub = Hub::new(store.last_published().await?);
        let mut tasks = Tasks::default();
        let BackgroundSettings { node, handlers: mut more, clock } = settings;
        outbox::start(&mut tasks, store, &hub, &node, consumers());
        more.extend(handlers());
        let context = Context { store: store.clone(), clock: clock.clone() };
        let workers = Workers::new(context, &node, more);
        tasks.spawn(|stop| workers.run(stop));
        tasks.spawn(|stop| timetable().run(store.clone(), clock, stop));
        Ok(Self { hub, tasks })
    }

    /// Where this node's watchers find events.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Lets everything finish what it is at, for as long as `patience`.
    pub async fn stop(self, patience: Duration) {
        self.tasks.stop(patience).await;
    }
}

/// Tasks that stop together; dropping them aborts them.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    stop: watch::Sender<bool>,
    set: JoinSet<()>,
}

impl Tasks {
    /// Starts a task that ends soon after its receiver turns true.
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        task: impl FnOnce(watch::Receiver<bool>) -> F,
    ) {
        self.set.spawn(task(self.stop.subscribe()));
    }

    async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        let done = async { while self.set.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, done).await.is_err() {
            tracing::warn!("background tasks did not end in time");
        }
    }
}
