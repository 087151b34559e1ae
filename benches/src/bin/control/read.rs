//! Times what a dashboard asks for.

use std::io::Write as _;
use std::time::{Duration, Instant};

use benches::histogram::Histogram;
use jiff::{SignedDuration, Timestamp};
use reqwest::Client;
use serde_json::Value;

use super::Failure;

/// What is asked, and under which name it stands in the table. `{call}`, `{cursor}` and `{deep}` come from the database.
const ROUTES: [(&str, &str); 22] = [
    ("calls, newest 50", "calls?limit=50"),
    ("calls, second page", "calls?limit=50&cursor={cursor}"),
    ("calls, far back", "calls?limit=50&created_before={deep}"),
    ("calls, by status", "calls?limit=50&status=failed"),
    ("calls, by a status nothing has", "calls?limit=50&status=canceled"),
    ("calls, by caller", "calls?limit=50&from=%2B12125552345"),
    ("calls, by end", "calls?limit=50&ended_reason=no_answer"),
    ("calls, live", "calls/active"),
    ("one call", "calls/{call}"),
    ("its transcript", "calls/{call}/transcript"),
    ("its events", "calls/{call}/events"),
    ("calls/stats, 30 days", "calls/stats?from={month}"),
    ("calls/stats by day, 90 days", "calls/stats?from={quarter}&group_by=day"),
    ("analytics/overview, 30 days", "analytics/overview?from={month}"),
    ("analytics/calls by day, 90 days", "analytics/calls?from={quarter}&bucket=day"),
    ("analytics/agents, 30 days", "analytics/agents?from={month}"),
    ("analytics/latency, 30 days", "analytics/latency?from={month}"),
    ("analytics/costs, 30 days", "analytics/costs?from={month}"),
    ("analytics/sentiment, 30 days", "analytics/sentiment?from={month}"),
    ("leads, newest 50", "leads?limit=50"),
    ("leads, by phone", "leads?limit=50&phone=%2B12125552345"),
    ("events, newest 50", "events?limit=50"),
];

struct Api {
    client: Client,
    base: String,
    key: String,
}

impl Api {
    fn new(base: &str, key: &str) -> Result<Self, Failure> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(120)).build()?;
        Ok(Self { client, base: format!("{base}/api/v1/"), key: key.to_owned() })
    }

    /// The answer's length; a refusal is an error.
    async fn ask(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let answer = self.client.get(format!("{}{path}", self.base)).bearer_auth(&self.key).send().await?;
        if !answer.status().is_success() {
            return Err(format!("{path}: {} {}", answer.status(), answer.text().await?).into());
        }
        Ok(answer.bytes().await?.to_vec())
    }

    /// The routes with their places filled from what is there.
    async fn routes(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let page: Value = serde_json::from_slice(&self.ask("calls?limit=50&status=completed").await?)?;
        let call = page["data"][0]["id"].as_str().ok_or("there are no calls; seed some first")?;
        let page: Value = serde_json::from_slice(&self.ask("calls?limit=50").await?)?;
        let cursor = page["next_cursor"].as_str().unwrap_or_default();
        let [deep, month, quarter] = [60, 30, 89].map(days_ago);
        let filled = |path: &str| {
            let path = path.replace("{call}", call).replace("{cursor}", cursor).replace("{deep}", &deep);
            path.replace("{month}", &month).replace("{quarter}", &quarter)
        };
        Ok(ROUTES.iter().map(|(name, path)| (*name, filled(path))).collect())
    }
}

/// Midnight so many days ago, RFC 3339.
fn days_ago(days: i64) -> String {
    let day = Timestamp::now() - SignedDuration::from_hours(24 * days);
    day.strftime("%Y-%m-%dT00:00:00Z").to_string()
}

/// A table row for each route: median and 99th percentile.
pub(super) async fn table(base: &str, key: &str, requests: u32) -> Result<(), Failure> {
    let api = Api::new(base, key)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "| route | p50 ms | p99 ms | KiB |\n|---|---|---|---|")?;
    for (name, path) in api.routes().await? {
        let mut times = Histogram::default();
        let mut bytes = api.ask(&path).await?.len();
        for _ in 0..requests {
            let began = Instant::now();
            bytes = api.ask(&path).await?.len();
            times.add(began.elapsed());
        }
        let kib = bytes as f64 / 1024.0;
        writeln!(out, "| {name} | {:.1} | {:.1} | {kib:.1} |", times.quantile_ms(0.5), times.quantile_ms(0.99))?;
    }
    Ok(())
}

/// Asks everything over and over; prints how much was answered.
pub(super) async fn load(base: &str, key: &str, seconds: u64) -> Result<(), Failure> {
    let api = std::sync::Arc::new(Api::new(base, key)?);
    let routes = std::sync::Arc::new(api.routes().await?);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut askers = tokio::task::JoinSet::new();
    for asker in 0..4 {
        let (api, routes) = (api.clone(), routes.clone());
        askers.spawn(async move {
            let mut answered = 0_u64;
            while Instant::now() < until {
                let (_, path) = &routes[(answered as usize + asker * 5) % routes.len()];
                if api.ask(path).await.is_ok() {
                    answered += 1;
                }
            }
            answered
        });
    }
    let answered: u64 = askers.join_all().await.iter().sum();
    writeln!(std::io::stdout(), "{answered} requests in {seconds} s")?;
    Ok(())
}
