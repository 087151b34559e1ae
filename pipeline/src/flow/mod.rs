//! The flow engine: a graph of states that asks, understands and decides without a model, as pure functions from what was heard to what is said.

mod calendar;
mod compile;
mod condition;
mod engine;
mod grammar;
mod names;
mod numbers;
mod spec;
mod state;
mod template;
mod values;
mod when;
mod words;

pub use calendar::LocalTime;
pub use compile::FlowError;
pub use grammar::{from_phrases, words_of};
pub use state::{FlowState, Value};

use std::collections::BTreeMap;

use crate::stt::Hints;

/// A compiled flow: every target exists, every state has a way out and the start reaches an end.
#[derive(Clone, Debug)]
pub struct Flow {
    pub(crate) spec: spec::FlowSpec,
}

/// What is known about a call before anybody speaks.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Facts {
    /// The caller's number as the carrier gave it, if it may be used.
    pub caller_number: Option<String>,
    /// Date and time of day at the place the agent speaks for.
    pub now: LocalTime,
    /// Variables of the agent and the call, for `{{name}}` in texts.
    pub variables: BTreeMap<String, String>,
}

/// What a flow reacts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The words of a caller's turn.
    Words(String),
    /// The keys of a caller's turn: `0-9`, `*`, `#`, `A-D`.
    Keys(String),
    /// A tool has answered.
    ToolResult {
        /// The id of its [`ToolCall`].
        id: String,
        /// Whether the tool did what it was asked.
        ok: bool,
        /// Its answer: plain text, or a JSON object whose members become variables.
        text: String,
    },
    /// The caller was silent for the n-th time in a row, from 1.
    NoInput(u32),
}

/// What a flow wants done next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Sentences to speak, in order.
    pub say: Vec<String>,
    /// What the caller is expected to answer.
    pub expect: Expect,
    /// A tool to run; its result comes back as [`Heard::ToolResult`].
    pub tool: Option<ToolCall>,
    /// Hang up once everything has been spoken.
    pub end: bool,
}

/// What the caller is expected to answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// The kind of answer, which rules the wait at the end of a turn.
    pub field: FieldKind,
    /// For the recogniser.
    pub hints: Hints,
    /// Which keys are an answer; `None` while no answer is expected.
    pub keys: Option<KeyRule>,
}

/// Kinds of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// No answer is expected: a tool runs or the call ends.
    #[default]
    Nothing,
    /// Free words.
    Open,
    /// Yes or no.
    YesNo,
    /// One of a few intents.
    Choice,
    /// A number of so many digits.
    Digits {
        /// At least.
        min: u8,
        /// At most.
        max: u8,
    },
    /// A day and a time of day.
    DateTime,
    /// A person's name.
    Name,
    /// A telephone number.
    Phone,
    /// An e-mail address.
    Email,
}

/// Which keys answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRule {
    /// Fewer keys are not an answer.
    pub min: u8,
    /// As many keys as this are an answer at once; `#` ends a shorter one.
    pub max: u8,
    /// Single keys that are an answer by themselves.
    pub menu: Vec<u8>,
}

/// A tool that a flow wants run.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// Unique within the call.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// A JSON object.
    pub arguments: serde_json::Value,
}

impl Flow {
    /// Checks a flow (shape: the `flow` object of an agent) and makes it runnable.
    pub fn compile(flow: &serde_json::Value) -> Result<Flow, FlowError> {
        compile::compile(flow)
    }

    /// The first step of a call.
    pub fn start(&self, facts: &Facts) -> (FlowState, Step) {
        engine::start(self, facts)
    }

    /// The step after something was heard. It changes nothing outside, so it may be asked about guesses.
    pub fn step(&self, state: &FlowState, heard: &Heard) -> (FlowState, Step) {
        engine::step(self, state, heard)
    }

    /// All words that the grammars of this flow contain; those a dictionary lacks cannot be recognised offline.
    pub fn words(&self) -> std::collections::BTreeSet<String> {
        self.spec
            .states
            .iter()
            .filter_map(|(name, node)| node.expect.as_ref().map(|expect| (name, expect)))
            .flat_map(|(_, expect)| words_of(&grammar::for_expect(&self.spec, expect)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
