//! Which database it is, and how its connections are made.
//!
//! SQLite lets one connection write at a time, and whoever finds it taken sleeps and tries again, with luck. So the writers of this
//! process queue for one connection, first come first served; it keeps its page cache, too. And it never pays for a checkpoint: what
//! the write-ahead log holds is moved into the file, with the disk's own time, beside the calls (<https://www.sqlite.org/wal.html>).

use std::{path::Path, time::Duration};

use sqlx::{AnyPool, Row as _, any::AnyPoolOptions};
use tokio::task::AbortHandle;

use super::StoreError;

/// How long anybody waits for a connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Readers of a SQLite file.
const READERS: u32 = 8;
/// How often the write-ahead log is moved into the file.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// From so many pages (of 4 KiB) on the log has to begin anew, for which writers wait a moment.
const LONG_LOG: i64 = 16_384;

/// Which database speaks behind the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
}

/// An open database.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) engine: Engine,
    pub(super) pool: AnyPool,
    /// Where transactions that write get their connections.
    pub(super) writers: AnyPool,
    pub(super) checkpoints: Option<Checkpoints>,
}

/// Opens `sqlite://PATH` (made if missing), `sqlite::memory:` or `postgres://…`.
pub(super) async fn open(url: &str, connections: u32) -> Result<Opened, StoreError> {
    sqlx::any::install_default_drivers();
    let refuse = |reason| StoreError::Url { url: blank_password(url), reason };
    let failed = |source| StoreError::Connect { url: blank_password(url), source };
    let options = AnyPoolOptions::new().acquire_timeout(PATIENCE);
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let pool = options.max_connections(connections.max(2)).connect(url).await.map_err(failed)?;
        return Ok(Opened { engine: Engine::Postgres, writers: pool.clone(), pool, checkpoints: None });
    }
    let Some(rest) = url.strip_prefix("sqlite:") else { return Err(refuse("not sqlite:// or postgres://")) };
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let options = pragmas(options);
    let engine = Engine::Sqlite;
    if path == ":memory:" {
        // Each connection would be a database of its own.
        let options = options.max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = options.connect("sqlite::memory:").await.map_err(failed)?;
        return Ok(Opened { engine, writers: pool.clone(), pool, checkpoints: None });
    }
    if path.is_empty() {
        return Err(refuse("no file named"));
    }
    writable(Path::new(path))?;
    let target = format!("sqlite://{path}?mode=rwc");
    let writers = options.clone().max_connections(1).connect(&target).await.map_err(failed)?;
    let pool = options.max_connections(READERS).connect(&target).await.map_err(failed)?;
    let checkpoints = Some(Checkpoints::begin(pool.clone(), writers.clone()));
    Ok(Opened { engine, pool, writers, checkpoints })
}

fn pragmas(options: AnyPoolOptions) -> AnyPoolOptions {
    options.after_connect(|connection, _| {
        Box::pin(async move {
            for pragma in [
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = NORMAL",
                "PRAGMA wal_autocheckpoint = 0",
                "PRAGMA foreign_keys = ON",
                "PRAGMA busy_timeout = 5000",
            ] {
                sqlx::raw_sql(pragma).execute(&mut *connection).await?;
            }
            Ok(())
        })
    })
}

/// The task that keeps the write-ahead log of a SQLite file short. What is left at the end the last connection moves as it closes.
#[derive(Debug)]
pub(super) struct Checkpoints(AbortHandle);

impl Checkpoints {
    fn begin(pool: AnyPool, writers: AnyPool) -> Self {
        let task = async move {
            let mut again = tokio::time::interval(CHECKPOINT);
            loop {
                again.tick().await;
                // Passive: it waits for nobody, and nobody waits for it.
                match checkpoint(&pool, "PRAGMA wal_checkpoint(PASSIVE)").await {
                    Ok(pages) if pages < LONG_LOG => continue,
                    Ok(_) => {}
                    Err(sqlx::Error::PoolClosed) => return,
                    Err(error) => tracing::warn!(%error, "cannot move the database's log into its file, trying again"),
                }
                if let Err(error) = checkpoint(&writers, "PRAGMA wal_checkpoint(RESTART)").await {
                    tracing::warn!(%error, "cannot begin the database's log anew, trying again");
                }
            }
        };
        Self(tokio::spawn(task).abort_handle())
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Moves what can be moved; how many pages the log has.
async fn checkpoint(pool: &AnyPool, pragma: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query(pragma).fetch_one(pool).await?.try_get(1)
}

/// Proves that the file and its folder can be written, so that the error is the system's own and names the path.
fn writable(path: &Path) -> Result<(), StoreError> {
    let unwritable = |source| StoreError::Unwritable { path: path.to_owned(), source };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(unwritable)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(unwritable)?;
    Ok(())
}

fn blank_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((credentials, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = credentials.split(':').next().unwrap_or_default();
    format!("{scheme}://{user}:…@{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_blanked_even_when_it_holds_an_at_sign() {
        assert_eq!(blank_password("postgres://me:p@ss@db/x"), "postgres://me:…@db/x");
    }

    #[tokio::test]
    async fn the_log_is_moved_into_the_file_and_its_writers_queue() {
        let folder = std::env::temp_dir().join(format!("sidetone-engine-{}", crate::store::fresh_id()));
        let url = format!("sqlite://{}/s.db", folder.display());
        let opened = open(&url, 0).await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (n BIGINT NOT NULL)").execute(&opened.writers).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..64_i64 {
            let writers = opened.writers.clone();
            tasks.spawn(async move {
                let mut tx = writers.begin_with("BEGIN IMMEDIATE").await.unwrap();
                let sql = "INSERT INTO t (n) SELECT COUNT(*) FROM t WHERE $1 >= 0";
                sqlx::query(sql).bind(n).execute(&mut *tx).await.unwrap();
                tx.commit().await.unwrap();
            });
        }
        tasks.join_all().await;
        let row = sqlx::query("SELECT COUNT(DISTINCT n), MAX(n) FROM t").fetch_one(&opened.pool).await.unwrap();
        assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1)), (64, 63));
        let long = checkpoint(&opened.writers, "PRAGMA wal_checkpoint(RESTART)").await.unwrap();
        sqlx::raw_sql("INSERT INTO t (n) VALUES (64)").execute(&opened.writers).await.unwrap();
        let anew = checkpoint(&opened.pool, "PRAGMA wal_checkpoint(PASSIVE)").await.unwrap();
        assert!(0 < anew && anew < 5 && 64 < long, "{long} pages, then {anew}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
