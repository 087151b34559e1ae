//! The guard: no request of ours goes where only we can reach (server-side request forgery).
//!
//! A URL is judged when it is stored and again at every send. A name is resolved once per connection, every address it has must be
//! public, and the connection goes to the addresses that were judged: a name that changes its mind in between changes nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use crate::BoxFuture;

/// Characters of a URL at most.
const LONGEST: usize = 2048;

/// Finds the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Where requests of tenants may go.
#[derive(Clone)]
pub struct Guard {
    loopback: bool,
    lookup: Lookup,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("loopback", &self.loopback).finish_non_exhaustive()
    }
}

/// Why a URL is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefused {
    /// No absolute URL with a host, or too long.
    #[error("not a URL of at most 2048 characters")]
    Form,
    /// Neither https nor loopback.
    #[error("only https is allowed")]
    Scheme,
    /// A name and password in the URL would stand in logs.
    #[error("a URL must not hold a user name or password")]
    Credentials,
    /// A port of some other service.
    #[error("only port 443 and ports from 1024 on are allowed")]
    Port,
    /// An address that is not public.
    #[error("the address is private, local or reserved")]
    Address,
}

impl Guard {
    /// A guard that asks the system for addresses; `loopback`: the operator lets requests go to this machine, also by http.
    pub fn new(loopback: bool) -> Self {
        let lookup: Lookup = Arc::new(|name| {
            Box::pin(async move {
                Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.map(|address| address.ip()).collect())
            })
        });
        Self { loopback, lookup }
    }

    /// The same with another source of addresses.
    #[must_use]
    pub fn with_lookup(self, lookup: Lookup) -> Self {
        Self { lookup, ..self }
    }

    /// Judges what the URL itself says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&self, text: &str) -> Result<Url, UrlRefused> {
        if text.len() > LONGEST {
            return Err(UrlRefused::Form);
        }
        let url = Url::parse(text).map_err(|_| UrlRefused::Form)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefused::Credentials);
        }
        match url.scheme() {
            "https" => {}
            "http" if self.loopback => {}
            _ => return Err(UrlRefused::Scheme),
        }
        if !url.port_or_known_default().is_some_and(|port| port == 443 || port >= 1024) {
            return Err(UrlRefused::Port);
        }
        let host = url.host_str().ok_or(UrlRefused::Form)?;
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            self.judge(address, url.scheme() == "http")?;
        }
        Ok(url)
    }

    /// Judges the URL and every address its name has now. A name without an address passes: it is judged again when it has one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check(&self, text: &str) -> Result<Url, UrlRefused> {
        let url = self.read(text)?;
        let name = url.domain().unwrap_or_default().to_owned();
        if !name.is_empty()
            && let Ok(addresses) = (self.lookup)(name).await
        {
            for address in addresses {
                self.judge(address, url.scheme() == "http")?;
            }
        }
        Ok(url)
    }

    fn judge(&self, address: IpAddr, plain: bool) -> Result<(), UrlRefused> {
        let address = address.to_canonical();
        let allowed = if address.is_loopback() { self.loopback } else { !plain && is_public(address) };
        if allowed { Ok(()) } else { Err(UrlRefused::Address) }
    }

    /// The resolver of a client: only judged addresses come out of it.
    pub(super) fn resolver(&self, plain: bool) -> impl Resolve + use<> {
        Judged { guard: self.clone(), plain }
    }
}

struct Judged {
    guard: Guard,
    plain: bool,
}

impl Resolve for Judged {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, plain) = (self.guard.clone(), self.plain);
        Box::pin(async move {
            let addresses = (guard.lookup)(name.as_str().to_owned()).await?;
            // One bad address condemns the name: who mixes them means us to take it.
            for address in &addresses {
                guard.judge(*address, plain)?;
            }
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => embedded(v6).map_or_else(|| is_public_v6(v6), is_public_v4),
    }
}

/// RFC 6890 and its successors: what is not globally reachable.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = a == 0 // this network
        || a >= 224 // multicast, reserved, broadcast
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT, a cloud's metadata
        || (a == 192 && b == 0 && c == 0) // protocol assignments, a cloud's metadata
        || (a == 192 && b == 88 && c == 99) // 6to4 relays
        || (a == 198 && (b == 18 || b == 19)); // benchmarks
    !(reserved
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local() // 169.254.169.254: metadata
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only 2000::/3 is global unicast; in it, 2001::/23 are protocols, 2001:db8::/32 and 3fff::/20 are for documents.
    (first & 0xe000) == 0x2000
        && !(first == 0x2001 && second < 0x0200)
        && !(first == 0x2001 && second == 0x0db8)
        && !(first == 0x3fff && second < 0x1000)
}

/// The IPv4 address inside of one of the forms that lead to it: mapped, compatible, NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let low = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, a, b] | [0x64, 0xff9b, 0, 0, 0, 0, a, b] | [0x2002, a, b, ..] => Some(low(a, b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_local_and_reserved_addresses_are_refused_in_every_spelling() {
        let guard = Guard::new(false);
        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::1]",
            "[::]",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::7f00:1]",
            "[fe80::1]",
            "[fc00::1]",
            "[fd00:ec2::254]",
            "[ff02::1]",
            "[64:ff9b::a00:1]",
            "[2002:7f00:1::]",
            "[2001:db8::1]",
            "[2001::1]",
        ] {
            assert_eq!(guard.read(&format!("https://{host}/x")), Err(UrlRefused::Address), "{host}");
        }
        for host in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "[2606:4700::1111]", "[::ffff:8.8.8.8]", "hooks.example.com"]
        {
            assert!(guard.read(&format!("https://{host}/x")).is_ok(), "{host}");
        }
    }

    #[test]
    fn scheme_port_and_credentials_are_judged() {
        let guard = Guard::new(false);
        for (url, why) in [
            ("http://example.com/", UrlRefused::Scheme),
            ("ftp://example.com/", UrlRefused::Scheme),
            ("file:///etc/passwd", UrlRefused::Scheme),
            ("gopher://example.com:70/", UrlRefused::Scheme),
            ("https://example.com:22/", UrlRefused::Port),
            ("https://example.com:80/", UrlRefused::Port),
            ("https://me:secret@example.com/", UrlRefused::Credentials),
            ("/relative", UrlRefused::Form),
            ("https://", UrlRefused::Form),
        ] {
            assert_eq!(guard.read(url), Err(why), "{url}");
        }
        assert_eq!(guard.read(&format!("https://example.com/{}", "x".repeat(2048))), Err(UrlRefused::Form));
        assert!(guard.read("https://example.com:8443/").is_ok());
    }

    #[test]
    fn loopback_is_open_if_the_operator_says_so_and_http_goes_nowhere_else() {
        let guard = Guard::new(true);
        assert!(guard.read("http://127.0.0.1:8000/").is_ok() && guard.read("https://[::1]:8443/").is_ok());
        assert_eq!(guard.read("http://8.8.8.8:8000/"), Err(UrlRefused::Address));
        assert_eq!(guard.read("https://10.0.0.1/"), Err(UrlRefused::Address));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_every_address_it_has() {
        let lookup: Lookup = Arc::new(|name| {
            Box::pin(async move {
                Ok(match name.as_str() {
                    "inside.example" => vec![IpAddr::from([127, 0, 0, 1])],
                    "mixed.example" => vec![IpAddr::from([8, 8, 8, 8]), IpAddr::from([10, 0, 0, 1])],
                    "outside.example" => vec![IpAddr::from([8, 8, 8, 8])],
                    _ => return Err(std::io::Error::other("no such name")),
                })
            })
        });
        let guard = Guard::new(false).with_lookup(lookup);
        assert_eq!(guard.check("https://inside.example/").await, Err(UrlRefused::Address));
        assert_eq!(guard.check("https://mixed.example/").await, Err(UrlRefused::Address));
        assert!(guard.check("https://outside.example/").await.is_ok());
        assert!(guard.check("https://nowhere.example/").await.is_ok());
    }
}
