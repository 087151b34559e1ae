//! What the stack tells its user, and the words both use for a call.

use std::net::SocketAddr;

use crate::flow::Flow;
use crate::message::{Message, NameAddr, Uri};
use crate::sdp::Sdp;

/// Names one call of one [`crate::Endpoint`], never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallHandle(pub(crate) u64);

impl CallHandle {
    /// The number, for logs.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The handle of a number that was once logged; it may name no call.
    pub fn from_number(number: u64) -> Self {
        CallHandle(number)
    }
}

/// The headers of one message as text; bytes that are not UTF-8 become U+FFFD.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    pub(crate) fn of(message: &Message) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Headers(
            message
                .lines()
                .map(|(name, label, value)| {
                    (if name.as_str().is_empty() { text(label) } else { name.as_str().to_owned() }, text(value))
                })
                .collect(),
        )
    }

    /// The first header of this name (full form), whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(label, _)| label.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All headers in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A call that somebody wants to have with us.
#[derive(Debug, Clone)]
pub struct Invite {
    /// The URI of To: whom the caller meant.
    pub to: Uri,
    /// Who says he calls.
    pub from: NameAddr,
    /// The Request-URI: where the last hop sent it.
    pub request_uri: Uri,
    /// The Call-ID.
    pub call_id: String,
    /// The socket address it came from; the only one to be believed.
    pub source: SocketAddr,
    /// The offer; `None` asks us to make it.
    pub sdp: Option<Sdp>,
    /// Every header.
    pub headers: Headers,
}

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Whom to call; also the Request-URI.
    pub to: Uri,
    /// Who calls.
    pub from: NameAddr,
    /// The path to the next hop, already resolved.
    pub flow: Flow,
    /// Our offer.
    pub sdp: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The peer said BYE.
    Bye,
    /// The caller gave up before an answer.
    Cancel,
    /// Refused with this status, by the peer or by [`crate::Endpoint::reject`].
    Rejected(u16),
    /// Nobody answered in time, or the connection broke before an answer.
    Timeout,
    /// We answered and no ACK came for 64·T1.
    NoAck,
    /// We ended it ourselves.
    Local,
}

/// What happened. Each call ends with exactly one `Ended`, and nothing of that call follows it.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody calls; wants `ring`, `answer` or `reject`.
    Incoming {
        /// The new call.
        call: CallHandle,
        /// Who and what.
        invite: Box<Invite>,
    },
    /// The other side rings or plays early media (any 1xx above 100).
    Ringing {
        /// Our call.
        call: CallHandle,
        /// 101 to 199.
        status: u16,
        /// A description for early media.
        sdp: Option<Sdp>,
    },
    /// The other side answered; the ACK is already sent.
    Answered {
        /// Our call.
        call: CallHandle,
        /// Its answer.
        sdp: Sdp,
        /// The headers of the 200.
        headers: Headers,
    },
    /// The ACK of our answer came. For a re-INVITE this is told only when the ACK carries an answer.
    Established {
        /// The call.
        call: CallHandle,
        /// The peer's answer when the offer was ours.
        sdp: Option<Sdp>,
    },
    /// The peer wants to change the session; wants `answer` or `reject`.
    Reinvite {
        /// The call.
        call: CallHandle,
        /// Its offer; `None` asks us to make one.
        sdp: Option<Sdp>,
    },
    /// Keys sent by SIP INFO.
    Info {
        /// The call.
        call: CallHandle,
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        digits: String,
        /// How long the key was held, if told, in milliseconds.
        duration_ms: Option<u32>,
    },
    /// The call is over.
    Ended {
        /// The call.
        call: CallHandle,
        /// Why.
        cause: Cause,
    },
}

/// Why something cannot be done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It has ended, or never was.
    #[error("no such call")]
    NoSuchCall,
    /// Nothing waits for an answer.
    #[error("nothing to answer")]
    NothingToAnswer,
}
