//! What the API asks of the running node: dial, end, and what is live now. `server` implements it.

use std::sync::Arc;

use domain::{AgentId, AgentSpec, CallId, Direction, EndedReason, NumberId, Pii, Status, TenantId, TrunkId};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::{BoxFuture, Forbidden, NoPlan, NotAdmitted};

/// Twenty milliseconds of both sides of a call at 8 kHz: the caller's samples and the agent's.
pub type Heard = Arc<[[i16; 160]; 2]>;

/// The running node, as the API sees it.
pub trait Switchboard: Send + Sync {
    /// Accepts an outbound call and starts it.
    ///
    /// The implementation checks capacity and agent, journals [`crate::Entry::Created`] under `request.call` *before* it returns `Ok`,
    /// and lets the INVITE leave afterwards: the API flushes the journal and answers 201 with the row.
    fn dial<'a>(&'a self, request: DialRequest) -> BoxFuture<'a, Result<(), DialRefused>>;

    /// Asks something of a live call. Returns when the call has taken it on, not when it is done.
    fn ask<'a>(&'a self, call: CallId, ask: Ask) -> BoxFuture<'a, Result<(), AskRefused>>;

    /// Ends a live call without further words.
    fn end<'a>(&'a self, call: CallId, reason: EndedReason) -> BoxFuture<'a, Result<(), AskRefused>> {
        self.ask(call, Ask::End { reason, say: None })
    }

    /// Every call that has not ended, newest first.
    fn live(&self) -> Vec<LiveCall>;

    /// One of them.
    fn live_call(&self, call: CallId) -> Option<LiveCall> {
        self.live().into_iter().find(|live| live.id == call)
    }

    /// Is the node fit to take calls?
    fn health(&self) -> Health;

    /// Refuses new calls from now on and ends those that last longer than this; `None` takes new calls again.
    fn drain(&self, patience: Option<std::time::Duration>);

    /// Both sides of an answered call from now on; none when it is not here.
    fn listen(&self, call: CallId) -> Option<broadcast::Receiver<Heard>>;

    /// Asks each gateway of a trunk that calls may go to whether it lives; takes some seconds at most.
    fn probe<'a>(&'a self, trunk: TrunkId) -> BoxFuture<'a, Result<Vec<Probed>, ProbeRefused>>;

    /// The node's own metrics in Prometheus text, names `sidetone_*`, no phone numbers.
    fn metrics(&self) -> String;
}

/// What a gateway said when it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Its row.
    pub gateway: String,
    /// Its host.
    pub host: String,
    /// What it said; 408 when it said nothing.
    pub status: u16,
    /// How long that took.
    pub rtt: Option<std::time::Duration>,
    /// Why nothing came, for people.
    pub detail: Option<String>,
}

/// Why nobody is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeRefused {
    /// It is switched off, or this node has not heard of it yet.
    #[error("the trunk is not in service")]
    NotInService,
    /// One test at a time.
    #[error("the trunk is being tested already")]
    Busy,
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
    /// When it was asked for, Unix ms, if it was to be placed later: its row is there already.
    pub asked_at_ms: Option<i64>,
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

impl From<NoPlan> for DialRefused {
    fn from(why: NoPlan) -> Self {
        match why {
            NoPlan::Forbidden(Forbidden::Malformed | Forbidden::Unresolved) => Self::BadAddress,
            NoPlan::Forbidden(why) => Self::Forbidden(why),
            NoPlan::CallerIdNotOwned => Self::CallerIdNotOwned,
            NoPlan::NoTrunk => Self::NoTrunk,
            NoPlan::Store(error) => {
                tracing::error!(%error, "store failed while planning a call");
                Self::StoreUnavailable
            }
        }
    }
}

impl From<NotAdmitted> for DialRefused {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::NoCredit => Self::NoCredit,
            NotAdmitted::SpendCap => Self::SpendCap,
            NotAdmitted::Concurrency { .. } => Self::Concurrency,
            NotAdmitted::Forbidden(why) => Self::Forbidden(why),
            NotAdmitted::Store(error) => {
                tracing::warn!(%error, "store failed while a call was admitted");
                Self::StoreUnavailable
            }
        }
    }
}

/// What can be asked of a call under way.
#[derive(Clone, Debug)]
pub enum Ask {
    /// End it: BYE, CANCEL or a refusal, by its state, which also chooses between [`EndedReason::ApiEnded`] and
    /// [`EndedReason::Canceled`]. With words to say, it ends behind them.
    End {
        /// Why.
        reason: EndedReason,
        /// The agent's last words; none before the answer.
        say: Option<String>,
    },
    /// Let the agent say something.
    Say {
        /// For the turn that it becomes.
        id: String,
        /// The words.
        text: String,
        /// Cut what the agent is saying; else when the floor is free.
        now: bool,
        /// The caller may talk over it.
        interruptible: bool,
    },
    /// Tell the model something that is never spoken.
    Instruct {
        /// The note.
        text: String,
        /// Let the model speak about it at once.
        respond: bool,
    },
    /// Press keys.
    Press {
        /// `0-9A-D*#`; `w` waits half a second.
        digits: String,
        /// How long each sounds.
        tone_ms: u16,
        /// The pause between two.
        gap_ms: u16,
        /// How they travel.
        via: Via,
    },
    /// Put the caller on hold, or take them back.
    Hold {
        /// On hold.
        on: bool,
        /// Music meanwhile, else silence.
        music: bool,
    },
    /// Hand it over.
    Transfer(Box<TransferOrder>),
    /// End a transfer: the agent has the caller again.
    TakeBack,
    /// Silence one side, or let it be heard again.
    Mute {
        /// Whom.
        who: Side,
        /// Silent.
        on: bool,
    },
}

/// Hand a call over.
#[derive(Clone, Debug)]
pub struct TransferOrder {
    /// The id of the transfer.
    pub id: String,
    /// To whom, and how.
    pub to: TransferTo,
}

/// To whom, and how.
#[derive(Clone, Debug)]
pub enum TransferTo {
    /// By the name that the agent has for it.
    Named(String),
    /// As told.
    Told(TransferTerms),
}

/// The terms of a transfer.
#[derive(Clone, Debug)]
pub struct TransferTerms {
    /// A `sip:` or `sips:` URI, or a number in international form; judged like a dialled one.
    pub to: Pii<String>,
    /// How.
    pub mode: TransferMode,
    /// Spoken to the person before they hear the caller.
    pub brief: Option<Brief>,
    /// They see the caller's number, not ours.
    pub shows_caller: bool,
    /// How long it may ring.
    pub ring_timeout_ms: u64,
    /// When nobody answers.
    pub on_fail: OnFail,
}

/// How a call is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferMode {
    /// The other side is asked to call there by itself (RFC 3515).
    Refer,
    /// We call there and join the two.
    Bridge,
    /// As `Bridge`, after the person has been told what it is about.
    Warm,
    /// We call there, then ask the other side to take that call over (RFC 3891).
    Attended,
}

impl TransferMode {
    /// The word of the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refer => "refer",
            Self::Bridge => "bridge",
            Self::Warm => "warm",
            Self::Attended => "attended",
        }
    }
}

/// What is told to the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brief {
    /// Who calls, and what they said last.
    Summary,
    /// These words.
    Text(String),
}

/// What becomes of the caller when nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// The agent goes on.
    Resume,
    /// The call ends.
    HangUp,
    /// The agent goes on and takes a message.
    Voicemail,
}

/// How keys travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// As events of RFC 4733 where they were agreed, else as tones.
    Auto,
    /// As events of RFC 4733, which must have been agreed.
    Rfc4733,
    /// By SIP INFO.
    Info,
    /// As tones.
    InBand,
}

/// One side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The other end of the line.
    Caller,
    /// Ours.
    Agent,
}

/// Why a call does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskRefused {
    /// It is not live on this node, or not answered yet, or nobody speaks for us.
    #[error("call is not active")]
    NotActive,
    /// Keys cannot travel that way on this call.
    #[error("no telephone events were agreed on this call")]
    NoEvents,
    /// A transfer is under way, or the caller is on hold.
    #[error("a transfer is under way")]
    TransferInProgress,
    /// No transfer is under way that could be taken back.
    #[error("no transfer is under way")]
    NoTransfer,
    /// The agent knows no transfer of that name.
    #[error("no transfer of that name")]
    UnknownDestination,
    /// Nobody may be called there, as for a call that is placed.
    #[error(transparent)]
    Dial(#[from] DialRefused),
    /// It is at something else, and did not take it on in time.
    #[error("the call is busy")]
    Busy,
    /// No model speaks here that could be told something.
    #[error("no model speaks on this call")]
    NoModel,
}

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
    /// What the caller's signature says, where the trunk looks at it.
    pub verified: Option<&'static str>,
    /// Called address.
    pub to: Pii<String>,
    /// The tenant's number, called or shown.
    pub number: Option<NumberId>,
    /// The trunk it takes.
    pub trunk: Option<TrunkId>,
    /// The trunk that a leg takes to which the call is handed over.
    pub leg_trunk: Option<TrunkId>,
    /// Name of the agent.
    pub agent: String,
    /// Unix time, ms.
    pub created_at_ms: i64,
    /// Unix time, ms.
    pub answered_at_ms: Option<i64>,
}

impl LiveCall {
    /// How many channels of a trunk it takes.
    pub fn channels(&self, trunk: TrunkId) -> usize {
        usize::from(self.trunk == Some(trunk)) + usize::from(self.leg_trunk == Some(trunk))
    }
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
