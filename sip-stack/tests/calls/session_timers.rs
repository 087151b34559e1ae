//! Session timers in both roles (RFC 4028).

use sip_stack::{Cause, EndpointConfig, Event, Reliable, Transport};

use crate::world::{A, ANSWER, B, Bench, OFFER, flow, header, inside, lines, ms, outgoing, request, response, to_tag};

/// A call to us whose INVITE carries `extra`; returns our 200.
fn answered(bench: &mut Bench, extra: &str) -> String {
    bench.receive(request("INVITE", "1", extra, OFFER));
    let call = crate::world::incoming(&bench.events()).unwrap();
    bench.endpoint.answer(bench.now, call, ANSWER.into()).unwrap();
    let ok = bench.sent().pop().unwrap();
    bench.receive(inside("ACK", 1, &to_tag(&ok), "ack", ""));
    bench.events();
    ok
}

#[test]
fn a_brief_interval_is_422_and_names_the_shortest() {
    let mut bench = Bench::new();
    let sent = bench.receive(request("INVITE", "1", "Supported: timer\r\nSession-Expires: 60\r\n", OFFER));
    assert_eq!(lines(&sent), ["422 Session Interval Too Small"]);
    assert_eq!(header(&sent[0], "Min-SE"), Some("90"));
    assert!(bench.events().is_empty());
}

#[test]
fn a_call_out_says_what_its_trunk_wants() {
    let mut bench = Bench::new();
    let mut wish = outgoing(flow(B, A, Transport::Udp));
    wish.max_forwards = 30;
    wish.session_expires = Some(std::time::Duration::from_secs(600));
    wish.reliable = Reliable::Required;
    bench.endpoint.invite(bench.now, wish.clone());
    let invite = bench.sent().pop().unwrap();
    assert_eq!(header(&invite, "Max-Forwards"), Some("30"));
    assert_eq!(header(&invite, "Session-Expires"), Some("600"));
    assert_eq!(header(&invite, "Require"), Some("100rel"));
    wish.reliable = Reliable::Off;
    bench.endpoint.invite(bench.now, wish);
    assert!(!header(&bench.sent()[0], "Supported").unwrap().contains("100rel"));
}

#[test]
fn the_caller_refreshes_when_he_can_and_the_call_ends_when_he_does_not() {
    let mut bench = Bench::new();
    let ok = answered(&mut bench, "Supported: timer\r\nSession-Expires: 300\r\n");
    assert_eq!(header(&ok, "Session-Expires"), Some("300;refresher=uac"));
    assert_eq!(header(&ok, "Require"), Some("timer"));
    let tag = to_tag(&ok);
    // An UPDATE without a description is a sign of life.
    bench.pass(ms(200_000));
    let update = inside("UPDATE", 2, &tag, "u", "")
        .replace("Max-Forwards", "Supported: timer\r\nSession-Expires: 300;refresher=uac\r\nMax-Forwards");
    let sent = bench.receive(&update);
    assert_eq!((lines(&sent)[0], header(&sent[0], "Session-Expires")), ("200 OK", Some("300;refresher=uac")));
    assert!(bench.pass(ms(267_000)).is_empty());
    assert!(bench.events().is_empty());
    let sent = bench.pass(ms(1000));
    assert!(sent[0].1.starts_with("BYE "));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Expired, .. }]));
}

#[test]
fn for_a_caller_without_timers_we_refresh() {
    let mut bench = Bench::new();
    let ok = answered(&mut bench, "Allow: INVITE, ACK, BYE\r\n");
    assert_eq!(header(&ok, "Session-Expires"), Some("1800;refresher=uas"));
    assert_eq!(header(&ok, "Require"), None);
    // He takes no UPDATE: the refresh is a re-INVITE with the description he knows.
    let sent = bench.pass(ms(900_000));
    assert!(sent[0].1.starts_with("INVITE ") && sent[0].1.ends_with(ANSWER));
    assert_eq!(header(&sent[0].1, "Session-Expires"), Some("1800;refresher=uac"));
    let ok = response(&sent[0].1, "200 OK", "", OFFER)
        .replace("Contact:", "Session-Expires: 1800;refresher=uac\r\nContact:");
    assert!(bench.receive(ok)[0].starts_with("ACK "));
    assert!(matches!(bench.events()[..], [Event::Changed { .. }]));
    assert_eq!(bench.pass(ms(900_000)).len(), 1, "and the next one half an interval later");
}

#[test]
fn a_refresh_by_update_that_nobody_answers_ends_the_call() {
    let mut bench = Bench::new();
    answered(&mut bench, "Allow: INVITE, UPDATE\r\nSession-Expires: 100\r\n");
    let sent = bench.pass(ms(50_000));
    assert!(sent[0].1.starts_with("UPDATE "));
    bench.pass(ms(33_000));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Timeout | Cause::Expired, .. }]));
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn our_call_asks_for_a_timer_and_takes_422_for_an_answer() {
    let mut bench = Bench::new();
    bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Udp)));
    let invite = bench.sent().pop().unwrap();
    assert_eq!((header(&invite, "Session-Expires"), header(&invite, "Min-SE")), (Some("1800"), Some("90")));
    let refused =
        response(&invite, "422 Session Interval Too Small", "x", "").replace("Contact:", "Min-SE: 3600\r\nContact:");
    let sent = bench.receive(refused);
    assert_eq!((header(&sent[1], "Session-Expires"), header(&sent[1], "Min-SE")), (Some("3600"), Some("3600")));
    assert_eq!(header(&sent[1], "CSeq"), Some("2 INVITE"));
    let ok = response(&sent[1], "200 OK", "y", ANSWER)
        .replace("Contact:", "Allow: INVITE, UPDATE\r\nSession-Expires: 3600;refresher=uac\r\nContact:");
    bench.receive(ok);
    let sent = bench.pass(ms(1_800_000));
    assert!(sent[0].1.starts_with("UPDATE "));
    assert_eq!(header(&sent[0].1, "Session-Expires"), Some("3600;refresher=uac"));
    bench.receive(response(&sent[0].1, "200 OK", "", ""));
    // The peer granted nothing any more: the session goes on without a timer.
    assert!(bench.pass(ms(10_000_000)).is_empty());
}

#[test]
fn no_interval_is_asked_for_when_there_is_to_be_none() {
    let config = EndpointConfig { session_expires: ms(0), ..EndpointConfig::default() };
    let mut bench = Bench::with(config, Transport::Udp);
    assert_eq!(header(&answered(&mut bench, "Supported: timer\r\n"), "Session-Expires"), None);
}
