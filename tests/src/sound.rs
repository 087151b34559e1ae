//! What can be read off samples: where there is voice, and where it stops.

use codecs::pcm::{FRAME, rms_dbov};

/// A frame this loud is voice, in dBov.
const VOICE_DBOV: f32 = -45.0;

/// A recording of a call, at 8 kHz.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stereo {
    /// What came from the caller.
    pub caller: Vec<i16>,
    /// What the agent sent.
    pub agent: Vec<i16>,
}

/// A span of 20 ms frames with voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its beginning, ms.
    pub start_ms: u64,
    /// Its end, ms.
    pub end_ms: u64,
}

/// One bool for each 20 ms: is there voice?
#[must_use]
pub fn voiced(samples: &[i16]) -> Vec<bool> {
    samples.chunks(FRAME).map(|frame| rms_dbov(frame) > VOICE_DBOV).collect()
}

/// Voice altogether, ms.
#[must_use]
pub fn voice_ms(samples: &[i16]) -> u64 {
    voiced(samples).iter().filter(|voice| **voice).count() as u64 * 20
}

/// The spans of voice; pauses shorter than `pause_ms` do not divide.
#[must_use]
pub fn spans(samples: &[i16], pause_ms: u64) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for (frame, _) in voiced(samples).iter().enumerate().filter(|(_, voice)| **voice) {
        let start_ms = frame as u64 * 20;
        match spans.last_mut() {
            Some(last) if start_ms < last.end_ms + pause_ms => last.end_ms = start_ms + 20,
            _ => spans.push(Span { start_ms, end_ms: start_ms + 20 }),
        }
    }
    spans
}

/// The first voice at or after `from_ms`.
#[must_use]
pub fn onset(samples: &[i16], from_ms: u64) -> Option<u64> {
    let first = usize::try_from(from_ms.div_ceil(20)).unwrap_or(usize::MAX);
    voiced(samples).iter().skip(first).position(|voice| *voice).map(|frame| (first + frame) as u64 * 20)
}

/// The pauses between the first voice and the last, longest first, ms.
#[must_use]
pub fn pauses_ms(samples: &[i16]) -> Vec<u64> {
    let voice: Vec<bool> = samples.chunks(STEP).map(|step| rms_dbov(step) > VOICE_DBOV).collect();
    let runs = voice.split(|voice| *voice).map(|pause| pause.len() as u64 * 10);
    // What is before the first voice and behind the last is no pause.
    let mut pauses: Vec<u64> = runs.collect();
    pauses.pop();
    pauses.drain(..pauses.len().min(1));
    pauses.retain(|pause| *pause > 0);
    pauses.sort_unstable_by(|a, b| b.cmp(a));
    pauses
}

/// Samples of one step of what looks closer than a frame: 10 ms.
const STEP: usize = FRAME / 2;
/// The reference has voice above this, in dBov …
const SURE_VOICE_DBOV: f32 = -38.0;
/// … and what was heard has a hole below this. The distance between the two is what an alignment to 10 ms costs.
const HOLE_DBOV: f32 = -60.0;

/// The longest time in which `reference` has voice and `heard` has none, once both lie on each other as well as they can; ms.
///
/// `heard` is the longer one. A gap that was put in moves everything behind it, so it cannot hide by being short of voice.
#[must_use]
pub fn longest_hole_ms(reference: &[i16], heard: &[i16]) -> u64 {
    let level = |samples: &[i16]| -> Vec<f32> { samples.chunks(STEP).map(rms_dbov).collect() };
    let (wanted, got) = (level(reference), level(heard));
    let likeness = |shift: usize| -> f32 {
        let pairs = wanted.iter().zip(got.iter().skip(shift));
        pairs.map(|(a, b)| (a.max(HOLE_DBOV) - HOLE_DBOV) * (b.max(HOLE_DBOV) - HOLE_DBOV)).sum()
    };
    let shifts = 0..=got.len().saturating_sub(wanted.len() / 2);
    let best = shifts.max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap_or(0);
    let (mut longest, mut run) = (0, 0);
    for (step, wanted) in wanted.iter().enumerate() {
        let got = got.get(best + step).copied().unwrap_or(f32::NEG_INFINITY);
        run = if *wanted > SURE_VOICE_DBOV && got < HOLE_DBOV { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest * 10
}

/// The samples between two times.
#[must_use]
pub fn between(samples: &[i16], start_ms: u64, end_ms: u64) -> &[i16] {
    let at = |ms: u64| usize::try_from(ms * 8).unwrap_or(usize::MAX).min(samples.len());
    &samples[at(start_ms)..at(end_ms.max(start_ms))]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speech(pattern: &str) -> Vec<i16> {
        let frame = |sound| (0..FRAME as i16).map(move |n| if sound { (n % 8 - 4) * 2000 } else { 0 });
        pattern.chars().flat_map(|c| frame(c == 'x')).collect()
    }

    #[test]
    fn short_pauses_do_not_divide_a_span() {
        let spans = spans(&speech("..xx.xx....x"), 60);
        assert_eq!(spans, [Span { start_ms: 40, end_ms: 140 }, Span { start_ms: 220, end_ms: 240 }]);
    }

    #[test]
    fn an_onset_is_looked_for_from_a_time_on() {
        let samples = speech("x..xx");
        assert_eq!(onset(&samples, 0), Some(0));
        assert_eq!(onset(&samples, 10), Some(60));
        assert_eq!(onset(&samples, 100), None);
        assert_eq!(voice_ms(&samples), 60);
    }

    #[test]
    fn pauses_lie_between_voice_and_voice() {
        assert_eq!(pauses_ms(&speech("...x.xx...x..")), [60, 20]);
        assert!(pauses_ms(&speech("...")).is_empty());
        assert!(pauses_ms(&speech(".x")).is_empty());
    }

    #[test]
    fn a_hole_is_found_wherever_the_audio_lies() {
        let (whole, holed) = (speech("xx.xxxxxx.xx"), speech("....xx.x...xxx.xx..."));
        assert_eq!(longest_hole_ms(&whole, &[speech("...."), whole.clone()].concat()), 0);
        assert_eq!(longest_hole_ms(&whole, &holed), 60);
    }

    #[test]
    fn a_gap_that_was_put_in_is_a_hole_too() {
        let (whole, stretched) = (speech("xxxxxxxxxxxx"), speech("..xxxxxx...xxxxxx.."));
        assert_eq!(longest_hole_ms(&whole, &stretched), 60);
    }
}
