//! Threads for what may wait a moment: they give way to those that carry calls.

use std::io;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime::{Builder, Handle, Runtime};

/// As a nice value 5: a third of what a thread of ordinary priority gets where they meet, and all that is left over.
const PRIORITY: u8 = 35;

/// The runtime of journal, jobs, events and HTTP. A report over a year or a burst of ended calls takes its time here, and an INVITE
/// that comes meanwhile finds the threads of the calls free. It is to be dropped where nothing is awaited.
#[derive(Debug)]
pub struct Office(Runtime);

impl Office {
    /// Starts a thread for each core.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn open() -> io::Result<Self> {
        let lower = || give_way(PRIORITY);
        Builder::new_multi_thread().thread_name("office").on_thread_start(lower).enable_all().build().map(Self)
    }

    /// The way in.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        self.0.handle()
    }
}

/// Lowers the priority of the calling thread (0 to 99, 49 is ordinary); where the system refuses, it stays what it is.
pub(crate) fn give_way(priority: u8) {
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    if let Ok(priority) = ThreadPriorityValue::try_from(priority) {
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), policy);
    }
}
