//! What a receiver knows of one source: order, loss and jitter (RFC 3550 appendices A.1, A.3 and A.8).

/// Gaps beyond this are a restart, not a loss (appendix A.1).
const MAX_DROPOUT: i32 = 3000;
/// How far back a packet may come and still be told from a duplicate.
const WINDOW: i32 = 64;
/// Older than this is a restart too (appendix A.1).
const MAX_MISORDER: i32 = 100;

/// Where a packet stands in the order of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Newer than all before.
    Next,
    /// Missing until now.
    Reordered,
    /// Seen before.
    Duplicate,
    /// Too old to tell, or the first of a jump that the next packet must confirm.
    Doubtful,
}

/// Counters of one source; sums survive a restart of its sequence.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reception {
    started: bool,
    base: i64,
    highest: i64,
    /// Bit n: `highest - n` was received.
    window: u64,
    unique: u64,
    /// Losses of sequences before the last restart.
    lost_before: i64,
    expected_before: i64,
    unique_before: u64,
    /// The sequence number that would confirm a jump.
    jump: Option<u16>,
    transit: Option<i64>,
    jitter: f32,
    reported_expected: i64,
    reported_unique: u64,
}

impl Reception {
    /// Takes note of a sequence number.
    pub(crate) fn note(&mut self, sequence: u16) -> Order {
        if !self.started {
            self.restart(sequence);
            return Order::Next;
        }
        let delta = i32::from(sequence.wrapping_sub(self.highest as u16) as i16);
        match delta {
            1..=MAX_DROPOUT => {
                self.highest += i64::from(delta);
                self.window = if delta < WINDOW { self.window << delta } else { 0 } | 1;
                self.unique += 1;
                self.jump = None;
                Order::Next
            }
            _ if delta <= 0 && delta > -WINDOW => {
                let bit = 1u64 << -delta;
                // Packets from before the first one would make the count of expected packets too small.
                if self.window & bit != 0 {
                    return Order::Duplicate;
                }
                if self.highest + i64::from(delta) < self.base {
                    return Order::Doubtful;
                }
                self.window |= bit;
                self.unique += 1;
                Order::Reordered
            }
            _ if (-MAX_MISORDER..0).contains(&delta) => Order::Doubtful,
            _ if self.jump == Some(sequence) => {
                self.restart(sequence);
                Order::Next
            }
            _ => {
                self.jump = Some(sequence.wrapping_add(1));
                Order::Doubtful
            }
        }
    }

    /// Starts over with a new source or a new sequence, keeping the sums.
    pub(crate) fn forget(&mut self) {
        self.lost_before = self.lost();
        self.expected_before = self.expected();
        self.unique_before += self.unique;
        self.started = false;
        self.unique = 0;
        self.transit = None;
        self.jump = None;
    }

    fn restart(&mut self, sequence: u16) {
        self.forget();
        self.started = true;
        self.base = i64::from(sequence);
        self.highest = self.base;
        self.window = 1;
        self.unique = 1;
    }

    /// Appendix A.8; `arrival` and `timestamp` in units of the codec's clock.
    pub(crate) fn note_transit(&mut self, arrival: i64, timestamp: u32) {
        let transit = i64::from((arrival as u32).wrapping_sub(timestamp) as i32);
        if let Some(before) = self.transit {
            // A jump of the sender's clock is no jitter.
            let difference = (transit - before).abs().min(8000) as f32;
            self.jitter += (difference - self.jitter) / 16.0;
        }
        self.transit = Some(transit);
    }

    /// In units of the codec's clock.
    pub(crate) fn jitter(&self) -> f32 {
        self.jitter
    }

    fn expected(&self) -> i64 {
        self.expected_before + if self.started { self.highest - self.base + 1 } else { 0 }
    }

    fn unique(&self) -> u64 {
        self.unique_before + self.unique
    }

    /// Packets that never came, over all sequences.
    pub(crate) fn lost(&self) -> i64 {
        self.lost_before + if self.started { (self.highest - self.base + 1 - self.unique as i64).max(0) } else { 0 }
    }

    /// Packets that should have come, over all sequences.
    pub(crate) fn should_have_come(&self) -> u64 {
        self.expected().max(0) as u64
    }

    /// Highest sequence number with its wraps above it.
    pub(crate) fn highest(&self) -> u32 {
        self.highest as u32
    }

    /// Loss since the last call in 1/256 (appendix A.3).
    pub(crate) fn fraction_lost(&mut self) -> u8 {
        let expected = self.expected() - self.reported_expected;
        let unique = self.unique() - self.reported_unique;
        self.reported_expected = self.expected();
        self.reported_unique = self.unique();
        let lost = expected - unique as i64;
        if expected <= 0 || lost <= 0 { 0 } else { (lost * 256 / expected).min(255) as u8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrap_is_no_gap() {
        let mut reception = Reception::default();
        for sequence in 65_530..=65_535u16 {
            assert_eq!(reception.note(sequence), Order::Next);
        }
        assert_eq!(reception.note(0), Order::Next);
        assert_eq!((reception.lost(), reception.should_have_come(), reception.highest()), (0, 7, 65_536));
    }

    #[test]
    fn losses_reordering_and_duplicates_are_told_apart() {
        let mut reception = Reception::default();
        reception.note(10);
        assert_eq!(reception.note(13), Order::Next);
        assert_eq!(reception.lost(), 2);
        assert_eq!(reception.note(12), Order::Reordered);
        assert_eq!(reception.note(12), Order::Duplicate);
        assert_eq!(reception.note(13), Order::Duplicate);
        assert_eq!(reception.note(9), Order::Doubtful);
        assert_eq!(reception.lost(), 1);
        assert_eq!(reception.fraction_lost(), 64);
        assert_eq!(reception.fraction_lost(), 0);
    }

    #[test]
    fn a_jump_needs_a_second_packet_and_keeps_the_sums() {
        let mut reception = Reception::default();
        reception.note(1);
        reception.note(3);
        assert_eq!(reception.note(30_000), Order::Doubtful);
        assert_eq!(reception.note(4), Order::Next);
        assert_eq!(reception.note(30_000), Order::Doubtful);
        assert_eq!(reception.note(30_001), Order::Next);
        assert_eq!((reception.lost(), reception.should_have_come()), (1, 5));
    }

    #[test]
    fn jitter_settles_on_the_mean_difference() {
        let mut reception = Reception::default();
        for i in 0..500i64 {
            reception.note_transit(i * 160 + (i % 2) * 80, (i * 160) as u32);
        }
        assert!((reception.jitter() - 80.0).abs() < 1.0);
    }
}
