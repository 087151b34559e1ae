//! Language models: one request a generation, tokens and tool calls back.

pub mod openai;
pub mod roster;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::{Gen, link::usage::Usage};

/// Who said a line of the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Instructions of the operator.
    System(String),
    /// The caller.
    Caller(String),
    /// The agent; only what the caller heard of it.
    Agent(String),
    /// A tool call that the agent made, with its result if there is one yet.
    Tool {
        /// The call's id, as the model gave it.
        id: String,
        /// The tool's name.
        name: String,
        /// Arguments as JSON text.
        arguments: String,
        /// Result as text; `None` while it runs.
        result: Option<String>,
    },
}

/// A function the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// `^[a-z][a-z0-9_]{0,39}$`.
    pub name: String,
    /// For the model.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: serde_json::Value,
}

/// From the conversation to its model.
#[derive(Clone, Debug)]
pub enum LlmCommand {
    /// Answer this context.
    Generate {
        /// The generation that all events of the answer carry.
        r#gen: Gen,
        /// The whole context, oldest first.
        lines: Vec<Line>,
        /// What the model may call.
        tools: Vec<Tool>,
    },
    /// Stop this generation; nothing more of it is wanted.
    Cancel {
        /// Which.
        r#gen: Gen,
    },
}

/// From a model to its conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum LlmEvent {
    /// A piece of text to speak.
    Token {
        /// Its generation.
        r#gen: Gen,
        /// The piece, with its own spaces.
        text: String,
    },
    /// A complete tool call.
    ToolCall {
        /// Its generation.
        r#gen: Gen,
        /// The model's id for it.
        id: String,
        /// The tool's name.
        name: String,
        /// Arguments as JSON text, checked to be JSON.
        arguments: String,
    },
    /// The answer is complete.
    Done {
        /// Its generation.
        r#gen: Gen,
        /// Tokens read, if told.
        input_tokens: u32,
        /// Tokens written, if told.
        output_tokens: u32,
    },
    /// The answer failed.
    Error {
        /// Its generation.
        r#gen: Gen,
        /// Why, for the log.
        reason: String,
        /// Whether another attempt may help.
        retry: bool,
    },
}

/// Both ends of a model as a conversation holds them; dropping it closes the model.
#[derive(Debug)]
pub struct LlmLink {
    /// Towards the model.
    pub commands: mpsc::Sender<LlmCommand>,
    /// From the model.
    pub events: mpsc::UnboundedReceiver<LlmEvent>,
    /// Provider and model, as "openai/gpt-4.1-mini".
    pub name: String,
    /// What this link has used so far.
    pub usage: Arc<Usage>,
}
