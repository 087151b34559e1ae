//! What the agent says, paced by the tick: generations one after the other, paused, rewound and cancelled without a click.
//!
//! Only what was put into packets counts as heard, and only this room counts it.

mod speech;

use crate::event::{LegEvent, Spent};
use codecs::pcm::{self, FRAME, Frame, SILENCE};
use speech::Speech;
use std::collections::VecDeque;

/// Samples in a millisecond.
const MS: u64 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// The next frame fades out.
    Closing,
    Closed,
    /// The next frame fades in.
    Opening,
}

/// The mouth of a leg.
#[derive(Debug)]
pub(crate) struct Playout {
    /// The first one sounds; all but the last are finished or stopping.
    queue: VecDeque<Speech>,
    /// Emptied queues of chunks, so that a new generation need not allocate one.
    spare: Vec<VecDeque<Box<[i16]>>>,
    gate: Gate,
    /// Generations up to this one are over.
    over: Option<u64>,
}

impl Playout {
    pub(crate) fn new() -> Self {
        Playout { queue: VecDeque::with_capacity(8), spare: Vec::with_capacity(8), gate: Gate::Open, over: None }
    }

    /// Audio for a generation; gives it back when that generation is over.
    pub(crate) fn speak(&mut self, r#gen: u64, pcm: Box<[i16]>, out: &mut Out<'_>) -> Option<Spent> {
        match self.generation(r#gen, out) {
            Some(speech) if !speech.finished && !speech.stopping => {
                speech.push(pcm);
                None
            }
            _ => Some(Spent::Audio(pcm)),
        }
    }

    /// No more audio will come for a generation.
    pub(crate) fn finish(&mut self, r#gen: u64, out: &mut Out<'_>) {
        if let Some(speech) = self.generation(r#gen, out) {
            speech.finished = true;
        }
    }

    /// Silences what sounds. Without anything to sound there is nothing to pause: a pause that crosses a mark is void.
    pub(crate) fn pause(&mut self) {
        if self.queue.front().is_none_or(|speech| speech.stopping) {
            return;
        }
        self.gate = match self.gate {
            Gate::Open => Gate::Closing,
            Gate::Opening => Gate::Closed,
            closed => closed,
        };
    }

    /// Goes on from the sample where the pause was, or earlier.
    pub(crate) fn resume(&mut self, rewind_ms: u32) {
        match self.gate {
            // Nothing was faded yet.
            Gate::Closing => self.gate = Gate::Open,
            Gate::Closed => {
                self.gate = Gate::Opening;
                if let Some(speech) = self.queue.front_mut() {
                    speech.rewind(u64::from(rewind_ms) * MS);
                }
            }
            Gate::Open | Gate::Opening => {}
        }
    }

    /// Whether the next frame is the last of something that was cancelled.
    pub(crate) fn is_stopping(&self) -> bool {
        self.queue.front().is_some_and(|speech| speech.stopping)
    }

    /// Ends a generation and all before it.
    pub(crate) fn cancel(&mut self, r#gen: u64, out: &mut Out<'_>) {
        let silent = matches!(self.gate, Gate::Closed | Gate::Opening);
        let mut index = 0;
        while let Some(speech) = self.queue.get_mut(index).filter(|speech| speech.r#gen <= r#gen) {
            if index == 0 && speech.started && !silent {
                speech.stopping = true;
                index += 1;
            } else if let Some(speech) = self.queue.remove(index) {
                self.stopped(speech, out);
            }
        }
        self.over = self.over.max(Some(r#gen));
        self.gate = Gate::Open;
    }

    /// The next 20 ms of speech; `at` is their place in the leg's time.
    pub(crate) fn frame(&mut self, at: u64, frame: &mut Frame, out: &mut Out<'_>) {
        *frame = SILENCE;
        if self.gate == Gate::Closed {
            return;
        }
        let Some(speech) = self.queue.front_mut() else {
            return;
        };
        let r#gen = speech.r#gen;
        let read = speech.read(frame, out.spent);
        if read > 0 {
            if std::mem::take(&mut speech.underrun) {
                out.events.push_back(LegEvent::Refill { r#gen });
            }
            speech.started = true;
        }
        if self.gate == Gate::Opening {
            pcm::fade_in(frame);
            self.gate = Gate::Open;
        }
        if speech.stopping {
            pcm::fade_out(frame);
            if let Some(speech) = self.queue.pop_front() {
                self.stopped(speech, out);
            }
        } else if self.gate == Gate::Closing {
            pcm::fade_out(frame);
            self.gate = Gate::Closed;
            let heard_ms = speech.heard_ms();
            out.events.push_back(LegEvent::Paused { r#gen, heard_ms });
        } else if speech.is_played() {
            if speech.finished {
                out.events.push_back(LegEvent::Mark { r#gen, at: at + read as u64 });
                if let Some(speech) = self.queue.pop_front() {
                    self.retire(speech, out);
                }
            } else if read < FRAME && speech.started && !speech.underrun {
                speech.underrun = true;
                out.events.push_back(LegEvent::Underrun { r#gen });
            }
        }
    }

    /// The generation, begun if it is newer than all; `None` when it is over.
    fn generation(&mut self, r#gen: u64, out: &mut Out<'_>) -> Option<&mut Speech> {
        if self.over.is_some_and(|over| r#gen <= over) {
            return None;
        }
        if self.queue.back().is_none_or(|last| last.r#gen < r#gen) {
            self.supersede(out);
            let speech = Speech::new(r#gen, self.spare.pop().unwrap_or_else(|| VecDeque::with_capacity(64)));
            if self.queue.iter().all(|speech| speech.stopping) {
                // A new turn is not held by the pause of the one before.
                self.gate = Gate::Open;
            }
            self.queue.push_back(speech);
        }
        self.queue.iter_mut().find(|speech| speech.r#gen == r#gen)
    }

    /// An unfinished generation gives way to a newer one.
    fn supersede(&mut self, out: &mut Out<'_>) {
        if let Some(last) = self.queue.back().filter(|last| !last.finished && !last.stopping) {
            let r#gen = last.r#gen;
            let silent = matches!(self.gate, Gate::Closed | Gate::Opening) || !last.started || self.queue.len() > 1;
            if !silent {
                if let Some(last) = self.queue.back_mut() {
                    last.stopping = true;
                }
            } else if let Some(last) = self.queue.pop_back() {
                self.stopped(last, out);
            }
            self.over = self.over.max(Some(r#gen));
        }
    }

    fn stopped(&mut self, speech: Speech, out: &mut Out<'_>) {
        out.events.push_back(LegEvent::Stopped { r#gen: speech.r#gen, heard_ms: speech.heard_ms() });
        self.retire(speech, out);
    }

    fn retire(&mut self, speech: Speech, out: &mut Out<'_>) {
        self.over = self.over.max(Some(speech.r#gen));
        let mut chunks = speech.into_chunks();
        out.spent.extend(chunks.drain(..).map(Spent::Audio));
        if self.spare.len() < self.spare.capacity() {
            self.spare.push(chunks);
        }
    }
}

/// Where a playout puts what it has to say and what it no longer needs.
pub(crate) struct Out<'a> {
    pub(crate) events: &'a mut VecDeque<LegEvent>,
    pub(crate) spent: &'a mut VecDeque<Spent>,
}

#[cfg(test)]
mod tests;
