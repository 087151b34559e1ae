//! Silero VAD for 8 kHz: the narrow-band branch of the published network, as a plain forward pass.
//!
//! One chunk of 256 samples and the state of its call go in, the probability of speech comes out. Sums run in the same order for one
//! call and for many, so a batch gives bit for bit what single evaluations give.

mod dft;
mod maths;
mod weights;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use self::{
    dft::{BINS, FRAMES},
    maths::{rectify, sigmoid, tanh},
    weights::Weights,
};

/// Samples in a chunk: 32 ms at 8 kHz. The network accepts other lengths and is then nearly deaf, hence the array types.
pub const CHUNK: usize = 256;
/// Samples of the chunk before that the network sees again.
const CONTEXT: usize = 32;
/// Width of the recurrent layer.
const CELL: usize = 128;
/// Calls evaluated together, so that a weight is read once for all of them.
const TILE: usize = 4;

/// What the network remembers of one call: 1.2 kB, zero at the start of the call.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    h: [f32; CELL],
    c: [f32; CELL],
    context: [f32; CONTEXT],
}

impl Default for Stream {
    fn default() -> Self {
        Self { h: [0.0; CELL], c: [0.0; CELL], context: [0.0; CONTEXT] }
    }
}

/// The network: weights only, shared by all calls.
#[derive(Debug)]
pub struct Silero {
    weights: Weights,
}

impl Silero {
    /// The one copy of the weights in this process, unpacked at the first use.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Silero> = OnceLock::new();
        SHARED.get_or_init(|| Self { weights: Weights::embedded() })
    }

    /// The probability (0 to 1) that `chunk`, the next 32 ms of this call, contains speech.
    pub fn evaluate(&self, stream: &mut Stream, chunk: &[i16; CHUNK]) -> f32 {
        let [p] = self.tile([stream], [chunk]);
        p
    }

    /// Evaluates one chunk each of several calls; as many are evaluated as the shortest of the three slices has.
    pub fn evaluate_batch(&self, streams: &mut [&mut Stream], chunks: &[[i16; CHUNK]], out: &mut [f32]) {
        let count = streams.len().min(chunks.len()).min(out.len());
        let (streams, chunks, out) = (&mut streams[..count], &chunks[..count], &mut out[..count]);
        let whole = count - count % TILE;
        let (tiles, rest) = streams.split_at_mut(whole);
        let tiles = tiles.chunks_exact_mut(TILE).zip(chunks.chunks_exact(TILE)).zip(out.chunks_exact_mut(TILE));
        for ((streams, chunks), out) in tiles {
            if let ([s0, s1, s2, s3], [c0, c1, c2, c3]) = (streams, chunks) {
                out.copy_from_slice(&self.tile([&mut **s0, &mut **s1, &mut **s2, &mut **s3], [c0, c1, c2, c3]));
            }
        }
        for ((stream, chunk), p) in rest.iter_mut().zip(&chunks[whole..]).zip(&mut out[whole..]) {
            *p = self.evaluate(stream, chunk);
        }
    }

    fn tile<const N: usize>(&self, streams: [&mut Stream; N], chunks: [&[i16; CHUNK]; N]) -> [f32; N] {
        let weights = &self.weights;
        // Encoder: four spectra become one vector of 128 for each call.
        let mut narrow = [[0.0; 128]; N];
        for ((stream, chunk), narrow) in streams.iter().zip(chunks).zip(&mut narrow) {
            *narrow = self.spectra(&stream.context, chunk);
        }
        let mut squeezed = [[0.0; 64]; N];
        weights.conv2.apply(&narrow, &mut squeezed);
        rectify(&mut squeezed);
        let mut encoded = [[0.0; 128]; N];
        weights.conv3.apply(&squeezed, &mut encoded);
        rectify(&mut encoded);

        // Recurrent cell: [x ; h] -> gates in the order i, f, g, o.
        let mut input = [[0.0; 2 * CELL]; N];
        for ((input, encoded), stream) in input.iter_mut().zip(&encoded).zip(&streams) {
            input[..CELL].copy_from_slice(encoded);
            input[CELL..].copy_from_slice(&stream.h);
        }
        let mut gates = [[0.0; 4 * CELL]; N];
        weights.lstm.apply(&input, &mut gates);
        let mut p = [0.0; N];
        for (((stream, chunk), gates), p) in streams.into_iter().zip(chunks).zip(&gates).zip(&mut p) {
            *p = self.step(stream, gates);
            for (context, &sample) in stream.context.iter_mut().zip(&chunk[CHUNK - CONTEXT..]) {
                *context = scaled(sample);
            }
        }
        p
    }

    /// Spectra and the first two convolutions: 128 samples apart they see four frames, then two, side by side in the result.
    fn spectra(&self, context: &[f32; CONTEXT], chunk: &[i16; CHUNK]) -> [f32; 128] {
        let mut window = [0.0; dft::WINDOW];
        window[..CONTEXT].copy_from_slice(context);
        for (x, &sample) in window[CONTEXT..CONTEXT + CHUNK].iter_mut().zip(chunk) {
            *x = scaled(sample);
        }
        // Reflection on the right only, without repeating the last sample.
        for k in 0..CONTEXT {
            window[CONTEXT + CHUNK + k] = window[CONTEXT + CHUNK - 2 - k];
        }
        let magnitudes = self.weights.dft.magnitudes(&window);

        // Each convolution has three taps and one frame of zeros on both sides: laid side by side it is a product.
        let mut input = [[0.0; 3 * BINS]; FRAMES];
        for (t, input) in input.iter_mut().enumerate() {
            for (tap, slot) in input.chunks_exact_mut(BINS).enumerate() {
                if let Some(frame) = (t + tap).checked_sub(1).and_then(|frame| magnitudes.get(frame)) {
                    slot.copy_from_slice(frame);
                }
            }
        }
        let mut wide = [[0.0; 128]; FRAMES];
        self.weights.conv0.apply(&input, &mut wide);
        rectify(&mut wide);

        // Stride two: the outputs are centred on frames 0 and 2.
        let mut input = [[0.0; 3 * 128]; 2];
        for (t, input) in input.iter_mut().enumerate() {
            for (tap, slot) in input.chunks_exact_mut(128).enumerate() {
                if let Some(frame) = (2 * t + tap).checked_sub(1).and_then(|frame| wide.get(frame)) {
                    slot.copy_from_slice(frame);
                }
            }
        }
        let mut pair = [[0.0; 64]; 2];
        self.weights.conv1.apply(&input, &mut pair);
        rectify(&mut pair);

        let mut narrow = [0.0; 128];
        narrow[..64].copy_from_slice(&pair[0]);
        narrow[64..].copy_from_slice(&pair[1]);
        narrow
    }

    fn step(&self, stream: &mut Stream, gates: &[f32; 4 * CELL]) -> f32 {
        let (input, rest) = gates.split_at(CELL);
        let (forget, rest) = rest.split_at(CELL);
        let (candidate, output) = rest.split_at(CELL);
        for k in 0..CELL {
            stream.c[k] = sigmoid(forget[k]) * stream.c[k] + sigmoid(input[k]) * tanh(candidate[k]);
            stream.h[k] = sigmoid(output[k]) * tanh(stream.c[k]);
        }
        // Only the head sees the rectified state; what is carried on keeps its sign.
        let mut sum = self.weights.head_bias;
        for (h, weight) in stream.h.iter().zip(&self.weights.head) {
            sum += h.max(0.0) * weight;
        }
        sigmoid(sum)
    }
}

fn scaled(sample: i16) -> f32 {
    f32::from(sample) / 32768.0
}
