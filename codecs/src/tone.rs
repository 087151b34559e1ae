//! Tones of the telephone: keys (ITU-T Q.23), ringback (ITU-T E.180) and a beep.

use crate::pcm::RATE;
use std::f64::consts::TAU;

/// The sixteen keys of Q.23, in the order of the RFC 4733 event numbers 0 to 15.
pub const KEYS: [u8; 16] = *b"0123456789*#ABCD";

const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f64; 4] = [1209.0, 1336.0, 1477.0, 1633.0];
const PAD: [[u8; 4]; 4] = [*b"123A", *b"456B", *b"789C", *b"*0#D"];

/// One or two sines with an optional cadence; continuous over calls of [`Tone::fill`].
#[derive(Debug, Clone)]
pub struct Tone {
    hertz: [f64; 2],
    /// Peak of each sine, in sample units.
    amplitude: f64,
    /// Samples on and off; `None` sounds without end.
    cadence: Option<(u32, u32)>,
    at: u32,
}

impl Tone {
    /// The tone pair of a key; `None` when there is no such key.
    pub fn dtmf(key: u8) -> Option<Tone> {
        let key = key.to_ascii_uppercase();
        let row = PAD.iter().position(|row| row.contains(&key))?;
        let column = PAD[row].iter().position(|&k| k == key)?;
        Some(Tone { hertz: [ROWS[row], COLUMNS[column]], amplitude: 6_500.0, cadence: None, at: 0 })
    }

    /// The European ringback: 425 Hz, one second of five.
    pub fn ringback() -> Tone {
        Tone { hertz: [425.0, 0.0], amplitude: 4_000.0, cadence: Some((RATE, 4 * RATE)), at: 0 }
    }

    /// The beep before a recording: 1000 Hz for 400 ms, then silence for the rest of a minute.
    pub fn beep() -> Tone {
        Tone {
            hertz: [1000.0, 0.0],
            amplitude: 8_000.0,
            cadence: Some((RATE * 2 / 5, RATE * 60 - RATE * 2 / 5)),
            at: 0,
        }
    }

    /// Overwrites `samples` with the next stretch of the tone.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            let sounding = match self.cadence {
                None => true,
                Some((on, off)) => {
                    // Every frequency and period used is whole in a second, so wrapping here is seamless.
                    if self.at >= on + off {
                        self.at = 0;
                    }
                    self.at < on
                }
            };
            *sample = if sounding {
                let seconds = f64::from(self.at) / f64::from(RATE);
                let sum: f64 = self.hertz.iter().map(|hz| (TAU * hz * seconds).sin()).sum();
                (sum * self.amplitude) as i16
            } else {
                0
            };
            self.at = self.at.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcm::rms_dbov;

    /// Goertzel power of one frequency.
    fn power(samples: &[i16], hz: f64) -> f64 {
        let coefficient = 2.0 * (TAU * hz / f64::from(RATE)).cos();
        let (mut a, mut b) = (0.0, 0.0);
        for &s in samples {
            let next = f64::from(s) + coefficient * a - b;
            b = a;
            a = next;
        }
        a * a + b * b - coefficient * a * b
    }

    #[test]
    fn each_key_sounds_its_row_and_its_column() {
        for (row, keys) in PAD.iter().enumerate() {
            for (column, &key) in keys.iter().enumerate() {
                let mut samples = [0; 800];
                Tone::dtmf(key).unwrap().fill(&mut samples);
                let loudest = |set: [f64; 4]| {
                    (0..4).max_by(|&a, &b| power(&samples, set[a]).total_cmp(&power(&samples, set[b]))).unwrap()
                };
                assert_eq!((loudest(ROWS), loudest(COLUMNS)), (row, column));
            }
        }
        assert!(Tone::dtmf(b'x').is_none());
    }

    #[test]
    fn ringback_sounds_one_second_of_five() {
        let mut samples = vec![0; 6 * RATE as usize];
        Tone::ringback().fill(&mut samples);
        assert!(rms_dbov(&samples[..8000]) > -30.0);
        assert!(samples[8000..40_000].iter().all(|&s| s == 0));
        assert!(rms_dbov(&samples[40_000..]) > -30.0);
    }

    #[test]
    fn a_tone_is_continuous_over_calls() {
        let (mut whole, mut pieces) = ([0; 320], [0; 320]);
        Tone::beep().fill(&mut whole);
        let mut tone = Tone::beep();
        pieces.chunks_mut(33).for_each(|piece| tone.fill(piece));
        assert_eq!(whole, pieces);
    }
}
