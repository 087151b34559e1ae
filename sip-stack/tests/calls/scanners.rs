//! Scanners: answered alike, then not at all, then shut out; nobody else notices (FAULTS 4).

use std::time::Duration;

use sip_stack::{BouncerConfig, EndpointConfig, Event, Refusal, Transport};

use crate::world::{B, Bench, OFFER, flow, lines, ms, request};

fn guarded() -> Bench {
    let bouncer = Some(BouncerConfig { throttle_after: 5, ban_after: 10, ..BouncerConfig::default() });
    Bench::with(EndpointConfig { bouncer, ..EndpointConfig::default() }, Transport::Udp)
}

fn register(number: u32) -> String {
    request("REGISTER", &format!("r{number}"), "", "").replace("call@", &format!("{number}@"))
}

#[test]
fn a_sweep_is_answered_then_ignored_then_shut_out_and_forgiven() {
    let mut bench = guarded();
    let answered = (0..9).filter(|number| !bench.receive(register(*number)).is_empty()).count();
    assert_eq!(answered, 5);
    assert!(bench.events().is_empty());
    bench.receive(register(9));
    assert!(matches!(bench.events()[..], [Event::Banned { source, duration }]
        if source == bench.flow.remote.ip() && duration == Duration::from_secs(600)));
    assert!(bench.receive(request("OPTIONS", "o", "", "")).is_empty(), "not even a ping");
    assert!(bench.endpoint.counters().dropped > 0);
    // Another source is served all the time.
    let other = flow(B, "203.0.113.5:5060", Transport::Udp);
    bench.endpoint.handle_receive(bench.now, other, request("OPTIONS", "p", "", "").as_bytes());
    assert_eq!(lines(&bench.sent()), ["200 OK"]);
    bench.now += Duration::from_secs(601);
    assert_eq!(lines(&bench.receive(request("OPTIONS", "q", "", ""))), ["200 OK"]);
}

#[test]
fn calls_that_the_user_turns_away_count_and_calls_at_hand_go_on() {
    let mut bench = guarded();
    let (call, _) = bench.established();
    for number in 0..7 {
        let text = request("INVITE", &format!("i{number}"), "", OFFER)
            .replace("Call-ID: call@", &format!("Call-ID: {number}@"));
        bench.receive(text);
        if let Some(call) = crate::world::incoming(&bench.events()) {
            bench.endpoint.reject(bench.now, call, Refusal::new(404));
        }
        bench.sent();
    }
    assert!(bench.receive(register(1)).is_empty(), "throttled");
    bench.endpoint.reinvite(bench.now, call, OFFER.into()).unwrap();
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn slow_knocking_and_exempt_networks_are_not_counted_against_anybody() {
    let mut bench = guarded();
    for number in 0..50 {
        assert_eq!(bench.receive(register(number)).len(), 1);
        bench.pass(ms(4000));
    }
    // A refusal that was owed, as a challenge is, can be forgiven.
    let mut bench = guarded();
    for number in 0..50 {
        assert_eq!(bench.receive(register(number)).len(), 1);
        bench.endpoint.pardon(bench.flow.remote.ip());
    }
    bench.endpoint.exempt(vec![("192.0.2.0".parse().unwrap(), 24)]);
    for number in 50..100 {
        assert_eq!(bench.receive(register(number)).len(), 1);
    }
    let bouncer = BouncerConfig {
        throttle_after: 1,
        ban_after: 2,
        exempt: vec![("192.0.2.0".parse().unwrap(), 24)],
        ..BouncerConfig::default()
    };
    let mut bench = Bench::with(EndpointConfig { bouncer: Some(bouncer), ..EndpointConfig::default() }, Transport::Udp);
    for number in 0..50 {
        assert_eq!(bench.receive(register(number)).len(), 1);
    }
}
