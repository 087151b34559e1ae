//! The life of one trunk: where its names lead, its registration, its gateways' answers.

use std::net::IpAddr;
use std::time::Duration;

use control_api::{Gate, Line, Login, Sighting, Transport};
use sip_stack::auth::Algorithm;
use sip_stack::{Credentials, Event, Flow, Peer, PeerHandle, Registration, RegistrationHandle, Uri};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::{Handle, Trunks, lock, ways};
use crate::call::leg::unix_ms;

/// How often names are looked up again; what they said may be kept by the resolver for longer.
const LOOK_UP: Duration = Duration::from_secs(300);
/// The same while one of them leads nowhere.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(30);
/// Failures, and answers, in a row that take a gateway out and back.
const AGREE: u32 = 2;

/// One trunk under care.
struct Tended {
    trunks: Trunks,
    line: Line,
    ear: UnboundedSender<Event>,
    gates: Vec<Gateway>,
    registration: Option<Registered>,
}

struct Gateway {
    gate: Gate,
    way: Option<Flow>,
    peer: Option<PeerHandle>,
    /// Whether it takes calls; `None` before anything was heard of it where it is now.
    up: Option<bool>,
    /// What the last event said.
    told: Option<bool>,
    status: Option<u16>,
    rtt: Option<Duration>,
    detail: Option<String>,
}

struct Registered {
    handle: RegistrationHandle,
    ways: Vec<Flow>,
    /// Which of them is in use, and how many failed since one did not.
    at: usize,
    failed: usize,
    up: Option<bool>,
}

/// Cares for a trunk until it is told to stop, or the node stops.
pub(super) async fn tend(trunks: Trunks, line: Line, mut stopped: watch::Receiver<bool>) {
    let (ear, mut events) = unbounded_channel();
    let gates = line.gateways.iter().map(|gate| Gateway::new(gate.clone())).collect();
    let mut tended = Tended { trunks, line, ear, gates, registration: None };
    let (store, id) = (tended.trunks.0.directory.clone(), tended.line.id);
    let registrar = tended.line.binding.is_none();
    if let Err(error) = store.lost_sight(&tended.trunks.0.node, id, registrar).await {
        tracing::warn!(trunk = %id, %error, "old sightings of a trunk stay");
    }
    loop {
        let sound = tokio::select! {
            sound = tended.look_up() => sound,
            _ = stopped.changed() => break,
        };
        let again = tokio::time::sleep(if sound { LOOK_UP } else { LOOK_UP_AGAIN });
        tokio::pin!(again);
        let over = loop {
            tokio::select! {
                Some(event) = events.recv() => tended.hear(event),
                () = &mut again => break false,
                _ = stopped.changed() => break true,
            }
        };
        if over {
            break;
        }
    }
    tended.leave(events).await;
}

/// The URI that leads to a gateway: a port leaves only the address to be found, and UDP, which is the default of the document, leaves
/// the choice of transport to the host's own records.
pub(super) fn uri_of(gate: &Gate) -> Result<Uri, String> {
    uri(&gate.host, gate.port, gate.transport)
}

/// The URI that leads to a host.
pub fn uri(host: &str, port: Option<u16>, transport: Transport) -> Result<Uri, String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    let transport = match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
        Transport::Tls => ";transport=tls",
    };
    format!("sip:{host}{port}{transport}").parse().map_err(|_| format!("{host}: not a host"))
}

/// A login as SIP wants it; only these addresses are answered.
pub fn credentials(login: &Login, servers: Vec<IpAddr>) -> Credentials {
    Credentials {
        realm: login.realm.clone(),
        username: login.username.clone(),
        password: login.password.clone(),
        servers,
        algorithms: login.algorithms.iter().filter_map(|name| Algorithm::of(Some(name))).collect(),
    }
}

impl Gateway {
    fn new(gate: Gate) -> Self {
        Self { gate, way: None, peer: None, up: None, told: None, status: None, rtt: None, detail: None }
    }
}

impl Tended {
    async fn ways(&self, uri: &Uri) -> Result<Vec<Flow>, String> {
        let inner = &self.trunks.0;
        ways(&inner.sip, &inner.resolver, &inner.private, uri).await
    }

    /// Finds every gateway and the registrar, and watches and registers what has moved or is new. False when something was not found.
    async fn look_up(&mut self) -> bool {
        let mut sound = true;
        let mut addresses = Vec::new();
        for at in 0..self.gates.len() {
            let found = match uri_of(&self.gates[at].gate) {
                Ok(uri) => self.ways(&uri).await.map(|ways| (uri, ways)),
                Err(why) => Err(why),
            };
            match found {
                Ok((uri, ways)) => {
                    if self.gates[at].gate.inbound_by_name {
                        addresses.extend(ways.iter().map(|way| way.remote.ip().to_canonical()));
                    }
                    self.watch(at, uri, ways[0]).await;
                }
                Err(why) => {
                    sound = false;
                    let gateway = &mut self.gates[at];
                    gateway.detail = Some(why);
                    gateway.status = None;
                    if gateway.peer.is_none() {
                        self.turn(at, false);
                    }
                }
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        if sound || !addresses.is_empty() {
            lock(&self.trunks.0.conditions).entry(self.line.id).or_default().addresses = addresses;
        }
        self.register().await && sound
    }

    /// Watches a gateway where it is now.
    async fn watch(&mut self, at: usize, uri: Uri, way: Flow) {
        let (Some(every), true) = (self.line.ping_every, self.gates[at].gate.outbound) else { return };
        if self.gates[at].way == Some(way) {
            return;
        }
        self.unwatch(at);
        let peer = Peer { uri, flow: way, every, down_after: AGREE, up_after: AGREE };
        let (trunks, ear) = (self.trunks.clone(), self.ear.clone());
        let known = move |peer| drop(lock(&trunks.0.ears).insert(Handle::Peer(peer), ear));
        if let Ok(peer) = self.trunks.0.sip.watch(peer, known).await {
            let gateway = &mut self.gates[at];
            (gateway.peer, gateway.way, gateway.up) = (Some(peer), Some(way), None);
        }
    }

    fn unwatch(&mut self, at: usize) {
        if let Some(peer) = self.gates[at].peer.take() {
            self.trunks.0.sip.unwatch(peer);
            lock(&self.trunks.0.ears).remove(&Handle::Peer(peer));
        }
    }

    /// Registers, or tells the registration where its registrar is now. False when it is nowhere.
    async fn register(&mut self) -> bool {
        let Some(binding) = self.line.binding.clone() else { return true };
        let (Ok(registrar), Ok(address)) = (binding.registrar.parse::<Uri>(), binding.aor.parse::<Uri>()) else {
            self.registered(false, None, Some("its registrar or address is no SIP URI".into()), None);
            return true;
        };
        let ways = match self.ways(&registrar).await {
            Ok(ways) => ways,
            Err(why) => {
                if self.registration.is_none() {
                    self.registered(false, None, Some(why), None);
                }
                return false;
            }
        };
        if let Some(registration) = &mut self.registration {
            if !ways.contains(&registration.ways[registration.at]) {
                self.trunks.0.sip.reroute(registration.handle, ways[0]);
                registration.at = 0;
            } else {
                let now = registration.ways[registration.at];
                registration.at = ways.iter().position(|way| *way == now).unwrap_or(0);
            }
            registration.ways = ways;
            return true;
        }
        let servers = ways.iter().map(|way| way.remote.ip()).collect();
        let wish = Registration {
            registrar,
            address,
            contact_user: binding.contact_user,
            flow: ways[0],
            expires: binding.expires,
            credentials: self.line.login.as_ref().map(|login| credentials(login, servers)),
        };
        let (trunks, ear) = (self.trunks.clone(), self.ear.clone());
        let known = move |handle| drop(lock(&trunks.0.ears).insert(Handle::Registration(handle), ear));
        if let Ok(handle) = self.trunks.0.sip.register(wish, known).await {
            self.registration = Some(Registered { handle, ways, at: 0, failed: 0, up: None });
        }
        true
    }

    /// What an event says of this trunk.
    fn hear(&mut self, event: Event) {
        match event {
            Event::Pinged { peer, status, rtt } => {
                if let Some(at) = self.gates.iter().position(|gateway| gateway.peer == Some(peer)) {
                    let said = self.gates[at].way.map(|way| self.said(way, status));
                    let gateway = &mut self.gates[at];
                    let well = !matches!(status, 408 | 500..600);
                    gateway.status = Some(status);
                    gateway.rtt = (status != 408).then_some(rtt);
                    let said = said.filter(|_| !well);
                    // Once, not for every ping: a reason may tell the time.
                    if gateway.detail.is_none()
                        && let Some(detail) = &said
                    {
                        let host = &gateway.gate.host;
                        tracing::warn!(trunk = %self.line.id, host, detail, "gateway does not answer as it should");
                    }
                    gateway.detail = said;
                    // One answer says that it lives; only several that agree say that it does not.
                    match gateway.up {
                        None if well => self.turn(at, true),
                        up => self.tell(at, up.unwrap_or(false), false),
                    }
                }
            }
            Event::PeerUp { peer } => self.turned(peer, true),
            Event::PeerDown { peer, .. } => self.turned(peer, false),
            Event::Registered { expires, service_route, .. } => {
                if let Some(registration) = &mut self.registration {
                    registration.failed = 0;
                }
                lock(&self.trunks.0.conditions).entry(self.line.id).or_default().service_route = service_route;
                let until = unix_ms().saturating_add(i64::try_from(expires.as_millis()).unwrap_or(i64::MAX));
                self.registered(true, Some(200), None, Some(until));
            }
            Event::RegisterFailed { status, retry_in, .. } => {
                let now = self.registration.as_ref().map(|registration| registration.ways[registration.at]);
                let said = now.map_or_else(|| said(status), |way| self.said(way, status));
                let next = self.next_way(status);
                let detail = match next {
                    Some(way) => format!("{said}; the next way is tried: {}", way.remote),
                    None => format!("{said}; again in {} s", retry_in.as_secs()),
                };
                tracing::warn!(trunk = %self.line.id, status, detail, "registration failed");
                self.registered(false, Some(status), Some(detail), None);
                if let (Some(way), Some(registration)) = (next, &self.registration) {
                    self.trunks.0.sip.reroute(registration.handle, way);
                }
            }
            _ => {}
        }
    }

    /// What an answer, or none, over a way means; where no connection could be had, why.
    fn said(&self, way: Flow, status: u16) -> String {
        let failure = (status == 408).then(|| self.trunks.0.sip.last_failure(way.transport, way.remote));
        failure.flatten().unwrap_or_else(|| said(status))
    }

    /// After silence or trouble of the server, the next of its ways, until all have been tried.
    fn next_way(&mut self, status: u16) -> Option<Flow> {
        let registration = self.registration.as_mut()?;
        if !matches!(status, 408 | 500..600) {
            return None;
        }
        registration.failed += 1;
        if registration.failed % registration.ways.len() == 0 {
            return None;
        }
        registration.at = (registration.at + 1) % registration.ways.len();
        Some(registration.ways[registration.at])
    }

    fn turned(&mut self, peer: PeerHandle, up: bool) {
        if let Some(at) = self.gates.iter().position(|gateway| gateway.peer == Some(peer)) {
            self.turn(at, up);
        }
    }

    /// A gateway takes calls now, or takes none.
    fn turn(&mut self, at: usize, up: bool) {
        let gateway = &mut self.gates[at];
        gateway.up = Some(up);
        // That it lives is what everybody expects of a gateway that was never heard of.
        let changed = gateway.told.replace(up).unwrap_or(true) != up;
        {
            let mut conditions = lock(&self.trunks.0.conditions);
            let down = &mut conditions.entry(self.line.id).or_default().down;
            if up {
                down.remove(&gateway.gate.id)
            } else {
                down.insert(gateway.gate.id.clone())
            };
        }
        if changed {
            let (host, detail) = (&gateway.gate.host, gateway.detail.as_deref().unwrap_or_default());
            tracing::info!(trunk = %self.line.id, host, up, detail, "gateway");
        }
        self.tell(at, up, changed);
    }

    fn tell(&self, at: usize, up: bool, changed: bool) {
        let gateway = &self.gates[at];
        let sighting = Sighting {
            trunk: self.line.id,
            tenant: self.line.tenant,
            gateway: Some(gateway.gate.id.clone()),
            host: gateway.gate.host.clone(),
            up,
            detail: gateway.detail.clone(),
            sip_status: gateway.status,
            rtt: gateway.rtt,
            registered_until_ms: None,
            changed,
        };
        let _ = self.trunks.0.sightings.send(sighting);
    }

    fn registered(&mut self, up: bool, status: Option<u16>, detail: Option<String>, until_ms: Option<i64>) {
        let before = self.registration.as_mut().and_then(|registration| registration.up.replace(up));
        let host = self.line.binding.as_ref().map(|binding| binding.registrar.clone()).unwrap_or_default();
        if before != Some(up) {
            tracing::info!(trunk = %self.line.id, registrar = host, up, "registration");
        }
        let sighting = Sighting {
            trunk: self.line.id,
            tenant: self.line.tenant,
            gateway: None,
            host,
            up,
            detail,
            sip_status: status,
            rtt: None,
            registered_until_ms: until_ms,
            changed: before != Some(up) && self.registration.is_some(),
        };
        let _ = self.trunks.0.sightings.send(sighting);
    }

    /// Takes the binding back and watches nobody any more.
    async fn leave(mut self, mut events: UnboundedReceiver<Event>) {
        for at in 0..self.gates.len() {
            self.unwatch(at);
        }
        let Some(registration) = &self.registration else { return };
        self.trunks.0.sip.unregister(registration.handle);
        while let Some(event) = events.recv().await {
            if matches!(event, Event::Unregistered { .. }) {
                return;
            }
        }
    }
}

/// A status for people.
fn said(status: u16) -> String {
    if status == 408 { "no answer".into() } else { format!("it answers {status}") }
}
