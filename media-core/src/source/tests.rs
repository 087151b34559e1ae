//! One behaviour of the latch a test, in time counted from an arbitrary start.

use super::*;
use crate::testing::ms;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn header(sequence: u16) -> Header {
    Header { payload_type: 0, marker: false, sequence, timestamp: 0, ssrc: 1 }
}

const CALLER: &str = "192.0.2.1:4000";
const STRANGER: &str = "192.0.2.66:4000";

/// Twenty packets a stranger sends from `from_ms` on; how many of them were let in.
fn flood(source: &mut Source, from_ms: u64) -> usize {
    (0..20u16)
        .filter(|&i| source.judge(ms(from_ms + 20 * u64::from(i)), addr(STRANGER), &header(i)) != Verdict::Stranger)
        .count()
}

#[test]
fn a_stranger_beside_the_caller_is_never_heard() {
    let mut source = Source::new(addr(CALLER), ms(0));
    for i in 0..500u16 {
        let now = ms(20 * u64::from(i));
        assert_eq!(source.judge(now, addr(CALLER), &header(i)), Verdict::Accept);
        assert_eq!(source.judge(now, addr(STRANGER), &header(i)), Verdict::Stranger);
    }
    assert_eq!(source.latched(), addr(CALLER));
}

#[test]
fn a_stranger_that_was_first_has_to_wait_and_loses_to_the_signalled_address() {
    let mut source = Source::new(addr(CALLER), ms(0));
    assert_eq!(flood(&mut source, 0), 0);
    assert_eq!(source.judge(ms(400), addr(CALLER), &header(900)), Verdict::Accept);
    // Even one that was learned gives way at once.
    let mut source = Source::new(addr(CALLER), ms(0));
    assert_eq!(flood(&mut source, 2500), 0);
    assert!(flood(&mut source, 3000) > 0);
    assert_eq!(source.judge(ms(3500), addr(CALLER), &header(900)), Verdict::Moved);
    assert_eq!(source.judge(ms(3510), addr(STRANGER), &header(20)), Verdict::Stranger);
}

#[test]
fn a_caller_behind_a_nat_is_learned_after_five_packets() {
    let mut source = Source::new(addr("192.168.1.5:4000"), ms(0));
    for i in 0..4u16 {
        assert_eq!(source.judge(ms(20 * u64::from(i)), addr(CALLER), &header(i)), Verdict::Stranger);
    }
    assert_eq!(source.judge(ms(80), addr(CALLER), &header(4)), Verdict::Moved);
    assert!(source.latched() == addr(CALLER) && !source.is_signalled());
    assert_eq!(flood(&mut source, 100), 0);
}

#[test]
fn packets_with_gaps_or_changing_ssrc_are_never_learned() {
    let mut source = Source::new(addr(CALLER), ms(0));
    for i in 0..200u16 {
        let now = ms(5000 + u64::from(i));
        assert_eq!(source.judge(now, addr(STRANGER), &header(i * 2)), Verdict::Stranger);
        let random = Header { ssrc: u32::from(i), ..header(i) };
        assert_eq!(source.judge(now, addr("192.0.2.67:1"), &random), Verdict::Stranger);
    }
}

#[test]
fn a_known_caller_moves_only_after_silence() {
    let mut source = Source::new(addr(CALLER), ms(0));
    source.judge(ms(0), addr(CALLER), &header(0));
    assert_eq!(flood(&mut source, 2000), 0);
    assert!(flood(&mut source, 3000) > 0);
    assert_eq!(source.latched(), addr(STRANGER));
}

#[test]
fn a_reinvite_to_another_place_starts_over_and_to_the_same_place_does_not() {
    let mut source = Source::new(addr("192.168.1.5:4000"), ms(0));
    for i in 0..5 {
        source.judge(ms(0), addr(CALLER), &header(i));
    }
    source.signal(addr("192.168.1.5:4000"), ms(100));
    assert_eq!(source.latched(), addr(CALLER));
    source.signal(addr("192.0.2.9:9"), ms(100));
    assert_eq!(source.latched(), addr("192.0.2.9:9"));
}

#[test]
fn another_port_of_the_signalled_host_is_learned_after_the_grace() {
    let mut source = Source::new(addr(CALLER), ms(0));
    let verdicts: Vec<_> =
        (0..60u16).map(|i| source.judge(ms(20 * u64::from(i)), addr("192.0.2.1:9"), &header(i))).collect();
    assert_eq!(verdicts.iter().position(|&v| v == Verdict::Moved), Some(34));
}

#[test]
fn a_flood_of_addresses_does_not_keep_the_caller_from_being_learned() {
    let mut source = Source::new(addr("192.168.1.5:4000"), ms(0));
    let mut moved = Vec::new();
    for i in 0..20u16 {
        for port in 0..10 {
            let verdict =
                source.judge(ms(20 * u64::from(i)), addr(&format!("203.0.113.7:{}", 1000 + i * 50 + port)), &header(1));
            assert_eq!(verdict, Verdict::Stranger);
        }
        if source.judge(ms(20 * u64::from(i)), addr(CALLER), &header(i)) == Verdict::Moved {
            moved.push(i);
        }
    }
    assert_eq!((moved, source.latched()), (vec![4], addr(CALLER)));
}
