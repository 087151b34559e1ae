//! The server's side of digest: nonces that need no memory, and a count that no replay passes (RFC 7616 §3.3, §5.4).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Algorithm, Authorization, Challenge, hex};

/// Nonces whose count is remembered. Only a right password makes an entry, so strangers cannot fill it.
const REMEMBERED: usize = 65_536;

/// What a user of ours is known by.
#[derive(Clone, Copy)]
pub enum Secret<'a> {
    /// The password itself.
    Password(&'a str),
    /// [`Algorithm::ha1`] of one algorithm, in hex.
    Ha1(Algorithm, &'a str),
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Not a nonce of ours for this source, or one that is too old: challenge again with `stale` set.
    #[error("stale nonce")]
    Stale,
    /// The count was used before.
    #[error("replayed nonce count")]
    Replayed,
    /// Another password or name, or no count where we asked for one.
    #[error("wrong credentials")]
    Wrong,
}

/// Challenges requests and judges the answers.
#[derive(Debug)]
pub struct Authenticator {
    key: Vec<u8>,
    born: Instant,
    lifetime: Duration,
    issued: u64,
    /// By nonce: its age's end, the highest count and which of the 64 counts below it were seen.
    used: HashMap<String, (Instant, u32, u64)>,
}

impl Authenticator {
    /// `key` must be secret and new for each process. A nonce is good for `lifetime`, from one source address.
    pub fn new(now: Instant, key: [u8; 32], lifetime: Duration) -> Self {
        Authenticator { key: key.to_vec(), born: now, lifetime, issued: 0, used: HashMap::new() }
    }

    fn seal(&self, stamp: &str, realm: &str, source: IpAddr) -> String {
        // HMAC takes a key of any length; the empty answer of an impossible failure matches no nonce.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return String::new() };
        mac.update(format!("{stamp}\n{realm}\n{source}").as_bytes());
        hex(&mac.finalize().into_bytes()[..16])
    }

    /// One challenge for each algorithm, strongest first (RFC 8760 §2.3); print each as a header of its own.
    pub fn challenge(&mut self, now: Instant, realm: &str, source: IpAddr, stale: bool) -> Vec<Challenge> {
        self.issued += 1;
        let age = now.saturating_duration_since(self.born).as_millis();
        let stamp = format!("{age:012x}{:08x}", self.issued & 0xffff_ffff);
        let nonce = format!("{stamp}{}", self.seal(&stamp, realm, source));
        [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5]
            .into_iter()
            .map(|algorithm| Challenge {
                realm: realm.to_owned(),
                nonce: nonce.clone(),
                opaque: None,
                algorithm,
                qop: true,
                stale,
            })
            .collect()
    }

    /// Judges a request. The password is judged before the nonce's age, so `Stale` is told to those who know it.
    ///
    /// # Errors
    /// [`Denied`], which says how to challenge again.
    pub fn verify(
        &mut self,
        now: Instant,
        source: IpAddr,
        method: &str,
        authorization: &Authorization,
        secret: Secret<'_>,
    ) -> Result<(), Denied> {
        let Authorization { username, realm, nonce, algorithm, .. } = authorization;
        let ha1 = match secret {
            Secret::Password(password) => algorithm.ha1(username, realm, password),
            Secret::Ha1(of, ha1) if of == *algorithm => ha1.to_owned(),
            Secret::Ha1(..) => return Err(Denied::Wrong),
        };
        let Some((_, count)) = authorization.count.as_ref() else { return Err(Denied::Wrong) };
        if !same(authorization.expected(&ha1, method).as_bytes(), authorization.response.as_bytes()) {
            return Err(Denied::Wrong);
        }
        let (stamp, seal) = nonce.split_at_checked(20).ok_or(Denied::Stale)?;
        if !same(self.seal(stamp, realm, source).as_bytes(), seal.as_bytes()) {
            return Err(Denied::Stale);
        }
        let issued = u64::from_str_radix(&stamp[..12], 16).map_err(|_| Denied::Stale)?;
        let end = self.born + Duration::from_millis(issued) + self.lifetime;
        if now > end {
            return Err(Denied::Stale);
        }
        self.count(now, end, nonce, *count)
    }

    fn count(&mut self, now: Instant, end: Instant, nonce: &str, count: u32) -> Result<(), Denied> {
        if self.used.len() >= REMEMBERED {
            self.used.retain(|_, (end, ..)| *end >= now);
            if self.used.len() >= REMEMBERED {
                // Better one challenge too many than a replay that passes.
                return Err(Denied::Stale);
            }
        }
        let (_, highest, seen) = self.used.entry(nonce.to_owned()).or_insert((end, 0, 0));
        if count > *highest {
            let step = count - *highest;
            *seen = if step >= 64 { 0 } else { *seen << step } | 1;
            *highest = count;
            return Ok(());
        }
        let behind = *highest - count;
        if count == 0 || behind >= 64 || *seen & (1 << behind) != 0 {
            return Err(Denied::Replayed);
        }
        // Requests may overtake each other.
        *seen |= 1 << behind;
        Ok(())
    }
}

/// Compares without telling by its duration where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
