//! How far packets come behind the fastest of the last seconds: the delay that the jitter buffer has to offer.

/// Samples in a class of 5 ms.
const CLASS: i64 = 40;
const CLASSES: usize = 32;
/// Weight that remains after each packet: a memory of about two seconds.
const MEMORY: f32 = 0.99;
/// The share of packets that should be in time.
const SHARE: f32 = 0.98;
/// The fastest arrival is that of five spans of two seconds, so it follows a drifting clock.
const SPAN: i64 = 16_000;
const SPANS: usize = 5;

/// A fading histogram of delays above the fastest.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    weights: [f32; CLASSES],
    fastest: [i64; SPANS],
    span: i64,
}

impl Default for Arrival {
    fn default() -> Self {
        Arrival { weights: [0.0; CLASSES], fastest: [i64::MAX; SPANS], span: i64::MIN }
    }
}

impl Arrival {
    /// Notes a packet's transit (arrival minus timestamp, in samples); returns its delay above the fastest.
    pub(super) fn note(&mut self, clock: i64, transit: i64) -> i64 {
        let span = clock.div_euclid(SPAN);
        if span != self.span {
            // Spans in which nothing came say nothing; older ones are forgotten.
            let passed = span.saturating_sub(self.span).clamp(1, SPANS as i64);
            for skipped in 0..passed {
                self.fastest[(span - skipped).rem_euclid(SPANS as i64) as usize] = i64::MAX;
            }
            self.span = span;
        }
        let slot = &mut self.fastest[span.rem_euclid(SPANS as i64) as usize];
        *slot = (*slot).min(transit);
        let fastest = self.fastest.iter().copied().min().unwrap_or(transit);
        let delay = transit - fastest;
        for weight in &mut self.weights {
            *weight *= MEMORY;
        }
        self.weights[((delay / CLASS) as usize).min(CLASSES - 1)] += 1.0 - MEMORY;
        delay
    }

    /// The delay within which nearly all packets come, in samples.
    pub(super) fn spread(&self) -> i64 {
        let total: f32 = self.weights.iter().sum();
        let mut sum = 0.0;
        for (class, weight) in self.weights.iter().enumerate() {
            sum += weight;
            if sum >= total * SHARE {
                return class as i64 * CLASS;
            }
        }
        CLASSES as i64 * CLASS
    }
}
