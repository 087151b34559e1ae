//! What runs beside requests and calls: the publisher, the consumers of events, the workers of jobs.
//!
//! This file is the roster: a room that reads events, does jobs or has work that comes round adds its line here.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use crate::{
    Store, Switchboard, after,
    archive::{self, Archive, Transcode, Ways},
    jobs::{Context, Handler, Round, Timetable, Workers},
    money::monthly::{self, MONTHLY},
    nodes::{self, NodeInfo},
    outbox::{
        self, Consumer, Hub, NatsSettings, Rollups, WebhookSender,
        webhooks::{FanOut, Post, PostSettings},
    },
    retention,
    scheduled::PlaceLater,
    seal::NodeKey,
    time::Clock,
};

/// Who reads published events.
fn consumers(clock: &Clock, archive: Option<&Archive>) -> Vec<Arc<dyn Consumer>> {
    let ways = Ways { encodes: archive.is_some(), uploads: archive.is_some_and(|archive| archive.target().is_some()) };
    vec![Arc::new(FanOut { clock: clock.clone() }), Arc::new(Rollups), Arc::new(after::Ended(ways))]
}

/// Which jobs come round.
fn timetable() -> Timetable {
    Timetable(vec![
        Round { kind: after::PURGE, every_ms: after::PURGE_EVERY_MS },
        Round { kind: retention::KIND, every_ms: 86_400_000 },
        Round { kind: MONTHLY, every_ms: monthly::EVERY_MS },
    ])
}

/// How a node's background is set up.
#[derive(Clone, Default)]
pub struct BackgroundSettings {
    /// Names this node in locks.
    pub node: String,
    /// Who does jobs; jobs without a handler here wait for a node that has it.
    pub handlers: Vec<Arc<dyn Handler>>,
    /// The time.
    pub clock: Clock,
    /// Sends webhooks, and opens their secrets; without it deliveries wait for a node that has it.
    pub webhooks: Option<(WebhookSender, NodeKey)>,
    /// The bus that gets every event too.
    pub nats: NatsSettings,
    /// Where recordings lie; without it they stay where and as they are.
    pub archive: Option<Archive>,
}

/// The background of one node.
#[derive(Debug)]
pub struct Background {
    hub: Hub,
    tasks: Tasks,
    store: Store,
    clock: Clock,
}

impl Background {
    /// Starts everything on the current tokio runtime.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn start(store: &Store, settings: BackgroundSettings) -> Result<Self, sqlx::Error> {
        let hub = Hub::new(store.last_published().await?);
        let mut tasks = Tasks::default();
        let BackgroundSettings { node, handlers, clock, webhooks, nats, archive } = settings;
        outbox::start(&mut tasks, store, &hub, &node, consumers(&clock, archive.as_ref()));
        outbox::start_bus(&mut tasks, store, &hub, &node, nats, clock.clone());
        if let Some((sender, key)) = webhooks {
            let post = PostSettings { store: store.clone(), sender, key, clock: clock.clone(), node: node.clone() };
            tasks.spawn(|stop| Post::new(post).run(stop));
        }
        let context = Context { store: store.clone(), clock: clock.clone() };
        let workers = Workers::new(context.clone(), &node, handlers);
        tasks.spawn(|stop| workers.run(stop));
        tasks.spawn(|stop| timetable().run(store.clone(), clock.clone(), stop));
        if let Some(archive) = archive {
            // Workers of their own: what takes minutes is no reason for a mail to wait.
            let (keeper, name) = (archive.clone(), node.clone());
            tasks.spawn(|stop| async move {
                archive::sweep(&keeper).await;
                let transcode = Transcode { archive: keeper, node: name.clone(), stop: stop.clone() };
                Workers::new(context, &name, vec![Arc::new(transcode)]).at_once(archive::threads()).run(stop).await;
            });
            tasks.spawn(|stop| adopted(store.clone(), archive, node, stop));
        }
        Ok(Self { hub, tasks, store: store.clone(), clock })
    }

    /// Where this node's watchers find events.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Says from now on that this node lives, and watches the other nodes.
    pub fn attend(&mut self, switchboard: Arc<dyn Switchboard>, node: NodeInfo) {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        self.tasks.spawn(|stop| nodes::run(store, switchboard, node, clock, stop));
    }

    /// Places calls whose time has come, from now on. They have workers of their own: a slow job elsewhere is no reason to be late.
    pub fn place_calls(&mut self, switchboard: Arc<dyn Switchboard>, node: &NodeInfo) {
        let handler = PlaceLater { switchboard, node: node.id.clone(), boot: node.boot };
        let context = Context { store: self.store.clone(), clock: self.clock.clone() };
        let workers = Workers::new(context, &node.id, vec![Arc::new(handler)]);
        self.tasks.spawn(|stop| workers.run(stop));
    }

    /// Lets everything finish what it is at, for as long as `patience`.
    pub async fn stop(self, patience: Duration) {
        self.tasks.stop(patience).await;
    }
}

/// Once at the start; a store that does not answer is asked again.
async fn adopted(store: Store, archive: Archive, node: String, mut stop: watch::Receiver<bool>) {
    loop {
        match archive::adopt(&store, &archive, &node).await {
            Ok(0) => return,
            Ok(recordings) => {
                return tracing::info!(recordings, "recordings that lie on this node are encoded and moved by it");
            }
            Err(error) => tracing::warn!(%error, "store does not say which recordings lie here, trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
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
