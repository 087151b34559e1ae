//! What the caller is expected to say, with the waits that belong to it.

use serde::{Deserialize, Serialize};

use crate::Ms;

/// What the caller is expected to say next; set by a flow's node or a tool's parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Field {
    /// Anything.
    #[default]
    Open,
    /// A longer account.
    Story,
    /// Yes or no.
    YesNo,
    /// One of these.
    Choice {
        /// The answers.
        options: Vec<String>,
    },
    /// A number of so many digits, spoken or keyed.
    Digits {
        /// At least.
        min: u8,
        /// At most.
        max: u8,
    },
    /// A telephone number, spoken or keyed.
    Phone,
    /// An e-mail address.
    Email,
    /// A word letter by letter.
    Spelling,
    /// A postal address.
    Address,
    /// A day, a time, or both.
    DateTime,
    /// A name.
    Name,
    /// A number with its unit.
    Amount,
    /// A menu: any of these keys, or anything spoken.
    Keymap {
        /// The keys, as "123*".
        keys: String,
    },
}

impl Field {
    /// Silence before the first prompt.
    pub(super) fn silence(&self) -> Ms {
        match self {
            Self::Story => 10_000,
            Self::YesNo => 6000,
            Self::Choice { .. } => 7000,
            Self::Digits { .. } | Self::Phone | Self::Email | Self::Spelling | Self::Address => 12_000,
            _ => 8000,
        }
    }
}
