//! Money: prices, the ledger, leases on credit, caps, usage, payments and invoices.
//!
//! `price` is pure. `ledger` is the only writer of transactions. `lease` turns a call's time into holds and one settlement; `sweep`
//! does the same for calls that nobody ended. Everything is in millionths of a dollar.

pub(crate) mod adjust;
pub(crate) mod calendar;
mod caps;
pub(crate) mod charge;
pub(crate) mod closing;
pub(crate) mod cost;
pub(crate) mod decks;
pub(crate) mod destination;
pub(crate) mod invoices;
pub(crate) mod lease;
pub(crate) mod ledger;
pub(crate) mod legs;
pub(crate) mod monthly;
pub(crate) mod payments;
pub(crate) mod pdf;
pub(crate) mod price;
pub(crate) mod rates;
mod refunds;
pub(crate) mod release;
mod settings;
pub(crate) mod statement;
pub(crate) mod stripe;
pub(crate) mod subscriptions;
mod sweep;
pub(crate) mod terms;
pub(crate) mod top_up;
pub(crate) mod usage;

use domain::{BootId, CallId, EndedReason, NumberId, TenantId};
use serde_json::Value;

pub use adjust::{Adjustment, Movement, NotMoved};
pub use destination::Forbidden;
pub use lease::{FINAL_AFTER_MS, RENEW_AFTER_MS, WARN_MS};
pub use legs::LegAdmission;
pub use payments::NewPayment;
pub use refunds::{RefundFailed, RefundWish, Refunded};
pub use settings::{BillingSettings, PlanSettings, Secret};
pub use stripe::{BadSignature, Cashier, CashierError, Checkout, EventOutcome, GatewayEvent, verify};
pub use subscriptions::PlansRefused;
pub use usage::Used;

/// Who does the jobs of this room: buys credit that runs low, finishes refunds, cancels subscriptions, takes rents, writes statements and to the operator.
pub fn billing_handlers(settings: &BillingSettings) -> Vec<std::sync::Arc<dyn crate::Handler>> {
    let cashier = Cashier::new(settings.clone());
    vec![
        std::sync::Arc::new(top_up::AutoTopUps(cashier.clone())),
        std::sync::Arc::new(refunds::Refunds(cashier.clone())),
        std::sync::Arc::new(closing::Closing(cashier)),
        std::sync::Arc::new(monthly::Monthly),
        std::sync::Arc::new(monthly::Disputes(settings.operator_mail.clone())),
    ]
}

/// What carries a call, and so by which part of the deck it is priced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A call that came in.
    VoiceIn,
    /// A call that we placed.
    VoiceOut,
    /// A call from a browser.
    Web,
    /// A leg to which a caller is transferred.
    TransferLeg,
}

impl Item {
    /// The word in the deck.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VoiceIn => "voice_in",
            Self::VoiceOut => "voice_out",
            Self::Web => "web",
            Self::TransferLeg => "transfer_leg",
        }
    }

    const fn is_outgoing(self) -> bool {
        matches!(self, Self::VoiceOut | Self::TransferLeg)
    }
}

/// A call that asks for credit.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Who pays.
    pub tenant: TenantId,
    /// False for test traffic, which costs nothing.
    pub livemode: bool,
    /// The call.
    pub call: CallId,
    /// What carries it.
    pub item: Item,
    /// The dialled address (out) or the called one (in), by whose prefix it is priced.
    pub address: String,
    /// The tenant's number on which it stands, whose cap it counts in.
    pub number: Option<NumberId>,
    /// Who will renew the lease.
    pub node: String,
    /// Its run.
    pub boot: BootId,
    /// The agent's own ceiling.
    pub max_cost_micros: Option<i64>,
}

/// A lease that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its row.
    pub id: String,
    /// Its secret name, for workers outside of this process.
    pub token: String,
    /// Held so far.
    pub held_micros: i64,
    /// Conversation that is paid for.
    pub covered_ms: i64,
    /// What keeps it from reaching a whole minute; then the call ends with the cover.
    pub limit: Option<Limit>,
    /// When it is an orphan's.
    pub expires_at_ms: i64,
    /// Opened just now, and not found.
    pub is_new: bool,
    /// How many more such calls the tenant could begin now, by credit, caps and its number of calls; 0 if that was not looked at.
    pub spare: i64,
    /// The frozen rate.
    pub rate: Value,
}

/// How far a lease reaches after a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Held in all.
    pub held_micros: i64,
    /// Held by this renewal.
    pub added_micros: i64,
    /// Conversation that is paid for.
    pub covered_ms: i64,
    /// What keeps it from reaching a whole window ahead; then the call ends with the cover.
    pub limit: Option<Limit>,
}

impl Cover {
    /// When the caller is to be warned, in ms of conversation.
    pub const fn warn_at_ms(&self) -> Option<i64> {
        match self.limit {
            Some(_) if self.covered_ms > WARN_MS => Some(self.covered_ms - WARN_MS),
            Some(_) => Some(0),
            None => None,
        }
    }
}

/// Why a lease is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The tenant's credit, or one of its caps.
    Credit,
    /// The agent's `limits.max_cost_micros`.
    Cost,
}

impl Limit {
    /// What the call's row says when the cover is used up.
    pub const fn ended_reason(self) -> EndedReason {
        match self {
            Self::Credit => EndedReason::CreditExhausted,
            Self::Cost => EndedReason::CostCap,
        }
    }
}

/// Why a call is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// Less than the first minute is available.
    #[error("not enough credit for the first minute of the call")]
    NoCredit,
    /// The day's or the month's cap, or the agent's own ceiling.
    #[error("a spending cap leaves no room for the first minute of the call")]
    SpendCap,
    /// The tenant has as many calls as it may.
    #[error("the tenant has {max} calls, as many as it may")]
    Concurrency {
        /// The limit.
        max: i64,
    },
    /// The destination.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// The store does not answer.
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
}

impl From<ledger::LedgerError> for NotAdmitted {
    fn from(error: ledger::LedgerError) -> Self {
        match error {
            ledger::LedgerError::NoCredit => Self::NoCredit,
            ledger::LedgerError::Sql(error) => Self::Store(error),
            ledger::LedgerError::Unbalanced(_) => Self::Store(sqlx::Error::Protocol(error.to_string())),
        }
    }
}

/// Why a lease is not renewed.
#[derive(Debug, thiserror::Error)]
pub enum NotRenewed {
    /// There is none (yet): the call was admitted while the store was away.
    #[error("no such lease")]
    Unknown,
    /// It is closed.
    #[error("the lease is closed")]
    Closed,
    /// The store does not answer.
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
}

impl From<ledger::LedgerError> for NotRenewed {
    fn from(error: ledger::LedgerError) -> Self {
        match error {
            ledger::LedgerError::Sql(error) => Self::Store(error),
            other => Self::Store(sqlx::Error::Protocol(other.to_string())),
        }
    }
}
