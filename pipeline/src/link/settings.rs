//! What the settings of all vendors have in common: base URL, key, and how a request's query is written.

use std::fmt;

use serde::{Deserialize, de::DeserializeOwned};

/// Why a link cannot be opened at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No such word in the roster.
    #[error("unknown {stage} provider {provider:?}, known are {known}")]
    Unknown {
        /// `stt`, `llm` or `tts`.
        stage: &'static str,
        /// The word that was given.
        provider: String,
        /// The words that there are.
        known: String,
    },
    /// The provider does not take these settings.
    #[error("settings of {provider}: {reason}")]
    Settings {
        /// Whose.
        provider: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// There is no key, and the vendor is not on this machine.
    #[error("{provider} needs a key: set {variable}")]
    NoKey {
        /// Who.
        provider: &'static str,
        /// The environment variable that would hold it.
        variable: &'static str,
    },
}

/// A key; never printed.
#[derive(Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The key itself, for the request's header.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "no key" } else { "a key" })
    }
}

impl From<&str> for Secret {
    fn from(key: &str) -> Self {
        Self(key.trim().to_owned())
    }
}

/// Reads a provider's own settings.
pub fn read<S: DeserializeOwned>(provider: &'static str, settings: &serde_json::Value) -> Result<S, OpenError> {
    let empty = serde_json::json!({});
    let settings = if settings.is_null() { &empty } else { settings };
    S::deserialize(settings).map_err(|error| OpenError::Settings { provider, reason: error.to_string() })
}

/// The key from the settings, else from the environment; on the loopback none is needed.
pub fn key(
    provider: &'static str,
    variable: &'static str,
    given: Option<&Secret>,
    base_url: &str,
) -> Result<Secret, OpenError> {
    if let Some(key) = given.filter(|key| !key.reveal().is_empty()) {
        return Ok(Secret::from(key.reveal()));
    }
    let from_environment = std::env::var(variable).ok().filter(|key| !key.trim().is_empty());
    match from_environment {
        Some(key) => Ok(Secret::from(key.as_str())),
        None if is_loopback(base_url) => Ok(Secret::default()),
        None => Err(OpenError::NoKey { provider, variable }),
    }
}

/// A base URL with one of the wanted schemes and without its last slash; `http` stands for `ws` where WebSockets are wanted.
pub fn base_url(provider: &'static str, url: &str, websocket: bool) -> Result<String, OpenError> {
    let wrong = |reason: &str| OpenError::Settings { provider, reason: format!("base_url {url:?} {reason}") };
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
    let scheme = match (scheme, websocket) {
        ("ws" | "http", true) => "ws",
        ("wss" | "https", true) => "wss",
        ("http" | "https", false) => scheme,
        _ => return Err(wrong("has a scheme that does not fit")),
    };
    let rest = rest.trim_end_matches('/');
    if rest.is_empty() || rest.starts_with('/') || rest.contains(['?', '#', '@', ' ']) {
        return Err(wrong("must be scheme, host and path only"));
    }
    Ok(format!("{scheme}://{rest}"))
}

/// Whether a URL stays on this machine.
pub fn is_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A URL's query, RFC 3986 percent-encoded.
pub fn query<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> String {
    let mut text = String::new();
    for (key, value) in pairs {
        text.push(if text.is_empty() { '?' } else { '&' });
        encode(key.as_ref(), &mut text);
        text.push('=');
        encode(value.as_ref(), &mut text);
    }
    text
}

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
pub fn encode(part: &str, into: &mut String) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_known_by_its_host_alone() {
        for url in ["ws://127.0.0.1:80/x", "http://[::1]:9/v1", "http://localhost/v1"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["wss://api.example/127.0.0.1", "http://127.0.0.1.example", "http://localhost.example:1"] {
            assert!(!is_loopback(url), "{url}");
        }
    }

    #[test]
    fn a_base_url_keeps_its_path_and_loses_its_slash() {
        assert_eq!(base_url("x", "https://a.example/v1/", false).unwrap(), "https://a.example/v1");
        assert_eq!(base_url("x", "http://127.0.0.1:8", true).unwrap(), "ws://127.0.0.1:8");
        for url in ["a.example", "ftp://a", "https://", "https:///x", "https://a?b", "https://key@a"] {
            assert!(base_url("x", url, false).is_err(), "{url}");
        }
    }

    #[test]
    fn a_query_is_percent_encoded() {
        assert_eq!(query([("keyterm", "A & B"), ("x", "é")]), "?keyterm=A%20%26%20B&x=%C3%A9");
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::from("s3cret")), "a key");
    }
}
