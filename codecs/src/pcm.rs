//! One frame of telephone audio: 20 ms of linear samples at 8 kHz, its level and its edges.

/// Samples a second.
pub const RATE: u32 = 8000;
/// Samples in a frame of 20 ms.
pub const FRAME: usize = 160;
/// Twenty milliseconds of linear audio.
pub type Frame = [i16; FRAME];
/// A frame of nothing.
pub const SILENCE: Frame = [0; FRAME];

/// The level that [`rms_dbov`] gives for digital silence.
pub const FLOOR_DBOV: f32 = -127.0;

/// Root mean square level in dBov (0 = a full-scale square wave, as RFC 6464 counts), never below [`FLOOR_DBOV`].
pub fn rms_dbov(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return FLOOR_DBOV;
    }
    let energy: f64 = samples.iter().map(|&s| f64::from(s) * f64::from(s)).sum();
    let mean = energy / samples.len() as f64;
    if mean < 1e-9 {
        return FLOOR_DBOV;
    }
    let dbov = 10.0 * (mean / (32768.0 * 32768.0)).log10();
    (dbov as f32).clamp(FLOOR_DBOV, 0.0)
}

/// Rises linearly from nothing at the first sample to full at the end of the slice.
pub fn fade_in(samples: &mut [i16]) {
    let n = samples.len() as i32;
    for (i, sample) in samples.iter_mut().enumerate() {
        *sample = (i32::from(*sample) * i as i32 / n) as i16;
    }
}

/// Falls linearly from full at the first sample to (almost) nothing at the end of the slice.
pub fn fade_out(samples: &mut [i16]) {
    let n = samples.len() as i32;
    for (i, sample) in samples.iter_mut().enumerate() {
        *sample = (i32::from(*sample) * (n - i as i32) / n) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_of_silence_is_the_floor_and_of_a_square_wave_is_zero() {
        assert_eq!(rms_dbov(&SILENCE), FLOOR_DBOV);
        assert_eq!(rms_dbov(&[]), FLOOR_DBOV);
        assert_eq!(rms_dbov(&[i16::MIN; 10]), 0.0);
        assert!((rms_dbov(&[16384; 160]) + 6.02).abs() < 0.01);
    }

    #[test]
    fn fades_start_and_end_where_they_say() {
        let mut rising = [10_000i16; FRAME];
        fade_in(&mut rising);
        assert_eq!(rising[0], 0);
        assert!(rising[FRAME - 1] > 9_900 && rising.is_sorted());
        let mut falling = [-10_000i16; FRAME];
        fade_out(&mut falling);
        assert_eq!(falling[0], -10_000);
        assert!(falling[FRAME - 1] > -100 && falling.is_sorted());
        fade_in(&mut []);
        fade_out(&mut []);
    }
}
