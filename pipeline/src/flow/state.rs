//! Where a call stands in its flow: everything, so that it can be copied, guessed with and stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Facts, LocalTime};

/// A value that a caller gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Value {
    /// Words.
    Text(String),
    /// A number that is read digit by digit.
    Digits(String),
    /// A day and a time of day.
    At(LocalTime),
}

impl Value {
    /// As tools and conditions get it.
    pub fn plain(&self) -> String {
        match self {
            Value::Text(text) | Value::Digits(text) => text.clone(),
            Value::At(at) => at.iso(),
        }
    }
}

/// What the current state waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Phase {
    /// An answer to its question.
    Ask,
    /// Whether the number the caller calls from may be used.
    CallerId,
    /// Whether the value was understood.
    Confirm,
    /// The other half of a day and a time.
    Half { day: Option<LocalTime>, clock: Option<super::when::Clock> },
    /// The result of a tool.
    Tool { id: String },
    /// Nothing any more.
    Over,
}

/// Where a call stands in its flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowState {
    pub(crate) node: String,
    pub(crate) phase: Phase,
    pub(crate) vars: BTreeMap<String, Value>,
    /// Variables that were filled before their state asked for them.
    pub(crate) early: Vec<String>,
    /// Answers in a row that were not understood.
    pub(crate) misses: u32,
    pub(crate) tools: u32,
    /// What was said last, for "repeat".
    pub(crate) last: Vec<String>,
    pub(crate) facts: Facts,
}

impl FlowState {
    /// The name of the state the call is in.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether the flow has ended.
    pub fn over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The values so far, as tools get them.
    pub fn values(&self) -> BTreeMap<String, String> {
        self.vars.iter().map(|(name, value)| (name.clone(), value.plain())).collect()
    }
}
