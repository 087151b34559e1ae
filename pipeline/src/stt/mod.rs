//! Speech to text: the words that pass between a conversation and its recogniser, whichever it is.

pub mod deepgram;
pub mod roster;

use std::sync::Arc;

use codecs::pcm::Frame;
use tokio::sync::mpsc;

use crate::{Ms, link::usage::Usage};

/// What a recogniser is asked to expect: built-in engines take the grammar, vendors take the phrases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// A JSGF grammar, complete with header, for engines that recognise by grammar.
    pub grammar: Option<std::sync::Arc<str>>,
    /// Words and phrases that are likely to be said.
    pub phrases: Vec<String>,
}

/// From the conversation to its recogniser.
#[derive(Clone, Debug)]
// Fifty of these a second are audio: a box for each frame would cost more than the room.
#[allow(clippy::large_enum_variant)]
pub enum SttCommand {
    /// Twenty milliseconds of the caller, in order, without holes.
    Audio(Frame),
    /// The caller began to speak at `at`; engines that work by utterance open one and use what they kept from before.
    SpeechStarted {
        /// First voiced sample, in ms since answer.
        at: Ms,
    },
    /// The caller paused; engines that work by utterance close it and answer with a final.
    SpeechEnded {
        /// Last voiced sample, in ms since answer.
        at: Ms,
    },
    /// Answer with a final for what has been heard so far.
    Flush,
    /// Expect this from now on.
    Expect(Hints),
}

/// From a recogniser to its conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum SttEvent {
    /// A guess at the words of the current segment; replaces the guess before.
    Partial {
        /// The words since the last final.
        text: String,
        /// Where on the caller's audio the guess ends.
        end: Ms,
    },
    /// Words that will not change any more; the next partial begins after them.
    Final {
        /// The words since the last final; never empty.
        text: String,
        /// Where on the caller's audio they end.
        end: Ms,
        /// False when the engine itself doubts them and they should be confirmed.
        sure: bool,
    },
    /// The engine closed an utterance and heard no words in it.
    Nothing {
        /// Where on the caller's audio the utterance ends.
        end: Ms,
    },
    /// The vendor thinks that the turn may be over.
    TurnEager {
        /// All words of the turn.
        text: String,
    },
    /// The vendor takes the last `TurnEager` back.
    TurnResumed,
    /// The vendor is sure that the turn is over.
    TurnEnd {
        /// All words of the turn.
        text: String,
    },
    /// The recogniser can be used; sent once, with the time it took to connect.
    Ready {
        /// Time to connect in ms.
        took_ms: u32,
    },
    /// The recogniser is lost and will not come back by itself.
    Down {
        /// Why, for the log.
        reason: String,
        /// Whether another attempt may help (not for bad credentials).
        retry: bool,
    },
}

/// Both ends of a recogniser as a conversation holds them; dropping it closes the recogniser.
#[derive(Debug)]
pub struct SttLink {
    /// Towards the recogniser. Full means that it is stuck: the oldest audio is already lost there, count it.
    pub commands: mpsc::Sender<SttCommand>,
    /// From the recogniser.
    pub events: mpsc::UnboundedReceiver<SttEvent>,
    /// Provider and model, as "deepgram/nova-3".
    pub name: String,
    /// What this link has used so far.
    pub usage: Arc<Usage>,
}
