//! Agents that no tenant wrote: they say one thing, or take a message, where a number or a rule says so.

use std::sync::Arc;

use domain::AgentSpec;
use serde_json::json;

use super::document::{Action, ActionKind};

/// Said when a voicemail has no text of its own.
const VOICEMAIL: &str = "Nobody can take your call right now. Please leave a message.";

/// The agent for an action that needs one; none for those that do not.
pub(crate) fn agent(action: &Action) -> Option<Arc<AgentSpec>> {
    let spec = match action.kind {
        ActionKind::Message => json!({
            "name": "Message",
            "mode": "flow",
            "llm": {"provider": "flow"},
            "flow": {"start": "say", "states": {"say": {"say": literal(action.text.as_deref()?), "end": true}}},
        }),
        ActionKind::Voicemail => json!({
            "name": "Voicemail",
            "mode": "flow",
            "llm": {"provider": "flow"},
            "tools": [{"name": "take_message", "kind": "take_message", "description": "Take a message", "config": {"fields": ["text"]}}],
            "flow": {"start": "listen", "states": {
                "listen": {"say": literal(action.text.as_deref().unwrap_or(VOICEMAIL)), "expect": {"kind": "free"}, "set": "text", "go": "keep",
                    "no_input": {"max": 1, "go": "nothing"}},
                "keep": {"tool": {"name": "take_message", "args": {"text": "{{text}}"}}, "go": "kept", "on_error": "kept"},
                "kept": {"say": "Thank you. Your message has been taken. Goodbye.", "end": true},
                "nothing": {"say": "Goodbye.", "end": true},
            }},
        }),
        ActionKind::Agent | ActionKind::Transfer | ActionKind::Reject => return None,
    };
    AgentSpec::read(&spec).map(Arc::new).inspect_err(|faults| tracing::error!(?faults, "no agent for this action")).ok()
}

/// The text of an action is said as it stands: it has no variables.
fn literal(text: &str) -> String {
    text.replace("{{", "{ {")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_voicemail_have_an_agent() {
        for kind in [ActionKind::Message, ActionKind::Voicemail] {
            let action = Action { kind, text: Some("We are closed.".into()), ..Action::reject(480) };
            assert_eq!(agent(&action).unwrap().mode, domain::agent::Mode::Flow);
        }
        assert!(agent(&Action::reject(603)).is_none());
    }
}
