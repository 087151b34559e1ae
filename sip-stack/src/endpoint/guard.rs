//! What every request must pass before anybody spends state on it (RFC 3261 §8.2, RFC 4475).

use crate::message::{Address, Flaw, Message, Method, Name, Uri, UriError};
use crate::refusal::Refusal;

/// The methods we serve, as an Allow header.
pub(super) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO";

/// A refusal and the header that goes with it.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) header: Option<(Name, String)>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Refused { refusal, header: None }
    }
}

impl Refused {
    pub(super) fn with(refusal: Refusal, name: Name, value: impl Into<String>) -> Self {
        Refused { refusal, header: Some((name, value.into())) }
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
    if request.method() == Some(Method::Invite) && !contacts_sound() {
        return Err(bad("Malformed Contact"));
    }
    match request.cseq() {
        Some(cseq) if cseq.method == request.method_name() => {}
        Some(_) => return Err(bad("CSeq Method Mismatch")),
        None => return Err(bad("Malformed CSeq")),
    }
    let hops = match request.header(Name::MaxForwards) {
        None => None,
        Some(_) => match request.number(Name::MaxForwards) {
            Some(hops) if hops <= 255 => Some(hops),
            _ => return Err(bad("Malformed Max-Forwards")),
        },
    };
    if request.method() == Some(Method::Other) {
        return Err(Refused::with(Refusal::new(405), Name::Allow, ALLOW));
    }
    match Uri::parse(request.request_uri()) {
        Ok(_) => {}
        Err(UriError::Scheme) => return Err(Refusal::new(416).into()),
        Err(UriError::Malformed) => return Err(bad("Malformed Request-URI")),
    }
    if hops == Some(0) {
        return Err(Refusal::new(483).into());
    }
    // RFC 3261 §8.2.2.3: not for CANCEL and ACK. We support no extension that can be required.
    if !matches!(request.method(), Some(Method::Cancel | Method::Ack)) {
        let wanted: Vec<_> = request.elements(Name::Require).map(String::from_utf8_lossy).collect();
        if !wanted.is_empty() {
            return Err(Refused::with(Refusal::new(420), Name::Unsupported, wanted.join(", ")));
        }
    }
    Ok(())
}
