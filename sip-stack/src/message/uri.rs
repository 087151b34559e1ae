//! SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966): one text, spans of its parts.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::{Params, Span};

/// Which kind of URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
}

/// Why a text is no URI for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// A well-formed scheme that is none of sip, sips and tel.
    #[error("unsupported uri scheme")]
    Scheme,
    /// Not a URI.
    #[error("malformed uri")]
    Malformed,
}

/// A SIP, SIPS or tel URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    text: Box<str>,
    scheme: Scheme,
    user: Option<Span>,
    host: Span,
    port: Option<u16>,
    params: Span,
}

impl Uri {
    /// Reads a URI without angle brackets.
    pub fn parse(bytes: &[u8]) -> Result<Self, UriError> {
        let text = std::str::from_utf8(bytes).map_err(|_| UriError::Malformed)?;
        if text.chars().any(|letter| letter.is_whitespace() || letter.is_control() || matches!(letter, '<' | '>' | '"'))
        {
            return Err(UriError::Malformed);
        }
        let (name, rest) = text.split_once(':').ok_or(UriError::Malformed)?;
        let start = name.len() + 1;
        let scheme = if name.eq_ignore_ascii_case("sip") {
            Scheme::Sip
        } else if name.eq_ignore_ascii_case("sips") {
            Scheme::Sips
        } else if name.eq_ignore_ascii_case("tel") {
            return Uri::tel(text, rest, start);
        } else {
            let sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
                && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
            return Err(if sound { UriError::Scheme } else { UriError::Malformed });
        };
        // The user part may hold `;` and `?`, so the `@` is looked for first.
        let (user, host_start) = match rest.find('@') {
            Some(at) => (Some(&rest[..at]), start + at + 1),
            None => (None, start),
        };
        let user = match user {
            None => None,
            Some(user) => {
                let end = user.find(':').unwrap_or(user.len());
                if end == 0 {
                    return Err(UriError::Malformed);
                }
                Some(Span::new(start, start + end))
            }
        };
        let tail = &text[host_start..];
        let host_len = if tail.starts_with('[') {
            tail.find(']').map(|close| close + 1).ok_or(UriError::Malformed)?
        } else {
            tail.find([':', ';', '?']).unwrap_or(tail.len())
        };
        let host = &tail[..host_len];
        let sound = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => literal_v6(v6).is_some(),
            None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
        };
        if !sound {
            return Err(UriError::Malformed);
        }
        let after = &tail[host_len..];
        let (port, params_at) = match after.strip_prefix(':') {
            Some(digits) => {
                let len = digits.find([';', '?']).unwrap_or(digits.len());
                let port = digits[..len].parse::<u16>().map_err(|_| UriError::Malformed)?;
                (Some(port), host_start + host_len + 1 + len)
            }
            None => (None, host_start + host_len),
        };
        let tail = &text[params_at..];
        if !tail.is_empty() && !tail.starts_with([';', '?']) {
            return Err(UriError::Malformed);
        }
        let params_len = tail.find('?').unwrap_or(tail.len());
        Ok(Uri {
            text: text.into(),
            scheme,
            user,
            host: Span::new(host_start, host_start + host_len),
            port,
            params: Span::new(params_at, params_at + params_len),
        })
    }

    fn tel(text: &str, rest: &str, start: usize) -> Result<Self, UriError> {
        let end = rest.find(';').unwrap_or(rest.len());
        let number = &rest[..end];
        let sound = number.bytes().all(|byte| byte.is_ascii_hexdigit() || b"+-.()*#".contains(&byte));
        if !sound || !number.bytes().any(|byte| byte.is_ascii_hexdigit() || b"*#".contains(&byte)) {
            return Err(UriError::Malformed);
        }
        Ok(Uri {
            text: text.into(),
            scheme: Scheme::Tel,
            user: Some(Span::new(start, start + end)),
            host: Span::new(start + end, start + end),
            port: None,
            params: Span::new(start + end, text.len()),
        })
    }

    /// Which kind.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The user part as written, without a password; for `tel:` the number.
    pub fn user(&self) -> Option<&str> {
        self.user.map(|span| &self.text[span.start as usize..span.end as usize])
    }

    /// The user part with `%hh` decoded; bytes that are not UTF-8 become U+FFFD.
    pub fn user_decoded(&self) -> Option<Cow<'_, str>> {
        self.user().map(decoded)
    }

    /// The host as written, an IPv6 address in brackets; empty for `tel:`.
    pub fn host(&self) -> &str {
        &self.text[self.host.start as usize..self.host.end as usize]
    }

    /// The host when it is a literal address.
    pub fn host_ip(&self) -> Option<IpAddr> {
        match self.host().strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(v6) => literal_v6(v6).map(IpAddr::V6),
            None => self.host().parse().ok(),
        }
    }

    /// The headers after `?` as written, without the question mark; a Request-URI must have none.
    pub fn headers(&self) -> Option<&str> {
        self.text[self.params.end as usize..].strip_prefix('?')
    }

    /// The value of a header after `?`, with `%hh` decoded: how a Refer-To carries Replaces (RFC 3891 §3).
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, value) = self
            .headers()?
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| decoded(key).eq_ignore_ascii_case(name))?;
        Some(decoded(value).into_owned())
    }

    /// The same URI without its headers.
    pub fn bare(&self) -> Uri {
        let end = self.params.end as usize;
        Uri { text: self.text[..end].into(), ..self.clone() }
    }

    /// The port when written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// A URI parameter; empty when it stands there without a value.
    pub fn param(&self, name: &str) -> Option<&str> {
        let params = &self.text.as_bytes()[self.params.start as usize..self.params.end as usize];
        Params(params).get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// An IPv6 address; three colons in a row count as two, as the grammar of RFC 3261 once allowed (RFC 5118 §4.10).
fn literal_v6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| text.contains(":::").then(|| text.replacen(":::", "::", 1).parse().ok())?)
}

/// Undoes `%hh`.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok()).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

/// Hides what may not stand plainly in a header of a URI (RFC 3261 §19.1.2).
pub fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/?:+$".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        Uri::parse(text.as_bytes())
    }
}
