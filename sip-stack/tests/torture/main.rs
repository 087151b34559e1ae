//! The torture messages of RFC 4475 and RFC 5118, each with the verdict its section asks of a user agent.
//!
//! The files stand in the notation of RFC 4475 §2: `<allOneLine>` joins lines, `<hex>` gives bytes, `<repeat>` repeats.
//! The binary parts of `mpart01` are shortened: what it tests is that a body may hold any byte.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::path::PathBuf;
use std::time::Instant;

use sip_stack::stream::{Framed, Framer};
use sip_stack::{Endpoint, EndpointConfig, Event, Flow, Message, Transport};

use Verdict::{Answered, Called, Dropped, Response};

/// What must become of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verdict {
    /// A call that the user is asked about.
    Called,
    /// The stack answers by itself with this status.
    Answered(u16),
    /// A sound response of this status; it belongs to no transaction here.
    Response(u16),
    /// Nobody could answer it.
    Dropped,
}

/// Name, section, verdict. REGISTER and MESSAGE are refused with 405 by a user agent that is no registrar.
const RFC_4475: [(&str, &str, Verdict); 49] = [
    ("wsinv", "3.1.1.1", Answered(481)),
    ("intmeth", "3.1.1.2", Answered(405)),
    ("esc01", "3.1.1.3", Called),
    ("escnull", "3.1.1.4", Answered(405)),
    ("esc02", "3.1.1.5", Answered(405)),
    ("lwsdisp", "3.1.1.6", Answered(200)),
    ("longreq", "3.1.1.7", Called),
    ("dblreq", "3.1.1.8", Answered(405)),
    ("semiuri", "3.1.1.9", Answered(200)),
    ("transports", "3.1.1.10", Answered(200)),
    ("mpart01", "3.1.1.11", Answered(405)),
    ("unreason", "3.1.1.12", Response(200)),
    ("noreason", "3.1.1.13", Response(100)),
    ("badinv01", "3.1.2.1", Answered(400)),
    ("clerr", "3.1.2.2", Answered(400)),
    ("ncl", "3.1.2.3", Answered(400)),
    ("scalar02", "3.1.2.4", Answered(400)),
    ("scalarlg", "3.1.2.5", Dropped),
    ("quotbal", "3.1.2.6", Answered(400)),
    ("ltgtruri", "3.1.2.7", Answered(400)),
    ("lwsruri", "3.1.2.8", Answered(400)),
    ("lwsstart", "3.1.2.9", Answered(400)),
    ("trws", "3.1.2.10", Answered(400)),
    ("escruri", "3.1.2.11", Answered(400)),
    // The date is not used, so its zone may be what it likes ("ignore or reject").
    ("baddate", "3.1.2.12", Called),
    ("regbadct", "3.1.2.13", Answered(400)),
    // "Elements attempting to be liberal may ignore the spaces", and the same for unquoted display names.
    ("badaspec", "3.1.2.14", Answered(200)),
    ("baddn", "3.1.2.15", Answered(200)),
    ("badvers", "3.1.2.16", Answered(505)),
    ("mismatch01", "3.1.2.17", Answered(400)),
    ("mismatch02", "3.1.2.18", Answered(400)),
    ("bigcode", "3.1.2.19", Dropped),
    ("badbranch", "3.2.1", Answered(200)),
    ("insuf", "3.3.1", Answered(400)),
    ("unkscm", "3.3.2", Answered(416)),
    ("novelsc", "3.3.3", Answered(416)),
    ("unksm2", "3.3.4", Answered(405)),
    ("bext01", "3.3.5", Answered(420)),
    ("invut", "3.3.6", Answered(415)),
    ("regaut01", "3.3.7", Answered(405)),
    ("multi01", "3.3.8", Answered(400)),
    ("mcl01", "3.3.9", Answered(400)),
    ("bcast", "3.3.10", Response(200)),
    // "An endpoint would process the request as if the Max-Forwards field value were still positive."
    ("zeromf", "3.3.11", Answered(200)),
    ("cparam01", "3.3.12", Answered(405)),
    ("cparam02", "3.3.13", Answered(405)),
    ("regescrt", "3.3.14", Answered(405)),
    ("sdp01", "3.3.15", Answered(406)),
    ("inv2543", "3.4.1", Called),
];

/// The same for IPv6.
const RFC_5118: [(&str, &str, Verdict); 11] = [
    ("ipv6-good", "4.1", Answered(405)),
    ("ipv6-bad", "4.2", Answered(400)),
    ("port-ambiguous", "4.3", Answered(405)),
    ("port-unambiguous", "4.4", Answered(405)),
    ("via-received-param-with-delim", "4.5", Answered(481)),
    ("via-received-param-no-delim", "4.5", Answered(200)),
    ("ipv6-in-sdp", "4.6", Called),
    ("mult-ip-in-header", "4.7", Answered(481)),
    ("mult-ip-in-sdp", "4.8", Called),
    ("ipv4-mapped-ipv6", "4.9", Called),
    ("ipv6-bug-abnf-3-colons", "4.10", Answered(200)),
];

/// Reads a file of the corpus and undoes its notation.
fn bytes(folder: &str, name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/torture").join(folder).join(format!("{name}.sip"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    let mut rest = text.replace('\n', "\r\n");
    while let Some((before, after)) = rest.split_once("<allOneLine>\r\n") {
        let (inside, after) = after.split_once("</allOneLine>").unwrap();
        rest = format!("{before}{}{after}", inside.replace("\r\n", ""));
    }
    while let Some((before, after)) = rest.split_once("<repeat count=") {
        let (count, after) = after.split_once('>').unwrap();
        let (what, after) = after.split_once("</repeat>").unwrap();
        rest = format!("{before}{}{after}", what.repeat(count.parse().unwrap()));
    }
    let mut rest = rest.as_str();
    while let Some((before, after)) = rest.split_once("<hex>") {
        bytes.extend_from_slice(before.as_bytes());
        let (digits, after) = after.split_once("</hex>").unwrap();
        bytes.extend(
            digits.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()),
        );
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

#[allow(clippy::disallowed_methods, reason = "an Instant can be had in no other way")]
fn judge(bytes: &[u8], transport: Transport) -> (Verdict, String) {
    let now = Instant::now();
    let mut endpoint = Endpoint::new(EndpointConfig::default(), 1);
    let connection = u64::from(transport != Transport::Udp);
    let flow = Flow {
        transport,
        local: "192.0.2.2:5060".parse().unwrap(),
        remote: "192.0.2.99:5060".parse().unwrap(),
        connection,
    };
    endpoint.handle_receive(now, flow, bytes);
    let sent = endpoint.poll_transmit().map(|sent| String::from_utf8_lossy(&sent.bytes).into_owned());
    assert!(endpoint.poll_transmit().is_none(), "one answer at most");
    let verdict = match (endpoint.poll_event(), &sent, Message::parse(bytes)) {
        (Some(Event::Incoming { .. }), None, _) => Called,
        (Some(event), ..) => panic!("{event:?}"),
        (None, Some(answer), _) => Answered(answer[8..11].parse().unwrap()),
        (None, None, Ok(message)) if message.flaw().is_none() && message.cseq().is_some() => {
            message.status().map_or(Dropped, Response)
        }
        (None, None, _) => Dropped,
    };
    (verdict, sent.unwrap_or_default())
}

fn check(folder: &str, name: &str, section: &str, verdict: Verdict) {
    let bytes = bytes(folder, name);
    let (got, sent) = judge(&bytes, Transport::Udp);
    assert_eq!(got, verdict, "{folder} {section} {name}\n{}\n{sent}", String::from_utf8_lossy(&bytes));
}

#[test]
fn every_message_of_rfc_4475_gets_its_verdict() {
    for (name, section, verdict) in RFC_4475 {
        check("rfc4475", name, section, verdict);
    }
}

#[test]
fn every_message_of_rfc_5118_gets_its_verdict() {
    for (name, section, verdict) in RFC_5118 {
        check("rfc5118", name, section, verdict);
    }
}

#[test]
fn over_a_stream_the_verdicts_are_the_same_and_bad_framing_is_noticed() {
    for (name, _, verdict) in RFC_4475 {
        let bytes = bytes("rfc4475", name);
        let mut framer = Framer::new();
        framer.push(&bytes);
        let first = framer.next();
        match name {
            // A longer body is awaited, and the connection reaped when it does not come.
            "clerr" => assert_eq!(first, Ok(None)),
            "ncl" | "mcl01" | "inv2543" => assert!(first.is_err(), "{name}: nobody knows where it ends"),
            _ => {
                let Ok(Some(Framed::Message(message))) = first else { panic!("{name}: {first:?}") };
                assert_eq!(judge(&message, Transport::Tcp).0, verdict, "{name}");
            }
        }
    }
}

#[test]
fn a_refusal_names_what_would_have_been_right() {
    let answer = |name| judge(&bytes("rfc4475", name), Transport::Tcp).1;
    assert!(answer("bext01").contains("Unsupported: nothingSupportsThis, nothingSupportsThisEither\r\n"));
    assert!(answer("intmeth").contains("Allow: INVITE, ACK"));
    assert!(answer("invut").contains("Accept: application/sdp"));
}
