//! What a user agent does outside calls: it registers itself, and it watches whether its peers live.

use std::time::Duration;

use crate::auth::Credentials;
use crate::flow::Flow;
use crate::message::Uri;

/// Names one registration of one [`crate::Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegistrationHandle(pub(crate) u64);

/// Names one watched peer of one [`crate::Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerHandle(pub(crate) u64);

/// A binding to keep at a registrar (RFC 3261 §10).
#[derive(Debug, Clone)]
pub struct Registration {
    /// The registrar: the domain, as `sip:carrier.example`.
    pub registrar: Uri,
    /// Our address there, as `sip:user@carrier.example`.
    pub address: Uri,
    /// The user part of the Contact: what calls to us will carry in their Request-URI.
    pub contact_user: String,
    /// The path to the registrar, already resolved.
    pub flow: Flow,
    /// How long we would like to be bound; the registrar decides.
    pub expires: Duration,
    /// What its challenges are answered with.
    pub credentials: Option<Credentials>,
}

/// A peer whose health is asked for by OPTIONS.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The Request-URI, as `sip:gateway.example`.
    pub uri: Uri,
    /// The path to it, already resolved.
    pub flow: Flow,
    /// Time between an answer and the next question.
    pub every: Duration,
    /// So many failures in a row take it out.
    pub down_after: u32,
    /// So many answers in a row take it back.
    pub up_after: u32,
}
