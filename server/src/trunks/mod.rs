//! Trunks as SIP sees them: registered where they want it, watched by OPTIONS, with their callers' passwords asked for, and what was
//! seen of them kept for the API. One task for each trunk; a change of the trunk takes effect within a second.

mod challenge;
mod probe;
mod tend;
mod ways;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control_api::{Line, Network, Sighting, StoreDirectory};
use domain::TrunkId;
use sip_stack::{Event, PeerHandle, RegistrationHandle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wire::sip::{Resolver, SipHandle};

pub use challenge::{Challenger, Shown};
pub use tend::{credentials, uri};
pub use ways::{transport, ways};

/// How often the store is asked whether trunks have changed; what it answers comes from memory.
const LOOK: Duration = Duration::from_secs(1);
/// Sightings that are stored together.
const TOGETHER: Duration = Duration::from_millis(500);
/// How long a registrar may take to let go of us when the node stops.
const LEAVING: Duration = Duration::from_secs(3);

/// Which registration or peer an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Handle {
    Registration(RegistrationHandle),
    Peer(PeerHandle),
}

/// What calls must know of a trunk.
#[derive(Clone, Debug, Default)]
struct Condition {
    /// Gateways that take no calls.
    down: HashSet<String>,
    /// Where the registrar wants calls to leave by (RFC 3608).
    service_route: Vec<String>,
    /// Where the names of gateways lead that calls may come from.
    addresses: Vec<IpAddr>,
}

/// What every trunk's task shares.
struct Inner {
    sip: SipHandle,
    resolver: Resolver,
    directory: StoreDirectory,
    private: Vec<Network>,
    trusted: Vec<Network>,
    node: String,
    ears: Mutex<HashMap<Handle, UnboundedSender<Event>>>,
    conditions: Mutex<HashMap<TrunkId, Condition>>,
    sightings: UnboundedSender<Sighting>,
    /// Trunks that are being tried.
    trying: Mutex<HashSet<TrunkId>>,
}

/// The trunks; cheap to clone.
#[derive(Clone)]
pub struct Trunks(Arc<Inner>);

/// What they are made of.
pub struct Parts {
    /// Speaks SIP.
    pub sip: SipHandle,
    /// Finds hosts.
    pub resolver: Resolver,
    /// Says which trunks there are.
    pub directory: StoreDirectory,
    /// Where calls may go though it is not public.
    pub private: Vec<Network>,
    /// Networks that the guard never counts.
    pub trusted: Vec<Network>,
    /// This node.
    pub node: String,
}

/// The task that keeps the trunks.
pub struct Keeper {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A lock whose holder panicked still guards a map that is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Trunks {
    /// Takes over all trunks, until the keeper is told to stop.
    pub fn start(parts: Parts) -> (Self, Keeper) {
        let Parts { sip, resolver, directory, private, trusted, node } = parts;
        let (sightings, seen) = unbounded_channel();
        let (ears, conditions, trying) = Default::default();
        let inner = Inner { sip, resolver, directory, private, trusted, node, ears, conditions, sightings, trying };
        let trunks = Self(Arc::new(inner));
        tokio::spawn(write_down(trunks.0.directory.clone(), trunks.0.node.clone(), seen));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(trunks.clone().keep(stopped));
        (trunks, Keeper { stop, task })
    }

    /// An event that belongs to no call.
    pub fn hear(&self, event: Event) {
        let handle = match &event {
            Event::Registered { registration, .. }
            | Event::RegisterFailed { registration, .. }
            | Event::Unregistered { registration } => Handle::Registration(*registration),
            Event::Pinged { peer, .. } | Event::PeerUp { peer } | Event::PeerDown { peer, .. } => Handle::Peer(*peer),
            _ => return,
        };
        let mut ears = lock(&self.0.ears);
        let over = matches!(event, Event::Unregistered { .. });
        // Nobody listens any more when the trunk has changed meanwhile.
        let gone = ears.get(&handle).is_some_and(|ear| ear.send(event).is_err());
        if over || gone {
            ears.remove(&handle);
        }
    }

    /// Whether a gateway has proved that it takes no calls.
    pub fn is_down(&self, trunk: TrunkId, gateway: &str) -> bool {
        lock(&self.0.conditions).get(&trunk).is_some_and(|condition| condition.down.contains(gateway))
    }

    /// The routes that calls over a trunk take.
    pub fn service_route(&self, trunk: TrunkId) -> Vec<String> {
        lock(&self.0.conditions).get(&trunk).map(|condition| condition.service_route.clone()).unwrap_or_default()
    }

    /// Finds hosts.
    pub fn resolver(&self) -> &Resolver {
        &self.0.resolver
    }

    /// Starts, changes and stops the trunks' tasks as their rows say.
    async fn keep(self, mut stopped: watch::Receiver<bool>) {
        let mut tasks: HashMap<TrunkId, (Line, watch::Sender<bool>, JoinHandle<()>)> = HashMap::new();
        let mut networks = None;
        let mut addresses = None;
        loop {
            let lines: HashMap<TrunkId, Line> =
                self.0.directory.lines().await.into_iter().map(|line| (line.id, line)).collect();
            let gone: Vec<_> =
                tasks.iter().filter(|(id, (line, ..))| lines.get(id) != Some(line)).map(|(id, _)| *id).collect();
            for id in gone {
                let Some((_, stop, task)) = tasks.remove(&id) else { continue };
                let _ = stop.send(true);
                // The new task must not register before the old one has let go: the same contact would be taken away.
                let _ = tokio::time::timeout(LEAVING, task).await;
                lock(&self.0.conditions).remove(&id);
            }
            for (id, line) in lines {
                tasks.entry(id).or_insert_with(|| {
                    let (stop, stopped) = watch::channel(false);
                    let task = tokio::spawn(tend::tend(self.clone(), line.clone(), stopped));
                    (line, stop, task)
                });
            }
            self.share(&mut networks, &mut addresses).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = stopped.changed() => break,
            }
        }
        for (_, stop, _) in tasks.values() {
            let _ = stop.send(true);
        }
        let leaving = async {
            for (.., task) in tasks.into_values() {
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(LEAVING, leaving).await;
    }

    /// Tells the guard whose refusals do not count, and the directory where gateways' names lead.
    async fn share(&self, networks: &mut Option<Vec<Network>>, addresses: &mut Option<HashMap<TrunkId, Vec<IpAddr>>>) {
        let learned: HashMap<_, _> = lock(&self.0.conditions)
            .iter()
            .filter(|(_, condition)| !condition.addresses.is_empty())
            .map(|(id, condition)| (*id, condition.addresses.clone()))
            .collect();
        let mut known: Vec<Network> = self.0.directory.networks().await;
        known.extend(&self.0.trusted);
        known.extend(learned.values().flatten().map(|address| Network::from(*address)));
        known.sort_unstable();
        known.dedup();
        if networks.as_ref() != Some(&known) {
            self.0.sip.exempt(known.iter().map(|network| (network.base(), network.bits())).collect());
            *networks = Some(known);
        }
        if addresses.as_ref() != Some(&learned) {
            self.0.directory.learn(learned.clone());
            *addresses = Some(learned);
        }
    }
}

impl Keeper {
    /// Lets go of all registrars, and waits for them a little.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = tokio::time::timeout(LEAVING * 2, self.task).await;
    }
}

/// Stores what was seen, a little at a time: the newest of each gateway is enough, but no change is left out.
async fn write_down(directory: StoreDirectory, node: String, mut seen: UnboundedReceiver<Sighting>) {
    while let Some(first) = seen.recv().await {
        let mut batch = vec![first];
        tokio::time::sleep(TOGETHER).await;
        while let Ok(next) = seen.try_recv() {
            let same = |old: &Sighting| !old.changed && (old.trunk, &old.gateway) == (next.trunk, &next.gateway);
            batch.retain(|old| !same(old));
            batch.push(next);
        }
        // A store that is away misses a sighting; the next one comes soon.
        if let Err(error) = directory.saw(&node, &batch).await {
            tracing::warn!(%error, "what was seen of trunks is not stored");
        }
    }
}
