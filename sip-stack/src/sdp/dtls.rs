//! What a description says of the certificate behind a DTLS-SRTP stream, and who begins (RFC 8122, RFC 5763, RFC 4145).

use std::fmt;

/// The hash of a fingerprint. MD5 and SHA-1 prove nothing any more (RFC 8122 §5) and are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl Hash {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Hash::Sha256 => "sha-256",
            Hash::Sha384 => "sha-384",
            Hash::Sha512 => "sha-512",
        }
    }

    /// How many bytes it has.
    pub fn length(self) -> usize {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Hash::Sha256, Hash::Sha384, Hash::Sha512].into_iter().find(|hash| name.eq_ignore_ascii_case(hash.as_str()))
    }
}

/// What the other side's certificate must be.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The hash.
    pub hash: Hash,
    /// As many bytes as it has.
    pub digest: Vec<u8>,
}

impl Fingerprint {
    /// Reads what stands behind `a=fingerprint:`.
    pub fn parse(value: &str) -> Option<Self> {
        let (name, digits) = value.trim().split_once(' ')?;
        let hash = Hash::of(name)?;
        let byte = |pair: &str| {
            let sound = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            sound.then(|| u8::from_str_radix(pair, 16).ok()).flatten()
        };
        let digest: Vec<u8> = digits.trim().split(':').take(hash.length() + 1).map(byte).collect::<Option<_>>()?;
        (digest.len() == hash.length()).then_some(Fingerprint { hash, digest })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.hash.as_str())?;
        for (n, byte) in self.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if n == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// Who begins the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Who says so.
    Active,
    /// The other one.
    Passive,
    /// Either: the answer decides.
    ActPass,
    /// Nobody for now.
    HoldConn,
}

impl Setup {
    /// The attribute's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Setup::Active => "active",
            Setup::Passive => "passive",
            Setup::ActPass => "actpass",
            Setup::HoldConn => "holdconn",
        }
    }

    pub(super) fn of(name: &str) -> Option<Self> {
        [Setup::Active, Setup::Passive, Setup::ActPass, Setup::HoldConn]
            .into_iter()
            .find(|setup| setup.as_str().eq_ignore_ascii_case(name))
    }
}

/// The attributes of a session or of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dtls {
    /// Any of these certificates may show up.
    pub fingerprints: Vec<Fingerprint>,
    /// Who begins.
    pub setup: Option<Setup>,
}
