//! What the media threads count.

use crate::counters::Count;

/// The counters of one media thread.
#[derive(Debug, Default)]
pub(crate) struct ThreadCounts {
    pub(crate) legs: Count,
    pub(crate) ticks: Count,
    pub(crate) worst_late_us: Count,
    pub(crate) slips: Count,
    pub(crate) slipped_ticks: Count,
    pub(crate) lost_ticks: Count,
    pub(crate) freed_here: Count,
    pub(crate) send_failures: Count,
    pub(crate) floods: Count,
    pub(crate) panics: Count,
}

/// All media threads together, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MediaCounts {
    /// Legs alive now.
    pub legs: u64,
    /// Leg ticks run (50 a second and leg).
    pub ticks: u64,
    /// The latest a slot began after its deadline since this was last read, in microseconds.
    pub worst_late_us: u64,
    /// Times a thread was more than 100 ms late and gave ticks up.
    pub slips: u64,
    /// Ticks given up that way.
    pub slipped_ticks: u64,
    /// Ticks a voice thread did not fetch in time.
    pub lost_ticks: u64,
    /// Pieces of audio freed on a media thread because the spent ring was full.
    pub freed_here: u64,
    /// Datagrams the system did not take.
    pub send_failures: u64,
    /// Ticks in which a leg's socket held more datagrams than a leg may read at once.
    pub floods: u64,
    /// Legs closed because their state machine panicked.
    pub panics: u64,
}

impl MediaCounts {
    pub(crate) fn add(&mut self, thread: &ThreadCounts) {
        self.legs += thread.legs.get();
        self.ticks += thread.ticks.get();
        self.worst_late_us = self.worst_late_us.max(thread.worst_late_us.take());
        self.slips += thread.slips.get();
        self.slipped_ticks += thread.slipped_ticks.get();
        self.lost_ticks += thread.lost_ticks.get();
        self.freed_here += thread.freed_here.get();
        self.send_failures += thread.send_failures.get();
        self.floods += thread.floods.get();
        self.panics += thread.panics.get();
    }
}
