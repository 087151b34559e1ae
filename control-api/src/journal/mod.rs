//! The journal of calls: what happens to a call becomes rows and events, in order, off the call path.
//!
//! `write` never waits. One task stores what came, a batch per transaction; while the database is away it keeps the batch and tries
//! again. Memory is bounded: beyond the bound entries are dropped and counted, the small ones that carry a call's life last.

mod bill;
mod entry;
mod head;
pub(crate) mod later;
mod rows;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use domain::CallId;
use tokio::sync::{mpsc, oneshot};

pub use entry::{
    Ended, Entry, LegState, NewCall, Orphan, RecordingStage, RecordingState, SipMessage, SipTrace, TransferState,
};
pub(crate) use writer::{Stamped, apply, is_refusal, tell};

use crate::{Store, time::now_ms};

/// Bounds of a journal.
#[derive(Clone, Copy, Debug)]
pub struct JournalSettings {
    /// Entries kept in memory while the database is away. Turns, events and traces are dropped beyond it, the entries of a call's life
    /// (created, status, recording, ended) only beyond a quarter more.
    pub capacity: usize,
    /// Entries of one transaction.
    pub batch: usize,
    /// How long the first entry of a batch waits for company.
    pub gather: Duration,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self { capacity: 200_000, batch: 2048, gather: Duration::from_millis(20) }
    }
}

/// What a journal has done; all since its start but `backlog`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Entries in memory, not yet stored.
    pub backlog: usize,
    /// Entries stored.
    pub stored: u64,
    /// Entries dropped beyond the bound.
    pub dropped: u64,
    /// Entries the database refused for what they were (never for being away).
    pub refused: u64,
    /// Entries of calls that were never created.
    pub strays: u64,
    /// Steps the state machine does not have; an end among them is stored as `failed`/`internal`.
    pub bad_transitions: u64,
    /// Batches that had to be tried again.
    pub retries: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    backlog: AtomicUsize,
    stored: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    strays: AtomicU64,
    bad_transitions: AtomicU64,
    retries: AtomicU64,
}

/// A handle to the journal. Cheap to clone; the task ends after the last handle is gone and everything is stored.
#[derive(Clone, Debug)]
pub struct Journal {
    sender: mpsc::UnboundedSender<Message>,
    counters: Arc<Counters>,
    capacity: usize,
}

#[derive(Debug)]
enum Message {
    Entry(Stamped),
    Flush(oneshot::Sender<()>),
}

impl Journal {
    /// Starts the writing task on the current tokio runtime.
    pub fn start(store: Store, settings: JournalSettings) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let counters = Arc::new(Counters::default());
        tokio::spawn(writer::run(store, receiver, Arc::clone(&counters), settings));
        Self { sender, counters, capacity: settings.capacity }
    }

    /// Notes an entry; never waits. Its event carries the time of this call.
    pub fn write(&self, call: CallId, entry: Entry) {
        let reserve = match entry {
            Entry::Turn(_) | Entry::Event { .. } | Entry::Trace(_) => 0,
            _ => self.capacity / 4,
        };
        if self.counters.backlog.load(Relaxed) >= self.capacity + reserve {
            self.counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        self.counters.backlog.fetch_add(1, Relaxed);
        let stamped = Stamped { call, at_ms: now_ms(), entry };
        if self.sender.send(Message::Entry(stamped)).is_err() {
            // The runtime is shutting down and took the task with it.
            self.counters.backlog.fetch_sub(1, Relaxed);
            self.counters.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Waits until everything written before is stored.
    pub async fn flush(&self) {
        let (done, stored) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).is_ok() {
            let _ = stored.await;
        }
    }

    /// What the journal has done so far.
    pub fn counts(&self) -> JournalCounts {
        let counters = &self.counters;
        JournalCounts {
            backlog: counters.backlog.load(Relaxed),
            stored: counters.stored.load(Relaxed),
            dropped: counters.dropped.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            strays: counters.strays.load(Relaxed),
            bad_transitions: counters.bad_transitions.load(Relaxed),
            retries: counters.retries.load(Relaxed),
        }
    }
}
