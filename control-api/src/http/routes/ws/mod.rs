//! `GET /ws`: events as they happen, and those that were missed (API.md §3.6).
//!
//! The credential comes in `Authorization`, or as the sub-protocol `bearer.<token>` beside `sidetone.v1`; in the query only as a ticket,
//! which is good once and for a minute.

mod connection;
mod frames;
mod subscription;

pub(super) use frames::Closing;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::{State as Extract, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::{
    http::{
        State,
        actor::{self, Actor, Found, Visitor, Who},
        envelope::RequestId,
        error::{ApiError, ErrorEnvelope},
        rate::{self, Source},
        routes::auth::tokens,
    },
    outbox::Published,
    view::Event,
};

/// Our sub-protocol.
pub(super) const PROTOCOL: &str = "sidetone.v1";
/// Characters of a frame at most.
const FRAME: usize = 64 * 1024;
/// Connections of one key or session.
const PER_HOLDER: usize = 20;

/// Who is connected, counted by key or user.
#[derive(Debug, Default)]
pub(in crate::http) struct Seats(Mutex<HashMap<String, usize>>);

/// A place at the socket; given back when it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    holder: String,
}

impl Seat {
    pub(super) fn take(seats: &Arc<Seats>, actor: &Actor) -> Result<Self, ApiError> {
        let holder = actor.named().1;
        let mut taken = seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(holder.clone()).or_default();
        if *count >= PER_HOLDER {
            let message = format!("a key has at most {PER_HOLDER} connections");
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_connections", message).retry_after(5));
        }
        *count += 1;
        Ok(Self { seats: Arc::clone(seats), holder })
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

/// Who opened a connection, so that it can be asked again while the connection lasts.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// By a key, which is shown again.
    Key { headers: HeaderMap, ip: Option<std::net::IpAddr>, request: RequestId },
    /// By a session or a ticket: the holder, who stays longer than the token does.
    Holder(Box<Actor>),
}

impl Credential {
    /// Finds out who asks for a connection. `is_upgrade`: a ticket is used up by a connection only.
    pub(super) async fn admit(state: &State, parts: &Parts, is_upgrade: bool) -> Result<(Self, Actor), ApiError> {
        let ip = actor::peer(&parts.extensions);
        let request = parts.extensions.get::<RequestId>().cloned().ok_or_else(ApiError::unauthenticated)?;
        if let Some(ticket) = ticket(parts.uri.query()) {
            if !is_upgrade {
                return Err(ApiError::upgrade_required());
            }
            let visitor = Visitor { ip, request, user_agent: None };
            let actor = tokens::redeem(state, ticket, &visitor).await?;
            return Ok((Self::Holder(Box::new(actor.clone())), actor));
        }
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
        let credential = Self::Key { headers, ip, request };
        let actor = credential.check(state).await?;
        match actor.who {
            Who::Key(_) => Ok((credential, actor)),
            _ => Ok((Self::Holder(Box::new(actor.clone())), actor)),
        }
    }

    async fn check(&self, state: &State) -> Result<Actor, ApiError> {
        match self {
            Self::Key { headers, ip, request } => {
                let Found(found) = actor::authenticate(state, headers, *ip, request.clone()).await;
                found
            }
            Self::Holder(actor) => match actor.who {
                Who::Key(key) => actor::by_key_id(state, key, actor.ip, actor.request.clone()).await,
                Who::User(_, session) => actor::by_session(state, session, actor.ip, actor.request.clone()).await,
                Who::System(_) => Err(ApiError::unauthenticated()),
            },
        }
    }

    /// Looks again whether the holder may still do this.
    pub(super) async fn still(&self, state: &State, scope: &str) -> Result<(), Closing> {
        match self.check(state).await {
            Ok(actor) => actor.needs(scope).map_err(|_| Closing::Scope),
            Err(error) if error.status == StatusCode::UNAUTHORIZED => Err(Closing::Credential),
            Err(error) if error.status == StatusCode::FORBIDDEN => Err(Closing::Scope),
            // The store is away: nothing is known against the credential.
            Err(_) => Ok(()),
        }
    }
}

/// The ticket in a query.
fn ticket(query: Option<&str>) -> Option<&str> {
    query?.split('&').find_map(|pair| pair.strip_prefix("ticket=")).filter(|ticket| !ticket.is_empty())
}

/// Which ticket.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "read from the query before anything else is")]
pub(crate) struct TicketQuery {
    /// From `POST ws-tickets`, once, for browsers, which cannot set headers here.
    ticket: Option<String>,
}

/// Opens a WebSocket on which events are shown. Frames: subscribe, unsubscribe, ping; event, live, gap, error.
#[utoipa::path(get, path = "/ws", tag = "events", operation_id = "watchEvents", params(TicketQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 101, description = "Frames as the events guide has them"), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope),
        (status = 503, body = ErrorEnvelope, description = "`draining`")))]
pub(crate) async fn open(
    Extract(state): Extract<State>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    parts: Parts,
) -> Result<Response, ApiError> {
    let ip = actor::peer(&parts.extensions);
    if !state.limiter.take(Source::address(ip), rate::WITHOUT_CREDENTIAL, Instant::now()).passes {
        let message = "too many connections in a minute";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message).retry_after(60));
    }
    let (credential, actor) = Credential::admit(&state, &parts, upgrade.is_ok()).await?;
    actor.needs("events:read")?;
    let upgrade = upgrade.map_err(|_| ApiError::upgrade_required())?;
    if state.app.switchboard.health().draining {
        let message = "this node takes no new connections";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message).retry_after(5));
    }
    let seat = Seat::take(&state.sockets, &actor)?;
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
