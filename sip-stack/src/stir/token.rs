//! One Identity header, judged against the call that it came with (RFC 8224 §6.2).

use super::chain::{Anchors, Trusted};
use super::passport::{Attestation, Context, Party, Passport};
use super::{Fault, authority};
use crate::event::Headers;

/// Bytes of one header at most: a token and a URL are far shorter.
const LONGEST: usize = 8192;
/// Identity headers that are looked at.
const MOST: usize = 8;

/// The call that a token must have been made for.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Who the caller may be: the identities that the message gives him, the one that counts first.
    pub orig: &'a [Party],
    /// Who was called: To first, then the Request-URI.
    pub dest: &'a [Party],
    /// Unix time.
    pub now: u64,
    /// How old a token may be, and how far ahead the signer's clock, in seconds.
    pub freshness: u64,
}

/// A token that fits its call; whether its signature does is known once the certificate is there.
#[derive(Debug, Clone)]
pub struct Token {
    passport: Passport,
    url: String,
}

/// A signature that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the signer says. A plain PASSporT counts as A when the certificate names the number itself, otherwise as C: it says no
    /// more than where the call came from.
    pub attest: Attestation,
    /// Who called.
    pub orig: Party,
    /// The signer's own name for where the call came from.
    pub origid: Option<String>,
}

/// The parameters of a header: `info`, `alg` and `ppt`.
struct Parameters<'a> {
    info: &'a str,
    alg: Option<&'a str>,
    ppt: Option<&'a str>,
}

fn parameters(text: &str) -> Result<Parameters<'_>, Fault> {
    let wrong = Fault::Malformed("info, alg and ppt cannot be read");
    let mut found = Parameters { info: "", alg: None, ppt: None };
    let mut rest = text;
    while let Some(after) = rest.trim_start().strip_prefix(';') {
        let after = after.trim_start();
        let end = after.find(['=', ';']).unwrap_or(after.len());
        let (name, behind) = after.split_at(end);
        let name = name.trim();
        let Some(value) = behind.strip_prefix('=').map(str::trim_start) else {
            rest = behind;
            continue;
        };
        // A URL may hold semicolons, which is what its brackets are for.
        let (value, behind) = match value.strip_prefix('<') {
            Some(url) => url.split_once('>').ok_or(wrong)?,
            None => match value.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or(wrong)?,
                None => value.split_at(value.find(';').unwrap_or(value.len())),
            },
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "info" if found.info.is_empty() => found.info = value,
            "alg" if found.alg.is_none() => found.alg = Some(value),
            "ppt" if found.ppt.is_none() => found.ppt = Some(value),
            "info" | "alg" | "ppt" => return Err(wrong),
            _ => {}
        }
        rest = behind;
    }
    if rest.trim().is_empty() { Ok(found) } else { Err(wrong) }
}

impl Token {
    /// The token of a call that is to be believed or refused: the first of a kind that we know. With several, one that fits the call
    /// counts more than one that does not.
    ///
    /// # Errors
    /// There is none, or none fits the call; the first one's fault.
    pub fn read(headers: &Headers, expected: &Expected<'_>) -> Result<Self, Fault> {
        let values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("Identity"));
        let date = headers.get("Date").and_then(super::parse_date);
        let mut fault = None;
        for (_, value) in values.take(MOST) {
            match Self::one(value, date, expected) {
                Ok(Some(token)) => return Ok(token),
                Ok(None) => {}
                Err(found) => fault = fault.or(Some(found)),
            }
        }
        Err(fault.unwrap_or(Fault::Missing))
    }

    /// `None`: of a kind that we do not know, which is to be passed over.
    fn one(value: &str, date: Option<u64>, expected: &Expected<'_>) -> Result<Option<Self>, Fault> {
        if value.len() > LONGEST {
            return Err(Fault::Malformed("too long"));
        }
        let (token, rest) = value.split_at(value.find(';').unwrap_or(value.len()));
        let Parameters { info, alg, ppt } = parameters(rest)?;
        if ppt.is_some_and(|ppt| ppt != "shaken") || alg.is_some_and(|alg| alg != "ES256") {
            return Ok(None);
        }
        if info.is_empty() {
            return Err(Fault::Malformed("info is missing"));
        }
        let Expected { orig, dest, now, freshness } = *expected;
        // A header may be folded; base64 holds no blanks.
        let token: String = token.split_whitespace().collect();
        let passport = Passport::read(&token, &Context { url: info, ppt, orig, dest, date })?;
        if !orig.contains(&passport.orig) {
            return Err(Fault::OtherCaller);
        }
        if !passport.dest.iter().any(|called| dest.contains(called)) {
            return Err(Fault::OtherCallee);
        }
        if passport.iat.abs_diff(now) > freshness {
            return Err(Fault::Stale);
        }
        Ok(Some(Token { passport, url: info.to_owned() }))
    }

    /// Where the signer's certificate is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Judges the signature with the chain that was found there, in PEM or DER.
    ///
    /// # Errors
    /// The certificate is not trusted at this unix time, or not for this number, or did not sign this.
    pub fn verify(&self, chain: &[u8], anchors: &Anchors, now: u64) -> Result<Verdict, Fault> {
        let trusted = Trusted::judge(chain, anchors, now)?;
        let Passport { signed, signature, orig, shaken, .. } = &self.passport;
        trusted.signed(signed.as_bytes(), signature)?;
        let mut own = false;
        if let (Some(numbers), Party::Number(digits)) = (&trusted.numbers, orig) {
            if !authority::covers(numbers, digits) {
                return Err(Fault::NotItsNumber);
            }
            own = authority::names(numbers, digits);
        }
        let (attest, origid) = match shaken {
            Some((attest, origid)) => (*attest, Some(origid.clone())),
            None => (if own { Attestation::A } else { Attestation::C }, None),
        };
        Ok(Verdict { attest, orig: orig.clone(), origid })
    }
}
