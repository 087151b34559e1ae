//! Words of the trade, shared by everything that knows what a call is: ids, numbers, states, turns, agents.
//!
//! No clock, no socket and no store: identifiers and times are made by the callers.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
pub mod call;
pub mod event;
pub mod ids;
pub mod phone;
pub mod pii;
pub mod turn;

pub use agent::AgentSpec;
pub use call::{Channel, Direction, EndedReason, Status};
pub use ids::{
    AgentId, ApiKeyId, BootId, CallId, EmailTemplateId, EventId, FileId, InvitationId, LeadId, LegId, NumberId,
    OrderId, RecordingId, RuleId, SessionId, TakenId, TenantId, TrunkId, UserId,
};
pub use pii::Pii;
pub use turn::{Latency, Speaker, Turn, Word};
