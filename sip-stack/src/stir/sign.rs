//! Signing a call of ours (RFC 8224 §4, RFC 8588).

use ring::rand::SecureRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

use super::passport::{self, Attestation, Party};

/// A key, and where its certificate can be fetched.
pub struct Signer {
    key: EcdsaKeyPair,
    url: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Why nothing can be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSigner {
    /// No key for ES256.
    #[error("not a P-256 key in PKCS #8 and PEM (\"BEGIN PRIVATE KEY\")")]
    Key,
    /// No URL that can stand in a header.
    #[error("not an https URL")]
    Url,
    /// The key did not sign.
    #[error("the key does not sign")]
    Failed,
}

/// What is said of a call.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// Who calls.
    pub orig: &'a Party,
    /// Whom.
    pub dest: &'a Party,
    /// Unix time.
    pub iat: u64,
    /// What we know of the caller.
    pub attest: Attestation,
    /// Where the call entered our network: a UUID.
    pub origid: &'a str,
}

impl Signer {
    /// A signer from a key in PEM and the URL of its certificate.
    ///
    /// # Errors
    /// Either cannot be used.
    pub fn new(pem: &[u8], url: &str, random: &dyn SecureRandom) -> Result<Self, NoSigner> {
        let sound = url.starts_with("https://") && url.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b));
        if !sound {
            return Err(NoSigner::Url);
        }
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| NoSigner::Key)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_der(), random);
        Ok(Signer { key: key.map_err(|_| NoSigner::Key)?, url: url.to_owned() })
    }

    /// The value of an Identity header.
    ///
    /// # Errors
    /// The randomness failed.
    pub fn sign(&self, statement: &Statement<'_>, random: &dyn SecureRandom) -> Result<String, NoSigner> {
        let Statement { orig, dest, iat, attest, origid } = *statement;
        let text = passport::to_sign(&self.url, orig, std::slice::from_ref(dest), iat, attest, origid);
        Ok(format!("{text}.{};info=<{}>;alg=ES256;ppt=shaken", self.seal(&text, random)?, self.url))
    }

    /// The signature of a text, as it ends a token.
    pub(super) fn seal(&self, text: &str, random: &dyn SecureRandom) -> Result<String, NoSigner> {
        let signature = self.key.sign(random, text.as_bytes()).map_err(|_| NoSigner::Failed)?;
        Ok(passport::end(signature.as_ref()))
    }
}
