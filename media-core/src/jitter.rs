//! The jitter buffer: packets of any length and order go in, exactly one frame a tick comes out.
//!
//! Samples lie in a ring by timestamp, so lengths need not match ours. The play cursor moves with the tick, one frame each;
//! the delay follows what arrival times ask for (20 to 120 ms) by cutting or repeating pitch periods, which also
//! absorbs clock drift.

mod arrival;

use crate::conceal::Conceal;
use crate::event::CallerAudio;
use crate::stretch::{self, LOOK};
use arrival::Arrival;
use codecs::pcm::{FRAME, Frame, SILENCE};

/// One second and a bit.
const RING: usize = 8192;
/// A packet that is further away from the cursor than half a second belongs to another time line.
const JUMP: i64 = 4000;
/// How far the cursor goes back for a late packet when nothing else is there to play.
const REWIND: i64 = 960;
/// More waiting than this is skipped at once.
const BACKLOG: i64 = 3200;
/// Ticks without any received audio after which the next packet starts a new time line.
const STARVED: u32 = 10;
const FRAME_I: i64 = FRAME as i64;
/// Bounds of the wanted delay, in samples.
const LEAST: i64 = 160;
const MOST: i64 = 960;
/// What is left beside the observed delays, for ticks that are late themselves.
const GUARD: i64 = 80;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// It will be played.
    Placed,
    /// Its time has passed.
    Late,
    /// The first of another time line; the next one decides.
    Doubtful,
}

/// When a packet came.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Samples since the leg began, by the clock.
    pub clock: i64,
    /// Samples since the last tick, 0 to 160.
    pub into_tick: i64,
}

/// One stream of caller audio.
#[derive(Debug)]
pub struct JitterBuffer {
    ring: Box<[i16; RING]>,
    present: Box<[u64; RING / 64]>,
    started: bool,
    /// Next sample to play, in unwrapped timestamp units.
    cursor: i64,
    /// Behind the last sample that ever came.
    newest: i64,
    last_timestamp: u32,
    last_position: i64,
    /// Timestamp that would confirm another time line.
    jump: Option<u32>,
    starved: u32,
    arrival: Arrival,
    /// Samples between the fastest arrival and playing.
    delay: i64,
    conceal: Conceal,
    concealed: u64,
}

impl Default for JitterBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl JitterBuffer {
    /// An empty buffer; the first packet begins its time line.
    pub fn new() -> Self {
        JitterBuffer {
            ring: Box::new([0; RING]),
            present: Box::new([0; RING / 64]),
            started: false,
            cursor: 0,
            newest: 0,
            last_timestamp: 0,
            last_position: 0,
            jump: None,
            starved: 0,
            arrival: Arrival::default(),
            delay: 0,
            conceal: Conceal::new(),
            concealed: 0,
        }
    }

    /// Another source or place: what waits is dropped, what was played is faded out.
    pub(crate) fn reset(&mut self) {
        self.present.fill(0);
        self.started = false;
        self.jump = None;
        self.starved = 0;
        self.arrival = Arrival::default();
    }

    /// Samples made up so far.
    pub(crate) fn concealed(&self) -> u64 {
        self.concealed
    }

    /// Samples between the fastest arrival and playing.
    pub(crate) fn delay(&self) -> i64 {
        self.delay
    }

    /// The wanted delay, in samples.
    pub(crate) fn target(&self) -> i64 {
        (self.arrival.spread() + GUARD).clamp(LEAST, MOST)
    }

    /// Takes the samples of one packet; `newer` says that its sequence number is above all before.
    pub fn push(&mut self, when: Moment, timestamp: u32, samples: &[i16], newer: bool) -> Placement {
        let length = samples.len() as i64;
        if length == 0 || length > JUMP {
            return Placement::Late;
        }
        if !self.started {
            self.start(timestamp);
        }
        let mut position = self.position(timestamp);
        let ahead = position - self.cursor;
        if ahead.abs() > JUMP {
            if !newer {
                return Placement::Late;
            }
            if self.jump != Some(timestamp) && self.starved < STARVED {
                self.jump = Some(timestamp.wrapping_add(samples.len() as u32));
                return Placement::Doubtful;
            }
            self.reset();
            self.start(timestamp);
            position = self.position(timestamp);
        } else if ahead < 0 && newer && self.newest <= self.cursor && (-ahead <= REWIND || self.starved >= STARVED) {
            // It was awaited and covered meanwhile: play it after all, later than planned.
            self.cursor = position;
        }
        self.jump = None;
        if newer {
            self.last_timestamp = timestamp;
            self.last_position = position;
        }
        let late_by = self.arrival.note(when.clock, when.clock - position);
        self.delay = position - self.cursor + FRAME_I - when.into_tick + late_by;
        if position + length <= self.cursor {
            return Placement::Late;
        }
        self.store(position, samples);
        if self.newest - self.cursor > BACKLOG {
            self.skip_to(self.newest - self.target());
        }
        Placement::Placed
    }

    /// Marks a stretch as silent where no audio came, so that it is not taken for a loss (keys, comfort noise).
    pub(crate) fn hush(&mut self, timestamp: u32, length: u32) {
        if !self.started {
            return;
        }
        let position = self.position(timestamp);
        let end = (position + i64::from(length)).min(self.cursor + JUMP);
        let mut at = position.max(self.cursor);
        if end - at > JUMP {
            return;
        }
        while at < end {
            if !self.is_present(at) {
                self.store(at, &[0]);
            }
            at += 1;
        }
    }

    /// One frame, always.
    pub fn pop(&mut self, frame: &mut Frame) -> CallerAudio {
        *frame = SILENCE;
        if !self.started {
            self.conceal.fill(frame);
            return CallerAudio::Silent;
        }
        let whole = self.contiguous(LOOK);
        if whole < FRAME {
            return self.pop_with_gaps(frame);
        }
        let target = self.target();
        let used = if whole == LOOK && self.delay > target + FRAME_I {
            stretch::compress(&self.copy(), frame)
        } else if self.delay < target - GUARD {
            stretch::expand(&self.copy(), frame)
        } else {
            *frame = self.copy();
            FRAME
        };
        self.delay -= used as i64 - FRAME_I;
        self.consume(used);
        self.conceal.good(frame);
        self.starved = 0;
        CallerAudio::Received
    }

    fn pop_with_gaps(&mut self, frame: &mut Frame) -> CallerAudio {
        let (mut received, mut made, mut at) = (0, 0, 0);
        while at < FRAME {
            let here = self.is_present(self.cursor + at as i64);
            let mut end = at + 1;
            while end < FRAME && self.is_present(self.cursor + end as i64) == here {
                end += 1;
            }
            let run = &mut frame[at..end];
            if here {
                for (i, sample) in run.iter_mut().enumerate() {
                    *sample = self.ring[index(self.cursor + (at + i) as i64)];
                }
                self.conceal.good(run);
                received += end - at;
            } else {
                made += self.conceal.fill(run);
            }
            at = end;
        }
        self.consume(FRAME);
        self.concealed += made as u64;
        self.starved = if received > 0 { 0 } else { self.starved.saturating_add(1) };
        match () {
            () if received >= FRAME / 2 => CallerAudio::Received,
            () if made > 0 => CallerAudio::Concealed,
            () if received > 0 => CallerAudio::Received,
            () => CallerAudio::Silent,
        }
    }

    /// The first packet is played at the tick after next: 20 to 40 ms after it came.
    fn start(&mut self, timestamp: u32) {
        self.started = true;
        self.last_timestamp = timestamp;
        self.last_position = i64::from(timestamp);
        self.cursor = self.last_position - FRAME_I;
        self.newest = self.cursor;
    }

    /// Unwraps a timestamp around the newest one.
    fn position(&self, timestamp: u32) -> i64 {
        self.last_position + i64::from(timestamp.wrapping_sub(self.last_timestamp) as i32)
    }

    fn store(&mut self, position: i64, samples: &[i16]) {
        for (at, &sample) in (position..).zip(samples) {
            if at >= self.cursor {
                let i = index(at);
                self.ring[i] = sample;
                self.present[i / 64] |= 1 << (i % 64);
            }
        }
        self.newest = self.newest.max(position + samples.len() as i64);
    }

    fn is_present(&self, at: i64) -> bool {
        let i = index(at);
        self.present[i / 64] >> (i % 64) & 1 == 1
    }

    /// Samples present from the cursor on, counted up to `most`.
    fn contiguous(&self, most: usize) -> usize {
        (self.cursor..).take(most).take_while(|&at| self.is_present(at)).count()
    }

    fn copy<const N: usize>(&self) -> [i16; N] {
        std::array::from_fn(|i| self.ring[index(self.cursor + i as i64)])
    }

    fn consume(&mut self, samples: usize) {
        for at in (self.cursor..).take(samples) {
            let i = index(at);
            self.present[i / 64] &= !(1 << (i % 64));
        }
        self.cursor += samples as i64;
    }

    fn skip_to(&mut self, position: i64) {
        let skipped = position - self.cursor;
        if let Ok(samples @ 1..) = usize::try_from(skipped) {
            self.consume(samples.min(RING));
            self.cursor = position;
            self.delay -= skipped;
        }
    }
}

fn index(position: i64) -> usize {
    position.rem_euclid(RING as i64) as usize
}

#[cfg(test)]
mod tests;
