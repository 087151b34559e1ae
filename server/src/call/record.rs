//! Recordings: both sides of a call as a stereo file that plays even if the process is killed in the middle of it.
//!
//! A [`Tap`] collects a second on the voice thread; one thread named `record` owns all the files, so that a slow disk
//! delays nobody's audio. The header is patched with every second that is written.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use codecs::pcm::{FRAME, Frame, RATE};
use pipeline::voice_thread::Tap;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

/// Frames of one hand-over: a second.
const FRAMES: usize = 50;
/// Seconds that may wait for the disk before some are lost: of all calls together.
const QUEUE: usize = 4096;

enum Order {
    Begin(u64, PathBuf),
    Write(u64, Vec<i16>),
    End(u64, oneshot::Sender<Option<Finished>>),
}

/// A file that is complete.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Its length.
    pub duration_ms: u64,
    /// Its size.
    pub bytes: u64,
    /// Its checksum, in hexadecimal.
    pub sha256: String,
}

/// The thread that writes.
#[derive(Clone, Debug)]
pub struct Recorder {
    orders: SyncSender<Order>,
    next: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

/// One call's recording, as its call task holds it.
#[derive(Debug)]
pub struct Recording {
    id: u64,
    orders: SyncSender<Order>,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn start() -> std::io::Result<Self> {
        let (orders, inbox) = sync_channel(QUEUE);
        std::thread::Builder::new().name("record".into()).spawn(move || run(&inbox))?;
        Ok(Self { orders, next: std::sync::Arc::default() })
    }

    /// Opens `path` and gives the two ends: one for the voice thread, one for the call.
    #[must_use]
    pub fn open(&self, path: PathBuf) -> (Box<dyn Tap>, Recording) {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // A full queue here means that the disk has stood for minutes: the call goes on without its recording.
        let _ = self.orders.try_send(Order::Begin(id, path));
        let tap =
            StereoTap { id, orders: self.orders.clone(), second: Vec::with_capacity(FRAMES * FRAME * 2), lost: 0 };
        (Box::new(tap), Recording { id, orders: self.orders.clone() })
    }
}

impl Recording {
    /// Completes the file; the tap must have been dropped. `None` when nothing could be written.
    pub async fn finish(self) -> Option<Finished> {
        let (done, finished) = oneshot::channel();
        self.orders.try_send(Order::End(self.id, done)).ok()?;
        finished.await.ok().flatten()
    }
}

struct StereoTap {
    id: u64,
    orders: SyncSender<Order>,
    second: Vec<i16>,
    lost: u64,
}

impl StereoTap {
    fn hand_over(&mut self) {
        let second = std::mem::replace(&mut self.second, Vec::with_capacity(FRAMES * FRAME * 2));
        match self.orders.try_send(Order::Write(self.id, second)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => self.lost += 1,
        }
    }
}

impl Tap for StereoTap {
    fn frames(&mut self, caller: &Frame, agent: &Frame) {
        for (left, right) in caller.iter().zip(agent) {
            self.second.extend([*left, *right]);
        }
        if self.second.len() >= FRAMES * FRAME * 2 {
            self.hand_over();
        }
    }
}

impl Drop for StereoTap {
    fn drop(&mut self) {
        if !self.second.is_empty() {
            self.hand_over();
        }
        if self.lost > 0 {
            tracing::warn!(seconds = self.lost, "recording has holes: the disk was too slow");
        }
    }
}

type Wav = codecs::wav::Writer<BufWriter<File>>;

fn run(inbox: &Receiver<Order>) {
    let mut files: HashMap<u64, (PathBuf, Wav, u64)> = HashMap::new();
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Begin(id, path) => match create(&path) {
                Ok(wav) => {
                    files.insert(id, (path, wav, 0));
                }
                Err(error) => tracing::error!(path = %path.display(), %error, "recording cannot be written"),
            },
            Order::Write(id, samples) => {
                let Some((path, wav, written)) = files.get_mut(&id) else { continue };
                *written += samples.len() as u64 / 2;
                if let Err(error) = wav.write(&samples).and_then(|()| wav.flush()) {
                    tracing::error!(path = %path.display(), %error, "recording ends here: it cannot be written");
                    files.remove(&id);
                }
            }
            Order::End(id, done) => {
                let finished = files.remove(&id).and_then(|(path, wav, written)| {
                    drop(wav.finish().ok()?);
                    describe(&path, written)
                });
                let _ = done.send(finished);
            }
        }
    }
}

fn create(path: &Path) -> std::io::Result<Wav> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    codecs::wav::Writer::new(BufWriter::new(File::create(path)?), RATE, 2)
}

fn describe(path: &Path, samples: u64) -> Option<Finished> {
    let bytes = std::fs::read(path).ok()?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Finished { duration_ms: samples * 1000 / u64::from(RATE), bytes: bytes.len() as u64, sha256 })
}

/// What a recording that a killed process left behind holds.
#[must_use]
pub fn salvage(path: &Path) -> Option<Finished> {
    let wav = codecs::wav::Reader::parse(&std::fs::read(path).ok()?).ok()?;
    describe(path, wav.samples.len() as u64 / u64::from(wav.channels.max(1)))
}
