//! The load generator against an answering side made of the same wire, in this process.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use benches::caller::{Plan, run};
use codecs::g711::Law;
use media_core::LegConfig;
use sip_stack::offer::{self, Ability, Codec};
use sip_stack::{EndpointConfig, Event, Refusal, Transport};
use wire::media::{Media, MediaConfig};
use wire::sip::{SipConfig, bind};

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Answers every call with a leg that sends silence; `room` calls at a time, the next is refused.
async fn answering_side(room: usize, first_port: u16) -> SocketAddr {
    let address = vec![SocketAddr::new(HOME, 0)];
    let endpoint = EndpointConfig::default();
    let (sip, mut events) =
        bind(SipConfig { udp: address.clone(), tcp: address, endpoint, ..SipConfig::default() }).await.unwrap();
    let at = sip.udp()[0];
    let ports = first_port..=first_port + 99;
    let draining = Duration::ZERO;
    let media = Media::start(MediaConfig { threads: 1, bind: HOME, advertise: HOME, ports, draining }).unwrap();
    tokio::spawn(async move {
        let mut legs = HashMap::new();
        while let Some(event) = events.recv().await {
            match event {
                Event::Incoming { call, .. } if legs.len() == room => sip.reject(call, Refusal::new(503)),
                Event::Incoming { call, invite } => {
                    sip.ring(call, None);
                    let ports = media.reserve().unwrap();
                    let ability = Ability {
                        address: HOME,
                        port: ports.rtp_port(),
                        rtcp_port: ports.rtcp_port(),
                        codecs: vec![Codec::Pcmu],
                        telephone_event: true,
                        keying: offer::Keying::default(),
                        session_id: 1,
                        version: 1,
                    };
                    let (sdp, plan) = offer::answer(&invite.sdp.unwrap(), &ability).unwrap();
                    let config = LegConfig {
                        law: Law::Mu,
                        payload_type: plan.payload_type,
                        dtmf_payload_type: plan.events.at_8000,
                        remote: plan.remote,
                        remote_rtcp: plan.remote_rtcp,
                        ssrc: 1,
                        first_sequence: 65_000,
                        first_timestamp: 1,
                        cname: "answering".to_owned(),
                        sending: true,
                        receiving: true,
                    };
                    legs.insert(call, media.open(ports, config));
                    sip.answer(call, sdp).await.unwrap();
                }
                Event::Ended { call, .. } => drop(legs.remove(&call)),
                _ => {}
            }
        }
    });
    at
}

fn plan(target: SocketAddr, calls: usize) -> Plan {
    Plan {
        target: format!("sip:bench@{target}"),
        calls,
        rate: 50.0,
        seconds: 1.0,
        each: None,
        pid: Some(std::process::id()),
        threads: 2,
        media: true,
        transport: Transport::Udp,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_answered_and_their_packets_counted() {
    let at = answering_side(10, 13_000).await;
    let report = run(plan(at, 5)).await.unwrap();
    assert_eq!((report.calls.attempted, report.calls.answered, report.calls.dropped), (5, 5, 0));
    assert_eq!((report.setup_ms.ringing.count, report.setup_ms.answered.count), (5, 5));
    assert!(report.rtp.sent > 20 && report.rtp.received > 20, "{:?}", report.rtp);
    assert!(report.gap_ms.count > 10 && report.gap_ms.max > 0.0);
    assert!(report.server.unwrap().rss_kib > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_calls_are_failures_and_not_errors() {
    let at = answering_side(2, 13_100).await;
    let report = run(plan(at, 5)).await.unwrap();
    assert_eq!((report.calls.attempted, report.calls.answered, report.calls.failed), (5, 2, 3));
    assert_eq!(report.setup_ms.refused.count, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_end_by_themselves_make_room_for_the_next() {
    let at = answering_side(4, 13_200).await;
    let report = run(Plan { each: Some(0.02), rate: 10.0, ..plan(at, 6) }).await.unwrap();
    assert_eq!((report.calls.answered, report.calls.failed, report.calls.dropped), (6, 0, 0));
}

#[tokio::test]
async fn a_target_that_is_no_uri_is_named() {
    let mut plan = plan(SocketAddr::new(HOME, 5060), 1);
    plan.target = "bench".to_owned();
    assert!(run(plan).await.unwrap_err().to_string().contains("bench"));
}
