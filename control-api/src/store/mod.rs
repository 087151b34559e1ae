//! The store: one SQL text for SQLite and PostgreSQL through sqlx's `Any` driver.
//!
//! Every function that reads tenant rows takes the tenant. A decision is one guarded statement, so READ COMMITTED is enough;
//! SQLite writers begin with `BEGIN IMMEDIATE` and therefore never fail half-way for a lock.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{Any, AnyPool, Row as _, Transaction};
use tokio::sync::{Semaphore, watch};

mod bell;
pub(crate) mod calls;
mod engine;
pub(crate) mod erase;
mod first_run;
pub(crate) mod idempotency;
pub(crate) mod keys;
pub(crate) mod many;
mod orphans;
pub(crate) mod page;
pub(crate) mod records;
mod taken;

pub(crate) use bell::Ear;
pub(crate) use engine::Engine;
use engine::{Checkpoints, Opened};
pub use first_run::FirstRun;
pub use taken::{Booking, Message, SlotTaken, TakeError};

/// Connections to a PostgreSQL where nothing else is said.
const CONNECTIONS: u32 = 16;

/// A connection pool to the installation's database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    writers: AnyPool,
    engine: Engine,
    _checkpoints: Option<Arc<Checkpoints>>,
    secret: Arc<OnceLock<[u8; 32]>>,
    bell: watch::Sender<u64>,
    changes: Arc<AtomicU64>,
    admissions: Arc<Semaphore>,
    /// Whose turn it is to wait for the one writer of a SQLite file.
    turns: Arc<Semaphore>,
}

/// Why the store cannot be used. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database that is supported.
    #[error("store url {url:?}: {reason}")]
    Url {
        /// The URL, its password blanked.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The database file cannot be made or written.
    #[error("cannot write database file {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database does not answer.
    #[error("cannot connect to {url}: {source}")]
    Connect {
        /// The URL, its password blanked.
        url: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The bootstrap key has not the form of a key.
    #[error("bootstrap key must begin with st_live_, have 20 to 200 characters, and only letters, digits and _")]
    BootstrapKey,
    /// A statement failed.
    #[error("database: {0}")]
    Sql(#[from] sqlx::Error),
}

impl Store {
    /// Opens `sqlite://PATH` (made if missing), `sqlite::memory:` or `postgres://…` with 16 connections.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, CONNECTIONS).await
    }

    /// The same with so many connections to a PostgreSQL; a SQLite file has one writer anyway.
    pub async fn open_with(url: &str, connections: u32) -> Result<Self, StoreError> {
        let Opened { engine, pool, writers, checkpoints } = engine::open(url, connections).await?;
        let seats = (pool.options().get_max_connections() / 2).max(1) as usize;
        Ok(Self {
            pool,
            writers,
            engine,
            _checkpoints: checkpoints.map(Arc::new),
            secret: Arc::new(OnceLock::new()),
            bell: watch::Sender::new(0),
            changes: Arc::default(),
            admissions: Arc::new(Semaphore::new(seats)),
            turns: Arc::new(Semaphore::new(1)),
        })
    }

    /// Brings the schema up to date. Safe to run by several nodes at once and again and again.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        Ok(sqlx::migrate!("./migrations").run(&self.pool).await?)
    }

    /// True while the database answers; for `/ready`.
    pub async fn answers(&self) -> bool {
        let ask = sqlx::query("SELECT 1").fetch_one(&self.pool);
        matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(_)))
    }

    /// Says that something has changed that calls are routed by: numbers, trunks, rules, agents, tenants. Called after the commit;
    /// the next call on this node sees the change.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// How often it changed on this node.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Closes the pool after what is under way.
    pub async fn close(&self) {
        self.pool.close().await;
        self.writers.close().await;
    }

    /// For reading.
    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// For single statements that write; transactions have [`Store::begin`].
    pub(crate) fn writers(&self) -> &AnyPool {
        &self.writers
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// Says that a transaction has committed which may have left events, jobs or deliveries: whoever waits for such looks now and not
    /// at its next poll.
    pub(crate) fn ring(&self) {
        self.bell.send_modify(|rings| *rings = rings.wrapping_add(1));
    }

    /// Hears every [`Store::ring`] of this process from now on; several rings may be heard as one.
    pub(crate) fn listen(&self) -> Ear<u64> {
        Ear::new(self.bell.subscribe())
    }

    /// Begins a transaction that will write. Where there is one writer, one such transaction at a time waits for it: those that calls wait
    /// for come in between.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        let _turn = match self.engine {
            Engine::Sqlite => {
                let turn = tokio::time::timeout(engine::PATIENCE, self.turns.acquire());
                Some(turn.await.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?)
            }
            Engine::Postgres => None,
        };
        self.begin_ahead().await
    }

    /// The same for what a call waits for.
    pub(crate) async fn begin_ahead(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.engine {
            Engine::Sqlite => self.writers.begin_with("BEGIN IMMEDIATE").await,
            Engine::Postgres => self.writers.begin().await,
        }
    }

    /// Seats for admissions: half of the connections, so that the journal and the API have the others.
    pub(crate) fn admissions(&self) -> &Semaphore {
        &self.admissions
    }

    /// The installation's secret for cursors and signed links. It grows from the oldest key's hash, which every node can read, no
    /// client knows, and nobody changes: so links survive restarts and work on all nodes without a further thing to configure.
    pub(crate) async fn secret(&self) -> Result<[u8; 32], sqlx::Error> {
        if let Some(secret) = self.secret.get() {
            return Ok(*secret);
        }
        let row =
            sqlx::query("SELECT key_hash FROM api_keys ORDER BY created_at, id LIMIT 1").fetch_one(&self.pool).await?;
        let hash: String = row.try_get(0)?;
        let mut seed = [0; 32];
        for (byte, letter) in seed.iter_mut().zip(hash.bytes()) {
            *byte = letter;
        }
        Ok(*self.secret.get_or_init(|| crate::seal::hmac(&seed, b"sidetone links and cursors")))
    }
}

/// Text that both databases take: PostgreSQL refuses NUL in TEXT.
pub(crate) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// JSON text that both databases take and that round-trips (`\u0000` inside JSON stays an escape, so nothing is lost).
pub(crate) fn json_text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".into())
}

pub(crate) fn fresh_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unwritable_path_is_one_clear_line() {
        let error = Store::open("sqlite:///proc/nowhere/sidetone.db").await.unwrap_err();
        assert!(error.to_string().starts_with("cannot write database file /proc/nowhere/sidetone.db: "), "{error}");
    }

    #[tokio::test]
    async fn other_databases_and_empty_paths_are_refused_and_passwords_hidden() {
        let error = Store::open("mysql://root:hunter2@localhost/x").await.unwrap_err().to_string();
        assert!(error.contains("not sqlite:// or postgres://") && !error.contains("hunter2"), "{error}");
        assert!(Store::open("sqlite://").await.unwrap_err().to_string().contains("no file named"));
    }
}
