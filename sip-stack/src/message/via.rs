//! The Via header (RFC 3261 §20.42) and what a receiver adds to it (§18.2.1, RFC 3581).

use std::net::{IpAddr, SocketAddr};

use super::address::Params;
use super::lex::{is_space, is_token, trim};

/// A view of one Via element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// `UDP`, `TCP`, …
    pub transport: &'a [u8],
    /// The sent-by host as written.
    pub host: &'a [u8],
    /// The sent-by port when written.
    pub port: Option<u16>,
    /// branch, rport, received, …
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Reads `SIP / 2.0 / UDP host:port ;params` with any spacing.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut slashes = value.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let (first, second) = (slashes.next()?, slashes.next()?);
        // A request of another version is answered 505, and for that its Via must be read (RFC 4475 §3.1.2.16).
        let version = trim(&value[first + 1..second]);
        let sound = !version.is_empty() && version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        if !trim(&value[..first]).eq_ignore_ascii_case(b"SIP") || !sound {
            return None;
        }
        let rest = trim(&value[second + 1..]);
        let space = rest.iter().position(|byte| is_space(*byte))?;
        let transport = &rest[..space];
        if !transport.iter().all(|byte| is_token(*byte)) {
            return None;
        }
        let rest = trim(&rest[space..]);
        let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
        let (sent_by, params) = (trim(&rest[..end]), Params(&rest[end..]));
        let host_end = match sent_by.first() {
            Some(b'[') => sent_by.iter().position(|byte| *byte == b']')? + 1,
            Some(_) => sent_by.iter().position(|byte| *byte == b':').unwrap_or(sent_by.len()),
            None => return None,
        };
        let host = trim(&sent_by[..host_end]);
        // What stands in brackets may name a zone; whether it is an address is asked when one is needed.
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
        let sound = match host {
            [b'[', inside @ .., b']'] => inside.iter().all(|byte| plain(byte) || b":%".contains(byte)),
            host => !host.is_empty() && host.iter().all(plain),
        };
        if !sound {
            return None;
        }
        let port = match trim(&sent_by[host_end..]) {
            [] => None,
            [b':', port @ ..] => Some(std::str::from_utf8(trim(port)).ok()?.parse().ok()?),
            _ => return None,
        };
        Some(Via { transport, host, port, params })
    }

    /// The sent-by host when it is a literal address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        let host = std::str::from_utf8(self.host).ok()?;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The branch.
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.get("branch").filter(|branch| !branch.is_empty())
    }

    /// Where an answer over UDP goes (RFC 3261 §18.2.2, RFC 3581 §4): always the source's address, its port if asked.
    pub fn answer_to(&self, source: SocketAddr) -> SocketAddr {
        match self.params.get("rport") {
            Some(_) => source,
            None => SocketAddr::new(source.ip(), self.port.filter(|port| *port != 0).unwrap_or(5060)),
        }
    }

    /// The element as an answer carries it: `received` and `rport` say what the socket saw, whatever the sender wrote.
    pub fn answered(value: &[u8], source: SocketAddr) -> Vec<u8> {
        let Some(via) = Via::parse(value) else {
            return value.to_vec();
        };
        let head = value.len() - via.params.0.len();
        let mut text = trim(&value[..head]).to_vec();
        let mut asked = false;
        for (name, content) in via.params.iter() {
            if name.eq_ignore_ascii_case(b"received") {
                continue;
            }
            text.push(b';');
            text.extend_from_slice(name);
            if name.eq_ignore_ascii_case(b"rport") {
                asked = true;
                text.extend_from_slice(format!("={}", source.port()).as_bytes());
            } else if let Some(content) = content {
                text.push(b'=');
                text.extend_from_slice(content);
            }
        }
        if asked || via.host_ip() != Some(source.ip()) {
            text.extend_from_slice(format!(";received={}", source.ip()).as_bytes());
        }
        text
    }
}
