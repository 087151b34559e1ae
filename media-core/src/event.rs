//! The words between a leg and whoever owns the conversation: what it plays, what it hears, what happened.

use codecs::pcm::Frame;
use std::net::SocketAddr;

/// What one tick of 20 ms brought, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Samples since the leg began, at the start of this frame.
    pub at: u64,
    /// What the caller said.
    pub caller: Frame,
    /// What was sent to the caller.
    pub agent: Frame,
    /// Where `caller` came from.
    pub heard: CallerAudio,
}

/// Where a caller frame came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerAudio {
    /// Mostly decoded from packets.
    Received,
    /// Made up over a loss of at most 60 ms.
    Concealed,
    /// Nothing came: before the first packet, silence suppression, hold, or a loss too long to cover.
    Silent,
}

/// What the owner of a leg learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegEvent {
    /// A key was pressed and let go (RFC 4733).
    Key {
        /// `b'0'`–`b'9'`, `b'*'`, `b'#'`, `b'A'`–`b'D'`.
        digit: u8,
        /// Samples since the leg began, when it was pressed.
        at: u64,
        /// How long it was held.
        duration_ms: u32,
    },
    /// The last sample of a finished generation went out.
    Mark {
        /// Generation.
        r#gen: u64,
        /// Samples since the leg began, behind that sample.
        at: u64,
    },
    /// The fade to silence after a pause is played.
    Paused {
        /// Generation.
        r#gen: u64,
        /// Milliseconds of the generation that went out so far.
        heard_ms: u32,
    },
    /// A key of ours has been pressed and let go.
    Sent {
        /// As in `Key`.
        digit: u8,
        /// Samples since the leg began, when it was let go.
        at: u64,
        /// As a tone in the audio, not as an event of RFC 4733.
        in_band: bool,
    },
    /// A generation was cancelled or replaced and is silent now.
    Stopped {
        /// Generation.
        r#gen: u64,
        /// Milliseconds of the generation that went out.
        heard_ms: u32,
    },
    /// Audio ran out before the generation was finished.
    Underrun {
        /// Generation.
        r#gen: u64,
    },
    /// Audio came after an underrun.
    Refill {
        /// Generation.
        r#gen: u64,
    },
    /// No valid packet from the caller for this long; again every five seconds.
    Silent {
        /// Since the last packet, or since the leg began.
        ms: u32,
    },
}

/// What the owner of a leg wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegCommand {
    /// Audio behind what the generation already has. A newer generation replaces an unfinished older one
    /// and waits for the end of a finished one; audio of an older or cancelled one is handed back.
    Speak {
        /// Generation.
        r#gen: u64,
        /// Samples of 8 kHz, any number.
        pcm: Box<[i16]>,
    },
    /// No more audio will come; the mark follows when all is played.
    Finish {
        /// Generation.
        r#gen: u64,
    },
    /// Fade out within 20 ms and hold.
    Pause,
    /// Fade in within 20 ms.
    Resume {
        /// Re-plays up to this much of what was already played (at most three seconds).
        rewind_ms: u32,
    },
    /// Fade out and drop this generation and all before it.
    Cancel {
        /// Generation.
        r#gen: u64,
    },
    /// Presses keys towards the other side; speech waits meanwhile.
    SendDigits(Dial),
}

/// Keys to be pressed, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// As in [`LegEvent::Key`]; `b'w'` waits for half a second, anything else is skipped.
    pub digits: Vec<u8>,
    /// How long each sounds.
    pub tone_ms: u16,
    /// From the end of one to the beginning of the next; 60 ms at least where the keys are events, whose end is told three times.
    pub gap_ms: u16,
    /// As tones in the audio even where events were agreed.
    pub in_band: bool,
}

impl Dial {
    /// Keys as a person presses them.
    #[must_use]
    pub fn plain(digits: Vec<u8>) -> Self {
        Self { digits, tone_ms: 100, gap_ms: 140, in_band: false }
    }
}

/// What goes out in a tick, unless keys are being pressed.
#[derive(Debug, Clone, Copy)]
pub enum Outward<'a> {
    /// What the leg is told to say.
    Own,
    /// Silence; what it is told to say passes unheard.
    Muted,
    /// What the leg is told to say, but to nobody on this line: the tick has it for whoever takes it elsewhere. Keys are tones in it.
    Aside,
    /// Somebody else's frame; what it is told to say waits.
    Frame(&'a Frame),
}

/// A finished allocation, on its way back to a thread that may free it.
#[derive(Debug, PartialEq, Eq)]
pub enum Spent {
    /// From [`LegCommand::Speak`].
    Audio(Box<[i16]>),
    /// From [`LegCommand::SendDigits`].
    Digits(Vec<u8>),
}

/// Where a staged packet must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// Destination.
    pub to: SocketAddr,
    /// Which of the two sockets.
    pub channel: Channel,
}

/// The two sockets of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Even port.
    Rtp,
    /// Odd port.
    Rtcp,
}
