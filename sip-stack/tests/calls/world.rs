//! A world for endpoints: virtual time, a seeded bad network, and users that follow a script.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_stack::{CallHandle, Endpoint, EndpointConfig, Event, Flow, Outgoing, Transmit, Transport, offer};

/// The start of all virtual time. Only differences count, so one reading of the real clock does no harm.
#[allow(clippy::disallowed_methods, reason = "an Instant can be had in no other way")]
pub fn epoch() -> Instant {
    Instant::now()
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub const A: &str = "192.0.2.1:5060";
pub const B: &str = "192.0.2.2:5060";

pub fn flow(local: &str, remote: &str, transport: Transport) -> Flow {
    let connection = u64::from(transport.is_reliable());
    Flow { transport, local: local.parse().unwrap(), remote: remote.parse().unwrap(), connection }
}

pub fn endpoint(seed: u64) -> Endpoint {
    Endpoint::new(EndpointConfig { user_agent: Some("test".into()), ..EndpointConfig::default() }, seed)
}

pub fn ability(port: u16) -> offer::Ability {
    offer::Ability {
        address: "192.0.2.9".parse().unwrap(),
        port,
        rtcp_port: port + 1,
        codecs: vec![offer::Codec::Pcmu, offer::Codec::Pcma],
        telephone_event: true,
        keying: offer::Keying::default(),
        session_id: 1,
        version: 1,
    }
}

pub fn outgoing(flow: Flow) -> Outgoing {
    let to = format!("sip:demo@{}", flow.remote).parse().unwrap();
    let from = sip_stack::NameAddr {
        display: Some("Test".into()),
        uri: format!("sip:caller@{}", flow.local).parse().unwrap(),
    };
    let mut outgoing = Outgoing::new(to, from, flow, offer::offer(&ability(4000)).unwrap());
    outgoing.headers.push(("X-Test".into(), "1".into()));
    outgoing
}

/// A small generator for tests (SplitMix64): the same seed, the same weather.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll() % 100 < percent
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll() % limit.max(1)
    }
}

/// What the network does to each packet.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    pub jitter_ms: u64,
}

pub const CALM: Weather = Weather { loss_percent: 0, duplicate_percent: 0, jitter_ms: 0 };

/// Endpoints by address, packets in flight, and everything that was said.
pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub peers: Vec<(SocketAddr, Endpoint)>,
    pub weather: Weather,
    pub dice: Dice,
    flight: BTreeMap<(Instant, u64), Transmit>,
    sent: u64,
    /// Sent packets: milliseconds since the start, sender, text.
    pub log: Vec<(u64, usize, String)>,
    pub events: Vec<(usize, Event)>,
    /// How many events a script has looked at.
    pub seen: usize,
}

impl World {
    pub fn new(seed: u64, weather: Weather) -> Self {
        let start = epoch();
        let peers = vec![(A.parse().unwrap(), endpoint(seed * 2)), (B.parse().unwrap(), endpoint(seed * 2 + 1))];
        let dice = Dice(seed);
        World {
            now: start,
            start,
            peers,
            weather,
            dice,
            flight: BTreeMap::new(),
            sent: 0,
            log: Vec::new(),
            events: Vec::new(),
            seen: 0,
        }
    }

    pub fn elapsed_ms(&self) -> u64 {
        (self.now - self.start).as_millis() as u64
    }

    /// Takes what the endpoints want to send and say.
    pub fn drain(&mut self) {
        for index in 0..self.peers.len() {
            while let Some(transmit) = self.peers[index].1.poll_transmit() {
                let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
                self.log.push((self.elapsed_ms(), index, text));
                let copies = if self.dice.chance(self.weather.duplicate_percent) { 2 } else { 1 };
                for _ in 0..copies {
                    if self.dice.chance(self.weather.loss_percent) {
                        continue;
                    }
                    self.sent += 1;
                    let at = self.now + ms(5 + self.dice.below(self.weather.jitter_ms + 1));
                    self.flight.insert((at, self.sent), transmit.clone());
                }
            }
            while let Some(event) = self.peers[index].1.poll_event() {
                self.events.push((index, event));
            }
        }
    }

    /// Moves to the next packet or timer; false when nothing is left to happen before `limit`.
    pub fn step(&mut self, limit: Instant) -> bool {
        self.drain();
        let packet = self.flight.keys().next().map(|(at, _)| *at);
        let timer = self.peers.iter().filter_map(|(_, peer)| peer.poll_timeout()).min();
        let Some(next) = packet.into_iter().chain(timer).min().filter(|next| *next <= limit) else {
            self.now = self.now.max(limit);
            return false;
        };
        self.now = self.now.max(next);
        if packet == Some(next) {
            let (_, transmit) = self.flight.pop_first().unwrap();
            let to = transmit.flow.remote;
            let back = Flow { local: to, remote: transmit.flow.local, ..transmit.flow };
            if let Some((_, peer)) = self.peers.iter_mut().find(|(address, _)| *address == to) {
                peer.handle_receive(self.now, back, &transmit.bytes);
            }
        } else {
            let now = self.now;
            for (_, peer) in &mut self.peers {
                peer.handle_timeout(now);
            }
        }
        self.drain();
        true
    }

    pub fn run_for(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Removes and returns what one peer was told so far.
    pub fn take_events(&mut self, index: usize) -> Vec<Event> {
        let (ours, others): (Vec<_>, Vec<_>) = self.events.drain(..).partition(|(who, _)| *who == index);
        self.events = others;
        ours.into_iter().map(|(_, event)| event).collect()
    }

    /// The first lines one peer sent, with times.
    pub fn sent_by(&self, index: usize) -> Vec<(u64, &str)> {
        self.log
            .iter()
            .filter(|(_, who, _)| *who == index)
            .map(|(at, _, text)| (*at, text.lines().next().unwrap_or("")))
            .collect()
    }

    /// How often one peer sent a first line that begins so.
    pub fn count(&self, index: usize, prefix: &str) -> usize {
        self.sent_by(index).iter().filter(|(_, line)| line.starts_with(prefix)).count()
    }
}

/// The handle of the call that came in.
pub fn incoming(events: &[Event]) -> Option<CallHandle> {
    events.iter().find_map(|event| match event {
        Event::Incoming { call, .. } => Some(*call),
        _ => None,
    })
}

/// One endpoint that is spoken to in literal text.
pub struct Bench {
    pub now: Instant,
    pub start: Instant,
    pub endpoint: Endpoint,
    pub flow: Flow,
}

impl Bench {
    pub fn new() -> Self {
        Bench::with(EndpointConfig::default(), Transport::Udp)
    }

    pub fn with(config: EndpointConfig, transport: Transport) -> Self {
        let now = epoch();
        Bench { now, start: now, endpoint: Endpoint::new(config, 42), flow: flow(B, A, transport) }
    }

    /// Hands over one message and returns what is sent at once.
    pub fn receive(&mut self, text: impl AsRef<[u8]>) -> Vec<String> {
        self.endpoint.handle_receive(self.now, self.flow, text.as_ref());
        self.sent()
    }

    pub fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.endpoint.poll_transmit())
            .map(|sent| String::from_utf8_lossy(&sent.bytes).into_owned())
            .collect()
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.endpoint.poll_event()).collect()
    }

    /// Lets time pass; returns what was sent and when, in milliseconds since the start.
    pub fn pass(&mut self, time: Duration) -> Vec<(u64, String)> {
        let limit = self.now + time;
        let mut sent = Vec::new();
        while let Some(at) = self.endpoint.poll_timeout().filter(|at| *at <= limit) {
            self.now = self.now.max(at);
            self.endpoint.handle_timeout(self.now);
            let at = (self.now - self.start).as_millis() as u64;
            sent.extend(self.sent().into_iter().map(|text| (at, text)));
        }
        self.now = limit;
        sent
    }

    /// Receives an INVITE and returns the handle of the call it makes.
    pub fn call(&mut self) -> CallHandle {
        self.receive(invite("1", OFFER));
        incoming(&self.events()).unwrap()
    }

    /// A call that is answered but not acknowledged; returns our 200.
    pub fn answered(&mut self) -> (CallHandle, String) {
        let call = self.call();
        self.endpoint.answer(self.now, call, ANSWER.into()).unwrap();
        let ok = self.sent().pop().unwrap();
        (call, ok)
    }

    /// A call that is answered and acknowledged; returns our tag.
    pub fn established(&mut self) -> (CallHandle, String) {
        let (call, ok) = self.answered();
        let tag = to_tag(&ok);
        assert!(self.receive(inside("ACK", 1, &tag, "ack", "")).is_empty());
        assert!(matches!(self.events()[..], [Event::Established { .. }]));
        (call, tag)
    }
}

pub const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
pub const ANSWER: &str =
    "v=0\r\no=- 2 2 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";

/// A request from outside; `extra` holds whole header lines.
pub fn request(method: &str, branch: &str, extra: &str, body: &str) -> String {
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "{method} sip:demo@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: \"A\" <sip:a@192.0.2.1>;tag=aaa\r\nTo: <sip:demo@192.0.2.2>\r\nCall-ID: call@192.0.2.1\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:a@192.0.2.1:5060>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub fn invite(branch: &str, body: &str) -> String {
    request("INVITE", branch, "", body)
}

/// A request inside the dialog that `invite` began.
pub fn inside(method: &str, sequence: u32, tag: &str, branch: &str, body: &str) -> String {
    request(method, branch, "", body)
        .replace("To: <sip:demo@192.0.2.2>", &format!("To: <sip:demo@192.0.2.2>;tag={tag}"))
        .replace(&format!("CSeq: 1 {method}"), &format!("CSeq: {sequence} {method}"))
}

/// The value of a header in a message as text.
pub fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let prefix = format!("{name}: ");
    text.lines().find_map(|line| line.strip_prefix(&prefix))
}

pub fn to_tag(text: &str) -> String {
    header(text, "To").and_then(|to| to.split(";tag=").nth(1)).unwrap().to_owned()
}

/// The first lines of messages, `SIP/2.0 ` left out.
pub fn lines(sent: &[String]) -> Vec<&str> {
    sent.iter().map(|text| text.lines().next().unwrap().trim_start_matches("SIP/2.0 ")).collect()
}

/// A response to a request of ours; an empty tag leaves To as it is.
pub fn response(request: &str, status: &str, tag: &str, body: &str) -> String {
    let field = |name| header(request, name).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    format!(
        "SIP/2.0 {status}\r\nVia: {};received=192.0.2.2\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:demo@192.0.2.1:5070>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        field("Via"),
        field("From"),
        field("To"),
        field("Call-ID"),
        field("CSeq"),
        body.len()
    )
}

/// Two endpoints in an answered call; the handles at A and B.
pub fn talking(world: &mut World) -> (CallHandle, CallHandle) {
    let ours = world.peers[0].1.invite(world.now, outgoing(flow(A, B, Transport::Udp)));
    world.run_for(ms(50));
    let events = world.take_events(1);
    let theirs = incoming(&events).unwrap();
    let Event::Incoming { invite, .. } = &events[0] else { panic!() };
    let (answer, _) = offer::answer(invite.sdp.as_ref().unwrap(), &ability(5000)).unwrap();
    world.peers[1].1.answer(world.now, theirs, answer).unwrap();
    world.run_for(ms(100));
    world.take_events(0);
    world.take_events(1);
    (ours, theirs)
}
