//! Roll-ups: calls by hour, latencies and topics by day, counted as the events go by.
//!
//! The consumer's cursor commits with the counts, so each call and each turn is counted exactly once. Latencies go into log-scale
//! buckets, `round(24·log2(ms))`: a percentile read from them is at most 1.5 % off, and two days add up.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sqlx::{AnyConnection, Row as _};

use super::{Consumer, Published};
use crate::{BoxFuture, time::rfc3339};

/// Length of a call roll-up's row, ms.
const HOUR_MS: i64 = 3_600_000;
/// Length of a topic roll-up's row, ms.
const DAY_MS: i64 = 86_400_000;
/// Topics that are counted of one analysis, and their length.
const TOPICS: usize = 20;
const TOPIC_CHARS: usize = 80;

/// Stages of an answer: the roll-up's name, the field of `latency`, and whose vendor it is.
const STAGES: [(&str, &str, Option<&str>); 8] = [
    ("end_of_turn", "end_of_turn_ms", None),
    ("stt", "stt_final_ms", Some("stt")),
    ("llm_first_token", "llm_first_token_ms", Some("llm")),
    ("first_sentence", "first_sentence_ms", Some("llm")),
    ("tts_first_byte", "tts_first_byte_ms", Some("tts")),
    ("first_rtp", "first_rtp_ms", None),
    ("voice_to_voice", "voice_to_voice_ms", None),
    ("own_overhead", "own_overhead_ms", None),
];

/// The consumer behind `call_rollup`, `latency_rollup` and `topic_rollup`.
pub(crate) struct Rollups;

impl Consumer for Rollups {
    fn name(&self) -> &'static str {
        "rollups"
    }

    fn take<'a>(
        &'a self,
        tx: &'a mut AnyConnection,
        events: &'a [Published],
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move {
            let mut latencies = BTreeMap::new();
            for published in events {
                match published.event.kind.as_str() {
                    "call.ended" => ended(tx, published).await?,
                    "call.cost.final" => cost(tx, published).await?,
                    "call.analyzed" => analyzed(tx, published).await?,
                    "call.turn.agent" if published.event.livemode => latency(&mut latencies, published),
                    _ => {}
                }
            }
            store(tx, latencies).await
        })
    }
}

/// What is added to the row of a call.
#[derive(Default)]
struct Delta {
    calls: i64,
    answered: i64,
    duration_ms: i64,
    charged_micros: i64,
    vendor_micros: i64,
    positive: i64,
    neutral: i64,
    negative: i64,
    success: i64,
}

async fn ended(tx: &mut AnyConnection, published: &Published) -> Result<(), sqlx::Error> {
    let data = &published.event.data;
    let answered = data.get("answered_at").is_some_and(|at| !at.is_null());
    let duration_ms = data.get("duration_ms").and_then(Value::as_i64).unwrap_or(0);
    add(tx, published, Delta { calls: 1, answered: answered.into(), duration_ms, ..Delta::default() }).await
}

async fn cost(tx: &mut AnyConnection, published: &Published) -> Result<(), sqlx::Error> {
    let data = &published.event.data;
    let micros = |value: Option<&Value>| value.and_then(Value::as_i64).unwrap_or(0);
    let charged_micros = micros(data.get("charged_micros"));
    let vendor_micros = micros(data.pointer("/vendor/micros"));
    add(tx, published, Delta { charged_micros, vendor_micros, ..Delta::default() }).await
}

/// A later analysis of a call takes the place of the one before.
async fn analyzed(tx: &mut AnyConnection, published: &Published) -> Result<(), sqlx::Error> {
    let data = &published.event.data;
    if data.get("state").and_then(Value::as_str) != Some("done") {
        return Ok(());
    }
    let revision = data.get("revision").and_then(Value::as_i64).unwrap_or(1);
    let before = sqlx::query(
        "SELECT result FROM call_analyses WHERE call_id = $1 AND revision < $2 AND state = 'done' ORDER BY revision DESC LIMIT 1",
    )
    .bind(published.event.call_id.clone())
    .bind(revision)
    .fetch_optional(&mut *tx)
    .await?;
    let mut delta = Delta::default();
    judge(&mut delta, data, 1);
    topics(tx, published, data, 1).await?;
    if let Some(before) = before {
        let result: Option<String> = before.try_get(0)?;
        let before: Value = result.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        judge(&mut delta, &before, -1);
        topics(tx, published, &before, -1).await?;
    }
    add(tx, published, delta).await
}

/// Counts the topics of an analysis on the day of its call.
async fn topics(tx: &mut AnyConnection, published: &Published, analysis: &Value, by: i64) -> Result<(), sqlx::Error> {
    let mut delta = Delta::default();
    judge(&mut delta, analysis, by);
    let words = analysis.get("topics").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    // A model may find as many as it likes, and give them names as long as it likes.
    let words: BTreeSet<String> = words.take(TOPICS).map(|topic| topic.chars().take(TOPIC_CHARS).collect()).collect();
    for topic in words {
        sqlx::query(
            "INSERT INTO topic_rollup (tenant_id, livemode, day_at, agent_id, topic, positive, neutral, negative)
             SELECT c.tenant_id, c.livemode, c.created_at - c.created_at % $1, COALESCE(c.agent_id, ''), $2, $3, $4, $5
             FROM calls c WHERE c.id = $6
             ON CONFLICT (tenant_id, livemode, day_at, agent_id, topic) DO UPDATE SET
               positive = topic_rollup.positive + excluded.positive, neutral = topic_rollup.neutral + excluded.neutral,
               negative = topic_rollup.negative + excluded.negative",
        )
        .bind(DAY_MS)
        .bind(topic)
        .bind(delta.positive)
        .bind(delta.neutral)
        .bind(delta.negative)
        .bind(published.event.call_id.clone())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

fn judge(delta: &mut Delta, analysis: &Value, by: i64) {
    match analysis.get("sentiment").and_then(Value::as_str) {
        Some("positive") => delta.positive += by,
        Some("neutral") => delta.neutral += by,
        Some("negative") => delta.negative += by,
        _ => {}
    }
    if analysis.get("success") == Some(&Value::Bool(true)) {
        delta.success += by;
    }
}

/// Adds to the row of the event's call: its hour, agent, direction and outcome stand in the call's own row.
async fn add(tx: &mut AnyConnection, published: &Published, delta: Delta) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO call_rollup (tenant_id, livemode, hour_at, agent_id, agent_version, direction, outcome, calls, answered,
           duration_ms, charged_micros, vendor_micros, positive, neutral, negative, success, transferred, interruptions)
         SELECT c.tenant_id, c.livemode, c.created_at - c.created_at % $1, COALESCE(c.agent_id, ''), COALESCE(c.agent_version, 0),
           c.direction, c.status, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN c.ended_reason = 'transferred' THEN $2 ELSE 0 END,
           CAST($2 * (SELECT COALESCE(SUM(t.interrupted), 0) FROM turns t WHERE t.call_id = c.id) AS BIGINT)
         FROM calls c WHERE c.id = $11
         ON CONFLICT (tenant_id, livemode, hour_at, agent_id, agent_version, direction, outcome) DO UPDATE SET
           calls = call_rollup.calls + excluded.calls, answered = call_rollup.answered + excluded.answered,
           duration_ms = call_rollup.duration_ms + excluded.duration_ms,
           charged_micros = call_rollup.charged_micros + excluded.charged_micros,
           vendor_micros = call_rollup.vendor_micros + excluded.vendor_micros,
           positive = call_rollup.positive + excluded.positive, neutral = call_rollup.neutral + excluded.neutral,
           negative = call_rollup.negative + excluded.negative, success = call_rollup.success + excluded.success,
           transferred = call_rollup.transferred + excluded.transferred,
           interruptions = call_rollup.interruptions + excluded.interruptions",
    )
    .bind(HOUR_MS)
    .bind(delta.calls)
    .bind(delta.answered)
    .bind(delta.duration_ms)
    .bind(delta.charged_micros)
    .bind(delta.vendor_micros)
    .bind(delta.positive)
    .bind(delta.neutral)
    .bind(delta.negative)
    .bind(delta.success)
    .bind(published.event.call_id.clone())
    .execute(tx)
    .await
    .map(drop)
}

/// `(tenant, day, agent, its version, stage, provider, bucket)`.
type LatencyKey = (String, String, String, i64, &'static str, String, i64);

fn latency(counts: &mut BTreeMap<LatencyKey, i64>, published: &Published) {
    let Some(latency) = published.event.data.get("latency").filter(|latency| latency.is_object()) else { return };
    let day = rfc3339(published.at_ms)[..10].to_owned();
    for (stage, field, vendor) in STAGES {
        let Some(ms) = latency.get(field).and_then(Value::as_i64) else { continue };
        let provider = vendor.and_then(|vendor| latency.get(vendor)?.as_str()).unwrap_or_default();
        let agent = published.agent_id.clone().unwrap_or_default();
        let version = published.agent_version.unwrap_or(0);
        let key = (published.tenant.to_string(), day.clone(), agent, version, stage, provider.to_owned(), bucket(ms));
        *counts.entry(key).or_default() += 1;
    }
}

async fn store(tx: &mut AnyConnection, counts: BTreeMap<LatencyKey, i64>) -> Result<(), sqlx::Error> {
    for ((tenant, day, agent, version, stage, provider, bucket), count) in counts {
        sqlx::query(
            "INSERT INTO latency_rollup (tenant_id, day, agent_id, agent_version, stage, provider, bucket, count)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
             ON CONFLICT (tenant_id, day, agent_id, agent_version, stage, provider, bucket)
             DO UPDATE SET count = latency_rollup.count + excluded.count",
        )
        .bind(tenant)
        .bind(day)
        .bind(agent)
        .bind(version)
        .bind(stage)
        .bind(provider)
        .bind(bucket)
        .bind(count)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// The bucket of a latency; 0 and less count as 1 ms.
pub(crate) fn bucket(ms: i64) -> i64 {
    (24.0 * (ms.max(1) as f64).log2()).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_a_bucket_is_within_one_and_a_half_percent_of_what_went_in() {
        for ms in 1..20_000_i64 {
            let middle = 2_f64.powf(bucket(ms) as f64 / 24.0);
            assert!((middle / ms as f64 - 1.0).abs() < 0.015, "{ms}: {middle}");
        }
        assert_eq!((bucket(0), bucket(-5), bucket(1), bucket(2)), (0, 0, 0, 24));
    }
}
