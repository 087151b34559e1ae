//! When the caller speaks: probabilities from a network, edges from the ear.

mod config;
mod ear;
mod energy;
mod silero;

use crate::Ms;

pub use self::{
    config::{Engine, VadConfig, VadConfigError},
    ear::Ear,
    energy::Energy,
    silero::{CHUNK, Silero, Stream},
};

/// The caller began or ceased to speak; the ear knows no patience, how long a pause may last is decided by who listens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Speech began.
    On {
        /// First voiced millisecond, as well as it can be told.
        at: Ms,
    },
    /// Speech ended.
    Off {
        /// Last voiced millisecond, not before that of the `On`.
        at: Ms,
    },
}

/// What one call's detector remembers between chunks.
#[derive(Clone, Debug)]
pub enum Vad {
    /// State of the network.
    Silero(Box<Stream>),
    /// Background level.
    Energy(Box<Energy>),
}

impl Vad {
    /// A detector that has heard nothing.
    pub fn new(engine: Engine) -> Self {
        match engine {
            Engine::Silero => Self::Silero(Box::default()),
            Engine::Energy => Self::Energy(Box::default()),
        }
    }

    /// The probability that this chunk, the next of the call, contains speech.
    pub fn evaluate(&mut self, chunk: &[i16; CHUNK]) -> f32 {
        match self {
            Self::Silero(stream) => Silero::shared().evaluate(stream, chunk),
            Self::Energy(energy) => energy.evaluate(chunk),
        }
    }
}

/// Judges every ear that has a chunk ready, in batches, and reports edges with the index of the call they belong to.
///
/// A voice thread calls this once per tick, after it has pushed the frames of all its calls: the weights then pass through the
/// cache once per batch instead of once per call.
pub fn listen<'a>(calls: impl IntoIterator<Item = (&'a mut Ear, &'a mut Vad)>, mut edge: impl FnMut(usize, Edge)) {
    const BATCH: usize = 16;
    let mut batch: Vec<(usize, &mut Ear, &mut Stream)> = Vec::with_capacity(BATCH);
    for (index, (ear, vad)) in calls.into_iter().enumerate() {
        let Some(chunk) = ear.ready() else { continue };
        match vad {
            Vad::Energy(energy) => {
                let p = energy.evaluate(chunk);
                if let Some(found) = ear.judge(p) {
                    edge(index, found);
                }
            }
            Vad::Silero(stream) => {
                batch.push((index, ear, stream));
                if batch.len() == BATCH {
                    judge(&mut batch, &mut edge);
                }
            }
        }
    }
    judge(&mut batch, &mut edge);
}

fn judge(batch: &mut Vec<(usize, &mut Ear, &mut Stream)>, edge: &mut impl FnMut(usize, Edge)) {
    let chunks: Vec<_> = batch.iter().map(|(_, ear, _)| *ear.ready().unwrap_or(&[0; CHUNK])).collect();
    let mut streams: Vec<_> = batch.iter_mut().map(|(_, _, stream)| &mut **stream).collect();
    let mut p = vec![0.0; streams.len()];
    Silero::shared().evaluate_batch(&mut streams, &chunks, &mut p);
    for ((index, ear, _), p) in batch.drain(..).zip(p) {
        if let Some(found) = ear.judge(p) {
            edge(index, found);
        }
    }
}
