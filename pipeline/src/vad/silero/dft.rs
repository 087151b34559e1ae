//! The spectra the network listens to: magnitudes of four Hann-windowed frames of 128 samples, 64 apart.

use std::f64::consts::PI;

/// Samples in a frame.
const SIZE: usize = 128;
/// Samples between the starts of two frames.
const HOP: usize = 64;
/// Bins of a spectrum, from 0 Hz to half the sampling rate.
pub(super) const BINS: usize = SIZE / 2 + 1;
/// Spectra of one chunk.
pub(super) const FRAMES: usize = 4;
/// Samples under all frames of one chunk.
pub(super) const WINDOW: usize = SIZE + (FRAMES - 1) * HOP;
/// Lanes of the transform: real frames 0 and 2 carry 1 and 3 as their imaginary parts.
const LANES: usize = FRAMES / 2;

/// Real and imaginary parts of all points, the lanes of a point side by side.
type Points = [[f32; LANES]; SIZE];

/// Tables of the transform.
#[derive(Debug)]
pub(super) struct Dft {
    hann: [f32; SIZE],
    cos: [f32; SIZE / 2],
    sin: [f32; SIZE / 2],
}

impl Dft {
    pub(super) fn new() -> Self {
        let angle = |n: usize| 2.0 * PI * n as f64 / SIZE as f64;
        Self {
            hann: std::array::from_fn(|n| (0.5 - 0.5 * angle(n).cos()) as f32),
            cos: std::array::from_fn(|n| angle(n).cos() as f32),
            sin: std::array::from_fn(|n| -angle(n).sin() as f32),
        }
    }

    /// Magnitudes, unscaled, of the frames in `window`.
    pub(super) fn magnitudes(&self, window: &[f32; WINDOW]) -> [[f32; BINS]; FRAMES] {
        let (mut re, mut im): (Points, Points) = ([[0.0; LANES]; SIZE], [[0.0; LANES]; SIZE]);
        for n in 0..SIZE {
            for lane in 0..LANES {
                re[n][lane] = window[2 * lane * HOP + n] * self.hann[n];
                im[n][lane] = window[(2 * lane + 1) * HOP + n] * self.hann[n];
            }
        }
        let (re, im) = self.transform(re, im);
        let mut out = [[0.0; BINS]; FRAMES];
        for bin in 0..BINS {
            let mirror = (SIZE - bin) % SIZE;
            for lane in 0..LANES {
                // A real signal has a conjugate-symmetric spectrum: that takes the two frames of a lane apart.
                let (a, b) = (re[bin][lane], im[bin][lane]);
                let (c, d) = (re[mirror][lane], im[mirror][lane]);
                let (real, imaginary) = (0.5 * (a + c), 0.5 * (b - d));
                out[2 * lane][bin] = (real * real + imaginary * imaginary).sqrt();
                let (real, imaginary) = (0.5 * (b + d), 0.5 * (c - a));
                out[2 * lane + 1][bin] = (real * real + imaginary * imaginary).sqrt();
            }
        }
        out
    }

    /// Stockham's fast Fourier transform: results come out in order, without a bit-reversal pass.
    fn transform(&self, mut re: Points, mut im: Points) -> (Points, Points) {
        let (mut to_re, mut to_im): (Points, Points) = ([[0.0; LANES]; SIZE], [[0.0; LANES]; SIZE]);
        let (mut half, mut stride) = (SIZE / 2, 1);
        while half >= 1 {
            for p in 0..half {
                let (cos, sin) = (self.cos[p * stride], self.sin[p * stride]);
                for q in 0..stride {
                    let (from, to) = (q + stride * p, q + stride * 2 * p);
                    let other = from + stride * half;
                    for lane in 0..LANES {
                        let (a, b) = (re[from][lane], im[from][lane]);
                        let (c, d) = (re[other][lane], im[other][lane]);
                        to_re[to][lane] = a + c;
                        to_im[to][lane] = b + d;
                        let (x, y) = (a - c, b - d);
                        to_re[to + stride][lane] = x * cos - y * sin;
                        to_im[to + stride][lane] = x * sin + y * cos;
                    }
                }
            }
            std::mem::swap(&mut re, &mut to_re);
            std::mem::swap(&mut im, &mut to_im);
            half /= 2;
            stride *= 2;
        }
        (re, im)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_equal_the_defining_sum() {
        let window: [f32; WINDOW] = std::array::from_fn(|n| ((n * n * 7 + n * 13) % 101) as f32 / 101.0 - 0.4);
        let found = Dft::new().magnitudes(&window);
        for (frame, found) in found.iter().enumerate() {
            for (bin, found) in found.iter().enumerate() {
                let (mut re, mut im) = (0.0, 0.0);
                for n in 0..SIZE {
                    let angle = 2.0 * PI * (n * bin) as f64 / SIZE as f64;
                    let x =
                        f64::from(window[frame * HOP + n]) * (0.5 - 0.5 * (2.0 * PI * n as f64 / SIZE as f64).cos());
                    re += x * angle.cos();
                    im += x * angle.sin();
                }
                assert!((f64::from(*found) - re.hypot(im)).abs() < 2e-5, "frame {frame} bin {bin}");
            }
        }
    }

    #[test]
    fn silence_has_no_magnitude() {
        assert_eq!(Dft::new().magnitudes(&[0.0; WINDOW]), [[0.0; BINS]; FRAMES]);
    }
}
