//! The caller's keys: an event is known by its timestamp and reported when it ends, once.

use super::Payload;
use codecs::tone::KEYS;

/// Ticks without a packet after which a key counts as let go: its end packets are lost.
const FORGOTTEN: u32 = 5;
/// A burst of keys that is taken at once, and ticks until one more may come: faster than any hand or dialler.
const BURST: u32 = 8;
const REFILL: u32 = 4;

#[derive(Debug, Clone, Copy)]
struct Held {
    digit: u8,
    timestamp: u32,
    /// Longest duration said so far, in samples.
    duration: u32,
    /// Samples since the leg began, when it was pressed.
    at: u64,
    quiet_ticks: u32,
}

/// One key press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) digit: u8,
    pub(crate) at: u64,
    pub(crate) duration_ms: u32,
}

/// The keypad of the caller.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    held: Option<Held>,
    /// Timestamp of the newest event that is over: nothing at or before it is new.
    over: Option<u32>,
    tokens: u32,
    ticks: u32,
    dropped: u64,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Keys { held: None, over: None, tokens: BURST, ticks: 0, dropped: 0 }
    }

    /// Presses that came faster than the rate cap allows.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Another stream: its timestamps have nothing to do with those before.
    pub(crate) fn forget(&mut self) -> Option<Key> {
        let key = self.held.take().and_then(|held| self.release(held));
        self.over = None;
        key
    }

    /// One packet; `at` is now in samples since the leg began. Gives the key that it ends, if any.
    pub(crate) fn packet(&mut self, at: u64, timestamp: u32, marker: bool, payload: Payload) -> Option<Key> {
        let digit = *KEYS.get(usize::from(payload.event))?;
        if let Some(held) = &mut self.held {
            let later = timestamp.wrapping_sub(held.timestamp) as i32;
            // Long presses go on in a segment that begins where the one before ended (section 2.5.1.3), and some senders
            // move the timestamp with every packet of one press: both are the same key without a new marker.
            let goes_on = !marker && later > 0 && later as u32 <= held.duration && held.digit == digit;
            if later == 0 && held.digit == digit || goes_on {
                held.duration = held.duration.max(later as u32 + u32::from(payload.duration));
                held.quiet_ticks = 0;
                if !payload.end {
                    return None;
                }
                if goes_on {
                    held.timestamp = held.timestamp.wrapping_add(later as u32);
                }
                return self.held.take().and_then(|held| self.release(held));
            }
            if later <= 0 {
                return None;
            }
        }
        if self.over.is_some_and(|over| timestamp.wrapping_sub(over) as i32 <= 0) {
            return None;
        }
        // What was held ends without having said so.
        let before = self.held.take().and_then(|held| self.release(held));
        let duration = u32::from(payload.duration);
        let held = Held { digit, timestamp, duration, at: at.saturating_sub(u64::from(duration)), quiet_ticks: 0 };
        if payload.end && before.is_none() {
            // Only its end arrived.
            return self.release(held);
        }
        self.held = Some(Held { quiet_ticks: if payload.end { FORGOTTEN } else { 0 }, ..held });
        before
    }

    /// Once every 20 ms: gives a key whose end got lost.
    pub(crate) fn tick(&mut self) -> Option<Key> {
        self.ticks += 1;
        if self.ticks >= REFILL {
            self.ticks = 0;
            self.tokens = (self.tokens + 1).min(BURST);
        }
        let held = self.held.as_mut()?;
        held.quiet_ticks += 1;
        if held.quiet_ticks <= FORGOTTEN {
            return None;
        }
        self.held.take().and_then(|held| self.release(held))
    }

    fn release(&mut self, held: Held) -> Option<Key> {
        self.over = Some(held.timestamp);
        if self.tokens == 0 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1;
        Some(Key { digit: held.digit, at: held.at, duration_ms: held.duration / 8 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(event: u8, duration: u16, end: bool) -> Payload {
        Payload { event, end, duration }
    }

    /// Feeds packets (timestamp, marker, event, duration, end), one tick apart, and twelve ticks more.
    fn keys(packets: &[(u32, bool, u8, u16, bool)]) -> Vec<(u8, u32)> {
        let mut keys = Keys::new();
        let mut pressed = Vec::new();
        for &(timestamp, marker, event, duration, end) in packets {
            pressed.extend(keys.packet(8000, timestamp, marker, payload(event, duration, end)));
            pressed.extend(keys.tick());
        }
        pressed.extend((0..12).filter_map(|_| keys.tick()));
        pressed.iter().map(|k| (k.digit, k.duration_ms)).collect()
    }

    #[test]
    fn three_end_packets_are_one_key() {
        let packets = [
            (100, true, 5, 160, false),
            (100, false, 5, 320, false),
            (100, false, 5, 480, true),
            (100, false, 5, 480, true),
            (100, false, 5, 480, true),
        ];
        assert_eq!(keys(&packets), [(b'5', 60)]);
    }

    #[test]
    fn missing_ends_markers_and_beginnings_still_make_one_key() {
        assert_eq!(keys(&[(100, false, 1, 160, false), (100, false, 1, 320, false)]), [(b'1', 40)]);
        assert_eq!(keys(&[(100, false, 11, 800, true), (100, false, 11, 800, true)]), [(b'#', 100)]);
        let no_end = [(100, true, 1, 160, false), (1700, true, 2, 160, false), (1700, false, 2, 320, true)];
        assert_eq!(keys(&no_end), [(b'1', 20), (b'2', 40)]);
        assert_eq!(keys(&[(100, true, 1, 160, false), (1700, false, 2, 320, true)]), [(b'1', 20), (b'2', 40)]);
    }

    #[test]
    fn late_ends_of_an_earlier_key_do_not_disturb_the_next() {
        let packets = [
            (100, true, 1, 160, false),
            (900, true, 2, 160, false),
            (100, false, 1, 480, true),
            (900, false, 2, 320, false),
            (100, false, 1, 480, true),
            (900, false, 2, 480, true),
        ];
        assert_eq!(keys(&packets), [(b'1', 20), (b'2', 60)]);
    }

    #[test]
    fn the_same_key_twice_is_two_keys_and_a_long_press_is_one() {
        let twice = [(100, true, 7, 800, true), (1700, false, 7, 800, true)];
        assert_eq!(keys(&twice), [(b'7', 100), (b'7', 100)]);
        let long = [(100, true, 7, 65_535, false), (65_635, false, 7, 160, false), (65_635, false, 7, 320, true)];
        assert_eq!(keys(&long), [(b'7', 8231)]);
        let moving = [(100, true, 7, 160, false), (260, false, 7, 320, false), (420, false, 7, 480, true)];
        assert_eq!(keys(&moving).len(), 1);
    }

    #[test]
    fn what_is_no_key_is_ignored() {
        assert_eq!(keys(&[(100, true, 16, 160, true), (200, true, 255, 160, true)]), []);
        assert_eq!(Payload::parse(&[1, 2, 3]), None);
        assert_eq!(Payload::parse(&payload(9, 400, true).bytes()), Some(payload(9, 400, true)));
    }

    #[test]
    fn a_storm_is_capped_and_counted() {
        let mut keys = Keys::new();
        let pressed = (0..1000u32).filter_map(|i| keys.packet(0, i * 160, true, payload(1, 100, true))).count();
        assert_eq!((pressed, keys.dropped()), (BURST as usize, 1000 - u64::from(BURST)));
    }

    proptest! {
        #[test]
        fn a_key_is_never_reported_twice_whatever_is_repeated_or_reordered(order in proptest::collection::vec(0usize..10, 1..60)) {
            let packets: Vec<_> = (0..10u32).map(|i| (1000 + i / 5 * 1600, (i / 5) as u8, (i % 5 + 1) as u16 * 160, i % 5 > 2)).collect();
            let mut keys = Keys::new();
            let mut pressed = Vec::new();
            for i in order {
                let (timestamp, event, duration, end) = packets[i];
                pressed.extend(keys.packet(0, timestamp, false, payload(event, duration, end)));
                pressed.extend(keys.tick());
            }
            pressed.extend((0..12).filter_map(|_| keys.tick()));
            prop_assert!(pressed.iter().filter(|k| k.digit == b'0').count() <= 1);
            prop_assert!(pressed.iter().filter(|k| k.digit == b'1').count() <= 1);
        }
    }
}
