//! Identifiers: one type per kind of thing, all UUIDv7 and all made by the caller, who owns the clock.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.as_hyphenated())
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            /// Takes the hyphenated lower-case form only, so that an id has one spelling in logs, paths and rows.
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                let id = Uuid::try_parse(text).map_err(|_| NotAnId)?;
                let mut buffer = Uuid::encode_buffer();
                if id.as_hyphenated().encode_lower(&mut buffer) == text { Ok(Self(id)) } else { Err(NotAnId) }
            }
        }
    )+};
}

ids! {
    /// One call, from INVITE or request to its end.
    CallId,
    /// One customer of the installation.
    TenantId,
    /// A stored agent.
    AgentId,
    /// A telephone number of a tenant.
    NumberId,
    /// A way to and from a carrier.
    TrunkId,
    /// A rule that says who answers on a trunk.
    RuleId,
    /// A number that is being bought, ported or given back.
    OrderId,
    /// One SIP leg of a call.
    LegId,
    /// One recording of a call.
    RecordingId,
    /// One durable event.
    EventId,
    /// Someone who called and may become a customer.
    LeadId,
    /// A tenant's mail template.
    EmailTemplateId,
    /// A file that was made to be fetched.
    FileId,
    /// A booking or a message that an agent took.
    TakenId,
    /// A credential of a program.
    ApiKeyId,
    /// A person who can sign in.
    UserId,
    /// One sign-in of a person on one device.
    SessionId,
    /// An invitation of a person to a tenant.
    InvitationId,
    /// One run of one node: calls of another boot of the same node are orphans.
    BootId,
}

/// The text is not a lower-case, hyphenated UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a lower-case uuid")]
pub struct NotAnId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let text = "0193481e-7a10-7000-8000-0000000000c1";
        assert_eq!(text.parse::<CallId>().unwrap().to_string(), text);
        for other in [&text.to_uppercase(), &text.replace('-', ""), "", "../etc", &format!("{{{text}}}")] {
            assert_eq!(other.parse::<CallId>(), Err(NotAnId), "{other}");
        }
    }
}
