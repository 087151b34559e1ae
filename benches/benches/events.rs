//! How many events a second go through the journal into the database, and from there, numbered, to everyone who watches.
//!
//! `SIDETONE_BENCH_STORE=postgres://…/empty_database cargo bench -p benches --bench events`; without it a SQLite file in memory-backed
//! or temporary storage is measured. The database is left as it is afterwards, so give it one that nobody needs.
#![allow(missing_docs)]

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use control_api::{Background, BackgroundSettings, Entry, Journal, JournalSettings, NewCall, Store, now_ms};
use domain::{BootId, CallId, Channel, Direction, TenantId, event::Name};
use serde_json::{Map, json};

/// Calls that events belong to, as many as are up at once on a busy node.
const CALLS: usize = 100;
/// Events of a run.
const EVENTS: usize = 40_000;
/// Runs; the median counts.
const RUNS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Cargo asks every bench for its list when tests run.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return Ok(());
    }
    tokio::runtime::Runtime::new()?.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("sidetone-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let url = std::env::var("SIDETONE_BENCH_STORE")
        .unwrap_or_else(|_| format!("sqlite://{}?mode=rwc", folder.join("bench.db").display()));
    let store = Store::open(&url).await?;
    store.migrate().await?;
    let tenant = store.first_run(None).await?.tenant;
    let journal = Journal::start(store.clone(), JournalSettings::default());
    let calls: Vec<_> = (0..CALLS).map(|_| CallId(uuid::Uuid::now_v7())).collect();
    for call in &calls {
        journal.write(*call, Entry::Created(Box::new(created(tenant))));
    }
    journal.flush().await;

    let mut ingested = Vec::new();
    for _ in 0..RUNS {
        let begun = Instant::now();
        write(&journal, &calls);
        journal.flush().await;
        ingested.push(rate(begun.elapsed()));
    }
    say("into the database, by one journal", &mut ingested)?;

    // What waits is numbered first, then the same again while the publisher runs beside the journal.
    let begun = Instant::now();
    let background =
        Background::start(&store, BackgroundSettings { node: "bench".into(), ..Default::default() }).await?;
    let waiting = (EVENTS * RUNS) as i64;
    let head = async |wanted: i64| {
        while background.hub().seen() < wanted {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    head(waiting).await;
    let mut published = vec![waiting as f64 / begun.elapsed().as_secs_f64()];
    say("numbered and shown, a backlog", &mut published)?;
    let mut both = Vec::new();
    let mut wanted = background.hub().seen();
    for _ in 0..RUNS {
        let begun = Instant::now();
        write(&journal, &calls);
        wanted += EVENTS as i64;
        head(wanted).await;
        both.push(rate(begun.elapsed()));
    }
    say("from the journal to watchers", &mut both)?;
    background.stop(Duration::from_secs(5)).await;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn write(journal: &Journal, calls: &[CallId]) {
    for n in 0..EVENTS {
        let data = json!({"digit": "5", "ms": 120, "via": "rfc4733"});
        journal.write(calls[n % calls.len()], Entry::Event { name: Name::DtmfReceived, data });
    }
}

fn rate(took: Duration) -> f64 {
    EVENTS as f64 / took.as_secs_f64()
}

fn say(what: &str, rates: &mut [f64]) -> std::io::Result<()> {
    rates.sort_by(f64::total_cmp);
    writeln!(std::io::stdout(), "{what}: {:.0} events/s", rates[rates.len() / 2])
}

fn created(tenant: TenantId) -> NewCall {
    NewCall {
        tenant,
        livemode: true,
        channel: Channel::Sip,
        direction: Direction::Inbound,
        from: "+12125550123".to_owned().into(),
        to: "sip:demo@127.0.0.1".to_owned().into(),
        verified: None,
        number_id: None,
        trunk_id: None,
        agent_id: None,
        agent_version: None,
        config: None,
        variables: Map::new(),
        metadata: Map::new(),
        sip_call_id: None,
        node_id: "bench".into(),
        boot_id: BootId(uuid::Uuid::nil()),
        created_at_ms: now_ms(),
        scheduled: false,
    }
}
