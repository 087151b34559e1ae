//! A call as it sounds now, for who listens to it by the API.

use std::sync::Arc;

use codecs::pcm::Frame;
use control_api::Heard;
use pipeline::voice_thread::Tap;
use tokio::sync::broadcast;

/// Frames that a listener may be behind: a second.
const FRAMES: usize = 50;

/// Shows both sides to listeners and hands them on to the recording. While nobody listens it costs a look at a counter.
pub(super) struct Shown {
    recorded: Option<Box<dyn Tap>>,
    heard: broadcast::Sender<Heard>,
}

impl Shown {
    pub(super) fn new(recorded: Option<Box<dyn Tap>>) -> Self {
        Self { recorded, heard: broadcast::Sender::new(FRAMES) }
    }

    /// Where listeners find it; closed when the line goes.
    pub(super) fn heard(&self) -> &broadcast::Sender<Heard> {
        &self.heard
    }
}

impl Tap for Shown {
    fn frames(&mut self, caller: &Frame, agent: &Frame) {
        if self.heard.receiver_count() > 0 {
            // A listener that has just gone is no fault.
            let _ = self.heard.send(Arc::new([*caller, *agent]));
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.frames(caller, agent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(Arc<std::sync::atomic::AtomicUsize>);

    impl Tap for Count {
        fn frames(&mut self, _: &Frame, _: &Frame) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn listeners_hear_from_when_they_came_and_the_recording_hears_all() {
        let recorded = Arc::default();
        let mut shown = Shown::new(Some(Box::new(Count(Arc::clone(&recorded)))));
        shown.frames(&[1; 160], &[2; 160]);
        let mut listener = shown.heard().subscribe();
        shown.frames(&[3; 160], &[4; 160]);
        assert_eq!(*listener.try_recv().unwrap(), [[3; 160], [4; 160]]);
        drop(shown);
        assert_eq!(listener.try_recv(), Err(broadcast::error::TryRecvError::Closed));
        assert_eq!(recorded.load(std::sync::atomic::Ordering::Relaxed), 2);
    }
}
