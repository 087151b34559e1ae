//! Against ONNX Runtime's own outputs, and that a batch does not change them.

use super::*;

const STREAMS: usize = 20;
const CHUNKS: usize = 45;
const AUDIO: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/golden/audio.i16"));
const EXPECTED: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/golden/p.f32"));

fn chunk(stream: usize, n: usize) -> [i16; CHUNK] {
    let samples = &AUDIO.as_chunks::<2>().0[(stream * CHUNKS + n) * CHUNK..][..CHUNK];
    std::array::from_fn(|k| i16::from_le_bytes(samples[k]))
}

fn expected(stream: usize, n: usize) -> f32 {
    f32::from_le_bytes(EXPECTED.as_chunks::<4>().0[stream * CHUNKS + n])
}

/// Probabilities of all streams, evaluated `size` at a time in the order given.
fn batched(order: &[usize], size: usize) -> Vec<Vec<f32>> {
    let mut streams = vec![Stream::default(); order.len()];
    let mut found = vec![Vec::new(); STREAMS];
    for n in 0..CHUNKS {
        for (streams, order) in streams.chunks_mut(size).zip(order.chunks(size)) {
            let mut refs: Vec<&mut Stream> = streams.iter_mut().collect();
            let chunks: Vec<_> = order.iter().map(|&stream| chunk(stream, n)).collect();
            let mut out = vec![f32::NAN; order.len()];
            Silero::shared().evaluate_batch(&mut refs, &chunks, &mut out);
            for (&stream, p) in order.iter().zip(out) {
                found[stream].push(p);
            }
        }
    }
    found
}

#[test]
fn equals_onnx_runtime_without_a_flipped_decision() {
    assert_eq!((AUDIO.len(), EXPECTED.len()), (2 * STREAMS * CHUNKS * CHUNK, 4 * STREAMS * CHUNKS));
    let (mut worst, mut voiced) = (0.0f32, 0);
    for stream in 0..STREAMS {
        let mut state = Stream::default();
        for n in 0..CHUNKS {
            let (found, expected) = (Silero::shared().evaluate(&mut state, &chunk(stream, n)), expected(stream, n));
            worst = worst.max((found - expected).abs());
            assert_eq!(found >= 0.5, expected >= 0.5, "stream {stream} chunk {n}: {found} for {expected}");
            voiced += usize::from(found >= 0.5);
        }
    }
    assert!(worst < 2e-5, "largest difference {worst}");
    assert!(voiced > 300, "only {voiced} voiced chunks: the vectors test nothing");
}

#[test]
fn batch_size_and_place_change_no_bit() {
    let order: Vec<usize> = (0..STREAMS).collect();
    let alone = batched(&order, 1);
    for size in [2, 3, 4, 5, 7, 8, 9, 16, 17, 20] {
        assert_eq!(batched(&order, size), alone, "batches of {size}");
    }
    let permuted: Vec<usize> = (0..STREAMS).map(|n| (n * 7 + 3) % STREAMS).collect();
    assert_eq!(batched(&permuted, 16), alone);
}

#[test]
fn stops_at_the_shortest_slice() {
    let (mut a, mut b) = (Stream::default(), Stream::default());
    let mut out = [-1.0; 2];
    Silero::shared().evaluate_batch(&mut [&mut a, &mut b], &[[0; CHUNK]], &mut out);
    assert!(out[0] >= 0.0);
    assert_eq!(out[1], -1.0);
    assert_eq!(b, Stream::default());
    Silero::shared().evaluate_batch(&mut [], &[], &mut []);
}

#[test]
fn long_silence_leaves_no_subnormal_state() {
    let mut state = Stream::default();
    for _ in 0..2000 {
        Silero::shared().evaluate(&mut state, &[0; CHUNK]);
    }
    assert!(state.h.iter().chain(&state.c).all(|x| !x.is_subnormal() && x.is_finite()));
}

#[test]
fn weights_are_the_published_ones() {
    use sha2::{Digest, Sha256};
    let sum = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/silero_vad_8k.f32.sha256"));
    let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/silero_vad_8k.f32"));
    let found: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(sum.split_whitespace().next(), Some(found.as_str()));
}
