//! Jobs that come round: every node leaves the job of each round, the first one wins, and so it runs once.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::{NewJob, enqueue};
use crate::{Store, time::Clock};

/// How often the timetable is read.
const LOOK: Duration = Duration::from_secs(5);

/// A kind of job and how often it comes round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) kind: &'static str,
    pub(crate) every_ms: i64,
}

/// What comes round.
#[derive(Debug)]
pub(crate) struct Timetable(pub(crate) Vec<Round>);

impl Timetable {
    pub(crate) async fn run(self, store: Store, clock: Clock, mut stop: watch::Receiver<bool>) {
        let mut left = vec![None; self.0.len()];
        loop {
            for (round, left) in self.0.iter().zip(&mut left) {
                let n = clock.now_ms().div_euclid(round.every_ms);
                if *left != Some(n) {
                    match leave(&store, *round, n).await {
                        Ok(()) => *left = Some(n),
                        Err(error) => tracing::debug!(%error, kind = round.kind, "store does not take a job"),
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }
}

async fn leave(store: &Store, round: Round, n: i64) -> Result<(), sqlx::Error> {
    let mut tx = store.begin().await?;
    let job = NewJob {
        tenant: None,
        kind: round.kind,
        dedupe_key: format!("{}@{n}", round.kind),
        payload: Value::Null,
        run_at_ms: n * round.every_ms,
    };
    let new = enqueue(&mut tx, job).await?;
    tx.commit().await?;
    if new {
        store.ring();
    }
    Ok(())
}
