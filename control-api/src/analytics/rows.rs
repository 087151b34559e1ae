//! Rows of the roll-ups, and what they add up to.

use std::collections::BTreeMap;

use domain::TenantId;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row as _};
use utoipa::ToSchema;

use super::{Histogram, Range};
use crate::{Store, after::analysis::Findings};

/// A row of `call_rollup`.
#[derive(Clone, Debug)]
pub(crate) struct Hour {
    pub(crate) at_ms: i64,
    pub(crate) agent: String,
    pub(crate) direction: String,
    pub(crate) outcome: String,
    pub(crate) tally: Tally,
}

/// Sums over calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) calls: i64,
    pub(crate) answered: i64,
    pub(crate) duration_ms: i64,
    pub(crate) charged_micros: i64,
    pub(crate) vendor_micros: i64,
    pub(crate) positive: i64,
    pub(crate) neutral: i64,
    pub(crate) negative: i64,
    pub(crate) success: i64,
}

/// How the callers sounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Sentiment {
    pub(crate) positive: i64,
    pub(crate) neutral: i64,
    pub(crate) negative: i64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.answered += other.answered;
        self.duration_ms += other.duration_ms;
        self.charged_micros += other.charged_micros;
        self.vendor_micros += other.vendor_micros;
        self.positive += other.positive;
        self.neutral += other.neutral;
        self.negative += other.negative;
        self.success += other.success;
    }

    /// Of all calls.
    pub(crate) fn answered_pct(&self) -> Option<f64> {
        percent(self.answered, self.calls)
    }

    /// Of the calls that were judged, which are those with a sentiment.
    pub(crate) fn success_pct(&self) -> Option<f64> {
        percent(self.success, self.positive + self.neutral + self.negative)
    }

    /// Of an answered call.
    pub(crate) fn average_ms(&self) -> Option<i64> {
        (self.answered > 0).then(|| self.duration_ms / self.answered)
    }

    pub(crate) fn minutes(&self) -> f64 {
        (self.duration_ms as f64 / 600.0).round() / 100.0
    }

    pub(crate) fn sentiment(&self) -> Sentiment {
        Sentiment { positive: self.positive, neutral: self.neutral, negative: self.negative }
    }
}

/// With one decimal.
pub(crate) fn percent(part: i64, whole: i64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 * 1000.0 / whole as f64).round() / 10.0)
}

/// An agent's version, side by side with the others.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Versions {
    pub(crate) agent_id: Option<String>,
    pub(crate) version: Option<i64>,
    pub(crate) calls: i64,
    pub(crate) success_pct: Option<f64>,
    pub(crate) avg_duration_ms: Option<i64>,
    pub(crate) interruptions_per_call: f64,
    pub(crate) transfers_pct: Option<f64>,
    pub(crate) v2v_p50_ms: Option<i64>,
    pub(crate) charged_micros: i64,
    pub(crate) sentiment: Sentiment,
}

impl Store {
    /// The tenant's time zone.
    pub(crate) async fn place(&self, tenant: TenantId) -> Result<String, sqlx::Error> {
        sqlx::query("SELECT timezone FROM tenants WHERE id = $1")
            .bind(tenant.to_string())
            .fetch_one(self.pool())
            .await?
            .try_get(0)
    }

    /// The hours of a range.
    pub(crate) async fn hours(
        &self,
        tenant: TenantId,
        livemode: bool,
        range: &Range,
    ) -> Result<Vec<Hour>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT hour_at, agent_id, direction, outcome, calls, answered, duration_ms, charged_micros, vendor_micros, positive,
               neutral, negative, success FROM call_rollup
             WHERE tenant_id = $1 AND livemode = $2 AND hour_at >= $3 AND hour_at < $4 AND ($5 = '' OR agent_id = $5)
             ORDER BY hour_at, agent_id, direction, outcome",
        )
        .bind(tenant.to_string())
        .bind(i64::from(livemode))
        .bind(range.from_ms - range.from_ms.rem_euclid(3_600_000))
        .bind(range.to_ms)
        .bind(range.agent.clone().unwrap_or_default())
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Hour {
                    at_ms: row.try_get(0)?,
                    agent: row.try_get(1)?,
                    direction: row.try_get(2)?,
                    outcome: row.try_get(3)?,
                    tally: Tally {
                        calls: row.try_get(4)?,
                        answered: row.try_get(5)?,
                        duration_ms: row.try_get(6)?,
                        charged_micros: row.try_get(7)?,
                        vendor_micros: row.try_get(8)?,
                        positive: row.try_get(9)?,
                        neutral: row.try_get(10)?,
                        negative: row.try_get(11)?,
                        success: row.try_get(12)?,
                    },
                })
            })
            .collect()
    }

    /// Histograms of the days that a range touches, by stage, provider and day.
    pub(crate) async fn latencies(
        &self,
        tenant: TenantId,
        range: &Range,
    ) -> Result<BTreeMap<(String, String, String), Histogram>, sqlx::Error> {
        let (first, last) = range.days();
        let rows = sqlx::query(
            "SELECT stage, provider, day, bucket, CAST(SUM(count) AS BIGINT) FROM latency_rollup
             WHERE tenant_id = $1 AND day >= $2 AND day <= $3 AND ($4 = '' OR agent_id = $4) GROUP BY stage, provider, day, bucket",
        )
        .bind(tenant.to_string())
        .bind(first)
        .bind(last)
        .bind(range.agent.clone().unwrap_or_default())
        .fetch_all(self.pool())
        .await?;
        let mut found: BTreeMap<_, Histogram> = BTreeMap::new();
        for row in rows {
            let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            found.entry(key).or_default().add(row.try_get(3)?, row.try_get(4)?);
        }
        Ok(found)
    }

    /// Calls that have not ended.
    pub(crate) async fn active(&self, tenant: TenantId, livemode: bool) -> Result<i64, sqlx::Error> {
        sqlx::query("SELECT COUNT(*) FROM calls WHERE tenant_id = $1 AND livemode = $2 AND ended_at IS NULL AND scheduled_at IS NULL")
            .bind(tenant.to_string())
            .bind(i64::from(livemode))
            .fetch_one(self.pool())
            .await?
            .try_get(0)
    }

    /// How callers sounded who spoke of a topic, the most frequent topics first, of the newest hundred thousand analyses.
    pub(crate) async fn topics(
        &self,
        tenant: TenantId,
        livemode: bool,
        range: &Range,
    ) -> Result<Vec<(String, Sentiment)>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT a.result, c.sentiment FROM calls c JOIN call_analyses a ON a.call_id = c.id AND a.state = 'done'
               AND a.revision = (SELECT MAX(b.revision) FROM call_analyses b WHERE b.call_id = c.id AND b.state = 'done')
             WHERE c.tenant_id = $1 AND c.livemode = $2 AND c.created_at >= $3 AND c.created_at < $4 AND ($5 = '' OR c.agent_id = $5)
               AND c.sentiment IS NOT NULL ORDER BY c.created_at DESC LIMIT 100000",
        )
        .bind(tenant.to_string())
        .bind(i64::from(livemode))
        .bind(range.from_ms)
        .bind(range.to_ms)
        .bind(range.agent.clone().unwrap_or_default())
        .fetch_all(self.pool())
        .await?;
        let mut topics: BTreeMap<String, Sentiment> = BTreeMap::new();
        for row in rows {
            let result: Option<String> = row.try_get(0)?;
            let findings: Findings = result.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            let sentiment: String = row.try_get(1)?;
            for topic in findings.topics {
                let counts = topics.entry(topic).or_default();
                match sentiment.as_str() {
                    "positive" => counts.positive += 1,
                    "negative" => counts.negative += 1,
                    _ => counts.neutral += 1,
                }
            }
        }
        let mut topics: Vec<_> = topics.into_iter().collect();
        topics.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.positive + counts.neutral + counts.negative));
        topics.truncate(50);
        Ok(topics)
    }

    /// Agents and their versions. The roll-ups know no versions, so this reads the calls themselves.
    pub(crate) async fn versions(
        &self,
        tenant: TenantId,
        livemode: bool,
        range: &Range,
    ) -> Result<Vec<Versions>, sqlx::Error> {
        const WHERE: &str = "c.tenant_id = $1 AND c.livemode = $2 AND c.created_at >= $3 AND c.created_at < $4 AND c.ended_at IS NOT NULL
            AND ($5 = '' OR c.agent_id = $5)";
        let ask = |sql: String| {
            sqlx::query(AssertSqlSafe(sql))
                .bind(tenant.to_string())
                .bind(i64::from(livemode))
                .bind(range.from_ms)
                .bind(range.to_ms)
                .bind(range.agent.clone().unwrap_or_default())
        };
        let count =
            |condition: &str| format!("CAST(COALESCE(SUM(CASE WHEN {condition} THEN 1 ELSE 0 END), 0) AS BIGINT)");
        let sums = format!(
            "SELECT c.agent_id, c.agent_version, COUNT(*), {}, {}, CAST(COALESCE(SUM(c.duration_ms), 0) AS BIGINT), {}, {}, {}, {}, {},
               CAST(COALESCE(SUM(c.charged_micros), 0) AS BIGINT)
             FROM calls c WHERE {WHERE} GROUP BY c.agent_id, c.agent_version ORDER BY 3 DESC, 1, 2",
            count("c.success = 1"),
            count("c.success IS NOT NULL"),
            count("c.answered_at IS NOT NULL"),
            count("c.ended_reason = 'transferred'"),
            count("c.sentiment = 'positive'"),
            count("c.sentiment = 'neutral'"),
            count("c.sentiment = 'negative'"),
        );
        let cut = format!(
            "SELECT c.agent_id, c.agent_version, CAST(COALESCE(SUM(t.interrupted), 0) AS BIGINT) FROM calls c JOIN turns t ON t.call_id = c.id
             WHERE {WHERE} GROUP BY c.agent_id, c.agent_version"
        );
        // The middle of the calls' own medians.
        let middle = format!(
            "SELECT c.agent_id, c.agent_version, c.v2v_p50_ms FROM calls c WHERE {WHERE} AND c.v2v_p50_ms IS NOT NULL
             ORDER BY c.v2v_p50_ms LIMIT 200000"
        );
        type Key = (Option<String>, Option<i64>);
        let mut interruptions: BTreeMap<Key, i64> = BTreeMap::new();
        for row in ask(cut).fetch_all(self.pool()).await? {
            interruptions.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
        }
        let mut v2v: BTreeMap<Key, Vec<i64>> = BTreeMap::new();
        for row in ask(middle).fetch_all(self.pool()).await? {
            v2v.entry((row.try_get(0)?, row.try_get(1)?)).or_default().push(row.try_get(2)?);
        }
        let rows = ask(sums).fetch_all(self.pool()).await?;
        rows.iter()
            .map(|row| {
                let key: Key = (row.try_get(0)?, row.try_get(1)?);
                let (calls, answered): (i64, i64) = (row.try_get(2)?, row.try_get(6)?);
                let sorted = v2v.get(&key).map(Vec::as_slice).unwrap_or_default();
                let cuts = interruptions.get(&key).copied().unwrap_or(0);
                Ok(Versions {
                    calls,
                    success_pct: percent(row.try_get(3)?, row.try_get(4)?),
                    avg_duration_ms: (answered > 0).then_some(row.try_get::<i64, _>(5)? / answered.max(1)),
                    interruptions_per_call: (cuts as f64 * 100.0 / calls.max(1) as f64).round() / 100.0,
                    transfers_pct: percent(row.try_get(7)?, answered),
                    v2v_p50_ms: sorted.get(sorted.len().saturating_sub(1) / 2).copied(),
                    charged_micros: row.try_get(11)?,
                    sentiment: Sentiment {
                        positive: row.try_get(8)?,
                        neutral: row.try_get(9)?,
                        negative: row.try_get(10)?,
                    },
                    agent_id: key.0,
                    version: key.1,
                })
            })
            .collect()
    }
}
