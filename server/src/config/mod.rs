//! Configuration: one file, then the environment, parsed and checked before a port opens.
//!
//! `conf/sidetone.toml` names every key with its default; `SIDETONE__SECTION__KEY` overrides one of them.

mod check;
mod sections;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use control_api::{CarrierSettings, EventsSettings, RoutingSettings};
use serde::Deserialize;

pub use check::Checked;
pub use sections::{Agents, Dev, Guard, Http, Limits, Log, Recording, Rtp, Sip, Speech, Stir, Store};

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
