//! A counter, and what the SIP sockets count. Written with relaxed atomics, read by metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter of one writer or many.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn less(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn raise_to(&self, n: u64) {
        self.0.fetch_max(n, Ordering::Relaxed);
    }

    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The live counters of the SIP sockets.
#[derive(Debug, Default)]
pub(crate) struct SipTally {
    pub(crate) received: Count,
    pub(crate) sent: Count,
    pub(crate) overrun: Count,
    pub(crate) send_failures: Count,
    pub(crate) streams: Count,
    pub(crate) streams_refused: Count,
    pub(crate) streams_reaped: Count,
    pub(crate) streams_malformed: Count,
}

/// The SIP sockets, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SipCounts {
    /// Messages received, UDP and streams.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// Datagrams dropped because the SIP task was behind.
    pub overrun: u64,
    /// Messages the system did not take.
    pub send_failures: u64,
    /// Stream connections open now.
    pub streams: u64,
    /// Connections refused by a cap.
    pub streams_refused: u64,
    /// Connections closed for silence or slowness.
    pub streams_reaped: u64,
    /// Connections closed for bad framing.
    pub streams_malformed: u64,
}

impl SipTally {
    pub(crate) fn snapshot(&self) -> SipCounts {
        SipCounts {
            received: self.received.get(),
            sent: self.sent.get(),
            overrun: self.overrun.get(),
            send_failures: self.send_failures.get(),
            streams: self.streams.get(),
            streams_refused: self.streams_refused.get(),
            streams_reaped: self.streams_reaped.get(),
            streams_malformed: self.streams_malformed.get(),
        }
    }
}
