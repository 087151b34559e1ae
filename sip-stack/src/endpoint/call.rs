//! The life of one call; each state holds only what exists while it lasts.

use super::arrival::Arrival;
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::sdp::Sdp;

#[derive(Debug)]
pub(super) enum Call {
    /// Somebody calls us; no final answer yet.
    Incoming(Incoming),
    /// We call; no final answer yet.
    Outgoing(Outgoing),
    /// Answered, either way.
    Live(Live),
    /// Our BYE is on its way; the user has been told.
    Leaving(Leaving),
}

#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) server: u64,
    pub(super) invite: Arrival,
    /// Our tag.
    pub(super) tag: String,
    /// The INVITE had no offer, so ours goes into the answer.
    pub(super) late: bool,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) client: u64,
    /// Our tag.
    pub(super) tag: String,
    /// A provisional answer came: only now a CANCEL may be sent (RFC 3261 §9.1).
    pub(super) heard: bool,
    /// The description of an early answer, in case the 200 has none.
    pub(super) early: Option<Sdp>,
    /// The user gave up and has been told so.
    pub(super) given_up: bool,
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) dialog: Dialog,
    pub(super) tag: String,
    pub(super) exchange: Exchange,
}

/// The peer's INVITE within the call.
#[derive(Debug)]
pub(super) enum Exchange {
    /// None.
    Quiet,
    /// A re-INVITE waits for our user.
    Asked { server: u64, invite: Arrival, late: bool },
    /// Our 2xx waits for its ACK.
    Accepted(Accepted),
}

#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) sequence: u32,
    pub(super) flow: Flow,
    pub(super) answer: Vec<u8>,
    /// It answers the first INVITE, not a re-INVITE.
    pub(super) first: bool,
    /// The ACK must carry the peer's answer.
    pub(super) late: bool,
    /// The user ended the call meanwhile: BYE may only follow the ACK (RFC 3261 §15).
    pub(super) hang_up: bool,
}

#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) dialog: Dialog,
    pub(super) tag: String,
}
