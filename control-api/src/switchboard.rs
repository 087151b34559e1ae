//! What the API asks of the running node: dial, end, and what is live now. `server` implements it.

use std::sync::Arc;

use domain::{AgentId, AgentSpec, CallId, Direction, EndedReason, NumberId, Pii, Status, TenantId, TrunkId};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::{BoxFuture, Forbidden};

/// Twenty milliseconds of both sides of a call at 8 kHz: the caller's samples and the agent's.
pub type Heard = Arc<[[i16; 160]; 2]>;

/// The running node, as the API sees it.
pub trait Switchboard: Send + Sync {
    /// Accepts an outbound call and starts it.
    ///
    /// The implementation checks capacity and agent, journals [`crate::Entry::Created`] under `request.call` *before* it returns `Ok`,
    /// and lets the INVITE leave afterwards: the API flushes the journal and answers 201 with the row.
    fn dial<'a>(&'a self, request: DialRequest) -> BoxFuture<'a, Result<(), DialRefused>>;

    /// Ends a live call: BYE, CANCEL or a refusal, by its state. Returns when the request is taken, not when the call is gone.
    fn end<'a>(&'a self, call: CallId, reason: EndedReason) -> BoxFuture<'a, Result<(), NotActive>>;

    /// Every call that has not ended, newest first.
    fn live(&self) -> Vec<LiveCall>;

    /// Is the node fit to take calls?
    fn health(&self) -> Health;

    /// Refuses new calls from now on and ends those that last longer than this; `None` takes new calls again.
    fn drain(&self, patience: Option<std::time::Duration>);

    /// Both sides of an answered call from now on; none when it is not here.
    fn listen(&self, call: CallId) -> Option<broadcast::Receiver<Heard>>;

    /// The node's own metrics in Prometheus text, names `sidetone_*`, no phone numbers.
    fn metrics(&self) -> String;
}

/// An outbound call to be placed.
#[derive(Clone, Debug)]
pub struct DialRequest {
    /// The id the call will have.
    pub call: CallId,
    /// On whose behalf.
    pub tenant: TenantId,
    /// False for test keys.
    pub livemode: bool,
    /// `sip:` or `sips:` URI, or a number in international form.
    pub to: Pii<String>,
    /// Shown to the callee: a number of the tenant's or its id; the tenant's oldest when absent.
    pub from: Option<Pii<String>>,
    /// The trunk to take; chosen by the number shown when absent.
    pub trunk: Option<TrunkId>,
    /// Who speaks, as it is to be run.
    pub agent: Arc<AgentSpec>,
    /// Its row, when it is a stored one.
    pub agent_id: Option<AgentId>,
    /// The version that was chosen of a stored one.
    pub agent_version: Option<i64>,
    /// For `{{name}}` in the agent's texts; scalars.
    pub variables: Map<String, Value>,
    /// The tenant's own notes.
    pub metadata: Map<String, Value>,
    /// How long it may ring; the agent's limit when absent.
    pub ring_timeout_ms: Option<u64>,
    /// How long it may last; the agent's limit when absent.
    pub max_duration_ms: Option<u64>,
    /// Overrides the agent's `recording.enabled`.
    pub record: Option<bool>,
}

/// Why a call is not placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialRefused {
    /// The address cannot be dialled.
    #[error("not an address this node can dial")]
    BadAddress,
    /// Policy forbids the destination.
    #[error("destination is not allowed: {0}")]
    Forbidden(Forbidden),
    /// The caller's number is not the tenant's.
    #[error("caller id is not a number of this tenant")]
    CallerIdNotOwned,
    /// No trunk takes calls to numbers.
    #[error("no trunk takes outbound calls")]
    NoTrunk,
    /// No credit for the first minute.
    #[error("not enough credit for the first minute of the call")]
    NoCredit,
    /// The day's or the month's cap, or the agent's ceiling.
    #[error("a spending cap leaves no room for the first minute of the call")]
    SpendCap,
    /// The tenant has as many calls as it may.
    #[error("the tenant has as many calls as it may")]
    Concurrency,
    /// The store does not answer.
    #[error("store unavailable")]
    StoreUnavailable,
    /// The node is full.
    #[error("no capacity")]
    NoCapacity,
    /// The node is draining.
    #[error("draining")]
    Draining,
}

/// The call is not live on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("call is not active")]
pub struct NotActive;

/// A call that has not ended.
#[derive(Clone, Debug)]
pub struct LiveCall {
    /// Its id.
    pub id: CallId,
    /// Whose it is.
    pub tenant: TenantId,
    /// False for test traffic.
    pub livemode: bool,
    /// Who began it.
    pub direction: Direction,
    /// Where it stands.
    pub status: Status,
    /// `greeting`, `listening`, `thinking`, `speaking`, `tool`, `ending`; none before the answer.
    pub activity: Option<&'static str>,
    /// Calling address.
    pub from: Pii<String>,
    /// Called address.
    pub to: Pii<String>,
    /// The tenant's number, called or shown.
    pub number: Option<NumberId>,
    /// The trunk it takes.
    pub trunk: Option<TrunkId>,
    /// Name of the agent.
    pub agent: String,
    /// Unix time, ms.
    pub created_at_ms: i64,
    /// Unix time, ms.
    pub answered_at_ms: Option<i64>,
}

/// Is the node fit to take calls?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The SIP sockets are open.
    pub sip: bool,
    /// Free RTP port pairs.
    pub rtp_ports_free: u32,
    /// No new calls are taken.
    pub draining: bool,
    /// The recording directory can be written.
    pub disk: bool,
    /// Calls now.
    pub calls: u32,
    /// Calls at most.
    pub max_calls: u32,
    /// Calls that began in the last ten seconds.
    pub begun_10s: u32,
}
