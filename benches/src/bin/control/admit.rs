//! Times admissions: a lease opened and settled, again and again, by many at once, straight at the store.

use std::io::Write as _;
use std::time::{Duration, Instant};

use benches::histogram::Histogram;
use control_api::{Adjustment, Admission, Item, Movement, Store, now_ms};
use domain::{BootId, CallId, TenantId};
use sqlx::{AnyPool, Row as _};
use uuid::Uuid;

use super::Failure;

/// What is done.
#[derive(Debug)]
pub(crate) struct Load {
    /// Migrated here, if it is not yet.
    pub(crate) database: String,
    /// Connections, and as many who ask.
    pub(crate) connections: u32,
    /// Whose purses are asked: 1 is the hottest row that there can be.
    pub(crate) tenants: u32,
    pub(crate) seconds: u64,
}

/// What one asker saw.
#[derive(Debug, Default)]
struct Seen {
    admitted: Histogram,
    settled: Histogram,
    failures: u64,
}

pub(crate) async fn run(load: Load) -> Result<(), Failure> {
    // Half of the connections admit, as in the server; so all of `connections` do.
    let store = Store::open_with(&load.database, load.connections * 2).await?;
    store.migrate().await?;
    store.first_run(None).await?;
    let raw = AnyPool::connect(&load.database).await?;
    sqlx::query("UPDATE rates SET unit_micros = 150000 WHERE item = 'voice_in'").execute(&raw).await?;
    let mut tenants = Vec::new();
    for _ in 0..load.tenants.max(1) {
        tenants.push(tenant(&store, &raw).await?);
    }
    let before = deadlocks(&raw).await;
    let (began, until) = (Instant::now(), Instant::now() + Duration::from_secs(load.seconds));
    let askers: Vec<_> = (0..load.connections as usize)
        .map(|n| tokio::spawn(ask(store.clone(), tenants[n % tenants.len()], until)))
        .collect();
    let mut all = Seen::default();
    for asker in askers {
        let seen = asker.await?;
        all.admitted.merge(&seen.admitted);
        all.settled.merge(&seen.settled);
        all.failures += seen.failures;
    }
    let a_second = |count: u64| (count as f64 / began.elapsed().as_secs_f64()).round();
    let (admitted, settled) = (all.admitted.count(), all.settled.count());
    let broken = store.check_invariants(now_ms()).await?;
    let report = serde_json::json!({
        "connections": load.connections,
        "tenants": load.tenants,
        "admissions_per_s": a_second(admitted),
        "money_transactions_per_s": a_second(admitted + settled),
        "admit_ms": {"p50": all.admitted.quantile_ms(0.5), "p99": all.admitted.quantile_ms(0.99)},
        "settle_ms": {"p50": all.settled.quantile_ms(0.5), "p99": all.settled.quantile_ms(0.99)},
        "failures": all.failures,
        "deadlocks": deadlocks(&raw).await - before,
        // An installation has no owner before somebody signs up (T2).
        "broken": broken.iter().map(|broken| broken.name).filter(|name| *name != "T2").collect::<Vec<_>>(),
    });
    Ok(writeln!(std::io::stdout(), "{report:#}")?)
}

/// A tenant that runs out of nothing.
async fn tenant(store: &Store, raw: &AnyPool) -> Result<TenantId, Failure> {
    let id = TenantId(Uuid::now_v7());
    sqlx::query(
        "INSERT INTO tenants (id, name, slug, rate_plan_id, max_calls, created_at, updated_at)
         SELECT $1, 'Bench', $1, rate_plan_id, 100000, 1, 1 FROM tenants WHERE slug = 'default'",
    )
    .bind(id.to_string())
    .execute(raw)
    .await?;
    let movement = Movement {
        tenant: id,
        livemode: true,
        amount_micros: 1_000_000_000_000,
        idem_key: format!("bench:{id}"),
        memo: "bench".into(),
        actor: "bench".into(),
        at_ms: now_ms(),
    };
    store.adjust(Adjustment::Promo, &movement).await?;
    Ok(id)
}

async fn ask(store: Store, tenant: TenantId, until: Instant) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < until {
        let admission = Admission {
            tenant,
            livemode: true,
            call: CallId(Uuid::now_v7()),
            item: Item::VoiceIn,
            address: "+12125550100".into(),
            number: None,
            node: "bench".into(),
            boot: BootId(Uuid::nil()),
            max_cost_micros: None,
        };
        let began = Instant::now();
        let Ok(grant) = store.admit(&admission, now_ms()).await else {
            seen.failures += 1;
            continue;
        };
        seen.admitted.add(began.elapsed());
        let began = Instant::now();
        match store.release(&grant.token, 30_000, &[], now_ms()).await {
            Ok(Some(75_000)) => seen.settled.add(began.elapsed()),
            _ => seen.failures += 1,
        }
    }
    seen
}

/// How many the PostgreSQL has seen; none in SQLite, which has one writer.
async fn deadlocks(raw: &AnyPool) -> i64 {
    let row = sqlx::query("SELECT CAST(deadlocks AS BIGINT) FROM pg_stat_database WHERE datname = current_database()");
    row.fetch_one(raw).await.and_then(|row| row.try_get(0)).unwrap_or(0)
}
