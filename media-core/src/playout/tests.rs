//! The mouth, sample by sample.

use super::*;
use proptest::prelude::*;

struct Mouth {
    playout: Playout,
    events: VecDeque<LegEvent>,
    spent: VecDeque<Spent>,
    at: u64,
}

impl Mouth {
    fn new() -> Self {
        Mouth { playout: Playout::new(), events: VecDeque::new(), spent: VecDeque::new(), at: 0 }
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Playout, &mut Out<'_>) -> R) -> R {
        act(&mut self.playout, &mut Out { events: &mut self.events, spent: &mut self.spent })
    }

    fn speak(&mut self, r#gen: u64, pcm: Vec<i16>) -> bool {
        self.with(|p, out| p.speak(r#gen, pcm.into(), out)).is_none()
    }

    fn finish(&mut self, r#gen: u64) {
        self.with(|p, out| p.finish(r#gen, out));
    }

    fn cancel(&mut self, r#gen: u64) {
        self.with(|p, out| p.cancel(r#gen, out));
    }

    fn ticks(&mut self, n: usize) -> Vec<i16> {
        let mut heard = Vec::new();
        for _ in 0..n {
            let (mut frame, at) = (SILENCE, self.at);
            self.with(|p, out| p.frame(at, &mut frame, out));
            heard.extend_from_slice(&frame);
            self.at += FRAME as u64;
        }
        heard
    }

    fn events(&mut self) -> Vec<LegEvent> {
        self.events.drain(..).collect()
    }
}

fn ramp(from: i16, n: i16) -> Vec<i16> {
    (from..from + n).collect()
}

#[test]
fn chunks_of_any_length_are_one_sound_and_the_mark_follows_its_last_sample() {
    let mut mouth = Mouth::new();
    assert!(mouth.speak(1, ramp(1, 100)) && mouth.speak(1, vec![]) && mouth.speak(1, ramp(101, 300)));
    mouth.finish(1);
    assert_eq!(mouth.ticks(1), ramp(1, 160));
    assert!(mouth.events().is_empty());
    assert_eq!(mouth.ticks(2)[..240], ramp(161, 240));
    assert_eq!(mouth.events(), [LegEvent::Mark { r#gen: 1, at: 400 }]);
    assert_eq!(mouth.spent.len(), 3);
    assert!(!mouth.speak(1, ramp(0, 1)), "it is over");
}

#[test]
fn a_pause_fades_and_resumes_from_the_same_sample() {
    let mut mouth = Mouth::new();
    mouth.speak(1, vec![1000; 1600]);
    mouth.ticks(2);
    mouth.playout.pause();
    let faded = mouth.ticks(1);
    assert!(faded[0] == 1000 && faded[159] < 10 && faded.is_sorted_by(|a, b| a >= b));
    assert_eq!(mouth.events(), [LegEvent::Paused { r#gen: 1, heard_ms: 60 }]);
    assert!(mouth.ticks(5).iter().all(|&s| s == 0));
    mouth.playout.resume(0);
    let back = mouth.ticks(1);
    assert!(back[0] == 0 && back[159] > 990 && back.is_sorted());
    mouth.finish(1);
    mouth.ticks(6);
    assert_eq!(mouth.events(), [LegEvent::Mark { r#gen: 1, at: 15 * 160 }]);
}

#[test]
fn a_rewind_repeats_and_never_counts_twice() {
    let mut mouth = Mouth::new();
    mouth.speak(1, ramp(0, 800));
    mouth.speak(1, ramp(800, 800));
    mouth.ticks(6);
    mouth.playout.pause();
    mouth.ticks(1);
    mouth.playout.resume(60);
    mouth.ticks(1);
    assert_eq!(mouth.ticks(1), ramp(1120 - 480 + 160, 160));
    mouth.cancel(1);
    mouth.ticks(1);
    assert_eq!(
        mouth.events(),
        [LegEvent::Paused { r#gen: 1, heard_ms: 140 }, LegEvent::Stopped { r#gen: 1, heard_ms: 140 }]
    );
}

#[test]
fn a_rewind_goes_back_at_most_three_seconds_and_spends_what_is_older() {
    let mut mouth = Mouth::new();
    for _ in 0..10 {
        mouth.speak(1, vec![5; 8000]);
    }
    mouth.ticks(400);
    assert_eq!(mouth.spent.len(), 5);
    mouth.playout.pause();
    mouth.ticks(1);
    mouth.playout.resume(60_000);
    mouth.finish(1);
    // 401 of 500 frames were played, 150 come again: one is left behind these.
    mouth.ticks(500 - 251 - 1);
    assert!(mouth.events().iter().all(|e| !matches!(e, LegEvent::Mark { .. })));
    mouth.ticks(2);
    assert!(matches!(mouth.events()[..], [LegEvent::Mark { .. }]));
}

#[test]
fn a_cancel_fades_and_what_comes_late_is_handed_back() {
    let mut mouth = Mouth::new();
    mouth.speak(1, vec![1000; 8000]);
    mouth.ticks(10);
    mouth.cancel(1);
    assert!(!mouth.speak(1, vec![7; 10]));
    mouth.speak(2, vec![500; 160]);
    let faded = mouth.ticks(1);
    assert!(faded[0] == 1000 && faded[159] < 10);
    assert_eq!(mouth.events(), [LegEvent::Stopped { r#gen: 1, heard_ms: 220 }]);
    assert_eq!(mouth.ticks(1), vec![500; 160]);
}

#[test]
fn a_cancel_while_paused_is_silent_at_once_and_opens_the_gate() {
    let mut mouth = Mouth::new();
    mouth.speak(1, vec![1000; 8000]);
    mouth.ticks(1);
    mouth.playout.pause();
    mouth.ticks(1);
    mouth.events();
    mouth.cancel(1);
    assert_eq!(mouth.events(), [LegEvent::Stopped { r#gen: 1, heard_ms: 40 }]);
    mouth.speak(2, vec![500; 160]);
    assert_eq!(mouth.ticks(1), vec![500; 160]);
}

#[test]
fn a_newer_generation_waits_for_a_finished_one_and_replaces_an_unfinished_one() {
    let mut mouth = Mouth::new();
    mouth.speak(1, vec![100; 160]);
    mouth.finish(1);
    mouth.speak(2, vec![200; 1600]);
    assert_eq!(mouth.ticks(2), [vec![100; 160], vec![200; 160]].concat());
    mouth.speak(3, vec![300; 160]);
    mouth.ticks(1);
    assert_eq!(mouth.ticks(1), vec![300; 160]);
    assert!(!mouth.speak(2, vec![1]));
    assert_eq!(mouth.events(), [LegEvent::Mark { r#gen: 1, at: 160 }, LegEvent::Stopped { r#gen: 2, heard_ms: 40 }]);
}

#[test]
fn an_underrun_and_its_refill_are_told_once_each() {
    let mut mouth = Mouth::new();
    mouth.speak(1, vec![100; 200]);
    mouth.ticks(5);
    assert_eq!(mouth.events(), [LegEvent::Underrun { r#gen: 1 }]);
    mouth.speak(1, vec![100; 160]);
    mouth.finish(1);
    mouth.ticks(1);
    assert_eq!(mouth.events(), [LegEvent::Refill { r#gen: 1 }, LegEvent::Mark { r#gen: 1, at: 960 }]);
}

#[test]
fn a_pause_that_crosses_the_mark_holds_nothing() {
    let mut mouth = Mouth::new();
    mouth.speak(1, vec![100; 160]);
    mouth.finish(1);
    mouth.ticks(1);
    mouth.playout.pause();
    mouth.speak(2, vec![200; 160]);
    assert_eq!(mouth.ticks(1), vec![200; 160]);
}

#[test]
fn a_finish_without_audio_marks_at_once() {
    let mut mouth = Mouth::new();
    mouth.finish(4);
    mouth.ticks(1);
    assert_eq!(mouth.events(), [LegEvent::Mark { r#gen: 4, at: 0 }]);
}

#[derive(Debug, Clone)]
enum Act {
    Speak(u64, usize),
    Finish(u64),
    Pause,
    Resume(u32),
    Cancel(u64),
    Tick,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0u64..6, 0usize..2000).prop_map(|(g, n)| Act::Speak(g, n)),
        (0u64..6).prop_map(Act::Finish),
        Just(Act::Pause),
        (0u32..5000).prop_map(Act::Resume),
        (0u64..6).prop_map(Act::Cancel),
        Just(Act::Tick),
        Just(Act::Tick),
        Just(Act::Tick),
    ]
}

proptest! {
    #[test]
    fn every_generation_ends_once_and_every_box_comes_back(acts in proptest::collection::vec(act(), 0..200)) {
        let mut mouth = Mouth::new();
        let (mut given, mut refused, mut begun) = (0, 0, std::collections::BTreeSet::new());
        for act in acts {
            match act {
                Act::Speak(r#gen, n) => {
                    given += 1;
                    if mouth.speak(r#gen, vec![1; n]) { begun.insert(r#gen); } else { refused += 1 }
                }
                Act::Finish(r#gen) => mouth.finish(r#gen),
                Act::Pause => mouth.playout.pause(),
                Act::Resume(ms) => mouth.playout.resume(ms),
                Act::Cancel(r#gen) => mouth.cancel(r#gen),
                Act::Tick => { mouth.ticks(1); }
            }
        }
        mouth.cancel(u64::MAX);
        mouth.ticks(2);
        let mut ends = std::collections::BTreeMap::new();
        for event in mouth.events() {
            if let LegEvent::Mark { r#gen, .. } | LegEvent::Stopped { r#gen, .. } = event {
                *ends.entry(r#gen).or_insert(0) += 1;
            }
        }
        prop_assert!(ends.values().all(|&n| n == 1), "{ends:?}");
        prop_assert!(begun.iter().all(|g| ends.contains_key(g)), "{begun:?} {ends:?}");
        prop_assert_eq!(mouth.spent.len() + refused, given);
    }
}
