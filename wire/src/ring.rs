//! The line between a media thread and a voice thread: four bounded single-producer rings.
//!
//! What happens when a ring is full, in each direction:
//! * **ticks** — rtrb lets only the reader remove, so the media thread counts the frame it cannot place and goes on;
//!   the reader drops the *oldest* instead by calling [`Line::catch_up`] when it finds itself behind. Either way the
//!   hole shows, since [`Tick::at`] jumps.
//! * **events** — stay in the leg until there is room: a key or a mark is never lost.
//! * **commands** — the voice thread sees the full ring at once and decides.
//! * **spent** — audio boxes go back to the thread that allocated them; without room they are freed here, and counted.

use media_core::{LegCommand, LegEvent, Spent, Tick};
use rtrb::{Consumer, Producer, RingBuffer};

/// 640 ms of audio: longer than any pause a voice thread may make, and 21 KiB.
const TICKS: usize = 32;
const EVENTS: usize = 64;
const COMMANDS: usize = 64;
const SPENT: usize = 128;

/// The voice thread's ends.
#[derive(Debug)]
pub struct Line {
    /// One per 20 ms, in order.
    pub ticks: Consumer<Tick>,
    /// Keys, marks, pauses.
    pub events: Consumer<LegEvent>,
    /// Audio to play and orders about it.
    pub commands: Producer<LegCommand>,
    /// Played or dropped audio, to be freed by the voice thread.
    pub spent: Consumer<Spent>,
}

impl Line {
    /// Drops the oldest ticks until `keep` are left; returns how many were dropped.
    pub fn catch_up(&mut self, keep: usize) -> usize {
        let surplus = self.ticks.slots().saturating_sub(keep);
        (0..surplus).filter(|_| self.ticks.pop().is_ok()).count()
    }

    /// Frees spent audio; returns how many pieces there were.
    pub fn free_spent(&mut self) -> usize {
        std::iter::from_fn(|| self.spent.pop().ok()).count()
    }

    /// True once the media thread has let go of the leg; what is still in the rings can be read.
    pub fn is_closed(&self) -> bool {
        self.ticks.is_abandoned()
    }
}

/// The media thread's ends.
#[derive(Debug)]
pub(crate) struct Far {
    pub(crate) ticks: Producer<Tick>,
    pub(crate) events: Producer<LegEvent>,
    pub(crate) commands: Consumer<LegCommand>,
    pub(crate) spent: Producer<Spent>,
}

pub(crate) fn line() -> (Line, Far) {
    let (near_ticks, ticks) = RingBuffer::new(TICKS);
    let (near_events, events) = RingBuffer::new(EVENTS);
    let (commands, near_commands) = RingBuffer::new(COMMANDS);
    let (near_spent, spent) = RingBuffer::new(SPENT);
    let far = Far { ticks: near_ticks, events: near_events, commands: near_commands, spent: near_spent };
    (Line { ticks, events, commands, spent }, far)
}
