//! Small cryptography over SHA-256: key hashes, HMAC (RFC 2104) for cursors and signed links, and the form of an API key.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// SHA-256 in lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// HMAC-SHA-256 with a key of one hash length.
pub(crate) fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

/// Compares without telling by its duration where the difference is.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A fresh live key: `st_live_` + 8 id characters + `_` + 26 random and 6 check characters, so that scanners recognise a leak.
pub(crate) fn fresh_key() -> String {
    let mut key = format!("st_live_{}_{}", random(8), random(26));
    let check = base62(u64::from(crc32(key.as_bytes())), 6);
    key.push_str(&check);
    key
}

/// `n` base-62 characters; every byte comes from the operating system's generator, the few that would lean are thrown away.
fn random(n: usize) -> String {
    let mut out = String::with_capacity(n);
    while out.len() < n {
        // A v4 UUID is 122 random bits; the two bytes with fixed bits are left out.
        let bytes = Uuid::new_v4().into_bytes();
        for (at, byte) in bytes.into_iter().enumerate() {
            if at != 6 && at != 8 && byte < 248 && out.len() < n {
                out.push(char::from(BASE62[usize::from(byte % 62)]));
            }
        }
    }
    out
}

fn base62(mut number: u64, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(number % 62) as usize];
        number /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

/// CRC-32 (ISO 3309, reflected 0xEDB88320).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8)
            .fold(crc ^ u32::from(*byte), |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_and_hmac_match_their_published_vectors() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        // RFC 4231 test case 2, its key padded with zeros as HMAC itself does.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        assert_eq!(
            hex(&hmac(&key, b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_key_has_its_form_and_its_check() {
        let key = fresh_key();
        assert_eq!(key.len(), 8 + 8 + 1 + 32);
        assert!(key.starts_with("st_live_") && key.as_bytes()[16] == b'_');
        let (body, check) = key.split_at(key.len() - 6);
        assert_eq!(base62(u64::from(crc32(body.as_bytes())), 6), check);
        assert_ne!(key, fresh_key());
    }
}
