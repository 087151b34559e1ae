//! Keys inside a session description (RFC 4568), with the suites of RFC 4568, RFC 6188 and RFC 7714.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Padding is printed; some peers leave it out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// A longer line is nobody's.
const MAX_KEYS: usize = 8;
const MAX_PARAMS: usize = 8;
/// The most packets that one key may protect (RFC 3711 §9.2, RFC 7714 §15.1).
const MOST_PACKETS: u64 = 1 << 48;

/// A suite: cipher, authentication, and the length of its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-128 in counter mode, 80 bits of HMAC-SHA1.
    AesCm128Sha1_80,
    /// The same with 32 bits.
    AesCm128Sha1_32,
    /// AES-256 in counter mode, 80 bits of HMAC-SHA1.
    AesCm256Sha1_80,
    /// AES-128-GCM.
    AeadAes128Gcm,
    /// AES-256-GCM.
    AeadAes256Gcm,
}

impl Suite {
    /// All of them.
    pub const ALL: [Suite; 5] = [
        Suite::AesCm128Sha1_80,
        Suite::AesCm128Sha1_32,
        Suite::AesCm256Sha1_80,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
    ];

    /// Its registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Suite::AesCm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Suite::AesCm256Sha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Bytes of the master key and of the salt behind it.
    pub fn lengths(self) -> (usize, usize) {
        match self {
            Suite::AesCm128Sha1_80 | Suite::AesCm128Sha1_32 => (16, 14),
            Suite::AesCm256Sha1_80 => (32, 14),
            Suite::AeadAes128Gcm => (16, 12),
            Suite::AeadAes256Gcm => (32, 12),
        }
    }

    fn of(name: &str) -> Option<Self> {
        Suite::ALL.into_iter().find(|suite| suite.as_str() == name)
    }
}

/// A master key and its salt. It shows itself to nobody and is wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes: the key, then the salt.
    pub fn new(bytes: Vec<u8>) -> Self {
        Secret(Zeroizing::new(bytes))
    }

    /// The bytes: the key, then the salt.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Which of several keys a packet was protected with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mki {
    /// The number that stands in the packet.
    pub value: u64,
    /// How many bytes it takes there, 1 to 128.
    pub length: u8,
}

/// One `inline:` key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// Key and salt.
    pub secret: Secret,
    /// How many packets it may protect, if that is told.
    pub lifetime: Option<u64>,
    /// Its name in packets, where there is one.
    pub mki: Option<Mki>,
}

/// What an `a=crypto` line offers or accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crypto {
    /// The line's number; an answer repeats that of the line it accepts.
    pub tag: u32,
    /// How is encrypted.
    pub suite: Suite,
    /// With what the side that says so encrypts; more than one only with names.
    pub keys: Vec<Master>,
    /// Session parameters as written.
    pub params: Vec<String>,
}

impl Crypto {
    /// A line with one key and nothing else.
    pub fn new(tag: u32, suite: Suite, secret: Secret) -> Self {
        Crypto { tag, suite, keys: vec![Master { secret, lifetime: None, mki: None }], params: Vec::new() }
    }

    /// Reads what stands behind `a=crypto:`. A suite that is not known, or a key that is not as long as its suite wants it, is no line.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = tag(words.next()?)?;
        let suite = Suite::of(words.next()?)?;
        let keys: Vec<_> =
            words.next()?.split(';').take(MAX_KEYS + 1).map(|key| master(key, suite)).collect::<Option<_>>()?;
        let params: Vec<_> = words.take(MAX_PARAMS + 1).map(str::to_owned).collect();
        (keys.len() <= MAX_KEYS && params.len() <= MAX_PARAMS && are_told_apart(&keys)).then_some(Crypto {
            tag,
            suite,
            keys,
            params,
        })
    }

    /// Whether its session parameters may be passed over: those that take protection away, or that nobody knows, may not (RFC 4568 §6.3).
    pub fn is_plain(&self) -> bool {
        self.params.iter().all(|param| param.starts_with('-') || param == "KDR=0" || param.starts_with("WSH="))
    }
}

impl fmt::Display for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.tag, self.suite.as_str())?;
        for (n, key) in self.keys.iter().enumerate() {
            let text = Zeroizing::new(BASE64.encode(key.secret.expose()));
            write!(f, "{}inline:{}", if n == 0 { "" } else { ";" }, *text)?;
            match key.lifetime {
                Some(packets) if packets.is_power_of_two() => write!(f, "|2^{}", packets.trailing_zeros())?,
                Some(packets) => write!(f, "|{packets}")?,
                None => {}
            }
            if let Some(Mki { value, length }) = key.mki {
                write!(f, "|{value}:{length}")?;
            }
        }
        self.params.iter().try_for_each(|param| write!(f, " {param}"))
    }
}

/// One to nine digits without a leading zero (RFC 4568 §9.1).
fn tag(text: &str) -> Option<u32> {
    let sound = (1..=9).contains(&text.len()) && !(text.len() > 1 && text.starts_with('0'));
    number(text).filter(|_| sound).and_then(|tag| u32::try_from(tag).ok())
}

/// Digits only: `parse` would take a sign as well.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn master(text: &str, suite: Suite) -> Option<Master> {
    let (method, rest) = text.split_once(':')?;
    if !method.eq_ignore_ascii_case("inline") {
        return None;
    }
    let mut parts = rest.split('|');
    let secret = Secret::new(BASE64.decode(parts.next()?).ok()?);
    let (key, salt) = suite.lengths();
    if secret.expose().len() != key + salt {
        return None;
    }
    let (mut lifetime, mut mki) = (None, None);
    for part in parts {
        match part.split_once(':') {
            Some((value, length)) if mki.is_none() => mki = Some(name(value, length)?),
            None if lifetime.is_none() && mki.is_none() => lifetime = Some(packets(part)?),
            _ => return None,
        }
    }
    Some(Master { secret, lifetime, mki })
}

fn packets(text: &str) -> Option<u64> {
    let packets = match text.strip_prefix("2^") {
        Some(power) => 1_u64.checked_shl(number(power)?.try_into().ok()?)?,
        None => number(text)?,
    };
    (1..=MOST_PACKETS).contains(&packets).then_some(packets)
}

fn name(value: &str, length: &str) -> Option<Mki> {
    let (value, length) = (number(value)?, u8::try_from(number(length)?).ok()?);
    let fits = length >= 8 || length > 0 && value < 1 << (8 * length);
    (fits && length <= 128).then_some(Mki { value, length })
}

/// Several keys need names, all of one length (RFC 4568 §6.1).
fn are_told_apart(keys: &[Master]) -> bool {
    let names: Vec<_> = keys.iter().filter_map(|key| key.mki).collect();
    keys.len() == 1
        || names.len() == keys.len()
            && names.iter().enumerate().all(|(n, name)| {
                name.length == names[0].length && !names[..n].iter().any(|other| other.value == name.value)
            })
}
