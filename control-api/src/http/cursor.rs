//! Cursors: where a page ended, sealed with what it was a page of. Altered or foreign ones are refused.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::seal;

fn tag(secret: &[u8; 32], place: &str, filter: &str, ascending: bool) -> [u8; 32] {
    seal::hmac(secret, format!("cursor\n{place}\n{ascending}\n{filter}").as_bytes())
}

pub(super) fn write(secret: &[u8; 32], at: i64, id: &str, filter: &str, ascending: bool) -> String {
    let place = format!("{at}.{id}");
    let mut bytes = tag(secret, &place, filter, ascending)[..16].to_vec();
    bytes.extend_from_slice(place.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn read(secret: &[u8; 32], text: &str, filter: &str, ascending: bool) -> Option<(i64, String)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (sealed, place) = bytes.split_at_checked(16)?;
    let place = std::str::from_utf8(place).ok()?;
    if !seal::same(sealed, &tag(secret, place, filter, ascending)[..16]) {
        return None;
    }
    let (at, id) = place.split_once('.')?;
    Some((at.parse().ok()?, id.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_only_for_its_own_list_and_order() {
        let secret = [7; 32];
        let cursor = write(&secret, 1_795_219_152_123, "0193481e", "tenant a", false);
        assert_eq!(read(&secret, &cursor, "tenant a", false), Some((1_795_219_152_123, "0193481e".into())));
        assert_eq!(read(&secret, &cursor, "tenant b", false), None);
        assert_eq!(read(&secret, &cursor, "tenant a", true), None);
        assert_eq!(read(&[8; 32], &cursor, "tenant a", false), None);
        let mut altered = cursor.into_bytes();
        let last = altered.len() - 2;
        altered[last] ^= 1;
        assert_eq!(read(&secret, &String::from_utf8(altered).unwrap(), "tenant a", false), None);
        assert_eq!(read(&secret, "", "tenant a", false), None);
    }
}
