//! Reliable provisional answers in both roles (RFC 3262).

use sip_stack::{CallError, Cause, Event, Transport};

use crate::world::{A, ANSWER, B, Bench, OFFER, flow, header, inside, lines, ms, outgoing, request, response, to_tag};

/// An INVITE that can take, or wants, reliable answers.
fn called(bench: &mut Bench, extra: &str) -> sip_stack::CallHandle {
    bench.receive(request("INVITE", "1", extra, OFFER));
    crate::world::incoming(&bench.events()).unwrap()
}

fn prack(tag: &str, sequence: u32, rack: &str) -> String {
    inside("PRACK", sequence, tag, &format!("prack{sequence}"), "")
        .replace("Max-Forwards", &format!("RAck: {rack}\r\nMax-Forwards"))
}

#[test]
fn early_media_is_repeated_until_its_prack() {
    let mut bench = Bench::new();
    let call = called(&mut bench, "Supported: 100rel\r\n");
    bench.endpoint.ring(bench.now, call, Some(ANSWER.into()));
    let progress = bench.sent().pop().unwrap();
    assert_eq!(
        (lines(std::slice::from_ref(&progress))[0], header(&progress, "Require")),
        ("183 Session Progress", Some("100rel"))
    );
    let number = header(&progress, "RSeq").unwrap().to_owned();
    let sent = bench.pass(ms(4000));
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [500, 1500, 3500]);
    let tag = to_tag(&progress);
    assert!(lines(&bench.receive(prack(&tag, 2, "99999 1 INVITE")))[0].starts_with("481"));
    assert_eq!(lines(&bench.receive(prack(&tag, 3, &format!("{number} 1 INVITE")))), ["200 OK"]);
    assert_eq!(lines(&bench.receive(prack(&tag, 3, &format!("{number} 1 INVITE")))), ["200 OK"], "a repetition");
    assert!(bench.pass(ms(30_000)).is_empty());
    // The description was given: the 200 has none, and another one would be a lie.
    assert_eq!(bench.endpoint.answer(bench.now, call, OFFER.into()), Err(CallError::Settled));
    bench.endpoint.answer(bench.now, call, ANSWER.into()).unwrap();
    let ok = bench.sent().pop().unwrap();
    assert!(ok.contains("Content-Length: 0"));
    bench.receive(inside("ACK", 1, &tag, "ack", ""));
    assert!(matches!(bench.events()[..], [Event::Established { sdp: None, .. }]));
}

#[test]
fn the_200_waits_for_the_prack_of_a_description() {
    let mut bench = Bench::new();
    let call = called(&mut bench, "Supported: 100rel\r\n");
    bench.endpoint.ring(bench.now, call, Some(ANSWER.into()));
    let progress = bench.sent().pop().unwrap();
    bench.endpoint.answer(bench.now, call, ANSWER.into()).unwrap();
    assert!(bench.sent().is_empty());
    let rack = format!("{} 1 INVITE", header(&progress, "RSeq").unwrap());
    assert_eq!(lines(&bench.receive(prack(&to_tag(&progress), 2, &rack))), ["200 OK", "200 OK"]);
}

#[test]
fn a_second_reliable_answer_waits_for_the_prack_of_the_first() {
    let mut bench = Bench::new();
    let call = called(&mut bench, "Require: 100rel\r\n");
    bench.endpoint.ring(bench.now, call, None);
    bench.endpoint.ring(bench.now, call, Some(ANSWER.into()));
    let sent = bench.sent();
    assert_eq!(lines(&sent), ["180 Ringing"]);
    let first: u32 = header(&sent[0], "RSeq").unwrap().parse().unwrap();
    let sent = bench.receive(prack(&to_tag(&sent[0]), 2, &format!("{first} 1 INVITE")));
    assert_eq!(lines(&sent), ["200 OK", "183 Session Progress"]);
    assert_eq!(header(&sent[1], "RSeq"), Some((first + 1).to_string().as_str()));
}

#[test]
fn a_caller_who_wants_prack_and_sends_none_is_given_up() {
    let mut bench = Bench::new();
    let call = called(&mut bench, "Require: 100rel\r\n");
    bench.endpoint.ring(bench.now, call, None);
    bench.sent();
    let sent = bench.pass(ms(32_000));
    assert!(sent.iter().any(|(at, text)| *at == 32_000 && text.starts_with("SIP/2.0 504")));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::NoAck, .. }]));
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn ringing_without_a_description_stays_plain_unless_required() {
    let mut bench = Bench::new();
    let call = called(&mut bench, "Supported: 100rel\r\n");
    bench.endpoint.ring(bench.now, call, None);
    assert_eq!(header(&bench.sent()[0], "RSeq"), None);
}

#[test]
fn an_offer_of_ours_in_early_media_is_answered_by_the_prack() {
    let mut bench = Bench::new();
    bench.receive(request("INVITE", "1", "Supported: 100rel\r\n", ""));
    let call = crate::world::incoming(&bench.events()).unwrap();
    bench.endpoint.ring(bench.now, call, Some(OFFER.into()));
    let progress = bench.sent().pop().unwrap();
    let tag = to_tag(&progress);
    let rack = format!("RAck: {} 1 INVITE\r\nMax-Forwards", header(&progress, "RSeq").unwrap());
    bench.receive(inside("PRACK", 2, &tag, "p", ANSWER).replace("Max-Forwards", &rack));
    assert!(matches!(bench.events()[..], [Event::EarlyAnswer { .. }]));
    bench.endpoint.answer(bench.now, call, OFFER.into()).unwrap();
    bench.sent();
    // The ACK needs no answer any more.
    bench.receive(inside("ACK", 1, &tag, "ack", ""));
    assert!(matches!(bench.events()[..], [Event::Established { sdp: None, .. }]));
}

#[test]
fn our_prack_acknowledges_each_reliable_answer_once_and_in_order() {
    let mut bench = Bench::new();
    bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Udp)));
    let invite = bench.sent().pop().unwrap();
    assert!(header(&invite, "Supported").unwrap().contains("100rel"));
    let progress = |rseq: u32, body: &str| {
        response(&invite, "183 Session Progress", "b", body)
            .replace("Contact:", &format!("Require: 100rel\r\nRSeq: {rseq}\r\nContact:"))
    };
    let sent = bench.receive(progress(7, ANSWER));
    assert!(sent[0].starts_with("PRACK sip:demo@192.0.2.1:5070 SIP/2.0"));
    assert_eq!((header(&sent[0], "RAck"), header(&sent[0], "CSeq")), (Some("7 1 INVITE"), Some("2 PRACK")));
    bench.receive(response(&sent[0], "200 OK", "", ""));
    assert!(bench.receive(progress(7, ANSWER)).is_empty(), "a repetition");
    assert!(bench.receive(progress(9, ANSWER)).is_empty(), "one is missing before it");
    let sent = bench.receive(progress(8, ""));
    assert_eq!((header(&sent[0], "RAck"), header(&sent[0], "CSeq")), (Some("8 1 INVITE"), Some("3 PRACK")));
    assert!(matches!(bench.events()[..], [Event::Ringing { sdp: Some(_), .. }, Event::Ringing { sdp: None, .. }]));
    // The 200 may leave the description out; the BYE counts on from the PRACKs.
    let ack = bench.receive(response(&invite, "200 OK", "b", ""));
    assert_eq!(header(&ack[0], "CSeq"), Some("1 ACK"));
    let events = bench.events();
    let [Event::Answered { call, sdp, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(sdp.media[0].port, 5000);
    bench.endpoint.end(bench.now, *call);
    assert_eq!(header(&bench.sent()[0], "CSeq"), Some("4 BYE"));
}

#[test]
fn early_media_and_a_different_200_are_both_told() {
    let mut bench = Bench::new();
    bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Udp)));
    let invite = bench.sent().pop().unwrap();
    bench.receive(response(&invite, "183 Session Progress", "b", ANSWER));
    bench.receive(response(&invite, "200 OK", "c", &ANSWER.replace("5000", "6000")));
    let events = bench.events();
    let [Event::Ringing { sdp: Some(early), .. }, Event::Answered { sdp, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((early.media[0].port, sdp.media[0].port), (5000, 6000));
}
