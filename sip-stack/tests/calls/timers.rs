//! RFC 3261's timers, hour by hour in microseconds.

use sip_stack::{Cause, EndpointConfig, Event, Transport};

use crate::world::{A, B, Bench, OFFER, flow, header, inside, invite, lines, ms, outgoing};

fn at(sent: &[(u64, String)], prefix: &str) -> Vec<u64> {
    sent.iter().filter(|(_, text)| text.starts_with(prefix)).map(|(at, _)| *at).collect()
}

#[test]
fn an_unanswered_invite_is_repeated_by_timer_a_and_given_up_by_timer_b() {
    let mut bench = Bench::new();
    bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Udp)));
    assert_eq!(bench.sent().len(), 1);
    let sent = bench.pass(ms(100_000));
    assert_eq!(at(&sent, "INVITE"), [500, 1500, 3500, 7500, 15_500, 31_500]);
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Timeout, .. }]));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn over_a_stream_nothing_is_repeated() {
    let mut bench = Bench::with(EndpointConfig::default(), Transport::Tcp);
    bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Tcp)));
    assert_eq!(bench.sent().len(), 1);
    assert!(bench.pass(ms(100_000)).is_empty());
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Timeout, .. }]));
}

#[test]
fn trying_is_sent_when_nothing_else_was_for_200_ms() {
    let mut bench = Bench::new();
    bench.call();
    let sent = bench.pass(ms(1000));
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].0, sent[0].1.lines().next().unwrap()), (200, "SIP/2.0 100 Trying"));
    assert_eq!(lines(&bench.receive(invite("1", OFFER))), ["100 Trying"]);
}

#[test]
fn trying_is_sent_at_once_when_so_configured() {
    let mut bench = Bench::with(EndpointConfig { trying_after: ms(0), ..EndpointConfig::default() }, Transport::Udp);
    assert_eq!(lines(&bench.receive(invite("1", OFFER))), ["100 Trying"]);
}

#[test]
fn a_200_is_repeated_until_64_t1_then_bye() {
    let mut bench = Bench::new();
    bench.answered();
    let sent = bench.pass(ms(31_999));
    assert_eq!(at(&sent, "SIP/2.0 200"), [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]);
    let sent = bench.pass(ms(1));
    assert_eq!(at(&sent, "BYE"), [32_000]);
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::NoAck, .. }]));
    let sent = bench.pass(ms(100_000));
    assert!(sent.iter().all(|(_, text)| text.starts_with("BYE")));
    assert_eq!(sent.len(), 10);
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn an_ack_ends_the_repetition_of_the_200() {
    let mut bench = Bench::new();
    bench.established();
    assert!(bench.pass(ms(100_000)).is_empty());
}

#[test]
fn a_refusal_after_ringing_is_repeated_until_its_ack() {
    let mut bench = Bench::new();
    let call = bench.call();
    bench.endpoint.ring(bench.now, call, None);
    bench.endpoint.reject(bench.now, call, sip_stack::Refusal::new(486));
    let sent = bench.sent();
    assert_eq!(lines(&sent), ["180 Ringing", "486 Busy Here"]);
    let tag = crate::world::to_tag(&sent[1]);
    assert_eq!(at(&bench.pass(ms(4000)), "SIP/2.0 486"), [500, 1500, 3500]);
    assert!(bench.receive(inside("ACK", 1, &tag, "1", "")).is_empty());
    assert!(bench.pass(ms(100_000)).is_empty());
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_refusal_at_once_is_fetched_by_the_callers_own_repetition() {
    let mut bench = Bench::new();
    let call = bench.call();
    bench.endpoint.reject(bench.now, call, sip_stack::Refusal::new(404));
    assert_eq!(lines(&bench.sent()), ["404 Not Found"]);
    assert!(bench.pass(ms(2000)).is_empty());
    assert_eq!(lines(&bench.receive(invite("1", OFFER))), ["404 Not Found"]);
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn ringing_is_repeated_each_minute() {
    let mut bench = Bench::new();
    let call = bench.call();
    bench.endpoint.ring(bench.now, call, None);
    bench.sent();
    assert_eq!(at(&bench.pass(ms(130_000)), "SIP/2.0 180"), [60_000, 120_000]);
}

#[test]
fn an_invite_that_expires_is_answered_487() {
    let mut bench = Bench::new();
    bench.receive(crate::world::request("INVITE", "1", "Expires: 10\r\n", OFFER));
    bench.events();
    let sent = bench.pass(ms(10_000));
    let last = &sent.last().unwrap();
    assert_eq!((last.0, header(&last.1, "CSeq")), (10_000, Some("1 INVITE")));
    assert!(last.1.starts_with("SIP/2.0 487"));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Timeout, .. }]));
}

#[test]
fn an_answered_bye_repeats_its_answer_for_timer_j_and_no_longer() {
    let mut bench = Bench::new();
    let (_, tag) = bench.established();
    let bye = inside("BYE", 2, &tag, "bye", "");
    assert_eq!(lines(&bench.receive(&bye)), ["200 OK"]);
    bench.pass(ms(31_000));
    assert_eq!(lines(&bench.receive(&bye)), ["200 OK"]);
    bench.pass(ms(2000));
    assert!(lines(&bench.receive(&bye))[0].starts_with("481"));
}
