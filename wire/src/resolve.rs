//! Where a SIP URI leads: NAPTR, SRV, then addresses, in the order to be tried (RFC 3263, RFC 2782).

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use sip_stack::message::Scheme;
use sip_stack::{Transport, Uri};

/// More ways than anybody waits for.
const TARGETS: usize = 16;

/// One way to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub transport: Transport,
    /// Where.
    pub remote: SocketAddr,
    /// The domain that a TLS certificate must be for (RFC 5922 §4).
    pub domain: String,
}

/// Why a URI leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// It names no host, or a transport that is not ours.
    #[error("{0}: no SIP address that could be reached")]
    Uri(String),
    /// DNS has no address for it, or no server answered.
    #[error("{domain}: {reason}")]
    NotFound {
        /// What was looked up.
        domain: String,
        /// What DNS said.
        reason: String,
    },
    /// The system's resolver configuration cannot be used.
    #[error("dns: {0}")]
    System(String),
}

/// Looks names up; keeps what it learned for as long as the records say. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(TokioResolver);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// With the system's name servers and hosts file.
    ///
    /// # Errors
    /// [`ResolveError::System`].
    pub fn system() -> Result<Self, ResolveError> {
        let wrong = |error: hickory_resolver::net::NetError| ResolveError::System(error.to_string());
        Ok(Self(TokioResolver::builder_tokio().map_err(wrong)?.build().map_err(wrong)?))
    }

    /// With one name server, by UDP.
    ///
    /// # Errors
    /// [`ResolveError::System`].
    pub fn with_server(server: SocketAddr) -> Result<Self, ResolveError> {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let server = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let built = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build();
        built.map(Self).map_err(|error| ResolveError::System(error.to_string()))
    }

    /// The ways to a URI, best first: each is tried when the one before failed.
    ///
    /// # Errors
    /// When there is none.
    pub async fn resolve(&self, uri: &Uri) -> Result<Vec<Target>, ResolveError> {
        let wrong = || ResolveError::Uri(uri.to_string());
        let secure = uri.scheme() == Scheme::Sips;
        let asked = match uri.param("transport") {
            Some(name) => Some(Transport::of(name).ok_or_else(wrong)?),
            None => None,
        };
        // `maddr` overrides the host for reaching it, not for who it is (RFC 3261 §19.1.1).
        let host = uri.param("maddr").unwrap_or(uri.host());
        let domain = uri.host().to_owned();
        if host.is_empty() {
            return Err(wrong());
        }
        let plain = if secure { Transport::Tls } else { Transport::Udp };
        let transport = match asked {
            Some(Transport::Tcp) if secure => Transport::Tls,
            Some(asked) => asked,
            None => plain,
        };
        let target = |transport, remote| Target { transport, remote, domain: domain.clone() };
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        // RFC 3263 §4.1, §4.2: an address or a port leaves nothing to be looked up but an address.
        if let Ok(ip) = literal {
            let port = uri.port().unwrap_or(transport.default_port());
            return Ok(vec![target(transport, SocketAddr::new(ip, port))]);
        }
        let mut found = Vec::new();
        if let Some(port) = uri.port() {
            found.extend(self.addresses(host).await?.into_iter().map(|ip| target(transport, (ip, port).into())));
            return Ok(found);
        }
        for (transport, service) in self.services(host, asked.map(|_| transport), secure).await {
            for (name, port) in self.servers(&service).await {
                let addresses = self.addresses(&name).await.unwrap_or_default();
                found.extend(addresses.into_iter().map(|ip| target(transport, (ip, port).into())));
                if found.len() >= TARGETS {
                    return Ok(found);
                }
            }
        }
        if found.is_empty() {
            let port = transport.default_port();
            found.extend(self.addresses(host).await?.into_iter().map(|ip| target(transport, (ip, port).into())));
        }
        Ok(found)
    }

    /// The SRV names to ask, by NAPTR where there is one (RFC 3263 §4.1).
    async fn services(&self, host: &str, asked: Option<Transport>, secure: bool) -> Vec<(Transport, String)> {
        let label = |transport| match transport {
            Transport::Udp => "_sip._udp",
            Transport::Tcp => "_sip._tcp",
            Transport::Tls => "_sips._tcp",
            Transport::Ws => "_sip._ws",
            Transport::Wss => "_sips._ws",
        };
        if let Some(transport) = asked {
            return vec![(transport, format!("{}.{host}", label(transport)))];
        }
        let mut rules = Vec::new();
        if let Ok(lookup) = self.0.lookup(absolute(host), RecordType::NAPTR).await {
            for record in lookup.answers() {
                let RData::NAPTR(rule) = &record.data else { continue };
                let transport = match rule.services.to_ascii_uppercase().as_slice() {
                    b"SIP+D2U" => Transport::Udp,
                    b"SIP+D2T" => Transport::Tcp,
                    b"SIPS+D2T" => Transport::Tls,
                    _ => continue,
                };
                if rule.flags.eq_ignore_ascii_case(b"s") && (!secure || transport == Transport::Tls) {
                    let name = rule.replacement.to_string();
                    rules.push((rule.order, rule.preference, transport, name));
                }
            }
        }
        rules.sort_by_key(|(order, preference, ..)| (*order, *preference));
        if !rules.is_empty() {
            return rules.into_iter().map(|(_, _, transport, name)| (transport, name)).collect();
        }
        let ours: &[Transport] = if secure { &[Transport::Tls] } else { &[Transport::Udp, Transport::Tcp] };
        ours.iter().map(|transport| (*transport, format!("{}.{host}", label(*transport)))).collect()
    }

    /// The servers of an SRV name: by priority, and among equals by the luck that the weights give (RFC 2782).
    async fn servers(&self, service: &str) -> Vec<(String, u16)> {
        let Ok(lookup) = self.0.lookup(absolute(service), RecordType::SRV).await else { return Vec::new() };
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            // RFC 2782: a single dot says that the service is decidedly not there.
            RData::SRV(srv) if !srv.target.is_root() => {
                Some((srv.priority, srv.weight, srv.target.to_string(), srv.port))
            }
            _ => None,
        });
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), service);
        ordered(records.collect(), seed).into_iter().map(|(_, _, name, port)| (name, port)).collect()
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let lookup = self.0.lookup_ip(absolute(host)).await;
        let found: Vec<_> = lookup
            .map_err(|error| ResolveError::NotFound { domain: host.to_owned(), reason: error.to_string() })?
            .iter()
            .collect();
        if found.is_empty() {
            return Err(ResolveError::NotFound { domain: host.to_owned(), reason: "no address".to_owned() });
        }
        Ok(found)
    }
}

/// No search list: a carrier's domain is not a host of this network.
fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

type Srv = (u16, u16, String, u16);

fn ordered(mut records: Vec<Srv>, mut seed: u64) -> Vec<Srv> {
    records.sort_by_key(|(priority, weight, ..)| (*priority, *weight));
    let mut order = Vec::with_capacity(records.len());
    while let Some((priority, ..)) = records.first() {
        let same = records.iter().take_while(|(other, ..)| other == priority).count();
        let total: u64 = records[..same].iter().map(|(_, weight, ..)| u64::from(*weight)).sum();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut luck = (seed >> 33) % (total + 1);
        let chosen = records[..same]
            .iter()
            .position(|(_, weight, ..)| {
                let hit = luck <= u64::from(*weight);
                luck = luck.saturating_sub(u64::from(*weight));
                hit
            })
            .unwrap_or(0);
        order.push(records.remove(chosen));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_rules_and_weight_is_luck() {
        let record = |priority, weight, name: &str| (priority, weight, name.to_owned(), 5060);
        let records =
            vec![record(20, 1, "last"), record(10, 90, "often"), record(10, 10, "seldom"), record(10, 0, "never")];
        let mut first = std::collections::HashMap::new();
        for seed in 0..2000 {
            let order = ordered(records.clone(), seed);
            assert_eq!(order.len(), 4);
            assert_eq!(order[3].2, "last");
            *first.entry(order[0].2.clone()).or_insert(0) += 1;
        }
        assert!(first["often"] > 1600 && first["seldom"] > 100, "{first:?}");
        assert!(first.get("never").copied().unwrap_or(0) < 100, "{first:?}");
    }

    #[tokio::test]
    async fn an_address_needs_no_name_server() {
        let resolver = Resolver::with_server("127.0.0.1:9".parse().unwrap()).unwrap();
        for (uri, transport, remote) in [
            ("sip:a@192.0.2.1", Transport::Udp, "192.0.2.1:5060"),
            ("sip:a@192.0.2.1:5070;transport=tcp", Transport::Tcp, "192.0.2.1:5070"),
            ("sips:a@[2001:db8::1]", Transport::Tls, "[2001:db8::1]:5061"),
            ("sip:a@carrier.example;maddr=192.0.2.9", Transport::Udp, "192.0.2.9:5060"),
        ] {
            let found = resolver.resolve(&uri.parse().unwrap()).await.unwrap();
            assert_eq!((found[0].transport, found[0].remote), (transport, remote.parse().unwrap()), "{uri}");
        }
        assert!(resolver.resolve(&"sip:a@b;transport=pigeon".parse().unwrap()).await.is_err());
        assert!(resolver.resolve(&"tel:+1".parse().unwrap()).await.is_err());
    }
}
