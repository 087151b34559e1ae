//! What an agent knows, as its conversation asks for it: before every answer, or by a tool.

use std::sync::Arc;

use control_api::Shelf;
use domain::agent::records::Knowledge;
use pipeline::agent::Library;
use pipeline::conversation::ToolResult;
use serde_json::Value;

use super::tools::Outcome;

/// The documents of an agent with the agent's settings for them.
pub(super) struct Known {
    pub(super) shelf: Arc<Shelf>,
    pub(super) settings: Knowledge,
}

impl Library for Known {
    fn look_up(&self, question: &str) -> Vec<String> {
        self.shelf.answer(question, &self.settings)
    }
}

impl Known {
    /// The model asks: `{"query": …}`.
    pub(super) fn answer(&self, id: String, arguments: &Value) -> Outcome {
        let (ok, text) = match arguments["query"].as_str() {
            Some(question) => match self.look_up(question) {
                none if none.is_empty() => (true, "The documents say nothing about this.".to_owned()),
                passages => (true, passages.join("\n\n")),
            },
            None => (false, "the argument `query` is missing".to_owned()),
        };
        Outcome { result: ToolResult { id, ok, text }, entry: None }
    }
}
