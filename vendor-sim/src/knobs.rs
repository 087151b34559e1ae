//! What a simulator answers, how late, and what goes wrong.

use std::time::Duration;

use serde::Deserialize;

/// Settings of one simulator; the default answers at once and without faults.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// The key that clients must show; `None` lets everybody in.
    pub key: Option<String>,
    /// Wait before the first message of each answer.
    pub first_byte: Duration,
    /// Wait between two messages of an answer.
    pub pace: Duration,
    /// What goes wrong.
    pub fault: Fault,
    /// How often it goes wrong before the simulator behaves.
    pub times: u32,
    /// Deepgram: what the utterances of a socket say, in order; after the last one it begins again.
    pub transcripts: Vec<String>,
    /// Deepgram: one script for all sockets together, so that a client that reconnects goes on where it was.
    pub shared_script: bool,
    /// Deepgram: never says `speech_final`, as in noise; only `UtteranceEnd` comes.
    pub no_speech_final: bool,
    /// OpenAI: what to answer, first match wins.
    pub replies: Vec<Reply>,
    /// OpenAI: the answer when nothing matches.
    pub default_reply: String,
    /// ElevenLabs: leaves the alignment out.
    pub no_alignment: bool,
    /// ElevenLabs: `is_final` and `context_id`, as the published description has it, in place of `isFinal` and `contextId`.
    pub snake_case: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            key: None,
            first_byte: Duration::ZERO,
            pace: Duration::ZERO,
            fault: Fault::None,
            times: u32::MAX,
            transcripts: vec!["hello".into()],
            shared_script: false,
            no_speech_final: false,
            replies: Vec::new(),
            default_reply: "I see. What else can I do for you?".into(),
            no_alignment: false,
            snake_case: false,
        }
    }
}

/// What can go wrong at a vendor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The request is refused with this HTTP status.
    Refuse {
        /// Such as 429 or 503.
        status: u16,
        /// Seconds in `retry-after`.
        retry_after: Option<u32>,
        /// The vendor's word for it, such as `insufficient_quota`.
        code: String,
    },
    /// The connection breaks without a word after so many messages of the answer.
    Drop {
        /// Messages that still come.
        after: u32,
    },
    /// The connection stays, and nothing comes any more after so many messages of the answer.
    Stall {
        /// Messages that still come.
        after: u32,
    },
    /// Messages that are no JSON, of an unknown type or of the wrong shape come between the good ones.
    Garbage,
    /// The vendor reports an error inside the answer after so many messages of it.
    Error {
        /// Messages that still come.
        after: u32,
    },
    /// OpenAI: the arguments of tool calls are no JSON.
    BadArguments,
}

/// A scripted answer of the language model.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// Part of the last user message, whatever its case.
    pub when: String,
    /// What the model says.
    #[serde(default)]
    pub text: String,
    /// What it calls after that.
    #[serde(default)]
    pub tools: Vec<ToolCall>,
    /// What it says once the results of the calls are there; `{result.NAME}` is a member of the last one.
    #[serde(default)]
    pub then: String,
}

/// A scripted tool call.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The tool's name.
    pub name: String,
    /// Its arguments.
    pub arguments: serde_json::Value,
}
