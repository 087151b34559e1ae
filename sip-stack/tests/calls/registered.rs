//! Registrations and the health of peers, outside any call.

use std::time::Duration;

use sip_stack::{Credentials, Event, Peer, Registration, Transport};

use crate::world::{A, B, Bench, flow, header, ms, response};

fn registration() -> Registration {
    Registration {
        registrar: "sip:carrier.example".parse().unwrap(),
        address: "sip:alice@carrier.example".parse().unwrap(),
        contact_user: "line1".into(),
        flow: flow(B, A, Transport::Udp),
        expires: Duration::from_secs(600),
        credentials: Some(Credentials {
            realm: Some("carrier".into()),
            username: "alice".into(),
            password: "secret".into(),
            servers: Vec::new(),
            algorithms: Vec::new(),
        }),
    }
}

fn ok(request: &str, contact: &str, extra: &str) -> String {
    response(request, "200 OK", "r", "")
        .replace("Contact: <sip:demo@192.0.2.1:5070>\r\n", &format!("Contact: {contact}\r\n{extra}"))
}

#[test]
fn an_address_is_bound_with_credentials_and_refreshed_by_what_was_granted() {
    let mut bench = Bench::new();
    let registration = bench.endpoint.register(bench.now, registration());
    let first = bench.sent().pop().unwrap();
    assert!(first.starts_with("REGISTER sip:carrier.example SIP/2.0"));
    assert_eq!(header(&first, "Contact"), Some("<sip:line1@192.0.2.2:5060>;expires=600"));
    let asked = response(&first, "401 Unauthorized", "r", "")
        .replace("Contact:", "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"\r\nContact:");
    let again = bench.receive(asked).pop().unwrap();
    assert!(header(&again, "Authorization").unwrap().contains("username=\"alice\""));
    let contacts = "<sip:other@192.0.2.9>;expires=3000, <sip:line1@192.0.2.2:5060>;expires=120";
    bench.receive(ok(&again, contacts, "Service-Route: <sip:out1;lr>, <sip:out2;lr>\r\n"));
    let events = bench.events();
    let [Event::Registered { expires, service_route, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((expires.as_secs(), service_route.len()), (120, 2));
    let sent = bench.pass(ms(100_000));
    assert_eq!((sent[0].0, header(&sent[0].1, "CSeq")), (80_000, Some("3 REGISTER")));
    assert!(header(&sent[0].1, "Authorization").unwrap().contains("nc=00000002"));
    assert_eq!(header(&sent[0].1, "Call-ID"), header(&first, "Call-ID"));
    bench.receive(ok(&sent[0].1, "<sip:line1@nat.example:1>;expires=60", ""));
    assert!(matches!(bench.events()[..], [Event::Registered { expires, .. }] if expires.as_secs() == 60));

    bench.endpoint.unregister(bench.now, registration);
    let last = bench.sent().pop().unwrap();
    assert_eq!(header(&last, "Expires"), Some("0"));
    bench.receive(ok(&last, "<sip:x@y>", ""));
    assert!(matches!(bench.events()[..], [Event::Unregistered { .. }]));
    bench.pass(ms(10_000));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_time_too_short_is_made_longer() {
    let mut bench = Bench::new();
    bench.endpoint.register(bench.now, registration());
    let first = bench.sent().pop().unwrap();
    let brief =
        response(&first, "423 Interval Too Brief", "r", "").replace("Contact:", "Min-Expires: 1800\r\nContact:");
    let again = bench.receive(brief).pop().unwrap();
    assert_eq!((header(&again, "Expires"), header(&again, "CSeq")), (Some("1800"), Some("2 REGISTER")));
    assert!(header(&again, "Contact").unwrap().ends_with("expires=1800"));
}

#[test]
fn failures_wait_longer_each_time_and_silence_is_one() {
    let mut bench = Bench::new();
    let registration = bench.endpoint.register(bench.now, registration());
    let mut waits = Vec::new();
    bench.pass(ms(32_000));
    for _ in 0..6 {
        let events = bench.events();
        let [Event::RegisterFailed { status: 408, retry_in, .. }] = &events[..] else { panic!("{events:?}") };
        waits.push(retry_in.as_secs());
        bench.pass(*retry_in + ms(32_000));
    }
    for (index, wait) in waits.iter().enumerate() {
        let most = (30 << index).min(1800);
        assert!((most / 2..=most).contains(wait), "{waits:?}");
    }
    bench.endpoint.unregister(bench.now, registration);
    bench.pass(ms(40_000));
    assert!(matches!(bench.events().last(), Some(Event::Unregistered { .. })));
    assert_eq!(bench.endpoint.residue(), 0);
}

#[test]
fn a_lost_connection_binds_again() {
    let mut bench = Bench::new();
    let mut wish = registration();
    wish.flow = flow(B, A, Transport::Tcp);
    bench.endpoint.register(bench.now, wish.clone());
    let first = bench.sent().pop().unwrap();
    bench.receive(ok(&first, "<sip:line1@192.0.2.2:5060;transport=tcp>;expires=600", ""));
    bench.endpoint.handle_closed(bench.now, wish.flow);
    assert!(bench.pass(ms(1000))[0].1.starts_with("REGISTER "));
}

#[test]
fn a_connection_made_on_demand_that_is_lost_binds_again_and_one_that_cannot_be_had_waits() {
    let mut bench = Bench::new();
    let mut wish = registration();
    wish.flow = flow(B, A, Transport::Tcp);
    wish.flow.connection = 0;
    let registration = bench.endpoint.register(bench.now, wish.clone());
    let first = bench.sent().pop().unwrap();
    bench.receive(ok(&first, "<sip:line1@192.0.2.2:5060;transport=tcp>;expires=600", ""));
    let mut real = wish.flow;
    real.connection = 7;
    bench.endpoint.handle_closed(bench.now, real);
    assert!(bench.pass(ms(1000))[0].1.starts_with("REGISTER "));
    bench.events();
    bench.endpoint.handle_closed(bench.now, wish.flow);
    assert!(matches!(bench.events()[..], [Event::RegisterFailed { status: 408, .. }]));
    assert!(bench.pass(ms(14_000)).is_empty(), "a registrar that is away is not asked every second");
    // The next way that the names lead to is tried at once.
    let mut other = wish.flow;
    other.remote = "192.0.2.77:5060".parse().unwrap();
    bench.endpoint.reroute(bench.now, registration, other);
    assert!(bench.pass(ms(1))[0].1.starts_with("REGISTER "));
}

#[test]
fn a_peer_goes_out_and_comes_back_only_when_several_answers_agree() {
    let mut bench = Bench::new();
    let peer = Peer {
        uri: "sip:gateway.example".parse().unwrap(),
        flow: flow(B, A, Transport::Udp),
        every: Duration::from_secs(30),
        down_after: 2,
        up_after: 3,
    };
    let handle = bench.endpoint.watch(bench.now, peer);
    let mut ping = bench.sent().pop().unwrap();
    let mut told = Vec::new();
    for status in [404, 503, 200, 503, 503, 200, 200, 503, 200, 200, 405] {
        bench.receive(response(&ping, &format!("{status} x"), "p", ""));
        let events = bench.events();
        assert!(matches!(events[0], Event::Pinged { status: heard, .. } if heard == status), "{events:?}");
        told.extend(events[1..].iter().map(|event| (status, matches!(event, Event::PeerUp { .. }))));
        ping = bench.pass(ms(33_000)).pop().unwrap().1;
        assert!(ping.starts_with("OPTIONS sip:gateway.example"));
    }
    assert_eq!(told, [(503, false), (405, true)]);
    bench.endpoint.unwatch(handle);
    bench.pass(ms(100_000));
    assert_eq!(bench.endpoint.residue(), 0);
}
