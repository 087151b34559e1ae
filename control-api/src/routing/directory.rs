//! The directory of what is stored: source address → trunk → number, rule or default → agent and version.
//!
//! It answers from memory. A change made through this node is seen by the next INVITE, one made elsewhere within [`POLL`]; while the
//! store is away the last state it gave goes on answering.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{AgentId, AgentSpec, CallId, TenantId, TrunkId, phone::E164};
use serde_json::{Map, Value};
use sqlx::Row as _;

use super::{
    ANONYMOUS, Network,
    document::{Action, ActionKind, Decision, Routing, Version},
    lines::contact_user,
    rule::{self, Arrival, Party, header},
    snapshot::{Number, Snapshot, TrunkEntry, fingerprint},
    stand_in,
    trunk::{CallerIdFrom, InboundMode, StirVerify},
};
use crate::{
    NodeKey, Refused, Route, RouteQuery, Store,
    directory::{Bounds, Signed},
    now_ms,
};

/// How often other nodes' changes are looked for.
pub(crate) const POLL: Duration = Duration::from_secs(5);
/// Agent documents kept in memory.
const AGENTS: usize = 4096;

/// The directory; cheap to clone.
#[derive(Clone, Debug)]
pub struct StoreDirectory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    private: Vec<Network>,
    now: RwLock<Arc<Snapshot>>,
    /// The change of the store that `now` has seen.
    seen: AtomicU64,
    reading: tokio::sync::Mutex<()>,
    agents: Mutex<HashMap<(AgentId, i64), Arc<AgentSpec>>>,
    /// Opens the trunks' passwords.
    seal: Option<NodeKey>,
    /// Where the names of gateways lead, for those that name no network.
    learned: RwLock<HashMap<TrunkId, Vec<IpAddr>>>,
}

impl StoreDirectory {
    /// One that knows nothing yet and reads when it is asked, and again after each change on this node; nobody looks what other
    /// nodes change.
    pub fn new(store: Store, private: Vec<Network>) -> Self {
        Self::with(store, private, None)
    }

    fn with(store: Store, private: Vec<Network>, seal: Option<NodeKey>) -> Self {
        Self(Arc::new(Inner {
            store,
            private,
            now: RwLock::default(),
            seen: AtomicU64::new(u64::MAX),
            reading: tokio::sync::Mutex::default(),
            agents: Mutex::default(),
            seal,
            learned: RwLock::default(),
        }))
    }

    /// Reads everything once and keeps it fresh until the last clone is dropped. `private` are the networks that calls may go to
    /// though they are not public; `seal` opens the passwords of trunks, which otherwise are as if there were none.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn open(store: Store, private: Vec<Network>, seal: Option<NodeKey>) -> Result<Self, sqlx::Error> {
        let directory = Self::with(store, private, seal);
        directory.read().await?;
        let weak = Arc::downgrade(&directory.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL).await;
                let Some(inner) = weak.upgrade() else { return };
                if let Err(error) = Self(inner).look().await {
                    tracing::warn!(%error, "the store does not say whether routes have changed");
                }
            }
        });
        Ok(directory)
    }

    /// Whether a trunk lets the other side pass a call on (`sip.refer`).
    pub async fn follows_referrals(&self, trunk: TrunkId) -> bool {
        let now = self.fresh().await;
        now.trunks.get(&trunk).is_some_and(|entry| entry.trunk.sip.refer != super::trunk::Refer::Refuse)
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn private(&self) -> &[Network] {
        &self.0.private
    }

    /// Reads again if anything has changed, whoever changed it. Says how many kinds of objects had: numbers, trunks, rules, agents,
    /// tenants.
    ///
    /// # Errors
    /// The store does not answer; what was known stays.
    pub async fn look(&self) -> Result<usize, sqlx::Error> {
        let _one = self.0.reading.lock().await;
        let print = fingerprint(self.0.store.pool()).await?;
        let known = self.snapshot();
        let changed = print.iter().zip(&known.print).filter(|(now, then)| now != then).count();
        if changed > 0 {
            self.read().await?;
        }
        Ok(changed)
    }

    /// The newest state: read again first if this node has changed something since.
    pub(crate) async fn fresh(&self) -> Arc<Snapshot> {
        if self.0.seen.load(Ordering::Acquire) != self.0.store.changes() {
            let _one = self.0.reading.lock().await;
            if self.0.seen.load(Ordering::Acquire) != self.0.store.changes()
                && let Err(error) = self.read().await
            {
                tracing::warn!(%error, "routes could not be read again; the last ones known go on");
            }
        }
        self.snapshot()
    }

    async fn read(&self) -> Result<(), sqlx::Error> {
        let seen = self.0.store.changes();
        let snapshot = Arc::new(Snapshot::read(self.0.store.pool(), self.0.seal.as_ref()).await?);
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.0.seen.store(seen, Ordering::Release);
        Ok(())
    }

    pub(super) fn keep_learned(&self, addresses: HashMap<TrunkId, Vec<IpAddr>>) {
        *self.0.learned.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Trunks whose gateways' names lead to this address. Such an address may be many tenants' at once, as a big carrier's is, so it
    /// proves less than a network of one's own.
    fn named<'a>(&self, now: &'a Snapshot, source: IpAddr) -> Vec<&'a TrunkEntry> {
        let learned = self.0.learned.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<_> = learned
            .iter()
            .filter(|(_, addresses)| addresses.contains(&source.to_canonical()))
            .filter_map(|(id, _)| now.trunks.get(id))
            .filter(|entry| entry.trunk.takes() && entry.trunk.auth.inbound.mode == InboundMode::Ip)
            .collect();
        found.sort_by_key(|entry| (entry.created_at, entry.id));
        found
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who answers a call that came from a trunk. `None`: its source is no trunk's.
    ///
    /// # Errors
    /// Nobody answers it.
    pub async fn route(&self, query: &RouteQuery) -> Result<Option<Route>, Refused> {
        let now = self.fresh().await;
        // Longest network first.
        let near: Vec<&TrunkEntry> = now.sources.of(query.source.ip()).filter_map(|id| now.trunks.get(id)).collect();
        let shown = |entry: &TrunkEntry| query.proven == Some(entry.id);
        let mut trunks: Vec<&TrunkEntry> = near
            .iter()
            .copied()
            .filter(|entry| match entry.trunk.auth.inbound.mode {
                InboundMode::Ip => true,
                InboundMode::Digest | InboundMode::IpAndDigest => shown(entry),
                // Certificates of callers are judged by the listener, for all trunks alike; none of them names a trunk.
                InboundMode::Mtls => false,
            })
            .collect();
        // A password alone is enough where the trunk says so, wherever the call comes from.
        let roaming = query.proven.and_then(|id| now.trunks.get(&id));
        let roaming =
            roaming.filter(|entry| entry.trunk.takes() && entry.trunk.auth.inbound.mode == InboundMode::Digest);
        trunks.extend(roaming.filter(|entry| !near.iter().any(|known| known.id == entry.id)));
        let by_name = if trunks.is_empty() { self.named(&now, query.source.ip()) } else { Vec::new() };
        if trunks.is_empty() && by_name.is_empty() {
            let wants = |entry: &&TrunkEntry| match entry.trunk.auth.inbound.mode {
                InboundMode::Digest => entry.trunk.takes(),
                InboundMode::IpAndDigest => near.iter().any(|known| known.id == entry.id),
                InboundMode::Ip | InboundMode::Mtls => false,
            };
            // Strangers are asked alike, whether or not the name they would give exists.
            return if now.trunks.values().any(|entry| wants(&entry)) { Err(Refused::Unproven) } else { Ok(None) };
        }
        for entry in trunks.iter().chain(&by_name) {
            let call = Call::read(query, entry);
            let number = call.to.number.as_ref().and_then(|number| now.numbers.get_key_value(number));
            if let Some((e164, number)) = number.filter(|(_, number)| may_call(entry, number)) {
                return self.at_number(&now, query, entry, &call, e164, number).await.map(Some);
            }
        }
        // Of those that share an address, the one whose own contact was called, if there is but one.
        let mut called = by_name.iter().filter(|entry| is_contact(entry, query));
        if let (Some(one), None) = (called.next(), called.next()) {
            trunks.push(one);
        }
        for entry in &trunks {
            let call = Call::read(query, entry);
            let arrival = Arrival {
                call: query.call,
                trunk: entry.id,
                to: call.to.clone(),
                from: call.from.clone(),
                headers: &query.headers,
                now_ms: now_ms(),
            };
            if let Some(choice) = choose(&now, entry, &arrival) {
                return self.by_choice(&now, query, entry, &call, choice).await.map(Some);
            }
        }
        tracing::info!(call_id = %query.call, source = %query.source.ip(), to = %query.to, "nobody answers this number on this trunk");
        Err(Refused::UnknownNumber)
    }

    /// Who answers a number of a tenant that somebody calls from a trusted network, without a trunk. `None`: no such number.
    ///
    /// # Errors
    /// Nobody answers it.
    pub async fn route_inside(&self, query: &RouteQuery, tenant: TenantId) -> Result<Option<Route>, Refused> {
        let now = self.fresh().await;
        let to = domain::phone::NumberFormat::default().read(query.to.expose());
        let Some((e164, number)) = to.and_then(|to| now.numbers.get_key_value(&to)) else { return Ok(None) };
        if number.tenant != tenant {
            return Ok(None);
        }
        let caller = user(query.from.expose()).parse().ok();
        let mut route = self.decide(&now, tenant, query.call, &number.routing, number.agent, caller.as_ref()).await?;
        route.number = Some(number.id);
        route.bounds.number_calls = number.routing.max_calls;
        route.to = Some(e164.clone());
        route.from = caller;
        Ok(Some(route))
    }

    async fn at_number(
        &self,
        now: &Snapshot,
        query: &RouteQuery,
        entry: &TrunkEntry,
        call: &Call<'_>,
        e164: &E164,
        number: &Number,
    ) -> Result<Route, Refused> {
        let caller = call.from.number.as_ref();
        let mut route = self.decide(now, number.tenant, query.call, &number.routing, number.agent, caller).await?;
        route.number = Some(number.id);
        route.bounds.number_calls = number.routing.max_calls;
        route.to = Some(e164.clone());
        Ok(on_trunk(route, entry, call))
    }

    async fn by_choice(
        &self,
        now: &Snapshot,
        query: &RouteQuery,
        entry: &TrunkEntry,
        call: &Call<'_>,
        choice: Choice,
    ) -> Result<Route, Refused> {
        let mut route = self.obey(now, choice.tenant, query.call, choice.decision, None).await?;
        route.to.clone_from(&call.to.number);
        route.variables = choice.variables;
        Ok(on_trunk(route, entry, call))
    }

    async fn decide(
        &self,
        now: &Snapshot,
        tenant: TenantId,
        call: CallId,
        routing: &Routing,
        own: Option<AgentId>,
        caller: Option<&E164>,
    ) -> Result<Route, Refused> {
        let decision = routing.decide(own, caller, call, now_ms());
        self.obey(now, tenant, call, decision, Some(routing.otherwise())).await
    }

    /// Turns a decision into a route; an agent that is gone leads to `otherwise`.
    async fn obey(
        &self,
        now: &Snapshot,
        tenant: TenantId,
        call: CallId,
        decision: Decision,
        otherwise: Option<Action>,
    ) -> Result<Route, Refused> {
        let action = match decision {
            Decision::Blocked => return Err(Refused::Blocked),
            Decision::Do(action) => action,
            Decision::Agent(id, version) => match self.agent(now, tenant, id, version).await? {
                Some((agent, version)) => return Ok(Route::to_agent(tenant, agent, id, version)),
                None => {
                    tracing::warn!(call_id = %call, agent = %id, ?version, "the agent of this number does not exist");
                    let otherwise = otherwise.unwrap_or_else(|| Action::reject(480));
                    // A fallback to another agent is followed once.
                    if let (ActionKind::Agent, Some(next)) = (otherwise.kind, otherwise.agent_id)
                        && next != id
                        && let Some((agent, version)) = self.agent(now, tenant, next, Version::Latest).await?
                    {
                        return Ok(Route::to_agent(tenant, agent, next, version));
                    }
                    otherwise
                }
            },
        };
        if let Some(agent) = stand_in::agent(&action) {
            return Ok(Route::to_stand_in(tenant, agent));
        }
        match action.kind {
            ActionKind::Reject => Err(Refused::Rejected(action.sip_status)),
            // Before an answer there is no leg to bridge; the call is refused as if nobody were there.
            kind => {
                tracing::warn!(call_id = %call, ?kind, "this action cannot be carried out before the call is answered");
                Err(Refused::Rejected(480))
            }
        }
    }

    /// An agent of the tenant in a version, and the version's number.
    ///
    /// # Errors
    /// It is not in memory and the store does not answer.
    async fn agent(
        &self,
        now: &Snapshot,
        tenant: TenantId,
        id: AgentId,
        version: Version,
    ) -> Result<Option<(Arc<AgentSpec>, i64)>, Refused> {
        let Some((_, latest)) = now.agents.get(&id).filter(|(owner, _)| *owner == tenant) else { return Ok(None) };
        let version = match version {
            Version::Latest => *latest,
            Version::Number(version) => version,
        };
        if let Some(known) = self.0.agents.lock().unwrap_or_else(PoisonError::into_inner).get(&(id, version)) {
            return Ok(Some((known.clone(), version)));
        }
        let row =
            sqlx::query("SELECT config FROM agent_versions WHERE agent_id = $1 AND version = $2 AND tenant_id = $3")
                .bind(id.to_string())
                .bind(version)
                .bind(tenant.to_string())
                .fetch_optional(self.0.store.pool())
                .await
                .map_err(|error| {
                    tracing::warn!(%error, agent = %id, "an agent could not be read");
                    Refused::StoreUnavailable
                })?;
        let text: Option<String> = row.and_then(|row| row.try_get(0).ok());
        let read = text.and_then(|text| {
            let read = serde_json::from_str::<AgentSpec>(&text);
            read.inspect_err(|error| tracing::error!(agent = %id, version, %error, "a stored agent cannot be read"))
                .ok()
        });
        let Some(agent) = read.map(Arc::new) else { return Ok(None) };
        let mut agents = self.0.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.len() >= AGENTS {
            agents.clear();
        }
        // A version never changes, so what is kept is never stale.
        agents.insert((id, version), agent.clone());
        Ok(Some((agent, version)))
    }

    /// Who would answer a call that came by a trunk, and why. `None`: the trunk is not the tenant's.
    pub(crate) async fn explain(&self, tenant: TenantId, trunk: TrunkId, asked: Asked<'_>) -> Option<Explained> {
        let now = self.fresh().await;
        let entry = now.trunks.get(&trunk).filter(|entry| entry.tenant == Some(tenant))?;
        let format = &entry.trunk.identity.e164;
        let party = |user| Party { user, number: format.read(user) };
        let (to, from) = (party(asked.to), party(asked.from));
        let number = to.number.as_ref().and_then(|number| now.numbers.get(number));
        if let Some(number) = number.filter(|number| may_call(entry, number)) {
            let decision = number.routing.decide(number.agent, from.number.as_ref(), asked.call, asked.at_ms);
            let why = "the number itself says who answers";
            return Some(Explained::of("number", Some(number.id.to_string()), None, decision, why));
        }
        let arrival = Arrival { call: asked.call, trunk, to, from, headers: asked.headers, now_ms: asked.at_ms };
        Some(match choose(&now, entry, &arrival) {
            Some(Choice { decision, rule: Some(rule), .. }) => {
                let why = "no number of the tenant was called, and this rule is the first that matches";
                Explained::of("rule", Some(rule.id.to_string()), Some(rule.name), decision, why)
            }
            Some(Choice { decision, rule: None, .. }) => {
                let why = "no number of the tenant was called and no rule matches";
                Explained::of("default", None, None, decision, why)
            }
            None => {
                let why = "no number of the tenant was called, no rule matches, and the trunk has no default";
                Explained::of("nothing", None, None, Decision::Do(Action::reject(404)), why)
            }
        })
    }

    /// A stored agent by id, for calls that we place.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn agent_by_id(&self, tenant: TenantId, id: AgentId) -> Result<Option<(Arc<AgentSpec>, i64)>, Refused> {
        let now = self.fresh().await;
        self.agent(&now, tenant, id, Version::Latest).await
    }
}

/// Both ends of a call as a trunk writes them.
struct Call<'a> {
    to: Party<'a>,
    from: Party<'a>,
    /// The caller wishes not to be named.
    withheld: bool,
    /// What is to be asked of his signature.
    signed: Option<Signed>,
    variables: Map<String, Value>,
}

impl<'a> Call<'a> {
    fn read(query: &'a RouteQuery, entry: &TrunkEntry) -> Self {
        let identity = &entry.trunk.identity;
        let asserted = query.identity.asserted.as_ref().map(|who| who.expose().as_str());
        let from = user(query.from.expose());
        // A registrar sends calls to our contact; whom the caller meant then stands in To.
        let meant = header(&query.headers, "To").filter(|_| is_contact(entry, query)).map(addressed);
        // The user part may carry parameters of its own (`+1212…;phone-context=…`); who is called is what stands before them.
        let to = meant.unwrap_or_else(|| query.to.expose().split(';').next().unwrap_or_default());
        let withheld = identity.privacy_honour && query.identity.private;
        let said = match identity.caller_id {
            CallerIdFrom::Number => from,
            CallerIdFrom::Pai => asserted.unwrap_or_default(),
            CallerIdFrom::Both => asserted.unwrap_or(from),
        };
        // A signature counts for the number that we go by and for no other that stands in the same INVITE.
        let signed = (identity.stir.verify != StirVerify::Off).then(|| {
            let called = [header(&query.headers, "To").map(addressed), Some(user(query.to.expose()))];
            Signed {
                verify: identity.stir.verify,
                orig: identity.e164.read(said),
                dest: called.into_iter().flatten().filter_map(|called| identity.e164.read(called)).collect(),
            }
        });
        // The number is for those who are trusted with it; an agent is not one of them (RFC 3325 §7).
        let from = if withheld { ANONYMOUS } else { said };
        let names = entry.trunk.sip.headers_in.iter();
        let mut variables = Map::new();
        if let Some(first) = &query.identity.diverted_from {
            let first = identity
                .e164
                .read(first.expose())
                .map_or_else(|| first.expose().clone(), |number| number.as_str().into());
            variables.insert("diverted_from".into(), Value::String(first));
        }
        variables.extend(names.filter_map(|(name, variable)| {
            let value: String = header(&query.headers, name)?.chars().take(500).collect();
            Some((variable.clone(), Value::String(value)))
        }));
        Self {
            to: Party { user: to, number: identity.e164.read(to) },
            from: Party { user: from, number: identity.e164.read(from) },
            withheld,
            signed,
            variables,
        }
    }
}

/// A call that somebody only asks about.
pub(crate) struct Asked<'a> {
    pub(crate) call: CallId,
    pub(crate) to: &'a str,
    pub(crate) from: &'a str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) at_ms: i64,
}

/// What would happen to it.
pub(crate) struct Explained {
    /// `number`, `rule`, `default` or `nothing`.
    pub(crate) matched: &'static str,
    /// The number or rule.
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) agent: Option<(AgentId, Version)>,
    pub(crate) action: Option<Action>,
    pub(crate) why: &'static str,
}

impl Explained {
    fn of(
        matched: &'static str,
        id: Option<String>,
        name: Option<String>,
        decision: Decision,
        why: &'static str,
    ) -> Self {
        let (agent, action, why) = match decision {
            Decision::Agent(agent, version) => (Some((agent, version)), None, why),
            Decision::Do(action) => (None, Some(action), why),
            Decision::Blocked => (None, Some(Action::reject(603)), "the number's routing refuses this caller"),
        };
        Self { matched, id, name, agent, action, why }
    }
}

/// What a rule or a trunk's default decided.
pub(crate) struct Choice {
    pub(crate) tenant: TenantId,
    pub(crate) decision: Decision,
    pub(crate) variables: Map<String, Value>,
    /// The rule; none for the trunk's default.
    pub(crate) rule: Option<rule::Rule>,
}

/// The first rule that matches, else the trunk's default. Rules are a tenant's, so they look at calls of that tenant's trunks only.
pub(crate) fn choose(now: &Snapshot, entry: &TrunkEntry, call: &Arrival<'_>) -> Option<Choice> {
    let tenant = entry.tenant?;
    let rules = now.rules.get(&tenant).map_or(&[][..], Vec::as_slice);
    if let Some(rule) = rule::first(rules, call) {
        let decision = rule.action.decide(call.call);
        return Some(Choice { tenant, decision, variables: rule.variables.clone(), rule: Some(rule.clone()) });
    }
    let default = entry.trunk.default.clone()?;
    Some(Choice { tenant, decision: default.into(), variables: Map::new(), rule: None })
}

/// Whether a registered trunk's own contact was called.
fn is_contact(entry: &TrunkEntry, query: &RouteQuery) -> bool {
    entry.trunk.register.enabled && *query.to.expose() == contact_user(entry)
}

/// A number is called through its own trunk if it has one, else through any of its tenant's or of the platform's.
fn may_call(entry: &TrunkEntry, number: &Number) -> bool {
    entry.tenant.is_none_or(|tenant| tenant == number.tenant) && number.trunk.is_none_or(|trunk| trunk == entry.id)
}

fn on_trunk(mut route: Route, entry: &TrunkEntry, call: &Call<'_>) -> Route {
    route.trunk = Some(entry.id);
    route.from.clone_from(&call.from.number);
    route.withheld = call.withheld;
    route.signed.clone_from(&call.signed);
    route.media = entry.trunk.media.terms();
    route.bounds = Bounds {
        trunk_calls: Some(entry.trunk.limits.max_channels),
        trunk_cps: Some(entry.trunk.limits.max_cps),
        ..route.bounds
    };
    route.variables.extend(call.variables.clone());
    route
}

/// The user part of a SIP or tel URI, or the text itself.
fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let user = rest.rsplit_once('@').map_or(rest, |(user, _)| user);
    user.split([';', ':']).next().unwrap_or_default()
}

/// The user part of a header that names somebody: `"Name" <sip:+1…@host>` or a bare URI.
fn addressed(value: &str) -> &str {
    let uri = value.rsplit_once('<').map_or(value, |(_, rest)| rest.split('>').next().unwrap_or_default());
    user(uri.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_in_every_form_of_a_uri() {
        for (uri, expected) in [
            ("sip:+12125550123@10.0.0.1:5060;user=phone", "+12125550123"),
            ("sip:+12125550123;phone-context=x@10.0.0.1", "+12125550123"),
            ("tel:+12125550123", "+12125550123"),
            ("sip:bob:secret@host", "bob"),
            ("+12125550123", "+12125550123"),
        ] {
            assert_eq!(user(uri), expected, "{uri}");
        }
        assert_eq!(addressed("\"A <b>\" <sip:+12125550123@carrier.example>;x=y"), "+12125550123");
        assert_eq!(addressed("tel:+12125550123"), "+12125550123");
    }
}
