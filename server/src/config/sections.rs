//! The sections that are this crate's own, each with its defaults.

use std::path::PathBuf;

use control_api::{Archive, ArchiveError, S3Settings, Storage};
use serde::Deserialize;
use sip_stack::auth::Algorithm;

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
