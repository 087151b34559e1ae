//! Latency of a call: its turns, and per stage the usual percentiles.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::TurnView;

/// The stages of an answer that are summed up.
const STAGES: &[&str] = &[
    "end_of_turn_ms",
    "stt_final_ms",
    "llm_first_token_ms",
    "first_sentence_ms",
    "tts_first_byte_ms",
    "first_rtp_ms",
    "voice_to_voice_ms",
    "vendor_ms",
    "own_overhead_ms",
    "tool_ms",
];

/// Latency of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallLatency {
    pub(crate) turns: Vec<TurnLatency>,
    /// By stage, without the `_ms`.
    pub(crate) summary: BTreeMap<&'static str, Spread>,
}

/// Latency of one answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TurnLatency {
    /// Number of the turn.
    pub(crate) n: i64,
    #[schema(value_type = Object)]
    pub(crate) latency: Value,
}

/// Percentiles by nearest rank, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Spread {
    pub(crate) p50: i64,
    pub(crate) p90: i64,
    pub(crate) p95: i64,
    pub(crate) p99: i64,
    pub(crate) max: i64,
    pub(crate) n: usize,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<i64>) -> Option<Self> {
        values.sort_unstable();
        let max = *values.last()?;
        let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { p50: rank(50), p90: rank(90), p95: rank(95), p99: rank(99), max, n: values.len() })
    }
}

/// The latencies of the turns that have one, and their summary.
pub(crate) fn summary(turns: &[TurnView]) -> CallLatency {
    let with: Vec<TurnLatency> =
        turns.iter().filter_map(|turn| Some(TurnLatency { n: turn.n, latency: turn.latency.clone()? })).collect();
    let summary = STAGES
        .iter()
        .filter_map(|stage| {
            let values = with.iter().filter_map(|turn| turn.latency.get(*stage)?.as_i64()).collect();
            Some((stage.strip_suffix("_ms").unwrap_or(stage), Spread::of(values)?))
        })
        .collect();
    CallLatency { turns: with, summary }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![7]), Some(Spread { p50: 7, p90: 7, p95: 7, p99: 7, max: 7, n: 1 }));
        let spread = Spread::of((1..=100).rev().collect()).unwrap();
        assert_eq!((spread.p50, spread.p90, spread.p95, spread.p99, spread.max, spread.n), (50, 90, 95, 99, 100, 100));
    }
}
