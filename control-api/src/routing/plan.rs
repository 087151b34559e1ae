//! How an outbound call leaves: judged by [`super::policy`], under a number of the tenant's own, over the gateways of one trunk in
//! the order in which they are tried.

use std::{net::SocketAddr, time::Duration};

use domain::{CallId, NumberId, Pii, TenantId, TrunkId, phone::E164};
use serde_json::{Map, Value};

use super::{
    directory::StoreDirectory,
    lines::Login,
    policy::Destination,
    snapshot::{Number, Snapshot, TrunkEntry},
    trunk::{CallerIdFrom, GatewayTransport, MediaTerms, Prack, Trunk, bare},
};
use crate::{DialRequest, Forbidden, directory::Bounds};

/// A call that somebody wants to place.
#[derive(Clone, Debug)]
pub struct PlanQuery {
    /// The id the call will have; lots are drawn by it.
    pub call: CallId,
    /// On whose behalf.
    pub tenant: TenantId,
    /// `sip:` or `sips:` URI, or a number in international form.
    pub to: Pii<String>,
    /// A number of the tenant's, or the id of one; for a SIP URI also a SIP URI; `anonymous` for a caller who is not named.
    pub from: Option<Pii<String>>,
    /// The trunk to take; the number's, else the tenant's first, else the platform's when absent.
    pub trunk: Option<TrunkId>,
    /// For `{{name}}` in the headers that a trunk adds.
    pub variables: Map<String, Value>,
}

impl PlanQuery {
    /// The question behind a request.
    pub fn of(request: &DialRequest) -> Self {
        Self {
            call: request.call,
            tenant: request.tenant,
            to: request.to.clone(),
            from: request.from.clone(),
            trunk: request.trunk,
            variables: request.variables.clone(),
        }
    }
}

/// How it leaves.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where to send it, best first; at least one.
    pub hops: Vec<Hop>,
    /// What the callee sees: a number in international form or a SIP URI; none: the node's own address.
    pub from: Option<Pii<String>>,
    /// The tenant's number that is shown.
    pub number: Option<NumberId>,
    /// The trunk; none for a SIP URI that is called directly.
    pub trunk: Option<TrunkId>,
    /// Refusals after which the next hop is tried.
    pub next_on: Vec<u16>,
    /// Silence after which the next hop is tried.
    pub next_after: Duration,
    /// How long other calls leave a hop alone that failed.
    pub ban: Duration,
    /// How many calls there may be beside it.
    pub bounds: Bounds,
    /// What the trunk says of the media.
    pub media: MediaTerms,
    /// How the trunk likes its calls; none for a SIP URI that is called directly.
    pub manners: Option<Manners>,
}

impl Plan {
    /// The same call for a caller who is passed on: nothing is known of his right to his number, and one who is not named stays so.
    pub fn pass_on(&mut self, caller: &str) {
        if let Some(manners) = &mut self.manners {
            let signed = manners.sign.take().zip(caller.parse::<E164>().ok());
            manners.sign = signed.map(|(sign, orig)| Signature { orig, vouched: Vouched::Nothing, ..sign });
        }
        if caller == ANONYMOUS {
            for hop in &mut self.hops {
                hop.from = Some(NOBODY.to_owned().into());
                hop.headers.retain(|(name, _)| !["Privacy", "P-Asserted-Identity"].contains(&name.as_str()));
                hop.headers.extend(private_headers());
            }
        }
    }
}

/// How a trunk likes its calls.
#[derive(Clone, Debug)]
pub struct Manners {
    /// What its challenges are answered with.
    pub login: Option<Login>,
    /// How often a session must prove that it lives.
    pub session_timer: Duration,
    /// Reliable provisional answers.
    pub prack: Prack,
    /// How many hops a call may take.
    pub max_forwards: u8,
    /// What is to be signed, on trunks that want it; only a call that shows a number is.
    pub sign: Option<Signature>,
}

/// What is said of a call that is signed (RFC 8588).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The number shown.
    pub orig: E164,
    /// The number called.
    pub dest: E164,
    /// What we know of it.
    pub vouched: Vouched,
}

/// What is known of the right to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vouched {
    /// It is the tenant's: it was bought or ported through us.
    Number,
    /// The tenant is known; that the number is its own is its word.
    Customer,
    /// The number is somebody else's: a caller who is passed on.
    Nothing,
}

/// One gateway, or the host of a SIP URI.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Host name or address, to be resolved and judged by [`super::permits`]; not needed when there are `addresses`.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the port was named: else the host's own records say where its servers are (RFC 3263).
    pub named_port: bool,
    /// The row of the gateway; empty for a SIP URI that is called directly.
    pub gateway: String,
    /// What carries SIP.
    pub transport: Transport,
    /// Addresses that have been resolved and judged already.
    pub addresses: Vec<SocketAddr>,
    /// Request-URI and To.
    pub to: Pii<String>,
    /// From, a whole name-addr or URI; none: the node's own.
    pub from: Option<Pii<String>>,
    /// Further headers.
    pub headers: Vec<(String, Pii<String>)>,
}

/// What carries SIP.
pub use super::trunk::GatewayTransport as Transport;

/// Why a call is not placed.
#[derive(Debug, thiserror::Error)]
pub enum NoPlan {
    /// The destination.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The caller's number is not the tenant's.
    #[error("the caller id is not a number of this tenant")]
    CallerIdNotOwned,
    /// Nothing leads there.
    #[error("no enabled trunk takes outbound calls")]
    NoTrunk,
    /// The store does not answer.
    #[error("store: {0}")]
    Store(#[from] sqlx::Error),
}

impl StoreDirectory {
    /// Plans a call. This is the only way to a trunk, so what it refuses leaves on none.
    ///
    /// # Errors
    /// Why the call may not or cannot be placed.
    pub async fn plan(&self, query: &PlanQuery) -> Result<Plan, NoPlan> {
        let destination = self.store().may_dial(query.tenant, query.to.expose(), self.private()).await??;
        let now = self.fresh().await;
        let shown = caller_id(&now, query)?;
        match destination {
            Destination::Uri { uri, addresses } => Ok(direct(query, uri, addresses, shown)),
            Destination::Number(number) => over_trunk(&now, query, &number, shown),
        }
    }
}

/// What stands in `from` for a caller who wishes not to be named.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// From of such a caller (RFC 3323 §4.1.1.3).
const NOBODY: &str = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";

fn is_private(query: &PlanQuery) -> bool {
    query.from.as_ref().is_some_and(|from| from.expose() == ANONYMOUS)
}

/// The headers of a call whose caller is not named: the networks on the way are asked to keep it so (RFC 3323, RFC 3325 §9.3).
fn private_headers() -> Vec<(String, Pii<String>)> {
    vec![("Privacy".into(), "id".to_owned().into())]
}

/// The number to be shown, proved to be the tenant's.
fn caller_id<'a>(now: &'a Snapshot, query: &PlanQuery) -> Result<Option<(&'a E164, &'a Number)>, NoPlan> {
    let Some(from) = query.from.as_ref().map(|from| from.expose().as_str()) else { return Ok(None) };
    let found = match (from.parse::<E164>(), from.parse::<NumberId>()) {
        (Ok(e164), _) => now.numbers.get_key_value(&e164),
        (_, Ok(id)) => now.numbers.iter().find(|(_, number)| number.id == id),
        // Without a name the call still is somebody's: it goes by the number that it would show.
        _ if from == ANONYMOUS => return Ok(None),
        // A SIP URI shows itself, and only where the call goes to one.
        _ if query.to.expose().starts_with("sip") => return Ok(None),
        _ => None,
    };
    found.filter(|(_, number)| number.tenant == query.tenant).map(Some).ok_or(NoPlan::CallerIdNotOwned)
}

fn direct(query: &PlanQuery, uri: String, addresses: Vec<SocketAddr>, shown: Option<(&E164, &Number)>) -> Plan {
    let transport = if uri.starts_with("sips:") || uri.contains(";transport=tls") {
        Transport::Tls
    } else if uri.contains(";transport=tcp") {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    let from = match shown {
        Some((e164, _)) => Some(e164.as_str().to_owned().into()),
        None if is_private(query) => Some("sip:anonymous@anonymous.invalid".to_owned().into()),
        None => query.from.clone(),
    };
    let port = addresses.first().map_or(5060, SocketAddr::port);
    let private = is_private(query);
    let hop = Hop {
        host: String::new(),
        port,
        named_port: true,
        gateway: String::new(),
        transport,
        addresses,
        to: uri.into(),
        from: private.then(|| NOBODY.to_owned().into()),
        headers: if private { private_headers() } else { Vec::new() },
    };
    Plan {
        hops: vec![hop],
        from,
        number: shown.map(|(_, number)| number.id),
        trunk: None,
        next_on: Vec::new(),
        next_after: Duration::from_secs(32),
        ban: Duration::ZERO,
        bounds: Bounds::default(),
        media: MediaTerms::default(),
        manners: None,
    }
}

fn over_trunk(now: &Snapshot, query: &PlanQuery, to: &E164, shown: Option<(&E164, &Number)>) -> Result<Plan, NoPlan> {
    let shown = shown.or_else(|| {
        // Without a wish the oldest number that the trunk may carry is shown.
        let fits = |number: &Number| query.trunk.is_none_or(|trunk| number.trunk.is_none_or(|own| own == trunk));
        now.numbers_of(query.tenant).into_iter().find(|(_, number)| fits(number))
    });
    let entry = trunk(now, query, shown.map(|(_, number)| number)).ok_or(NoPlan::NoTrunk)?;
    let trunk = &entry.trunk;
    let hops = trunk.order(query.call).into_iter().map(|at| hop(now, query, entry, at, to, shown)).collect();
    Ok(Plan {
        hops,
        from: shown.map(|(e164, _)| e164.as_str().to_owned().into()),
        number: shown.map(|(_, number)| number.id),
        trunk: Some(entry.id),
        next_on: trunk.failover.on.clone(),
        next_after: Duration::from_millis(trunk.failover.next_after_ms),
        ban: Duration::from_millis(trunk.failover.ban_ms),
        bounds: Bounds {
            trunk_calls: Some(trunk.limits.max_channels),
            trunk_cps: Some(trunk.limits.max_cps),
            number_calls: None,
        },
        media: trunk.media.terms(),
        manners: Some(Manners {
            login: Login::of(entry),
            session_timer: Duration::from_secs(trunk.sip.session_timer_s.into()),
            prack: trunk.sip.prack,
            max_forwards: u8::try_from(trunk.sip.max_forwards).unwrap_or(u8::MAX),
            sign: shown.filter(|_| trunk.identity.stir.sign && (!is_private(query) || asserts(trunk))).map(
                |(e164, number)| Signature {
                    orig: e164.clone(),
                    dest: to.clone(),
                    vouched: if number.bought { Vouched::Number } else { Vouched::Customer },
                },
            ),
        }),
    })
}

/// The trunk that was asked for; else the number's; else the tenant's oldest; else the platform's oldest.
fn trunk<'a>(now: &'a Snapshot, query: &PlanQuery, number: Option<&Number>) -> Option<&'a TrunkEntry> {
    let usable = |entry: &&TrunkEntry| entry.tenant.is_none_or(|tenant| tenant == query.tenant) && entry.trunk.gives();
    if let Some(id) = query.trunk {
        return now.trunks.get(&id).filter(usable);
    }
    if let Some(own) = number.and_then(|number| now.trunks.get(&number.trunk?)).filter(usable) {
        return Some(own);
    }
    now.trunks.values().filter(usable).min_by_key(|entry| (entry.tenant.is_none(), entry.created_at, entry.id))
}

/// Whether a trunk is told the caller's number beside From, whatever From shows. Who does not honour Privacy is not told what it hides.
fn asserts(trunk: &Trunk) -> bool {
    trunk.identity.caller_id != CallerIdFrom::Number && trunk.identity.privacy_honour
}

fn hop(
    now: &Snapshot,
    query: &PlanQuery,
    entry: &TrunkEntry,
    at: usize,
    to: &E164,
    shown: Option<(&E164, &Number)>,
) -> Hop {
    let trunk = &entry.trunk;
    let gateway = &trunk.gateways[at];
    let format = &trunk.identity.e164;
    let host = gateway.host.as_str();
    // An IPv6 address stands in brackets in a URI.
    let in_uri = if bare(host).contains(':') { format!("[{}]", bare(host)) } else { host.to_owned() };
    let port = gateway.port.map_or(String::new(), |port| format!(":{port}"));
    let transport = match gateway.transport {
        GatewayTransport::Udp => "",
        GatewayTransport::Tcp => ";transport=tcp",
        GatewayTransport::Tls => ";transport=tls",
    };
    let domain = trunk.identity.from_domain.clone().unwrap_or_else(|| in_uri.clone());
    let user = match shown {
        Some((e164, _)) => {
            let written = format.write(e164);
            written.strip_prefix(format.tech_prefix.as_str()).unwrap_or(&written).to_owned()
        }
        None => trunk
            .register
            .contact_user
            .clone()
            .or_else(|| sip_user(trunk.auth.outbound.username.as_deref()))
            .unwrap_or_else(|| ANONYMOUS.into()),
    };
    let name = shown.and_then(|(_, number)| number.routing.outbound.display_name.as_deref());
    let name = name.map_or(String::new(), |name| format!("\"{}\" ", name.replace(['\\', '"'], "")));
    let private = is_private(query);
    let from = if private { NOBODY.to_owned() } else { format!("{name}<sip:{user}@{domain}>") };
    let mut headers = if private { private_headers() } else { Vec::new() };
    let told = if private { asserts(trunk) } else { trunk.identity.caller_id != CallerIdFrom::Number };
    if told && shown.is_some() {
        headers.push(("P-Asserted-Identity".into(), format!("<sip:{user}@{domain}>").into()));
    }
    for (header, text) in &trunk.sip.headers_out {
        headers.push((header.clone(), fill(text, now, query).into()));
    }
    Hop {
        host: bare(host).to_owned(),
        port: gateway.port(),
        named_port: gateway.port.is_some(),
        gateway: entry.gateways[at].clone(),
        transport: gateway.transport,
        addresses: Vec::new(),
        to: format!("sip:{}@{in_uri}{port}{transport}", escape(&format.write(to))).into(),
        from: Some(from.into()),
        headers,
    }
}

/// A digest username as the user of a URI, where it can be one.
fn sip_user(name: Option<&str>) -> Option<String> {
    let name = name?;
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.+".contains(&b)).then(|| name.to_owned())
}

/// `#` is no character of a URI's user part (RFC 3261 §25.1); the others that a prefix may have are.
fn escape(user: &str) -> String {
    user.replace('#', "%23")
}

/// A text with the variables of the call, `{{tenant_name}}`, `{{tenant_id}}` and `{{call_id}}`; what is unknown is empty. Control
/// characters never get into a header.
fn fill(text: &str, now: &Snapshot, query: &PlanQuery) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((name, behind)) = after.split_once("}}") else {
            rest = after;
            break;
        };
        match name.trim() {
            "tenant_name" => filled.push_str(now.tenants.get(&query.tenant).map_or("", String::as_str)),
            "tenant_id" => filled.push_str(&query.tenant.to_string()),
            "call_id" => filled.push_str(&query.call.to_string()),
            name => match query.variables.get(name) {
                Some(Value::String(text)) => filled.push_str(text),
                Some(Value::Null) | None => {}
                Some(other) => filled.push_str(&other.to_string()),
            },
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled.chars().filter(|letter| !letter.is_control()).take(500).collect()
}
