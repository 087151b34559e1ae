//! The question every INVITE asks: whose address is this, and who answers there?

use std::{net::SocketAddr, sync::Arc};

use domain::{AgentId, AgentSpec, CallId, NumberId, Pii, TenantId, TrunkId, phone::E164};
use serde_json::{Map, Value};

use crate::{BoxFuture, MediaTerms, StirVerify};

/// Finds who answers an inbound call. `server` asks; whoever knows the numbers implements it.
pub trait Directory: Send + Sync {
    /// Resolves an inbound call before it rings.
    fn route<'a>(&'a self, query: RouteQuery) -> BoxFuture<'a, Result<Route, Refused>>;
}

/// What is known of an inbound call at its INVITE.
#[derive(Clone, Debug)]
pub struct RouteQuery {
    /// The id the call will have; lots are drawn by it.
    pub call: CallId,
    /// The called address: user part of the Request-URI, or a number in international form.
    pub to: Pii<String>,
    /// The calling address, as the From header has it.
    pub from: Pii<String>,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// Extension headers, for rules that look at them.
    pub headers: Vec<(String, String)>,
    /// Whom a trusted hop on the way says who calls and who was called first.
    pub identity: Identity,
    /// The trunk whose credentials the caller has shown.
    pub proven: Option<TrunkId>,
}

/// What an INVITE says of its caller beside From; whether it counts is the trunk's to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user part of P-Asserted-Identity, else of Remote-Party-ID.
    pub asserted: Option<Pii<String>>,
    /// The caller wishes not to be named (RFC 3323, RFC 3325 §7).
    pub private: bool,
    /// The user part of whom the call was meant for before it was diverted: Diversion, else History-Info.
    pub diverted_from: Option<Pii<String>>,
}

/// Who answers.
#[derive(Clone, Debug)]
pub struct Route {
    /// Who owns the called number.
    pub tenant: TenantId,
    /// The agent, ready to run.
    pub agent: Arc<AgentSpec>,
    /// Its row, when it is a stored one.
    pub agent_id: Option<AgentId>,
    /// Version of the stored agent.
    pub agent_version: Option<i64>,
    /// False for traffic that costs nothing and reaches no trunk.
    pub livemode: bool,
    /// The number that was called.
    pub number: Option<NumberId>,
    /// The trunk it came by.
    pub trunk: Option<TrunkId>,
    /// The called number, however the trunk wrote it.
    pub to: Option<E164>,
    /// The calling number, however the trunk wrote it.
    pub from: Option<E164>,
    /// For the agent's texts: those of the rule, and headers that the trunk maps.
    pub variables: Map<String, Value>,
    /// The caller wishes not to be named, and the trunk honours that: no row shows more than `anonymous`.
    pub withheld: bool,
    /// What the trunk wants of the caller's signature; none where nobody looks.
    pub signed: Option<Signed>,
    /// What the trunk says of the media.
    pub media: MediaTerms,
    /// How many calls there may be beside it.
    pub bounds: Bounds,
}

/// What a signed caller id must be, and for whom it must have been made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What is wanted.
    pub verify: StirVerify,
    /// The caller's number, from where the trunk reads it, also when he wishes not to be named; none when he has none.
    pub orig: Option<E164>,
    /// The numbers called: To, then the Request-URI.
    pub dest: Vec<E164>,
}

/// How many calls a trunk and a number may carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// At once on the trunk.
    pub trunk_calls: Option<u32>,
    /// New ones per second on the trunk.
    pub trunk_cps: Option<u32>,
    /// At once on the number.
    pub number_calls: Option<u32>,
}

impl Route {
    /// An agent that is in no store answers.
    pub fn to_stand_in(tenant: TenantId, agent: Arc<AgentSpec>) -> Self {
        Self {
            tenant,
            agent,
            agent_id: None,
            agent_version: None,
            livemode: true,
            number: None,
            trunk: None,
            to: None,
            from: None,
            variables: Map::new(),
            withheld: false,
            signed: None,
            media: MediaTerms::default(),
            bounds: Bounds::default(),
        }
    }

    /// A stored agent answers.
    pub fn to_agent(tenant: TenantId, agent: Arc<AgentSpec>, id: AgentId, version: i64) -> Self {
        Self { agent_id: Some(id), agent_version: Some(version), ..Self::to_stand_in(tenant, agent) }
    }
}

/// Why nobody answers; each has one answer on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nobody owns the number.
    #[error("unknown number")]
    UnknownNumber,
    /// No trunk with this source address.
    #[error("unknown source")]
    UnknownSource,
    /// The trunk's credentials were not shown.
    #[error("credentials are wanted")]
    Unproven,
    /// The caller is blocked.
    #[error("blocked caller")]
    Blocked,
    /// No credit, or a cap is reached.
    #[error("no credit")]
    NoCredit,
    /// The tenant has as many calls as it may.
    #[error("too many calls")]
    Concurrency,
    /// The node is full.
    #[error("no capacity")]
    NoCapacity,
    /// The node is draining.
    #[error("draining")]
    Draining,
    /// The store does not answer and the policy is to refuse.
    #[error("store unavailable")]
    StoreUnavailable,
    /// The number's owner wants it refused with this SIP status.
    #[error("refused with {0} by the number's routing")]
    Rejected(u16),
}

impl Refused {
    /// The SIP status of the refusal; 503 goes with Retry-After.
    pub const fn sip_status(self) -> u16 {
        match self {
            Self::UnknownNumber | Self::UnknownSource => 404,
            Self::Unproven => 401,
            Self::Blocked => 603,
            Self::NoCredit => 480,
            Self::Concurrency => 486,
            Self::NoCapacity | Self::Draining | Self::StoreUnavailable => 503,
            Self::Rejected(status) => status,
        }
    }

    /// What the call's row says about it.
    pub const fn ended_reason(self) -> domain::EndedReason {
        use domain::EndedReason;
        match self {
            Self::UnknownNumber | Self::Rejected(_) => EndedReason::NoAgent,
            Self::UnknownSource | Self::Blocked => EndedReason::ForbiddenDestination,
            Self::Unproven => EndedReason::AuthFailed,
            Self::NoCredit => EndedReason::InsufficientCredit,
            Self::Concurrency => EndedReason::Concurrency,
            Self::NoCapacity | Self::StoreUnavailable => EndedReason::NoCapacity,
            Self::Draining => EndedReason::Draining,
        }
    }
}
