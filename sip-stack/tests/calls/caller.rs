//! What a callee's engineer sees of our side when we call.

use sip_stack::{CallHandle, Cause, Event, Transport};

use crate::world::{A, ANSWER, B, Bench, flow, header, lines, ms, outgoing, response};

/// Calls from a bench; returns the handle and the INVITE.
fn dial(bench: &mut Bench) -> (CallHandle, String) {
    let call = bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Udp)));
    (call, bench.sent().pop().unwrap())
}

#[test]
fn a_repeated_200_gets_the_same_ack_even_after_the_call() {
    let mut bench = Bench::new();
    let (call, invite) = dial(&mut bench);
    let ok = response(&invite, "200 OK", "b", ANSWER);
    let ack = bench.receive(&ok);
    assert!(ack[0].starts_with("ACK sip:demo@192.0.2.1:5070 SIP/2.0"));
    assert!(matches!(bench.events()[..], [Event::Answered { .. }]));
    assert_eq!(bench.receive(&ok), ack);
    bench.endpoint.end(bench.now, call);
    let bye = bench.sent().pop().unwrap();
    assert_eq!(header(&bye, "CSeq"), Some("2 BYE"));
    bench.receive(response(&bye, "200 OK", "b", ""));
    assert_eq!(bench.receive(&ok), ack);
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_refusal_gets_its_ack_in_the_same_transaction() {
    let mut bench = Bench::new();
    let (_, invite) = dial(&mut bench);
    let busy = response(&invite, "486 Busy Here", "b", "");
    let ack = bench.receive(&busy);
    assert_eq!(header(&ack[0], "Via"), header(&invite, "Via"));
    assert_eq!(header(&ack[0], "CSeq"), Some("1 ACK"));
    assert!(header(&ack[0], "To").unwrap().ends_with(";tag=b"));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Rejected(486), .. }]));
    assert_eq!(bench.receive(&busy), ack);
    assert!(bench.events().is_empty());
}

#[test]
fn cancel_waits_for_a_provisional_answer() {
    let mut bench = Bench::new();
    let (call, invite) = dial(&mut bench);
    bench.endpoint.end(bench.now, call);
    assert!(bench.sent().is_empty());
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Local, .. }]));
    let cancel = bench.receive(response(&invite, "100 Trying", "", ""));
    assert!(cancel[0].starts_with("CANCEL sip:demo@192.0.2.1:5060"));
    assert_eq!(header(&cancel[0], "Via"), header(&invite, "Via"));
    assert!(bench.receive(response(&invite, "180 Ringing", "b", "")).is_empty());
    bench.receive(response(&cancel[0], "200 OK", "b", ""));
    let ack = bench.receive(response(&invite, "487 Request Terminated", "b", ""));
    assert!(ack[0].starts_with("ACK "));
    assert!(bench.events().is_empty());
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_200_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    let mut bench = Bench::new();
    let (call, invite) = dial(&mut bench);
    bench.receive(response(&invite, "180 Ringing", "b", ""));
    bench.endpoint.end(bench.now, call);
    assert!(bench.sent()[0].starts_with("CANCEL "));
    let sent = bench.receive(response(&invite, "200 OK", "b", ANSWER));
    let methods: Vec<_> = sent.iter().map(|text| text.split(' ').next().unwrap()).collect();
    assert_eq!(methods, ["ACK", "BYE"]);
    assert!(matches!(bench.events()[..], [Event::Ringing { .. }, Event::Ended { cause: Cause::Local, .. }]));
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn nothing_after_cancel_is_given_up_after_64_t1() {
    let mut bench = Bench::new();
    let (call, invite) = dial(&mut bench);
    bench.receive(response(&invite, "180 Ringing", "b", ""));
    bench.endpoint.end(bench.now, call);
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_second_branch_of_a_fork_is_hung_up() {
    let mut bench = Bench::new();
    let (_, invite) = dial(&mut bench);
    bench.receive(response(&invite, "200 OK", "b", ANSWER));
    let sent = bench.receive(response(&invite, "200 OK", "c", ANSWER));
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("BYE "));
    assert!(header(&sent[1], "To").unwrap().ends_with(";tag=c"));
    assert_eq!(bench.events().len(), 1);
}

#[test]
fn an_answer_without_a_description_ends_in_bye() {
    let mut bench = Bench::new();
    let (_, invite) = dial(&mut bench);
    let sent = bench.receive(response(&invite, "200 OK", "b", ""));
    assert!(sent[0].starts_with("ACK ") && sent[1].starts_with("BYE "));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Rejected(488), .. }]));
}

#[test]
fn routes_of_the_answer_count_from_the_far_end() {
    let mut bench = Bench::new();
    let (_, invite) = dial(&mut bench);
    let ok = response(&invite, "200 OK", "b", ANSWER)
        .replace("Contact:", "Record-Route: <sip:192.0.2.8;lr>\r\nRecord-Route: <sip:192.0.2.7;lr>\r\nContact:");
    bench.endpoint.handle_receive(bench.now, bench.flow, ok.as_bytes());
    let ack = bench.endpoint.poll_transmit().unwrap();
    assert_eq!(ack.flow.remote, "192.0.2.7:5060".parse().unwrap());
    let text = String::from_utf8(ack.bytes).unwrap();
    let routes: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
    assert_eq!(routes, ["<sip:192.0.2.7;lr>", "<sip:192.0.2.8;lr>"]);
}

#[test]
fn the_callee_may_hang_up_and_send_keys() {
    let mut bench = Bench::new();
    let (_, invite) = dial(&mut bench);
    bench.receive(response(&invite, "200 OK", "b", ANSWER));
    bench.events();
    let tag = header(&invite, "From").unwrap().split(";tag=").nth(1).unwrap();
    let bye = format!(
        "BYE sip:x@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKq\r\nFrom: <sip:d@x>;tag=b\r\n\
         To: <sip:c@x>;tag={tag}\r\nCall-ID: {}\r\nCSeq: 7 BYE\r\n\r\n",
        header(&invite, "Call-ID").unwrap()
    );
    assert_eq!(lines(&bench.receive(bye)), ["200 OK"]);
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Bye, .. }]));
}
