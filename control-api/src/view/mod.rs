//! The objects of the API as clients read them.

mod call;
mod event;
mod latency;
mod recording;
mod taken;
mod turn;
mod webhook;

pub(crate) use call::{AgentRef, Call, CostBrief, LatencyBrief, Party, RecordingBrief};
pub(crate) use event::{API_VERSION, Event, EventList};
pub(crate) use latency::{CallLatency, Spread, summary};
pub(crate) use recording::Recording;
pub(crate) use taken::{BookingView, MessageView};
pub(crate) use turn::{Transcript, TurnView};
pub(crate) use webhook::{Delivery, NewWebhook, Webhook};
