//! From frames to chunks, and from probabilities to edges: the ear of one call, without a clock of its own.

use codecs::pcm::{FRAME, Frame, rms_dbov};

use super::{CHUNK, Edge, VadConfig};
use crate::Ms;

const PER_MS: u64 = 8;
/// Speech begins, at the median, 16 ms (quiet line) to 52 ms (10 dB of noise) before the first voiced chunk does.
const ONSET_LEAD: u64 = 32 * PER_MS;
/// Speech ended, at the median, 80 to 120 ms before the last voiced chunk did: the network is slow to let go. A little less is taken
/// off, so that what is cut at this point loses no end of a word.
const RELEASE_LAG: u64 = 64 * PER_MS;
/// How long one raising of the floor lasts.
const FLOOR_FOR: u64 = 10_000 * PER_MS;
/// Start threshold while the floor is raised: this halves the segments that voices in the background keep open.
const FLOOR_START: f32 = 0.7;
/// Stop threshold while the floor is raised.
const FLOOR_STOP: f32 = 0.55;
/// Longest way of an echo from playout to the ear.
const ECHO_TAIL: u64 = 300 * PER_MS;
/// An echo is at least this much quieter than what was played, in dB (a hands-free telephone within ITU-T G.131).
const ECHO_LOSS: f32 = 30.0;
/// What is played below this level has no audible echo, in dBov.
const ECHO_FROM: f32 = -50.0;
/// Start threshold while the agent is heard: an echo of speech is speech to the network.
const ECHO_START: f32 = 0.65;

/// Where the caller stands between two edges; positions are samples since answer.
#[derive(Clone, Copy, Debug)]
enum State {
    Quiet { run: u32, first: u64 },
    Speaking { on: u64, voiced_until: u64, pause: u32 },
}

/// The ear of one call: collects frames into chunks of 32 ms and turns their probabilities into edges.
///
/// Push every frame; whenever [`Ear::ready`] gives a chunk, have it evaluated and hand the probability to [`Ear::judge`].
#[derive(Clone, Debug)]
pub struct Ear {
    config: VadConfig,
    pending: [i16; 2 * CHUNK],
    len: usize,
    /// Position of the first pending sample.
    start: u64,
    state: State,
    /// Position of the last `Off`: no `On` may lie before it.
    earliest: u64,
    floor_until: u64,
    played_dbov: f32,
    played_until: u64,
}

impl Ear {
    /// An ear at the start of a call.
    pub fn new(config: VadConfig) -> Self {
        Self {
            config,
            pending: [0; 2 * CHUNK],
            len: 0,
            start: 0,
            state: State::Quiet { run: 0, first: 0 },
            earliest: 0,
            floor_until: 0,
            played_dbov: f32::NEG_INFINITY,
            played_until: 0,
        }
    }

    /// Takes 20 ms of the caller, `at_sample` samples after answer. A frame that does not follow on the one before begins a new
    /// chunk; if chunks are not judged, the oldest is forgotten.
    pub fn push(&mut self, at_sample: u64, frame: &Frame) {
        if at_sample != self.end() {
            self.len = 0;
            self.start = at_sample;
        }
        if self.len + FRAME > self.pending.len() {
            self.forget();
        }
        self.pending[self.len..self.len + FRAME].copy_from_slice(frame);
        self.len += FRAME;
    }

    /// The chunk that waits to be judged; two frames out of three complete one, none completes two.
    pub fn ready(&self) -> Option<&[i16; CHUNK]> {
        if self.len < CHUNK { None } else { self.pending.first_chunk() }
    }

    /// Takes the probability of speech in the ready chunk and tells whether it makes an edge. Without a ready chunk it does nothing.
    pub fn judge(&mut self, p: f32) -> Option<Edge> {
        let (from, until) = (self.start, self.start + CHUNK as u64);
        let echo_bound = if until < self.played_until { self.played_dbov } else { f32::NEG_INFINITY };
        let level = rms_dbov(self.ready()?);
        self.forget();

        let (mut start, mut stop) = (self.config.start, self.config.stop);
        if from < self.floor_until {
            (start, stop) = (start.max(FLOOR_START), stop.max(FLOOR_STOP));
        }
        if echo_bound > ECHO_FROM {
            start = if level > echo_bound - ECHO_LOSS { start.max(ECHO_START) } else { f32::INFINITY };
        }
        match self.state {
            State::Quiet { run, first } if p >= start => {
                let first = if run == 0 { from } else { first };
                if run + 1 < self.config.start_chunks {
                    self.state = State::Quiet { run: run + 1, first };
                    return None;
                }
                let on = first.saturating_sub(ONSET_LEAD).max(self.earliest);
                self.state = State::Speaking { on, voiced_until: until, pause: 0 };
                Some(Edge::On { at: ms(on) })
            }
            State::Quiet { .. } => {
                self.state = State::Quiet { run: 0, first: 0 };
                None
            }
            State::Speaking { on, .. } if p >= stop => {
                self.state = State::Speaking { on, voiced_until: until, pause: 0 };
                None
            }
            State::Speaking { on, voiced_until, pause } => {
                if pause + 1 < self.config.end_chunks {
                    self.state = State::Speaking { on, voiced_until, pause: pause + 1 };
                    return None;
                }
                let off = voiced_until.saturating_sub(RELEASE_LAG).max(on);
                self.earliest = off;
                self.state = State::Quiet { run: 0, first: 0 };
                Some(Edge::Off { at: ms(off) })
            }
        }
    }

    /// Whether the last edge was an `On`.
    pub fn speaking(&self) -> bool {
        matches!(self.state, State::Speaking { .. })
    }

    /// For the next ten seconds only clear speech counts: for a voice that went on without the recogniser hearing words in it.
    pub fn raise_floor(&mut self) {
        self.floor_until = self.end() + FLOOR_FOR;
    }

    /// Tells the level of the agent's audio (dBov, one value for each frame played) for a guard against its echo: for 300 ms after
    /// it, speech begins only on a clear sign of it that is louder than an echo could be.
    pub fn agent_level(&mut self, dbov: f32) {
        if dbov >= self.played_dbov || self.end() >= self.played_until {
            self.played_dbov = dbov;
            self.played_until = self.end() + ECHO_TAIL;
        }
    }

    /// Position after the last pending sample.
    fn end(&self) -> u64 {
        self.start + self.len as u64
    }

    fn forget(&mut self) {
        let count = self.len.min(CHUNK);
        self.pending.copy_within(count..self.len, 0);
        self.len -= count;
        self.start += count as u64;
    }
}

fn ms(samples: u64) -> Ms {
    samples / PER_MS
}

#[cfg(test)]
#[path = "ear_tests.rs"]
mod tests;
