//! Transfers in both roles, replaced calls, and keys by INFO.

use sip_stack::{CallError, Cause, Event, Refusal, Transport};

use crate::world::{
    A, ANSWER, B, Bench, OFFER, flow, header, incoming, inside, lines, ms, outgoing, request, response,
};

fn refer(tag: &str, sequence: u32, extra: &str) -> String {
    inside("REFER", sequence, tag, &format!("refer{sequence}"), "")
        .replace("Max-Forwards", &format!("{extra}Max-Forwards"))
}

#[test]
fn a_refer_is_asked_accepted_and_told_to_its_end() {
    let mut bench = Bench::new();
    let (call, tag) = bench.established();
    let extra = "Refer-To: \"Desk\" <sip:+1900@carrier;user=phone?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n\
                 Referred-By: <sip:boss@example.com>\r\n";
    assert_eq!(lines(&bench.receive(refer(&tag, 2, extra))), ["100 Trying"]);
    let events = bench.events();
    let [Event::Refer { refer: asked, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(asked.to.uri.as_str(), "sip:+1900@carrier;user=phone");
    assert_eq!(asked.replaces.as_deref(), Some("a@b;to-tag=1;from-tag=2"));
    assert_eq!(asked.referred_by.as_ref().unwrap().uri.as_str(), "sip:boss@example.com");
    assert!(lines(&bench.receive(refer(&tag, 3, extra)))[0].starts_with("491"), "one at a time");

    bench.endpoint.accept_refer(bench.now, call).unwrap();
    let sent = bench.sent();
    assert_eq!(lines(&sent)[0], "202 Accepted");
    assert_eq!(
        (header(&sent[1], "Event"), header(&sent[1], "Subscription-State")),
        (Some("refer;id=2"), Some("active;expires=180"))
    );
    assert!(sent[1].ends_with("\r\n\r\nSIP/2.0 100 Trying\r\n"));
    bench.receive(response(&sent[1], "200 OK", "", ""));
    bench.endpoint.refer_progress(bench.now, call, 180);
    bench.endpoint.refer_progress(bench.now, call, 200);
    let sent = bench.sent();
    assert!(sent[0].ends_with("SIP/2.0 180 Ringing\r\n") && sent[1].ends_with("SIP/2.0 200 OK\r\n"));
    assert_eq!(header(&sent[1], "Subscription-State"), Some("terminated;reason=noresource"));
    bench.endpoint.refer_progress(bench.now, call, 200);
    assert!(bench.sent().is_empty(), "the story has ended");
    assert_eq!(bench.endpoint.accept_refer(bench.now, call), Err(CallError::NothingToAnswer));
}

#[test]
fn a_refer_may_be_declined_be_silent_or_be_nonsense() {
    let mut bench = Bench::new();
    let (call, tag) = bench.established();
    bench.receive(refer(&tag, 2, "Refer-To: <sip:x@y>\r\n"));
    bench.endpoint.refuse_refer(bench.now, call, Refusal::new(603)).unwrap();
    assert_eq!(lines(&bench.sent()), ["603 Decline"]);
    bench.receive(refer(&tag, 3, "Refer-To: <sip:x@y>\r\nRefer-Sub: false\r\n"));
    bench.endpoint.accept_refer(bench.now, call).unwrap();
    bench.endpoint.refer_progress(bench.now, call, 200);
    assert_eq!(lines(&bench.sent()), ["202 Accepted"]);
    for (sequence, extra, status) in [
        (4, "", "400"),
        (5, "Refer-To: <sip:x@y>, <sip:z@y>\r\n", "400"),
        (6, "Refer-To: <http://x>\r\n", "400"),
        (7, "Refer-To: <sip:x@y;method=BYE>\r\n", "501"),
    ] {
        assert!(lines(&bench.receive(refer(&tag, sequence, extra)))[0].starts_with(status), "{extra}");
    }
}

#[test]
fn a_stranger_cannot_make_us_call() {
    let mut bench = Bench::new();
    assert!(lines(&bench.receive(request("REFER", "1", "Refer-To: <sip:+1900@x>\r\n", "")))[0].starts_with("403"));
    assert!(bench.events().is_empty());
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn our_refer_is_followed_by_its_notifies() {
    let mut bench = Bench::new();
    let (call, tag) = bench.established();
    bench
        .endpoint
        .refer(bench.now, call, &"sip:desk@example.com".parse().unwrap(), Some("i@h;to-tag=1;from-tag=2"))
        .unwrap();
    let sent = bench.sent().pop().unwrap();
    assert_eq!(header(&sent, "Refer-To"), Some("<sip:desk@example.com?Replaces=i%40h%3Bto-tag%3D1%3Bfrom-tag%3D2>"));
    assert_eq!(header(&sent, "Referred-By"), Some("<sip:demo@192.0.2.2>"));
    bench.receive(response(&sent, "202 Accepted", "", ""));
    let notify = |sequence: u32, event: &str, state: &str, body: &str| {
        inside("NOTIFY", sequence, &tag, &format!("n{sequence}"), body)
            .replace("application/sdp", "message/sipfrag")
            .replace("Max-Forwards", &format!("Event: {event}\r\nSubscription-State: {state}\r\nMax-Forwards"))
    };
    assert!(lines(&bench.receive(notify(2, "presence", "active", "")))[0].starts_with("489"));
    assert_eq!(lines(&bench.receive(notify(3, "refer", "active", "SIP/2.0 180 Ringing\r\n"))), ["200 OK"]);
    assert_eq!(
        lines(&bench.receive(notify(4, "refer;id=2", "terminated;reason=noresource", "SIP/2.0 486 Busy\r\n"))),
        ["200 OK"]
    );
    assert!(lines(&bench.receive(notify(5, "refer", "active", "SIP/2.0 200 OK\r\n")))[0].starts_with("481"));
    let told: Vec<_> = bench
        .events()
        .iter()
        .map(|event| match event {
            Event::Transfer { status, over, .. } => (*status, *over),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(100, false), (180, false), (486, true)]);
    // Refused at once.
    bench.endpoint.refer(bench.now, call, &"sip:desk@example.com".parse().unwrap(), None).unwrap();
    let sent = bench.sent().pop().unwrap();
    bench.receive(response(&sent, "603 Decline", "", ""));
    assert!(matches!(bench.events()[..], [Event::Transfer { status: 603, over: true, .. }]));
}

#[test]
fn a_call_takes_the_place_of_another() {
    let mut bench = Bench::new();
    let (call, tag) = bench.established();
    assert_eq!(bench.endpoint.replaces(call).unwrap(), format!("call@192.0.2.1;to-tag=aaa;from-tag={tag}"));
    let other = |branch: &str, replaces: &str| {
        request("INVITE", branch, &format!("Replaces: {replaces}\r\n"), OFFER)
            .replace("Call-ID: call@", &format!("Call-ID: {branch}@"))
    };
    let sent = bench.receive(other("n1", &format!("call@192.0.2.1;to-tag={tag};from-tag=wrong")));
    assert!(lines(&sent)[0].starts_with("481"));
    assert!(lines(&bench.receive(other("n2", "call@192.0.2.1")))[0].starts_with("400"));
    let sent = bench.receive(other("n3", &format!("call@192.0.2.1;to-tag={tag};from-tag=aaa;early-only")));
    assert!(lines(&sent)[0].starts_with("486"));
    bench.receive(other("n4", &format!("call@192.0.2.1;to-tag={tag};from-tag=aaa")));
    let events = bench.events();
    let [Event::Incoming { call: new, invite }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(invite.replaces, Some(call));
    bench.endpoint.answer(bench.now, *new, ANSWER.into()).unwrap();
    let sent = bench.sent();
    assert!(sent[0].starts_with("SIP/2.0 200") && sent[1].starts_with("BYE "));
    assert!(matches!(bench.events()[..], [Event::Ended { call: old, cause: Cause::Replaced }] if old == call));
}

#[test]
fn keys_go_out_by_info() {
    let mut bench = Bench::new();
    let (call, _) = bench.established();
    bench.endpoint.send_key(bench.now, call, '#', 160).unwrap();
    let sent = bench.sent().pop().unwrap();
    assert_eq!(header(&sent, "Content-Type"), Some("application/dtmf-relay"));
    assert!(sent.ends_with("Signal=#\r\nDuration=160\r\n"));
    assert!(bench.endpoint.send_key(bench.now, call, 'x', 160).is_err());
    bench.receive(response(&sent, "481 Call/Transaction Does Not Exist", "", ""));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Timeout, .. }]), "the other side is gone");
    let ringing = bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Udp)));
    assert_eq!(bench.endpoint.send_key(bench.now, ringing, '1', 1), Err(CallError::NotAnswered));
    assert_eq!(incoming(&bench.events()), None);
    bench.pass(ms(1));
}
