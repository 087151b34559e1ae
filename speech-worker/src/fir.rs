//! A half-band low-pass between 8 and 16 kHz: a windowed sinc of 63 taps, of which every second is zero.

/// Non-zero taps on each side of the middle.
const SIDE: usize = 16;
/// Samples of history at the lower rate.
const HISTORY: usize = 2 * SIDE;

/// The odd taps, from the middle outwards, scaled so that one phase alone has unity gain.
fn taps() -> [f32; SIDE] {
    let mut taps = [0.0; SIDE];
    for (i, tap) in taps.iter_mut().enumerate() {
        let n = (2 * i + 1) as f64;
        let x = std::f64::consts::PI * n;
        // sin(πn/2)/(πn/2) under a Blackman window.
        let window = 0.42 + 0.5 * (x / (HISTORY as f64)).cos() + 0.08 * (2.0 * x / (HISTORY as f64)).cos();
        *tap = ((x / 2.0).sin() / (x / 2.0) * window) as f32;
    }
    let sum: f32 = taps.iter().sum::<f32>() * 2.0;
    taps.map(|tap| tap / sum)
}

fn clip(value: f32) -> i16 {
    value.round().clamp(-32768.0, 32767.0) as i16
}

/// 8 to 16 kHz, a stream.
pub(crate) struct Up {
    taps: [f32; SIDE],
    line: [f32; HISTORY],
}

impl Up {
    pub(crate) fn new() -> Self {
        Up { taps: taps(), line: [0.0; HISTORY] }
    }

    /// Appends two samples for each one; they come out two milliseconds late.
    pub(crate) fn process(&mut self, input: &[i16], out: &mut Vec<i16>) {
        for &sample in input {
            self.line.copy_within(1.., 0);
            self.line[HISTORY - 1] = f32::from(sample);
            // The sample in the middle as it is, then the one half way to the next.
            out.push(clip(self.line[SIDE - 1]));
            let between: f32 = (0..SIDE).map(|i| self.taps[i] * (self.line[SIDE - 1 - i] + self.line[SIDE + i])).sum();
            out.push(clip(between));
        }
    }
}

/// 16 to 8 kHz, a whole wave at once, without delay.
pub(crate) fn down(input: &[i16]) -> Vec<i16> {
    let taps = taps();
    let at = |i: isize| usize::try_from(i).ok().and_then(|i| input.get(i)).map_or(0.0, |s| f32::from(*s));
    (0..input.len().div_ceil(2))
        .map(|n| {
            let middle = 2 * n as isize;
            let sides: f32 = (0..SIDE)
                .map(|i| {
                    let off = 2 * i as isize + 1;
                    taps[i] * (at(middle - off) + at(middle + off))
                })
                .sum();
            clip(0.5 * at(middle) + 0.5 * sides)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f64, rate: f64, len: usize) -> Vec<i16> {
        (0..len).map(|n| ((2.0 * std::f64::consts::PI * hz * n as f64 / rate).sin() * 10_000.0) as i16).collect()
    }

    fn rms(samples: &[i16]) -> f64 {
        (samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
    }

    #[test]
    fn speech_passes_downwards_and_what_would_fold_does_not() {
        let pass = down(&tone(1000.0, 16_000.0, 16_000));
        assert_eq!(pass.len(), 8000);
        assert!((rms(&pass[200..7800]) / 7071.0 - 1.0).abs() < 0.02);
        let stop = down(&tone(6000.0, 16_000.0, 16_000));
        assert!(rms(&stop[200..7800]) < 7071.0 / 300.0);
    }

    #[test]
    fn upwards_the_tone_stays_and_gets_no_image() {
        let mut out = Vec::new();
        let mut up = Up::new();
        for chunk in tone(1000.0, 8000.0, 8000).chunks(37) {
            up.process(chunk, &mut out);
        }
        assert_eq!(out.len(), 16_000);
        let ideal = tone(1000.0, 16_000.0, 16_000);
        let delay = 2 * SIDE;
        let error: Vec<i16> = (1000..15_000).map(|n| out[n].wrapping_sub(ideal[n - delay])).collect();
        assert!(rms(&error) < 7071.0 / 200.0, "{}", rms(&error));
    }
}
