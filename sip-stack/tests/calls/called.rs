//! What a caller's engineer sees of our side: answers as literal text.

use sip_stack::{Cause, EndpointConfig, Event, Refusal, Transport};

use crate::world::{ANSWER, Bench, OFFER, header, inside, invite, lines, ms, request, to_tag};

#[test]
fn record_route_is_echoed_and_its_routes_are_used() {
    let mut bench = Bench::new();
    let routes = "Record-Route: <sip:192.0.2.7;lr>, <sip:proxy.example;lr>\r\nRecord-Route: <sip:192.0.2.8;lr>\r\n";
    bench.receive(request("INVITE", "1", routes, OFFER));
    let call = crate::world::incoming(&bench.events()).unwrap();
    bench.endpoint.ring(bench.now, call, None);
    bench.endpoint.answer(bench.now, call, ANSWER.into()).unwrap();
    let sent = bench.sent();
    for text in &sent {
        assert!(text.contains(routes), "{text}");
    }
    bench.receive(inside("ACK", 1, &to_tag(&sent[1]), "ack", ""));
    bench.endpoint.end(bench.now, call);
    let bye = bench.endpoint.poll_transmit().unwrap();
    assert_eq!(bye.flow.remote, "192.0.2.7:5060".parse().unwrap());
    let bye = String::from_utf8(bye.bytes).unwrap();
    assert!(bye.starts_with("BYE sip:a@192.0.2.1:5060 SIP/2.0"));
    let routes: Vec<_> = bye.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
    assert_eq!(routes, ["<sip:192.0.2.7;lr>", "<sip:proxy.example;lr>", "<sip:192.0.2.8;lr>"]);
}

#[test]
fn a_strict_router_becomes_the_request_uri() {
    let mut bench = Bench::new();
    bench.receive(request("INVITE", "1", "Record-Route: <sip:192.0.2.7>, <sip:192.0.2.8;lr>\r\n", OFFER));
    let call = crate::world::incoming(&bench.events()).unwrap();
    bench.endpoint.answer(bench.now, call, ANSWER.into()).unwrap();
    let tag = to_tag(&bench.sent()[0]);
    bench.receive(inside("ACK", 1, &tag, "ack", ""));
    bench.endpoint.end(bench.now, call);
    let bye = bench.sent().pop().unwrap();
    assert!(bye.starts_with("BYE sip:192.0.2.7 SIP/2.0"));
    let routes: Vec<_> = bye.lines().filter_map(|line| line.strip_prefix("Route: ")).collect();
    assert_eq!(routes, ["<sip:192.0.2.8;lr>", "<sip:a@192.0.2.1:5060>"]);
}

#[test]
fn received_and_rport_say_what_the_socket_saw() {
    let mut bench = Bench::new();
    let behind =
        request("OPTIONS", "1", "", "").replace("192.0.2.1:5060;branch", "10.0.0.5:5062;rport;received=1.2.3.4;branch");
    bench.endpoint.handle_receive(bench.now, bench.flow, behind.as_bytes());
    let sent = bench.endpoint.poll_transmit().unwrap();
    assert_eq!(sent.flow.remote, bench.flow.remote);
    let text = String::from_utf8(sent.bytes).unwrap();
    let via = text.lines().find(|line| line.starts_with('V') || line.starts_with('v')).unwrap();
    assert!(via.ends_with("SIP/2.0/UDP 10.0.0.5:5062;rport=5060;branch=z9hG4bK1;received=192.0.2.1"), "{via}");

    let without = request("OPTIONS", "2", "", "").replace("192.0.2.1:5060;branch", "10.0.0.5:5062;branch");
    bench.endpoint.handle_receive(bench.now, bench.flow, without.as_bytes());
    assert_eq!(bench.endpoint.poll_transmit().unwrap().flow.remote, "192.0.2.1:5062".parse().unwrap());
}

#[test]
fn cancel_gets_200_and_the_invite_487() {
    let mut bench = Bench::new();
    let call = bench.call();
    bench.endpoint.ring(bench.now, call, None);
    let tag = to_tag(&bench.sent()[0]);
    let sent = bench.receive(request("CANCEL", "1", "", ""));
    assert_eq!(lines(&sent), ["200 OK", "487 Request Terminated"]);
    assert!(sent.iter().all(|text| to_tag(text) == tag));
    assert_eq!(header(&sent[0], "CSeq"), Some("1 CANCEL"));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Cancel, .. }]));
    bench.receive(inside("ACK", 1, &tag, "1", ""));
    assert!(bench.endpoint.answer(bench.now, call, ANSWER.into()).is_err());
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_cancel_that_crosses_the_200_changes_nothing() {
    let mut bench = Bench::new();
    let (_, ok) = bench.answered();
    assert_eq!(lines(&bench.receive(request("CANCEL", "1", "", ""))), ["200 OK"]);
    assert!(bench.receive(inside("ACK", 1, &to_tag(&ok), "ack", "")).is_empty());
    assert!(matches!(bench.events()[..], [Event::Established { .. }]));
}

#[test]
fn a_cancel_of_nothing_is_481() {
    assert!(lines(&Bench::new().receive(request("CANCEL", "9", "", "")))[0].starts_with("481"));
}

#[test]
fn a_merged_request_is_482_and_a_repeated_one_is_absorbed() {
    let mut bench = Bench::new();
    bench.call();
    assert!(bench.receive(invite("1", OFFER)).is_empty());
    assert_eq!(lines(&bench.receive(invite("2", OFFER))), ["482 Loop Detected"]);
    assert!(bench.events().is_empty());
}

#[test]
fn bye_before_the_ack_ends_the_call_and_the_repetition() {
    let mut bench = Bench::new();
    let (_, ok) = bench.answered();
    assert_eq!(lines(&bench.receive(inside("BYE", 2, &to_tag(&ok), "bye", ""))), ["200 OK"]);
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Bye, .. }]));
    assert!(bench.pass(ms(100_000)).is_empty());
}

#[test]
fn our_hang_up_before_the_ack_waits_for_it() {
    let mut bench = Bench::new();
    let (call, ok) = bench.answered();
    bench.endpoint.end(bench.now, call);
    assert!(bench.sent().is_empty());
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Local, .. }]));
    let sent = bench.receive(inside("ACK", 1, &to_tag(&ok), "ack", ""));
    assert!(sent[0].starts_with("BYE "));
    assert!(bench.events().is_empty());
}

#[test]
fn bye_crossing_bye_is_answered_200_and_ends_once() {
    let mut bench = Bench::new();
    let (call, tag) = bench.established();
    bench.endpoint.end(bench.now, call);
    assert!(bench.sent()[0].starts_with("BYE "));
    assert_eq!(lines(&bench.receive(inside("BYE", 2, &tag, "bye", ""))), ["200 OK"]);
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Local, .. }]));
}

#[test]
fn bye_in_an_early_dialog_ends_the_invite_with_487() {
    let mut bench = Bench::new();
    let call = bench.call();
    bench.endpoint.ring(bench.now, call, None);
    let tag = to_tag(&bench.sent()[0]);
    assert_eq!(lines(&bench.receive(inside("BYE", 2, &tag, "bye", ""))), ["200 OK", "487 Request Terminated"]);
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Bye, .. }]));
}

#[test]
fn a_late_offer_is_ours_and_the_ack_brings_the_answer() {
    let mut bench = Bench::new();
    bench.receive(invite("1", ""));
    let events = bench.events();
    let [Event::Incoming { call, invite }] = &events[..] else { panic!("{events:?}") };
    assert!(invite.sdp.is_none());
    bench.endpoint.answer(bench.now, *call, OFFER.into()).unwrap();
    let tag = to_tag(&bench.sent()[0]);
    bench.receive(inside("ACK", 1, &tag, "ack", ANSWER));
    let events = bench.events();
    let [Event::Established { sdp: Some(sdp), .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(sdp.media[0].port, 5000);
}

#[test]
fn a_late_offer_without_an_answer_ends_in_bye() {
    let mut bench = Bench::new();
    bench.receive(invite("1", ""));
    let call = crate::world::incoming(&bench.events()).unwrap();
    bench.endpoint.answer(bench.now, call, OFFER.into()).unwrap();
    let tag = to_tag(&bench.sent()[0]);
    assert!(bench.receive(inside("ACK", 1, &tag, "ack", ""))[0].starts_with("BYE "));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Rejected(488), .. }]));
}

#[test]
fn a_reinvite_is_asked_answered_and_acknowledged() {
    let mut bench = Bench::new();
    let (call, tag) = bench.established();
    bench.receive(inside("INVITE", 2, &tag, "re", OFFER));
    assert!(matches!(bench.events()[..], [Event::Reinvite { sdp: Some(_), .. }]));
    bench.endpoint.answer(bench.now, call, ANSWER.into()).unwrap();
    let sent = bench.sent();
    assert_eq!((lines(&sent), header(&sent[0], "CSeq")), (vec!["200 OK"], Some("2 INVITE")));
    assert_eq!(lines(&bench.receive(inside("INVITE", 3, &tag, "re2", OFFER))), ["491 Request Pending"]);
    assert_eq!(bench.pass(ms(600)).len(), 1);
    bench.receive(inside("ACK", 2, &tag, "ack2", ""));
    assert!(bench.events().is_empty());
    assert!(bench.pass(ms(100_000)).is_empty());
    assert_eq!(lines(&bench.receive(inside("BYE", 4, &tag, "bye", ""))), ["200 OK"]);
}

#[test]
fn a_refused_reinvite_leaves_the_call_as_it_was() {
    let mut bench = Bench::new();
    let (call, tag) = bench.established();
    bench.receive(inside("INVITE", 2, &tag, "re", OFFER));
    bench.endpoint.reject(bench.now, call, Refusal::new(488).with_warning(304, "No \"audio\""));
    let sent = bench.sent();
    assert_eq!(lines(&sent), ["488 Not Acceptable Here"]);
    assert_eq!(header(&sent[0], "Warning"), Some("304 192.0.2.2:5060 \"No audio\""));
    assert!(matches!(bench.events()[..], [Event::Reinvite { .. }]));
    bench.endpoint.end(bench.now, call);
    assert!(bench.sent()[0].starts_with("BYE "));
}

#[test]
fn bye_during_a_reinvite_answers_both() {
    let mut bench = Bench::new();
    let (_, tag) = bench.established();
    bench.receive(inside("INVITE", 2, &tag, "re", OFFER));
    bench.events();
    assert_eq!(lines(&bench.receive(inside("BYE", 3, &tag, "bye", ""))), ["200 OK", "487 Request Terminated"]);
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Bye, .. }]));
}

#[test]
fn keys_come_by_info_in_both_formats() {
    let mut bench = Bench::new();
    let (_, tag) = bench.established();
    let info = |sequence, kind: &str, body: &str| {
        inside("INFO", sequence, &tag, &format!("info{sequence}"), body).replace("application/sdp", kind)
    };
    assert_eq!(lines(&bench.receive(info(2, "application/dtmf-relay", "Signal= 5\r\nDuration= 160\r\n"))), ["200 OK"]);
    assert_eq!(lines(&bench.receive(info(3, "application/dtmf", "#"))), ["200 OK"]);
    assert_eq!(lines(&bench.receive(info(4, "application/dtmf-relay", "Signal=10\n"))), ["200 OK"]);
    let sent = bench.receive(info(5, "text/plain", "5"));
    assert_eq!(lines(&sent), ["415 Unsupported Media Type"]);
    assert_eq!(header(&sent[0], "Accept"), Some("application/dtmf-relay, application/dtmf"));
    assert!(lines(&bench.receive(info(6, "application/dtmf", "hello")))[0].starts_with("400"));
    let keys: Vec<_> = bench
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Info { digits, duration_ms, .. } => (digits, duration_ms),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(keys, [("5".to_owned(), Some(160)), ("#".to_owned(), None), ("*".to_owned(), None)]);
}

#[test]
fn requests_of_an_unknown_dialog_are_481_and_stray_acks_silent() {
    let mut bench = Bench::new();
    for method in ["BYE", "INFO", "INVITE", "OPTIONS"] {
        assert!(lines(&bench.receive(inside(method, 2, "nobody", method, "")))[0].starts_with("481"));
    }
    assert!(bench.receive(inside("ACK", 2, "nobody", "x", "")).is_empty());
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn an_old_sequence_number_is_refused() {
    let mut bench = Bench::new();
    let (_, tag) = bench.established();
    assert_eq!(lines(&bench.receive(inside("OPTIONS", 9, &tag, "o", ""))), ["200 OK"]);
    assert!(lines(&bench.receive(inside("BYE", 5, &tag, "b", "")))[0].starts_with("500"));
    assert!(lines(&bench.receive(inside("INVITE", 9, &tag, "i", OFFER)))[0].starts_with("500"));
}

#[test]
fn draining_refuses_new_calls_and_keeps_old_ones() {
    let mut bench = Bench::new();
    let (_, tag) = bench.established();
    bench.endpoint.drain(true);
    assert!(lines(&bench.receive(request("OPTIONS", "o", "", "")))[0].starts_with("503"));
    let other = invite("2", OFFER).replace("call@", "other@");
    let sent = bench.receive(&other);
    assert!(sent[0].contains("Retry-After: 5"));
    assert!(lines(&sent)[0].starts_with("503"));
    assert_eq!(lines(&bench.receive(inside("BYE", 2, &tag, "bye", ""))), ["200 OK"]);
    bench.endpoint.drain(false);
    bench.receive(other.replace("bK2", "bK3"));
    assert!(matches!(bench.events()[..], [Event::Ended { .. }, Event::Incoming { .. }]));
}

#[test]
fn a_full_house_answers_503_at_once_and_keeps_nothing() {
    let mut bench = Bench::with(EndpointConfig { max_calls: 1, ..EndpointConfig::default() }, Transport::Udp);
    bench.call();
    let before = bench.endpoint.residue();
    let sent = bench.receive(invite("2", OFFER).replace("call@", "other@"));
    assert!(lines(&sent)[0].starts_with("503"));
    assert_eq!(bench.endpoint.residue(), before);
}

#[test]
fn a_broken_connection_ends_a_ringing_call_and_frees_it() {
    let mut bench = Bench::with(EndpointConfig::default(), Transport::Tcp);
    let call = bench.call();
    bench.endpoint.ring(bench.now, call, None);
    bench.endpoint.handle_closed(bench.now, bench.flow);
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::Timeout, .. }]));
    assert_eq!(bench.endpoint.residue(), 0);
}

/// Where our BYE goes after an INVITE whose Via and Contact say `sent_by` and `contact`.
fn bye_goes_to(sent_by: &str, contact: &str) -> String {
    let mut bench = Bench::new();
    let text = invite("1", OFFER)
        .replace("UDP 192.0.2.1:5060", &format!("UDP {sent_by}"))
        .replace("Contact: <sip:a@192.0.2.1:5060>", &format!("Contact: {contact}"));
    bench.receive(text);
    let call = crate::world::incoming(&bench.events()).unwrap();
    bench.endpoint.answer(bench.now, call, ANSWER.into()).unwrap();
    let tag = to_tag(&bench.sent()[0]);
    bench.receive(inside("ACK", 1, &tag, "ack", ""));
    bench.endpoint.end(bench.now, call);
    bench.endpoint.poll_transmit().unwrap().flow.remote.to_string()
}

#[test]
fn bye_goes_to_the_contact_unless_nat_or_a_name_hides_it() {
    assert_eq!(bye_goes_to("192.0.2.1:5060", "<sip:a@192.0.2.77:5099>"), "192.0.2.77:5099");
    assert_eq!(bye_goes_to("192.0.2.1:5060", "<sip:a@192.0.2.77>"), "192.0.2.77:5060");
    assert_eq!(bye_goes_to("10.0.0.5:5062;rport", "<sip:a@10.0.0.5:5062>"), "192.0.2.1:5060");
    assert_eq!(bye_goes_to("10.0.0.5:5062", "<sip:a@10.0.0.5:5062>"), "192.0.2.1:5060");
    assert_eq!(bye_goes_to("192.0.2.1:5060", "<sip:a@phone.example>"), "192.0.2.1:5060");
    assert_eq!(bye_goes_to("192.0.2.1:5060", "<sip:a@0.0.0.0:9>"), "192.0.2.1:5060");
    assert_eq!(bye_goes_to("192.0.2.1:5060", "<sip:a@[2001:db8::1]:5060>"), "192.0.2.1:5060");
}

#[test]
fn early_media_rings_with_183_and_a_description() {
    let mut bench = Bench::new();
    let call = bench.call();
    bench.endpoint.ring(bench.now, call, Some(ANSWER.into()));
    let sent = bench.sent();
    assert_eq!(lines(&sent), ["183 Session Progress"]);
    assert!(sent[0].ends_with(ANSWER));
}

#[test]
fn a_description_inside_a_multipart_body_is_found() {
    let mut bench = Bench::new();
    let body = format!(
        "--xx\r\nContent-Type: text/plain\r\n\r\nhi\r\n--xx\r\nContent-Type: application/sdp\r\n\r\n{OFFER}\r\n--xx--\r\n"
    );
    bench.receive(
        invite("1", &body).replace("application/sdp\r\nContent-L", "multipart/mixed;boundary=\"xx\"\r\nContent-L"),
    );
    let events = bench.events();
    let [Event::Incoming { invite, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(invite.sdp.as_ref().unwrap().media[0].port, 4000);
}
