//! The parser: one pass over the head, tolerant of spacing, strict about what it reports (RFC 3261 §7, RFC 4475).

use super::lex::{is_space, is_token, trim};
use super::{Field, Flaw, MAX_BODY, MAX_HEAD, MAX_LINES, MAX_MESSAGE, Message, Method, Name, Span, Start};

/// Why bytes are no message that anybody could answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Only line ends: a keep-alive (RFC 5626 §3.5.1).
    #[error("empty datagram")]
    Empty,
    /// Longer than 64 KiB.
    #[error("message too long")]
    TooLong,
    /// The first line is neither a request nor a status line.
    #[error("not sip")]
    NotSip,
    /// A status line with a wrong version or status.
    #[error("malformed status line")]
    StatusLine,
}

/// One line without its end, and where the next begins.
fn line(bytes: &[u8], start: usize) -> Option<(usize, usize)> {
    let feed = bytes.get(start..)?.iter().position(|byte| *byte == b'\n')? + start;
    let end = if feed > start && bytes[feed - 1] == b'\r' { feed - 1 } else { feed };
    Some((end, feed + 1))
}

fn span_of(bytes: &[u8], start: usize, end: usize) -> Span {
    let piece = &bytes[start..end];
    let trimmed = trim(piece);
    let lead = piece.iter().position(|byte| !is_space(*byte)).unwrap_or(piece.len());
    Span::new(start + lead, start + lead + trimmed.len())
}

/// Reads header lines from `at`; unfolds in place. Returns the fields, where the body begins, and the first flaw.
fn fields(bytes: &mut [u8], mut at: usize) -> (Vec<Field>, usize, Option<Flaw>) {
    let mut fields: Vec<Field> = Vec::with_capacity(16);
    let mut flaw = None;
    loop {
        let Some((end, next)) = line(bytes, at) else {
            return (fields, bytes.len(), flaw.or(Some(Flaw::Truncated)));
        };
        if end == at {
            return (fields, next, flaw);
        }
        // RFC 3261 §7.3.1: a line that begins with white space continues the one before.
        let mut value_end = end;
        let mut after = next;
        while bytes.get(after).is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            bytes[value_end..after].fill(b' ');
            match line(bytes, after) {
                Some((end, next)) => (value_end, after) = (end, next),
                None => (value_end, after) = (bytes.len(), bytes.len()),
            }
        }
        let colon = bytes[at..value_end].iter().position(|byte| *byte == b':').map(|colon| at + colon);
        let label = colon.map(|colon| span_of(bytes, at, colon));
        match (colon, label) {
            (Some(colon), Some(label))
                if label.start as usize == at
                    && label.end > label.start
                    && label.of(bytes).iter().all(|byte| is_token(*byte)) =>
            {
                let value = span_of(bytes, colon + 1, value_end);
                fields.push(Field { name: Name::of(label.of(bytes)), label, value });
            }
            _ => flaw = flaw.or(Some(Flaw::HeaderLine)),
        }
        at = after;
    }
}

/// Reads the status line or the request line in `bytes[at..end]`.
fn start_line(bytes: &[u8], at: usize, end: usize) -> Result<(Start, Option<Flaw>), ParseError> {
    let text = &bytes[at..end];
    if text.len() >= 4 && text[..4].eq_ignore_ascii_case(b"SIP/") {
        // RFC 3261 §7.2: version, exactly three digits, words that may be empty.
        let (Some(version), Some(digits)) = (text.get(..8), text.get(8..11)) else {
            return Err(ParseError::StatusLine);
        };
        if !version.eq_ignore_ascii_case(b"SIP/2.0 ") || text.get(11).is_some_and(|byte| *byte != b' ') {
            return Err(ParseError::StatusLine);
        }
        let status = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let status: u16 = status.and_then(|digits| digits.parse().ok()).ok_or(ParseError::StatusLine)?;
        if !(100..=699).contains(&status) {
            return Err(ParseError::StatusLine);
        }
        return Ok((Start::Response { status, reason: span_of(bytes, (at + 12).min(end), end) }, None));
    }
    let whole = span_of(bytes, at, end);
    let (start, stop) = (whole.start as usize, whole.end as usize);
    let mut flaw = (start != at || stop != end).then_some(Flaw::StartLine);
    let name_end = bytes[start..stop].iter().position(|byte| is_space(*byte)).ok_or(ParseError::NotSip)? + start;
    let version_at = bytes[start..stop].iter().rposition(|byte| is_space(*byte)).ok_or(ParseError::NotSip)? + start + 1;
    let version = &bytes[version_at..stop];
    if version.len() < 5
        || !version[..4].eq_ignore_ascii_case(b"SIP/")
        || !bytes[start..name_end].iter().all(|byte| is_token(*byte))
    {
        return Err(ParseError::NotSip);
    }
    let (uri_at, uri_end) = (name_end + 1, version_at - 1);
    if uri_at > uri_end {
        return Err(ParseError::NotSip);
    }
    let uri = &bytes[uri_at..uri_end];
    if uri.is_empty() || uri.iter().any(|byte| is_space(*byte)) {
        flaw = flaw.or(Some(Flaw::StartLine));
    }
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        flaw = flaw.or(Some(Flaw::Version));
    }
    let name = Span::new(start, name_end);
    Ok((Start::Request { method: Method::of(name.of(bytes)), name, uri: Span::new(uri_at, uri_end) }, flaw))
}

/// The length in a head's Content-Length headers: `Ok(None)` when there is none.
fn length(bytes: &[u8], fields: &[Field]) -> Result<Option<usize>, Flaw> {
    let mut found = None;
    for field in fields.iter().filter(|field| field.name == Name::ContentLength) {
        let digits = field.value.of(bytes);
        let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let number: u32 = number.and_then(|digits| digits.parse().ok()).ok_or(Flaw::ContentLength)?;
        if found.replace(number as usize).is_some() {
            return Err(Flaw::ContentLength);
        }
    }
    Ok(found)
}

/// Reads Content-Length from a head that ends with its empty line: what a stream needs to know where a message ends.
pub fn content_length(head: &[u8]) -> Result<Option<usize>, Flaw> {
    let mut head = head.to_vec();
    let Some((_, first)) = line(&head, 0) else {
        return Ok(None);
    };
    let (fields, _, _) = fields(&mut head, first);
    length(&head, &fields)
}

impl Message {
    /// Reads one datagram, or one message that a [`crate::stream::Framer`] cut out.
    pub fn parse(bytes: impl Into<Vec<u8>>) -> Result<Message, ParseError> {
        let mut bytes: Vec<u8> = bytes.into();
        if bytes.len() > MAX_MESSAGE {
            return Err(ParseError::TooLong);
        }
        // RFC 3261 §7.5: empty lines before the start line are ignored.
        let at = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n' | 0)).ok_or(ParseError::Empty)?;
        let (end, next) = line(&bytes, at).ok_or(ParseError::NotSip)?;
        let (start, mut flaw) = start_line(&bytes, at, end)?;
        let (fields, body_at, head_flaw) = fields(&mut bytes, next);
        flaw = flaw.or(head_flaw);
        if body_at - at > MAX_HEAD || fields.len() > MAX_LINES {
            flaw = flaw.or(Some(Flaw::HeadTooLarge));
        }
        let rest = bytes.len() - body_at;
        let body_len = match length(&bytes, &fields) {
            Ok(None) => rest,
            Ok(Some(length)) if length <= rest => length,
            Ok(Some(_)) => {
                flaw = flaw.or(Some(Flaw::Truncated));
                rest
            }
            Err(wrong) => {
                flaw = flaw.or(Some(wrong));
                rest
            }
        };
        if body_len > MAX_BODY {
            flaw = flaw.or(Some(Flaw::BodyTooLarge));
        }
        Ok(Message { start, fields, body: Span::new(body_at, body_at + body_len), flaw, bytes })
    }
}
