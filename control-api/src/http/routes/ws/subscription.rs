//! One subscription: what it wants and how far it is.

use domain::{CallId, event::Live};

use crate::{
    http::actor::Actor,
    outbox::{LiveEvent, Patterns, Published},
    store::fresh_id,
    time::rfc3339,
    view::{API_VERSION, Event},
};

/// What a client asked to be shown.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) id: String,
    pub(super) types: Patterns,
    pub(super) call: Option<CallId>,
    pub(super) agent: Option<String>,
    pub(super) live: bool,
    /// The call's events up to this number are not shown.
    pub(super) after_seq: i64,
    /// The number of the last event that was looked at.
    pub(super) cursor: i64,
    /// Stored events are still being read.
    pub(super) replaying: bool,
    /// Live events lost since the client was last told.
    pub(super) dropped: u64,
}

impl Subscription {
    /// Whether a stored event of the actor's tenant and mode is shown.
    pub(super) fn wants(&self, published: &Published) -> bool {
        let event = &published.event;
        let call = self.call.map(|call| call.to_string());
        self.types.want(&event.kind)
            && (call.is_none() || call == event.call_id)
            && (self.agent.is_none() || self.agent == published.agent_id)
            && event.seq.is_none_or(|seq| seq > self.after_seq)
    }

    /// Whether a live event is shown.
    pub(super) fn wants_live(&self, event: &LiveEvent, actor: &Actor) -> bool {
        self.live
            && event.tenant == actor.tenant
            && event.livemode == actor.livemode
            && self.types.want(event.kind.as_str())
            && self.call.is_none_or(|call| call == event.call)
            && (self.agent.is_none() || self.agent == event.agent_id)
    }
}

/// A live event in the envelope of all events; it has no number.
pub(super) fn envelope(live: &LiveEvent) -> Event {
    let kind: Live = live.kind;
    Event {
        id: fresh_id(),
        kind: kind.as_str().into(),
        api_version: API_VERSION,
        tenant_id: live.tenant.to_string(),
        livemode: live.livemode,
        call_id: Some(live.call.to_string()),
        seq: None,
        cursor: None,
        created_at: rfc3339(live.at_ms),
        data: live.data.clone(),
    }
}
