//! What a leg sends instead of its own voice: the caller of another leg, or a sound in a loop.
//!
//! Two bridged legs live on media threads of their own and exchange frames over a pair of rings, without locks. Both tick by the same
//! clock, so there is no drift to follow: a ring holds the frame or two by which one thread may be late. A frame that is not there is
//! concealed, and its lateness has then become room; what piles up after a stall is dropped.

use std::sync::Arc;

use codecs::pcm::{FRAME, Frame, SILENCE};
use media_core::Conceal;
use rtrb::{Consumer, Producer, RingBuffer};

/// Frames that a ring holds: longer than a media thread makes good after a stall.
const ROOM: usize = 16;
/// So often it is looked at whether the ring is fuller than it needs to be, in ticks.
const LOOK_EVERY: u32 = 50;
/// Fuller than this, frames are dropped at once.
const MOST: usize = 6;
/// Samples over which a dropped frame is crossed.
const JOIN: usize = 80;

/// What passes from one leg to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // Fifty of these a second are frames.
enum Crossing {
    Frame(Frame),
    Key(u8),
}

/// What a leg sends instead of its own voice.
#[derive(Debug)]
pub struct Patch(Kind);

#[derive(Debug)]
enum Kind {
    Bridge(Bridge),
    /// The leg's own voice goes across, and whoever is there is heard as the caller.
    Inside(Bridge),
    Loop {
        pcm: Arc<[i16]>,
        at: usize,
    },
}

#[derive(Debug)]
struct Bridge {
    out: Producer<Crossing>,
    inward: Consumer<Crossing>,
    conceal: Conceal,
    /// The fewest frames that were left after a tick since the last look.
    least: usize,
    ticks: u32,
}

impl Patch {
    /// The two halves of a bridge, one for each leg.
    #[must_use]
    pub fn bridge() -> (Self, Self) {
        let (to_b, from_a) = RingBuffer::new(ROOM);
        let (to_a, from_b) = RingBuffer::new(ROOM);
        let half = |out, inward| {
            Self(Kind::Bridge(Bridge { out, inward, conceal: Conceal::new(), least: usize::MAX, ticks: 0 }))
        };
        (half(to_b, from_b), half(to_a, from_a))
    }

    /// The two halves of a bridge into a leg whose own caller has gone: what it says goes to the other leg, and that one's caller is heard
    /// as its own. The first half is for the leg that was left.
    #[must_use]
    pub fn succession() -> (Self, Self) {
        let (left, other) = Self::bridge();
        match left.0 {
            Kind::Bridge(left) => (Self(Kind::Inside(left)), other),
            kind => (Self(kind), other),
        }
    }

    /// Whether the leg's own caller has gone.
    pub(crate) fn is_inside(&self) -> bool {
        matches!(self.0, Kind::Inside(_))
    }

    /// A sound of 8 kHz over and over; silence when it is empty. The maker keeps a copy, so that no media thread frees it.
    #[must_use]
    pub fn sound(pcm: Arc<[i16]>) -> Self {
        Self(Kind::Loop { pcm, at: 0 })
    }

    /// The next frame to be sent, and the keys that came before it.
    pub fn next(&mut self, keys: impl FnMut(u8)) -> Frame {
        match &mut self.0 {
            Kind::Bridge(bridge) | Kind::Inside(bridge) => bridge.next(keys),
            Kind::Loop { pcm, at } => {
                let mut frame = SILENCE;
                if !pcm.is_empty() {
                    for sample in &mut frame {
                        *sample = pcm[*at];
                        *at = (*at + 1) % pcm.len();
                    }
                }
                frame
            }
        }
    }

    /// What goes to the other leg. A reader that stands still loses it: his own catching up drops more.
    pub fn give(&mut self, frame: &Frame) {
        if let Kind::Bridge(bridge) | Kind::Inside(bridge) = &mut self.0 {
            let _ = bridge.out.push(Crossing::Frame(*frame));
        }
    }

    /// A key that this leg's caller pressed.
    pub fn give_key(&mut self, digit: u8) {
        if let Kind::Bridge(bridge) = &mut self.0 {
            let _ = bridge.out.push(Crossing::Key(digit));
        }
    }
}

impl Bridge {
    fn pop(&mut self, keys: &mut impl FnMut(u8)) -> Option<Frame> {
        loop {
            match self.inward.pop() {
                Ok(Crossing::Frame(frame)) => return Some(frame),
                Ok(Crossing::Key(digit)) => keys(digit),
                Err(_) => return None,
            }
        }
    }

    fn next(&mut self, mut keys: impl FnMut(u8)) -> Frame {
        let Some(mut frame) = self.pop(&mut keys) else {
            let mut frame = SILENCE;
            self.conceal.fill(&mut frame);
            (self.least, self.ticks) = (usize::MAX, 0);
            return frame;
        };
        let left = self.inward.slots();
        self.least = self.least.min(left);
        self.ticks += 1;
        let surplus = if left > MOST {
            left - 1
        } else if self.ticks >= LOOK_EVERY {
            let surplus = usize::from(self.least >= 2);
            (self.least, self.ticks) = (usize::MAX, 0);
            surplus
        } else {
            0
        };
        for _ in 0..surplus {
            if let Some(later) = self.pop(&mut keys) {
                frame = joined(&frame, &later);
            }
        }
        self.conceal.good(&mut frame);
        frame
    }
}

/// The later frame, begun with the earlier one fading out.
fn joined(earlier: &Frame, later: &Frame) -> Frame {
    std::array::from_fn::<i16, FRAME, _>(|n| {
        if n >= JOIN {
            return later[n];
        }
        let (old, new) = (i32::from(earlier[n]), i32::from(later[n]));
        ((old * (JOIN - n) as i32 + new * n as i32) / JOIN as i32) as i16
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: i16) -> Frame {
        [n; FRAME]
    }

    fn last(frame: &Frame) -> i16 {
        frame[FRAME - 1]
    }

    #[test]
    fn frames_and_keys_cross_both_ways_in_order() {
        let (mut a, mut b) = Patch::bridge();
        let mut keys = Vec::new();
        a.give(&numbered(1));
        a.give_key(b'5');
        a.give(&numbered(2));
        b.give(&numbered(9));
        assert_eq!(last(&b.next(|key| keys.push(key))), 1);
        assert_eq!(last(&b.next(|key| keys.push(key))), 2);
        assert_eq!(last(&a.next(|_| panic!("nobody pressed a key there"))), 9);
        assert_eq!(keys, b"5");
    }

    #[test]
    fn a_late_frame_is_concealed_once_and_becomes_room() {
        let (mut a, mut b) = Patch::bridge();
        let mut missing = 0;
        for n in 0..200 {
            // The giver is late by one tick from the hundredth on.
            if n != 100 {
                a.give(&numbered(1000));
            }
            let before = b.inward();
            b.next(|_| {});
            missing += usize::from(before == 0);
        }
        assert_eq!(missing, 1);
    }

    #[test]
    fn what_piles_up_is_dropped() {
        let (mut a, mut b) = Patch::bridge();
        for _ in 0..12 {
            a.give(&numbered(7));
        }
        b.next(|_| {});
        assert!(b.inward() <= 1);
        // A frame too many is given back within a second or two.
        for _ in 0..3 {
            a.give(&numbered(7));
        }
        for _ in 0..150 {
            a.give(&numbered(7));
            b.next(|_| {});
        }
        assert!(b.inward() <= 2, "{}", b.inward());
    }

    #[test]
    fn a_leg_whose_other_half_is_gone_is_silent() {
        let (a, mut b) = Patch::bridge();
        drop(a);
        assert!((0..10).all(|_| b.next(|_| {}) == SILENCE));
    }

    #[test]
    fn a_sound_goes_round() {
        let mut patch = Patch::sound((0..200).collect());
        assert_eq!(patch.next(|_| {})[159], 159);
        assert_eq!(patch.next(|_| {})[40], 0);
        assert_eq!(Patch::sound(Arc::new([])).next(|_| {}), SILENCE);
    }

    impl Patch {
        fn inward(&self) -> usize {
            match &self.0 {
                Kind::Bridge(bridge) | Kind::Inside(bridge) => bridge.inward.slots(),
                Kind::Loop { .. } => 0,
            }
        }
    }
}
