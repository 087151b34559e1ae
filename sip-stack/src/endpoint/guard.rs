//! What every request must pass before anybody spends state on it (RFC 3261 §8.2, RFC 4475).

use crate::message::{Address, Flaw, Message, Method, Name, Uri, UriError};
use crate::refusal::Refusal;

/// The methods we serve, as an Allow header.
pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY";
/// The extensions we know, as a Supported header: RFC 3262, RFC 3891, RFC 4028, RFC 4488.
pub(super) const SUPPORTED: &str = "100rel, norefersub, replaces, timer";

/// A refusal and the header that goes with it.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) header: Option<Box<(Name, String)>>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused { refusal, header: None }
    }
}

impl Refused {
    pub(super) fn with(refusal: Refusal, name: Name, value: impl Into<String>) -> Self {
        Refused { refusal, header: Some(Box::new((name, value.into()))) }
    }
}

fn bad(reason: &str) -> Refused {
    Refusal::because(400, reason).into()
}

/// Headers that may stand in a message once only (RFC 4475 §3.3.8).
const SINGLE: [Name; 6] = [Name::From, Name::To, Name::CallId, Name::CSeq, Name::MaxForwards, Name::ContentType];

/// Looks at a request in the order of RFC 3261 §8.2; the cheapest and most basic faults first.
pub(super) fn check(request: &Message) -> Result<(), Refused> {
    match request.flaw() {
        None => {}
        Some(Flaw::Version) => return Err(Refusal::new(505).into()),
        Some(Flaw::StartLine) => return Err(bad("Malformed Request-Line")),
        Some(Flaw::HeaderLine) => return Err(bad("Malformed Header")),
        Some(Flaw::ContentLength) => return Err(bad("Malformed Content-Length")),
        Some(Flaw::Truncated) => return Err(bad("Truncated Message")),
        Some(Flaw::HeadTooLarge) => return Err(Refusal::new(513).into()),
        Some(Flaw::BodyTooLarge) => return Err(Refusal::new(413).into()),
    }
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq] {
        if request.header(name).is_none_or(<[u8]>::is_empty) {
            return Err(bad(&format!("Missing {}", name.as_str())));
        }
    }
    for name in SINGLE {
        if request.headers(name).nth(1).is_some() {
            return Err(bad(&format!("Repeated {}", name.as_str())));
        }
    }
    for (name, address) in [(Name::From, request.from()), (Name::To, request.to())] {
        let sound = address.is_some_and(|address| {
            address.params.is_sound() && !matches!(Uri::parse(address.uri), Err(UriError::Malformed))
        });
        if !sound {
            return Err(bad(&format!("Malformed {}", name.as_str())));
        }
    }
    if request.top_via().is_some_and(|via| !via.params.is_sound()) {
        return Err(bad("Malformed Via"));
    }
    let contacts_sound = || {
        request
            .elements(Name::Contact)
            .all(|contact| contact == b"*" || Address::parse(contact).is_some_and(|contact| contact.params.is_sound()))
    };
    if !contacts_sound() {
        return Err(bad("Malformed Contact"));
    }
    match request.cseq() {
        Some(cseq) if cseq.method == request.method_name() => {}
        Some(_) => return Err(bad("CSeq Method Mismatch")),
        None => return Err(bad("Malformed CSeq")),
    }
    // 0 is no fault here: a user agent serves it, only a proxy may not pass it on (RFC 4475 §3.3.11).
    if request.header(Name::MaxForwards).is_some() && request.number(Name::MaxForwards).is_none_or(|hops| hops > 255) {
        return Err(bad("Malformed Max-Forwards"));
    }
    let target = Uri::parse(request.request_uri());
    match &target {
        // RFC 3261 §19.1.1: a Request-URI has no headers.
        Ok(uri) if uri.headers().is_some() => return Err(bad("Headers in Request-URI")),
        Err(UriError::Malformed) => return Err(bad("Malformed Request-URI")),
        Ok(_) | Err(UriError::Scheme) => {}
    }
    // RFC 3261 §8.2.1. What nobody ever heard of could be answered 501 as well; 405 brings Allow, which helps whoever asks.
    if let Some(Method::Other | Method::Register | Method::Subscribe | Method::Message | Method::Publish) =
        request.method()
    {
        return Err(Refused::with(Refusal::new(405), Name::Allow, ALLOW));
    }
    if target == Err(UriError::Scheme) {
        return Err(Refusal::new(416).into());
    }
    // RFC 3261 §8.2.2.3: not for CANCEL and ACK.
    if !matches!(request.method(), Some(Method::Cancel | Method::Ack)) {
        let known = |wanted: &str| SUPPORTED.split(", ").any(|ours| ours.eq_ignore_ascii_case(wanted));
        let wanted = request.elements(Name::Require).map(String::from_utf8_lossy);
        let unknown: Vec<_> = wanted.filter(|wanted| !known(wanted)).collect();
        if !unknown.is_empty() {
            return Err(Refused::with(Refusal::new(420), Name::Unsupported, unknown.join(", ")));
        }
    }
    Ok(())
}
