//! What of a configuration is text with a meaning: parsed, or refused by key, value and reason.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;

use control_api::Network;
use sip_stack::auth::Algorithm;

use super::{Config, ConfigError, Guard, Sip, Stir};
use crate::call::credit::WhenDown;

/// Addresses and ranges that were text in the file, parsed.
#[derive(Clone, Debug)]
pub struct Checked {
    /// SIP over UDP.
    pub sip_udp: Vec<SocketAddr>,
    /// SIP over TCP.
    pub sip_tcp: Vec<SocketAddr>,
    /// SIP over TLS.
    pub sip_tls: Vec<SocketAddr>,
    /// SIP over WebSockets.
    pub sip_ws: Vec<SocketAddr>,
    /// SIP over WebSockets inside TLS.
    pub sip_wss: Vec<SocketAddr>,
    /// The name server, if one is given.
    pub dns: Option<SocketAddr>,
    /// The Homer server, if there is one.
    pub hep: Option<SocketAddr>,
    /// RTP ports.
    pub rtp_ports: RangeInclusive<u16>,
    /// Address for SDP, if it is given.
    pub rtp_address: Option<IpAddr>,
    /// HTTP.
    pub http: SocketAddr,
    /// Whose calls are taken without a trunk.
    pub trusted: Vec<Network>,
    /// Where calls may go though it is not public.
    pub private: Vec<Network>,
    /// What new calls meet while the store is away.
    pub store_down: WhenDown,
}

impl Config {
    /// Parses the values that are text.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn check(&self) -> Result<Checked, ConfigError> {
        let sip_udp = listeners("sip.udp", &self.sip.udp)?;
        let sip_tcp = listeners("sip.tcp", &self.sip.tcp)?;
        let sip_tls = listeners("sip.tls", &self.sip.tls)?;
        let (sip_ws, sip_wss) = (listeners("sip.ws", &self.sip.ws)?, listeners("sip.wss", &self.sip.wss)?);
        if [&sip_udp, &sip_tcp, &sip_tls, &sip_ws, &sip_wss].iter().all(|addresses| addresses.is_empty()) {
            return Err(value("sip.udp", &self.sip.udp, "no SIP listener at all; set sip.udp or sip.tcp"));
        }
        self.check_sip(!(sip_tls.is_empty() && sip_wss.is_empty()))?;
        let at = |key, text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| value(key, text, "expected address:port, as 192.0.2.9:9060")),
        };
        let (dns, hep) = (at("sip.dns", &self.sip.dns)?, at("sip.hep", &self.sip.hep)?);
        let rtp_address = match self.rtp.address.as_str() {
            "" => None,
            text => Some(text.parse::<IpAddr>().map_err(|error| value("rtp.address", text, error))?),
        };
        let store = &self.store.url;
        if !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| store.starts_with(scheme)) {
            return Err(value("store.url", "…", "must begin with sqlite:// or postgres://"));
        }
        if self.limits.calls == 0 {
            return Err(value("limits.calls", "0", "must be at least 1"));
        }
        if tracing_subscriber::EnvFilter::try_new(&self.log.level).is_err() {
            return Err(value("log.level", &self.log.level, "expected a level or directives as `info,wire=debug`"));
        }
        let http: SocketAddr =
            self.http.listen.parse().map_err(|error| value("http.listen", &self.http.listen, error))?;
        let network = |key: &'static str, text: &str| text.parse::<Network>().map_err(|error| value(key, text, error));
        let mut trusted =
            ["127.0.0.0/8", "::1"].iter().map(|text| network("agents.trusted", text)).collect::<Result<Vec<_>, _>>()?;
        let mut private = Vec::new();
        if http.ip().is_loopback() {
            // Whoever reaches the API is on this machine already; what listens here is theirs to call.
            private.clone_from(&trusted);
        }
        for text in &self.agents.trusted {
            trusted.push(network("agents.trusted", text)?);
        }
        for text in &self.routing.private_networks {
            private.push(network("routing.private_networks", text)?);
        }
        self.recording.archive().map_err(|error| value(error.key, "…", error.reason))?;
        let (rtp_ports, store_down) = (ports(&self.rtp.ports)?, when_down(&self.store.down)?);
        Ok(Checked {
            sip_udp,
            sip_tcp,
            sip_tls,
            sip_ws,
            sip_wss,
            dns,
            hep,
            rtp_ports,
            rtp_address,
            http,
            trusted,
            private,
            store_down,
        })
    }

    fn check_sip(&self, secure: bool) -> Result<(), ConfigError> {
        let Sip { tls_certificate, tls_key, realm, digest_algorithms, trace_messages, .. } = &self.sip;
        let unset = |path: &Path| path.as_os_str().is_empty();
        if secure && unset(tls_certificate) {
            return Err(value("sip.tls_certificate", "", "sip.tls and sip.wss need a certificate, in PEM"));
        }
        if unset(tls_certificate) != unset(tls_key) {
            return Err(value("sip.tls_key", tls_key.display(), "certificate and key go together"));
        }
        let plain = |letter: char| !letter.is_control() && letter != '"' && letter != '\\';
        if realm.is_empty() || !realm.chars().all(plain) {
            return Err(value("sip.realm", realm, "a word without quotes"));
        }
        let known = |name: &String| Algorithm::of(Some(name)).is_some();
        if digest_algorithms.is_empty() || !digest_algorithms.iter().all(known) {
            let given = digest_algorithms.join(", ");
            return Err(value("sip.digest_algorithms", given, "one or more of MD5, SHA-256 and SHA-512-256"));
        }
        if *trace_messages > 10_000 {
            return Err(value("sip.trace_messages", trace_messages, "at most 10000"));
        }
        let Stir { key, certificate_url, freshness_s, .. } = &self.stir;
        if unset(key) != certificate_url.is_empty() {
            return Err(value(
                "stir.certificate_url",
                certificate_url,
                "key and the https URL of its certificate go together",
            ));
        }
        if !(1..=3600).contains(freshness_s) {
            return Err(value("stir.freshness_s", freshness_s, "from 1 to 3600"));
        }
        let Guard { throttle_after, ban_after, .. } = self.guard;
        if throttle_after == 0 || ban_after < throttle_after {
            return Err(value("guard.ban_after", ban_after, "at least guard.throttle_after, which is at least 1"));
        }
        Ok(())
    }
}

fn when_down(text: &str) -> Result<WhenDown, ConfigError> {
    let wrong =
        || value("store.down", text, "expected `refuse_new`, or `admit_unbilled_up_to N` with a number of calls");
    match text.split_whitespace().collect::<Vec<_>>()[..] {
        ["refuse_new"] => Ok(WhenDown::Refuse),
        ["admit_unbilled_up_to", limit] => limit.parse().map(WhenDown::AdmitUnbilled).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

fn listeners(key: &'static str, text: &str) -> Result<Vec<SocketAddr>, ConfigError> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_err(|_| value(key, part, "expected address:port, as 0.0.0.0:5060")))
        .collect()
}

fn ports(text: &str) -> Result<RangeInclusive<u16>, ConfigError> {
    let wrong = |reason: &str| value("rtp.ports", text, reason);
    let (first, last) = text.split_once('-').ok_or_else(|| wrong("expected first-last, as 16384-32767"))?;
    let first = first.trim().parse::<u16>().map_err(|_| wrong("the first port is not a number below 65536"))?;
    let last = last.trim().parse::<u16>().map_err(|_| wrong("the last port is not a number below 65536"))?;
    if first < 1024 || last <= first {
        return Err(wrong("the range needs at least one pair of ports above 1023"));
    }
    Ok(first..=last)
}

fn value(key: &'static str, value: impl ToString, reason: impl ToString) -> ConfigError {
    ConfigError::Value { key, value: value.to_string(), reason: reason.to_string() }
}
