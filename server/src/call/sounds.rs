//! Sounds of our own: what a caller hears on hold, and while somebody else's telephone rings. Made once, kept for ever.

use std::f32::consts::TAU;
use std::sync::{Arc, OnceLock};

use codecs::pcm::RATE;
use codecs::tone::Tone;

/// The European ringback, over and over.
pub(super) fn ringback() -> Arc<[i16]> {
    static SOUND: OnceLock<Arc<[i16]>> = OnceLock::new();
    let make = || {
        let mut samples = vec![0; RATE as usize * 5];
        Tone::ringback().fill(&mut samples);
        samples.into()
    };
    SOUND.get_or_init(make).clone()
}

/// Nothing at all.
pub(super) fn silence() -> Arc<[i16]> {
    static SOUND: OnceLock<Arc<[i16]>> = OnceLock::new();
    SOUND.get_or_init(|| Arc::new([])).clone()
}

/// Notes of a slow broken chord, in semitones above A3, half a second each; the last bar leads back to the first.
const MELODY: [i32; 32] =
    [3, 7, 10, 15, 10, 7, 10, 7, 0, 3, 7, 12, 7, 3, 7, 3, 5, 8, 12, 17, 12, 8, 12, 8, -2, 2, 5, 10, 5, 2, 5, 2];

/// Sixteen seconds of quiet plucked notes.
pub(super) fn music() -> Arc<[i16]> {
    static SOUND: OnceLock<Arc<[i16]>> = OnceLock::new();
    SOUND.get_or_init(|| pluck(&MELODY)).clone()
}

fn pluck(notes: &[i32]) -> Arc<[i16]> {
    let step = RATE as usize / 2;
    let whole = step * notes.len();
    let mut sum = vec![0.0_f32; whole];
    for (at, note) in notes.iter().enumerate() {
        let pitch = 220.0 * 2.0_f32.powf(*note as f32 / 12.0);
        // Each rings on under the next two, and over the end of the loop into its beginning.
        for n in 0..step * 3 {
            let t = n as f32 / RATE as f32;
            let attack = (t * 200.0).min(1.0);
            let tail = 1.0 - n as f32 / (step * 3) as f32;
            let wave =
                (t * pitch * TAU).sin() + 0.35 * (t * pitch * 2.0 * TAU).sin() + 0.12 * (t * pitch * 3.0 * TAU).sin();
            sum[(at * step + n) % whole] += wave * attack * tail * (-t * 2.2).exp();
        }
    }
    sum.into_iter().map(|sample| (sample * 2_200.0) as i16).collect()
}

#[cfg(test)]
mod tests {
    use codecs::pcm::rms_dbov;

    use super::*;

    #[test]
    fn sounds_are_as_loud_as_speech_and_no_louder() {
        for (name, sound) in [("music", music()), ("ringback", ringback())] {
            let level = rms_dbov(&sound);
            assert!((-32.0..-16.0).contains(&level), "{name}: {level} dBov");
            assert!(sound.iter().all(|sample| sample.unsigned_abs() < 16_000), "{name}");
        }
        assert_eq!(music().len() as u32, 16 * RATE);
    }
}
