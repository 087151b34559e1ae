//! Where a tenant may call: the one judge, asked for a dialled call, a transfer by API or by tool, and a REFER alike (API.md §5.7).
//!
//! Country, barred ranges, do-not-call and price are [`outgoing`]'s, which admission asks again in its own transaction; here the host
//! of a SIP URI is resolved and judged before that.

use std::net::{IpAddr, SocketAddr};

use domain::{TenantId, phone::E164};

use super::{Network, is_address, network};
use crate::{
    Forbidden, Item, Store,
    money::destination::{Tenant, outgoing},
    now_ms,
};

/// A destination that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A telephone number, for a trunk.
    Number(E164),
    /// A SIP URI, and the only addresses that may be contacted for it: another look-up could say something else.
    Uri {
        /// As asked.
        uri: String,
        /// At least one.
        addresses: Vec<SocketAddr>,
    },
}

/// Whether a call may contact an address: one of the public internet, or of the networks that the operator named.
pub fn permits(private: &[Network], address: IpAddr) -> bool {
    network::is_public(address) || private.iter().any(|allowed| allowed.contains(address))
}

impl Store {
    /// Judges a destination for a tenant. `private` are the networks that the operator lets calls reach though they are not public.
    ///
    /// # Errors
    /// The store does not answer; then nothing is called.
    pub async fn may_dial(
        &self,
        tenant: TenantId,
        address: &str,
        private: &[Network],
    ) -> Result<Result<Destination, Forbidden>, sqlx::Error> {
        if !is_address(address) {
            return Ok(Err(Forbidden::Malformed));
        }
        let number = address.parse::<E164>().ok();
        // Names are resolved before a connection to the store is taken.
        let destination = match number {
            Some(number) => Destination::Number(number),
            None => match uri(address, private).await {
                Ok(destination) => destination,
                Err(forbidden) => return Ok(Err(forbidden)),
            },
        };
        let mut db = self.pool().acquire().await?;
        let limits = Tenant::read(&mut db, tenant).await?;
        let item = Item::VoiceOut.as_str();
        Ok(outgoing(&mut db, tenant, &limits, item, address, now_ms()).await?.map(|_| destination))
    }
}

/// Resolves the host of a URI and judges every address it has: one that is private spoils them all, for who is called is the
/// resolver's choice.
async fn uri(uri: &str, private: &[Network]) -> Result<Destination, Forbidden> {
    let (host, port) = host(uri).ok_or(Forbidden::Malformed)?;
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![(address, port).into()],
        Err(_) => tokio::net::lookup_host((host.as_str(), port)).await.map_err(|_| Forbidden::Unresolved)?.collect(),
    };
    if addresses.is_empty() {
        return Err(Forbidden::Unresolved);
    }
    if addresses.iter().all(|address| permits(private, address.ip())) {
        Ok(Destination::Uri { uri: uri.to_owned(), addresses })
    } else {
        Err(Forbidden::Network)
    }
}

/// Host and port of a SIP URI (RFC 3261 §19.1). The host is what follows the last `@`, so that no second reading is possible.
fn host(uri: &str) -> Option<(String, u16)> {
    let (scheme, rest) = uri.split_once(':')?;
    let default = if scheme.eq_ignore_ascii_case("sips") { 5061 } else { 5060 };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let rest = rest.split([';', '?']).next()?;
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some(""))?)
        }
        None => rest.split_once(':').unwrap_or((rest, "")),
    };
    let port = if port.is_empty() { default } else { port.parse().ok()? };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_uri_has_one_reading() {
        for (text, expected) in [
            ("sip:desk@example.com", Some(("example.com", 5060))),
            ("sips:example.com", Some(("example.com", 5061))),
            ("sip:a@b@169.254.169.254:80;transport=tcp", Some(("169.254.169.254", 80))),
            ("sip:x@[::1]:5070", Some(("::1", 5070))),
            ("sip:x@[::1]", Some(("::1", 5060))),
            ("sip:x@[::1", None),
            ("sip:x@[nonsense]", None),
            ("sip:x@host:99999", None),
            ("sip:x@", None),
        ] {
            assert_eq!(host(text), expected.map(|(host, port)| (host.to_owned(), port)), "{text}");
        }
    }

    #[tokio::test]
    async fn private_hosts_are_refused_in_every_spelling_unless_the_operator_names_them() {
        for text in [
            "sip:x@127.0.0.1",
            "sip:x@169.254.169.254",
            "sip:x@[::ffff:169.254.169.254]",
            "sip:x@10.0.0.1:5060;transport=tcp",
            "sip:x@localhost",
            "sip:x@[fd00::1]",
            "sip:x@0.0.0.0",
            "sip:127.1",
        ] {
            assert!(matches!(uri(text, &[]).await, Err(Forbidden::Network | Forbidden::Unresolved)), "{text}");
        }
        assert_eq!(uri("sip:x@no-such-host.invalid", &[]).await, Err(Forbidden::Unresolved));
        let home = ["127.0.0.0/8".parse().unwrap()];
        let allowed = uri("sip:x@127.0.0.1:5090", &home).await.unwrap();
        assert_eq!(
            allowed,
            Destination::Uri { uri: "sip:x@127.0.0.1:5090".into(), addresses: vec![([127, 0, 0, 1], 5090).into()] }
        );
        assert!(uri("sip:x@8.8.8.8", &[]).await.is_ok());
    }
}
