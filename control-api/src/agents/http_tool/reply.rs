//! What a tool's server says, and what is understood of it.

use std::time::Duration;

use serde_json::{Map, Value};

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolReply {
    /// The HTTP status.
    pub status: u16,
    /// JSON if it is, else text.
    pub body: Value,
    /// From the first byte out to the last one in.
    pub duration_ms: u64,
}

/// What an answer asks of the call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Understood {
    /// To be said as it stands.
    pub say: Option<String>,
    /// Set in the call.
    pub variables: Map<String, Value>,
    /// Name of a transfer.
    pub transfer: Option<String>,
    /// The call is over after what is said.
    pub end: bool,
}

impl ToolReply {
    pub(super) fn read(status: u16, body: &[u8], took: Duration) -> Self {
        let body = serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).trim().into());
        Self { status, body, duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX) }
    }

    /// The answer as a model reads it, cut to so many characters.
    #[must_use]
    pub fn text(&self, most: u64) -> String {
        let text = match &self.body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if text.chars().count() <= most { text } else { text.chars().take(most).collect() }
    }

    /// What it asks of the call: its own words, and what the tool's `extract` finds in it (name → path like `$.order.items[0].name`).
    #[must_use]
    pub fn understood(&self, extract: Option<&Value>) -> Understood {
        let mut variables = self.body["variables"].as_object().cloned().unwrap_or_default();
        variables.retain(|_, value| !value.is_object() && !value.is_array());
        for (name, path) in extract.and_then(Value::as_object).into_iter().flatten() {
            let found = path.as_str().and_then(|path| at(&self.body, path));
            if let Some(found) = found.filter(|found| !found.is_object() && !found.is_array() && !found.is_null()) {
                variables.insert(name.clone(), found.clone());
            }
        }
        let word = |key: &str| self.body[key].as_str().map(str::to_owned).filter(|word| !word.is_empty());
        Understood {
            say: word("say").map(|say| say.chars().take(1_000).collect()),
            variables,
            transfer: word("transfer"),
            end: self.body["end"] == true,
        }
    }
}

/// The value at a path of names and indices: `$.a.b[0]['c d']`, the part of RFC 9535 that finds one value.
fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let mut rest = path.strip_prefix('$')?;
    let mut here = value;
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix("['") {
            let (name, tail) = tail.split_once("']")?;
            (here, rest) = (here.get(name)?, tail);
        } else if let Some(tail) = rest.strip_prefix('[') {
            let (index, tail) = tail.split_once(']')?;
            (here, rest) = (here.get(index.parse::<usize>().ok()?)?, tail);
        } else {
            let tail = rest.strip_prefix('.')?;
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            (here, rest) = (here.get(&tail[..end])?, &tail[end..]);
        }
    }
    Some(here)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_one_value_or_nothing() {
        let value = json!({"a": {"b c": [1, {"d": "x"}]}});
        assert_eq!(at(&value, "$.a['b c'][1].d"), Some(&json!("x")));
        assert_eq!(at(&value, "$"), Some(&value));
        for path in ["a", "$.a.x", "$.a['b c'][2]", "$.a['b c'", "$[", "$.", "$..a", "$.a[x]"] {
            assert_eq!(at(&value, path), None, "{path}");
        }
    }

    #[test]
    fn an_answer_may_ask_for_things() {
        let body = json!({"say": "It ships today.", "variables": {"eta": "today", "deep": {}}, "end": true, "order": {"n": 7}});
        let reply = ToolReply::read(200, body.to_string().as_bytes(), Duration::ZERO);
        let asked = reply.understood(Some(&json!({"number": "$.order.n", "none": "$.nothing"})));
        assert_eq!(asked.say.as_deref(), Some("It ships today."));
        assert_eq!(Value::Object(asked.variables), json!({"eta": "today", "number": 7}));
        assert!(asked.end && asked.transfer.is_none());
    }

    #[test]
    fn text_that_is_no_json_is_text_and_is_cut() {
        let reply = ToolReply::read(200, " ünder way \n".as_bytes(), Duration::ZERO);
        assert_eq!((reply.text(4_000).as_str(), reply.text(3).as_str()), ("ünder way", "ünd"));
        assert_eq!(reply.understood(None), Understood::default());
    }
}
