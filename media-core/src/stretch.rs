//! Plays a little faster or slower without changing the pitch: one period is cut out or repeated, with a cross-fade.

use codecs::pcm::{FRAME, Frame};

/// Longest piece cut out by [`compress`], in samples.
pub(crate) const LONGEST_CUT: usize = 120;
/// Samples that [`compress`] looks at.
pub(crate) const LOOK: usize = FRAME + LONGEST_CUT;
/// Shortest piece: 400 Hz.
const SHORTEST: usize = 20;
const LONGEST_REPEAT: usize = 80;
const FADE: usize = 40;

/// One frame from more than a frame; returns how many samples of `from` are used up.
pub(crate) fn compress(from: &[i16; LOOK], to: &mut Frame) -> usize {
    const AT: usize = 20;
    let lag =
        best_lag(SHORTEST..=LONGEST_CUT, |lag| similarity(&from[AT..AT + FADE], &from[AT + lag..AT + lag + FADE]));
    to[..AT].copy_from_slice(&from[..AT]);
    cross_fade(&from[AT..AT + FADE], &from[AT + lag..AT + lag + FADE], &mut to[AT..AT + FADE]);
    to[AT + FADE..].copy_from_slice(&from[AT + FADE + lag..FRAME + lag]);
    FRAME + lag
}

/// One frame from less than a frame; returns how many samples of `from` are used up.
pub(crate) fn expand(from: &Frame, to: &mut Frame) -> usize {
    const AT: usize = LONGEST_REPEAT;
    let lag =
        best_lag(SHORTEST..=LONGEST_REPEAT, |lag| similarity(&from[AT..AT + FADE], &from[AT - lag..AT - lag + FADE]));
    to[..AT].copy_from_slice(&from[..AT]);
    cross_fade(&from[AT..AT + FADE], &from[AT - lag..AT - lag + FADE], &mut to[AT..AT + FADE]);
    to[AT + FADE..].copy_from_slice(&from[AT + FADE - lag..FRAME - lag]);
    FRAME - lag
}

/// The lag of the highest score; the longest of equals, so that silence moves fastest.
pub(crate) fn best_lag(lags: std::ops::RangeInclusive<usize>, score: impl Fn(usize) -> f32) -> usize {
    let mut best = (*lags.end(), score(*lags.end()));
    for lag in lags.rev().skip(1) {
        let score = score(lag);
        if score > best.1 {
            best = (lag, score);
        }
    }
    best.0
}

/// Normalised correlation, −1 to 1; 0 when either side is silent.
pub(crate) fn similarity(a: &[i16], b: &[i16]) -> f32 {
    let (mut ab, mut aa, mut bb) = (0f32, 0f32, 0f32);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f32::from(x), f32::from(y));
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    let power = (aa * bb).sqrt();
    if power > 0.0 { ab / power } else { 0.0 }
}

/// Linear, from `old` to `new`.
pub(crate) fn cross_fade(old: &[i16], new: &[i16], to: &mut [i16]) {
    let n = to.len() as i32;
    for (i, ((&a, &b), out)) in old.iter().zip(new).zip(to.iter_mut()).enumerate() {
        let i = i as i32;
        *out = ((i32::from(a) * (n - i) + i32::from(b) * i) / n) as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(n: usize) -> Vec<i16> {
        // 125 Hz with harmonics: a period of 64 samples.
        let angle = |i: usize, k: f32| (i as f32 * k * std::f32::consts::TAU / 64.0).sin();
        (0..n).map(|i| (6000.0 * angle(i, 1.0) + 3000.0 * angle(i, 2.0) + 1500.0 * angle(i, 5.0)) as i16).collect()
    }

    #[test]
    fn a_voiced_sound_is_cut_and_repeated_by_whole_periods() {
        let source = voice(LOOK);
        let mut out = [0; FRAME];
        assert_eq!(compress(source[..].try_into().unwrap(), &mut out), FRAME + 64);
        for i in 0..FRAME {
            assert!((i32::from(out[i]) - i32::from(source[i])).abs() <= 2, "still the same wave at {i}");
        }
        assert_eq!(expand(source[..FRAME].try_into().unwrap(), &mut out), FRAME - 64);
        for i in 0..FRAME {
            assert!((i32::from(out[i]) - i32::from(source[i])).abs() <= 2, "still the same wave at {i}");
        }
    }

    #[test]
    fn silence_moves_by_the_longest_piece() {
        let mut out = [1; FRAME];
        assert_eq!(compress(&[0; LOOK], &mut out), FRAME + LONGEST_CUT);
        assert_eq!(expand(&[0; FRAME], &mut out), FRAME - LONGEST_REPEAT);
        assert_eq!(out, [0; FRAME]);
    }
}
