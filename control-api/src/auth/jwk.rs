//! Public keys as JSON (RFC 7517, RFC 7518 §6), and what they verify: RS256 and ES256. A key has one algorithm, whatever a token says.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// A key as a JWKS lists it. Keys of other kinds are read and verify nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Jwk {
    pub(crate) kty: String,
    pub(crate) kid: String,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) y: Option<String>,
}

/// A key set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Jwks {
    #[serde(default)]
    pub(crate) keys: Vec<Jwk>,
}

impl Jwk {
    /// An RSA key from the big-endian bytes of its numbers.
    pub(crate) fn rsa(kid: String, n: &[u8], e: &[u8]) -> Self {
        let number = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            Some(URL_SAFE_NO_PAD.encode(&bytes[zeros..]))
        };
        Self {
            kty: "RSA".into(),
            kid,
            usage: Some("sig".into()),
            alg: Some("RS256".into()),
            n: number(n),
            e: number(e),
            ..Self::default()
        }
    }

    /// The one algorithm of the key.
    pub(crate) fn algorithm(&self) -> Option<&'static str> {
        let named = |alg: &'static str| self.alg.as_deref().is_none_or(|own| own == alg).then_some(alg);
        match (self.kty.as_str(), self.crv.as_deref()) {
            _ if self.usage.as_deref().is_some_and(|usage| usage != "sig") => None,
            ("RSA", _) => named("RS256"),
            ("EC", Some("P-256")) => named("ES256"),
            _ => None,
        }
    }

    /// Whether the signature is of this key over the message.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        match self.algorithm() {
            Some("RS256") => bytes(&self.n).zip(bytes(&self.e)).is_some_and(|(n, e)| {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }),
            Some("ES256") => bytes(&self.x).zip(bytes(&self.y)).is_some_and(|(x, y)| {
                let point = [&[4], &x[..], &y[..]].concat();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }),
            _ => false,
        }
    }
}
