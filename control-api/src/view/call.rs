//! The call object (API §3.1).

use std::collections::BTreeMap;

use domain::phone;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A call. Times are RFC 3339 UTC with milliseconds, durations are milliseconds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) livemode: bool,
    /// `sip`, `web` or `media_stream`.
    pub(crate) channel: String,
    /// `inbound` or `outbound`.
    pub(crate) direction: String,
    /// `pending`, `initiating`, `ringing`, `in_progress`, `completed`, `failed`, `no_answer`, `busy` or `canceled`.
    pub(crate) status: String,
    /// While live: `greeting`, `listening`, `thinking`, `speaking`, `tool`, `ending`.
    pub(crate) activity: Option<String>,
    pub(crate) ended_reason: Option<String>,
    pub(crate) sip_status: Option<i64>,
    pub(crate) answered_by: Option<String>,
    pub(crate) degraded: bool,
    pub(crate) from: Party,
    pub(crate) to: Party,
    pub(crate) number_id: Option<String>,
    pub(crate) trunk_id: Option<String>,
    pub(crate) agent: Option<AgentRef>,
    #[schema(value_type = Object)]
    pub(crate) variables: Map<String, Value>,
    #[schema(value_type = Object)]
    pub(crate) metadata: Map<String, Value>,
    pub(crate) scheduled_at: Option<String>,
    pub(crate) created_at: String,
    pub(crate) initiated_at: Option<String>,
    pub(crate) ringing_at: Option<String>,
    pub(crate) answered_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    pub(crate) duration_ms: i64,
    /// From ringing (or the INVITE) to answer or end.
    pub(crate) ring_ms: Option<i64>,
    /// Seconds that were billed.
    pub(crate) billed_s: i64,
    pub(crate) turns: i64,
    /// What was heard on the wire: codec, packets, loss, jitter, round trip, MOS.
    #[schema(value_type = Option<Object>)]
    pub(crate) media: Option<Value>,
    pub(crate) latency: Option<LatencyBrief>,
    pub(crate) recording: Option<RecordingBrief>,
    pub(crate) cost: CostBrief,
    /// The last transfer, as it stands: `{transfer_id,destination,mode,state,at,…}`.
    #[schema(value_type = Option<Object>)]
    pub(crate) transfer: Option<Map<String, Value>>,
    pub(crate) node_id: Option<String>,
    pub(crate) version: i64,
}

impl Call {
    /// Masks the numbers, for readers without `calls:pii`.
    pub(crate) fn masked(mut self) -> Self {
        self.from.address = phone::mask(&self.from.address);
        self.to.address = phone::mask(&self.to.address);
        if let Some(to) = self.transfer.as_mut().and_then(|transfer| transfer.get_mut("to"))
            && let Some(address) = to.as_str().map(phone::mask)
        {
            *to = address.into();
        }
        self
    }

    /// The call as it was when it was made, whatever has happened to it since: the answer to a request that makes it.
    pub(crate) fn newborn(mut self) -> Self {
        self.status = domain::Status::Pending.as_str().into();
        (self.activity, self.ended_reason, self.sip_status) = (None, None, None);
        (self.initiated_at, self.ringing_at, self.answered_at, self.ended_at) = (None, None, None, None);
        (self.duration_ms, self.ring_ms, self.turns, self.media, self.recording) = (0, None, 0, None, None);
        (self.billed_s, self.cost.is_final, self.cost.charged_micros) = (0, false, 0);
        self.version = 1;
        self
    }
}

/// One end of a call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Party {
    /// A number in international form or a SIP URI.
    pub(crate) address: String,
    /// Of a caller on a trunk that looks: what his signature says, `A`, `B`, `C`, `failed` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verified: Option<String>,
}

/// Who spoke for us.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AgentRef {
    /// Absent for agents that are files.
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) version: Option<i64>,
    /// `pipeline`, `flow` or `realtime`.
    pub(crate) mode: Option<String>,
}

/// The call's latency in a line.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LatencyBrief {
    #[schema(value_type = Object)]
    pub(crate) voice_to_voice: BTreeMap<&'static str, i64>,
}

/// The call's recording in a line.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RecordingBrief {
    /// `writing`, `ready`, `failed` or `deleted`.
    pub(crate) state: String,
    pub(crate) duration_ms: Option<i64>,
    pub(crate) expires_at: Option<String>,
}

/// The call's cost in a line; the whole is at `calls/{id}/cost`.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CostBrief {
    /// Settled: nothing will change any more.
    #[serde(rename = "final")]
    pub(crate) is_final: bool,
    pub(crate) charged_micros: i64,
    /// `USD`.
    pub(crate) currency: &'static str,
}
