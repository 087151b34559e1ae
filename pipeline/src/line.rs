//! The line as a conversation sees it: ticks and events from the media thread in, commands to it out.
//!
//! Whoever joins the two (the server, a test, a replay) implements [`Line`]; nothing here knows a socket or a ring.

use codecs::pcm::Frame;

use crate::{Gen, Ms};

/// Twenty milliseconds of both sides of a call, on one clock.
#[derive(Clone, Debug)]
pub struct Tick {
    /// Where the frame begins, in samples since answer.
    pub at: u64,
    /// What the caller said, after the jitter buffer and concealment.
    pub caller: Frame,
    /// What the agent was sent saying.
    pub agent: Frame,
}

/// What happened on the line, with its place on the audio clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEvent {
    /// A whole key press.
    Key {
        /// One of `0-9*#A-D`.
        digit: u8,
        /// When it began.
        at: Ms,
    },
    /// A key of ours has been pressed and let go.
    Sent {
        /// As in `Key`.
        digit: u8,
        /// As a tone in the audio, not as an event.
        in_band: bool,
    },
    /// The last sample of a generation has been sent.
    Mark {
        /// Which.
        r#gen: Gen,
    },
    /// A generation was cancelled; so much of it had been sent.
    Stopped {
        /// Which.
        r#gen: Gen,
        /// Milliseconds of it that were sent.
        heard_ms: u32,
    },
    /// A generation is not finished, but there is nothing of it left to send.
    Underrun {
        /// Which.
        r#gen: Gen,
    },
    /// An underrun is over.
    Refill {
        /// Which.
        r#gen: Gen,
    },
    /// Nothing has come from the caller for so long.
    Silent {
        /// Milliseconds.
        ms: u32,
    },
}

/// What the conversation wants of the line.
#[derive(Debug)]
pub enum LineCommand {
    /// Send these samples after those of the same generation before them.
    Speak {
        /// Their generation.
        r#gen: Gen,
        /// 8 kHz samples.
        pcm: Box<[i16]>,
    },
    /// No more samples of this generation will come; a [`LineEvent::Mark`] follows when all are sent.
    Finish {
        /// Which.
        r#gen: Gen,
    },
    /// Fade out and hold.
    Pause,
    /// Fade in and go on, repeating what was sent last.
    Resume {
        /// How much to repeat.
        rewind_ms: u32,
    },
    /// Fade out and forget.
    Cancel {
        /// Which.
        r#gen: Gen,
    },
    /// Send keys.
    SendDigits(Vec<u8>),
}

/// One call's audio, both ways. Polled by the voice thread, never blocks.
pub trait Line: Send {
    /// The next 20 ms, if they are there.
    fn tick(&mut self) -> Option<Tick>;
    /// The next event, if there is one.
    fn event(&mut self) -> Option<LineEvent>;
    /// Sends a command; one that does not fit is lost and counted by the implementation.
    fn send(&mut self, command: LineCommand);
    /// Whether the media thread has let go of the call.
    fn is_gone(&self) -> bool;
}
