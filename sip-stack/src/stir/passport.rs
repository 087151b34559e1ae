//! The PASSporT (RFC 8225): what is claimed of a call, and its one way to be written.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value, json};

use super::Fault;

/// Base64 for URLs; with padding it is accepted, for some signers write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the signer knows of the caller (RFC 8588 §4), the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attestation {
    /// It knows the customer and that the number is his.
    A,
    /// It knows the customer.
    B,
    /// It knows where the call entered its network.
    C,
}

impl Attestation {
    /// The letter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Attestation::A => "A",
            Attestation::B => "B",
            Attestation::C => "C",
        }
    }

    fn of(letter: &str) -> Option<Self> {
        [Attestation::A, Attestation::B, Attestation::C].into_iter().find(|known| known.as_str() == letter)
    }
}

/// One end of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Party {
    /// The digits of an international number, without `+`.
    Number(String),
    /// A SIP URI without parameters.
    Uri(String),
}

impl Party {
    /// A number in canonical form (RFC 8224 §8.3): digits with the country code, nothing else. None when it is not one: what a
    /// national number means is for whoever knows the country to say, and to hand in with its `+`.
    pub fn number(text: &str) -> Option<Self> {
        let plain: String = text.trim().chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
        let digits = plain.strip_prefix('+').unwrap_or(&plain);
        let sound = (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        sound.then(|| Party::Number(digits.to_owned()))
    }

    /// A SIP URI: scheme and host in lower case, no parameters, no password, the usual port left out (RFC 8224 §8.4).
    pub fn uri(text: &str) -> Option<Self> {
        let (scheme, rest) = text.trim().split_once(':')?;
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "sip" | "sips") {
            return None;
        }
        let rest = rest.split(['?', '>']).next().unwrap_or_default();
        let (user, host) = rest.rsplit_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let host = host.split(';').next().unwrap_or_default().to_ascii_lowercase();
        let usual = if scheme == "sips" { ":5061" } else { ":5060" };
        let host = host.strip_suffix(usual).unwrap_or(&host);
        if host.is_empty() {
            return None;
        }
        let user = user.map(|user| user.split([':', ';']).next().unwrap_or_default());
        let at = user.map_or(String::new(), |user| format!("{user}@"));
        Some(Party::Uri(format!("{scheme}:{at}{host}")))
    }
}

/// A token, taken apart; its signature is not judged yet.
#[derive(Debug, Clone)]
pub(super) struct Passport {
    /// What the signature is over.
    pub(super) signed: String,
    /// 64 bytes, r and s.
    pub(super) signature: Vec<u8>,
    pub(super) orig: Party,
    pub(super) dest: Vec<Party>,
    pub(super) iat: u64,
    /// Of a SHAKEN token.
    pub(super) shaken: Option<(Attestation, String)>,
}

/// Header and claims of the full form, or of what the compact form stands for.
pub(super) struct Context<'a> {
    /// The URL of the `info` parameter.
    pub(super) url: &'a str,
    /// The `ppt` parameter.
    pub(super) ppt: Option<&'a str>,
    /// For the compact form: who calls, whom, and when as the Date header has it.
    pub(super) orig: &'a [Party],
    pub(super) dest: &'a [Party],
    pub(super) date: Option<u64>,
}

/// An object whose members stand in order, whatever order `serde_json` keeps (RFC 8225 §9).
type Ordered = BTreeMap<&'static str, Value>;

fn encode(object: &Ordered) -> String {
    BASE64.encode(serde_json::to_string(object).unwrap_or_default())
}

fn header(url: &str, ppt: Option<&str>) -> Ordered {
    let ppt = ppt.map(|ppt| ("ppt", json!(ppt)));
    [("alg", json!("ES256")), ("typ", json!("passport")), ("x5u", json!(url))].into_iter().chain(ppt).collect()
}

fn claims(orig: &Party, dest: &[Party], iat: u64) -> Ordered {
    let (mut tn, mut uri) = (Vec::new(), Vec::new());
    for party in dest {
        match party {
            Party::Number(digits) => tn.push(json!(digits)),
            Party::Uri(text) => uri.push(json!(text)),
        }
    }
    let both = [("tn", Value::from(tn)), ("uri", uri.into())];
    let dest: Ordered =
        both.into_iter().filter(|(_, list)| list.as_array().is_some_and(|list| !list.is_empty())).collect();
    let orig = match orig {
        Party::Number(digits) => json!({"tn": digits}),
        Party::Uri(text) => json!({"uri": text}),
    };
    Ordered::from([("dest", json!(dest)), ("iat", json!(iat)), ("orig", orig)])
}

/// What is to be signed for a SHAKEN token.
pub(super) fn to_sign(url: &str, orig: &Party, dest: &[Party], iat: u64, attest: Attestation, origid: &str) -> String {
    let mut claims = claims(orig, dest, iat);
    claims.insert("attest", json!(attest.as_str()));
    claims.insert("origid", json!(origid));
    format!("{}.{}", encode(&header(url, Some("shaken"))), encode(&claims))
}

/// A signature as it ends a token.
pub(super) fn end(signature: &[u8]) -> String {
    BASE64.encode(signature)
}

fn object(part: &str, what: &'static str) -> Result<Map<String, Value>, Fault> {
    let bytes = BASE64.decode(part).map_err(|_| Fault::Malformed(what))?;
    serde_json::from_slice(&bytes).map_err(|_| Fault::Malformed(what))
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    map.get(key).and_then(Value::as_str)
}

impl Passport {
    /// Takes a token apart: full, `header.payload.signature`, or compact, `..signature`.
    pub(super) fn read(token: &str, context: &Context<'_>) -> Result<Self, Fault> {
        let parts: Vec<&str> = token.split('.').collect();
        let [first, second, signature] = parts[..] else {
            return Err(Fault::Malformed("a token has three parts"));
        };
        let signature = BASE64.decode(signature).ok().filter(|bytes| bytes.len() == 64);
        let signature = signature.ok_or(Fault::Malformed("the signature is not 64 bytes of base64"))?;
        match (first, second) {
            ("", "") => Self::compact(signature, context),
            ("", _) | (_, "") => Err(Fault::Malformed("half a token")),
            _ => Self::full(first, second, signature, context),
        }
    }

    /// RFC 8224 §4.1.2: header and claims are those that the message itself gives.
    fn compact(signature: Vec<u8>, context: &Context<'_>) -> Result<Self, Fault> {
        if context.ppt.is_some() {
            // What only the signer knows, as attest and origid, cannot be put together again.
            return Err(Fault::Malformed("an extended token in compact form"));
        }
        let iat = context.date.ok_or(Fault::Malformed("a token in compact form without a Date"))?;
        let orig = context.orig.first().ok_or(Fault::OtherCaller)?;
        let dest = context.dest.first().ok_or(Fault::OtherCallee)?;
        let dest = vec![dest.clone()];
        let signed = format!("{}.{}", encode(&header(context.url, None)), encode(&claims(orig, &dest, iat)));
        Ok(Passport { signed, signature, orig: orig.clone(), dest, iat, shaken: None })
    }

    fn full(first: &str, second: &str, signature: Vec<u8>, context: &Context<'_>) -> Result<Self, Fault> {
        let header = object(first, "the token's header is no JSON object")?;
        let claims = object(second, "the token's payload is no JSON object")?;
        if text(&header, "alg") != Some("ES256") || text(&header, "typ") != Some("passport") {
            return Err(Fault::Malformed("not a PASSporT signed with ES256"));
        }
        if header.contains_key("crit") {
            return Err(Fault::Malformed("a critical header member that is not known"));
        }
        if text(&header, "x5u") != Some(context.url) {
            return Err(Fault::Malformed("x5u and info differ"));
        }
        if header.get("ppt").map(|ppt| ppt.as_str().unwrap_or_default()) != context.ppt {
            return Err(Fault::Malformed("ppt inside and outside differ"));
        }
        let iat = claims.get("iat").and_then(Value::as_u64).ok_or(Fault::Malformed("iat is no number"))?;
        let shaken = match context.ppt {
            Some(_) => {
                let attest = text(&claims, "attest").and_then(Attestation::of);
                let attest = attest.ok_or(Fault::Malformed("attest is not A, B or C"))?;
                let origid = text(&claims, "origid").filter(|id| !id.is_empty() && id.len() <= 64);
                Some((attest, origid.ok_or(Fault::Malformed("origid is missing"))?.to_owned()))
            }
            None => None,
        };
        let orig = orig(claims.get("orig")).ok_or(Fault::Malformed("orig is no number and no URI"))?;
        let dest = dest(claims.get("dest")).ok_or(Fault::Malformed("dest holds no number and no URI"))?;
        Ok(Passport { signed: format!("{first}.{second}"), signature, orig, dest, iat, shaken })
    }
}

fn orig(value: Option<&Value>) -> Option<Party> {
    let map = value?.as_object().filter(|map| map.len() == 1)?;
    match (text(map, "tn"), text(map, "uri")) {
        (Some(number), _) => Party::number(number),
        (_, Some(uri)) => Party::uri(uri),
        _ => None,
    }
}

fn dest(value: Option<&Value>) -> Option<Vec<Party>> {
    let map = value?.as_object()?;
    let mut parties = Vec::new();
    for (key, read) in [("tn", Party::number as fn(&str) -> Option<Party>), ("uri", Party::uri)] {
        for one in map.get(key).map(Value::as_array).unwrap_or(Some(&Vec::new()))? {
            parties.push(read(one.as_str()?)?);
        }
    }
    Some(parties).filter(|parties| !parties.is_empty())
}
