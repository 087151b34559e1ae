//! Foreign, forged and broken packets: counted, never heard, never answered.
#![allow(clippy::unwrap_used, missing_docs)]

mod line;

use line::{Line, Weather, addr, config, is_quiet, origin, rtp};
use media_core::{CallerAudio, Channel, Leg, rtcp};
use proptest::prelude::*;
use std::time::Duration;

/// The loudest µ-law byte: a foreign sample would be seen in any frame.
const LOUD: [u8; 160] = [0x80; 160];

#[test]
fn injection_with_the_right_ssrc_from_a_third_port_is_not_heard() {
    let mut line = Line::new(Weather::default());
    let stranger = addr("192.0.2.1:4444");
    for i in 0..500u16 {
        line.run(20);
        let timestamp = (u32::MAX - 10_000).wrapping_add(u32::from(i) * 160);
        let packet = rtp(0, false, 65_500u16.wrapping_add(i), timestamp, 0xAAAA, &LOUD);
        line.deliver(1, stranger, Channel::Rtp, &packet);
    }
    let stats = line.ends[1].leg.stats();
    assert!(stats.strangers == 500 && stats.lost == 0 && stats.concealed_ms == 0, "{stats:?}");
    assert!(line.ends[1].ticks.iter().all(|tick| is_quiet(&tick.caller)));
    assert!(line.ends[1].ticks[3..].iter().all(|tick| tick.heard == CallerAudio::Received));
}

#[test]
fn a_flood_of_random_ssrcs_from_the_callers_own_address_is_not_heard() {
    let mut line = Line::new(Weather::default());
    let caller = line.ends[0].address;
    for i in 0..500u32 {
        line.run(20);
        line.deliver(1, caller, Channel::Rtp, &rtp(0, true, i as u16, i * 160, i.wrapping_mul(2_654_435_761), &LOUD));
    }
    assert!(line.ends[1].ticks.iter().all(|tick| is_quiet(&tick.caller)));
    assert!(line.ends[1].ticks[3..].iter().all(|tick| tick.heard == CallerAudio::Received));
    assert_eq!(line.ends[1].leg.stats().strangers, 500);
}

#[test]
fn a_caller_whose_ssrc_changes_is_heard_again_after_one_packet() {
    let start = origin();
    let mut leg = Leg::new(config("192.0.2.1:4000", 1), start);
    let mut missing = 0;
    for i in 0..200u64 {
        let (ssrc, offset) = if i < 100 { (7, 0) } else { (8, 50_000) };
        let packet = rtp(0, false, i as u16 + offset, i as u32 * 160 + u32::from(offset), ssrc, &LOUD);
        leg.handle_rtp(start + Duration::from_millis(i * 20 + 5), addr("192.0.2.1:4000"), &packet);
        let tick = leg.tick(start + Duration::from_millis(i * 20 + 20));
        missing += usize::from(tick.heard != CallerAudio::Received);
    }
    assert!(missing <= 5, "{missing}");
    assert_eq!(leg.stats().restarts, 1);
}

#[test]
fn a_caller_behind_a_nat_is_answered_where_he_really_is() {
    let start = origin();
    let mut leg = Leg::new(config("192.168.1.20:4000", 1), start);
    let (seen, mut buf) = (addr("203.0.113.9:61000"), Vec::new());
    for i in 0..50u64 {
        let packet = rtp(0, i == 0, i as u16, i as u32 * 160, 7, &LOUD);
        leg.handle_rtp(start + Duration::from_millis(i * 20 + 5), seen, &packet);
        leg.tick(start + Duration::from_millis(i * 20 + 20));
        let to = leg.poll_transmit(&mut buf).unwrap().to;
        assert_eq!(to, if i < 4 { addr("192.168.1.20:4000") } else { seen });
    }
    let stats = leg.stats();
    assert_eq!((stats.strangers, stats.received), (4, 46));
}

#[test]
fn a_forged_bye_ends_nothing() {
    let mut line = Line::new(Weather::default());
    line.run(1000);
    let mut bye = Vec::new();
    rtcp::write_report(&mut bye, 0xAAAA, None, None);
    rtcp::write_bye(&mut bye, 0xAAAA);
    line.deliver(1, addr("192.0.2.1:4001"), Channel::Rtcp, &bye);
    line.deliver(1, addr("192.0.2.66:4001"), Channel::Rtcp, &bye);
    line.run(1000);
    let stats = line.ends[1].leg.stats();
    assert_eq!((stats.byes, stats.strangers), (1, 1));
    assert!(line.ends[1].ticks[5..].iter().all(|tick| tick.heard == CallerAudio::Received));
}

#[test]
fn wrong_types_and_broken_packets_are_counted_apart() {
    let start = origin();
    let mut leg = Leg::new(config("192.0.2.1:4000", 1), start);
    let from = addr("192.0.2.1:4000");
    leg.handle_rtp(start, from, &rtp(8, false, 1, 0, 7, &LOUD));
    leg.handle_rtp(start, from, &rtp(0, false, 2, 0, 7, &[]));
    leg.handle_rtp(start, from, &rtp(0, false, 2, 0, 7, &[0; 1400]));
    leg.handle_rtp(start, from, &rtp(101, false, 3, 0, 7, &[1]));
    leg.handle_rtp(start, from, &[0x80; 5]);
    leg.handle_rtcp(start, addr("192.0.2.1:4001"), &[0x80; 5]);
    leg.handle_rtp(start, addr("192.0.2.6:1"), &rtp(8, false, 1, 0, 7, &LOUD));
    let stats = leg.stats();
    assert_eq!((stats.wrong_type, stats.malformed, stats.strangers, stats.received), (1, 5, 1, 0));
}

#[test]
fn nothing_is_sent_to_no_address() {
    let start = origin();
    for nowhere in ["0.0.0.0:4000", "192.0.2.1:0", "224.0.0.1:4000"] {
        let mut leg = Leg::new(config(nowhere, 1), start);
        leg.tick(start);
        assert_eq!(leg.poll_transmit(&mut Vec::new()), None);
    }
}

proptest! {
    #[test]
    fn random_packets_never_panic_and_never_stop_the_tick(
        packets in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..220), 0u8..6, any::<bool>()), 0..120),
    ) {
        let start = origin();
        let mut leg = Leg::new(config("192.0.2.1:4000", 1), start);
        let mut buf = Vec::new();
        for (i, (mut bytes, shape, control)) in packets.into_iter().enumerate() {
            let now = start + Duration::from_millis(i as u64 * 7);
            if bytes.len() > 12 {
                // Most shapes look like RTP of the agreed types, so that they get deep.
                match shape {
                    0 => {}
                    1 => { bytes[0] = 0x80; bytes[1] = 101; }
                    2 => { bytes[0] = 0x80; bytes[1] = 13; }
                    3 => { bytes[0] &= 0x3F; bytes[0] |= 0x80; bytes[1] &= 0x80; }
                    _ => { bytes[0] = 0x80; bytes[1] = 0; bytes[8..12].fill(0); bytes[2] = 0; }
                }
            }
            if control {
                leg.handle_rtcp(now, addr("192.0.2.1:4001"), &bytes);
            } else {
                leg.handle_rtp(now, addr("192.0.2.1:4000"), &bytes);
            }
            if i % 3 == 0 {
                prop_assert_eq!(leg.tick(now).at, i as u64 / 3 * 160);
                while leg.poll_transmit(&mut buf).is_some() {}
                while leg.poll_event().is_some() {}
            }
        }
        let stats = leg.stats();
        prop_assert!(stats.mos >= 1.0 && stats.mos <= 4.5 && stats.jitter_ms.is_finite());
    }
}
