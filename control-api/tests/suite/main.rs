//! The control plane on both of its databases: every test runs on SQLite and on a PostgreSQL that the suite starts itself.
#![allow(clippy::unwrap_used)]

mod calls;
mod db;
mod doors;
mod fake;
mod invariants;
mod journal;
mod outage;
mod postgres;
mod recordings;
mod store;
mod watch;
