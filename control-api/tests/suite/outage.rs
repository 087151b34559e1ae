//! The database goes away in the middle of everything and comes back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use control_api::{Journal, JournalSettings, Store};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use crate::{
    db::{Db, Engine},
    fake::conversation,
    invariants, postgres,
};

/// A wire to the database that can be cut.
struct Wire {
    up: Arc<AtomicBool>,
    cut: Arc<Notify>,
    port: u16,
}

impl Wire {
    async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (up, cut) = (Arc::new(AtomicBool::new(true)), Arc::new(Notify::new()));
        let (is_up, is_cut) = (up.clone(), cut.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (is_up, is_cut) = (is_up.clone(), is_cut.clone());
                tokio::spawn(async move {
                    let until_cut = is_cut.notified();
                    if !is_up.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        () = until_cut => {}
                    }
                });
            }
        });
        Self { up, cut, port }
    }

    fn set(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
        if !up {
            self.cut.notify_waiters();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_the_database_is_away_is_stored_when_it_is_back() {
    let (port, url) = postgres::fresh();
    let wire = Wire::to(port).await;
    let store = Store::open(&url.replace(&port.to_string(), &wire.port.to_string())).await.unwrap();
    store.migrate().await.unwrap();
    let tenant = store.first_run(None).await.unwrap().tenant;
    let journal = Journal::start(store.clone(), JournalSettings::default());
    conversation(&journal, tenant, 1_000_000);
    journal.flush().await;
    assert!(store.answers().await);

    wire.set(false);
    for n in 0..20 {
        conversation(&journal, tenant, 2_000_000 + n);
    }
    while journal.counts().retries == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!store.answers().await);
    assert_eq!(journal.counts().backlog, 160);

    wire.set(true);
    journal.flush().await;
    let counts = journal.counts();
    assert_eq!((counts.stored, counts.backlog, counts.dropped, counts.refused), (168, 0, 0, 0));
    sqlx::any::install_default_drivers();
    let raw = sqlx::AnyPool::connect(&url).await.unwrap();
    let complete: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM calls WHERE status = 'completed' AND event_seq = 8 AND turns = 3")
            .fetch_one(&raw)
            .await
            .unwrap();
    assert_eq!(complete, 21);
    assert!(store.answers().await);
}

/// Ten calls are written while the store refuses them for what it is, not for what they are; then it takes them.
async fn taken_afterwards(db: &Db, heal: impl AsyncFnOnce()) {
    for n in 0..10 {
        conversation(&db.journal, db.tenant, 2_000_000 + n);
    }
    while db.journal.counts().retries == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
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
