//! What the fuzz targets do with bytes: every view is looked at, and what is printed must be read again as the same.
#![allow(dead_code, unreachable_pub, reason = "each fuzz target uses one of them")]

use std::net::IpAddr;

use sip_stack::message::{Name, Printer};
use sip_stack::offer::{self, Ability, Codec, Keying, Keys, Srtp, relay};
use sip_stack::sdp::crypto::{Crypto, Secret, Suite};
use sip_stack::sdp::dtls::{Fingerprint, Hash};
use sip_stack::stream::Framer;
use sip_stack::{Message, NameAddr, Sdp, Uri};

fn ability() -> Ability {
    Ability {
        address: IpAddr::from([192, 0, 2, 9]),
        port: 4000,
        rtcp_port: 4001,
        codecs: vec![Codec::Pcmu, Codec::Pcma],
        telephone_event: true,
        keying: Keying::default(),
        session_id: 1,
        version: 1,
    }
}

/// The same where the media can be encrypted.
fn keyed(wanted: Srtp) -> Ability {
    let line = |(tag, suite): (u32, Suite)| {
        let (key, salt) = suite.lengths();
        Crypto::new(tag, suite, Secret::new(vec![1; key + salt]))
    };
    let keying = Keying {
        wanted,
        sdes: (1..).zip(Suite::ALL).map(line).collect(),
        dtls: vec![Fingerprint { hash: Hash::Sha256, digest: vec![1; 32] }],
    };
    Ability { keying, ..ability() }
}

/// A whole message: as a datagram, as a stream, and printed again.
pub fn message(bytes: &[u8]) {
    let mut framer = Framer::new();
    framer.push(bytes);
    while let Ok(Some(_)) = framer.next() {}
    let Ok(message) = Message::parse(bytes) else { return };
    let _ = (message.from_tag(), message.to_tag(), message.contact(), message.cseq(), message.content_type());
    if let Some(via) = message.top_via() {
        let _ = (via.branch(), via.host_ip(), via.params.is_sound());
    }
    for (name, _, value) in message.lines() {
        let _ = (message.number(name), message.text(name));
        if let Ok(address) = NameAddr::parse(value) {
            let again = NameAddr::parse(address.to_string().as_bytes());
            assert_eq!(again.map(|again| again.uri), Ok(address.uri), "an address is read as it was printed");
        }
    }
    uri(message.request_uri());
    sdp(message.body());
    if message.flaw().is_none() {
        same_again(&message);
    }
}

fn same_again(message: &Message) {
    let mut printer = match message.status() {
        Some(status) => Printer::response(status, &String::from_utf8_lossy(message.reason())),
        None => Printer::request(message.method_name(), message.request_uri()),
    };
    for (name, label, value) in message.lines() {
        match name {
            Name::ContentLength | Name::ContentType => {}
            Name::Other => drop(printer.extension(label, value)),
            name => drop(printer.header(name, value)),
        }
    }
    let again = Message::parse(printer.finish_with("application/sdp", message.body())).expect("our own message");
    assert_eq!(again.flaw(), None);
    assert_eq!((again.method_name(), again.request_uri()), (message.method_name(), message.request_uri()));
    assert_eq!((again.status(), again.body()), (message.status(), message.body()));
    assert_eq!((again.cseq(), again.call_id().is_some()), (message.cseq(), message.call_id().is_some()));
}

/// A session description, offered to us and answered to us.
pub fn sdp(bytes: &[u8]) {
    let Ok(sdp) = Sdp::parse(bytes) else { return };
    for media in &sdp.media {
        for line in &media.crypto {
            assert_eq!(Crypto::parse(&line.to_string()).as_ref(), Some(line), "keys are read as they were printed");
        }
        for print in &media.dtls.fingerprints {
            assert_eq!(Fingerprint::parse(&print.to_string()).as_ref(), Some(print));
        }
    }
    for wanted in [Srtp::Sdes, Srtp::Dtls, Srtp::RequireSdes, Srtp::RequireDtls] {
        let able = keyed(wanted);
        if let Ok((answer, plan)) = offer::answer(&sdp, &able) {
            let ours = Sdp::parse(answer.as_bytes()).expect("our own answer");
            assert_eq!(ours.media.len(), sdp.media.len());
            assert!(!wanted.is_required() || plan.keys != Keys::Plain, "no plain call where keys are required");
        }
        let _ = offer::accept(&able, &sdp);
    }
    if let Some(text) = relay::offer(&sdp, &ability()) {
        let passed = Sdp::parse(text.as_bytes()).expect("our own offer");
        assert_eq!(
            (passed.media.len(), relay::place(&passed)),
            (1, relay::place(&sdp)),
            "a place is passed on as it is"
        );
        if let Some(text) = relay::answer(&sdp, &passed, &ability()) {
            let ours = Sdp::parse(text.as_bytes()).expect("our own answer");
            assert_eq!(ours.media.len(), sdp.media.len());
        }
    }
    if let Ok((answer, plan)) = offer::answer(&sdp, &ability()) {
        let ours = Sdp::parse(answer.as_bytes()).expect("our own answer");
        assert_eq!(ours.media.len(), sdp.media.len(), "RFC 3264 §6: as many media lines as the offer has");
        assert!(!plan.remote.ip().is_multicast());
    }
    let _ = offer::accept(&ability(), &sdp);
}

/// A URI; what is taken apart must be what is printed.
pub fn uri(bytes: &[u8]) {
    let Ok(uri) = Uri::parse(bytes) else { return };
    let _ = (uri.user(), uri.user_decoded(), uri.host_ip(), uri.param("lr"), uri.header("Replaces"));
    assert_eq!(uri.to_string().as_bytes(), bytes);
    assert_eq!(Uri::parse(uri.to_string().as_bytes()).as_ref(), Ok(&uri));
    assert_eq!(uri.bare().headers(), None);
    assert_eq!((uri.bare().host(), uri.bare().user()), (uri.host(), uri.user()));
}
