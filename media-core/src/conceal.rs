//! Packet loss concealment: the last pitch period goes on, fading to silence within 60 ms (after the idea of G.711 appendix I).

use crate::stretch::{best_lag, cross_fade, similarity};

/// 50 Hz; as short as 200 Hz, whose multiples cover higher voices.
const LONGEST: usize = 160;
const SHORTEST: usize = 40;
const COMPARED: usize = 80;
const PAST: usize = LONGEST + COMPARED + LONGEST / 4;
/// Full level for 10 ms, then down to nothing at 60 ms.
const HOLD: usize = 80;
const AUDIBLE: usize = 480;
const JOIN: usize = 40;

/// Remembers what was played last and goes on with it when nothing comes.
#[derive(Debug, Clone)]
pub struct Conceal {
    past: [i16; PAST],
    period: [i16; LONGEST],
    lag: usize,
    /// Samples made up since the last good one; at [`AUDIBLE`] all is silent.
    made: usize,
}

impl Default for Conceal {
    fn default() -> Self {
        Self::new()
    }
}

impl Conceal {
    /// Nothing is remembered: what is made up first is silence.
    #[must_use]
    pub fn new() -> Self {
        Conceal { past: [0; PAST], period: [0; LONGEST], lag: LONGEST, made: AUDIBLE }
    }

    /// Real audio is played: joins it to what was made up before, and remembers it.
    pub fn good(&mut self, samples: &mut [i16]) {
        if self.made > 0 {
            let n = samples.len().min(JOIN);
            let (mut tail, mut joined) = ([0; JOIN], [0; JOIN]);
            self.make(&mut tail[..n]);
            cross_fade(&tail[..n], &samples[..n], &mut joined[..n]);
            samples[..n].copy_from_slice(&joined[..n]);
            self.made = 0;
        }
        let n = samples.len().min(PAST);
        self.past.copy_within(n.., 0);
        self.past[PAST - n..].copy_from_slice(&samples[samples.len() - n..]);
    }

    /// Nothing came: fills the gap; returns how many of the samples are made-up sound rather than silence.
    pub fn fill(&mut self, samples: &mut [i16]) -> usize {
        if self.made == 0 {
            self.prepare();
        }
        let before = self.made;
        self.make(samples);
        self.made - before
    }

    fn prepare(&mut self) {
        let recent = &self.past[PAST - COMPARED..];
        self.lag =
            best_lag(SHORTEST..=LONGEST, |lag| similarity(recent, &self.past[PAST - COMPARED - lag..PAST - lag]));
        let lag = self.lag;
        self.period[..lag].copy_from_slice(&self.past[PAST - lag..]);
        // The end of the period leads into its beginning, so that repeating it makes no click.
        let n = lag / 4;
        cross_fade(&self.past[PAST - n..], &self.past[PAST - lag - n..PAST - lag], &mut self.period[lag - n..lag]);
    }

    fn make(&mut self, samples: &mut [i16]) {
        for sample in samples {
            let left = AUDIBLE - self.made;
            let full = (AUDIBLE - HOLD) as i32;
            *sample = (i32::from(self.period[self.made % self.lag]) * (left as i32).min(full) / full) as i16;
            self.made = (self.made + 1).min(AUDIBLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::pcm::{FRAME, rms_dbov};

    fn sine(from: usize) -> [i16; FRAME] {
        std::array::from_fn(|i| ((from + i) as f32 * std::f32::consts::TAU / 50.0).sin().mul_add(8000.0, 0.0) as i16)
    }

    #[test]
    fn a_lost_frame_of_a_tone_goes_on_in_phase() {
        let mut conceal = Conceal::new();
        for frame in 0..4 {
            conceal.good(&mut sine(frame * FRAME));
        }
        let mut made = [0; FRAME];
        assert_eq!(conceal.fill(&mut made), FRAME);
        let wanted = sine(4 * FRAME);
        assert!(similarity(&made, &wanted) > 0.98);
        assert!(rms_dbov(&made) > rms_dbov(&wanted) - 3.0);
    }

    #[test]
    fn a_long_loss_is_silent_after_sixty_milliseconds_and_comes_back_smoothly() {
        let mut conceal = Conceal::new();
        for frame in 0..4 {
            conceal.good(&mut sine(frame * FRAME));
        }
        let mut frame = [0; FRAME];
        let made: usize = (0..10).map(|_| conceal.fill(&mut frame)).sum();
        assert_eq!(made, AUDIBLE);
        assert_eq!(frame, [0; FRAME]);
        let mut back = [8000; FRAME];
        conceal.good(&mut back);
        assert!(back[0] == 0 && back[..JOIN].is_sorted() && back[JOIN] == 8000);
    }

    #[test]
    fn before_any_audio_there_is_only_silence() {
        let mut frame = [7; FRAME];
        assert_eq!(Conceal::new().fill(&mut frame), 0);
        assert_eq!(frame, [0; FRAME]);
    }
}
