//! Bodies: the session description inside a message (RFC 3261 §8.2.3, RFC 5621), keys inside an INFO.

use super::guard::Refused;
use crate::message::{Message, Name, Params, trim};
use crate::refusal::Refusal;
use crate::sdp::Sdp;

/// What is acceptable in an INVITE, as an Accept header.
pub(super) const ACCEPT: &str = "application/sdp";
/// What is acceptable in an INFO.
const ACCEPT_INFO: &str = "application/dtmf-relay, application/dtmf";

/// The session description of a request; `None` when it has no body.
pub(super) fn description(message: &Message) -> Result<Option<Sdp>, Refused> {
    let accepts = |element: &[u8]| {
        let end = element.iter().position(|byte| *byte == b';').unwrap_or(element.len());
        let kind = trim(&element[..end]).to_ascii_lowercase();
        matches!(kind.as_slice(), b"application/sdp" | b"application/*" | b"*/*" | b"multipart/mixed")
    };
    let mut wanted = message.elements(Name::Accept).peekable();
    if wanted.peek().is_some() && !wanted.any(accepts) {
        return Err(Refusal::new(406).into());
    }
    if message.body().is_empty() {
        return Ok(None);
    }
    encoding(message)?;
    let kind = message.content_type().unwrap_or_default();
    let body = if kind == ACCEPT || (kind.is_empty() && message.body().starts_with(b"v=0")) {
        Some(message.body())
    } else if kind.starts_with("multipart/") {
        part(message)
    } else {
        None
    };
    match body {
        Some(body) => {
            Sdp::parse(body).map(Some).map_err(|_| Refusal::because(400, "Malformed Session Description").into())
        }
        // RFC 3261 §20.11: a body its sender calls optional may be passed over.
        None if is_optional(message) => Ok(None),
        None => Err(Refused::with(Refusal::new(415), Name::Accept, ACCEPT)),
    }
}

fn encoding(message: &Message) -> Result<(), Refused> {
    match message.header(Name::ContentEncoding) {
        Some(encoding) if !encoding.eq_ignore_ascii_case(b"identity") => {
            Err(Refused::with(Refusal::new(415), Name::AcceptEncoding, "identity"))
        }
        _ => Ok(()),
    }
}

fn is_optional(message: &Message) -> bool {
    let Some(value) = message.header(Name::ContentDisposition) else {
        return false;
    };
    let params = value.iter().position(|byte| *byte == b';').map_or(&[][..], |at| &value[at..]);
    Params(params).get("handling").is_some_and(|handling| handling.eq_ignore_ascii_case(b"optional"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len().max(1)).position(|window| window == wanted)
}

/// The first `application/sdp` part of a multipart body (RFC 2046 §5.1).
fn part(message: &Message) -> Option<&[u8]> {
    let value = message.header(Name::ContentType)?;
    let params = &value[value.iter().position(|byte| *byte == b';')?..];
    let boundary = Params(params).get("boundary")?;
    let boundary = boundary.strip_prefix(b"\"").and_then(|inside| inside.strip_suffix(b"\"")).unwrap_or(boundary);
    if boundary.is_empty() || boundary.len() > 70 {
        return None;
    }
    let delimiter = [b"--", boundary].concat();
    let mut rest = message.body();
    loop {
        rest = &rest[find(rest, &delimiter)? + delimiter.len()..];
        let end = find(rest, &delimiter).unwrap_or(rest.len());
        let piece = &rest[..end];
        let head_end = find(piece, b"\r\n\r\n")?;
        let is_sdp = piece[..head_end].split(|byte| *byte == b'\n').any(|line| {
            let mut halves = line.splitn(2, |byte| *byte == b':');
            let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
            trim(name).eq_ignore_ascii_case(b"Content-Type")
                && trim(value).to_ascii_lowercase().starts_with(ACCEPT.as_bytes())
        });
        if is_sdp {
            return Some(&piece[head_end + 4..]);
        }
        rest = &rest[end..];
    }
}

/// Keys of an INFO and how long they were held; `None` for an empty body.
pub(super) fn keys(message: &Message) -> Result<Option<(String, Option<u32>)>, Refused> {
    if message.body().is_empty() {
        return Ok(None);
    }
    encoding(message)?;
    let text = String::from_utf8_lossy(message.body());
    let (signal, duration) = match message.content_type().as_deref() {
        Some("application/dtmf-relay") => {
            let field = |wanted: &str| {
                text.lines().find_map(|line| {
                    let (name, value) = line.split_once('=')?;
                    name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
                })
            };
            (field("Signal").unwrap_or_default(), field("Duration").and_then(|duration| duration.parse().ok()))
        }
        Some("application/dtmf") => (text.trim().to_owned(), None),
        _ => return Err(Refused::with(Refusal::new(415), Name::Accept, ACCEPT_INFO)),
    };
    // Some senders write the RFC 4733 event number for star and pound.
    let digits: String = match signal.as_str() {
        "10" => "*".to_owned(),
        "11" => "#".to_owned(),
        "12" => "A".to_owned(),
        "13" => "B".to_owned(),
        "14" => "C".to_owned(),
        "15" => "D".to_owned(),
        keys => keys.to_ascii_uppercase(),
    };
    let sound = digits.len() == 1 && digits.bytes().all(|key| key.is_ascii_digit() || b"*#ABCD".contains(&key));
    if !sound {
        return Err(Refusal::because(400, "Malformed Signal").into());
    }
    Ok(Some((digits, duration)))
}

/// The session description of a response; what cannot be read counts as absent.
pub(super) fn answer(message: &Message) -> Option<Sdp> {
    let kind = message.content_type()?;
    let body = match kind.as_str() {
        ACCEPT => message.body(),
        kind if kind.starts_with("multipart/") => part(message)?,
        _ => return None,
    };
    Sdp::parse(body).ok()
}
