//! Which numbers a certificate is for: its TNAuthList (RFC 8226 §9), read out of the DER that has been judged as a certificate already.

/// id-pe-TNAuthList, 1.3.6.1.5.5.7.1.26.
const TN_AUTH_LIST: [u8; 8] = [0x2b, 6, 1, 5, 5, 7, 1, 26];

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A provider: all the numbers that it serves.
    Provider,
    /// So many numbers from this one on.
    Range(String, u64),
    /// One number.
    One(String),
}

impl Entry {
    fn covers(&self, digits: &str) -> bool {
        match self {
            Entry::Provider => true,
            Entry::One(number) => number == digits,
            Entry::Range(start, count) => {
                let (Ok(first), Ok(number)) = (start.parse::<u64>(), digits.parse::<u64>()) else { return false };
                start.len() == digits.len() && number >= first && number - first < *count
            }
        }
    }
}

/// A list that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// Whether a list covers a number.
pub(super) fn covers(list: &[Entry], digits: &str) -> bool {
    list.iter().any(|entry| entry.covers(digits))
}

/// Whether a list names the number itself instead of a provider.
pub(super) fn names(list: &[Entry], digits: &str) -> bool {
    list.iter().any(|entry| *entry != Entry::Provider && entry.covers(digits))
}

/// One element: its tag and what is in it; `input` goes behind it.
fn next<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let length = match length {
        0..=0x7f => usize::from(length),
        0x81..=0x84 => {
            let (bytes, behind) = rest.split_at_checked(usize::from(length & 0x7f))?;
            rest = behind;
            bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
        _ => return None,
    };
    let (inside, behind) = rest.split_at_checked(length)?;
    *input = behind;
    Some((tag, inside))
}

fn expect<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    next(input).filter(|(found, _)| *found == tag).map(|(_, inside)| inside)
}

/// The list of a certificate; none when it has none.
pub(super) fn of(certificate: &[u8]) -> Result<Option<Vec<Entry>>, Unreadable> {
    match find(certificate).ok_or(Unreadable)? {
        None => Ok(None),
        Some(list) => read(list).map(Some).ok_or(Unreadable),
    }
}

/// The extension's content. Outer `None`: this is no certificate.
fn find(mut certificate: &[u8]) -> Option<Option<&[u8]>> {
    let mut outer = expect(&mut certificate, 0x30)?;
    let mut body = expect(&mut outer, 0x30)?;
    while !body.is_empty() {
        let (tag, mut inside) = next(&mut body)?;
        if tag != 0xa3 {
            continue;
        }
        let mut extensions = expect(&mut inside, 0x30)?;
        while !extensions.is_empty() {
            let mut extension = expect(&mut extensions, 0x30)?;
            let oid = expect(&mut extension, 0x06)?;
            // `critical` may stand between.
            let (mut tag, mut content) = next(&mut extension)?;
            if tag == 0x01 {
                (tag, content) = next(&mut extension)?;
            }
            if oid == TN_AUTH_LIST {
                return (tag == 0x04).then_some(Some(content));
            }
        }
    }
    Some(None)
}

/// `SEQUENCE OF CHOICE { [0] IA5String, [1] SEQUENCE { IA5String, INTEGER }, [2] IA5String }`, each explicitly tagged.
fn read(mut list: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = expect(&mut list, 0x30)?;
    let mut found = Vec::new();
    while !entries.is_empty() {
        let (tag, mut inside) = next(&mut entries)?;
        found.push(match tag {
            0xa0 => expect(&mut inside, 0x16).map(|_| Entry::Provider)?,
            0xa1 => {
                let mut range = expect(&mut inside, 0x30)?;
                let start = digits(expect(&mut range, 0x16)?)?;
                let count = expect(&mut range, 0x02)?;
                if count.is_empty() || count.len() > 7 || count[0] >= 0x80 {
                    return None;
                }
                Entry::Range(start, count.iter().fold(0, |count, byte| count << 8 | u64::from(*byte)))
            }
            0xa2 => Entry::One(digits(expect(&mut inside, 0x16)?)?),
            _ => return None,
        });
    }
    Some(found).filter(|found| !found.is_empty())
}

fn digits(text: &[u8]) -> Option<String> {
    let sound = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    sound.then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_covers_what_it_says() {
        // 709J, 12 numbers from 12155550100 on, and 493012345.
        let mut list = vec![0x30, 8 + 20 + 13, 0xa0, 6, 0x16, 4];
        list.extend(b"709J");
        list.extend([0xa1, 18, 0x30, 16, 0x16, 11]);
        list.extend(b"12155550100");
        list.extend([0x02, 1, 12, 0xa2, 11, 0x16, 9]);
        list.extend(b"493012345");
        let entries = read(&list).unwrap();
        let rest = &entries[1..];
        assert_eq!(entries.len(), 3);
        assert!(covers(&entries, "1"), "a provider's certificate is for all its numbers");
        for (digits, covered) in [
            ("12155550100", true),
            ("12155550111", true),
            ("12155550112", false),
            ("12155550099", false),
            ("493012345", true),
            ("4930123450", false),
        ] {
            assert_eq!(covers(rest, digits), covered, "{digits}");
            assert_eq!(names(&entries, digits), covered, "{digits}");
        }
        for cut in 0..list.len() {
            assert_eq!(read(&list[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn nonsense_is_no_certificate() {
        assert_eq!(of(b""), Err(Unreadable));
        assert_eq!(of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), Err(Unreadable));
        assert_eq!(of(&[0x30, 0x80, 0, 0]), Err(Unreadable));
    }
}
