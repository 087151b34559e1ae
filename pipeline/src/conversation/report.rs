//! What a conversation tells the call it belongs to, and what the call may tell it.

use crate::Ms;
use crate::turn::{Cause, Turn};

use super::ToolResult;

/// From a conversation to its call.
#[derive(Debug)]
pub enum ConversationEvent {
    /// The caller's turn is final.
    Caller(Spoken),
    /// A turn that was told before was better understood later.
    Amended {
        /// Which.
        turn: Turn,
        /// All its words.
        text: String,
    },
    /// A guess at the caller's words.
    Partial(String),
    /// The agent's turn was played or cut.
    Agent(Box<Ended>),
    /// A barge-in was confirmed.
    Interrupted {
        /// When.
        at: Ms,
    },
    /// A false alarm: speech goes on.
    Resumed {
        /// After so long.
        paused_ms: Ms,
    },
    /// A key was pressed.
    Key {
        /// Which.
        digit: u8,
        /// When.
        at: Ms,
        /// It came beside the audio, by signalling.
        signalled: bool,
    },
    /// A key of ours was pressed and let go.
    Sent {
        /// Which.
        digit: u8,
        /// As a tone in the audio, not as an event.
        in_band: bool,
    },
    /// What the agent is doing: `listening`, `thinking`, `speaking`.
    Activity(&'static str),
    /// A tool is to be run; the result goes back as [`Order::ToolResult`].
    Tool {
        /// The call's id.
        id: String,
        /// Which tool.
        name: String,
        /// Arguments as JSON text.
        arguments: String,
    },
    /// A tool's result is not wanted any more.
    ToolCancelled {
        /// Which call.
        id: String,
    },
    /// Music is heard instead of the caller, or no longer.
    Hold(bool),
    /// A stage works no more, or not as it should.
    Degraded {
        /// `stt`, `llm` or `tts`.
        stage: &'static str,
    },
    /// Nothing has come from the caller for so long.
    Silent {
        /// Milliseconds.
        ms: u32,
    },
    /// The agent wants the call to end.
    Hangup(Cause),
    /// Nothing more will come.
    Closed,
}

/// What the caller said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Words or keys.
    pub text: String,
    /// First sample.
    pub start: Ms,
    /// Last sample.
    pub end: Ms,
    /// Keys, not words.
    pub keys: bool,
    /// Replaces the caller's turn that was told before it.
    pub again: bool,
}

/// What the agent said.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// As generated.
    pub text: String,
    /// As far as it was sent.
    pub heard_text: String,
    /// Cut by the caller, or by the end of the call.
    pub interrupted: bool,
    /// First sample.
    pub start: Ms,
    /// Last sample.
    pub end: Ms,
    /// Where the time went, if it answered something.
    pub latency: Option<domain::Latency>,
    /// Who asked for it, if somebody did.
    pub say_id: Option<String>,
}

/// Something to be said for the call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Say {
    /// The text.
    pub text: String,
    /// Not when the floor is free: cut what the agent is saying.
    pub now: bool,
    /// The caller cannot interrupt it.
    pub protected: bool,
    /// Hang up after it; with `now`, whatever the caller says to it.
    pub ends: bool,
    /// For the turn that it becomes.
    pub id: Option<String>,
}

/// From a call to its conversation.
#[derive(Debug)]
pub enum Order {
    /// A tool has answered.
    ToolResult(ToolResult),
    /// Say this.
    Say(Say),
    /// A note to the model, never spoken; a flow has no use for it.
    Instruct {
        /// The note.
        text: String,
        /// Let the model speak about it at once.
        respond: bool,
    },
    /// Nobody listens to the agent and the agent listens to nobody: the line belongs to somebody else for a while.
    Away(bool),
    /// The caller put us on hold, or took us back.
    Hold(bool),
    /// Keys that came by signalling instead of the audio path.
    Keys(String),
    /// Send keys.
    SendKeys(Vec<u8>),
    /// The call is over.
    Bye,
}
