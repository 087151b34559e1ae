//! Addresses with a display name, and `;name=value` parameters (RFC 3261 §20.10, §25.1).

use std::fmt;

use super::lex::{find_outside, is_token, quoted_end, trim};
use super::uri::{Uri, UriError};

/// Parameters after a value, beginning with a semicolon or empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params<'a>(pub &'a [u8]);

impl<'a> Params<'a> {
    /// Every parameter in order: name, and its value if there is a `=`.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            loop {
                rest = match find_outside(rest, b';') {
                    Some(semicolon) => &rest[semicolon + 1..],
                    None => return None,
                };
                let end = find_outside(rest, b';').unwrap_or(rest.len());
                let part = trim(&rest[..end]);
                if part.is_empty() {
                    continue;
                }
                return Some(match part.iter().position(|byte| *byte == b'=') {
                    Some(equals) => (trim(&part[..equals]), Some(trim(&part[equals + 1..]))),
                    None => (part, None),
                });
            }
        })
    }

    /// The value of a parameter; empty when it stands there without one.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.unwrap_or_default())
    }

    /// False when a parameter is empty or has no name (`;;`), as RFC 4475 §3.1.2.1 wants refused.
    pub fn is_sound(self) -> bool {
        let mut rest = trim(self.0);
        while !rest.is_empty() {
            if rest[0] != b';' {
                return false;
            }
            rest = &rest[1..];
            let end = find_outside(rest, b';').unwrap_or(rest.len());
            let part = trim(&rest[..end]);
            if !part.first().is_some_and(|byte| is_token(*byte)) {
                return false;
            }
            rest = &rest[end..];
        }
        true
    }
}

/// A view of From, To, Contact, Route and their like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    /// The display name as written, with its quotes; empty when absent.
    pub display: &'a [u8],
    /// The URI as written.
    pub uri: &'a [u8],
    /// What follows the URI.
    pub params: Params<'a>,
}

impl<'a> Address<'a> {
    /// Reads `"Name" <uri>;params`, `Name <uri>;params` or `uri;params`; `None` when brackets or quotes do not close.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let after_quote = if value.first() == Some(&b'"') { quoted_end(value, 0)? } else { 0 };
        let bracket = value[after_quote..].iter().position(|byte| *byte == b'<').map(|at| at + after_quote);
        // A bracket inside a parameter's quotes does not make a name-addr.
        let bracket = bracket.filter(|at| after_quote > 0 || !value[..*at].contains(&b';'));
        match bracket {
            Some(open) => {
                let close = value[open..].iter().position(|byte| *byte == b'>')? + open;
                let params = trim(&value[close + 1..]);
                if !params.is_empty() && params[0] != b';' {
                    return None;
                }
                let uri = trim(&value[open + 1..close]);
                (!uri.is_empty()).then_some(Address { display: trim(&value[..open]), uri, params: Params(params) })
            }
            None if after_quote > 0 => None,
            None => {
                let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
                let uri = trim(&value[..end]);
                // RFC 3261 §20.10: a URI with a comma, a question mark or a semicolon stands in angle brackets.
                let whole =
                    !uri.is_empty() && !uri.iter().any(|byte| matches!(byte, b' ' | b'\t' | b'"' | b'<' | b'>' | b'?'));
                whole.then_some(Address { display: &[], uri, params: Params(&value[end..]) })
            }
        }
    }

    /// The display name without quotes and escapes; bytes that are not UTF-8 become U+FFFD.
    pub fn display_text(&self) -> Option<String> {
        let name = match self.display {
            [] => return None,
            [b'"', inside @ .., b'"'] => {
                let mut plain = Vec::with_capacity(inside.len());
                let mut bytes = inside.iter();
                while let Some(byte) = bytes.next() {
                    plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
                }
                String::from_utf8_lossy(&plain).into_owned()
            }
            plain => String::from_utf8_lossy(plain).into_owned(),
        };
        (!name.is_empty()).then_some(name)
    }
}

/// An address that owns its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// The display name, unquoted.
    pub display: Option<String>,
    /// Who.
    pub uri: Uri,
}

impl NameAddr {
    /// An address without a display name.
    pub fn new(uri: Uri) -> Self {
        NameAddr { display: None, uri }
    }

    /// Reads the address of a header value.
    pub fn parse(value: &[u8]) -> Result<Self, UriError> {
        let address = Address::parse(value).ok_or(UriError::Malformed)?;
        Ok(NameAddr { display: address.display_text(), uri: Uri::parse(address.uri)? })
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            f.write_str("\"")?;
            for letter in display.chars().filter(|letter| !letter.is_control()) {
                if matches!(letter, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{letter}")?;
            }
            f.write_str("\" ")?;
        }
        write!(f, "<{}>", self.uri)
    }
}
