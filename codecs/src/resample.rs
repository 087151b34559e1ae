//! Half-band FIR filters between 8 and 16 kHz, streaming, for engines that want wideband input.
//!
//! A half-band filter has one phase that is a pure delay and one of 32 coefficients; the transition is centred on 4 kHz.

use std::f32::consts::PI;

/// Coefficients of the phase that is not a delay.
const TAPS: usize = 32;
/// Kaiser window shape: about 70 dB of stop-band.
const BETA: f64 = 6.8;

/// The modified Bessel function of the first kind, order zero, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}

/// The odd phase, scaled to unit gain at DC.
fn odd_phase() -> [f32; TAPS] {
    let mut taps = [0f32; TAPS];
    for (i, tap) in taps.iter_mut().enumerate() {
        // Offsets −31, −29 … 31 from the centre, in samples of the higher rate.
        let offset = 2.0 * i as f64 - (TAPS as f64 - 1.0);
        let angle = f64::from(PI) / 2.0 * offset;
        let position = offset / TAPS as f64;
        let window = bessel_i0(BETA * (1.0 - position * position).sqrt()) / bessel_i0(BETA);
        *tap = (angle.sin() / angle * window) as f32;
    }
    let sum: f32 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}

fn to_sample(value: f32) -> i16 {
    // A float-to-integer cast saturates, so overshoot clips instead of wrapping.
    value.round() as i16
}

/// The last [`TAPS`] samples of one phase, stored twice so that a window is always contiguous.
#[derive(Debug, Clone)]
struct History {
    samples: [f32; TAPS * 2],
    next: usize,
}

impl History {
    fn new() -> Self {
        History { samples: [0.0; TAPS * 2], next: 0 }
    }

    fn push(&mut self, sample: i16) {
        self.samples[self.next] = f32::from(sample);
        self.samples[self.next + TAPS] = f32::from(sample);
        self.next = (self.next + 1) % TAPS;
    }

    /// Oldest first.
    fn window(&self) -> &[f32] {
        &self.samples[self.next..self.next + TAPS]
    }

    fn dot(&self, taps: &[f32; TAPS]) -> f32 {
        self.window().iter().zip(taps).map(|(x, h)| x * h).sum()
    }
}

/// 8 kHz in, 16 kHz out: two samples for each. Delays by 15 samples of the input (1.9 ms).
#[derive(Debug, Clone)]
pub struct Up2 {
    taps: [f32; TAPS],
    history: History,
}

impl Default for Up2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Up2 {
    /// A filter whose past is silence.
    pub fn new() -> Self {
        Up2 { taps: odd_phase(), history: History::new() }
    }

    /// Appends exactly `2 * input.len()` samples to `output`.
    pub fn process(&mut self, input: &[i16], output: &mut Vec<i16>) {
        output.reserve(input.len() * 2);
        for &sample in input {
            self.history.push(sample);
            // The window spans x[n-31]..x[n]: its middle lies between x[n-16] and x[n-15].
            output.push(to_sample(self.history.window()[TAPS / 2 - 1]));
            output.push(to_sample(self.history.dot(&self.taps)));
        }
    }
}

/// 16 kHz in, 8 kHz out: one sample for two. Delays by 31 samples of the input (1.9 ms).
#[derive(Debug, Clone)]
pub struct Down2 {
    taps: [f32; TAPS],
    even: History,
    odd: History,
    /// The first half of a pair whose second half is still to come.
    pending: Option<i16>,
}

impl Default for Down2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Down2 {
    /// A filter whose past is silence.
    pub fn new() -> Self {
        Down2 { taps: odd_phase(), even: History::new(), odd: History::new(), pending: None }
    }

    /// Appends a sample for every pair of the stream; an odd sample at the end of a block waits for the next block.
    pub fn process(&mut self, input: &[i16], output: &mut Vec<i16>) {
        output.reserve(input.len() / 2 + 1);
        for &sample in input {
            let Some(first) = self.pending.take() else {
                self.pending = Some(sample);
                continue;
            };
            self.even.push(first);
            self.odd.push(sample);
            // Pairs (2n, 2n+1); the odd samples spanning 2n-61..2n+1 are centred on the even sample 2n-30.
            let centre = self.even.window()[TAPS / 2];
            output.push(to_sample(0.5 * (centre + self.odd.dot(&self.taps))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f32, rate: f32, n: usize) -> Vec<i16> {
        (0..n).map(|i| ((2.0 * PI * hz * i as f32 / rate).sin() * 10_000.0) as i16).collect()
    }

    /// Amplitude of one frequency by correlation, over a whole number of periods.
    fn amplitude(samples: &[i16], hz: f32, rate: f32) -> f32 {
        let (mut re, mut im) = (0.0, 0.0);
        for (i, &s) in samples.iter().enumerate() {
            let angle = 2.0 * PI * hz * i as f32 / rate;
            re += f32::from(s) * angle.cos();
            im += f32::from(s) * angle.sin();
        }
        2.0 * re.hypot(im) / samples.len() as f32
    }

    #[test]
    fn speech_band_passes_up_and_down_unchanged() {
        for hz in [100.0, 1000.0, 2000.0, 3000.0, 3400.0] {
            let (mut wide, mut back) = (Vec::new(), Vec::new());
            Up2::new().process(&sine(hz, 8000.0, 1760), &mut wide);
            assert_eq!(wide.len(), 3520);
            let up = amplitude(&wide[320..], hz, 16_000.0);
            assert!((up / 10_000.0 - 1.0).abs() < 0.02, "{hz} up {up}");
            Down2::new().process(&wide, &mut back);
            assert_eq!(back.len(), 1760);
            let down = amplitude(&back[160..], hz, 8000.0);
            assert!((down / 10_000.0 - 1.0).abs() < 0.03, "{hz} down {down}");
        }
    }

    #[test]
    fn images_and_aliases_are_sixty_decibels_down() {
        let mut wide = Vec::new();
        Up2::new().process(&sine(1000.0, 8000.0, 1760), &mut wide);
        assert!(amplitude(&wide[320..], 7000.0, 16_000.0) < 10.0);
        let mut narrow = Vec::new();
        Down2::new().process(&sine(6000.0, 16_000.0, 3520), &mut narrow);
        assert!(amplitude(&narrow[160..], 2000.0, 8000.0) < 10.0);
    }

    #[test]
    fn the_cut_into_blocks_does_not_matter() {
        let input = sine(700.0, 16_000.0, 1000);
        let mut whole = Vec::new();
        Down2::new().process(&input, &mut whole);
        let (mut pieces, mut filter) = (Vec::new(), Down2::new());
        for block in input.chunks(7) {
            filter.process(block, &mut pieces);
        }
        assert_eq!(whole, pieces);
    }

    #[test]
    fn full_scale_clips_and_does_not_wrap() {
        let input: Vec<i16> = (0..400).map(|i| if i / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let mut wide = Vec::new();
        Up2::new().process(&input, &mut wide);
        // In the middle of each plateau the sign must be that of the input.
        assert!(wide[2 * (15 + 10)] > 30_000 && wide[2 * (15 + 30)] < -30_000);
    }
}
