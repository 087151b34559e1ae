//! The life of one call; each state holds only what exists while it lasts.

use std::collections::VecDeque;

use super::arrival::Arrival;
use super::session::Beat;
use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::sdp::Sdp;

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly every call is a live one; the others live for seconds")]
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
    /// The call of ours that this one replaces.
    pub(super) replaces: Option<u64>,
    pub(super) reliable: Reliable,
}

/// Reliable provisional answers of one call (RFC 3262 §3).
#[derive(Debug, Default)]
pub(super) struct Reliable {
    /// The number of the last one; 0 before the first.
    pub(super) sequence: u32,
    /// The one whose PRACK is awaited.
    pub(super) unheard: Option<Unheard>,
    /// What `ring` was asked for meanwhile: early descriptions, or none.
    pub(super) waiting: VecDeque<Option<String>>,
    /// The 200 that waits for a PRACK: no description may overtake another (RFC 3262 §5).
    pub(super) answer: Option<String>,
    /// The description that went out reliably: the 200 repeats none.
    pub(super) settled: Option<String>,
}

#[derive(Debug)]
pub(super) struct Unheard {
    pub(super) bytes: Vec<u8>,
    pub(super) flow: Flow,
    pub(super) described: bool,
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
    /// The places where it rings.
    pub(super) forks: Vec<Fork>,
    /// Our offer; empty when the other side makes it.
    pub(super) sdp: String,
    /// The ways not tried yet.
    pub(super) alternates: VecDeque<Flow>,
}

/// An early dialog of a call that we make.
#[derive(Debug)]
pub(super) struct Fork {
    pub(super) dialog: Dialog,
    /// The number of its last reliable provisional answer.
    pub(super) sequence: u32,
}

#[derive(Debug)]
pub(super) struct Live {
    pub(super) dialog: Dialog,
    pub(super) tag: String,
    pub(super) exchange: Exchange,
    /// Our last description: a refresh by re-INVITE repeats it.
    pub(super) local: String,
    /// Our change that met one of the peer and waits for its turn.
    pub(super) again: Option<Asking>,
    /// How the session is kept alive.
    pub(super) beat: Option<Beat>,
    /// The peer takes UPDATE.
    pub(super) updates: bool,
    /// The first INVITE was ours: decides who waits longer after glare (RFC 3261 §14.1).
    pub(super) ours: bool,
    /// The peer's REFER that is being followed.
    pub(super) refer: Option<Referral>,
    /// Our REFER is being followed.
    pub(super) transfer: bool,
    /// The number of the last reliable provisional answer, for a PRACK that comes after the 200.
    pub(super) reliable: u32,
}

/// A REFER of the peer (RFC 3515 §2.4).
#[derive(Debug)]
pub(super) struct Referral {
    /// Its CSeq number names the subscription.
    pub(super) id: u32,
    /// Until the user has decided: its transaction.
    pub(super) asked: Option<(u64, Arrival)>,
    /// The peer wants no NOTIFY (RFC 4488).
    pub(super) silent: bool,
}

/// A change of the session that we want.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    /// Our offer. Without one the user wants the peer's, and a refresh goes out as an UPDATE.
    pub(super) sdp: String,
    /// The user asked for it; a refresh is nobody's business.
    pub(super) by_user: bool,
}

impl Asking {
    /// A re-INVITE without an offer: the peer shall make one.
    pub(super) fn is_late(&self) -> bool {
        self.sdp.is_empty() && self.by_user
    }
}

/// The offer within the call.
#[derive(Debug)]
pub(super) enum Exchange {
    /// None.
    Quiet,
    /// A re-INVITE or an UPDATE of the peer waits for our user.
    Asked { server: u64, invite: Arrival, late: bool },
    /// Our 2xx waits for its ACK.
    Accepted(Accepted),
    /// Our re-INVITE or UPDATE waits for its answer.
    Asking(Asking),
    /// The 200 of our INVITE holds the peer's offer: the ACK waits for our user's answer.
    Offered { client: u64 },
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
