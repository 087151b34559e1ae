//! Threads for what takes its time with samples: some, and behind everything else on the machine.
//!
//! Encoding and decoding come in pieces of some milliseconds, so whoever waits for a piece waits for no whole call, and work that
//! nobody waits for any more ends after its piece.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc},
};

use tokio::sync::oneshot;

use crate::office::give_way;

type Work = Box<dyn FnOnce() + Send>;

static QUEUE: OnceLock<mpsc::Sender<Work>> = OnceLock::new();

/// As a nice value 9: an eighth of what a thread of ordinary priority gets where they meet, and all that is left over.
const PRIORITY: u8 = 23;

/// How many pieces are worked on at once: the other cores are for calls.
pub(crate) fn threads() -> usize {
    (std::thread::available_parallelism().map_or(1, std::num::NonZero::get) / 2).max(1)
}

/// Does a piece of work on one of the threads, after what was asked for before it.
///
/// # Errors
/// It panicked, or there are no threads.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, outcome) = oneshot::channel();
    let work = move || {
        if !done.is_closed() {
            let _ = done.send(work());
        }
    };
    let gone = || io::Error::other("the work on samples was not finished");
    QUEUE.get_or_init(start).send(Box::new(work)).map_err(|_| gone())?;
    outcome.await.map_err(|_| gone())
}

fn start() -> mpsc::Sender<Work> {
    let (sender, queue) = mpsc::channel::<Work>();
    let queue = Arc::new(Mutex::new(queue));
    for n in 0..threads() {
        let queue = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name(format!("samples-{n}")).spawn(move || {
            give_way(PRIORITY);
            loop {
                let work = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(work) = work else { return };
                // Whoever asked hears of it, because the other end of his channel is gone.
                let _ = catch_unwind(AssertUnwindSafe(work));
            }
        });
        if let Err(error) = thread {
            tracing::error!(%error, "recordings cannot be encoded: the system gives no thread");
        }
    }
    sender
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_aside_gives_way_and_outlives_a_panic() {
        for _ in 0..=threads() {
            assert!(aside(|| panic!("of the work")).await.is_err());
        }
        let stat = aside(|| std::fs::read_to_string("/proc/thread-self/stat")).await.unwrap().unwrap();
        // The 19th field is the nice value (proc(5)); the second one, a name in brackets, may hold spaces.
        let nice = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)?.parse::<i32>().ok());
        assert!(nice.is_some_and(|nice| nice >= 9), "{stat}");
        let own = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        assert_ne!(own.split(' ').next(), stat.split(' ').next());
    }
}
