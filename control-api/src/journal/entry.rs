//! What can be written about a call.

use std::net::SocketAddr;

use domain::{
    AgentId, BootId, CallId, Channel, Direction, EndedReason, NumberId, Pii, RecordingId, Status, TenantId, TrunkId,
    Turn, event::Name,
};
use serde_json::{Map, Value};

use crate::money::{Admission, Used};

/// One thing that happened to a call. Entries of a call are stored in the order in which they were written.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The call exists; must be its first entry. Event `call.created`.
    Created(Box<NewCall>),
    /// A step of the state machine that is not the last. Event `call.initiating`, `call.ringing` or `call.answered`.
    Status {
        /// `Initiating`, `Ringing` or `InProgress`; any other is counted as a bad transition.
        status: Status,
        /// Unix time, ms.
        at_ms: i64,
        /// The SIP status behind it.
        sip_status: Option<u16>,
        /// More for the event's data: `gateway`, `early_media`; for `InProgress` also `codec`, `agent`, `greeting`.
        data: Map<String, Value>,
    },
    /// A finished turn; gets the next number of the call. Event `call.turn.caller` or `call.turn.agent`.
    Turn(Box<Turn>),
    /// Anything else that is stored as an event.
    Event {
        /// Its name; the lifecycle names above are written by their own entries.
        name: Name,
        /// Its data.
        data: Value,
    },
    /// The state of a recording; the first one makes the row. Event `call.recording.ready` or `.failed`.
    Recording(RecordingState),
    /// A further leg of the call, as it stands; the first one makes the row.
    Leg(Box<LegState>),
    /// Where a transfer stands. One of the events `call.transfer.*`.
    Transfer(Box<TransferState>),
    /// What was said on the wire, once it is over. No event.
    Trace(Box<SipTrace>),
    /// What the call used; each thing and provider counts once. Written before its end.
    Used(Vec<Used>),
    /// The call was admitted without a lease, because the store was away. It gets one now.
    Unbilled(Box<Admission>),
    /// The call is over; the first `Ended` of a call wins. Event `call.ended`.
    Ended(Box<Ended>),
}

/// A call as it begins.
#[derive(Clone, Debug)]
pub struct NewCall {
    /// Whose call it is.
    pub tenant: TenantId,
    /// False for test traffic.
    pub livemode: bool,
    /// What carries the audio.
    pub channel: Channel,
    /// Who began it.
    pub direction: Direction,
    /// Calling address.
    pub from: Pii<String>,
    /// Called address.
    pub to: Pii<String>,
    /// What the caller's signature says, where somebody looked: `A`, `B`, `C`, `failed` or `none`.
    pub verified: Option<&'static str>,
    /// The tenant's number, called or shown.
    pub number_id: Option<NumberId>,
    /// The trunk it takes.
    pub trunk_id: Option<TrunkId>,
    /// The stored agent, if it is one.
    pub agent_id: Option<AgentId>,
    /// Its version.
    pub agent_version: Option<i64>,
    /// The agent as run, whole; `serde_json::to_value(&AgentSpec)`.
    pub config: Option<Value>,
    /// Values for the agent's texts.
    pub variables: Map<String, Value>,
    /// The tenant's own notes.
    pub metadata: Map<String, Value>,
    /// The Call-ID header.
    pub sip_call_id: Option<String>,
    /// The node it runs on.
    pub node_id: String,
    /// The run of that node.
    pub boot_id: BootId,
    /// Unix time, ms.
    pub created_at_ms: i64,
    /// It was asked for earlier: its row and its event are there, and what is said here is what has become of them.
    pub scheduled: bool,
}

/// A leg beside the caller's own: somebody to whom the call is handed over. Its price is that of the item `transfer_leg` for `address`,
/// from `answered_at_ms` to `ended_at_ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct LegState {
    /// Made by the writer.
    pub id: String,
    /// `transfer`, or `consult` for one that is called before the caller is asked to take it over.
    pub role: &'static str,
    /// Whom it leads to.
    pub address: Pii<String>,
    /// The trunk it takes.
    pub trunk: Option<TrunkId>,
    /// Its codec, once it is known.
    pub codec: Option<&'static str>,
    /// Unix time, ms.
    pub started_at_ms: i64,
    /// Unix time, ms.
    pub answered_at_ms: Option<i64>,
    /// Unix time, ms.
    pub ended_at_ms: Option<i64>,
    /// How the other side took it.
    pub sip_status: Option<u16>,
    /// As of the call.
    pub media: Option<Value>,
}

/// Where a transfer stands.
#[derive(Clone, Debug, PartialEq)]
pub struct TransferState {
    /// The event that says so.
    pub name: Name,
    /// `{transfer_id,destination,mode,…}`: the event's data, and what the call object shows.
    pub data: Map<String, Value>,
}

/// The state of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingState {
    /// Made by the writer.
    pub id: RecordingId,
    /// How far it is.
    pub state: RecordingStage,
    /// Path below the recordings directory, with `/`.
    pub locator: String,
    /// `wav`.
    pub format: &'static str,
    /// 2: caller left, agent right.
    pub channels: u8,
    /// Length, once known.
    pub duration_ms: Option<u64>,
    /// Size of the file, once known.
    pub bytes: Option<u64>,
    /// SHA-256 of the file in hex, once known.
    pub sha256: Option<String>,
}

/// The SIP messages of one dialog of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipTrace {
    /// Its Call-ID.
    pub sip_call_id: String,
    /// How many older messages were let go.
    pub dropped: u32,
    /// Oldest first.
    pub messages: Vec<SipMessage>,
}

/// One SIP message; whatever opens a door is blanked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipMessage {
    /// Unix time, µs.
    pub at_us: i64,
    /// We sent it.
    pub outgoing: bool,
    /// `UDP`, `TCP`, `TLS`, `WS` or `WSS`.
    pub transport: String,
    /// Our socket address.
    pub local: SocketAddr,
    /// The other's.
    pub peer: SocketAddr,
    /// The message.
    pub text: String,
}

/// How far a recording is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingStage {
    /// The call lasts.
    Writing,
    /// Complete, with size and checksum.
    Ready,
    /// Lost.
    Failed,
}

impl RecordingStage {
    /// The word in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// The end of a call. Its final status follows from the reason.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Why.
    pub reason: EndedReason,
    /// Unix time, ms.
    pub at_ms: i64,
    /// The SIP status that ended it, where one did.
    pub sip_status: Option<u16>,
    /// The media block of the call object: `{codec,ptime_ms,rx_packets,lost,late,concealed_ms,jitter_ms,rtt_ms,mos,longest_gap_ms}`.
    pub media: Option<Value>,
    /// A stage had to do without its vendors.
    pub degraded: bool,
    /// How long nothing had come from the caller when the call was given up: talk up to there is billed. 0 for every other end.
    pub silent_ms: i64,
}

/// A call left behind by a node that went away, now closed as `failed`/`node_lost`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The call.
    pub call: CallId,
    /// Whose it was.
    pub tenant: TenantId,
    /// Its recordings that were still being written: mend the file, then journal [`Entry::Recording`].
    pub recordings: Vec<(RecordingId, String)>,
}
