//! One SIP message (RFC 3261 §7): a single byte buffer, spans into it, and typed views that are parsed when asked for.

mod address;
mod header;
mod lex;
mod parse;
mod print;
mod uri;
mod via;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use address::{Address, NameAddr, Params};
pub use header::Name;
pub use lex::{split_commas, trim};
pub use parse::{ParseError, content_length};
pub use print::Printer;
pub use uri::{Scheme, Uri, UriError, escaped};
pub use via::Via;

/// The longest message that is read, head and body together.
pub const MAX_MESSAGE: usize = 65_536;

/// The longest head that is served; no carrier sends a tenth of it.
pub const MAX_HEAD: usize = 24_576;
/// The most header lines that are served.
pub const MAX_LINES: usize = 256;
/// The longest body that is served.
pub const MAX_BODY: usize = 32_768;

/// A piece of the message's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Span { start: start as u32, end: end.max(start) as u32 }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The request methods the stack knows by name; methods are case-sensitive (RFC 3261 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Begins or changes a session.
    Invite,
    /// Confirms a final answer to an INVITE.
    Ack,
    /// Ends a session.
    Bye,
    /// Gives up an INVITE that is not answered yet.
    Cancel,
    /// Asks for abilities; also a health check.
    Options,
    /// Mid-call information, here keys (RFC 6086).
    Info,
    /// Acknowledges a reliable provisional answer (RFC 3262).
    Prack,
    /// Changes or refreshes a session without a transaction that waits for people (RFC 3311).
    Update,
    /// Asks the other side to call somebody (RFC 3515).
    Refer,
    /// Tells how something subscribed to goes on (RFC 6665).
    Notify,
    /// Binds an address to a contact.
    Register,
    /// Known and not served: subscriptions (RFC 6665).
    Subscribe,
    /// Known and not served: instant messages (RFC 3428).
    Message,
    /// Known and not served: event state (RFC 3903).
    Publish,
    /// Anything else; its name is in the message.
    Other,
}

/// Every method with a name.
const METHODS: [Method; 14] = [
    Method::Invite,
    Method::Ack,
    Method::Bye,
    Method::Cancel,
    Method::Options,
    Method::Info,
    Method::Prack,
    Method::Update,
    Method::Refer,
    Method::Notify,
    Method::Register,
    Method::Subscribe,
    Method::Message,
    Method::Publish,
];

impl Method {
    /// Finds the method of a name.
    pub fn of(name: &[u8]) -> Self {
        METHODS.into_iter().find(|method| method.as_str().as_bytes() == name).unwrap_or(Method::Other)
    }

    /// The name on the wire; empty for `Other`.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Info => "INFO",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Refer => "REFER",
            Method::Notify => "NOTIFY",
            Method::Register => "REGISTER",
            Method::Subscribe => "SUBSCRIBE",
            Method::Message => "MESSAGE",
            Method::Publish => "PUBLISH",
            Method::Other => "",
        }
    }
}

/// What is wrong with a message that can still be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Spaces where none belong, or a start line of other than three parts.
    StartLine,
    /// Another SIP version than 2.0.
    Version,
    /// A header line without a name or a colon.
    HeaderLine,
    /// Content-Length is no number, or stands there twice.
    ContentLength,
    /// The body is shorter than Content-Length says, or the empty line before it is missing.
    Truncated,
    /// The head is longer than [`MAX_HEAD`] or has more lines than [`MAX_LINES`].
    HeadTooLarge,
    /// The body is longer than [`MAX_BODY`].
    BodyTooLarge,
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Request { method: Method, name: Span, uri: Span },
    Response { status: u16, reason: Span },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Name,
    pub(crate) label: Span,
    pub(crate) value: Span,
}

/// A sequence number and the method it counts (RFC 3261 §20.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// The method's name.
    pub method: &'a [u8],
}

/// A message as received: header lines are unfolded, nothing else is changed.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Vec<u8>,
    start: Start,
    fields: Vec<Field>,
    body: Span,
    flaw: Option<Flaw>,
}

impl Message {
    /// The first thing found wrong, if the message is still good enough to be answered.
    pub fn flaw(&self) -> Option<Flaw> {
        self.flaw
    }

    /// True for a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, Start::Request { .. })
    }

    /// The method of a request; `None` for a response.
    pub fn method(&self) -> Option<Method> {
        match self.start {
            Start::Request { method, .. } => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// The method's name as written; empty for a response.
    pub fn method_name(&self) -> &[u8] {
        match self.start {
            Start::Request { name, .. } => name.of(&self.bytes),
            Start::Response { .. } => &[],
        }
    }

    /// The Request-URI as written; empty for a response.
    pub fn request_uri(&self) -> &[u8] {
        match self.start {
            Start::Request { uri, .. } => uri.of(&self.bytes),
            Start::Response { .. } => &[],
        }
    }

    /// The status of a response, 100 to 699; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(status),
        }
    }

    /// The words after the status; empty for a request.
    pub fn reason(&self) -> &[u8] {
        match self.start {
            Start::Request { .. } => &[],
            Start::Response { reason, .. } => reason.of(&self.bytes),
        }
    }

    /// How many bytes were received.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The body, cut to Content-Length.
    pub fn body(&self) -> &[u8] {
        self.body.of(&self.bytes)
    }

    /// The value of the first header of this name.
    pub fn header(&self, name: Name) -> Option<&[u8]> {
        self.headers(name).next()
    }

    /// The values of all headers of this name, in order, comma lists not yet split.
    pub fn headers(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.fields.iter().filter(move |field| field.name == name).map(|field| field.value.of(&self.bytes))
    }

    /// The elements of all headers of this name, comma lists split.
    pub fn elements(&self, name: Name) -> impl Iterator<Item = &[u8]> {
        self.headers(name).flat_map(split_commas)
    }

    /// The value of the first header with this label, whatever its case; also for names the stack does not know.
    pub fn header_called(&self, label: &str) -> Option<&[u8]> {
        let known = Name::of(label.as_bytes());
        self.fields
            .iter()
            .find(|field| match known {
                Name::Other => field.label.of(&self.bytes).eq_ignore_ascii_case(label.as_bytes()),
                known => field.name == known,
            })
            .map(|field| field.value.of(&self.bytes))
    }

    /// Every header line in order: name, label as written, value.
    pub fn lines(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> {
        self.fields.iter().map(|field| (field.name, field.label.of(&self.bytes), field.value.of(&self.bytes)))
    }

    /// A value as text; bytes that are not UTF-8 become U+FFFD.
    pub fn text(&self, name: Name) -> Option<Cow<'_, str>> {
        self.header(name).map(String::from_utf8_lossy)
    }

    /// The topmost Via.
    pub fn top_via(&self) -> Option<Via<'_>> {
        Via::parse(self.elements(Name::Via).next()?)
    }

    /// The From header.
    pub fn from(&self) -> Option<Address<'_>> {
        Address::parse(self.header(Name::From)?)
    }

    /// The To header.
    pub fn to(&self) -> Option<Address<'_>> {
        Address::parse(self.header(Name::To)?)
    }

    /// The tag of From; empty when absent (RFC 2543 peers have none).
    pub fn from_tag(&self) -> &[u8] {
        self.from().and_then(|from| from.params.get("tag")).unwrap_or_default()
    }

    /// The tag of To; `None` outside a dialog.
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.to().and_then(|to| to.params.get("tag")).filter(|tag| !tag.is_empty())
    }

    /// The first Contact's URI.
    pub fn contact(&self) -> Option<&[u8]> {
        Address::parse(self.elements(Name::Contact).next()?).map(|contact| contact.uri)
    }

    /// The Call-ID.
    pub fn call_id(&self) -> Option<&[u8]> {
        self.header(Name::CallId)
    }

    /// The CSeq, if it is a number below 2^31 and a method.
    pub fn cseq(&self) -> Option<CSeq<'_>> {
        let value = self.header(Name::CSeq)?;
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = value.split_at(digits);
        let method = trim(rest);
        if method.is_empty() || method.len() == rest.len() || !method.iter().all(|byte| lex::is_token(*byte)) {
            return None;
        }
        let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
        (number < 1 << 31).then_some(CSeq { number, method })
    }

    /// A header that is one decimal number.
    pub fn number(&self, name: Name) -> Option<u32> {
        std::str::from_utf8(self.header(name)?).ok()?.parse().ok()
    }

    /// The media type of the body without its parameters, lower case; `None` without a Content-Type.
    pub fn content_type(&self) -> Option<String> {
        let value = self.header(Name::ContentType)?;
        let end = value.iter().position(|byte| *byte == b';').unwrap_or(value.len());
        Some(String::from_utf8_lossy(trim(&value[..end])).to_ascii_lowercase())
    }
}
