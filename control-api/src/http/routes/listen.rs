//! `GET calls/{id}/listen`: a live call's audio as it is spoken, for those who may.
//!
//! The first frame says what follows; then each binary frame holds 20 ms, as s16le at 8 kHz. Nobody on the call hears that somebody
//! listens, so the audit log and the call's own events say who did, and for how long.

use std::time::Duration;

use axum::{
    extract::{
        State as Extract, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::{StatusCode, request::Parts},
    response::Response,
};
use domain::{CallId, event::Name};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::broadcast::error::RecvError, time::timeout};
use utoipa::IntoParams;

use super::{
    calls::find,
    ws::{Closing, Credential, PROTOCOL, Seat},
};
use crate::{
    Entry, Heard, audit,
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::Query,
    },
};

/// How often the credential is looked at again.
const TICK: Duration = Duration::from_secs(1);
/// How long the network may take nothing.
const STALLED: Duration = Duration::from_secs(5);
/// Length of a frame.
const FRAME_MS: u64 = 20;

/// Which side.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListenQuery {
    /// `caller`, `agent`, `mix` (the default: both in one channel) or `stereo` (caller left, agent right).
    side: Option<String>,
    /// From `POST ws-tickets`, once, for browsers, which cannot set headers here.
    #[allow(dead_code, reason = "read from the query before anything else is")]
    ticket: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Caller,
    Agent,
    Mix,
    Stereo,
}

impl Side {
    const ALL: [Self; 4] = [Self::Caller, Self::Agent, Self::Mix, Self::Stereo];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Agent => "agent",
            Self::Mix => "mix",
            Self::Stereo => "stereo",
        }
    }

    fn of(query: &ListenQuery) -> Result<Self, ApiError> {
        let Some(side) = query.side.as_deref() else { return Ok(Self::Mix) };
        let known = Self::ALL.into_iter().find(|known| known.as_str() == side);
        known.ok_or_else(|| ApiError::invalid("side", "side is caller, agent, mix or stereo"))
    }

    fn header(self) -> Value {
        let channels = if self == Self::Stereo { 2 } else { 1 };
        json!({"format": "pcm_s16le", "rate": 8000, "channels": channels, "side": self.as_str(), "frame_ms": FRAME_MS})
    }

    fn bytes(self, [caller, agent]: &[[i16; 160]; 2]) -> Vec<u8> {
        let pairs = caller.iter().zip(agent);
        match self {
            Self::Caller => caller.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            Self::Agent => agent.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            Self::Mix => pairs.flat_map(|(caller, agent)| caller.saturating_add(*agent).to_le_bytes()).collect(),
            Self::Stereo => pairs.flat_map(|(caller, agent)| [*caller, *agent]).flat_map(i16::to_le_bytes).collect(),
        }
    }
}

/// Listen to a live call by WebSocket: a JSON frame that says what follows, then 20 ms of s16le PCM at 8 kHz in each binary frame.
#[utoipa::path(get, path = "/api/v1/calls/{id}/listen", tag = "calls", operation_id = "listenToCall",
    params(("id" = String, Path, description = "The call"), ListenQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 101, description = "Audio until the call ends"), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`call_not_active`: not answered yet, over, or on another node"),
        (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn open(
    Extract(state): Extract<State>,
    Id(id): Id<CallId>,
    Query(query): Query<ListenQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let (credential, actor) = Credential::admit(&state, &parts, upgrade.is_ok()).await?;
    actor.needs("calls:listen")?;
    let side = Side::of(&query)?;
    find(&state, &actor, id).await?;
    let upgrade = upgrade.map_err(|_| ApiError::upgrade_required())?;
    let Some(heard) = state.app.switchboard.listen(id) else {
        let message = "the call is not answered, over, or not on this node";
        return Err(ApiError::new(StatusCode::CONFLICT, "call_not_active", message));
    };
    let seat = Seat::take(&state.sockets, &actor)?;
    let mut tx = state.app.store.begin().await?;
    let what = json!({"side": side.as_str()});
    audit::note(&mut tx, &actor, "call.listen", "call", &id.to_string(), Some(&what)).await?;
    tx.commit().await?;
    let who = listener(&actor);
    Ok(upgrade.protocols([PROTOCOL]).max_message_size(1024).on_upgrade(move |socket| async move {
        let note = |name| state.app.journal.write(id, Entry::Event { name, data: who.clone() });
        note(Name::ListenStarted);
        run(&state, &credential, socket, heard, side).await;
        note(Name::ListenEnded);
        drop(seat);
    }))
}

fn listener(actor: &Actor) -> Value {
    let (kind, id) = actor.named();
    json!({format!("{kind}_id"): id})
}

/// Sends what is heard until the call or the connection ends.
async fn run(
    state: &State,
    credential: &Credential,
    mut socket: WebSocket,
    mut heard: tokio::sync::broadcast::Receiver<Heard>,
    side: Side,
) {
    let mut next = Message::text(side.header().to_string());
    let mut tick = tokio::time::interval(TICK);
    let closing = loop {
        match timeout(STALLED, socket.send(next)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => break Some(Closing::Slow),
        }
        let heard = loop {
            tokio::select! {
                frame = heard.recv() => match frame {
                    Ok(frame) => break Ok(Message::binary(side.bytes(&frame))),
                    Err(RecvError::Lagged(frames)) => break Ok(Message::text(json!({"lost_ms": frames * FRAME_MS}).to_string())),
                    Err(RecvError::Closed) => break Err(None),
                },
                message = socket.recv() => match message {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Text(_) | Message::Binary(_))) => break Err(Some(Closing::BadFrame)),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                },
                _ = tick.tick() => if let Err(closing) = credential.still(state, "calls:listen").await {
                    break Err(Some(closing));
                },
            }
        };
        match heard {
            Ok(frame) => next = frame,
            Err(closing) => break closing,
        }
    };
    let frame = match closing {
        Some(closing) => CloseFrame { code: closing.code(), reason: closing.reason().into() },
        None => CloseFrame { code: 1000, reason: "the call is over".into() },
    };
    let _ = timeout(STALLED, socket.send(Message::Close(Some(frame)))).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_what_it_says() {
        let mut both = [[0; 160]; 2];
        both[0][0] = 1;
        both[1][0] = 0x0203;
        both[0][1] = i16::MAX;
        both[1][1] = 5;
        assert_eq!(Side::Caller.bytes(&both)[..4], [1, 0, 0xff, 0x7f]);
        assert_eq!(Side::Agent.bytes(&both)[..4], [3, 2, 5, 0]);
        assert_eq!(Side::Mix.bytes(&both)[..4], [4, 2, 0xff, 0x7f]);
        assert_eq!(Side::Stereo.bytes(&both)[..4], [1, 0, 3, 2]);
        assert_eq!((Side::Mix.bytes(&both).len(), Side::Stereo.bytes(&both).len()), (320, 640));
    }
}
