//! What is said on the socket: one JSON object in each text frame.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::view::Event;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Asked {
    /// Show me these events.
    Subscribe {
        /// The client's name for it.
        id: String,
        /// Patterns; everything when absent.
        #[serde(default)]
        types: Vec<String>,
        call_id: Option<String>,
        agent_id: Option<String>,
        /// Stored events after this cursor first; only new ones when absent.
        after: Option<String>,
        /// With `call_id`: the call's events after this number first.
        after_seq: Option<i64>,
        /// Also what is shown and not stored (true when absent).
        live: Option<bool>,
    },
    /// No more of these.
    Unsubscribe { id: String },
    /// Are you there?
    Ping {
        #[serde(default)]
        t: Value,
    },
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub(super) enum Told<'a> {
    Subscribed {
        id: &'a str,
        /// Where the subscription stands.
        cursor: String,
        /// Stored events that may follow, before `types` and `agent_id` sort them out.
        replaying: i64,
    },
    /// What follows happens now.
    Live {
        id: &'a str,
    },
    Unsubscribed {
        id: &'a str,
    },
    Pong {
        t: Value,
    },
    Event {
        id: &'a str,
        event: &'a Event,
    },
    /// Live events that were lost because the client reads slowly.
    Gap {
        id: &'a str,
        dropped_live: u64,
    },
    Error {
        id: &'a str,
        code: &'a str,
        message: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        oldest: Option<String>,
    },
}

impl Told<'_> {
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Why the server closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http::routes) enum Closing {
    BadFrame,
    Credential,
    Scope,
    Silent,
    Slow,
    Draining,
}

impl Closing {
    pub(in crate::http::routes) const fn code(self) -> u16 {
        match self {
            Self::BadFrame => 4400,
            Self::Credential => 4401,
            Self::Scope => 4403,
            Self::Silent => 4408,
            Self::Slow => 4429,
            Self::Draining => 4503,
        }
    }

    pub(in crate::http::routes) const fn reason(self) -> &'static str {
        match self {
            Self::BadFrame => "not a frame of this protocol",
            Self::Credential => "the credential is no longer valid",
            Self::Scope => "the credential lacks the scope",
            Self::Silent => "no subscription, or no answer to pings",
            Self::Slow => "reads too slowly; come back with the last cursor",
            Self::Draining => "this node is closing; connect again",
        }
    }
}
