//! The 20 ms clock of a media thread: slots at `epoch + n · 2 ms`, so lateness never adds up to drift.

use std::time::{Duration, Instant};

/// Slots a tick is divided into; legs are spread over them so that they do not all send at once.
pub(crate) const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_millis(2);
const TICK: Duration = Duration::from_millis(20);
/// Being later than this (a stopped machine, a stolen core) is given up on instead of made good.
const PATIENCE: Duration = Duration::from_millis(100);

/// Which slot is due, and when.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    slot: u64,
}

impl Clock {
    pub(crate) fn new(now: Instant) -> Self {
        Self { epoch: now, slot: 0 }
    }

    /// The next slot that has legs, and its deadline. `None`: no slot has any.
    pub(crate) fn next(&self, occupied: impl Fn(usize) -> bool) -> Option<(u64, Instant)> {
        (self.slot..self.slot + SLOTS as u64)
            .find(|slot| occupied(index(*slot)))
            .map(|slot| (slot, self.deadline(slot)))
    }

    /// A slot has been run.
    pub(crate) fn done(&mut self, slot: u64) {
        self.slot = slot + 1;
    }

    /// Forgets whole ticks once a slot is too late, and says how many. Up to that limit the missed ticks run one behind
    /// the other, because the far end's jitter buffer has been emptied by exactly as many; beyond it that would be a
    /// burst nobody waits for. Whole ticks only: every leg keeps its place within the tick.
    pub(crate) fn slip(&mut self, slot: u64, now: Instant) -> u64 {
        let late = now.saturating_duration_since(self.deadline(slot));
        if late <= PATIENCE {
            return 0;
        }
        let ticks = u64::try_from(late.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX);
        self.slot = slot.saturating_add(ticks.saturating_mul(SLOTS as u64));
        ticks
    }

    fn deadline(&self, slot: u64) -> Instant {
        self.epoch + Duration::from_nanos(slot * SLOT.as_nanos() as u64)
    }
}

/// Where a slot lies within its tick.
pub(crate) fn index(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn empty_slots_are_slept_through() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let (slot, deadline) = clock.next(|i| i == 3).unwrap();
        assert_eq!((slot, deadline), (3, start + ms(6)));
        clock.done(slot);
        assert_eq!(clock.next(|i| i == 3).unwrap().1, start + ms(26));
        assert_eq!(clock.next(|_| false), None);
    }

    #[test]
    fn a_day_of_late_ticks_does_not_drift() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        for _ in 0..4_320_000u64 {
            let (slot, deadline) = clock.next(|i| i == 0).unwrap();
            assert_eq!(clock.slip(slot, deadline + ms(99)), 0);
            clock.done(slot);
        }
        assert_eq!(clock.next(|i| i == 0).unwrap().1, start + ms(86_400_000));
    }

    #[test]
    fn a_long_stop_is_skipped_in_whole_ticks() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        let (slot, _) = clock.next(|i| i == 4).unwrap();
        assert_eq!(clock.slip(slot, start + ms(8 + 530)), 26);
        let (slot, deadline) = clock.next(|i| i == 4).unwrap();
        assert_eq!(deadline, start + ms(8 + 520));
        assert_eq!(clock.slip(slot, start + ms(8 + 530)), 0);
    }
}
