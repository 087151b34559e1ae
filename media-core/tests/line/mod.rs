//! Two legs and a seeded bad network between them, in virtual time. Shared by the tests of this folder.
#![allow(dead_code, reason = "each test file uses its part")]

use codecs::g711::Law;
use codecs::pcm::{FRAME, Frame};
use media_core::{Channel, Leg, LegCommand, LegConfig, LegEvent, Tick};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What the network does to packets, in microseconds and per mille.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) delay_us: u64,
    pub(crate) jitter_us: u64,
    pub(crate) loss: u64,
    pub(crate) duplicate: u64,
}

/// One end: a leg, its tick length (20,000 µs is exact), and what it heard and said.
pub(crate) struct End {
    pub(crate) leg: Leg,
    pub(crate) config: LegConfig,
    pub(crate) tick_us: u64,
    pub(crate) address: SocketAddr,
    next_us: u64,
    pub(crate) ticks: Vec<Tick>,
    pub(crate) events: Vec<LegEvent>,
    pub(crate) sent: Vec<(u64, Channel, Vec<u8>)>,
}

/// A packet on its way: to which end, from where, on which socket, and its bytes.
type Flying = (usize, SocketAddr, Channel, Vec<u8>);

/// Two ends and the packets between them.
pub(crate) struct Line {
    start: Instant,
    pub(crate) now_us: u64,
    pub(crate) ends: [End; 2],
    pub(crate) weather: Weather,
    /// By arrival time and order of sending.
    flying: BTreeMap<(u64, u64), Flying>,
    count: u64,
    seed: u64,
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn config(remote: &str, ssrc: u32) -> LegConfig {
    let remote = addr(remote);
    LegConfig {
        law: Law::Mu,
        payload_type: 0,
        dtmf_payload_type: Some(101),
        remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        ssrc,
        first_sequence: 65_500,
        first_timestamp: u32::MAX - 10_000,
        cname: "line".into(),
        sending: true,
        receiving: true,
    }
}

#[expect(clippy::disallowed_methods, reason = "an arbitrary origin; everything else is added to it")]
pub(crate) fn origin() -> Instant {
    Instant::now()
}

impl Line {
    pub(crate) fn new(weather: Weather) -> Self {
        let start = origin();
        let end = |here: &str, there: &str, ssrc, next_us| End {
            leg: Leg::new(config(there, ssrc), start),
            config: config(there, ssrc),
            tick_us: 20_000,
            address: addr(here),
            next_us,
            ticks: Vec::new(),
            events: Vec::new(),
            sent: Vec::new(),
        };
        let (a, b) = ("192.0.2.1:4000", "198.51.100.1:6000");
        Line {
            start,
            now_us: 0,
            ends: [end(a, b, 0xAAAA, 0), end(b, a, 0xBBBB, 7_000)],
            weather,
            flying: BTreeMap::new(),
            count: 0,
            seed: 1,
        }
    }

    /// xorshift64*: the same weather every time.
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        (self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below.max(1)
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.now_us)
    }

    /// Lets this much time pass.
    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now_us + ms * 1000;
        loop {
            let packet = self.flying.first_key_value().map(|(&(at, _), _)| at).unwrap_or(u64::MAX);
            let tick = self.ends.iter().map(|end| end.next_us).min().unwrap();
            let next = packet.min(tick);
            if next >= until {
                self.now_us = until;
                return;
            }
            self.now_us = next;
            if packet <= tick {
                let (_, (to, from, channel, bytes)) = self.flying.pop_first().unwrap();
                self.deliver(to, from, channel, &bytes);
            } else {
                let which = usize::from(self.ends[1].next_us == tick && self.ends[0].next_us != tick);
                self.tick(which);
            }
        }
    }

    pub(crate) fn deliver(&mut self, to: usize, from: SocketAddr, channel: Channel, bytes: &[u8]) {
        let now = self.now();
        match channel {
            Channel::Rtp => self.ends[to].leg.handle_rtp(now, from, bytes),
            Channel::Rtcp => self.ends[to].leg.handle_rtcp(now, from, bytes),
        }
    }

    fn tick(&mut self, which: usize) {
        let now = self.now();
        let other = self.ends[1 - which].address;
        let end = &mut self.ends[which];
        end.next_us += end.tick_us;
        end.ticks.push(end.leg.tick(now));
        while let Some(event) = end.leg.poll_event() {
            end.events.push(event);
        }
        while end.leg.poll_spent().is_some() {}
        let (mut buf, mut out) = (Vec::new(), Vec::new());
        while let Some(transmit) = end.leg.poll_transmit(&mut buf) {
            end.sent.push((self.now_us, transmit.channel, buf.clone()));
            out.push((transmit, buf.clone()));
        }
        let mut from = end.address;
        for (transmit, bytes) in out {
            let rtcp = transmit.channel == Channel::Rtcp;
            from.set_port(self.ends[which].address.port() + u16::from(rtcp));
            let mut there = other;
            there.set_port(other.port() + u16::from(rtcp));
            let weather = self.weather;
            if transmit.to != there || self.random(1000) < weather.loss {
                continue;
            }
            let copies = 1 + u64::from(self.random(1000) < weather.duplicate);
            for _ in 0..copies {
                let at = self.now_us + weather.delay_us + self.random(weather.jitter_us + 1);
                self.count += 1;
                self.flying.insert((at, self.count), (1 - which, from, transmit.channel, bytes.clone()));
            }
        }
    }

    pub(crate) fn command(&mut self, which: usize, command: LegCommand) {
        self.ends[which].leg.handle_command(command);
    }

    /// All that an end heard, as one stretch.
    pub(crate) fn heard(&self, which: usize) -> Vec<i16> {
        self.ends[which].ticks.iter().flat_map(|tick| tick.caller).collect()
    }
}

/// A voice-like sound of `n` samples.
pub(crate) fn voice(n: usize) -> Box<[i16]> {
    (0..n)
        .map(|i| {
            let angle = |hz: f32| (i as f32 * hz * std::f32::consts::TAU / 8000.0).sin();
            (5000.0 * angle(140.0) + 2500.0 * angle(410.0) + 900.0 * angle(1730.0)) as i16
        })
        .collect()
}

/// An RTP packet as a stranger or a tester makes it.
pub(crate) fn rtp(payload_type: u8, marker: bool, sequence: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    media_core::rtp::Header { payload_type, marker, sequence, timestamp, ssrc }.write(&mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// Level below which a frame counts as silent.
pub(crate) fn is_quiet(frame: &Frame) -> bool {
    codecs::pcm::rms_dbov(frame) < -60.0
}

pub(crate) const MS: usize = FRAME / 20;
