//! The control plane on both of its databases: every test runs on SQLite and on a PostgreSQL that the suite starts itself.
#![allow(clippy::unwrap_used)]

mod accounts;
mod after;
mod agents;
mod analytics;
mod billing;
mod bus;
mod calls;
mod compat;
mod conventions;
mod credentials;
mod db;
mod doors;
mod events;
mod fake;
mod forty;
mod invariants;
mod jobs;
mod journal;
mod knowledge;
mod leads;
mod listen;
mod live;
mod mail;
mod money;
mod nodes;
mod oauth;
mod outage;
mod outbox;
mod payments;
mod people;
mod person;
#[allow(dead_code, unreachable_pub, reason = "the tests of whole calls use it too, and stop it and start it again")]
mod postgres;
mod recordings;
mod retention;
mod routing;
mod scheduled;
mod store;
mod tools;
mod traces;
mod walk;
mod watch;
mod webhooks;
mod ws;
