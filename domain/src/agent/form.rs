//! Forms of texts: names, ids, addresses, URLs, languages.

use crate::phone::E164;

/// The error completes the sentence "this …".
pub(super) type Form = Result<(), &'static str>;

fn when(right: bool, wrong: &'static str) -> Form {
    if right { Ok(()) } else { Err(wrong) }
}

/// `^[a-z][a-z0-9_]*$`
pub(super) fn name(text: &str) -> Form {
    let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let right = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && text.bytes().all(tail);
    when(right, "must be lower-case letters, digits and _, and begin with a letter")
}

pub(super) fn uuid(text: &str) -> Form {
    when(text.parse::<crate::AgentId>().is_ok(), "must be a lower-case uuid")
}

/// Where it leads is judged when it is used: a name may resolve to something else by then.
pub(super) fn url(text: &str) -> Form {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let right = !host.is_empty() && !host.contains('@') && text.bytes().all(|b| b.is_ascii_graphic());
    when(right, "must be an https URL without user name")
}

/// A number in international form, or a SIP URI that cannot break out of a header line.
pub(super) fn address(text: &str) -> Form {
    let uri = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"));
    let sound = |rest: &str| {
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'?'))
    };
    when(uri.is_some_and(sound) || text.parse::<E164>().is_ok(), "must be a number like +12125550100 or a sip: URI")
}

/// BCP 47, by its form only.
pub(super) fn language(text: &str) -> Form {
    let mut parts = text.split('-');
    let primary =
        parts.next().is_some_and(|part| (2..=3).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic()));
    let rest = parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    when(primary && rest, "must be a language tag like en-US")
}

pub(super) fn email(text: &str) -> Form {
    let right = text.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'));
    when(right && text.bytes().all(|b| b.is_ascii_graphic()), "must be an e-mail address")
}

/// Area/City; whether the place exists is judged by whoever has the zone table.
pub(super) fn timezone(text: &str) -> Form {
    let right = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b)) && !text.starts_with('/');
    when(right, "must be a time zone like Europe/Berlin")
}

pub(super) fn digit(text: &str) -> Form {
    when(
        text.len() == 1 && text.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#'),
        "must be a key 0-9, * or #",
    )
}
