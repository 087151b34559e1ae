//! Keys we press: event packets, three end packets, a pause; or tones in the audio when events were not agreed.

use super::Payload;
use crate::event::{Dial, Spent};
use codecs::pcm::{FRAME, Frame, SILENCE};
use codecs::tone::{KEYS, Tone};
use std::collections::VecDeque;

/// Milliseconds of a tick.
const TICK_MS: u32 = 20;
/// Ticks of a key's repeated end.
const ENDS: u32 = 3;
/// Ticks of a `w`.
const WAIT: u32 = 25;
/// Keys that come from another leg and wait to be pressed; more than that nobody presses.
const PASSED: usize = 32;

/// What to send in a tick in place of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Press {
    pub(crate) payload: Payload,
    /// The key, as it is called.
    pub(crate) digit: u8,
    /// The first packet of the event: it carries the marker.
    pub(crate) first: bool,
    /// Ticks since the event began: its timestamp lies that far back.
    pub(crate) age: u32,
    /// True in the pause between keys, when the audio is sent instead.
    pub(crate) pause: bool,
    /// The first tick after the key was let go.
    pub(crate) let_go: bool,
    /// Wanted as a tone.
    pub(crate) in_band: bool,
}

#[derive(Debug, Clone)]
struct Current {
    /// Code and tone; none for a wait.
    key: Option<(u8, Tone)>,
    digit: u8,
    tick: u32,
    /// Ticks it sounds, and until the next may begin.
    sound: u32,
    whole: u32,
    in_band: bool,
}

/// The keys that are still to be pressed.
#[derive(Debug)]
pub(crate) struct Presses {
    waiting: VecDeque<Dial>,
    next: usize,
    passed: VecDeque<u8>,
    current: Option<Current>,
}

impl Default for Presses {
    fn default() -> Self {
        Self { waiting: VecDeque::with_capacity(4), next: 0, passed: VecDeque::with_capacity(PASSED), current: None }
    }
}

impl Presses {
    pub(crate) fn add(&mut self, dial: Dial) {
        self.waiting.push_back(dial);
    }

    /// A key of another leg, pressed on as a person would; false when too many wait.
    pub(crate) fn pass(&mut self, digit: u8) -> bool {
        let room = self.passed.len() < PASSED;
        if room {
            self.passed.push_back(digit);
        }
        room
    }

    fn begin(&mut self, spent: &mut VecDeque<Spent>) -> Option<Current> {
        loop {
            if let Some(digit) = self.passed.pop_front() {
                if let Some(current) = Current::new(digit, 5, 7, false) {
                    return Some(current);
                }
                continue;
            }
            let dial = self.waiting.front()?;
            match dial.digits.get(self.next) {
                Some(&digit) => {
                    self.next += 1;
                    let ticks = |ms: u16| u32::from(ms).div_ceil(TICK_MS).max(1);
                    let current = Current::new(digit, ticks(dial.tone_ms), ticks(dial.gap_ms), dial.in_band);
                    if current.is_some() {
                        return current;
                    }
                }
                None => {
                    self.next = 0;
                    spent.extend(self.waiting.pop_front().map(|dial| Spent::Digits(dial.digits)));
                }
            }
        }
    }

    /// Advances by a tick; `tone` receives how the key sounds. `None` when no key is being pressed.
    pub(crate) fn tick(&mut self, tone: &mut Frame, spent: &mut VecDeque<Spent>) -> Option<Press> {
        if self.current.is_none() {
            self.current = self.begin(spent);
        }
        let current = self.current.as_mut()?;
        let age = current.tick;
        current.tick += 1;
        *tone = SILENCE;
        let sound = current.sound;
        let event = current.key.as_mut().map(|(event, key)| {
            if age < sound {
                key.fill(tone);
            }
            *event
        });
        let press = Press {
            payload: Payload {
                event: event.unwrap_or_default(),
                end: age >= sound,
                duration: ((age + 1).min(sound) * FRAME as u32) as u16,
            },
            digit: current.digit,
            first: age == 0,
            age,
            pause: event.is_none() || age >= sound + ENDS,
            let_go: event.is_some() && age == sound,
            in_band: current.in_band,
        };
        if current.tick == current.whole {
            self.current = None;
        }
        Some(press)
    }
}

impl Current {
    /// A key or a wait; `None` for what is neither.
    fn new(digit: u8, sound: u32, gap: u32, in_band: bool) -> Option<Self> {
        if digit.eq_ignore_ascii_case(&b'w') {
            return Some(Self { key: None, digit, tick: 0, sound: 0, whole: WAIT, in_band });
        }
        let digit = digit.to_ascii_uppercase();
        let event = KEYS.iter().position(|&key| key == digit)?;
        let key = Some((event as u8, Tone::dtmf(digit)?));
        Some(Self { key, digit, tick: 0, sound, whole: sound + gap.max(ENDS), in_band })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(dial: Dial) -> (Vec<Press>, VecDeque<Spent>) {
        let (mut presses, mut spent, mut tone) = (Presses::default(), VecDeque::new(), SILENCE);
        presses.add(dial);
        (std::iter::from_fn(|| presses.tick(&mut tone, &mut spent)).collect(), spent)
    }

    #[test]
    fn a_key_is_five_packets_three_ends_and_a_pause() {
        let (all, spent) = all(Dial::plain(b"x#".to_vec()));
        assert_eq!(all.len(), 12);
        assert!(all.iter().all(|p| p.payload.event == 11 && p.digit == b'#'));
        assert_eq!(all.iter().filter(|p| p.first).count(), 1);
        assert_eq!(all.iter().filter(|p| p.let_go).count(), 1);
        assert_eq!(all.iter().filter(|p| p.payload.end && !p.pause).count(), 3);
        assert_eq!(
            all[..8].iter().map(|p| p.payload.duration).collect::<Vec<_>>(),
            [160, 320, 480, 640, 800, 800, 800, 800]
        );
        assert_eq!(spent, [Spent::Digits(b"x#".to_vec())]);
    }

    #[test]
    fn a_w_is_half_a_second_of_nothing() {
        let (all, _) = all(Dial { tone_ms: 40, gap_ms: 40, ..Dial::plain(b"1w2".to_vec()) });
        // Two ticks of sound and the three ends that no gap is shorter than, before and after.
        assert_eq!(all.len(), 5 + 25 + 5);
        assert!(all[5..30].iter().all(|press| press.pause && !press.let_go));
        assert_eq!((all[0].digit, all[30].digit), (b'1', b'2'));
    }

    #[test]
    fn keys_of_another_leg_come_first_and_are_bounded() {
        let (mut presses, mut spent, mut tone) = (Presses::default(), VecDeque::new(), SILENCE);
        presses.add(Dial::plain(b"1".to_vec()));
        assert_eq!((0..40).filter(|_| presses.pass(b'7')).count(), PASSED);
        let first = presses.tick(&mut tone, &mut spent).unwrap();
        assert_eq!(first.digit, b'7');
    }
}
