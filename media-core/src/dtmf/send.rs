//! Keys we press: 100 ms of event packets, three end packets, a pause; or tones in the audio when events were not agreed.

use super::Payload;
use crate::event::Spent;
use codecs::pcm::{FRAME, Frame, SILENCE};
use codecs::tone::{KEYS, Tone};
use std::collections::VecDeque;

/// Ticks of a key, of its repeated end, and of the pause behind it.
const SOUND: u32 = 5;
const ENDS: u32 = 3;
const PAUSE: u32 = 4;

/// What to send in a tick in place of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Press {
    pub(crate) payload: Payload,
    /// The first packet of the event: it carries the marker.
    pub(crate) first: bool,
    /// Ticks since the event began: its timestamp lies that far back.
    pub(crate) age: u32,
    /// True in the pause between keys, when the audio is sent instead.
    pub(crate) pause: bool,
}

#[derive(Debug, Clone)]
struct Current {
    event: u8,
    tone: Tone,
    tick: u32,
}

/// The keys that are still to be pressed.
#[derive(Debug, Default)]
pub(crate) struct Presses {
    waiting: VecDeque<Vec<u8>>,
    next: usize,
    current: Option<Current>,
}

impl Presses {
    pub(crate) fn add(&mut self, digits: Vec<u8>) {
        self.waiting.push_back(digits);
    }

    /// Advances by a tick; `tone` receives how the key sounds. `None` when no key is being pressed.
    pub(crate) fn tick(&mut self, tone: &mut Frame, spent: &mut VecDeque<Spent>) -> Option<Press> {
        while self.current.is_none() {
            let digits = self.waiting.front()?;
            match digits.get(self.next) {
                Some(&digit) => {
                    self.next += 1;
                    let event = KEYS.iter().position(|&key| key == digit.to_ascii_uppercase());
                    self.current =
                        event.zip(Tone::dtmf(digit)).map(|(event, tone)| Current { event: event as u8, tone, tick: 0 });
                }
                None => {
                    self.next = 0;
                    spent.extend(self.waiting.pop_front().map(Spent::Digits));
                }
            }
        }
        let current = self.current.as_mut()?;
        let age = current.tick;
        current.tick += 1;
        *tone = SILENCE;
        if age < SOUND {
            current.tone.fill(tone);
        }
        let press = Press {
            payload: Payload {
                event: current.event,
                end: age >= SOUND,
                duration: ((age + 1).min(SOUND) * FRAME as u32) as u16,
            },
            first: age == 0,
            age,
            pause: age >= SOUND + ENDS,
        };
        if current.tick == SOUND + ENDS + PAUSE {
            self.current = None;
        }
        Some(press)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_five_packets_three_ends_and_a_pause() {
        let (mut presses, mut spent, mut tone) = (Presses::default(), VecDeque::new(), SILENCE);
        presses.add(b"x#".to_vec());
        let all: Vec<Press> = std::iter::from_fn(|| presses.tick(&mut tone, &mut spent)).collect();
        assert_eq!(all.len(), 12);
        assert!(all.iter().all(|p| p.payload.event == 11));
        assert_eq!(all.iter().filter(|p| p.first).count(), 1);
        assert_eq!(all.iter().filter(|p| p.payload.end && !p.pause).count(), 3);
        assert_eq!(
            all[..8].iter().map(|p| p.payload.duration).collect::<Vec<_>>(),
            [160, 320, 480, 640, 800, 800, 800, 800]
        );
        assert_eq!(spent, [Spent::Digits(b"x#".to_vec())]);
    }
}
