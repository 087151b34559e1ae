//! A world for endpoints: virtual time, a seeded bad network, and users that follow a script.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sip_stack::{
    CallHandle, Endpoint, EndpointConfig, Event, Flow, Outgoing, Transmit, Transport, offer,
};

/// The start of all virtual time. Only differences count, so one reading of the real clock does no harm.
#[allow(
    clippy::disallowed_methods,
    reason = "an Instant can be had in no other way"
)]
pub fn epoch() -> Instant {
    Instant::now()
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub const A: &str = "192.0.2.1:5060";
pub const B: &str = "192.0.2.2:5060";

pub fn flow(local: &str, remote: &str, transport: Transport) -> Flow {
    let connection = if transport == Transport::Tcp { 1 } else { 0 };
    Flow {
        transport,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        connection,
    }
}

pub fn endpoint(seed: u64) -> Endpoint {
    Endpoint::new(
        EndpointConfig {
            user_agent: Some("test".into()),
            ..EndpointConfig::default()
        },
        seed,
    )
}

pub fn ability(port: u16) -> offer::Ability {
    offer::Ability {
        address: "192.0.2.9".parse().unwrap(),
        port,
        rtcp_port: port + 1,
        codecs: vec![offer::Codec::Pcmu, offer::Codec::Pcma],
        telephone_event: true,
        session_id: 1,
        version: 1,
    }
}

pub fn outgoing(flow: Flow) -> Outgoing {
    Outgoing {
        to: format!("sip:demo@{}", flow.remote).parse().unwrap(),
        from: sip_stack::NameAddr {
            display: Some("Test".into()),
            uri: format!("sip:caller@{}", flow.local).parse().unwrap(),
        },
        flow,
        sdp: offer::offer(&ability(4000)),
        headers: vec![("X-Test".into(), "1".into())],
    }
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

pub const CALM: Weather = Weather {
    loss_percent: 0,
    duplicate_percent: 0,
    jitter_ms: 0,
};

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
}

impl World {
    pub fn new(seed: u64, weather: Weather) -> Self {
        let start = epoch();
        let peers = vec![
            (A.parse().unwrap(), endpoint(seed * 2)),
            (B.parse().unwrap(), endpoint(seed * 2 + 1)),
        ];
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
                let copies = if self.dice.chance(self.weather.duplicate_percent) {
                    2
                } else {
                    1
                };
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
        let timer = self
            .peers
            .iter()
            .filter_map(|(_, peer)| peer.poll_timeout())
            .min();
        let Some(next) = packet
            .into_iter()
            .chain(timer)
            .min()
            .filter(|next| *next <= limit)
        else {
            self.now = self.now.max(limit);
            return false;
        };
        self.now = self.now.max(next);
        if packet == Some(next) {
            let (_, transmit) = self.flight.pop_first().unwrap();
            let to = transmit.flow.remote;
            let back = Flow {
                local: to,
                remote: transmit.flow.local,
                ..transmit.flow
            };
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
        let (ours, others): (Vec<_>, Vec<_>) =
            self.events.drain(..).partition(|(who, _)| *who == index);
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
        self.sent_by(index)
            .iter()
            .filter(|(_, line)| line.starts_with(prefix))
            .count()
    }
}

/// The handle of the call that came in.
pub fn incoming(events: &[Event]) -> Option<CallHandle> {
    events.iter().find_map(|event| match event {
        Event::Incoming { call, .. } => Some(*call),
        _ => None,
    })
}
