//! A call between two endpoints over a calm network, from INVITE to the last timer.

use crate::world::{A, B, CALM, World, ability, flow, incoming, ms, outgoing};
use sip_stack::{Cause, Event, Transport, offer};

fn call_over(transport: Transport) {
    let mut world = World::new(1, CALM);
    let now = world.now;
    let call = world.peers[0].1.invite(now, outgoing(flow(A, B, transport)));
    world.run_for(ms(50));
    let events = world.take_events(1);
    let theirs = incoming(&events).unwrap();
    let Event::Incoming { invite, .. } = &events[0] else { panic!("{events:?}") };
    assert_eq!(invite.to.user(), Some("demo"));
    assert_eq!(invite.headers.get("x-test"), Some("1"));
    assert_eq!(invite.from.display.as_deref(), Some("Test"));
    let (answer, _) = offer::answer(invite.sdp.as_ref().unwrap(), &ability(5000)).unwrap();

    let now = world.now;
    world.peers[1].1.ring(now, theirs, None);
    world.run_for(ms(1000));
    assert!(matches!(world.take_events(0)[..], [Event::Ringing { status: 180, .. }]));

    let now = world.now;
    world.peers[1].1.answer(now, theirs, answer).unwrap();
    world.run_for(ms(100));
    let events = world.take_events(0);
    let [Event::Answered { call: answered, sdp, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*answered, call);
    assert_eq!(offer::accept(&ability(4000), sdp).unwrap().remote, "192.0.2.9:5000".parse().unwrap());
    assert!(matches!(world.take_events(1)[..], [Event::Established { sdp: None, .. }]));
    assert_eq!(world.count(1, "SIP/2.0 200"), 1);
    assert_eq!(world.count(0, "ACK"), 1);

    let now = world.now;
    world.peers[0].1.end(now, call);
    world.run_for(ms(100));
    assert!(matches!(world.take_events(0)[..], [Event::Ended { cause: Cause::Local, .. }]));
    assert!(matches!(world.take_events(1)[..], [Event::Ended { cause: Cause::Bye, .. }]));
    world.run_for(ms(60_000));
    for (_, peer) in &world.peers {
        assert_eq!(peer.residue(), 0);
    }
}

#[test]
fn a_call_over_udp_rings_is_answered_and_ends_without_residue() {
    call_over(Transport::Udp);
}

#[test]
fn a_call_over_tcp_rings_is_answered_and_ends_without_residue() {
    call_over(Transport::Tcp);
}
