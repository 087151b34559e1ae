//! What one INVITE costs: parsing it, and the whole call at the answering endpoint.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sip_stack::{Endpoint, EndpointConfig, Event, Flow, Message, NameAddr, Outgoing, Sdp, Transport};

/// As a carrier's session border controller sends it.
const INVITE: &str = "INVITE sip:+4930123456@192.0.2.10:5060;user=phone SIP/2.0\r\n\
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK-524287-1---b3a6fbfd;rport\r\n\
Record-Route: <sip:192.0.2.1;lr;ftag=as7d1c>\r\n\
Max-Forwards: 68\r\n\
From: \"Anna Example\" <sip:+4917012345@carrier.example;user=phone>;tag=as7d1c\r\n\
To: <sip:+4930123456@192.0.2.10;user=phone>\r\n\
Contact: <sip:+4917012345@192.0.2.1:5060;transport=udp>\r\n\
Call-ID: 7f0c3e2a-55b1-4b0e-9c4e-0b9d@192.0.2.1\r\n\
CSeq: 102 INVITE\r\n\
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE, PRACK, INFO\r\n\
Supported: timer, 100rel\r\n\
Session-Expires: 1800\r\n\
P-Asserted-Identity: <sip:+4917012345@carrier.example>\r\n\
User-Agent: border\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 272\r\n\r\n\
v=0\r\n\
o=- 1733 1733 IN IP4 192.0.2.1\r\n\
s=-\r\n\
c=IN IP4 192.0.2.1\r\n\
t=0 0\r\n\
m=audio 18120 RTP/AVP 8 0 9 101\r\n\
a=rtpmap:8 PCMA/8000\r\n\
a=rtpmap:0 PCMU/8000\r\n\
a=rtpmap:9 G722/8000\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=ptime:20\r\n\
a=sendrecv\r\n\
a=rtcp:18121\r\n";

fn invite() -> Vec<u8> {
    let (head, body) = INVITE.split_once("\r\n\r\n").expect("an empty line ends the head");
    let head = head.replace("Content-Length: 272", &format!("Content-Length: {}", body.len()));
    format!("{head}\r\n\r\n{body}").into_bytes()
}

fn parse(c: &mut Criterion) {
    let bytes = invite();
    c.bench_function("sip/parse an INVITE", |b| b.iter(|| Message::parse(black_box(&bytes[..])).is_ok()));
    let body = INVITE.split_once("\r\n\r\n").map(|(_, body)| body).expect("an empty line ends the head");
    c.bench_function("sip/parse an SDP", |b| b.iter(|| Sdp::parse(black_box(body.as_bytes())).is_ok()));
}

fn ring(c: &mut Criterion) {
    let bytes = invite();
    let now = Instant::now();
    let flow = Flow {
        transport: Transport::Udp,
        local: ([192, 0, 2, 10], 5060).into(),
        remote: ([192, 0, 2, 1], 5060).into(),
        connection: 0,
    };
    c.bench_function("sip/INVITE to 180 at the endpoint", |b| {
        b.iter_batched(
            || Endpoint::new(EndpointConfig::default(), 1),
            |mut endpoint| {
                endpoint.handle_receive(now, flow, &bytes);
                if let Some(Event::Incoming { call, .. }) = endpoint.poll_event() {
                    endpoint.ring(now, call, None);
                }
                let sent = std::iter::from_fn(|| endpoint.poll_transmit()).count();
                assert!(sent > 0, "the INVITE was not understood");
                endpoint
            },
            BatchSize::SmallInput,
        );
    });
}

/// A whole call between two endpoints, from INVITE to the 200 of its BYE: what a core could set up and take down a second.
fn whole(c: &mut Criterion) {
    let now = Instant::now();
    let at = |host: u8| ([192, 0, 2, host], 5060).into();
    let flow = |local, remote| Flow { transport: Transport::Udp, local: at(local), remote: at(remote), connection: 0 };
    let body = INVITE.split_once("\r\n\r\n").map(|(_, body)| body).expect("an empty line ends the head");
    let uri = |text: &str| text.parse::<sip_stack::Uri>().expect("a SIP URI");
    c.bench_function("sip/a call set up and taken down, both ends", |b| {
        b.iter_batched(
            || [Endpoint::new(EndpointConfig::default(), 1), Endpoint::new(EndpointConfig::default(), 2)],
            |mut ends| {
                let from = NameAddr::new(uri("sip:caller@192.0.2.1"));
                ends[0].invite(now, Outgoing::new(uri("sip:demo@192.0.2.2"), from, flow(1, 2), body));
                let mut ended = false;
                loop {
                    let mut quiet = true;
                    for (from, to, way) in [(0, 1, flow(2, 1)), (1, 0, flow(1, 2))] {
                        while let Some(transmit) = ends[from].poll_transmit() {
                            quiet = false;
                            ends[to].handle_receive(now, way, &transmit.bytes);
                        }
                    }
                    while let Some(event) = ends[1].poll_event() {
                        match event {
                            Event::Incoming { call, .. } => {
                                ends[1].ring(now, call, None);
                                ends[1].answer(now, call, body.to_owned()).expect("an INVITE waits");
                            }
                            Event::Ended { .. } => ended = true,
                            _ => {}
                        }
                    }
                    while let Some(event) = ends[0].poll_event() {
                        if let Event::Answered { call, .. } = event {
                            ends[0].end(now, call);
                        }
                    }
                    if quiet {
                        break;
                    }
                }
                assert!(ended, "the call was not taken down");
                ends
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, parse, ring, whole);
criterion_main!(benches);
