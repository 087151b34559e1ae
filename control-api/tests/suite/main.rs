//! The control plane on both of its databases: every test runs on SQLite and on a PostgreSQL that the suite starts itself.
#![allow(clippy::unwrap_used)]

mod accounts;
mod after;
mod analytics;
mod billing;
mod calls;
mod compat;
mod conventions;
mod db;
mod doors;
mod events;
mod fake;
mod invariants;
mod jobs;
mod journal;
mod leads;
mod mail;
mod money;
mod nodes;
mod oauth;
mod outage;
mod outbox;
mod payments;
mod people;
mod person;
mod postgres;
mod recordings;
mod retention;
mod routing;
mod store;
mod walk;
mod watch;
mod webhooks;
mod ws;
