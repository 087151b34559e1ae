//! Jobs run once each however many workers there are, and again when their worker dies.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use control_api::{
    Background, BackgroundSettings, BoxFuture, Clock, Context, Fault, Handler, Job, NewJob, Store, enqueue, now_ms,
};
use serde_json::json;

use crate::{
    db::{Db, on_both},
    invariants,
};

/// Notes what it ran; does as the payload says.
#[derive(Clone, Default)]
struct Scribe(Arc<Mutex<BTreeMap<String, u32>>>);

impl Scribe {
    fn runs(&self, key: &str) -> u32 {
        self.0.lock().unwrap().get(key).copied().unwrap_or(0)
    }
}

impl Handler for Scribe {
    fn kind(&self) -> &'static str {
        "scribe"
    }

    fn run<'a>(&'a self, _: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            *self.0.lock().unwrap().entry(job.dedupe_key.clone()).or_default() += 1;
            match job.payload["do"].as_str() {
                Some("fail") => Err(Fault::Again("no luck".into())),
                Some("never") => Err(Fault::Never("no use".into())),
                Some("panic") => panic!("as told"),
                // Longer than this test: its worker will be gone before it is done.
                Some("hang") if self.runs(&job.dedupe_key) == 1 => std::future::pending().await,
                _ => Ok(()),
            }
        })
    }
}

async fn worker(store: &Store, node: &str, scribe: &Scribe, clock: Clock) -> Background {
    let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(scribe.clone())];
    Background::start(store, BackgroundSettings { node: node.into(), handlers, clock, ..Default::default() })
        .await
        .unwrap()
}

async fn leave(db: &Db, key: &str, what: &str) -> bool {
    let mut tx = db.begin().await;
    let job = NewJob {
        tenant: Some(db.tenant),
        kind: "scribe",
        dedupe_key: key.into(),
        payload: json!({"do": what}),
        run_at_ms: 0,
    };
    let new = enqueue(&mut tx, job).await.unwrap();
    tx.commit().await.unwrap();
    new
}

async fn until(db: &Db, sql: &'static str, count: i64) {
    for _ in 0..600 {
        if db.number(sql).await == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{sql}: {} and not {count}", db.number(sql).await);
}

on_both! {
    async fn three_hundred_jobs_and_eight_workers_make_three_hundred_runs(db) {
        for n in 0..300 {
            assert!(leave(&db, &format!("job {n}"), "").await);
        }
        let scribe = Scribe::default();
        let mut workers = Vec::new();
        for n in 0..8 {
            workers.push(worker(&db.store, &format!("n{n}"), &scribe, Clock::default()).await);
        }
        until(&db, "SELECT COUNT(*) FROM jobs WHERE kind = 'scribe' AND state = 'done'", 300).await;
        let runs = scribe.0.lock().unwrap().clone();
        assert_eq!((runs.len(), runs.values().max()), (300, Some(&1)));
        for worker in workers {
            worker.stop(Duration::from_secs(5)).await;
        }
        invariants::hold(&db).await;
    }

    async fn a_job_whose_worker_died_runs_again_after_its_lock(db) {
        leave(&db, "hangs", "hang").await;
        let scribe = Scribe::default();
        let dead = worker(&db.store, "n1", &scribe, Clock::default()).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'running'", 1).await;
        // The process is gone without a word: nothing is given back.
        std::mem::forget(dead);
        let later = Arc::new(AtomicI64::new(now_ms()));
        let time = Arc::clone(&later);
        let _alive = worker(&db.store, "n2", &scribe, Clock::new(move || time.load(Ordering::SeqCst))).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(scribe.runs("hangs"), 1, "taken from a worker whose lock holds");
        later.fetch_add(61_000, Ordering::SeqCst);
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'done' AND attempts = 2", 1).await;
        assert_eq!(scribe.runs("hangs"), 2);
    }

    async fn a_worker_that_stops_gives_back_what_it_could_not_finish(db) {
        leave(&db, "hangs", "hang").await;
        let scribe = Scribe::default();
        let first = worker(&db.store, "n1", &scribe, Clock::default()).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'running'", 1).await;
        first.stop(Duration::from_millis(50)).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND attempts = 0 AND kind = 'scribe'", 1).await;
        let _second = worker(&db.store, "n2", &scribe, Clock::default()).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'done' AND attempts = 1", 1).await;
    }

    async fn failures_are_tried_again_later_and_end_dead(db) {
        leave(&db, "fails", "fail").await;
        leave(&db, "never", "never").await;
        leave(&db, "panics", "panic").await;
        let scribe = Scribe::default();
        let time = Arc::new(AtomicI64::new(now_ms()));
        let clock = Arc::clone(&time);
        let _worker = worker(&db.store, "n1", &scribe, Clock::new(move || clock.load(Ordering::SeqCst))).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND attempts = 1 AND last_error IS NOT NULL", 2).await;
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'dead' AND attempts = 1 AND last_error = 'no use'", 1).await;
        let pause: i64 = db.number("SELECT MIN(run_at) FROM jobs WHERE dedupe_key = 'fails'").await - time.load(Ordering::SeqCst);
        assert!((4_000..=6_000).contains(&pause), "{pause}");
        for round in 2..=8 {
            time.fetch_add(3_700_000 * 2, Ordering::SeqCst);
            for _ in 0..200 {
                if scribe.runs("fails") == round && scribe.runs("panics") == round {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        until(&db, "SELECT COUNT(*) FROM jobs WHERE state = 'dead' AND attempts = 8", 2).await;
        assert_eq!((scribe.runs("fails"), scribe.runs("never")), (8, 1));
        invariants::hold(&db).await;
    }

    async fn one_key_is_one_job_and_a_rolled_back_job_is_none(db) {
        assert!(leave(&db, "same", "").await);
        assert!(!leave(&db, "same", "").await);
        let mut tx = db.begin().await;
        let job = NewJob { tenant: None, kind: "scribe", dedupe_key: "gone".into(), payload: json!({}), run_at_ms: 0 };
        assert!(enqueue(&mut tx, job).await.unwrap());
        tx.rollback().await.unwrap();
        assert_eq!(db.number("SELECT COUNT(*) FROM jobs").await, 1);
    }
}
