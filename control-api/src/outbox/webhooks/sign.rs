//! Signatures of what we send, by the Standard Webhooks scheme, so that receivers can use the libraries there are.
//!
//! `v1,` + base64(HMAC-SHA256(key, id "." timestamp "." body)); the key is the base64 after `whsec_`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

const PREFIX: &str = "whsec_";

/// A webhook's secret.
#[derive(Clone)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    /// 32 random bytes.
    pub(crate) fn fresh() -> Result<Self, ring::error::Unspecified> {
        let mut key = [0; 32];
        ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut key)?;
        Ok(Self(key.to_vec()))
    }

    /// From the key bytes.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// From what its owner wrote: `whsec_…` is its base64, anything else is the key itself.
    pub(crate) fn read(text: &str) -> Self {
        let encoded = text.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        Self(encoded.unwrap_or_else(|| text.as_bytes().to_vec()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `whsec_…`, as its owner sees it once.
    pub(crate) fn text(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.0));
        context.update(format!("{id}.{timestamp_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }
}

/// The header `webhook-signature`: one signature per secret that is valid now, between spaces.
pub(crate) fn signatures(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    secrets.iter().map(|secret| secret.sign(id, timestamp_s, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_the_contract() {
        let secret = Secret::from_bytes(b"sidetone-webhook-test-key-000001".to_vec());
        assert_eq!(secret.text(), "whsec_c2lkZXRvbmUtd2ViaG9vay10ZXN0LWtleS0wMDAwMDE=");
        let id = "0193481e-0000-7000-8000-00000000e001";
        let body = br#"{"id":"0193481e-0000-7000-8000-00000000e001","type":"call.ended"}"#;
        let signature = signatures(&[secret], id, 1_700_000_000, body);
        assert_eq!(signature, "v1,4kU3R16u5scnUIz/XOurU4Gxnl0jJ6nooXLC/gQfxQI=");
    }

    #[test]
    fn during_a_rotation_both_secrets_sign() {
        let (new, old) = (Secret::fresh().unwrap(), Secret::fresh().unwrap());
        let both = signatures(&[new.clone(), old], "e", 1, b"{}");
        assert_eq!(both.split(' ').count(), 2);
        assert!(both.starts_with(&signatures(&[new], "e", 1, b"{}")));
    }
}
