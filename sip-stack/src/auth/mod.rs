//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): the words of both headers and the sum over them.
//!
//! [`Authenticator`] is the server's side; the client's side belongs to the endpoint and is given [`Credentials`].
//! Not done: `auth-int` and `userhash`, which no carrier asks for.

mod client;
mod server;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

pub(crate) use client::ClientAuth;
pub use server::{Authenticator, Denied, Secret};

use crate::event::Headers;
use crate::message::{split_commas, trim};

/// How the sum is made, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// What RFC 2617 had; still the only one of most carriers.
    Md5,
    /// RFC 7616.
    Sha256,
    /// RFC 7616.
    Sha512_256,
}

impl Algorithm {
    /// As written in a header.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }

    /// No name means MD5; the session variants and unknown names are not ours.
    pub fn of(name: Option<&str>) -> Option<Self> {
        let Some(name) = name else { return Some(Algorithm::Md5) };
        [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256]
            .into_iter()
            .find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
    }

    fn sum(self, text: &str) -> String {
        match self {
            Algorithm::Md5 => hex(&Md5::digest(text.as_bytes())),
            Algorithm::Sha256 => hex(&Sha256::digest(text.as_bytes())),
            Algorithm::Sha512_256 => hex(&Sha512_256::digest(text.as_bytes())),
        }
    }

    /// `H(username:realm:password)` in hex: what a store keeps instead of a password.
    pub fn ha1(self, username: &str, realm: &str, password: &str) -> String {
        self.sum(&format!("{username}:{realm}:{password}"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parameters of a `Digest` header, quotes undone; `None` for another scheme or a broken list.
fn parameters(value: &str) -> Option<Vec<(String, String)>> {
    let (scheme, rest) = value.trim().split_once([' ', '\t'])?;
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let mut found = Vec::new();
    for element in split_commas(rest.as_bytes()) {
        let equals = element.iter().position(|byte| *byte == b'=')?;
        let name = String::from_utf8_lossy(trim(&element[..equals])).to_ascii_lowercase();
        let value = trim(&element[equals + 1..]);
        let plain = match value {
            [b'"', inside @ .., b'"'] => {
                let mut bytes = inside.iter();
                let mut plain = Vec::with_capacity(inside.len());
                while let Some(byte) = bytes.next() {
                    plain.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
                }
                plain
            }
            plain => plain.to_vec(),
        };
        // RFC 7616 §3: no parameter may stand there twice.
        if found.len() >= 32 || found.iter().any(|(known, _)| *known == name) {
            return None;
        }
        found.push((name, String::from_utf8_lossy(&plain).into_owned()));
    }
    Some(found)
}

/// Takes a parameter out of the list.
fn take(found: &mut Vec<(String, String)>, name: &str) -> Option<String> {
    found.iter().position(|(known, _)| known == name).map(|at| found.swap_remove(at).1)
}

fn quoted(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 2);
    plain.push('"');
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            plain.push('\\');
        }
        plain.push(letter);
    }
    plain.push('"');
    plain
}

/// The content of a WWW-Authenticate or Proxy-Authenticate header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Whose password is wanted.
    pub realm: String,
    /// The server's number, good for some time.
    pub nonce: String,
    /// Given back as it came.
    pub opaque: Option<String>,
    /// How the sum is made.
    pub algorithm: Algorithm,
    /// Whether `qop=auth` is offered; without it there is no count and no protection against replay.
    pub qop: bool,
    /// The password was right, only the nonce is too old.
    pub stale: bool,
}

impl Challenge {
    /// Reads a header's value; `None` for another scheme, an unknown algorithm or a qop that is not ours.
    pub fn parse(value: &str) -> Option<Self> {
        let mut found = parameters(value)?;
        let qop = take(&mut found, "qop");
        let offered = qop.as_ref().map(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")));
        if offered == Some(false) {
            return None;
        }
        Some(Challenge {
            realm: take(&mut found, "realm")?,
            nonce: take(&mut found, "nonce")?,
            opaque: take(&mut found, "opaque"),
            algorithm: Algorithm::of(take(&mut found, "algorithm").as_deref())?,
            qop: offered.unwrap_or(false),
            stale: take(&mut found, "stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={}, nonce={}", quoted(&self.realm), quoted(&self.nonce))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quoted(opaque))?;
        }
        write!(f, ", algorithm={}", self.algorithm.as_str())?;
        if self.qop {
            f.write_str(", qop=\"auth\"")?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        Ok(())
    }
}

/// The content of an Authorization or Proxy-Authorization header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// Who claims to ask.
    pub username: String,
    /// For which realm.
    pub realm: String,
    /// The nonce of the challenge that is answered.
    pub nonce: String,
    /// The URI the sum is made over.
    pub uri: String,
    /// The sum, in hex.
    pub response: String,
    /// How it was made.
    pub algorithm: Algorithm,
    /// The client's number and how often the nonce was used, with `qop=auth`.
    pub count: Option<(String, u32)>,
    /// The challenge's opaque.
    pub opaque: Option<String>,
}

impl Authorization {
    /// Reads a header's value; `None` for another scheme and for anything incomplete.
    pub fn parse(value: &str) -> Option<Self> {
        let mut found = parameters(value)?;
        let count = match take(&mut found, "qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let count = take(&mut found, "nc").filter(|count| count.len() == 8)?;
                Some((take(&mut found, "cnonce")?, u32::from_str_radix(&count, 16).ok()?))
            }
            Some(_) => return None,
        };
        Some(Authorization {
            username: take(&mut found, "username")?,
            realm: take(&mut found, "realm")?,
            nonce: take(&mut found, "nonce")?,
            uri: take(&mut found, "uri")?,
            response: take(&mut found, "response")?.to_ascii_lowercase(),
            algorithm: Algorithm::of(take(&mut found, "algorithm").as_deref())?,
            count,
            opaque: take(&mut found, "opaque"),
        })
    }

    /// The answer to a challenge of ours among a request's headers.
    pub fn of(headers: &Headers, realm: &str) -> Option<Self> {
        headers
            .iter()
            .filter(|(name, _)| {
                name.eq_ignore_ascii_case("Authorization") || name.eq_ignore_ascii_case("Proxy-Authorization")
            })
            .filter_map(|(_, value)| Authorization::parse(value))
            .find(|authorization| authorization.realm == realm)
    }

    /// What the response must be for this `H(username:realm:password)` and the method of the request.
    pub fn expected(&self, ha1: &str, method: &str) -> String {
        let ha2 = self.algorithm.sum(&format!("{method}:{}", self.uri));
        self.algorithm.sum(&match &self.count {
            Some((cnonce, count)) => format!("{ha1}:{}:{count:08x}:{cnonce}:auth:{ha2}", self.nonce),
            None => format!("{ha1}:{}:{ha2}", self.nonce),
        })
    }
}

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{}\", algorithm={}",
            quoted(&self.username),
            quoted(&self.realm),
            quoted(&self.nonce),
            quoted(&self.uri),
            self.response,
            self.algorithm.as_str()
        )?;
        if let Some((cnonce, count)) = &self.count {
            write!(f, ", qop=auth, nc={count:08x}, cnonce={}", quoted(cnonce))?;
        }
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quoted(opaque))?;
        }
        Ok(())
    }
}

/// A name and its password, and who may ask for them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Challenges of any other realm are not answered; `None` answers whatever realm `servers` ask for.
    pub realm: Option<String>,
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
    /// Challenges from any other address are not answered; empty stands for the address that the request was sent to.
    pub servers: Vec<IpAddr>,
    /// The sums that may be made; empty stands for all.
    pub algorithms: Vec<Algorithm>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("realm", &self.realm).field("username", &"…").finish_non_exhaustive()
    }
}
