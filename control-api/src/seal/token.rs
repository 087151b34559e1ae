//! Secrets that we draw: API keys, refresh tokens, one-time tokens. Only their hashes are stored.

use uuid::Uuid;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A fresh API key: `st_KIND_` + 8 id characters + `_` + 26 random and 6 check characters, so that scanners recognise a leak.
pub(crate) fn fresh_key(kind: &str) -> String {
    let mut key = format!("st_{kind}_{}_{}", random(8), random(26));
    let check = base62(u64::from(crc32(key.as_bytes())), 6);
    key.push_str(&check);
    key
}

/// A fresh secret that is sent once and kept as its hash: the prefix and 43 base-62 characters (256 bits).
pub(crate) fn fresh_token(prefix: &str) -> String {
    format!("{prefix}{}", random(43))
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
    fn crc_matches_its_published_vector() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_key_has_its_form_and_its_check() {
        let key = fresh_key("live");
        assert_eq!(key.len(), 8 + 8 + 1 + 32);
        assert!(key.starts_with("st_live_") && key.as_bytes()[16] == b'_');
        let (body, check) = key.split_at(key.len() - 6);
        assert_eq!(base62(u64::from(crc32(body.as_bytes())), 6), check);
        assert_ne!(key, fresh_key("live"));
        assert_eq!(fresh_token("rt_").len(), 46);
    }
}
