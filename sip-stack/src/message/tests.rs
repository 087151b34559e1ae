//! What the parser and the views make of odd but legal, and of illegal, messages.

use proptest::prelude::*;

use super::*;

/// RFC 4475 §3.1.1.1, with its folds and odd spacing.
const TORTUOUS: &str = "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\n\
TO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\n\
from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\n\
MaX-fOrWaRdS: 0068\r\n\
Call-ID: wsinv.ndaksdj@192.0.2.1\r\n\
Content-Length   : 2\r\n\
cseq: 0009\r\n  INVITE\r\n\
Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\n\
s :\r\n\
NewFangledHeader:   newfangled value\r\n continued newfangled value\r\n\
UnknownHeaderWithUnusualValue: ;;,,;;,;\r\n\
Content-Type: application/sdp\r\n\
Route:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\n\
v:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\n\
m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33\r\n\
\r\nhi, and more that does not belong";

#[test]
fn a_tortuous_invite_is_read_whole() {
    let message = Message::parse(TORTUOUS).unwrap();
    assert_eq!(message.flaw(), None);
    assert_eq!(message.method(), Some(Method::Invite));
    assert_eq!(message.to_tag(), Some(b"1918181833n".as_slice()));
    assert_eq!(message.from_tag(), b"98asjd8");
    assert_eq!(message.from().unwrap().display_text().as_deref(), Some("J Rosenberg \\\""));
    assert_eq!(message.cseq(), Some(CSeq { number: 9, method: b"INVITE" }));
    assert_eq!(message.number(Name::MaxForwards), Some(68));
    let vias: Vec<_> = message.elements(Name::Via).map(|via| Via::parse(via).unwrap()).collect();
    let seen: Vec<_> = vias.iter().map(|via| (via.transport, via.host, via.branch())).collect();
    assert_eq!(
        seen,
        [
            (b"UDP".as_slice(), b"192.0.2.2".as_slice(), Some(b"390skdjuw".as_slice())),
            (b"TCP", b"spindle.example.com", Some(b"z9hG4bK9ikj8")),
            (b"UDP", b"192.168.255.111", Some(b"z9hG4bK30239")),
        ]
    );
    assert_eq!(message.header(Name::Subject), Some(b"".as_slice()));
    assert_eq!(message.contact(), Some(b"sip:jdrosen@example.com".as_slice()));
    let contact = Address::parse(message.header(Name::Contact).unwrap()).unwrap();
    assert_eq!(contact.params.get("q"), Some(b"0.33".as_slice()));
    assert_eq!(contact.params.get("SecondParam"), Some(b"".as_slice()));
    assert_eq!(message.body(), b"hi");
    let fangled = message.header_called("newfangledheader").unwrap();
    assert_eq!(String::from_utf8_lossy(fangled).split_whitespace().count(), 5);
}

#[test]
fn bytes_that_are_not_utf8_are_kept_in_values_and_replaced_in_text() {
    let message =
        Message::parse(&b"SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xff\r\nSubject: caf\xe9\r\nl: 0\r\n\r\n"[..]).unwrap();
    assert_eq!(message.status(), Some(200));
    assert!(message.reason().ends_with(b"\xff"));
    assert_eq!(message.header(Name::Subject), Some(b"caf\xe9".as_slice()));
    assert_eq!(message.text(Name::Subject).unwrap(), "caf\u{fffd}");
}

#[test]
fn a_reason_may_be_empty_and_a_method_strange() {
    assert_eq!(Message::parse("SIP/2.0 100 \r\n\r\n").unwrap().reason(), b"");
    assert_eq!(Message::parse("SIP/2.0 100\r\n\r\n").unwrap().status(), Some(100));
    let message = Message::parse("!interesting-Method0123456789_*+`.%indeed'~ sip:a@b SIP/2.0\r\n\r\n").unwrap();
    assert_eq!((message.method(), message.flaw()), (Some(Method::Other), None));
}

#[test]
fn empty_lines_before_and_bare_line_feeds_are_tolerated() {
    let message = Message::parse("\r\n\r\nOPTIONS sip:a@b SIP/2.0\nCall-ID: 1\n\nbody").unwrap();
    assert_eq!((message.call_id(), message.body()), (Some(b"1".as_slice()), b"body".as_slice()));
}

#[test]
fn what_nobody_could_answer_is_an_error() {
    for (text, error) in [
        ("", ParseError::Empty),
        ("\r\n\r\n", ParseError::Empty),
        ("hello world\r\n\r\n", ParseError::NotSip),
        ("SIP/3.0 200 OK\r\n\r\n", ParseError::StatusLine),
        ("SIP/2.0 99 OK\r\n\r\n", ParseError::StatusLine),
        ("SIP/2.0 4294967301 better\r\n\r\n", ParseError::StatusLine),
    ] {
        assert_eq!(Message::parse(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn uris_are_taken_apart() {
    let uri: Uri = "sip:+1-212;phone=x:secret@[2001:db8::1]:5061;transport=tcp;lr?Subject=hi".parse().unwrap();
    assert_eq!(
        (uri.scheme(), uri.user(), uri.host(), uri.port()),
        (Scheme::Sip, Some("+1-212;phone=x"), "[2001:db8::1]", Some(5061))
    );
    assert_eq!((uri.param("transport"), uri.param("LR"), uri.param("maddr")), (Some("tcp"), Some(""), None));
    assert_eq!(uri.host_ip(), Some("2001:db8::1".parse().unwrap()));
    let uri: Uri = "sips:example.com".parse().unwrap();
    assert_eq!((uri.scheme(), uri.user(), uri.host()), (Scheme::Sips, None, "example.com"));
    let uri: Uri = "tel:+1-201-555-0123;phone-context=example.com".parse().unwrap();
    assert_eq!(
        (uri.scheme(), uri.user(), uri.param("phone-context")),
        (Scheme::Tel, Some("+1-201-555-0123"), Some("example.com"))
    );
    let uri: Uri = "sip:sips%3Auser%40example.com@example.net".parse().unwrap();
    assert_eq!(uri.user_decoded().unwrap(), "sips:user@example.com");
    let uri: Uri = "sip:null-%00-%zz@example.com".parse().unwrap();
    assert_eq!(uri.user_decoded().unwrap(), "null-\0-%zz");
}

#[test]
fn what_is_no_uri_says_whose_fault_it_is() {
    for text in [
        "",
        "sip:",
        "sip:@host",
        "sip:a@",
        "sip:a b@c",
        "sip:a@b:99999",
        "sip:a@[::g]",
        "tel:",
        "tel:abc-xyz",
        "no scheme",
        "sip:a@b/c",
    ] {
        assert_eq!(text.parse::<Uri>(), Err(UriError::Malformed), "{text}");
    }
    for text in ["http://x", "soap.beep://192.0.2.103:3002", "nobodyKnowsThisScheme:totallyopaquecontent"] {
        assert_eq!(text.parse::<Uri>(), Err(UriError::Scheme), "{text}");
    }
}

/// Found beside other parsers: `//UDP` was read as a transport, and a quotation mark as part of a host.
#[test]
fn a_hop_is_a_token_and_a_host() {
    for sound in ["SIP / 2.0 / CARRIER-PIGEON gate_1.example ;branch=z", "SIP/2.0/UDP [fe80::1%eth0]:5060;branch=z"] {
        assert!(Via::parse(sound.as_bytes()).is_some(), "{sound}");
    }
    for broken in [
        "SIP/2.0//UDP 192.0.2.1;branch=z",
        "SIP/2.0/UDP, 192.0.2.1",
        "SIP/2.0/UDP 192.0.2\"1;branch=z",
        "SIP/2.0/UDP <h>;branch=z",
    ] {
        assert_eq!(Via::parse(broken.as_bytes()), None, "{broken}");
    }
}

#[test]
fn addresses_come_in_three_shapes() {
    let parse = |text: &'static str| Address::parse(text.as_bytes());
    let address = parse("caller<sip:caller@example.com>;tag=323").unwrap();
    assert_eq!(
        (address.display, address.uri, address.params.get("tag")),
        (b"caller".as_slice(), b"sip:caller@example.com".as_slice(), Some(b"323".as_slice()))
    );
    let address = parse("\"a <sip:x@y>, b;\" <sip:c@d;p=1>").unwrap();
    assert_eq!((address.uri, address.params.get("p")), (b"sip:c@d;p=1".as_slice(), None));
    let address = parse("sip:a@b;tag=1;x=\"<;>\"").unwrap();
    assert_eq!((address.uri, address.params.get("tag")), (b"sip:a@b".as_slice(), Some(b"1".as_slice())));
    for broken in ["\"never ends <sip:a@b>", "<sip:a@b", "<sip:a@b> junk", "\"name\" sip:a@b", "<>", ""] {
        assert_eq!(parse(broken), None, "{broken}");
    }
}

#[test]
fn comma_lists_leave_quotes_and_brackets_alone() {
    let parts: Vec<_> = split_commas(b"\"a, b\" <sip:c,d@e> , ,<sip:f>;x=\"1,2\"").collect();
    assert_eq!(parts, [b"\"a, b\" <sip:c,d@e>".as_slice(), b"<sip:f>;x=\"1,2\""]);
}

#[test]
fn a_value_cannot_break_out_of_its_line() {
    let mut printer = Printer::request(b"INVITE", b"sip:a@b\r\nEvil: 1");
    printer.header(Name::Subject, "x\r\nEvil: 2").extension(b"X-A\r\nEvil", "3").extension(b"X-B", "4\n\nbody");
    let message = Message::parse(printer.finish()).unwrap();
    assert_eq!(message.header_called("Evil"), None);
    assert_eq!(message.header_called("x-b"), Some(b"4  body".as_slice()));
}

prop_compose! {
    fn line()(known in 0..8usize, label in "[A-Za-z][A-Za-z0-9-]{0,12}", value in "[!-~]([ -~]{0,30}[!-~])?") -> (Option<Name>, String, String) {
        let names = [Name::Via, Name::From, Name::To, Name::CallId, Name::Contact, Name::Subject, Name::Supported];
        (names.get(known).copied(), label, value)
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(
        method in "[A-Z]{1,10}", uri in "sip:[a-z0-9.;=@-]{1,30}", status in 100u16..700, is_request: bool, compact: bool,
        lines in proptest::collection::vec(line(), 0..12), body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let printer = if is_request { Printer::request(method.as_bytes(), uri.as_bytes()) } else { Printer::response(status, "Some Reason") };
        let mut printer = printer.compact(compact);
        // A label that happens to be Content-Length or -Type would collide with the printer's own.
        let lines: Vec<_> = lines.into_iter().filter(|(_, label, _)| !matches!(Name::of(label.as_bytes()), Name::ContentLength | Name::ContentType)).collect();
        for (name, label, value) in &lines {
            match name {
                Some(name) => printer.header(*name, value),
                None => printer.extension(label.as_bytes(), value),
            };
        }
        let bytes = printer.finish_with("application/octet-stream", &body);
        let message = Message::parse(bytes).unwrap();
        prop_assert_eq!(message.flaw(), None);
        if is_request {
            prop_assert_eq!(message.method_name(), method.as_bytes());
            prop_assert_eq!(message.request_uri(), uri.as_bytes());
        } else {
            prop_assert_eq!((message.status(), message.reason()), (Some(status), b"Some Reason".as_slice()));
        }
        prop_assert_eq!(message.body(), body.as_slice());
        let read: Vec<_> = message.lines().take(lines.len()).collect();
        for ((name, label, value), (read_name, read_label, read_value)) in lines.iter().zip(read) {
            prop_assert_eq!(read_name, name.unwrap_or(Name::of(label.as_bytes())));
            if name.is_none() {
                prop_assert_eq!(read_label, label.as_bytes());
            }
            prop_assert_eq!(read_value, value.as_bytes());
        }
    }
}
