//! What the ear must not take for speech, and how soon it hears what is.

use std::f64::consts::TAU;

use codecs::{
    g711::{self, Law},
    pcm::FRAME,
};
use pipeline::vad::{CHUNK, Ear, Edge, Engine, Vad, VadConfig, listen};

const SECOND: usize = 8000;

/// Sixty-four-bit xorshift: noise that is the same in every run.
struct Noise(u64);

impl Noise {
    fn white(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Through G.711 mu-law and back, as a telephone line does.
fn line(x: impl Iterator<Item = f64>) -> Vec<i16> {
    let linear: Vec<i16> = x.map(|x| (x * 32767.0).clamp(-32768.0, 32767.0) as i16).collect();
    let mut coded = vec![0; linear.len()];
    g711::encode(Law::Mu, &linear, &mut coded);
    let mut decoded = vec![0; linear.len()];
    g711::decode(Law::Mu, &coded, &mut decoded);
    decoded
}

/// Tones that sound for `on` out of every `period` samples, each with amplitude 0.15.
fn tones(frequencies: &[f64], on: usize, period: usize, seconds: usize) -> Vec<i16> {
    line((0..seconds * SECOND).map(|n| {
        let sum: f64 = frequencies.iter().map(|f| 0.15 * (TAU * f * n as f64 / 8000.0).sin()).sum();
        if n % period < on { sum } else { 0.0 }
    }))
}

/// Chords of decaying harmonics over a bass, twice a second, with or without a drum.
fn music(drum: bool) -> Vec<i16> {
    let mut noise = Noise(7);
    let chords = [[262.0, 330.0, 392.0], [220.0, 262.0, 330.0], [175.0, 220.0, 262.0], [196.0, 247.0, 294.0]];
    line((0..12 * SECOND).map(|n| {
        let (beat, t) = (n / 4000, (n % 4000) as f64 / 8000.0);
        let chord: f64 = chords[beat / 4 % 4]
            .iter()
            .flat_map(|f| (1..=5).map(move |h| (TAU * f * f64::from(h) * t).sin() / f64::from(h * h)))
            .sum();
        let bass = (TAU * chords[beat / 4 % 4][0] / 2.0 * n as f64 / 8000.0).sin();
        let hit = if drum { noise.white() * (-60.0 * t).exp() } else { 0.0 };
        0.08 * chord * (-4.0 * t).exp() + 0.06 * bass + 0.2 * hit
    }))
}

/// Bursts of noise, `per_second` of them, each dying away at the given rate.
fn knocks(per_second: usize, decay: f64) -> Vec<i16> {
    let mut noise = Noise(11);
    let period = SECOND / per_second;
    line((0..12 * SECOND).map(|n| 0.5 * noise.white() * (-decay * (n % period) as f64 / 8000.0).exp()))
}

fn white(dbov: f64) -> Vec<i16> {
    let mut noise = Noise(3);
    let amplitude = 3f64.sqrt() * 10f64.powf(dbov / 20.0);
    line((0..12 * SECOND).map(|_| amplitude * noise.white()))
}

/// One of the golden streams.
fn golden(stream: usize) -> Vec<i16> {
    let audio = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/golden/audio.i16"));
    let samples = audio.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes));
    samples.skip(stream * 45 * CHUNK).take(45 * CHUNK).collect()
}

fn edges(engine: Engine, samples: &[i16]) -> Vec<Edge> {
    let mut ear = Ear::new(VadConfig { engine, ..VadConfig::default() });
    let mut vad = Vad::new(engine);
    let mut edges = Vec::new();
    for (n, frame) in samples.as_chunks::<FRAME>().0.iter().enumerate() {
        ear.push((n * FRAME) as u64, frame);
        listen([(&mut ear, &mut vad)], |_, edge| edges.push(edge));
    }
    edges
}

fn position(edge: &Edge) -> u64 {
    match edge {
        Edge::On { at } | Edge::Off { at } => *at,
    }
}

fn assert_deaf_to(name: &str, samples: &[i16]) {
    assert_eq!(edges(Engine::Silero, samples), [], "{name}");
}

#[test]
fn call_progress_tones_are_not_speech() {
    assert_deaf_to("ringback US", &tones(&[440.0, 480.0], 2 * SECOND, 6 * SECOND, 14));
    assert_deaf_to("ringback EU", &tones(&[425.0], SECOND, 5 * SECOND, 12));
    assert_deaf_to("busy", &tones(&[480.0, 620.0], SECOND / 2, SECOND, 10));
    assert_deaf_to("dial tone", &tones(&[350.0, 440.0], 1, 1, 10));
    assert_deaf_to("fax", &tones(&[1100.0], SECOND / 2, 7 * SECOND / 2, 10));
    assert_deaf_to("beeps", &tones(&[1000.0], SECOND / 4, 3 * SECOND, 10));
}

#[test]
fn keys_are_not_speech() {
    for low in [697.0, 770.0, 852.0, 941.0] {
        for high in [1209.0, 1336.0, 1477.0] {
            assert_deaf_to(&format!("{low} + {high}"), &tones(&[low, high], 800, 1600, 3));
        }
    }
}

#[test]
fn music_is_not_speech() {
    assert_deaf_to("with drums", &music(true));
    assert_deaf_to("without drums", &music(false));
}

#[test]
fn noise_knocks_and_silence_are_not_speech() {
    for dbov in [-30.0, -40.0, -50.0, -65.0] {
        assert_deaf_to(&format!("white {dbov} dBov"), &white(dbov));
    }
    assert_deaf_to("clicks", &knocks(2, 800.0));
    assert_deaf_to("knocks", &knocks(3, 60.0));
    assert_deaf_to("silence", &[0; 12 * SECOND]);
}

#[test]
fn edges_of_speech_lie_where_it_begins_and_ends() {
    // "Hello?" in digital silence: cut out of a longer recording, it sounds from 250 ms on and no longer than to 750 ms.
    let mut samples = golden(19);
    samples.resize(2 * SECOND, 0);
    let found = edges(Engine::Silero, &samples);
    let [Edge::On { at: on }, Edge::Off { at: off }] = found[..] else { panic!("{found:?}") };
    assert!((200..350).contains(&on), "{found:?}");
    assert!((550..850).contains(&off), "{found:?}");
}

#[test]
fn edges_of_speech_on_a_line_lie_near_the_true_ones() {
    // By level within 30 dB of the loudest: where the voice begins, and where its first pause of more than 200 ms begins.
    let truth =
        [(0, 430, None), (1, 370, None), (2, 590, Some(860)), (4, 210, None), (5, 210, None), (7, 210, Some(450))];
    for (stream, begins, pauses) in truth {
        let mut samples = golden(stream);
        samples.extend(&white(-65.0)[..SECOND]);
        let found = edges(Engine::Silero, &samples);
        assert!(position(&found[0]).abs_diff(begins) <= 60, "stream {stream}: {found:?}");
        if let Some(pauses) = pauses {
            assert!(position(&found[1]).abs_diff(pauses) <= 60, "stream {stream}: {found:?}");
        }
        assert!(matches!(found[found.len() - 1], Edge::Off { at } if at < 1600), "stream {stream}: {found:?}");
        for (n, pair) in found.windows(2).enumerate() {
            assert_eq!(matches!(pair[0], Edge::On { .. }), n % 2 == 0, "stream {stream}: {found:?}");
            assert!(position(&pair[0]) <= position(&pair[1]), "stream {stream}: {found:?}");
        }
    }
}

#[test]
fn the_energy_engine_hears_any_sound() {
    let busy = tones(&[480.0, 620.0], SECOND / 2, SECOND, 4);
    let found = edges(Engine::Energy, &[vec![0; SECOND / 2], busy].concat());
    assert_eq!(found.iter().filter(|edge| matches!(edge, Edge::On { .. })).count(), 4, "{found:?}");
}

#[test]
fn listening_to_many_gives_each_its_own_edges() {
    let signals: Vec<Vec<i16>> = (0..20).map(golden).collect();
    let alone: Vec<_> = signals.iter().map(|samples| edges(Engine::Silero, samples)).collect();
    let mut calls: Vec<_> =
        signals.iter().map(|_| (Ear::new(VadConfig::default()), Vad::new(Engine::Silero))).collect();
    let mut together = vec![Vec::new(); signals.len()];
    for n in 0..45 * CHUNK / FRAME {
        for ((ear, _), samples) in calls.iter_mut().zip(&signals) {
            ear.push((n * FRAME) as u64, &samples.as_chunks::<FRAME>().0[n]);
        }
        listen(calls.iter_mut().map(|(ear, vad)| (ear, vad)), |call, edge| together[call].push(edge));
    }
    assert_eq!(together, alone);
    assert!(together.iter().flatten().count() > 12);
}
