//! What a run prints: one JSON object.

use serde::Serialize;

use crate::histogram::Histogram;

/// The whole result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How the calls fared.
    pub calls: Calls,
    /// INVITE sent → answer received.
    pub setup_ms: Setup,
    /// Media within the measured window.
    pub rtp: Rtp,
    /// Between two packets received in one call, within the window.
    pub gap_ms: Spread,
    /// The measured process; absent without `--pid`.
    pub server: Option<Server>,
    /// Ourselves, to tell whose fault a gap is.
    pub generator: Generator,
    /// Length of the window, seconds.
    pub window_s: f64,
}

/// Call counts.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Calls {
    /// INVITEs sent.
    pub attempted: u64,
    /// 200s received.
    pub answered: u64,
    /// Refused, timed out, or not to be sent.
    pub failed: u64,
    /// Answered and ended by the other side before we did.
    pub dropped: u64,
    /// Seconds from the first INVITE to the last final answer.
    pub ramp_s: f64,
}

/// Setup times.
#[derive(Debug, Serialize)]
pub struct Setup {
    /// To the first 180 or 183.
    pub ringing: Spread,
    /// To the 200.
    pub answered: Spread,
    /// To the refusal.
    pub refused: Spread,
}

/// A distribution in milliseconds.
#[derive(Debug, Serialize)]
pub struct Spread {
    /// Half are shorter.
    pub p50: f64,
    /// Nine of ten are shorter.
    pub p90: f64,
    /// 99 of 100 are shorter.
    pub p99: f64,
    /// The longest.
    pub max: f64,
    /// How many.
    pub count: u64,
}

impl From<&Histogram> for Spread {
    fn from(histogram: &Histogram) -> Self {
        Self {
            p50: histogram.quantile_ms(0.50),
            p90: histogram.quantile_ms(0.90),
            p99: histogram.quantile_ms(0.99),
            max: histogram.longest_ms(),
            count: histogram.count(),
        }
    }
}

/// Packets.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Rtp {
    /// By us.
    pub sent: u64,
    /// By us, from the server.
    pub received: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// More than 40 ms behind the earliest packet of the call, by timestamp: too late for a usual jitter buffer.
    pub late: u64,
    /// Not RTP, or from nobody we call.
    pub foreign: u64,
}

impl Rtp {
    /// Adds what another thread saw.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.late += other.late;
        self.foreign += other.foreign;
    }
}

/// The measured process.
#[derive(Debug, Serialize)]
pub struct Server {
    /// Of one core, within the window, all threads.
    pub cpu_percent: f64,
    /// The same divided by the answered calls.
    pub cpu_percent_per_call: f64,
    /// Resident at the end of the window.
    pub rss_kib: u64,
    /// Growth since before the first call, divided by the answered calls.
    pub rss_kib_per_call: f64,
}

/// The load generator itself.
#[derive(Debug, Serialize)]
pub struct Generator {
    /// Of one core, within the window.
    pub cpu_percent: f64,
    /// The latest a packet left after its time, milliseconds.
    pub worst_late_ms: f64,
    /// Packets the system did not take.
    pub send_failures: u64,
}
