//! Sessions that change: hold and resume, media that moves, UPDATE, glare, late offers, ways that fail.

use sip_stack::{CallError, Cause, Direction, Event, Refusal, Transport, offer};

use crate::world::{
    A, ANSWER, B, Bench, CALM, OFFER, World, ability, endpoint, flow, header, inside, lines, ms, outgoing, response,
    talking,
};

fn description(direction: Direction, port: u16) -> String {
    offer::offer_with(&ability(port), direction).unwrap()
}

#[test]
fn hold_resume_and_a_port_that_moves() {
    let mut world = World::new(3, CALM);
    let (ours, theirs) = talking(&mut world);
    for (direction, port, mirrored) in [
        (Direction::SendOnly, 4000, Direction::RecvOnly),
        (Direction::Inactive, 4000, Direction::Inactive),
        (Direction::SendRecv, 4444, Direction::SendRecv),
    ] {
        world.peers[0].1.reinvite(world.now, ours, description(direction, port)).unwrap();
        world.run_for(ms(50));
        let events = world.take_events(1);
        let [Event::Reinvite { sdp: Some(asked), .. }] = &events[..] else { panic!("{events:?}") };
        let (answer, plan) = offer::answer(asked, &ability(5000)).unwrap();
        assert_eq!((plan.direction, plan.remote.port()), (mirrored, port));
        world.peers[1].1.answer(world.now, theirs, answer).unwrap();
        world.run_for(ms(50));
        let events = world.take_events(0);
        let [Event::Changed { sdp, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(offer::accept(&ability(port), sdp).unwrap().direction, direction);
    }
    world.peers[1].1.end(world.now, theirs);
    world.run_for(ms(60_000));
    assert!(world.peers.iter().all(|(_, peer)| peer.residue() == 0));
}

#[test]
fn a_refused_change_is_told_and_the_call_goes_on() {
    let mut world = World::new(3, CALM);
    let (ours, theirs) = talking(&mut world);
    world.peers[0].1.reinvite(world.now, ours, OFFER.into()).unwrap();
    assert_eq!(world.peers[0].1.reinvite(world.now, ours, OFFER.into()), Err(CallError::Busy));
    world.run_for(ms(50));
    world.peers[1].1.reject(world.now, theirs, Refusal::new(488));
    world.run_for(ms(50));
    assert!(matches!(world.take_events(0)[..], [Event::ChangeRefused { status: 488, .. }]));
    world.peers[0].1.reinvite(world.now, ours, OFFER.into()).unwrap();
}

#[test]
fn offers_that_meet_are_both_refused_and_the_owner_of_the_call_waits_longer() {
    let mut world = World::new(3, CALM);
    let (ours, theirs) = talking(&mut world);
    world.peers[0].1.reinvite(world.now, ours, description(Direction::SendOnly, 4000)).unwrap();
    world.peers[1].1.reinvite(world.now, theirs, description(Direction::SendRecv, 5555)).unwrap();
    let met = world.elapsed_ms();
    let mut told = [0, 0];
    let end = world.now + ms(8000);
    while world.step(end) {
        for (who, told) in told.iter_mut().enumerate() {
            for event in world.take_events(who) {
                match event {
                    Event::Reinvite { call, sdp } => {
                        let (answer, _) = offer::answer(&sdp.unwrap(), &ability(5000)).unwrap();
                        let now = world.now;
                        world.peers[who].1.answer(now, call, answer).unwrap();
                    }
                    Event::Changed { .. } => *told += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!((world.count(0, "SIP/2.0 491"), world.count(1, "SIP/2.0 491")), (1, 1));
    assert_eq!(told, [1, 1], "both changes came through in the end");
    let again = |who: usize| world.sent_by(who).iter().rfind(|(_, line)| line.starts_with("INVITE")).unwrap().0 - met;
    assert!((2100..=4000).contains(&again(0)) && again(1) <= 2000, "{} {}", again(0), again(1));
}

#[test]
fn a_second_offer_before_the_answer_to_the_first_is_500() {
    let mut bench = Bench::new();
    let (_, tag) = bench.established();
    bench.receive(inside("INVITE", 2, &tag, "re", OFFER));
    let sent = bench.receive(inside("INVITE", 3, &tag, "re2", OFFER));
    assert!(lines(&sent)[0].starts_with("500") && header(&sent[0], "Retry-After").is_some());
}

#[test]
fn an_update_with_an_offer_is_asked_and_answered_without_an_ack() {
    let mut bench = Bench::new();
    let (call, tag) = bench.established();
    assert!(bench.receive(inside("UPDATE", 2, &tag, "u", OFFER)).is_empty());
    assert!(matches!(bench.events()[..], [Event::Reinvite { sdp: Some(_), .. }]));
    bench.endpoint.answer(bench.now, call, ANSWER.into()).unwrap();
    let sent = bench.sent();
    assert_eq!((lines(&sent)[0], header(&sent[0], "CSeq")), ("200 OK", Some("2 UPDATE")));
    assert!(sent[0].ends_with(ANSWER));
    assert!(bench.pass(ms(40_000)).is_empty());
    assert_eq!(lines(&bench.receive(inside("BYE", 3, &tag, "bye", ""))), ["200 OK"]);
}

#[test]
fn an_update_before_the_answer_is_only_a_sign_of_life() {
    let mut bench = Bench::new();
    let call = bench.call();
    bench.endpoint.ring(bench.now, call, None);
    let tag = crate::world::to_tag(&bench.sent()[0]);
    assert_eq!(lines(&bench.receive(inside("UPDATE", 2, &tag, "u1", ""))), ["200 OK"]);
    assert!(lines(&bench.receive(inside("UPDATE", 3, &tag, "u2", OFFER)))[0].starts_with("500"));
}

#[test]
fn a_call_without_our_offer_is_answered_in_the_ack() {
    let mut bench = Bench::new();
    let mut wish = outgoing(flow(B, A, Transport::Udp));
    wish.sdp = None;
    let call = bench.endpoint.invite(bench.now, wish);
    let invite = bench.sent().pop().unwrap();
    assert!(invite.contains("Content-Length: 0") && !header(&invite, "Supported").unwrap().contains("100rel"));
    let ok = response(&invite, "200 OK", "b", OFFER);
    assert!(bench.receive(&ok).is_empty());
    assert!(matches!(bench.events()[..], [Event::Answered { .. }]));
    assert!(bench.receive(&ok).is_empty(), "still thinking");
    bench.endpoint.acknowledge(bench.now, call, Some(ANSWER.into())).unwrap();
    let ack = bench.sent();
    assert!(ack[0].starts_with("ACK ") && ack[0].ends_with(ANSWER));
    assert_eq!(bench.receive(&ok), ack, "the repetition gets the same ACK");
    assert_eq!(bench.endpoint.acknowledge(bench.now, call, None), Err(CallError::NothingToAnswer));
}

#[test]
fn an_offer_in_a_200_that_nobody_answers_ends_the_call() {
    let mut bench = Bench::new();
    let mut wish = outgoing(flow(B, A, Transport::Udp));
    wish.sdp = None;
    bench.endpoint.invite(bench.now, wish);
    let invite = bench.sent().pop().unwrap();
    bench.receive(response(&invite, "200 OK", "b", OFFER));
    bench.events();
    assert!(bench.pass(ms(32_000)).iter().any(|(_, text)| text.starts_with("BYE ")));
    assert!(matches!(bench.events()[..], [Event::Ended { cause: Cause::NoAck, .. }]));
}

#[test]
fn a_silent_way_is_given_up_for_the_next_and_a_busy_one_at_once() {
    let mut bench = Bench::new();
    let mut wish = outgoing(flow(B, "192.0.2.50:5060", Transport::Udp));
    wish.alternates = vec![flow(B, "192.0.2.51:5060", Transport::Udp), flow(B, A, Transport::Udp)];
    bench.endpoint.invite(bench.now, wish);
    let first = bench.endpoint.poll_transmit().unwrap();
    assert_eq!(first.flow.remote.to_string(), "192.0.2.50:5060");
    bench.now += ms(5000);
    bench.endpoint.handle_timeout(bench.now);
    let sent: Vec<_> = std::iter::from_fn(|| bench.endpoint.poll_transmit()).collect();
    let second = sent.last().unwrap();
    assert_eq!(second.flow.remote.to_string(), "192.0.2.51:5060");
    let text = String::from_utf8(second.bytes.clone()).unwrap();
    assert_eq!(header(&text, "CSeq"), Some("2 INVITE"));
    let refused = response(&text, "503 Service Unavailable", "x", "");
    bench.endpoint.handle_receive(bench.now, second.flow, refused.as_bytes());
    let sent: Vec<_> = std::iter::from_fn(|| bench.endpoint.poll_transmit()).collect();
    assert_eq!(sent.last().unwrap().flow.remote.to_string(), A);
    assert!(bench.events().is_empty(), "nobody was told of the detours");
    let third = String::from_utf8(sent.last().unwrap().bytes.clone()).unwrap();
    bench.receive(response(&third, "200 OK", "y", ANSWER));
    assert!(matches!(bench.events()[..], [Event::Answered { .. }]));
}

#[test]
fn a_connection_that_cannot_be_had_is_given_up_for_the_next() {
    let mut bench = Bench::new();
    let mut wish = outgoing(flow(B, A, Transport::Tcp));
    wish.flow.connection = 0;
    wish.alternates = vec![flow(B, A, Transport::Udp)];
    bench.endpoint.invite(bench.now, wish.clone());
    let first = bench.endpoint.poll_transmit().unwrap();
    bench.endpoint.handle_closed(bench.now, first.flow);
    let second = bench.endpoint.poll_transmit().unwrap();
    let text = String::from_utf8(second.bytes).unwrap();
    assert_eq!(second.flow.transport, Transport::Udp);
    assert!(
        header(&text, "Via").unwrap().starts_with("SIP/2.0/UDP") && !header(&text, "Contact").unwrap().contains("tcp")
    );
}

#[test]
fn a_large_request_goes_by_tcp_and_by_udp_when_that_fails() {
    let config = sip_stack::EndpointConfig { large_by_tcp: true, ..sip_stack::EndpointConfig::default() };
    let mut bench = Bench::with(config, Transport::Udp);
    let mut wish = outgoing(flow(B, A, Transport::Udp));
    wish.headers.push(("X-Long".into(), "x".repeat(1500)));
    bench.endpoint.invite(bench.now, wish);
    let first = bench.endpoint.poll_transmit().unwrap();
    assert_eq!((first.flow.transport, first.flow.connection), (Transport::Tcp, 0));
    bench.endpoint.handle_closed(bench.now, first.flow);
    assert_eq!(bench.endpoint.poll_transmit().unwrap().flow.transport, Transport::Udp);
}

#[test]
fn our_own_request_that_comes_back_is_a_loop() {
    let mut bench = Bench::new();
    bench.endpoint.invite(bench.now, outgoing(flow(B, A, Transport::Udp)));
    let invite = bench.sent().pop().unwrap();
    let back = invite.replacen("Via:", "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKproxy\r\nVia:", 1);
    assert_eq!(lines(&bench.receive(back)), ["482 Loop Detected"]);
    assert_eq!(endpoint(1).residue(), 0);
}
