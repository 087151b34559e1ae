//! What a parser reads in a message: the parts by which a call is handled.

use sip_stack::message::Name;
use sip_stack::{Message, Uri};

/// Which parts are compared; `message` stands for all of it.
pub const FIELDS: [&str; 12] = [
    "message",
    "start",
    "target",
    "call-id",
    "cseq",
    "from",
    "from-tag",
    "to-tag",
    "hop",
    "max-forwards",
    "contact",
    "body",
];

/// Every part, in the order of [`FIELDS`] after `message`; `None` where it is not there or cannot be read.
pub type Reading = [Option<String>; 11];

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// User, host and port.
fn whom(user: Option<&str>, host: &str, port: Option<u16>) -> String {
    format!(
        "{} at {} {}",
        user.unwrap_or_default(),
        host.trim_matches(['[', ']']).to_lowercase(),
        port.unwrap_or_default()
    )
}

/// Ours; `None` when the message is refused or answered with 400 for what it is.
pub fn ours(bytes: &[u8]) -> Option<Reading> {
    let message = Message::parse(bytes).ok().filter(|message| message.flaw().is_none())?;
    let place = |uri: &[u8]| Uri::parse(uri).ok().map(|uri| whom(uri.user(), uri.host(), uri.port()));
    let start = message.status().map_or_else(|| text(message.method_name()), |status| status.to_string());
    let tag = message.from_tag();
    Some([
        Some(start),
        if message.is_request() { place(message.request_uri()) } else { None },
        message.call_id().map(text),
        message.cseq().map(|cseq| format!("{} {}", cseq.number, text(cseq.method))),
        message.from().and_then(|from| place(from.uri)),
        (!tag.is_empty()).then(|| text(tag)),
        message.to_tag().map(text),
        message.top_via().and_then(|via| {
            let branch = text(via.branch()?);
            Some(format!("{} {} {branch}", text(via.transport), whom(None, &text(via.host), via.port)))
        }),
        message.number(Name::MaxForwards).map(|hops| hops.to_string()),
        message.contact().and_then(place),
        (!message.body().is_empty()).then(|| text(message.body())),
    ])
}

/// Whose parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// rsip 0.4
    Rsip,
    /// rsipstack 0.7
    Rsipstack,
}

impl Peer {
    /// What it reads; `None` when it refuses the message, or breaks.
    pub fn reads(self, bytes: &[u8]) -> Option<Reading> {
        let read = || match self {
            Peer::Rsip => rsip_reads(bytes),
            Peer::Rsipstack => rsipstack_reads(bytes),
        };
        std::panic::catch_unwind(read).ok().flatten()
    }
}

/// The two have nearly the same surface.
macro_rules! peer {
    ($name:ident, $top:ident, $($sip:ident)::+) => {
        fn $name(bytes: &[u8]) -> Option<Reading> {
            use $($sip)::+::prelude::*;
            use $($sip)::+::SipMessage;
            let message = SipMessage::try_from(bytes).ok()?;
            let place = |uri: &$($sip)::+::Uri| {
                let there = &uri.host_with_port;
                let port = there.port.as_ref().and_then(|port| port.to_string().trim_start_matches(':').parse().ok());
                whom(uri.user(), &there.host.to_string(), port)
            };
            let tag = |tag: $($sip)::+::param::Tag| tag.value().to_string();
            let (start, target, body) = match &message {
                SipMessage::Request(request) => (request.method.to_string(), Some(place(&request.uri)), &request.body),
                SipMessage::Response(response) => (response.status_code.code().to_string(), None, &response.body),
            };
            let via = $top(&message);
            Some([
                Some(start),
                target,
                message.call_id_header().ok().map(|id| id.value().to_string()),
                message.cseq_header().ok().and_then(|cseq| Some(format!("{} {}", cseq.seq().ok()?, cseq.method().ok()?))),
                message.from_header().ok().and_then(|from| Some(place(&from.uri().ok()?))),
                message.from_header().ok().and_then(|from| from.tag().ok()?).map(tag),
                message.to_header().ok().and_then(|to| to.tag().ok()?).map(tag),
                via.and_then(|via| {
                    let branch = via.branch()?.value().to_string();
                    Some(format!("{} {} {branch}", via.transport, place(&via.uri)))
                }),
                message.max_forwards_header().ok().and_then(|hops| Some(hops.value().parse::<u32>().ok()?.to_string())),
                message.contact_header().ok().and_then(|contact| Some(place(&contact.typed().ok()?.uri))),
                (!body.is_empty()).then(|| text(body)),
            ])
        }
    };
}

fn rsip_hop(message: &rsip::SipMessage) -> Option<rsip::typed::Via> {
    use rsip::prelude::*;
    message.via_header().ok()?.typed().ok()
}

fn rsipstack_hop(message: &rsipstack::sip::SipMessage) -> Option<rsipstack::sip::typed::Via> {
    use rsipstack::sip::prelude::*;
    message.top_via_header().ok()?.typed().ok()
}

peer!(rsip_reads, rsip_hop, rsip);
peer!(rsipstack_reads, rsipstack_hop, rsipstack::sip);
