//! What strangers get: one answer each, of the right number and size, and nothing is kept.

use sip_stack::{Cause, EndpointConfig, Event, Refusal, Transport};

use crate::world::{Bench, OFFER, flow, header, lines, ms, request, to_tag};

/// Says one thing to a fresh endpoint and returns the status of each answer.
fn statuses(text: impl AsRef<[u8]>) -> Vec<u16> {
    let mut bench = Bench::new();
    let sent = bench.receive(text);
    let statuses = lines(&sent).iter().map(|line| line[..3].parse().unwrap()).collect();
    assert_eq!(bench.endpoint.residue(), 0);
    statuses
}

#[test]
fn a_stranger_who_is_turned_away_gets_one_short_answer_and_leaves_nothing() {
    let mut bench = Bench::new();
    let text = request("INVITE", "1", "", OFFER);
    let mut tags = Vec::new();
    for _ in 0..2 {
        bench.receive(text.clone());
        let call = crate::world::incoming(&bench.events()).unwrap();
        bench.endpoint.dismiss(bench.now, call, Refusal::new(404));
        let sent = bench.sent();
        assert_eq!(lines(&sent), ["404 Not Found"]);
        assert!(sent[0].len() * 2 <= text.len() * 3);
        assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Rejected(404), .. }]));
        tags.push(to_tag(&sent[0]));
        assert_eq!(bench.endpoint.residue(), 0);
    }
    assert_eq!(tags[0], tags[1], "the same request again gets the same answer");
    assert!(bench.pass(ms(40_000)).is_empty(), "nothing is repeated");
    assert!(bench.receive(request("ACK", "1", "", "")).is_empty());
}

#[test]
fn each_fault_has_its_number() {
    let invite = || request("INVITE", "1", "", OFFER);
    let cases: Vec<(&str, String, u16)> = vec![
        ("unknown method", request("DANCE", "1", "", ""), 405),
        ("a method we do not serve", request("SUBSCRIBE", "1", "", ""), 405),
        ("an instant message", request("MESSAGE", "1", "", ""), 405),
        ("headers in the request uri", invite().replacen("sip:demo@192.0.2.2 ", "sip:demo@192.0.2.2?a=b ", 1), 400),
        ("300 headers", request("OPTIONS", "1", &"X-A: b\r\n".repeat(300), ""), 513),
        ("a long head", request("OPTIONS", "1", &format!("X-A: {}\r\n", "b".repeat(30_000)), ""), 513),
        ("a long body", request("INVITE", "1", "", &"x".repeat(40_000)), 413),
        ("wrong version", invite().replacen("SIP/2.0\r\n", "SIP/7.0\r\n", 1), 505),
        ("unknown scheme", invite().replacen("sip:demo@192.0.2.2 ", "nobodyKnowsThisScheme:x ", 1), 416),
        ("bracketed request uri", invite().replacen("sip:demo@192.0.2.2 ", "<sip:demo@192.0.2.2> ", 1), 400),
        ("space in request uri", invite().replacen("sip:demo@192.0.2.2 ", "sip:demo@192.0.2.2; lr ", 1), 400),
        ("two spaces in the start line", invite().replacen(" sip:", "  sip:", 1), 400),
        ("required extension", request("INVITE", "1", "Require: 100rel, foo\r\n", OFFER), 420),
        (
            "no more hops, and none needed",
            request("OPTIONS", "1", "", "").replace("Max-Forwards: 70", "Max-Forwards: 0"),
            200,
        ),
        ("too many hops", invite().replace("Max-Forwards: 70", "Max-Forwards: 300"), 400),
        ("no call-id", invite().replace("Call-ID: call@192.0.2.1\r\n", ""), 400),
        ("no cseq", invite().replace("CSeq: 1 INVITE\r\n", ""), 400),
        ("no from", invite().replace("From: ", "Form: "), 400),
        ("no to", invite().replace("To: ", "Too: "), 400),
        ("two to", request("INVITE", "1", "To: <sip:x@y>\r\n", OFFER), 400),
        ("cseq method", invite().replace("1 INVITE", "1 OPTIONS"), 400),
        ("cseq too large", invite().replace("CSeq: 1 ", "CSeq: 36893488147419103232 "), 400),
        ("quote that never ends", invite().replace("\"A\" ", "\"A "), 400),
        ("empty parameters", invite().replace("5060>\r\n", "5060>;;;;\r\n"), 400),
        ("header without a colon", request("INVITE", "1", "nonsense\r\n", OFFER), 400),
        ("negative length", invite().replace("Content-Length: ", "Content-Length: -"), 400),
        ("two lengths", request("INVITE", "1", "Content-Length: 5\r\n", OFFER), 400),
        ("short body", invite().replace("Content-Length: ", "Content-Length: 9"), 400),
        ("body of a wrong type", invite().replace("application/sdp", "application/unknown"), 415),
        ("encoded body", request("INVITE", "1", "Content-Encoding: gzip\r\n", OFFER), 415),
        ("broken description", request("INVITE", "1", "", "m=audio"), 400),
        ("unacceptable answer", request("INVITE", "1", "Accept: text/nobodyKnowsThis\r\n", OFFER), 406),
        ("bye of nothing", request("BYE", "1", "", ""), 481),
        ("ping", request("OPTIONS", "1", "", ""), 200),
    ];
    for (name, text, status) in cases {
        assert_eq!(statuses(text), [status], "{name}");
    }
}

#[test]
fn answers_name_what_would_have_been_right() {
    let mut bench = Bench::new();
    let pad = "Subject: a long enough request leaves room for full header names in its answer, and then some more\r\n";
    let pad = format!("{pad}{pad}");
    let sent = bench.receive(request("DANCE", "1", &pad, ""));
    assert_eq!(
        header(&sent[0], "Allow"),
        Some("INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY")
    );
    let sent = bench.receive(request("INVITE", "1", &format!("Require: 100rel, foo\r\n{pad}"), OFFER));
    assert_eq!(header(&sent[0], "Unsupported"), Some("foo"));
    let sent = bench.receive(request("OPTIONS", "1", &pad, ""));
    assert_eq!(header(&sent[0], "Accept"), Some("application/sdp"));
    assert!(header(&sent[0], "Allow").is_some());
}

#[test]
fn garbage_is_dropped_and_counted() {
    for text in [
        "",
        "\r\n\r\n",
        "hello",
        "GET / HTTP/1.1\r\n\r\n",
        "SIP/2.0 200\r\n",
        "SIP/2.0 4294967301 better\r\n\r\n",
        "INVITE sip:a SIP/2.0\r\n\r\n",
    ] {
        let mut bench = Bench::new();
        assert!(bench.receive(text).is_empty(), "{text}");
        let counters = bench.endpoint.counters();
        assert_eq!(counters.malformed + counters.stray, 1, "{text}");
    }
    assert!(Bench::new().receive(vec![0xff; 70_000]).is_empty());
}

#[test]
fn a_broken_ack_is_never_answered() {
    for broken in ["SIP/9.0", "SIP/2.0"] {
        assert!(statuses(request("ACK", "1", "junk\r\n", "").replacen("SIP/2.0", broken, 1)).is_empty());
    }
}

#[test]
fn strangers_get_at_most_one_and_a_half_times_what_they_sent() {
    let config = EndpointConfig {
        user_agent: Some("a rather long product name/1.2.3 (with a comment)".into()),
        ..EndpointConfig::default()
    };
    let mut bench = Bench::with(config, Transport::Udp);
    let small = |method: &str| {
        format!(
            "{method} sip:b SIP/2.0\r\nv: SIP/2.0/UDP 10.1.1.1;rport;branch=z9hG4bK1\r\nf: <sip:a@b>;tag=1\r\nt: <sip:b>\r\ni: 1\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nm: <sip:a@10.1.1.1>\r\nl: 0\r\n\r\n"
        )
    };
    for method in ["OPTIONS", "DANCE", "BYE", "REGISTER", "CANCEL"] {
        let text = small(method);
        let sent = bench.receive(&text);
        assert_eq!(sent.len(), 1);
        let (got, gave) = (text.len(), sent[0].len());
        assert!(gave * 2 <= got * 3, "{method}: {got} bytes in, {gave} out\n{}", sent[0]);
    }
}

#[test]
fn the_same_stranger_gets_the_same_tag_without_being_remembered() {
    let mut bench = Bench::new();
    let first = bench.receive(request("OPTIONS", "1", "", ""));
    assert_eq!(bench.receive(request("OPTIONS", "1", "", "")), first);
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_caller_of_rfc_2543_is_served() {
    let mut bench = Bench::new();
    let text = format!(
        "INVITE sip:UserB@example.com SIP/2.0\r\nVia: SIP/2.0/UDP iftgw.example.com\r\n\
         From: <sip:+13035551111@ift.client.example.net;user=phone>\r\nRecord-Route: <sip:UserB@example.com;maddr=ss1.example.com>\r\n\
         To: sip:+16505552222@ss1.example.net;user=phone\r\nCall-ID: inv2543.1717@ift.client.example.com\r\nCSeq: 56 INVITE\r\n\
         Content-Type: application/sdp\r\n\r\n{OFFER}"
    );
    bench.receive(&text);
    let call = crate::world::incoming(&bench.events()).unwrap();
    bench.endpoint.ring(bench.now, call, None);
    assert_eq!(lines(&bench.sent()), ["180 Ringing"]);
    assert_eq!(lines(&bench.receive(&text)), ["180 Ringing"]);
    bench.endpoint.end(bench.now, call);
    let sent = bench.sent();
    assert_eq!(lines(&sent), ["603 Decline"]);
    let to = header(&sent[0], "To").unwrap().to_owned();
    let ack = text.replace("INVITE sip", "ACK sip").replace("56 INVITE", "56 ACK").replace(OFFER, "");
    let ack = ack.replace("To: sip:+16505552222@ss1.example.net;user=phone", &format!("To: {to}"));
    assert!(bench.receive(ack.replace("Content-Type: application/sdp\r\n", "")).is_empty());
    bench.pass(crate::world::ms(6000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn ipv6_addresses_are_read_and_written_in_brackets() {
    let mut bench = Bench::new();
    bench.flow = flow("[2001:db8::2]:5060", "[2001:db8::1]:5080", Transport::Udp);
    let text = request("OPTIONS", "1", "", "").replace("192.0.2.1:5060;branch", "[2001:db8::9]:5070;branch");
    bench.endpoint.handle_receive(bench.now, bench.flow, text.as_bytes());
    let sent = bench.endpoint.poll_transmit().unwrap();
    assert_eq!(sent.flow.remote, "[2001:db8::1]:5070".parse().unwrap());
    assert!(String::from_utf8(sent.bytes).unwrap().contains("[2001:db8::9]:5070;branch=z9hG4bK1;received=2001:db8::1"));
}
