//! Percentiles from log-scale buckets, at most 1.5 % off.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// How often each bucket was met.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram(BTreeMap<i64, i64>);

/// A stage's percentiles, ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Percentiles {
    pub(crate) p50: Option<i64>,
    pub(crate) p90: Option<i64>,
    pub(crate) p95: Option<i64>,
    pub(crate) p99: Option<i64>,
    pub(crate) n: i64,
}

impl Histogram {
    pub(crate) fn add(&mut self, bucket: i64, count: i64) {
        *self.0.entry(bucket).or_default() += count;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(bucket, count)| self.add(*bucket, *count));
    }

    /// The value below which `share` of all lie, ms.
    pub(crate) fn at(&self, share: f64) -> Option<i64> {
        let all: i64 = self.0.values().sum();
        let rank = ((all as f64 * share).ceil() as i64).max(1);
        let mut seen = 0;
        let bucket = self.0.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        bucket.map(|(bucket, _)| 2_f64.powf(*bucket as f64 / 24.0).round() as i64)
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        Percentiles {
            p50: self.at(0.5),
            p90: self.at(0.9),
            p95: self.at(0.95),
            p99: self.at(0.99),
            n: self.0.values().sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::rollups::bucket;

    #[test]
    fn percentiles_are_within_a_bucket_of_the_truth() {
        let mut histogram = Histogram::default();
        for ms in 1..=1000 {
            histogram.add(bucket(ms), 1);
        }
        for (share, truth) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0)] {
            let told = histogram.at(share).unwrap() as f64;
            assert!((told / truth - 1.0).abs() < 0.03, "{share}: {told}");
        }
        assert_eq!((histogram.percentiles().n, Histogram::default().at(0.5)), (1000, None));
    }
}
