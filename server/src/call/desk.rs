//! The desk: every live call of this node, who answers which address, and the door to the API.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control_api::{
    AgentChoice, BoxFuture, DialRefused, DialRequest, Directory, Health, Journal, LiveCall, NotActive, Refused, Route,
    RouteQuery, Store, Switchboard,
};
use domain::{AgentSpec, CallId, EndedReason, Status, TenantId};
use pipeline::offline::Speech;
use pipeline::voice_thread::Voice;
use sip_stack::{CallHandle, Event, Refusal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use wire::media::Media;
use wire::sip::SipHandle;

use super::record::Recorder;
use super::{inbound, outbound};
use crate::house::House;

/// Users that exist for measurement only.
pub const ECHO: &str = "echo";
/// The same, with a prompt, VAD and recording.
pub const BENCH: &str = "bench";

/// Everything a call needs of the process.
pub struct Parts {
    /// Configuration and agents.
    pub house: House,
    /// Rows.
    pub store: Store,
    /// Rows of calls.
    pub journal: Journal,
    /// Media threads.
    pub media: Media,
    /// Voice threads.
    pub voice: Voice,
    /// The SIP task.
    pub sip: SipHandle,
    /// The recording thread.
    pub recorder: Recorder,
    /// Built-in engines.
    pub speech: Option<Speech>,
    /// Who owns the calls until there are trunks.
    pub tenant: TenantId,
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    parts: Parts,
    live: Mutex<HashMap<CallId, Line>>,
    routes: Mutex<HashMap<CallHandle, UnboundedSender<Event>>>,
    draining: AtomicBool,
    answered: AtomicU64,
    refused: AtomicU64,
}

struct Line {
    call: LiveCall,
    ends: UnboundedSender<EndedReason>,
}

/// A seat at the desk: the call is live while it is held.
pub struct Seat {
    desk: Desk,
    /// The call.
    pub id: CallId,
    /// Requests to end it.
    pub ends: UnboundedReceiver<EndedReason>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.desk.0.live).remove(&self.id);
    }
}

impl std::ops::Deref for Desk {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

/// A lock whose holder panicked still guards a map that is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Opens the desk.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            live: Mutex::default(),
            routes: Mutex::default(),
            draining: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }))
    }

    /// Hands SIP events to their calls, and new calls to tasks of their own, until the SIP task ends.
    pub async fn run(self, mut events: tokio::sync::mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Incoming { call, invite } => {
                    let events = self.watch(call);
                    tokio::spawn(inbound::run(self.clone(), call, *invite, events));
                }
                event => {
                    let Some(call) = event.call() else { continue };
                    let ended = matches!(event, Event::Ended { .. });
                    let mut routes = lock(&self.0.routes);
                    let gone = routes.get(&call).is_some_and(|route| route.send(event).is_err());
                    if ended || gone {
                        routes.remove(&call);
                    }
                }
            }
        }
    }

    /// The events of a call from now on.
    pub fn watch(&self, call: CallHandle) -> UnboundedReceiver<Event> {
        let (route, events) = unbounded_channel();
        self.connect(call, route);
        events
    }

    /// Sends a call's events there from now on.
    pub fn connect(&self, call: CallHandle, route: UnboundedSender<Event>) {
        lock(&self.0.routes).insert(call, route);
    }

    /// Takes a seat if there is one.
    ///
    /// # Errors
    /// The node is full or draining.
    pub fn admit(&self, call: LiveCall) -> Result<Seat, Refused> {
        if self.is_draining() {
            return Err(self.count(Refused::Draining));
        }
        let (ends, inbox) = unbounded_channel();
        let id = call.id;
        let mut live = lock(&self.0.live);
        if live.len() >= self.house.config.limits.calls {
            drop(live);
            return Err(self.count(Refused::NoCapacity));
        }
        live.insert(id, Line { call, ends });
        drop(live);
        Ok(Seat { desk: self.clone(), id, ends: inbox })
    }

    fn count(&self, refused: Refused) -> Refused {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        refused
    }

    /// Changes what the API tells of a live call.
    pub fn mark(&self, id: CallId, change: impl FnOnce(&mut LiveCall)) {
        if let Some(line) = lock(&self.0.live).get_mut(&id) {
            change(&mut line.call);
            if line.call.status == Status::InProgress && line.call.answered_at_ms.is_none() {
                line.call.answered_at_ms = Some(super::leg::unix_ms());
                self.0.answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Refuses new calls from now on.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
        self.sip.drain(true);
    }

    /// Whether new calls are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// How many calls are live.
    #[must_use]
    pub fn live_calls(&self) -> usize {
        lock(&self.0.live).len()
    }

    /// Asks every live call to end.
    pub fn end_all(&self, reason: EndedReason) {
        for line in lock(&self.0.live).values() {
            let _ = line.ends.send(reason);
        }
    }

    /// The address that SDP names to this peer.
    #[must_use]
    pub fn media_address(&self, peer: SocketAddr) -> IpAddr {
        self.house.checked.rtp_address.unwrap_or_else(|| towards(peer))
    }

    /// An agent by the name of its file.
    #[must_use]
    pub fn agent(&self, name: &str) -> Option<Arc<AgentSpec>> {
        let name = if name == "demo" { &self.house.config.agents.demo } else { name };
        self.house.agents.get(name).cloned()
    }

    fn is_trusted(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        source.is_loopback() || self.house.config.agents.trusted.iter().any(|network| contains(network, source))
    }
}

/// The address of ours that packets to `peer` leave from.
fn towards(peer: SocketAddr) -> IpAddr {
    let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let found = std::net::UdpSocket::bind(any).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    crate::config::reachable(found.map_or(any.ip(), |address| address.ip()))
}

/// Whether "address" or "address/bits" contains an address.
fn contains(network: &str, address: IpAddr) -> bool {
    let (base, bits) = network.split_once('/').unwrap_or((network, ""));
    let Ok(base) = base.parse::<IpAddr>() else { return false };
    let (base, address, width) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => (u128::from(u32::from(base)), u128::from(u32::from(address)), 32),
        (IpAddr::V6(base), IpAddr::V6(address)) => (u128::from(base), u128::from(address), 128),
        _ => return false,
    };
    let bits = if bits.is_empty() { width } else { bits.parse::<u32>().unwrap_or(u32::MAX) };
    match width.checked_sub(bits) {
        Some(0) => base == address,
        Some(shift) => base.checked_shr(shift) == address.checked_shr(shift),
        None => false,
    }
}

impl Directory for Desk {
    fn route<'a>(&'a self, query: RouteQuery) -> BoxFuture<'a, Result<Route, Refused>> {
        Box::pin(async move {
            // One answer for strangers, whether or not the address exists.
            if !self.is_trusted(query.source.ip()) {
                return Err(Refused::UnknownSource);
            }
            let agent = match query.to.expose().as_str() {
                name @ (ECHO | BENCH) if self.house.config.dev.bench && query.source.ip().is_loopback() => {
                    Arc::new(AgentSpec::named(name))
                }
                name => self.agent(name).ok_or(Refused::UnknownNumber)?,
            };
            Ok(Route { tenant: self.tenant, agent, agent_id: None, agent_version: None, livemode: true })
        })
    }
}

impl Switchboard for Desk {
    fn dial<'a>(&'a self, request: DialRequest) -> BoxFuture<'a, Result<(), DialRefused>> {
        Box::pin(async move {
            let agent = match &request.agent {
                AgentChoice::Named(name) => self.agent(name).ok_or(DialRefused::UnknownAgent)?,
                AgentChoice::Inline(agent) => Arc::new((**agent).clone()),
            };
            outbound::dial(self.clone(), request, agent).await
        })
    }

    fn end<'a>(&'a self, call: CallId, reason: EndedReason) -> BoxFuture<'a, Result<(), NotActive>> {
        Box::pin(async move {
            let live = lock(&self.0.live);
            let line = live.get(&call).ok_or(NotActive)?;
            line.ends.send(reason).map_err(|_| NotActive)
        })
    }

    fn live(&self) -> Vec<LiveCall> {
        let mut calls: Vec<LiveCall> = lock(&self.0.live).values().map(|line| line.call.clone()).collect();
        calls.sort_by_key(|call| std::cmp::Reverse((call.created_at_ms, call.id)));
        calls
    }

    fn health(&self) -> Health {
        let dir = &self.house.config.recording.dir;
        let disk = !self.house.config.recording.enabled
            || std::fs::metadata(dir).is_ok_and(|meta| meta.is_dir() && !meta.permissions().readonly());
        Health {
            sip: true,
            rtp_ports_free: u32::try_from(self.media.port_counts().free).unwrap_or(u32::MAX),
            draining: self.is_draining(),
            disk,
            calls: u32::try_from(self.live_calls()).unwrap_or(u32::MAX),
            max_calls: u32::try_from(self.house.config.limits.calls).unwrap_or(u32::MAX),
        }
    }

    fn metrics(&self) -> String {
        super::metrics::text(self, self.0.answered.load(Ordering::Relaxed), self.0.refused.load(Ordering::Relaxed))
    }
}

/// A refusal on the wire for a refusal at the door.
#[must_use]
pub fn refusal(refused: Refused) -> Refusal {
    let refusal = Refusal::new(refused.sip_status());
    if refused.sip_status() == 503 { refusal.with_retry_after(5) } else { refusal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_they_should() {
        let yes = |network: &str, address: &str| contains(network, address.parse().unwrap());
        assert!(yes("192.168.1.0/24", "192.168.1.77"));
        assert!(!yes("192.168.1.0/24", "192.168.2.77"));
        assert!(yes("10.0.0.7", "10.0.0.7"));
        assert!(!yes("10.0.0.7", "10.0.0.8"));
        assert!(yes("0.0.0.0/0", "8.8.8.8"));
        assert!(yes("fd00::/8", "fd12::1"));
        for wrong in ["", "x", "10.0.0.0/99", "10.0.0.0/-1", "10.0.0.0/x"] {
            assert!(!yes(wrong, "10.0.0.0"), "{wrong}");
        }
    }
}
