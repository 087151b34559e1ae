//! What the stack tells its user, and the words both use for a call.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::auth::Credentials;
use crate::flow::Flow;
use crate::message::{Message, NameAddr, Uri};
use crate::outside::{PeerHandle, RegistrationHandle};
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
    /// How many more hops the request may take; whoever passes it on sends one less, or 483 at 0.
    pub max_forwards: u32,
    /// The call of ours that this one is to replace (RFC 3891); it ends when this one is answered.
    pub replaces: Option<CallHandle>,
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
    /// Our offer; `None` lets the other side make one, which [`crate::Endpoint::acknowledge`] then answers.
    pub sdp: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// A route set to begin with, as a registrar's Service-Route gives it (RFC 3608); whole Route values.
    pub routes: Vec<String>,
    /// Further paths, tried in order when the one before does not answer or answers 503 (RFC 3263 §4.3).
    pub alternates: Vec<Flow>,
    /// What challenges are answered with, for the INVITE and everything after it in the same call.
    pub credentials: Option<Credentials>,
    /// How many hops it may take.
    pub max_forwards: u8,
    /// How often the session must prove that it lives, instead of what the endpoint's configuration says.
    pub session_expires: Option<Duration>,
    /// Reliable provisional answers (RFC 3262).
    pub reliable: Reliable,
}

/// What an INVITE of ours says about reliable provisional answers (RFC 3262 §4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reliable {
    /// Nothing: the peer sends none.
    Off,
    /// We can take them.
    #[default]
    Supported,
    /// We want no others.
    Required,
}

impl Outgoing {
    /// A call with an offer and nothing else.
    pub fn new(to: Uri, from: NameAddr, flow: Flow, sdp: impl Into<String>) -> Self {
        Outgoing {
            to,
            from,
            flow,
            sdp: Some(sdp.into()),
            headers: Vec::new(),
            routes: Vec::new(),
            alternates: Vec::new(),
            credentials: None,
            max_forwards: 70,
            session_expires: None,
            reliable: Reliable::default(),
        }
    }
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The peer said BYE.
    Bye,
    /// The caller gave up before an answer.
    Cancel,
    /// Refused with this status, by the peer or by [`crate::Endpoint::reject`]; 503 if there was no connection to get an answer by.
    Rejected(u16),
    /// Nobody answered in time.
    Timeout,
    /// We answered and no ACK came for 64·T1.
    NoAck,
    /// We ended it ourselves.
    Local,
    /// Nobody refreshed the session in time (RFC 4028 §10).
    Expired,
    /// Another call took its place (RFC 3891).
    Replaced,
}

/// Somebody asks us to call somebody else (RFC 3515).
#[derive(Debug, Clone)]
pub struct Refer {
    /// Whom to call; its headers are taken off.
    pub to: NameAddr,
    /// Who says that he asked for it; not proven.
    pub referred_by: Option<NameAddr>,
    /// The call to be replaced at the target, as a Replaces header's value: an attended transfer.
    pub replaces: Option<String>,
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
    /// The other side answered an offer of ours that went out with a reliable 183 (RFC 3262 §5).
    EarlyAnswer {
        /// The call.
        call: CallHandle,
        /// Its answer.
        sdp: Sdp,
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
    /// Our change of the session was accepted, or a refresh brought another description.
    Changed {
        /// The call.
        call: CallHandle,
        /// The peer's answer.
        sdp: Sdp,
    },
    /// The peer made the offer that [`crate::Endpoint::ask_for_offer`] asked for; wants `acknowledge`.
    Offered {
        /// The call.
        call: CallHandle,
        /// Its offer.
        sdp: Sdp,
    },
    /// Our change of the session was refused; it goes on as it was.
    ChangeRefused {
        /// The call.
        call: CallHandle,
        /// 300 to 699.
        status: u16,
    },
    /// The peer asks us to call somebody; wants `accept_refer` or `refuse_refer`.
    Refer {
        /// The call it was asked in.
        call: CallHandle,
        /// Whom to call.
        refer: Box<Refer>,
    },
    /// How the transfer that we asked for goes on.
    Transfer {
        /// The call.
        call: CallHandle,
        /// What the peer hears from the target: 100 to 699.
        status: u16,
        /// Nothing more will be told.
        over: bool,
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
    /// A registrar bound our address.
    Registered {
        /// Which.
        registration: RegistrationHandle,
        /// For how long; it is refreshed before.
        expires: Duration,
        /// The routes that calls out should take, as [`Outgoing::routes`] wants them (RFC 3608).
        service_route: Vec<String>,
    },
    /// A registrar did not bind our address.
    RegisterFailed {
        /// Which.
        registration: RegistrationHandle,
        /// What it said; 408 when it said nothing.
        status: u16,
        /// When it is tried again.
        retry_in: Duration,
    },
    /// A binding was taken back; the handle means nothing any more.
    Unregistered {
        /// Which.
        registration: RegistrationHandle,
    },
    /// A source knocked too often; nothing of it is read for a while.
    Banned {
        /// Its socket address.
        source: IpAddr,
        /// For how long.
        duration: Duration,
    },
    /// A watched peer answered, or did not.
    Pinged {
        /// Which.
        peer: PeerHandle,
        /// What it said; 408 when it said nothing.
        status: u16,
        /// How long the answer took.
        rtt: Duration,
    },
    /// A watched peer takes calls again.
    PeerUp {
        /// Which.
        peer: PeerHandle,
    },
    /// A watched peer takes no calls.
    PeerDown {
        /// Which.
        peer: PeerHandle,
        /// What it said last; 408 when it said nothing.
        status: u16,
    },
    /// The call is over.
    Ended {
        /// The call.
        call: CallHandle,
        /// Why.
        cause: Cause,
    },
}

impl Event {
    /// The call it belongs to; `None` for what happens outside calls.
    pub fn call(&self) -> Option<CallHandle> {
        match self {
            Event::Incoming { call, .. }
            | Event::Ringing { call, .. }
            | Event::Answered { call, .. }
            | Event::EarlyAnswer { call, .. }
            | Event::Established { call, .. }
            | Event::Reinvite { call, .. }
            | Event::Changed { call, .. }
            | Event::Offered { call, .. }
            | Event::ChangeRefused { call, .. }
            | Event::Refer { call, .. }
            | Event::Transfer { call, .. }
            | Event::Info { call, .. }
            | Event::Ended { call, .. } => Some(*call),
            Event::Banned { .. }
            | Event::Registered { .. }
            | Event::RegisterFailed { .. }
            | Event::Unregistered { .. }
            | Event::Pinged { .. }
            | Event::PeerUp { .. }
            | Event::PeerDown { .. } => None,
        }
    }
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
    /// Another offer is under way; the peer's or ours.
    #[error("another offer is under way")]
    Busy,
    /// The description was already given in a reliable provisional answer and cannot change with the 200 (RFC 3262 §5).
    #[error("the answer was already given")]
    Settled,
    /// Not in this state of the call.
    #[error("the call is not answered")]
    NotAnswered,
}
