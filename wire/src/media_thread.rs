//! A media thread: owns its legs, keeps the 20 ms clock, waits only for the next slot.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use media_core::{Dial, LegConfig};

use crate::clock::{Clock, SLOTS, index};
use crate::media_counts::ThreadCounts;
use crate::patch::Patch;
use crate::seat::{Scratch, Seat, Side};

/// What other threads ask of a media thread.
pub(crate) enum Order {
    /// A leg begins.
    Open(Box<Seat>),
    /// A re-INVITE changed where or what a leg sends.
    Update(u64, Box<LegConfig>),
    /// What a leg sends instead of its own voice, or no longer.
    Patch(u64, Option<Box<Patch>>),
    /// A side of a leg is silenced, or heard again.
    Mute(u64, Side, bool),
    /// Keys to be pressed.
    Press(u64, Box<Dial>),
    /// A leg ends.
    Close(u64),
    /// The process ends.
    Stop,
}

/// Runs until [`Order::Stop`], or until nobody is left to give orders.
pub(crate) fn run(orders: &Receiver<Order>, counts: &Arc<ThreadCounts>) {
    let mut house = House { slots: Default::default(), counts: Arc::clone(counts), scratch: Scratch::new() };
    let mut clock = Clock::new(Instant::now());
    loop {
        loop {
            match orders.try_recv() {
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return,
                Ok(order) => house.obey(order),
                Err(TryRecvError::Empty) => break,
            }
        }
        let Some((slot, deadline)) = clock.next(|i| !house.slots[i].is_empty()) else {
            // No legs, no clock: the thread sleeps in the kernel until somebody calls.
            match orders.recv() {
                Ok(Order::Stop) | Err(_) => return,
                Ok(order) => house.obey(order),
            }
            clock = Clock::new(Instant::now());
            continue;
        };
        if let Some(early) = deadline.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        let now = Instant::now();
        let given_up = clock.slip(slot, now);
        if given_up > 0 {
            counts.slips.one();
            counts.slipped_ticks.add(given_up);
            continue;
        }
        let late = now.saturating_duration_since(deadline);
        counts.worst_late_us.raise_to(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        house.run(index(slot), now);
        clock.done(slot);
    }
}

struct House {
    slots: [Vec<Seat>; SLOTS],
    counts: Arc<ThreadCounts>,
    scratch: Scratch,
}

impl House {
    fn obey(&mut self, order: Order) {
        match order {
            Order::Open(seat) => {
                if let Some(slot) = self.slots.iter_mut().min_by_key(|slot| slot.len()) {
                    slot.push(*seat);
                }
            }
            Order::Update(id, config) => {
                if let Some(seat) = self.seat(id) {
                    seat.update(*config);
                }
            }
            Order::Patch(id, patch) => {
                if let Some(seat) = self.seat(id) {
                    seat.patch = patch;
                }
            }
            Order::Mute(id, side, on) => {
                if let Some(seat) = self.seat(id) {
                    seat.mute(side, on);
                }
            }
            Order::Press(id, dial) => {
                if let Some(seat) = self.seat(id) {
                    seat.press(*dial);
                }
            }
            Order::Close(id) => {
                for slot in &mut self.slots {
                    if let Some(at) = slot.iter().position(|seat| seat.id == id) {
                        let seat = slot.swap_remove(at);
                        seat.publish();
                        self.counts.legs.less();
                        return;
                    }
                }
            }
            Order::Stop => {}
        }
    }

    fn seat(&mut self, id: u64) -> Option<&mut Seat> {
        self.slots.iter_mut().flatten().find(|seat| seat.id == id)
    }

    fn run(&mut self, slot: usize, now: Instant) {
        let Self { slots, counts, scratch } = self;
        // One broken leg must not silence the others. It is closed, its voice thread sees that the line is abandoned.
        slots[slot].retain_mut(|seat| {
            let sound = catch_unwind(AssertUnwindSafe(|| seat.run(now, scratch, counts))).is_ok();
            if !sound {
                counts.panics.one();
                counts.legs.less();
            }
            sound
        });
    }
}
