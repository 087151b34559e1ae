//! The database goes away in the middle of everything and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use control_api::{Journal, JournalSettings, Store};
use domain::TenantId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

use crate::{
    db::{Db, Engine},
    fake::conversation,
    invariants, postgres,
};

/// A wire to the database that can be cut, be slow, or lose the answer to a commit.
struct Wire {
    state: Arc<State>,
    port: u16,
}

#[derive(Default)]
struct State {
    down: AtomicBool,
    cut: Notify,
    /// What each piece takes to get through, ms.
    slow_ms: AtomicU64,
    /// Commits that get through while their answers do not: the wire is cut with them.
    lost: AtomicUsize,
}

/// Which way something goes.
#[derive(PartialEq)]
enum Way {
    ToServer,
    ToClient,
}

impl State {
    /// Passes on what one end sends until it closes; answers are lost once `mute` is set.
    async fn pass(&self, way: Way, from: OwnedReadHalf, to: OwnedWriteHalf, mute: &AtomicBool) -> std::io::Result<()> {
        let (mut from, mut to, mut piece) = (from, to, vec![0; 64 * 1024]);
        loop {
            let read = from.read(&mut piece).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            tokio::time::sleep(Duration::from_millis(self.slow_ms.load(SeqCst))).await;
            let commit = way == Way::ToServer && piece[..read].windows(6).any(|word| word == b"COMMIT");
            let lost = commit && self.lost.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            if lost {
                mute.store(true, SeqCst);
            }
            if way == Way::ToServer || !mute.load(SeqCst) {
                to.write_all(&piece[..read]).await?;
            }
            if lost {
                // Time to carry it out.
                tokio::time::sleep(Duration::from_millis(300)).await;
                self.cut.notify_waiters();
            }
        }
    }
}

impl Wire {
    async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    let until_cut = state.cut.notified();
                    if state.down.load(SeqCst) {
                        return;
                    }
                    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                    let ((asks, answered), (answers, asked)) = (client.into_split(), server.into_split());
                    let mute = AtomicBool::new(false);
                    let there = state.pass(Way::ToServer, asks, asked, &mute);
                    let back = state.pass(Way::ToClient, answers, answered, &mute);
                    tokio::select! {
                        _ = async { tokio::join!(there, back) } => {}
                        () = until_cut => {}
                    }
                });
            }
        });
        Self { state, port }
    }

    /// A store at the other end, with a journal.
    async fn store(&self, port: u16, url: &str) -> (Store, Journal, TenantId) {
        let store = Store::open(&url.replace(&port.to_string(), &self.port.to_string())).await.unwrap();
        store.migrate().await.unwrap();
        let tenant = store.first_run(None).await.unwrap().tenant;
        let journal = Journal::start(store.clone(), JournalSettings::default());
        (store, journal, tenant)
    }

    fn set(&self, up: bool) {
        self.state.down.store(!up, SeqCst);
        if !up {
            self.state.cut.notify_waiters();
        }
    }
}

/// How many calls are there wholly, each thing once.
async fn whole_calls(url: &str) -> i64 {
    sqlx::any::install_default_drivers();
    let raw = sqlx::AnyPool::connect(url).await.unwrap();
    let all: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM calls WHERE status = 'completed' AND event_seq = 8 AND turns = 3),
           (SELECT COUNT(*) FROM events WHERE call_id IS NOT NULL), (SELECT COUNT(*) FROM turns)",
    )
    .fetch_one(&raw)
    .await
    .unwrap();
    assert_eq!((all.1, all.2), (8 * all.0, 3 * all.0));
    all.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_while_the_answer_was_lost_is_not_stored_again() {
    let (port, url) = postgres::fresh();
    let wire = Wire::to(port).await;
    let (_store, journal, tenant) = wire.store(port, &url).await;
    conversation(&journal, tenant, 1_000_000);
    journal.flush().await;
    for n in 1..=3 {
        wire.state.lost.store(1, SeqCst);
        conversation(&journal, tenant, 1_000_000 + n);
        journal.flush().await;
        assert_eq!(wire.state.lost.load(SeqCst), 0, "no commit was lost");
    }
    let counts = journal.counts();
    assert!(counts.retries >= 3, "{counts:?}");
    assert_eq!((counts.stored, counts.backlog, counts.dropped, counts.refused, counts.strays), (32, 0, 0, 0, 0));
    assert_eq!(whole_calls(&url).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_to_a_slow_database_is_stored_in_order_once() {
    let (port, url) = postgres::fresh();
    let wire = Wire::to(port).await;
    let (store, journal, tenant) = wire.store(port, &url).await;
    wire.state.slow_ms.store(25, SeqCst);
    for n in 0..8 {
        conversation(&journal, tenant, 1_000_000 + n);
    }
    // Whoever writes does not wait for it: all of it is still to be stored.
    assert!(journal.counts().stored < 64);
    assert!(store.answers().await);
    journal.flush().await;
    let counts = journal.counts();
    assert_eq!((counts.stored, counts.retries, counts.dropped, counts.refused), (64, 0, 0, 0));
    assert_eq!(whole_calls(&url).await, 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_the_database_is_away_is_stored_when_it_is_back() {
    let (port, url) = postgres::fresh();
    let wire = Wire::to(port).await;
    let (store, journal, tenant) = wire.store(port, &url).await;
    conversation(&journal, tenant, 1_000_000);
    journal.flush().await;
    assert!(store.answers().await);

    wire.set(false);
    for n in 0..20 {
        conversation(&journal, tenant, 2_000_000 + n);
    }
    until_refused(&journal).await;
    assert!(!store.answers().await);
    assert_eq!(journal.counts().backlog, 160);

    wire.set(true);
    journal.flush().await;
    let counts = journal.counts();
    assert_eq!((counts.stored, counts.backlog, counts.dropped, counts.refused), (168, 0, 0, 0));
    assert_eq!(whole_calls(&url).await, 21);
    assert!(store.answers().await);
}

/// Waits until the store has not taken something; a store that takes it is found out, not waited for.
async fn until_refused(journal: &Journal) {
    for _ in 0..1500 {
        if journal.counts().retries > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the store takes what it should not be able to: {:?}", journal.counts());
}

/// Ten calls are written while the store refuses them for what it is, not for what they are; then it takes them.
async fn taken_afterwards(db: &Db, heal: impl AsyncFnOnce()) {
    for n in 0..10 {
        conversation(&db.journal, db.tenant, 2_000_000 + n);
    }
    until_refused(&db.journal).await;
    assert_eq!(db.journal.counts().refused, 0);
    heal().await;
    db.journal.flush().await;
    let counts = db.journal.counts();
    assert_eq!((counts.stored, counts.backlog, counts.dropped, counts.refused), (80, 0, 0, 0));
    let complete = "SELECT COUNT(*) FROM calls WHERE status = 'completed' AND event_seq = 8 AND turns = 3";
    assert_eq!(db.number(complete).await, 10);
    invariants::hold(db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_the_database_is_locked_is_stored_when_it_is_free() {
    let db = Db::open(Engine::Sqlite).await;
    // Somebody has the writer's lock for longer than anybody waits for it.
    let lock = db.begin().await;
    taken_afterwards(&db, async || drop(lock.rollback().await)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_the_disk_is_full_is_stored_when_there_is_room() {
    let db = Db::open(Engine::Postgres).await;
    // As PostgreSQL says it: SQLSTATE 53100.
    db.run(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$",
    )
    .await;
    db.run("CREATE TRIGGER full_disk BEFORE INSERT ON turns EXECUTE FUNCTION full_disk()").await;
    taken_afterwards(&db, async || {
        db.run("DROP TRIGGER full_disk ON turns").await;
    })
    .await;
}
