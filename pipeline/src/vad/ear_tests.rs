//! Edges of an ear that is told its probabilities.

use super::*;

const LOUD: Frame = [3000; FRAME];

struct Bench {
    ear: Ear,
    at: u64,
    frame: Frame,
}

impl Bench {
    fn new() -> Self {
        Self { ear: Ear::new(VadConfig::default()), at: 0, frame: LOUD }
    }

    /// Pushes frames until all probabilities are used; gives the edges.
    fn hear(&mut self, probabilities: &[f32]) -> Vec<Edge> {
        let mut edges = Vec::new();
        for &p in probabilities {
            while self.ear.ready().is_none() {
                self.ear.push(self.at, &self.frame);
                self.at += FRAME as u64;
            }
            edges.extend(self.ear.judge(p));
        }
        edges
    }
}

#[test]
fn two_chunks_in_a_row_begin_speech() {
    let mut bench = Bench::new();
    assert_eq!(bench.hear(&[0.0, 0.9, 0.49, 0.9, 0.1, 0.0]), []);
    // The first voiced chunk is the eighth, from 224 ms on; 32 ms of lead.
    assert_eq!(bench.hear(&[0.0, 0.5, 0.5]), [Edge::On { at: 192 }]);
    assert!(bench.ear.speaking());
}

#[test]
fn speech_from_the_first_sample_begins_at_zero() {
    assert_eq!(Bench::new().hear(&[0.9, 0.9]), [Edge::On { at: 0 }]);
}

#[test]
fn three_unvoiced_chunks_end_speech_before_the_last_voiced_one() {
    let mut bench = Bench::new();
    bench.hear(&[0.0, 0.9, 0.9, 0.9, 0.9, 0.9]);
    assert_eq!(bench.hear(&[0.36, 0.1, 0.1, 0.35, 0.34, 0.34]), []);
    // The last voiced chunk, the tenth, ended at 320 ms.
    assert_eq!(bench.hear(&[0.34]), [Edge::Off { at: 320 - 64 }]);
    assert!(!bench.ear.speaking());
    assert_eq!(bench.hear(&[0.0; 50]), []);
}

#[test]
fn the_end_never_lies_before_the_beginning() {
    let mut bench = Bench::new();
    bench.ear.config.start_chunks = 1;
    let edges = bench.hear(&[0.0, 0.9, 0.0, 0.0, 0.0, 0.9, 0.9, 0.0, 0.0, 0.0]);
    let [Edge::On { at: a }, Edge::Off { at: b }, Edge::On { at: c }, Edge::Off { at: d }] = edges[..] else {
        panic!("{edges:?}")
    };
    assert!(a <= b && b <= c && c <= d, "{edges:?}");
}

#[test]
fn frames_become_chunks_without_loss_or_order() {
    let mut ear = Ear::new(VadConfig::default());
    let mut chunks = Vec::new();
    for n in 0..80u64 {
        let frame: Frame = std::array::from_fn(|k| (n as usize * FRAME + k) as i16);
        ear.push(n * FRAME as u64, &frame);
        if let Some(chunk) = ear.ready() {
            chunks.extend_from_slice(chunk);
        }
        ear.judge(0.0);
        assert!(ear.ready().is_none());
    }
    assert!(chunks.iter().copied().eq(0..80 * 160));
}

#[test]
fn a_gap_begins_a_new_chunk() {
    let mut ear = Ear::new(VadConfig::default());
    ear.push(0, &LOUD);
    ear.push(8000, &[7; FRAME]);
    assert!(ear.ready().is_none());
    ear.push(8160, &[7; FRAME]);
    assert_eq!(ear.ready(), Some(&[7; CHUNK]));
    ear.judge(0.9);
    ear.push(8320, &[7; FRAME]);
    ear.push(8480, &[7; FRAME]);
    assert_eq!(ear.judge(0.9), Some(Edge::On { at: 1000 - 32 }));
}

#[test]
fn chunks_that_nobody_judges_are_forgotten_oldest_first() {
    let mut ear = Ear::new(VadConfig::default());
    for n in 0..1000u64 {
        ear.push(n * FRAME as u64, &[n as i16; FRAME]);
    }
    assert!(ear.ready().is_some_and(|chunk| chunk[0] >= 996));
    assert_eq!(ear.judge(0.9), None);
    assert_eq!(Ear::new(VadConfig::default()).judge(0.9), None);
}

#[test]
fn a_raised_floor_ends_a_murmur_and_falls_again() {
    let mut bench = Bench::new();
    bench.hear(&[0.6, 0.6, 0.5, 0.5]);
    bench.ear.raise_floor();
    assert!(matches!(bench.hear(&[0.5, 0.5, 0.5])[..], [Edge::Off { .. }]));
    assert_eq!(bench.hear(&[0.69; 20]), []);
    assert!(matches!(bench.hear(&[0.7, 0.7])[..], [Edge::On { .. }]));
    bench.hear(&[0.0; 320]);
    assert!(matches!(bench.hear(&[0.5, 0.5])[..], [Edge::On { .. }]));
}

#[test]
fn what_could_be_an_echo_does_not_begin_speech() {
    let mut bench = Bench::new();
    // 10 against 32767 is 70 dB down, 3000 is 21 dB down.
    bench.ear.agent_level(-15.0);
    bench.frame = [10; FRAME];
    assert_eq!(bench.hear(&[0.99; 6]), []);
    bench.ear.agent_level(-15.0);
    bench.frame = LOUD;
    bench.hear(&[0.0; 1]);
    assert_eq!(bench.hear(&[0.6; 4]), []);
    assert!(matches!(bench.hear(&[0.7, 0.7])[..], [Edge::On { .. }]));
}

#[test]
fn the_echo_guard_ends_with_the_echo() {
    let mut bench = Bench::new();
    bench.ear.agent_level(-15.0);
    bench.hear(&[0.0; 4]);
    bench.ear.agent_level(-90.0);
    bench.hear(&[0.0; 6]);
    bench.frame = [10; FRAME];
    bench.hear(&[0.0; 2]);
    assert!(matches!(bench.hear(&[0.5, 0.5])[..], [Edge::On { .. }]));
}
