//! What an agent can do besides talking, and whom it may hand the call to.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::form;
use super::shape::{any, block, chars, choice, one_of, range};
use crate::call::words;

words! {
    /// What a tool does.
    ToolKind {
        /// Ends the call after a sentence.
        HangUp = "hang_up",
        /// Hands the call to somebody.
        Transfer = "transfer",
        /// Presses keys.
        SendDtmf = "send_dtmf",
        /// Asks a server of the tenant.
        Http = "http",
        /// Takes a message.
        TakeMessage = "take_message",
        /// Stores contact details.
        CollectLead = "collect_lead",
        /// Books a slot.
        BookSlot = "book_slot",
        /// Tools of an MCP server.
        Mcp = "mcp",
        /// Changes the language.
        SwitchLanguage = "switch_language",
        /// Puts the other party on the do-not-call list.
        MarkDoNotCall = "mark_do_not_call",
        /// Whatever the tenant's own program does with an event.
        Custom = "custom",
    }
}

impl ToolKind {
    /// It acts on a call and can do nothing without one.
    pub const fn needs_call(self) -> bool {
        matches!(self, Self::HangUp | Self::Transfer | Self::SendDtmf | Self::SwitchLanguage | Self::MarkDoNotCall)
    }

    /// The keys that its `config` may have.
    pub const fn config_keys(self) -> &'static [&'static str] {
        match self {
            Self::HangUp => &["say"],
            Self::Transfer => &["destinations"],
            Self::SendDtmf | Self::MarkDoNotCall => &[],
            Self::Http => &["method", "url", "headers", "credential_id", "body", "retry", "extract"],
            Self::TakeMessage => &["fields", "notify"],
            Self::CollectLead => &["fields", "required"],
            Self::BookSlot => &["calendar", "slot_minutes", "hours", "lead_time_ms", "timezone"],
            Self::Mcp => &["url", "credential_id", "allow", "transport"],
            Self::SwitchLanguage => &["languages"],
            Self::Custom => &["event"],
        }
    }
}
choice!(ToolKind);

block! {
    /// What is said while a tool runs.
    Filler {
        /// After so long without an answer.
        after_ms: u64 = 600, range(0.0, 60_000.0);
        /// One of these.
        text: Vec<String> = Vec::new(), chars(1, 200).items(10);
    }
}

block! {
    /// One tool.
    Tool {
        /// Set by the server.
        id: Option<String> = None, chars(36, 36).form(form::uuid);
        /// How the model and the flow call it; unique in the agent.
        name: String = String::new(), chars(1, 40).form(form::name).required();
        /// What it does.
        kind: ToolKind = ToolKind::HangUp, any().required();
        /// For the model.
        description: String = String::new(), chars(0, 1_000);
        /// JSON Schema of its arguments.
        parameters: Value = Value::Null, any();
        /// Off: neither model nor flow sees it.
        enabled: bool = true, any();
        /// Longest run.
        timeout_ms: u64 = 8_000, range(200.0, 60_000.0);
        /// What is said while it runs.
        filler: Filler = Filler::default(), any();
        /// The conversation goes on while it runs.
        background: bool = false, any();
        /// What becomes of a failure.
        on_error: String = "tell".into(), one_of(&["tell", "hide", "transfer"]);
        /// The model reads so much of its answer.
        result_max_chars: u64 = 4_000, range(1.0, 100_000.0);
        /// By kind.
        config: Map<String, Value> = Map::new(), any();
    }
}

block! {
    /// Whom a call may be handed to.
    Transfer {
        /// How the model and the flow call it; unique in the agent.
        name: String = String::new(), chars(1, 40).required();
        /// Checked like a dialled number when it is saved and when it is used.
        to: String = String::new(), chars(1, 255).form(form::address).required();
        /// When to use it, for the model.
        description: String = String::new(), chars(0, 500);
        /// How.
        mode: String = "bridge".into(), one_of(&["refer", "bridge", "warm", "attended"]);
        /// Whose number the other side sees.
        caller_id: String = "ours".into(), one_of(&["ours", "caller"]);
        /// How long it rings there.
        ring_timeout_ms: u64 = 30_000, range(5_000.0, 120_000.0);
        /// Spoken to the person first, with `warm` and `attended`.
        brief: String = "none".into(), one_of(&["none", "summary", "text"]);
        /// The text of `text`.
        brief_text: String = String::new(), chars(0, 1_000);
        /// When nobody answers.
        on_fail: String = "resume".into(), one_of(&["resume", "voicemail", "hang_up"]);
        /// As in the routing of numbers; null is always.
        hours: Value = Value::Null, any();
    }
}

block! {
    /// What happens when all vendors of a stage are down.
    Degraded {
        /// Tried in order.
        order: Vec<String> = ["offline", "transfer", "voicemail"].map(String::from).into(), one_of(&["offline", "dtmf_menu", "transfer", "voicemail"]).items(4);
        /// Name of a transfer.
        transfer: Option<String> = None, chars(1, 40);
        /// Key → name of a transfer.
        menu: BTreeMap<String, String> = BTreeMap::new(), chars(1, 40).items(12);
        /// What is said.
        text: String = "We have a technical problem.".into(), chars(0, 500);
    }
}
