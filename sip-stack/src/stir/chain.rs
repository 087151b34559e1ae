//! The certificate that a token names, and whether it leads to an anchor of ours.

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter};

use super::{Fault, authority};

/// Certificates of a chain at most; the rest is not looked at.
const LONGEST: usize = 8;
/// What stands before the 65 bytes of a P-256 key (RFC 5480): nothing else can make an ES256 signature.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// What certificates are signed with (RFC 8226 §7).
const SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::ring::ECDSA_P256_SHA256,
    webpki::ring::ECDSA_P256_SHA384,
    webpki::ring::ECDSA_P384_SHA256,
    webpki::ring::ECDSA_P384_SHA384,
];

/// Whose certificates may sign callers.
#[derive(Debug, Clone, Default)]
pub struct Anchors(Vec<TrustAnchor<'static>>);

/// Why there are no anchors.
#[derive(Debug, thiserror::Error)]
pub enum NoAnchors {
    /// No certificate in PEM.
    #[error("no certificate in PEM")]
    Empty,
    /// One that cannot be read.
    #[error("a certificate cannot be read: {0}")]
    Unreadable(String),
}

impl Anchors {
    /// The certificates of a PEM text.
    ///
    /// # Errors
    /// There is none, or one cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, NoAnchors> {
        let mut anchors = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| NoAnchors::Unreadable(error.to_string()))?;
            let anchor = webpki::anchor_from_trusted_cert(&certificate);
            anchors.push(anchor.map_err(|error| NoAnchors::Unreadable(error.to_string()))?.to_owned());
        }
        if anchors.is_empty() { Err(NoAnchors::Empty) } else { Ok(Anchors(anchors)) }
    }
}

/// Certificates of signers say nothing of TLS, and what they say of it is not asked.
struct AnyUse;

impl ExtendedKeyUsageValidator for AnyUse {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

/// A chain that leads to an anchor.
pub(super) struct Trusted {
    key: Vec<u8>,
    /// The numbers that it is for; none when it does not say.
    pub(super) numbers: Option<Vec<authority::Entry>>,
}

impl Trusted {
    /// Judges a chain, its first certificate the signer's, in PEM or one certificate in DER.
    pub(super) fn judge(chain: &[u8], anchors: &Anchors, now: u64) -> Result<Self, Fault> {
        let certificates: Vec<CertificateDer<'_>> = match chain.first() {
            Some(0x30) => vec![CertificateDer::from(chain)],
            _ => CertificateDer::pem_slice_iter(chain)
                .take(LONGEST)
                .collect::<Result<_, _>>()
                .map_err(|_| Fault::Untrusted)?,
        };
        let (first, others) = certificates.split_first().ok_or(Fault::Untrusted)?;
        let signer = EndEntityCert::try_from(first).map_err(|_| Fault::Untrusted)?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        signer
            .verify_for_usage(SIGNATURES, &anchors.0, others, now, AnyUse, None, None)
            .map_err(|_| Fault::Untrusted)?;
        let info = signer.subject_public_key_info();
        let key = info.as_ref().strip_prefix(&P256[..]).ok_or(Fault::Untrusted)?.to_vec();
        let numbers = authority::of(first).map_err(|authority::Unreadable| Fault::Untrusted)?;
        Ok(Trusted { key, numbers })
    }

    /// Whether the signer made this signature.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> Result<(), Fault> {
        check(&self.key, message, signature)
    }
}

pub(super) fn check(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), Fault> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature).map_err(|_| Fault::Signature)
}
