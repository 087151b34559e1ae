//! One generation of agent audio: chunks as they came, where it is played, how much of it was heard.

use crate::event::Spent;
use codecs::pcm::Frame;
use std::collections::VecDeque;

/// Played samples that are kept for a rewind: three seconds.
const KEPT: u64 = 24_000;

#[derive(Debug)]
pub(super) struct Speech {
    pub(super) r#gen: u64,
    pub(super) finished: bool,
    /// The next frame fades out and is the last.
    pub(super) stopping: bool,
    /// Something of it was played.
    pub(super) started: bool,
    pub(super) underrun: bool,
    chunks: VecDeque<Box<[i16]>>,
    /// Sample at which the first kept chunk begins.
    kept_from: u64,
    /// Chunk that is played, and the place in it.
    chunk: usize,
    offset: usize,
    /// Sample that is played next.
    position: u64,
    /// Furthest sample ever played.
    heard: u64,
}

impl Speech {
    pub(super) fn new(r#gen: u64, chunks: VecDeque<Box<[i16]>>) -> Self {
        Speech {
            r#gen,
            finished: false,
            stopping: false,
            started: false,
            underrun: false,
            chunks,
            kept_from: 0,
            chunk: 0,
            offset: 0,
            position: 0,
            heard: 0,
        }
    }

    pub(super) fn push(&mut self, pcm: Box<[i16]>) {
        self.chunks.push_back(pcm);
    }

    pub(super) fn heard_ms(&self) -> u32 {
        u32::try_from(self.heard / super::MS).unwrap_or(u32::MAX)
    }

    pub(super) fn is_played(&self) -> bool {
        // Empty chunks may stand behind the last sample.
        self.chunks.iter().skip(self.chunk).map(|chunk| chunk.len()).sum::<usize>() == self.offset
    }

    pub(super) fn into_chunks(self) -> VecDeque<Box<[i16]>> {
        self.chunks
    }

    /// Copies what there is, at most a frame; returns the number of samples.
    pub(super) fn read(&mut self, frame: &mut Frame, spent: &mut VecDeque<Spent>) -> usize {
        let mut filled = 0;
        while filled < frame.len() {
            let Some(chunk) = self.chunks.get(self.chunk) else { break };
            let rest = &chunk[self.offset..];
            let n = rest.len().min(frame.len() - filled);
            frame[filled..filled + n].copy_from_slice(&rest[..n]);
            filled += n;
            self.offset += n;
            if self.offset == chunk.len() {
                self.chunk += 1;
                self.offset = 0;
            }
        }
        self.position += filled as u64;
        self.heard = self.heard.max(self.position);
        self.let_go(spent);
        filled
    }

    /// Goes back by up to `samples`, as far as chunks are kept.
    pub(super) fn rewind(&mut self, samples: u64) {
        self.position = self.position.saturating_sub(samples.min(KEPT)).max(self.kept_from);
        let mut left = (self.position - self.kept_from) as usize;
        self.chunk = 0;
        while let Some(chunk) = self.chunks.get(self.chunk).filter(|chunk| left >= chunk.len()) {
            left -= chunk.len();
            self.chunk += 1;
        }
        self.offset = left;
    }

    fn let_go(&mut self, spent: &mut VecDeque<Spent>) {
        while self.chunk > 0
            && self.chunks.front().is_some_and(|first| self.kept_from + first.len() as u64 + KEPT <= self.position)
        {
            if let Some(first) = self.chunks.pop_front() {
                self.kept_from += first.len() as u64;
                self.chunk -= 1;
                spent.push_back(Spent::Audio(first));
            }
        }
    }
}
