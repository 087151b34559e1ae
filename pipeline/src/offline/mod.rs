//! Speech without a vendor: recogniser and voice in worker processes of our own, behind the same links as the vendors.

mod stt;
mod tts;
mod wire;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::stt::SttLink;
use crate::tts::TtsLink;
use worker::Worker;

/// The voices, best first.
pub const VOICES: [&str; 3] = ["slt", "rms", "kal"];

/// How built-in speech is run.
#[derive(Clone, Debug)]
pub struct SpeechConfig {
    /// The `speech-worker` program.
    pub worker: PathBuf,
    /// Processes; one serves some sixty speaking callers a core.
    pub workers: usize,
    /// The voice where an agent names none: one of [`VOICES`].
    pub voice: String,
}

/// Why there is no built-in speech.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// The engines' packages are not installed.
    #[error("built-in speech is off: apt-get install libpocketsphinx3 pocketsphinx-en-us libflite1")]
    Missing,
    /// The worker cannot be started.
    #[error("built-in speech is off: {0}")]
    Worker(String),
}

/// Built-in speech; clones share their workers, which end with the last of clones and links.
#[derive(Clone, Debug)]
pub struct Speech {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    workers: Vec<Worker>,
    voice: String,
    next_worker: AtomicUsize,
    next_id: AtomicU32,
}

impl Speech {
    /// Starts the workers and waits until they are ready.
    pub async fn start(config: SpeechConfig) -> Result<Speech, Unavailable> {
        let mut workers = Vec::new();
        for _ in 0..config.workers.max(1) {
            workers.push(Worker::start(config.worker.clone()).await?);
        }
        let shared =
            Shared { workers, voice: config.voice, next_worker: AtomicUsize::new(0), next_id: AtomicU32::new(1) };
        Ok(Speech { shared: Arc::new(shared) })
    }

    /// A recogniser for one conversation.
    pub fn stt(&self) -> SttLink {
        stt::open(self.clone())
    }

    /// A voice for one conversation: `slt`, `builtin:slt`, or nothing for the configured one.
    pub fn tts(&self, voice: &str) -> TtsLink {
        let name = voice.rsplit(':').next().unwrap_or_default();
        let known = |name: &&str| VOICES.contains(name);
        let name = Some(name).filter(known).or(Some(self.shared.voice.as_str()).filter(known)).unwrap_or(VOICES[0]);
        tts::open(self.clone(), name.to_owned())
    }

    /// Process ids of the workers that run.
    pub fn pids(&self) -> Vec<u32> {
        self.shared.workers.iter().map(Worker::pid).filter(|pid| *pid != 0).collect()
    }

    fn worker(&self) -> &Worker {
        let n = self.shared.next_worker.fetch_add(1, Ordering::Relaxed);
        &self.shared.workers[n % self.shared.workers.len()]
    }

    fn id(&self) -> u32 {
        self.shared.next_id.fetch_add(1, Ordering::Relaxed)
    }
}
