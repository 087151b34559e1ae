//! The journal of calls: what happens to a call becomes rows and events, in order, off the call path.

mod entry;

pub use entry::{Ended, Entry, NewCall, Orphan, RecordingStage, RecordingState};
