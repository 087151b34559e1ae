//! The published weights, unpacked once into the order in which the products read them.

use super::dft::{BINS, Dft};

/// Written by `scripts/vad/extract_weights.py`, which names the order of the layers.
const EMBEDDED: &[u8; 876_036] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/silero_vad_8k.f32"));
/// Outputs computed together: enough independent sums to hide the latency of an addition.
const BLOCK: usize = 16;
/// Rows that share a pass over the weights: as many as leave the sums in registers.
const GROUP: usize = if cfg!(target_feature = "avx") { 4 } else { 2 };

/// A product `K -> N` with bias; weights lie as `[block of outputs][k][output]`, so that they are read strictly forward.
#[derive(Debug)]
pub(super) struct Product<const K: usize, const N: usize> {
    blocks: Box<[[[f32; BLOCK]; K]]>,
    bias: [f32; N],
}

impl<const K: usize, const N: usize> Product<K, N> {
    fn pack(bias: [f32; N], weight: impl Fn(usize, usize) -> f32) -> Self {
        const { assert!(N.is_multiple_of(BLOCK)) };
        let mut blocks = vec![[[0.0; BLOCK]; K]; N / BLOCK].into_boxed_slice();
        for (b, block) in blocks.iter_mut().enumerate() {
            for (k, row) in block.iter_mut().enumerate() {
                for (j, slot) in row.iter_mut().enumerate() {
                    *slot = weight(b * BLOCK + j, k);
                }
            }
        }
        Self { blocks, bias }
    }

    /// `out[s] = weights · rows[s] + bias` for all rows; how rows are grouped changes no result.
    pub(super) fn apply<const S: usize>(&self, rows: &[[f32; K]; S], out: &mut [[f32; N]; S]) {
        for (b, block) in self.blocks.iter().enumerate() {
            let (rows, odd_rows) = rows.as_chunks::<GROUP>();
            let (out, odd_out) = out.as_chunks_mut::<GROUP>();
            for (rows, out) in rows.iter().zip(out) {
                self.group(b, block, rows, out);
            }
            for (row, out) in odd_rows.iter().zip(odd_out) {
                self.group(b, block, std::array::from_ref(row), std::array::from_mut(out));
            }
        }
    }

    /// Not inlined: among other code the compiler has been seen to keep the sums in memory, at four times the cost.
    #[inline(never)]
    fn group<const S: usize>(
        &self,
        b: usize,
        block: &[[f32; BLOCK]; K],
        rows: &[[f32; K]; S],
        out: &mut [[f32; N]; S],
    ) {
        let mut sums = [[0.0; BLOCK]; S];
        for (k, weights) in block.iter().enumerate() {
            for s in 0..S {
                let x = rows[s][k];
                for j in 0..BLOCK {
                    sums[s][j] += x * weights[j];
                }
            }
        }
        let bias = &self.bias[b * BLOCK..(b + 1) * BLOCK];
        for (out, sums) in out.iter_mut().zip(&sums) {
            for ((out, sum), bias) in out[b * BLOCK..(b + 1) * BLOCK].iter_mut().zip(sums).zip(bias) {
                *out = sum + bias;
            }
        }
    }
}

/// All layers; taps of a convolution that only ever meet padding are left out.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) dft: Dft,
    pub(super) conv0: Product<{ 3 * BINS }, 128>,
    pub(super) conv1: Product<{ 3 * 128 }, 64>,
    pub(super) conv2: Product<128, 64>,
    pub(super) conv3: Product<64, 128>,
    pub(super) lstm: Product<256, 512>,
    pub(super) head: [f32; 128],
    pub(super) head_bias: f32,
}

impl Weights {
    /// Unpacks the weights that are compiled in: once, about a millisecond.
    pub(super) fn embedded() -> Self {
        let mut rest = EMBEDDED.as_slice();
        let mut take = |count: usize| -> Vec<f32> {
            let (now, later) = rest.split_at(4 * count);
            rest = later;
            now.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        };
        let (w0, b0) = (take(128 * BINS * 3), row(&take(128)));
        let (w1, b1) = (take(64 * 128 * 3), row(&take(64)));
        let (w2, b2) = (take(64 * 64 * 3), row(&take(64)));
        let (w3, b3) = (take(128 * 64 * 3), row(&take(128)));
        let (w_ih, w_hh) = (take(512 * 128), take(512 * 128));
        let (b_ih, b_hh): ([f32; 512], [f32; 512]) = (row(&take(512)), row(&take(512)));
        let (head, head_bias) = (row(&take(128)), take(1)[0]);
        // In the file a convolution lies as [output][input][tap].
        Self {
            dft: Dft::new(),
            conv0: Product::pack(b0, |n, k| w0[(n * BINS + k % BINS) * 3 + k / BINS]),
            conv1: Product::pack(b1, |n, k| w1[(n * 128 + k % 128) * 3 + k / 128]),
            conv2: Product::pack(b2, |n, k| w2[(n * 64 + k % 64) * 3 + 1 + k / 64]),
            conv3: Product::pack(b3, |n, k| w3[(n * 64 + k) * 3 + 1]),
            lstm: Product::pack(std::array::from_fn(|n| b_ih[n] + b_hh[n]), |n, k| match k.checked_sub(128) {
                None => w_ih[n * 128 + k],
                Some(k) => w_hh[n * 128 + k],
            }),
            head,
            head_bias,
        }
    }
}

fn row<const N: usize>(values: &[f32]) -> [f32; N] {
    std::array::from_fn(|n| values[n])
}
