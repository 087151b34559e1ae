//! `Stripe-Signature: t=…,v1=…`: an HMAC-SHA-256 over `t.body` by the endpoint's secret.

use sha2::{Digest, Sha256};

use crate::seal;

/// A signature older or younger than this is refused, in seconds.
const TOLERANCE_S: i64 = 300;

/// Why an event is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The header is missing or cannot be read.
    #[error("the Stripe-Signature header needs t= and at least one v1=")]
    Malformed,
    /// No signature of the header fits the body.
    #[error("no signature fits the body")]
    Mismatch,
    /// Signed too long ago, or in the future.
    #[error("the signature is older than {TOLERANCE_S} s, or from the future")]
    Stale,
}

/// Checks the raw body against the header at `now_s` (Unix seconds).
///
/// # Errors
/// What is wrong with it.
pub fn verify(secret: &str, header: &str, body: &[u8], now_s: i64) -> Result<(), BadSignature> {
    let mut at = None;
    let mut given = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", text)) => at = text.parse::<i64>().ok(),
            Some(("v1", text)) => given.push(text),
            _ => {}
        }
    }
    let at = at.filter(|_| !given.is_empty()).ok_or(BadSignature::Malformed)?;
    let mut message = at.to_string().into_bytes();
    message.push(b'.');
    message.extend_from_slice(body);
    let expected = seal::hex(&hmac(secret.as_bytes(), &message));
    if !given.iter().any(|given| seal::same(given.as_bytes(), expected.as_bytes())) {
        return Err(BadSignature::Mismatch);
    }
    // Only who knows the secret learns that the time is the fault.
    if now_s.abs_diff(at) > TOLERANCE_S.unsigned_abs() { Err(BadSignature::Stale) } else { Ok(()) }
}

/// HMAC-SHA-256 (RFC 2104) with a key of any length; the gateway's are no multiple of anything.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn header(at: i64) -> String {
        let message = [at.to_string().as_bytes(), b".", BODY].concat();
        format!("t={at},v0=00,v1={}", seal::hex(&hmac(b"whsec_test_secret", &message)))
    }

    #[test]
    fn hmac_matches_rfc_4231() {
        let jefe = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(seal::hex(&jefe), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(seal::hex(&long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn a_sound_signature_is_believed_for_five_minutes() {
        let header = header(1_700_000_000);
        for now in [1_699_999_700, 1_700_000_000, 1_700_000_300] {
            assert_eq!(verify("whsec_test_secret", &header, BODY, now), Ok(()), "{now}");
        }
        for now in [1_699_999_699, 1_700_000_301] {
            assert_eq!(verify("whsec_test_secret", &header, BODY, now), Err(BadSignature::Stale), "{now}");
        }
    }

    #[test]
    fn one_byte_off_is_refused() {
        let header = header(1_700_000_000);
        assert_eq!(verify("whsec_other", &header, BODY, 1_700_000_000), Err(BadSignature::Mismatch));
        assert_eq!(
            verify("whsec_test_secret", &header, br#"{"id":"evt_2"}"#, 1_700_000_000),
            Err(BadSignature::Mismatch)
        );
        let off = header.replace("t=1700000000", "t=1700000001");
        assert_eq!(verify("whsec_test_secret", &off, BODY, 1_700_000_000), Err(BadSignature::Mismatch));
        for malformed in ["", "t=1", "v1=00", "t=x,v1=00", "🙂"] {
            assert_eq!(verify("whsec_test_secret", malformed, BODY, 0), Err(BadSignature::Malformed), "{malformed}");
        }
    }

    #[test]
    fn any_of_several_signatures_will_do() {
        let good = header(1_700_000_000);
        let rolled = good.replace("v0=00", "v1=00");
        assert_eq!(verify("whsec_test_secret", &rolled, BODY, 1_700_000_000), Ok(()));
    }
}
