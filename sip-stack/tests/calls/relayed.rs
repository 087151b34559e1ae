//! Two calls of ours are joined, and each is told where the other takes its media (RFC 3725 §4.1).

use sip_stack::offer::{self, relay};
use sip_stack::{CallError, Event, Refusal, Sdp};

use crate::world::{CALM, World, ability, ms, talking};

fn description(media: &[&str]) -> Sdp {
    let head = "v=0\r\no=alice 5 6 IN IP4 192.0.2.1\r\ns=secret\r\ne=a@example.org\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
    Sdp::parse(format!("{head}{}\r\n", media.join("\r\n")).as_bytes()).unwrap()
}

const OFFER: [&str; 8] = [
    "m=audio 4000 RTP/AVP 9 0 101",
    "a=rtpmap:9 G722/8000",
    "a=rtpmap:101 telephone-event/8000",
    "a=fmtp:101 0-16",
    "a=ptime:20",
    "a=candidate:1 1 UDP 1 10.0.0.1 4000 typ host",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd",
    "m=video 4002 RTP/AVP 31",
];

#[test]
fn of_a_description_its_audio_is_passed_on_and_nothing_else() {
    let theirs = description(&OFFER);
    let text = relay::offer(&theirs, &ability(5000)).unwrap();
    assert_eq!(
        text.replace("\r\n", "|"),
        "v=0|o=- 1 1 IN IP4 192.0.2.9|s=-|c=IN IP4 192.0.2.9|t=0 0|m=audio 4000 RTP/AVP 9 0 101|c=IN IP4 192.0.2.1|\
         a=rtpmap:9 G722/8000|a=rtpmap:101 telephone-event/8000|a=fmtp:101 0-16|a=ptime:20|a=sendrecv|"
    );
    assert_eq!(relay::place(&theirs), Some("192.0.2.1:4000".parse().unwrap()));
    let answer = description(&["m=audio 6000 RTP/AVP 9 101", "a=rtpmap:9 G722/8000", "a=rtcp:6009"]);
    let text = relay::answer(&theirs, &answer, &ability(5000)).unwrap();
    assert!(
        text.ends_with(
            "m=audio 6000 RTP/AVP 9 101\r\nc=IN IP4 192.0.2.1\r\na=rtpmap:9 G722/8000\r\na=sendrecv\r\na=rtcp:6009\r\nm=video 0 RTP/AVP 31\r\n"
        ),
        "{text}"
    );
}

#[test]
fn what_is_on_hold_encrypted_or_nowhere_is_not_passed_on() {
    for media in [
        vec!["m=audio 4000 RTP/AVP 0", "a=sendonly"],
        vec!["m=audio 4000 RTP/AVP 0", "c=IN IP4 0.0.0.0"],
        vec!["m=audio 4000 RTP/AVP 0", "c=IN IP4 224.0.0.1"],
        vec!["m=audio 4000 RTP/AVP 0", "c=IN IP4 phone.example"],
        vec!["m=audio 4000 RTP/SAVP 0"],
        vec!["m=audio 0 RTP/AVP 0"],
        vec!["m=video 4000 RTP/AVP 31"],
    ] {
        assert_eq!(relay::offer(&description(&media), &ability(5000)), None, "{media:?}");
        assert_eq!(relay::answer(&description(&OFFER), &description(&media), &ability(5000)), None, "{media:?}");
    }
    let other = description(&["m=audio 6000 RTP/AVP 8"]);
    assert_eq!(relay::answer(&description(&OFFER), &other, &ability(5000)), None, "a codec that nobody offered");
}

#[test]
fn a_peer_is_asked_for_an_offer_and_answered_in_the_ack() {
    let mut world = World::new(5, CALM);
    let (ours, theirs) = talking(&mut world);
    world.peers[0].1.ask_for_offer(world.now, ours).unwrap();
    assert_eq!(world.peers[0].1.ask_for_offer(world.now, ours), Err(CallError::Busy));
    world.run_for(ms(50));
    let events = world.take_events(1);
    assert!(matches!(events[..], [Event::Reinvite { sdp: None, .. }]), "{events:?}");
    world.peers[1].1.answer(world.now, theirs, offer::offer(&ability(5000)).unwrap()).unwrap();
    // The answer takes its time: the 200 comes again and again, and nothing is told twice.
    world.run_for(ms(3_000));
    let events = world.take_events(0);
    let [Event::Offered { sdp, .. }] = &events[..] else { panic!("{events:?}") };
    assert!(world.count(1, "SIP/2.0 200") > 2);
    let (answer, _) = offer::answer(sdp, &ability(4444)).unwrap();
    let acks = world.count(0, "ACK");
    world.peers[0].1.acknowledge(world.now, ours, Some(answer)).unwrap();
    world.run_for(ms(8_000));
    let events = world.take_events(1);
    let [Event::Established { sdp: Some(sdp), .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(relay::place(sdp), Some("192.0.2.9:4444".parse().unwrap()));
    assert!(world.count(0, "ACK") > acks);
    // The next change finds the way free.
    world.peers[1].1.reinvite(world.now, theirs, offer::offer(&ability(5000)).unwrap()).unwrap();
    world.run_for(ms(50));
    assert!(matches!(world.take_events(0)[..], [Event::Reinvite { sdp: Some(_), .. }]));
}

#[test]
fn a_peer_that_makes_no_offer_goes_on_as_it_was() {
    let mut world = World::new(5, CALM);
    let (ours, theirs) = talking(&mut world);
    world.peers[0].1.ask_for_offer(world.now, ours).unwrap();
    world.run_for(ms(50));
    world.peers[1].1.reject(world.now, theirs, Refusal::new(488));
    world.run_for(ms(50));
    assert!(matches!(world.take_events(0)[..], [Event::ChangeRefused { status: 488, .. }]));
}

#[test]
fn requests_for_an_offer_that_meet_an_offer_are_made_again() {
    let mut world = World::new(5, CALM);
    let (ours, theirs) = talking(&mut world);
    world.peers[0].1.ask_for_offer(world.now, ours).unwrap();
    world.peers[1].1.reinvite(world.now, theirs, offer::offer(&ability(5000)).unwrap()).unwrap();
    let (mut offered, mut changed) = (0, 0);
    let end = world.now + ms(9_000);
    while world.step(end) {
        for who in 0..2 {
            for event in world.take_events(who) {
                let now = world.now;
                match event {
                    Event::Reinvite { call, sdp } => {
                        let text = match sdp {
                            Some(sdp) => offer::answer(&sdp, &ability(4000)).unwrap().0,
                            None => offer::offer(&ability(5000)).unwrap(),
                        };
                        world.peers[who].1.answer(now, call, text).unwrap();
                    }
                    Event::Offered { call, sdp } => {
                        offered += 1;
                        let (answer, _) = offer::answer(&sdp, &ability(4000)).unwrap();
                        world.peers[who].1.acknowledge(now, call, Some(answer)).unwrap();
                    }
                    Event::Changed { .. } => changed += 1,
                    Event::Established { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert_eq!((offered, changed), (1, 1));
}

#[test]
fn a_call_ends_in_the_middle_of_an_offer() {
    let mut world = World::new(5, CALM);
    let (ours, theirs) = talking(&mut world);
    world.peers[0].1.ask_for_offer(world.now, ours).unwrap();
    world.run_for(ms(50));
    world.take_events(1);
    world.peers[1].1.answer(world.now, theirs, offer::offer(&ability(5000)).unwrap()).unwrap();
    world.run_for(ms(50));
    world.peers[0].1.end(world.now, ours);
    world.run_for(ms(60_000));
    assert!(world.peers.iter().all(|(_, peer)| peer.residue() == 0));
}
