//! `GET /ws`: events as they happen, and those that were missed (API.md §3.6).
//!
//! The credential comes in `Authorization`, or as the sub-protocol `bearer.<token>` beside `sidetone.v1`; never in the query.

mod connection;
mod frames;
mod subscription;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{State as Extract, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use tokio::time::Instant;

use crate::{
    http::{
        State,
        actor::{self, Actor, Found},
        envelope::RequestId,
        error::{ApiError, ErrorEnvelope},
        rate::{self, Source},
    },
    outbox::Published,
    view::Event,
};

/// Our sub-protocol.
const PROTOCOL: &str = "sidetone.v1";
/// Characters of a frame at most.
const FRAME: usize = 64 * 1024;
/// Connections of one key or session.
const PER_HOLDER: usize = 20;

/// Who is connected, counted by key or user.
#[derive(Debug, Default)]
pub(in crate::http) struct Seats(Mutex<HashMap<String, usize>>);

/// A place at the socket; given back when it is dropped.
struct Seat {
    seats: Arc<Seats>,
    holder: String,
}

impl Seat {
    fn take(seats: &Arc<Seats>, actor: &Actor) -> Option<Self> {
        let holder = actor.named().1;
        let mut taken = seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(holder.clone()).or_default();
        if *count >= PER_HOLDER {
            return None;
        }
        *count += 1;
        Some(Self { seats: Arc::clone(seats), holder })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

/// What was shown at the door; shown again while the connection lasts.
#[derive(Clone, Debug)]
struct Credential {
    headers: HeaderMap,
    ip: Option<std::net::IpAddr>,
    request: RequestId,
}

impl Credential {
    fn of(parts: &Parts) -> Option<Self> {
        let mut headers = parts.headers.clone();
        let protocols = parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
        let token = protocols
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .find_map(|protocol| protocol.trim().strip_prefix("bearer."));
        if let Some(token) = token
            && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            headers.insert(header::AUTHORIZATION, value);
        }
        let request = parts.extensions.get::<RequestId>()?.clone();
        Some(Self { headers, ip: actor::peer(&parts.extensions), request })
    }

    async fn check(&self, state: &State) -> Result<Actor, ApiError> {
        let Found(found) = actor::authenticate(state, &self.headers, self.ip, self.request.clone()).await;
        found
    }
}

/// Opens a WebSocket on which events are shown. Frames: subscribe, unsubscribe, ping; event, live, gap, error.
#[utoipa::path(get, path = "/ws", tag = "events", operation_id = "watchEvents", security(("bearer" = []), ("api_key" = [])),
    responses((status = 101, description = "Frames as the events guide has them"), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope),
        (status = 503, body = ErrorEnvelope, description = "`draining`")))]
pub(crate) async fn open(
    Extract(state): Extract<State>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let credential = Credential::of(&parts).ok_or_else(ApiError::unauthenticated)?;
    if !state.limiter.take(Source::address(credential.ip), rate::WITHOUT_CREDENTIAL, Instant::now()).passes {
        let message = "too many connections in a minute";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(60));
    }
    let actor = credential.check(&state).await?;
    actor.needs("events:read")?;
    let upgrade = upgrade
        .map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "upgrade_required", "this path speaks WebSocket only"))?;
    if state.app.switchboard.health().draining {
        let message = "this node takes no new connections";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message).retry_after(5));
    }
    let Some(seat) = Seat::take(&state.sockets, &actor) else {
        let message = format!("a key has at most {PER_HOLDER} connections");
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", message).retry_after(5));
    };
    Ok(upgrade.protocols([PROTOCOL]).max_message_size(FRAME).max_frame_size(FRAME).on_upgrade(
        move |socket| async move {
            connection::run(state, actor, credential, socket).await;
            drop(seat);
        },
    ))
}

/// Whether an actor may see an event of its own tenant and mode.
pub(in crate::http) fn is_shown(published: &Published, actor: &Actor) -> bool {
    let platform = published.event.kind.parse().is_ok_and(domain::event::Name::is_platform);
    !platform || actor.has("platform:admin")
}

/// The event as an actor may see it: without `calls:pii` numbers are masked.
pub(in crate::http) fn visible(event: &Event, actor: &Actor) -> Event {
    let mut event = event.clone();
    if !actor.has("calls:pii") {
        for end in ["/from/address", "/to/address"] {
            if let Some(serde_json::Value::String(address)) = event.data.pointer_mut(end) {
                *address = domain::phone::mask(address);
            }
        }
    }
    event
}
