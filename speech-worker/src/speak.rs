//! Synthesis: whole clauses, made at once, kept for the next time, sent in small chunks.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::CString;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};

use crate::ffi::{CstVoice, Engines};
use crate::fir;
use crate::wire::Reply;

/// The voices, best first.
pub(crate) const VOICES: [&str; 3] = ["slt", "rms", "kal"];
/// Samples in a chunk: 200 ms.
const CHUNK: usize = 1600;
/// Samples that are kept for the next time: eight minutes of speech.
const KEPT: usize = 8 * 60 * 8000;
/// Longer texts are not clauses.
const LONGEST: usize = 2000;
/// Half of full scale, −6 dBFS.
const PEAK: f32 = 16_384.0;
/// Quieter than this is the silence around a clause.
const SILENT: i16 = 200;
/// Silence that is left before a clause (20 ms) and after it (120 ms).
const BEFORE: usize = 160;
const AFTER: usize = 960;

struct Job {
    id: u32,
    voice: String,
    text: String,
}

type Sound = Arc<[i16]>;

/// What has been said, oldest first.
#[derive(Default)]
struct Kept {
    sounds: HashMap<(String, String), Sound>,
    order: VecDeque<(String, String)>,
    samples: usize,
}

impl Kept {
    fn put(&mut self, key: (String, String), sound: Sound) {
        self.samples += sound.len();
        if self.sounds.insert(key.clone(), sound).is_none() {
            self.order.push_back(key);
        }
        while self.samples > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.samples -= self.sounds.remove(&oldest).map_or(0, |sound| sound.len());
        }
    }
}

/// A voice belongs to flite, which never frees it.
struct Voice(*mut CstVoice);
// SAFETY: flite's voices are only read while speaking (measured: many threads, same output).
unsafe impl Send for Voice {}
// SAFETY: as above.
unsafe impl Sync for Voice {}

struct Shared {
    engines: &'static Engines,
    voices: [OnceLock<Voice>; VOICES.len()],
    kept: Mutex<Kept>,
    cancelled: Mutex<HashSet<u32>>,
}

/// The threads that speak.
pub(crate) struct Pool {
    queue: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

impl Pool {
    pub(crate) fn new(engines: &'static Engines, threads: usize, replies: mpsc::Sender<Reply>) -> Self {
        let shared = Arc::new(Shared {
            engines,
            voices: [const { OnceLock::new() }; VOICES.len()],
            kept: Mutex::default(),
            cancelled: Mutex::default(),
        });
        let (queue, jobs) = mpsc::channel::<Job>();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads.max(1) {
            let (shared, jobs, replies) = (shared.clone(), jobs.clone(), replies.clone());
            std::thread::spawn(move || {
                loop {
                    let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { return };
                    shared.serve(&job, &replies);
                }
            });
        }
        Pool { queue, shared }
    }

    pub(crate) fn speak(&self, id: u32, voice: String, text: String) {
        let _ = self.queue.send(Job { id, voice, text });
    }

    pub(crate) fn cancel(&self, id: u32) {
        let mut cancelled = self.shared.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        // Cancels that came after their job had been said are forgotten now and then.
        if cancelled.len() > 4096 {
            cancelled.clear();
        }
        cancelled.insert(id);
    }
}

impl Shared {
    fn serve(&self, job: &Job, replies: &mpsc::Sender<Reply>) {
        let cancelled = || self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).remove(&job.id);
        if cancelled() {
            return;
        }
        match self.sound(&job.voice, &job.text) {
            Ok(sound) => {
                if cancelled() {
                    return;
                }
                for chunk in sound.chunks(CHUNK) {
                    let _ = replies.send(Reply::Pcm { job: job.id, pcm: chunk.to_vec() });
                }
                let _ = replies.send(Reply::Spoken { job: job.id });
            }
            Err(reason) => {
                let _ = replies.send(Reply::Unspeakable { job: job.id, reason });
            }
        }
    }

    fn sound(&self, voice: &str, text: &str) -> Result<Sound, String> {
        let key = (voice.to_owned(), text.to_owned());
        if let Some(sound) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).sounds.get(&key) {
            return Ok(sound.clone());
        }
        let sound: Sound = self.synthesise(voice, text)?.into();
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).put(key, sound.clone());
        Ok(sound)
    }

    fn voice(&self, name: &str) -> Result<*mut CstVoice, String> {
        let at = VOICES.iter().position(|v| *v == name).ok_or_else(|| format!("no voice {name}"))?;
        let f = &self.engines.functions;
        let voice = self.voices[at].get_or_init(|| {
            let _setup = self.engines.setup.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: a voice is registered once; null stands for built-in data.
            Voice(unsafe {
                match name {
                    "rms" => (f.register_cmu_us_rms)(std::ptr::null()),
                    "kal" => (f.register_cmu_us_kal)(std::ptr::null()),
                    _ => (f.register_cmu_us_slt)(std::ptr::null()),
                }
            })
        });
        if voice.0.is_null() { Err(format!("voice {name} cannot be loaded")) } else { Ok(voice.0) }
    }

    fn synthesise(&self, voice: &str, text: &str) -> Result<Vec<i16>, String> {
        let voice = self.voice(voice)?;
        let text = speakable(text);
        if !text.chars().any(char::is_alphanumeric) {
            return Ok(Vec::new());
        }
        let text = CString::new(text).map_err(|e| e.to_string())?;
        let f = &self.engines.functions;
        // SAFETY: voice and text are valid for the call; the wave is ours until it is deleted below.
        let (rate, samples) = unsafe {
            let wave = (f.flite_text_to_wave)(text.as_ptr(), voice);
            let Some(view) = wave.as_ref() else { return Err("no sound came out".to_owned()) };
            let length = usize::try_from(view.num_samples).unwrap_or(0);
            let samples = if length == 0 || view.samples.is_null() || view.num_channels != 1 {
                Vec::new()
            } else {
                std::slice::from_raw_parts(view.samples, length).to_vec()
            };
            let rate = view.sample_rate;
            (f.delete_wave)(wave);
            (rate, samples)
        };
        let narrow = match rate {
            8000 => samples,
            16_000 => fir::down(&samples),
            other => return Err(format!("a rate of {other} Hz is not expected")),
        };
        Ok(trimmed(level(narrow)))
    }
}

/// What flite can read: one line of ASCII, not too long.
fn speakable(text: &str) -> String {
    let plain = |c: char| match c {
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{2013}' | '\u{2014}' => ',',
        '\u{2026}' => '.',
        c if c.is_ascii_graphic() && !"<>{}[]|\\^~`\"*_#".contains(c) => c,
        _ => ' ',
    };
    text.chars().take(LONGEST).map(plain).collect()
}

/// The same loudness for every voice and clause.
fn level(mut samples: Vec<i16>) -> Vec<i16> {
    let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
    if peak > 0 {
        let gain = (PEAK / f32::from(peak)).min(8.0);
        for sample in &mut samples {
            *sample = (f32::from(*sample) * gain).round().clamp(-32768.0, 32767.0) as i16;
        }
    }
    samples
}

/// Without most of the silence that the engine puts around a clause: it would be heard as slowness.
fn trimmed(samples: Vec<i16>) -> Vec<i16> {
    let loud = |s: &i16| s.unsigned_abs() > SILENT as u16;
    let Some(first) = samples.iter().position(loud) else { return Vec::new() };
    let last = samples.iter().rposition(loud).unwrap_or(first);
    samples[first.saturating_sub(BEFORE)..(last + AFTER).min(samples.len())].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_around_a_clause_is_cut_and_its_level_set() {
        let mut samples = vec![0_i16; 8000];
        samples.extend([3000; 800]);
        samples.extend([0; 8000]);
        let out = trimmed(level(samples));
        assert_eq!(out.len(), BEFORE + 799 + AFTER);
        assert_eq!(out.iter().max(), Some(&16_384));
        assert!(trimmed(level(vec![0; 100])).is_empty());
    }

    #[test]
    fn what_was_kept_longest_goes_first() {
        let mut kept = Kept::default();
        for n in 0..10 {
            kept.put(("slt".to_owned(), n.to_string()), vec![0; KEPT / 4].into());
        }
        assert_eq!(kept.sounds.len(), 4);
        assert!(kept.sounds.contains_key(&("slt".to_owned(), "9".to_owned())));
        assert!(kept.samples <= KEPT);
    }

    #[test]
    fn markup_does_not_reach_the_engine() {
        assert_eq!(speakable("It\u{2019}s <b>10</b>\u{2014}now\n"), "It's  b 10 /b ,now ");
    }
}
