//! Rows of the roll-ups, and what they add up to.

use std::collections::BTreeMap;

use domain::TenantId;
use serde::Serialize;
use sqlx::{AssertSqlSafe, Row as _, any::AnyRow};
use utoipa::ToSchema;

use super::{Bucket, Histogram, Range};
use crate::Store;

/// Calls that have something in common: as much of it as the [`Cut`] keeps apart; the rest is empty or 0.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// The first hour in it.
    pub(crate) hour_ms: i64,
    pub(crate) agent: String,
    pub(crate) version: i64,
    pub(crate) direction: String,
    pub(crate) outcome: String,
    pub(crate) tally: Tally,
}

/// How finely calls are kept apart in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grain {
    Whole,
    /// The days of the range's time zone.
    Day,
    Hour,
}

/// What calls are kept apart by. The database sums up the rest: fewer rows are read the less is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) time: Grain,
    pub(crate) agent: bool,
    pub(crate) version: bool,
    pub(crate) direction: bool,
    pub(crate) outcome: bool,
}

impl Cut {
    pub(crate) const NONE: Self =
        Self { time: Grain::Whole, agent: false, version: false, direction: false, outcome: false };
    pub(crate) const AGENT: Self = Self { agent: true, ..Self::NONE };
    pub(crate) const OUTCOME: Self = Self { outcome: true, ..Self::NONE };

    /// What either keeps apart.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            time: self.time.max(other.time),
            agent: self.agent || other.agent,
            version: self.version || other.version,
            direction: self.direction || other.direction,
            outcome: self.outcome || other.outcome,
        }
    }

    /// Rows of these steps of a series.
    pub(crate) fn every(bucket: Bucket) -> Self {
        let time = if bucket == Bucket::Hour { Grain::Hour } else { Grain::Day };
        Self { time, ..Self::NONE }
    }

    /// What is selected for each column of [`Slice`], and what is grouped by.
    fn columns(self, range: &Range) -> ([&'static str; 5], Vec<String>) {
        let columns = [
            ("agent_id", self.agent, "CAST('' AS TEXT)"),
            ("agent_version", self.version, "CAST(0 AS BIGINT)"),
            ("direction", self.direction, "CAST('' AS TEXT)"),
            ("outcome", self.outcome, "CAST('' AS TEXT)"),
        ];
        let time = match self.time {
            Grain::Whole => None,
            Grain::Day => Some(range.day_of("hour_at")),
            Grain::Hour => Some("hour_at".to_owned()),
        };
        let [agent, version, direction, outcome] = columns.map(|(name, kept, empty)| if kept { name } else { empty });
        let kept = columns.into_iter().filter(|(_, kept, _)| *kept).map(|(name, ..)| name.to_owned());
        (
            ["CAST(COALESCE(MIN(hour_at), 0) AS BIGINT)", agent, version, direction, outcome],
            time.into_iter().chain(kept).collect(),
        )
    }
}

/// The sums of a slice, in the order of [`Tally`]'s fields.
const SUMS: [&str; 11] = [
    "calls",
    "answered",
    "duration_ms",
    "charged_micros",
    "vendor_micros",
    "positive",
    "neutral",
    "negative",
    "success",
    "transferred",
    "interruptions",
];

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
    pub(crate) transferred: i64,
    pub(crate) interruptions: i64,
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
        self.transferred += other.transferred;
        self.interruptions += other.interruptions;
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

/// Of all stages the one that callers feel.
const VOICE: &str = "AND stage = 'voice_to_voice'";

impl Store {
    /// The tenant's time zone.
    pub(crate) async fn place(&self, tenant: TenantId) -> Result<String, sqlx::Error> {
        sqlx::query("SELECT timezone FROM tenants WHERE id = $1")
            .bind(tenant.to_string())
            .fetch_one(self.pool())
            .await?
            .try_get(0)
    }

    /// The calls of a range, cut as asked, in the order of what they are cut by.
    pub(crate) async fn slices(
        &self,
        tenant: TenantId,
        livemode: bool,
        range: &Range,
        cut: Cut,
    ) -> Result<Vec<Slice>, sqlx::Error> {
        let (shown, kept) = cut.columns(range);
        let sums = SUMS.map(|name| format!("CAST(COALESCE(SUM({name}), 0) AS BIGINT)"));
        let group = if kept.is_empty() { String::new() } else { format!("GROUP BY {0} ORDER BY {0}", kept.join(", ")) };
        let sql = format!(
            "SELECT {}, {} FROM call_rollup
             WHERE tenant_id = $1 AND livemode = $2 AND hour_at >= $3 AND hour_at < $4 AND ($5 = '' OR agent_id = $5) {group}",
            shown.join(", "),
            sums.join(", "),
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.to_string())
            .bind(i64::from(livemode))
            .bind(range.from_ms - range.from_ms.rem_euclid(3_600_000))
            .bind(range.to_ms)
            .bind(range.agent.clone().unwrap_or_default())
            .fetch_all(self.pool())
            .await?;
        rows.iter()
            .map(|row| {
                let sum = |n: usize| row.try_get::<i64, _>(5 + n);
                Ok(Slice {
                    hour_ms: row.try_get(0)?,
                    agent: row.try_get(1)?,
                    version: row.try_get(2)?,
                    direction: row.try_get(3)?,
                    outcome: row.try_get(4)?,
                    tally: Tally {
                        calls: sum(0)?,
                        answered: sum(1)?,
                        duration_ms: sum(2)?,
                        charged_micros: sum(3)?,
                        vendor_micros: sum(4)?,
                        positive: sum(5)?,
                        neutral: sum(6)?,
                        negative: sum(7)?,
                        success: sum(8)?,
                        transferred: sum(9)?,
                        interruptions: sum(10)?,
                    },
                })
            })
            .collect()
    }

    /// Histograms over the days that a range touches, by stage and provider.
    pub(crate) async fn latencies(
        &self,
        tenant: TenantId,
        range: &Range,
    ) -> Result<BTreeMap<(String, String), Histogram>, sqlx::Error> {
        let mut found: BTreeMap<_, Histogram> = BTreeMap::new();
        for row in self.buckets(tenant, range, "stage, provider", "").await? {
            found.entry((row.try_get(2)?, row.try_get(3)?)).or_default().add(row.try_get(0)?, row.try_get(1)?);
        }
        Ok(found)
    }

    /// Voice to voice on each day that a range touches (UTC).
    pub(crate) async fn voice_by_day(
        &self,
        tenant: TenantId,
        range: &Range,
    ) -> Result<BTreeMap<String, Histogram>, sqlx::Error> {
        let mut found: BTreeMap<_, Histogram> = BTreeMap::new();
        for row in self.buckets(tenant, range, "day", VOICE).await? {
            found.entry(row.try_get(2)?).or_default().add(row.try_get(0)?, row.try_get(1)?);
        }
        Ok(found)
    }

    /// Voice to voice over all days that a range touches.
    pub(crate) async fn voice_to_voice(&self, tenant: TenantId, range: &Range) -> Result<Histogram, sqlx::Error> {
        let mut all = Histogram::default();
        for row in self.buckets(tenant, range, "stage", VOICE).await? {
            all.add(row.try_get(0)?, row.try_get(1)?);
        }
        Ok(all)
    }

    /// Buckets of histograms with their counts, then the columns that they are kept apart by.
    async fn buckets(&self, tenant: TenantId, range: &Range, by: &str, only: &str) -> Result<Vec<AnyRow>, sqlx::Error> {
        let (first, last) = range.days();
        let sql = format!(
            "SELECT bucket, CAST(SUM(count) AS BIGINT), {by} FROM latency_rollup
             WHERE tenant_id = $1 AND day >= $2 AND day <= $3 AND ($4 = '' OR agent_id = $4) {only} GROUP BY {by}, bucket"
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.to_string())
            .bind(first)
            .bind(last)
            .bind(range.agent.clone().unwrap_or_default())
            .fetch_all(self.pool())
            .await
    }

    /// Calls that are up; those that wait for their time are not.
    pub(crate) async fn active(&self, tenant: TenantId, livemode: bool) -> Result<i64, sqlx::Error> {
        sqlx::query("SELECT COUNT(*) FROM calls WHERE tenant_id = $1 AND livemode = $2 AND ended_at IS NULL AND node_id IS NOT NULL")
            .bind(tenant.to_string())
            .bind(i64::from(livemode))
            .fetch_one(self.pool())
            .await?
            .try_get(0)
    }

    /// How callers sounded who spoke of a topic, over whole days of UTC: the fifty most frequent topics.
    pub(crate) async fn topics(
        &self,
        tenant: TenantId,
        livemode: bool,
        range: &Range,
    ) -> Result<Vec<(String, Sentiment)>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT topic, CAST(SUM(positive) AS BIGINT), CAST(SUM(neutral) AS BIGINT), CAST(SUM(negative) AS BIGINT)
             FROM topic_rollup WHERE tenant_id = $1 AND livemode = $2 AND day_at >= $3 AND day_at < $4 AND ($5 = '' OR agent_id = $5)
             GROUP BY topic HAVING SUM(positive + neutral + negative) > 0
             ORDER BY SUM(positive + neutral + negative) DESC, topic LIMIT 50",
        )
        .bind(tenant.to_string())
        .bind(i64::from(livemode))
        .bind(range.from_ms - range.from_ms.rem_euclid(86_400_000))
        .bind(range.to_ms)
        .bind(range.agent.clone().unwrap_or_default())
        .fetch_all(self.pool())
        .await?;
        let counts = |row: &AnyRow| -> Result<_, sqlx::Error> {
            Ok(Sentiment { positive: row.try_get(1)?, neutral: row.try_get(2)?, negative: row.try_get(3)? })
        };
        rows.iter().map(|row| Ok((row.try_get(0)?, counts(row)?))).collect()
    }

    /// Agents and their versions, the busiest first.
    pub(crate) async fn versions(
        &self,
        tenant: TenantId,
        livemode: bool,
        range: &Range,
    ) -> Result<Vec<Versions>, sqlx::Error> {
        let mut v2v = self.latencies_of_versions(tenant, range).await?;
        let mut slices = self.slices(tenant, livemode, range, Cut { version: true, ..Cut::AGENT }).await?;
        slices.sort_by_key(|slice| std::cmp::Reverse(slice.tally.calls));
        let version = |slice: Slice| {
            let Slice { agent, version, tally, .. } = slice;
            let cuts = tally.interruptions as f64 * 100.0 / tally.calls.max(1) as f64;
            Versions {
                v2v_p50_ms: v2v.remove(&(agent.clone(), version)).and_then(|histogram| histogram.at(0.5)),
                agent_id: Some(agent).filter(|agent| !agent.is_empty()),
                version: Some(version).filter(|version| *version > 0),
                calls: tally.calls,
                success_pct: tally.success_pct(),
                avg_duration_ms: tally.average_ms(),
                interruptions_per_call: cuts.round() / 100.0,
                transfers_pct: percent(tally.transferred, tally.answered),
                charged_micros: tally.charged_micros,
                sentiment: tally.sentiment(),
            }
        };
        Ok(slices.into_iter().map(version).collect())
    }

    /// Voice to voice, by agent and version.
    async fn latencies_of_versions(
        &self,
        tenant: TenantId,
        range: &Range,
    ) -> Result<BTreeMap<(String, i64), Histogram>, sqlx::Error> {
        let mut found: BTreeMap<_, Histogram> = BTreeMap::new();
        for row in self.buckets(tenant, range, "agent_id, agent_version", VOICE).await? {
            found.entry((row.try_get(2)?, row.try_get(3)?)).or_default().add(row.try_get(0)?, row.try_get(1)?);
        }
        Ok(found)
    }
}
