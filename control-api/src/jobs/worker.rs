//! The workers of one node: they claim what is due, run its handler, and store what came of it.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use domain::TenantId;
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet};

use super::queue;
use crate::{BoxFuture, Store, store::fresh_id, time::Clock};

/// Jobs that run at once on a node.
const AT_ONCE: usize = 8;
/// How often the queue is looked at without being woken.
const POLL: Duration = Duration::from_millis(500);
/// How often a running job holds on to its claim.
const BEAT: Duration = Duration::from_secs(20);

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// For whom; none for the installation's own.
    pub tenant: Option<TenantId>,
    /// Which handler does it.
    pub kind: String,
    /// What makes it one of a kind.
    pub dedupe_key: String,
    /// What was left for the handler.
    pub payload: Value,
    /// 1 for the first.
    pub attempt: i64,
    /// After this many it is dead.
    pub max_attempts: i64,
}

/// Why a job is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It may work later.
    #[error("{0}")]
    Again(String),
    /// It never will.
    #[error("{0}")]
    Never(String),
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Again(format!("store: {error}"))
    }
}

/// What every handler can use.
#[derive(Clone, Debug)]
pub struct Context {
    /// Rows.
    pub store: Store,
    /// The time.
    pub clock: Clock,
}

/// Does the jobs of one kind.
pub trait Handler: Send + Sync {
    /// Which jobs.
    fn kind(&self) -> &'static str;

    /// Whether this node does them now; else they wait, or another node does.
    fn ready(&self) -> bool {
        true
    }

    /// Does one. It may be done twice (a node can die after the work and before the note of it), so what it does must bear that.
    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>>;
}

/// The handlers of a node and the name under which it claims.
pub(crate) struct Workers {
    context: Context,
    handlers: BTreeMap<&'static str, Arc<dyn Handler>>,
    node: String,
    name: String,
    at_once: usize,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Workers {
    pub(crate) fn new(context: Context, node: &str, handlers: Vec<Arc<dyn Handler>>) -> Self {
        let handlers = handlers.into_iter().map(|handler| (handler.kind(), handler)).collect();
        // A run of its own name: what an earlier run claimed is not ours.
        Self { context, handlers, node: node.to_owned(), name: format!("{node}/{}", fresh_id()), at_once: AT_ONCE }
    }

    /// The same for so many jobs at once.
    pub(crate) fn at_once(self, at_once: usize) -> Self {
        Self { at_once, ..self }
    }

    /// Works until told to stop, then lets what runs finish; what is aborted meanwhile is given back.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        if self.handlers.is_empty() {
            return;
        }
        let workers = Arc::new(self);
        let _given_back = GiveBack(Arc::clone(&workers));
        let store = workers.context.store.clone();
        let mut bell = store.listen();
        let mut running = JoinSet::new();
        loop {
            let free = workers.at_once - running.len();
            let ready = workers.handlers.values().filter(|handler| handler.ready());
            let kinds: Vec<_> = ready.map(|handler| handler.kind()).collect();
            if free > 0 && !kinds.is_empty() {
                let now = workers.context.clock.now_ms();
                match queue::claim(&store, &workers.name, &workers.node, &kinds, now, free as i64).await {
                    Ok(jobs) => {
                        for job in jobs {
                            running.spawn(Arc::clone(&workers).one(job));
                        }
                    }
                    Err(error) => tracing::debug!(%error, "store does not give jobs"),
                }
            }
            tokio::select! {
                () = bell.rung(), if running.len() < workers.at_once => {}
                () = tokio::time::sleep(POLL) => {}
                Some(_) = running.join_next() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        while running.join_next().await.is_some() {}
    }

    /// Runs one job to its outcome, holding on to the claim meanwhile.
    async fn one(self: Arc<Self>, job: Job) {
        let outcome = if job.attempt > job.max_attempts {
            Err(Fault::Never("given up: each node that ran it died".into()))
        } else if let Some(handler) = self.handlers.get(job.kind.as_str()).cloned() {
            let (context, task) = (self.context.clone(), job.clone());
            // A task of its own, so that a panic is this job's failure and nobody else's.
            let mut work = JoinSet::new();
            work.spawn(async move { handler.run(&context, &task).await });
            loop {
                tokio::select! {
                    Some(done) = work.join_next() => match done {
                        Ok(outcome) => break outcome,
                        Err(_) => break Err(Fault::Again("the handler panicked".into())),
                    },
                    () = tokio::time::sleep(BEAT) => {
                        let now = self.context.clock.now_ms();
                        if let Ok(false) = queue::extend(&self.context.store, &self.name, &job, now).await {
                            // Another worker has it by now; two at once is what locks are against.
                            tracing::warn!(job = %job.id, kind = %job.kind, "the claim on a job was lost");
                            return;
                        }
                    }
                }
            }
        } else {
            return;
        };
        if let Err(fault) = &outcome {
            tracing::warn!(job = %job.id, kind = %job.kind, attempt = job.attempt, %fault, "job failed");
        }
        let now = self.context.clock.now_ms();
        // Without the note the job runs again after its lock: at least once.
        if let Err(error) = queue::settle(&self.context.store, &self.name, &job, &outcome, now).await {
            tracing::warn!(job = %job.id, %error, "the outcome of a job could not be stored");
        }
        self.context.store.ring();
    }
}

/// Gives claims back when the workers go, also when they are aborted.
struct GiveBack(Arc<Workers>);

impl Drop for GiveBack {
    fn drop(&mut self) {
        let workers = Arc::clone(&self.0);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = queue::release(&workers.context.store, &workers.name).await;
            });
        }
    }
}
