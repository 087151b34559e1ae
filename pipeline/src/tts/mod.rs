//! Text to speech: sentences of a generation in, 8 kHz samples of it out.

pub mod elevenlabs;
pub mod roster;

pub mod beeps;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{Gen, link::usage::Usage};

/// From the conversation to its voice.
#[derive(Clone, Debug)]
pub enum TtsCommand {
    /// Say this piece after the pieces of the same generation before it.
    Speak {
        /// The generation that all events of it carry.
        r#gen: Gen,
        /// One clause or sentence.
        text: String,
    },
    /// No more pieces of this generation will come.
    Finish {
        /// Which.
        r#gen: Gen,
    },
    /// Stop this generation; nothing more of it is wanted.
    Cancel {
        /// Which.
        r#gen: Gen,
    },
}

/// From a voice to its conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum TtsEvent {
    /// Samples at 8 kHz, in order.
    Audio {
        /// Their generation.
        r#gen: Gen,
        /// At most one second.
        pcm: Box<[i16]>,
    },
    /// The audio before this event says `text`: what the heard-text ledger counts by.
    Piece {
        /// Its generation.
        r#gen: Gen,
        /// The words, as they were given to `Speak` (one piece, or a part of it where the vendor times its words).
        text: String,
        /// Samples of audio of this generation that lie before the end of these words.
        end_sample: u64,
    },
    /// All audio of the generation has been sent.
    Done {
        /// Which.
        r#gen: Gen,
    },
    /// The generation cannot be said.
    Error {
        /// Which.
        r#gen: Gen,
        /// Why, for the log.
        reason: String,
        /// Whether another attempt may help.
        retry: bool,
    },
    /// The voice is lost and will not come back by itself.
    Down {
        /// Why, for the log.
        reason: String,
        /// Whether another attempt may help.
        retry: bool,
    },
}

/// Both ends of a voice as a conversation holds them; dropping it closes the voice.
#[derive(Debug)]
pub struct TtsLink {
    /// Towards the voice.
    pub commands: mpsc::Sender<TtsCommand>,
    /// From the voice.
    pub events: mpsc::UnboundedReceiver<TtsEvent>,
    /// Provider and voice, as "elevenlabs/rachel".
    pub name: String,
    /// What this link has used so far.
    pub usage: Arc<Usage>,
}
