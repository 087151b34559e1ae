//! Durations counted in 0.1 ms buckets, so that a million packets cost no more than ten.

use std::time::Duration;

/// Up to two seconds; what is longer counts as the last bucket, but keeps its maximum.
const BUCKETS: usize = 20_000;
const BUCKET_US: u128 = 100;

/// A distribution of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn add(&mut self, duration: Duration) {
        let bucket = usize::try_from(duration.as_micros() / BUCKET_US).unwrap_or(BUCKETS).min(BUCKETS - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.longest = self.longest.max(duration);
    }

    /// Adds another distribution to this one.
    pub fn merge(&mut self, other: &Self) {
        self.buckets.iter_mut().zip(&other.buckets).for_each(|(ours, theirs)| *ours += theirs);
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The upper edge of the bucket that holds this share (0–1) of all durations, in milliseconds; 0 without any.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|n| {
            seen += n;
            seen >= rank
        });
        bucket.map_or(0.0, |bucket| ((bucket + 1) as f64 / 10.0).min(self.longest_ms()))
    }

    /// The longest, in milliseconds, to the microsecond.
    pub fn longest_ms(&self) -> f64 {
        self.longest.as_micros() as f64 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_known_distribution() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|n| histogram.add(Duration::from_millis(n)));
        assert_eq!(histogram.quantile_ms(0.5), 50.1);
        assert_eq!(histogram.quantile_ms(0.99), 99.1);
        assert_eq!(histogram.quantile_ms(1.0), 100.0);
        assert_eq!(histogram.count(), 100);
    }

    #[test]
    fn nothing_measured_is_zero_and_a_minute_does_not_overflow() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ms(0.99), 0.0);
        histogram.add(Duration::from_secs(60));
        assert_eq!(histogram.longest_ms(), 60_000.0);
    }
}
