//! The desk: every live call of this node, who answers which address, and the door to the API.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control_api::{
    Ask, AskRefused, Bounds, BoxFuture, DialRefused, DialRequest, Directory, Health, Heard, Hop, Hub, Journal,
    LiveCall, NodeKey, ProbeRefused, Probed, Refused, Route, RouteQuery, Shelf, Shelves, Store, StoreDirectory,
    Switchboard, ToolClient,
};
use domain::{AgentId, AgentSpec, CallId, EndedReason, Status, TenantId, TrunkId};
use pipeline::agent::{AgentError, Credential, Credentials};
use pipeline::offline::Speech;
use pipeline::voice_thread::Voice;
use sip_stack::{CallHandle, Event, Refusal};
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use wire::media::Media;
use wire::sip::SipHandle;

use super::bounds::{Bans, Begun, Paces};
use super::credit::{Credit, NoCredit, Standing, Unbilled};
use super::record::Recorder;
use super::stir::Stir;
use super::traces::Traces;
use super::{inbound, outbound};
use crate::house::House;
use crate::trunks::{Challenger, Trunks};

/// Users that exist for measurement only.
pub const ECHO: &str = "echo";
/// The same, with a prompt, VAD and recording.
pub const BENCH: &str = "bench";

/// How often orphaned leases are looked for.
const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_secs(10);
/// A call that runs a tool or looks a name up takes nothing else on meanwhile; whoever asks waits so long.
const TAKEN_ON: std::time::Duration = std::time::Duration::from_secs(8);

/// A credential's place has so long to find its addresses before a call.
const LOOKUP: std::time::Duration = std::time::Duration::from_secs(1);

/// Everything a call needs of the process.
pub struct Parts {
    /// Configuration and agents.
    pub house: House,
    /// Rows.
    pub store: Store,
    /// Rows of calls.
    pub journal: Journal,
    /// Where calls are watched.
    pub hub: Hub,
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
    /// Numbers, trunks and stored agents.
    pub directory: StoreDirectory,
    /// Who owns the calls that come without a trunk.
    /// Opens credentials.
    pub seal: NodeKey,
    /// Asks servers of tenants.
    pub tools: ToolClient,
    /// What agents know.
    pub shelves: Shelves,
    pub tenant: TenantId,
    /// How trunks are.
    pub trunks: Trunks,
    /// Asks callers for their passwords.
    pub challenger: Challenger,
    /// Judges their signatures, and signs.
    pub stir: Stir,
    /// Takes down what is said on the wire.
    pub traces: Traces,
}

/// The desk; cheap to clone.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    parts: Parts,
    live: Mutex<HashMap<CallId, Line>>,
    routes: Mutex<HashMap<CallHandle, UnboundedSender<Event>>>,
    /// New calls on each trunk.
    paces: Mutex<Paces>,
    /// Gateways that are not tried for a while.
    bans: Mutex<Bans>,
    /// New calls of the last seconds.
    begun: Mutex<Begun>,
    /// The runtime that calls live on.
    calls: Handle,
    draining: AtomicBool,
    /// How often draining was begun or undone: a patience that runs out must be that of the last one.
    drains: AtomicU64,
    unbilled: Unbilled,
    standing: Standing,
    answered: AtomicU64,
    refused: AtomicU64,
}

struct Line {
    call: LiveCall,
    asks: UnboundedSender<Asked>,
    /// Both sides once it is answered.
    heard: broadcast::WeakSender<Heard>,
}

/// Something that is asked of a call.
pub struct Asked {
    /// What.
    pub ask: Ask,
    /// Whether the call takes it on.
    pub reply: oneshot::Sender<Result<(), AskRefused>>,
}

/// A seat at the desk: the call is live while it is held.
pub struct Seat {
    desk: Desk,
    /// The call.
    pub id: CallId,
    /// What is asked of it.
    pub asks: UnboundedReceiver<Asked>,
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
    /// Opens the desk; the calls live on the runtime that this is called on.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            live: Mutex::default(),
            routes: Mutex::default(),
            paces: Mutex::default(),
            bans: Mutex::default(),
            begun: Mutex::default(),
            calls: Handle::current(),
            draining: AtomicBool::new(false),
            drains: AtomicU64::new(0),
            unbilled: Unbilled::default(),
            standing: Standing::default(),
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
                    let Some(call) = event.call() else {
                        match event {
                            Event::Banned { source, duration } => {
                                tracing::warn!(%source, seconds = duration.as_secs(), "source shut out: too many refused requests");
                            }
                            event => self.trunks.hear(event),
                        }
                        continue;
                    };
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
    /// The node, the trunk or the number is full, or the node is draining.
    pub fn admit(&self, call: LiveCall, bounds: Bounds) -> Result<Seat, Refused> {
        if self.is_draining() {
            return Err(self.count(Refused::Draining));
        }
        let (asks, inbox) = unbounded_channel();
        let id = call.id;
        let mut live = lock(&self.0.live);
        if live.len() >= self.house.config.limits.calls {
            drop(live);
            return Err(self.count(Refused::NoCapacity));
        }
        let beside = |same: &dyn Fn(&LiveCall) -> bool| live.values().filter(|line| same(&line.call)).count();
        let full = |bound: Option<u32>, count: usize| bound.is_some_and(|bound| count >= bound as usize);
        if let Some(trunk) = call.trunk
            && full(bounds.trunk_calls, channels(&live, trunk))
        {
            drop(live);
            return Err(self.count(Refused::NoCapacity));
        }
        if call.number.is_some() && full(bounds.number_calls, beside(&|other| other.number == call.number)) {
            drop(live);
            return Err(self.count(Refused::Concurrency));
        }
        if let (Some(trunk), Some(cps)) = (call.trunk, bounds.trunk_cps)
            && !lock(&self.0.paces).take(trunk, cps, std::time::Instant::now())
        {
            drop(live);
            return Err(self.count(Refused::NoCapacity));
        }
        // Nothing is heard before the answer.
        let heard = broadcast::Sender::new(1).downgrade();
        live.insert(id, Line { call, asks, heard });
        drop(live);
        lock(&self.0.begun).note(std::time::Instant::now());
        Ok(Seat { desk: self.clone(), id, asks: inbox })
    }

    /// What is known of a live call.
    pub(super) fn live_call_of(&self, call: CallId) -> Option<LiveCall> {
        lock(&self.0.live).get(&call).map(|line| line.call.clone())
    }

    /// Takes a channel of a trunk for a leg of a live call, until [`Self::leave_trunk`] or the end of the call; false if there is none.
    pub(super) fn take_trunk(&self, call: CallId, trunk: Option<TrunkId>, bounds: Bounds) -> bool {
        let Some(trunk) = trunk else { return true };
        let mut live = lock(&self.0.live);
        if bounds.trunk_calls.is_some_and(|most| channels(&live, trunk) >= most as usize)
            || bounds.trunk_cps.is_some_and(|cps| !lock(&self.0.paces).take(trunk, cps, std::time::Instant::now()))
        {
            return false;
        }
        if let Some(line) = live.get_mut(&call) {
            line.call.leg_trunk = Some(trunk);
        }
        true
    }

    /// The leg of a live call is over.
    pub(super) fn leave_trunk(&self, call: CallId) {
        self.mark(call, |live| live.leg_trunk = None);
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

    /// Refuses new calls from now on, or takes them again.
    pub fn set_draining(&self, draining: bool) -> u64 {
        self.0.draining.store(draining, Ordering::Relaxed);
        self.sip.drain(draining);
        self.0.drains.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether new calls are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// Asks for a call's credit.
    pub(super) async fn credit(&self, admission: &control_api::Admission) -> Result<Credit, NoCredit> {
        Credit::open(&self.store, admission, self.house.checked.store_down, &self.0.unbilled, &self.0.standing).await
    }

    /// Whether a call of this tenant will get its credit, by what the store said last.
    pub(super) fn is_good_for(&self, tenant: TenantId, livemode: bool) -> bool {
        self.0.standing.is_good(tenant, livemode)
    }

    /// Settles, until the process ends, what nodes that went away have left open.
    pub async fn sweep(self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY).await;
            let lives = |call| lock(&self.0.live).contains_key(&call);
            match self.store.sweep(&self.house.node, self.house.boot, &lives, super::leg::unix_ms()).await {
                Ok(0) => {}
                Ok(settled) => tracing::warn!(settled, "leases that nobody renewed were settled by evidence"),
                Err(error) => tracing::warn!(%error, "leases could not be swept"),
            }
        }
    }

    /// How many calls are live.
    #[must_use]
    pub fn live_calls(&self) -> usize {
        lock(&self.0.live).len()
    }

    /// Lets a call be listened to, for as long as its sender lives.
    pub fn set_heard(&self, id: CallId, heard: &broadcast::Sender<Heard>) {
        if let Some(line) = lock(&self.0.live).get_mut(&id) {
            line.heard = heard.downgrade();
        }
    }

    /// Asks every live call to end.
    pub fn end_all(&self, reason: EndedReason) {
        for line in lock(&self.0.live).values() {
            let (reply, _) = oneshot::channel();
            let _ = line.asks.send(Asked { ask: Ask::End { reason, say: None }, reply });
        }
    }

    /// The address that SDP names to this peer.
    #[must_use]
    pub fn media_address(&self, peer: SocketAddr) -> IpAddr {
        self.house.checked.rtp_address.unwrap_or_else(|| towards(peer))
    }

    /// Where the media of a call may go that this address signals.
    #[must_use]
    pub fn reach(&self, peer: SocketAddr) -> super::leg::Reach {
        super::leg::Reach::new(peer.ip(), self.media_address(peer), self.house.checked.private.clone())
    }

    /// An agent by the name of its file.
    #[must_use]
    pub fn agent(&self, name: &str) -> Option<Arc<AgentSpec>> {
        let name = if name == "demo" { &self.house.config.agents.demo } else { name };
        self.house.agents.get(name).cloned()
    }

    /// Puts gateways that failed lately, or that say they take no calls, behind the others.
    pub(super) fn by_health(&self, trunk: Option<TrunkId>, hops: Vec<Hop>) -> Vec<Hop> {
        let mut hops = lock(&self.0.bans).last(hops, std::time::Instant::now());
        if let Some(trunk) = trunk {
            hops.sort_by_key(|hop| self.trunks.is_down(trunk, &hop.gateway));
        }
        hops
    }

    /// The credentials that an agent names, opened for one call.
    ///
    /// # Errors
    /// The store does not answer, or the node's key does not open them.
    pub async fn credentials(&self, tenant: TenantId, agent: &AgentSpec) -> Result<Credentials, AgentError> {
        let opened = self.store.open_credentials(&self.seal, tenant, agent).await;
        let opened =
            opened.map_err(|error| AgentError::Setting { path: "credential_id".into(), reason: error.to_string() })?;
        for found in opened.values() {
            // Where a vendor is was judged when it was stored; its name may lead elsewhere by now.
            let Some(url) = &found.base_url else { continue };
            if let Ok(Err(refused)) = tokio::time::timeout(LOOKUP, self.tools.permits(url)).await {
                let reason = format!("the credential's base_url is not allowed: {refused}");
                return Err(AgentError::Setting { path: "credential_id".into(), reason });
            }
        }
        let credential = |found: control_api::Opened| Credential { secret: found.secret, base_url: found.base_url };
        Ok(opened.into_iter().map(|(id, found)| (id, credential(found))).collect())
    }

    /// What a stored agent knows. Without its documents an agent still talks: that they cannot be read is for the log.
    pub async fn shelf(&self, tenant: TenantId, agent: Option<AgentId>) -> Option<Arc<Shelf>> {
        match self.shelves.of(tenant, agent?).await {
            Ok(shelf) => shelf,
            Err(error) => {
                tracing::error!(%error, "the agent's documents cannot be read");
                None
            }
        }
    }

    /// The agent as it can be run: without a model it needs a flow, and the receptionist lends it hers with all that belongs to it.
    #[must_use]
    pub fn runnable(&self, agent: &Arc<AgentSpec>) -> Arc<AgentSpec> {
        if !pipeline::agent::needs_flow(agent) || !agent.flow.is_null() {
            return agent.clone();
        }
        let Some(receptionist) = self.agent("demo") else { return agent.clone() };
        let mut whole = (**agent).clone();
        whole.flow = receptionist.flow.clone();
        if whole.greeting.text.is_empty() {
            whole.greeting.clone_from(&receptionist.greeting);
        }
        let named = |name: &str| agent.tools.iter().any(|tool| tool.name == name);
        whole.tools.extend(receptionist.tools.iter().filter(|tool| !named(&tool.name)).cloned());
        Arc::new(whole)
    }

    /// A gateway has failed.
    pub(super) fn ban(&self, hop: &Hop, until: std::time::Instant) {
        lock(&self.0.bans).ban(hop, until);
    }

    fn ready(&self, route: Route) -> Route {
        Route { agent: self.runnable(&route.agent), ..route }
    }

    /// A number of the house's tenant, or the id of one of its stored agents, called from a trusted network without a trunk.
    async fn inside(&self, query: &RouteQuery) -> Result<Route, Refused> {
        let route = match query.to.expose().parse::<AgentId>() {
            Ok(id) => {
                let found = self.directory.agent_by_id(self.tenant, id).await?;
                found.map(|(agent, version)| Route::to_agent(self.tenant, agent, id, version))
            }
            Err(_) => self.directory.route_inside(query, self.tenant).await?,
        };
        route.map(|route| self.ready(route)).ok_or(Refused::UnknownNumber)
    }

    fn is_trusted(&self, source: IpAddr) -> bool {
        self.house.checked.trusted.iter().any(|network| network.contains(source))
    }
}

/// Channels of a trunk that are taken: by calls, and by legs to which calls were handed over.
fn channels(live: &HashMap<CallId, Line>, trunk: TrunkId) -> usize {
    live.values().map(|line| line.call.channels(trunk)).sum()
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

impl Directory for Desk {
    fn route<'a>(&'a self, query: RouteQuery) -> BoxFuture<'a, Result<Route, Refused>> {
        Box::pin(async move {
            // One answer for strangers, whether or not the address exists.
            let trusted = self.is_trusted(query.source.ip());
            match self.directory.route(&query).await {
                Ok(Some(route)) => return Ok(self.ready(route)),
                // A trunk on a trusted network does not take away what may be called without one.
                Err(Refused::UnknownNumber | Refused::Unproven) if trusted => {}
                Err(refused) => return Err(refused),
                Ok(None) if trusted => {}
                Ok(None) => return Err(Refused::UnknownSource),
            }
            let agent = match query.to.expose().as_str() {
                name @ (ECHO | BENCH) if self.house.config.dev.bench && query.source.ip().is_loopback() => {
                    let mut agent = AgentSpec::named(name);
                    // What is measured is the call, and not the work after it.
                    agent.recording.format = "wav".into();
                    Arc::new(agent)
                }
                name => match self.agent(name) {
                    Some(agent) => agent,
                    None => return self.inside(&query).await,
                },
            };
            Ok(self.ready(Route::to_stand_in(self.tenant, agent)))
        })
    }
}

impl Switchboard for Desk {
    fn dial<'a>(&'a self, request: DialRequest) -> BoxFuture<'a, Result<(), DialRefused>> {
        Box::pin(async move {
            let agent = self.runnable(&request.agent);
            // Whoever asks works in the office; a call lives where calls live, and goes on when nobody waits for the answer any more.
            let dialling = self.0.calls.spawn(outbound::dial(self.clone(), request, agent));
            match dialling.await {
                Ok(outcome) => outcome,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(DialRefused::Draining),
                },
            }
        })
    }

    fn ask<'a>(&'a self, call: CallId, ask: Ask) -> BoxFuture<'a, Result<(), AskRefused>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let asks = lock(&self.0.live).get(&call).map(|line| line.asks.clone()).ok_or(AskRefused::NotActive)?;
            asks.send(Asked { ask, reply }).map_err(|_| AskRefused::NotActive)?;
            match tokio::time::timeout(TAKEN_ON, answer).await {
                Ok(answer) => answer.unwrap_or(Err(AskRefused::NotActive)),
                // The call sees that nobody waits any more, and leaves it.
                Err(_) => Err(AskRefused::Busy),
            }
        })
    }

    fn live_call(&self, call: CallId) -> Option<LiveCall> {
        self.live_call_of(call)
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
            begun_10s: lock(&self.0.begun).of_ten_seconds(std::time::Instant::now()),
        }
    }

    fn drain(&self, patience: Option<std::time::Duration>) {
        let round = self.set_draining(patience.is_some());
        let Some(patience) = patience else { return };
        let desk = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            if desk.0.drains.load(Ordering::Relaxed) == round {
                desk.end_all(EndedReason::DrainForced);
            }
        });
    }

    fn listen(&self, call: CallId) -> Option<broadcast::Receiver<Heard>> {
        let heard = lock(&self.0.live).get(&call)?.heard.upgrade()?;
        Some(heard.subscribe())
    }

    fn probe<'a>(&'a self, trunk: TrunkId) -> BoxFuture<'a, Result<Vec<Probed>, ProbeRefused>> {
        Box::pin(self.trunks.probe(trunk))
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
