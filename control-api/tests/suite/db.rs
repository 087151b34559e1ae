//! A fresh database per test, on either engine.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use control_api::{Journal, JournalSettings, Store};
use domain::TenantId;
use sqlx::{Any, AnyPool, Transaction, any::AnyPoolOptions};

/// The key of the default tenant in every test.
pub(crate) const KEY: &str = "st_live_Test0000_000000000000000000000000000000";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// An opened, migrated store with its first tenant, and a raw pool beside it to look behind the curtain.
pub(crate) struct Db {
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) tenant: TenantId,
    pub(crate) raw: AnyPool,
    pub(crate) folder: PathBuf,
    pub(crate) url: String,
    engine: Engine,
}

static FOLDERS: AtomicU32 = AtomicU32::new(0);

pub(crate) fn folder() -> PathBuf {
    let n = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("sidetone-api-{}-{n}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn url(engine: Engine, folder: &std::path::Path) -> String {
    match engine {
        Engine::Sqlite => format!("sqlite://{}", folder.join("data/sidetone.db").display()),
        Engine::Postgres => super::postgres::fresh().1,
    }
}

impl Db {
    pub(crate) async fn open(engine: Engine) -> Self {
        let folder = folder();
        let url = url(engine, &folder);
        let store = Store::open(&url).await.unwrap();
        store.migrate().await.unwrap();
        let tenant = store.first_run(Some(KEY)).await.unwrap().tenant;
        let raw = AnyPoolOptions::new().max_connections(4).connect(&url).await.unwrap();
        let journal = Journal::start(store.clone(), JournalSettings::default());
        Self { store, journal, tenant, raw, folder, url, engine }
    }

    /// A transaction that will write.
    pub(crate) async fn begin(&self) -> Transaction<'static, Any> {
        match self.engine {
            Engine::Sqlite => self.raw.begin_with("BEGIN IMMEDIATE").await.unwrap(),
            Engine::Postgres => self.raw.begin().await.unwrap(),
        }
    }

    /// Runs a statement behind the store's back.
    pub(crate) async fn run(&self, sql: &str) -> u64 {
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.raw).await.unwrap().rows_affected()
    }

    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.raw).await.unwrap()
    }

    /// Waits until a number is what it should become.
    pub(crate) async fn eventually(&self, sql: &'static str, wanted: i64) {
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while self.number(sql).await != wanted {
            assert!(tokio::time::Instant::now() < deadline, "{sql} does not become {wanted}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Makes of each `async fn name(db: Db)` two tests: `name::sqlite` and `name::postgres`.
macro_rules! on_both {
    ($($(#[$attr:meta])* async fn $name:ident($db:ident) $body:block)+) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn body($db: crate::db::Db) $body

            $(#[$attr])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                body(crate::db::Db::open(crate::db::Engine::Sqlite).await).await;
            }

            $(#[$attr])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                body(crate::db::Db::open(crate::db::Engine::Postgres).await).await;
            }
        }
    )+};
}
pub(crate) use on_both;
