//! Configuration: one file, then the environment, parsed and checked before a port opens.
//!
//! `conf/sidetone.toml` names every key with its default; `SIDETONE__SECTION__KEY` overrides one of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use control_api::{
    Archive, ArchiveError, CarrierSettings, EventsSettings, Network, RoutingSettings, S3Settings, Storage,
};
use serde::Deserialize;
use sip_stack::auth::Algorithm;

use crate::call::credit::WhenDown;

/// Prefix of the environment's overrides.
const PREFIX: &str = "SIDETONE__";

/// Why a configuration cannot be used; the process exits with 78 (`EX_CONFIG`).
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("configuration file {path}: {reason}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What the parser says, with the line.
        reason: String,
    },
    /// A key is unknown or its value has the wrong type.
    #[error("configuration: {0}")]
    Shape(String),
    /// A value has the right type and cannot be used.
    #[error("configuration: {key} = {value:?}: {reason}")]
    Value {
        /// Section and key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// SIP listeners.
    pub sip: Sip,
    /// Signed caller ids.
    pub stir: Stir,
    /// Sources that only knock.
    pub guard: Guard,
    /// RTP ports and threads.
    pub rtp: Rtp,
    /// The HTTP API.
    pub http: Http,
    /// The database.
    pub store: Store,
    /// Events and webhooks.
    pub events: EventsSettings,
    /// Money.
    pub billing: control_api::BillingSettings,
    /// Recordings.
    pub recording: Recording,
    /// Accounts and sign-in.
    pub auth: control_api::AuthSettings,
    /// Who carries mail.
    pub mail: control_api::MailSettings,
    /// The model that analyses calls.
    pub analysis: control_api::AnalysisSettings,
    /// Exports.
    pub files: control_api::FilesSettings,
    /// Built-in speech.
    pub speech: Speech,
    /// Agents and who gets them.
    pub agents: Agents,
    /// Where calls may go and come from.
    pub routing: RoutingSettings,
    /// Accounts with carriers that sell numbers.
    pub carriers: CarrierSettings,
    /// Limits of this node.
    pub limits: Limits,
    /// Logging.
    pub log: Log,
    /// For development and measurement.
    pub dev: Dev,
}

/// `[sip]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Where to listen on UDP; "" = not at all.
    pub udp: String,
    /// Where to listen on TCP; "" = not at all.
    pub tcp: String,
    /// Where to listen on TLS; "" = not at all.
    pub tls: String,
    /// Where to listen for WebSockets; "" = not at all.
    pub ws: String,
    /// Where to listen for WebSockets inside TLS; "" = not at all.
    pub wss: String,
    /// Our certificate chain in PEM.
    pub tls_certificate: PathBuf,
    /// Its key in PEM.
    pub tls_key: PathBuf,
    /// Whose certificates those who connect must show, in PEM; "" = they need none.
    pub tls_client_ca: PathBuf,
    /// Whose certificates are believed when we connect, in PEM; "" = the public authorities.
    pub tls_ca: PathBuf,
    /// What `Server` and `User-Agent` say; "" = the headers are left out.
    pub user_agent: String,
    /// The realm of our challenges.
    pub realm: String,
    /// The sums we ask for in them, first the one we prefer.
    pub digest_algorithms: Vec<String>,
    /// The name server to ask, as "192.0.2.53:53"; "" = the system's.
    pub dns: String,
    /// Messages kept of each dialog for its trace; 0 = none.
    pub trace_messages: usize,
    /// A Homer server that gets a copy of every message, as "192.0.2.9:9060"; "" = none.
    pub hep: String,
    /// Our number there.
    pub hep_node: u32,
}

impl Default for Sip {
    fn default() -> Self {
        let here = || "0.0.0.0:5060".to_owned();
        let nowhere = String::new;
        let no_file = PathBuf::new;
        Self {
            udp: here(),
            tcp: here(),
            tls: nowhere(),
            ws: nowhere(),
            wss: nowhere(),
            tls_certificate: no_file(),
            tls_key: no_file(),
            tls_client_ca: no_file(),
            tls_ca: no_file(),
            user_agent: "Sidetone".into(),
            realm: "sidetone".into(),
            digest_algorithms: vec!["SHA-256".into(), "MD5".into()],
            dns: String::new(),
            trace_messages: 60,
            hep: String::new(),
            hep_node: 1,
        }
    }
}

impl Sip {
    /// The sums that challenges ask for; unknown names are refused when the configuration is checked.
    pub fn digest(&self) -> Vec<Algorithm> {
        self.digest_algorithms.iter().filter_map(|name| Algorithm::of(Some(name))).collect()
    }
}

/// `[stir]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stir {
    /// Whose certificates may sign callers, in PEM; "" = nobody's, and signatures are not looked at.
    pub trust_anchors: PathBuf,
    /// Hosts that certificates are fetched from; none = any public one.
    pub hosts: Vec<String>,
    /// How old a signature may be, in s.
    pub freshness_s: u64,
    /// The key that our calls are signed with, P-256 in PKCS #8 and PEM; "" = none is signed.
    pub key: PathBuf,
    /// Where others find its certificate.
    pub certificate_url: String,
}

impl Default for Stir {
    fn default() -> Self {
        let no_file = PathBuf::new;
        Self {
            trust_anchors: no_file(),
            hosts: Vec::new(),
            freshness_s: 60,
            key: no_file(),
            certificate_url: String::new(),
        }
    }
}

/// `[guard]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// Whether sources that only knock are shut out.
    pub enabled: bool,
    /// Refusals after which a source's further requests are not answered.
    pub throttle_after: u32,
    /// Refusals after which nothing of a source is read.
    pub ban_after: u32,
    /// Time in which one refusal is forgotten, in ms.
    pub forget_ms: u64,
    /// How long a source is shut out, in s.
    pub ban_s: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { enabled: true, throttle_after: 20, ban_after: 60, forget_ms: 3000, ban_s: 600 }
    }
}

/// `[rtp]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rtp {
    /// First and last port, as "16384-32767".
    pub ports: String,
    /// The address that SDP names; "" = the address a call came in on.
    pub address: String,
    /// Media threads; 0 = one for each two cores.
    pub threads: usize,
    /// How long a port rests between two calls, in ms.
    pub draining_ms: u64,
}

impl Default for Rtp {
    fn default() -> Self {
        Self { ports: "16384-32767".into(), address: String::new(), threads: 0, draining_ms: 4000 }
    }
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where the API listens.
    pub listen: String,
    /// Sets the first-run key beforehand; from the environment, never from the file.
    pub bootstrap_key: String,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// Paths and field names of earlier products are answered.
    pub compat: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8080".into(), bootstrap_key: String::new(), cors_origins: Vec::new(), compat: true }
    }
}

/// `[store]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// `sqlite://path` or `postgres://…`.
    pub url: String,
    /// 32 bytes in base64 that seal secrets in the database; from the environment, never from the file.
    pub seal_key: String,
    /// Where that key is kept when it is not given; made at the first run.
    pub seal_file: PathBuf,
    /// What new calls meet while it is away: `refuse_new`, or `admit_unbilled_up_to N`.
    pub down: String,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "sqlite://var/sidetone.db".into(),
            seal_key: String::new(),
            seal_file: "var/seal.key".into(),
            down: "refuse_new".into(),
        }
    }
}

/// `[recording]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recording {
    /// Whether calls are recorded.
    pub enabled: bool,
    /// Where the files go.
    pub dir: PathBuf,
    /// Where they stay.
    pub storage: Storage,
    /// The bucket.
    pub s3: S3Settings,
}

impl Default for Recording {
    fn default() -> Self {
        Self { enabled: true, dir: "var/recordings".into(), storage: Storage::Local, s3: S3Settings::default() }
    }
}

impl Recording {
    /// The folder and the bucket together.
    ///
    /// # Errors
    /// Names the setting that cannot be used.
    pub fn archive(&self) -> Result<Archive, ArchiveError> {
        Archive::open(self.dir.clone(), self.storage, &self.s3)
    }
}

/// `[speech]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Speech {
    /// The worker's binary; "" = `speech-worker` beside this one.
    pub worker: String,
    /// Worker processes.
    pub workers: usize,
    /// The built-in voice.
    pub voice: String,
}

impl Default for Speech {
    fn default() -> Self {
        Self { worker: String::new(), workers: 1, voice: "slt".into() }
    }
}

/// `[agents]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// A folder of `*.toml`, one agent each.
    pub dir: PathBuf,
    /// The agent that `sip:demo@HOST` reaches.
    pub demo: String,
    /// Networks whose calls are taken without a trunk, beside loopback.
    pub trusted: Vec<String>,
}

impl Default for Agents {
    fn default() -> Self {
        Self { dir: "conf/agents".into(), demo: "receptionist".into(), trusted: Vec::new() }
    }
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Calls at once; more are refused with 503.
    pub calls: usize,
    /// Longest call, in seconds.
    pub call_s: u64,
    /// How long running calls may finish after SIGTERM, in seconds.
    pub drain_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls: 500, call_s: 3600, drain_s: 60 }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or directives as `info,wire=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into() }
    }
}

/// `[dev]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dev {
    /// Answers `sip:bench@HOST` and `sip:echo@HOST` from loopback.
    pub bench: bool,
}

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
    /// Reads the file and lays the environment over it.
    ///
    /// # Errors
    /// Names the file, key, value and reason.
    pub fn load(path: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut table = match path {
            None => toml::Table::new(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
                text.parse::<toml::Table>()
                    .map_err(|error| ConfigError::Malformed { path: path.into(), reason: toml_reason(&text, &error) })?
            }
        };
        for (name, value) in environment {
            let Some(key) = name.strip_prefix(PREFIX) else { continue };
            let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
            if path.len() < 2 {
                return Err(ConfigError::Shape(format!("{name}: expected {PREFIX}SECTION__KEY")));
            }
            merge(&mut table, Self::alone(&name, &path, value)?);
        }
        toml::Value::Table(table).try_into::<Self>().map_err(|error| ConfigError::Shape(one_line(&error.to_string())))
    }

    /// One key of the environment as a table that is a configuration by itself, so that what is wrong with it is its own fault.
    /// The key's type decides what its value is: a port alone is text where text is wanted and a number where a number is.
    fn alone(name: &str, path: &[String], value: String) -> Result<toml::Table, ConfigError> {
        let nested = |value: toml::Value| {
            let wrap = |inner, key: &String| toml::Value::Table(toml::Table::from_iter([(key.clone(), inner)]));
            path.iter().rev().fold(value, wrap)
        };
        let literal = literal(&value);
        let mut refused = None;
        for candidate in [Some(toml::Value::String(value)), literal].into_iter().flatten() {
            let table = nested(candidate);
            match table.clone().try_into::<Self>() {
                Ok(_) => return Ok(table.try_into().unwrap_or_default()),
                Err(error) => refused = Some(one_line(&error.to_string())),
            }
        }
        Err(ConfigError::Shape(format!("{name}: {}", refused.unwrap_or_default())))
    }

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

    /// Media threads: as configured, or one for each two cores.
    #[must_use]
    pub fn media_threads(&self) -> usize {
        match self.rtp.threads {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            threads => threads,
        }
    }
}

/// An environment value as TOML would read it, where that is not text.
fn literal(text: &str) -> Option<toml::Value> {
    match format!("v = {text}").parse::<toml::Table>().ok()?.remove("v")? {
        toml::Value::String(_) => None,
        value => Some(value),
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

/// Lays one table over another, sections into sections.
fn merge(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// What is wrong with a TOML text, with its line number, in one line.
#[must_use]
pub fn toml_reason(text: &str, error: &toml::de::Error) -> String {
    let message = one_line(error.message());
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An address of the unspecified kind tells nobody where to send; what to name instead when nothing is known.
#[must_use]
pub fn reachable(address: IpAddr) -> IpAddr {
    if address.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(None, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn defaults_can_be_used() {
        let config = load(&[]).unwrap();
        let checked = config.check().unwrap();
        assert_eq!(checked.rtp_ports, 16384..=32767);
        assert_eq!(checked.http.port(), 8080);
    }

    #[test]
    fn calls_may_go_to_this_machine_only_while_the_api_is_on_it_alone() {
        let private = |environment: &[(&str, &str)]| load(environment).unwrap().check().unwrap().private.len();
        assert_eq!(private(&[]), 2);
        assert_eq!(private(&[("SIDETONE__HTTP__LISTEN", "0.0.0.0:8080")]), 0);
        let named = ("SIDETONE__ROUTING__PRIVATE_NETWORKS", "[\"10.1.0.0/16\"]");
        assert_eq!(private(&[("SIDETONE__HTTP__LISTEN", "0.0.0.0:8080"), named]), 1);
    }

    #[test]
    fn the_shipped_file_holds_every_key_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/sidetone.toml");
        let shipped = Config::load(Some(&path), std::iter::empty()).unwrap();
        assert_eq!(format!("{shipped:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn the_environment_overrides_in_the_right_type() {
        let config = load(&[
            ("SIDETONE__SIP__UDP", "127.0.0.1:5070"),
            ("SIDETONE__DEV__BENCH", "true"),
            ("SIDETONE__LIMITS__CALLS", "3"),
            ("SIDETONE__HTTP__BOOTSTRAP_KEY", "123"),
            ("HOME", "/x"),
        ])
        .unwrap();
        assert_eq!(config.sip.udp, "127.0.0.1:5070");
        assert!(config.dev.bench);
        assert_eq!(config.limits.calls, 3);
        assert_eq!(config.http.bootstrap_key, "123");
    }

    #[test]
    fn a_wrong_key_is_named() {
        let error = load(&[("SIDETONE__SIP__UPD", "x")]).unwrap_err().to_string();
        assert!(error.contains("upd") && error.contains("sip"), "{error}");
        // The right ones beside it are not blamed for it.
        let both = [("SIDETONE__DEV__BENCH", "true"), ("SIDETONE__RECORDING__FOLDER", "x")];
        let error = load(&both).unwrap_err().to_string();
        assert!(error.contains("SIDETONE__RECORDING__FOLDER") && !error.contains("bench"), "{error}");
    }

    #[test]
    fn a_malformed_file_is_one_line_with_its_number() {
        let text = "[sip]\nudp = \"x\n";
        let reason = toml_reason(text, &text.parse::<toml::Table>().unwrap_err());
        assert!(reason.starts_with("line 2: ") && !reason.contains('\n'), "{reason}");
    }

    #[test]
    fn a_wrong_type_is_named() {
        let error = load(&[("SIDETONE__LIMITS__CALLS", "many")]).unwrap_err().to_string();
        assert!(error.contains("calls"), "{error}");
    }

    #[test]
    fn a_wrong_value_names_key_value_and_reason() {
        for (name, text, key) in [
            ("SIDETONE__SIP__UDP", "nowhere", "sip.udp"),
            ("SIDETONE__SIP__TLS", "0.0.0.0:5061", "sip.tls_certificate"),
            ("SIDETONE__SIP__TLS_KEY", "key.pem", "sip.tls_key"),
            ("SIDETONE__SIP__HEP", "homer", "sip.hep"),
            ("SIDETONE__SIP__REALM", "a \"b\"", "sip.realm"),
            ("SIDETONE__SIP__DIGEST_ALGORITHMS", "[\"MD4\"]", "sip.digest_algorithms"),
            ("SIDETONE__STIR__KEY", "key.pem", "stir.certificate_url"),
            ("SIDETONE__STIR__FRESHNESS_S", "0", "stir.freshness_s"),
            ("SIDETONE__GUARD__BAN_AFTER", "1", "guard.ban_after"),
            ("SIDETONE__RTP__PORTS", "5-3", "rtp.ports"),
            ("SIDETONE__HTTP__LISTEN", "8080", "http.listen"),
            ("SIDETONE__STORE__URL", "mysql://x", "store.url"),
            ("SIDETONE__AGENTS__TRUSTED", "[\"10.0.0.0/99\"]", "agents.trusted"),
            ("SIDETONE__ROUTING__PRIVATE_NETWORKS", "[\"home\"]", "routing.private_networks"),
            ("SIDETONE__STORE__DOWN", "shrug", "store.down"),
            ("SIDETONE__RECORDING__STORAGE", "s3", "recording.s3.bucket"),
            ("SIDETONE__RECORDING__S3__BUCKET", "calls", "recording.s3.access_key"),
        ] {
            let error = load(&[(name, text)]).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
