//! Measures a running control plane from outside: seeds its database with ended calls, then times its lists and sums over HTTP.
//!
//! `scripts/bench-control` starts the server and a PostgreSQL for it and prints the tables of `benches/README.md`.

mod admit;
mod read;
mod seed;

use clap::{Parser, Subcommand};

type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fills the calls, legs, recordings, turns, leads and roll-ups of the tenant `default`, up to so many calls.
    Seed {
        /// `sqlite://…` or `postgres://…`, migrated already by the server.
        #[arg(long)]
        database: String,
        /// Calls in the end.
        #[arg(long)]
        calls: i64,
    },
    /// Opens and settles leases at a store without a server; prints admissions a second, deadlocks and broken invariants.
    Admit {
        /// `sqlite://…` or `postgres://…`.
        #[arg(long)]
        database: String,
        /// Connections, and as many who ask.
        #[arg(long, default_value_t = 24)]
        connections: u32,
        /// Tenants among whom they are spread.
        #[arg(long, default_value_t = 1)]
        tenants: u32,
        /// How long.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// Asks every list, statistics and analytics route, one request after the other.
    Read {
        /// `http://host:port`.
        #[arg(long)]
        api: String,
        /// An API key.
        #[arg(long)]
        key: String,
        /// Requests to each route.
        #[arg(long, default_value_t = 200)]
        requests: u32,
        /// Goes on for so many seconds instead, four requests at a time, and prints only how many were answered: a load for others.
        #[arg(long)]
        seconds: Option<u64>,
    },
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    match Arguments::parse().command {
        Command::Admit { database, connections, tenants, seconds } => {
            admit::run(admit::Load { database, connections, tenants, seconds }).await
        }
        Command::Seed { database, calls } => seed::fill(&database, calls).await,
        Command::Read { api, key, requests, seconds: None } => read::table(&api, &key, requests).await,
        Command::Read { api, key, seconds: Some(seconds), .. } => read::load(&api, &key, seconds).await,
    }
}
