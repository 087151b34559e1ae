//! From a datagram to the jitter buffer: dropped early, in order of cost, and counted.

use super::Leg;
use crate::dtmf::Payload;
use crate::event::LegEvent;
use crate::jitter::{Moment, Placement};
use crate::reception::Order;
use crate::rtp::Packet;
use crate::source::Verdict;
use codecs::g711;
use codecs::pcm::{FRAME, RATE};
use std::net::SocketAddr;
use std::time::Instant;

/// 120 ms: longer packets of G.711 do not exist on telephone lines.
const LONGEST: usize = 960;
/// Comfort noise (RFC 3389): says that the caller is silent.
const COMFORT_NOISE: u8 = 13;
/// RTCP packet types 192 to 223 as they look to an RTP parser (RFC 5761 section 4).
const RTCP_TYPES: std::ops::RangeInclusive<u8> = 64..=95;

#[derive(Clone, Copy)]
enum Kind {
    Audio,
    Event(Payload),
    Noise,
}

impl Leg {
    /// One datagram of the RTP socket. What is wrong is counted and ignored.
    pub fn handle_rtp(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        let Ok(packet) = Packet::parse(packet) else {
            self.counts.malformed += 1;
            return;
        };
        let header = packet.header;
        let known = self.source.latched() == from || self.config.remote == from;
        let Some(kind) = self.kind(&packet) else {
            match () {
                () if !known => self.counts.strangers += 1,
                () if RTCP_TYPES.contains(&header.payload_type) => self.counts.wrong_type += 1,
                () if self.is_agreed(header.payload_type) => self.counts.malformed += 1,
                () => self.counts.wrong_type += 1,
            }
            return;
        };
        match self.source.judge(now, from, &header) {
            Verdict::Stranger => {
                self.counts.strangers += 1;
                return;
            }
            Verdict::Moved => {
                self.begin_stream(header.ssrc);
                self.reporter.forget_address();
            }
            Verdict::Accept => {}
        }
        if !self.belongs(header.ssrc, header.sequence) {
            return;
        }
        self.heard = now;
        let newer = match self.reception.note(header.sequence) {
            Order::Next => true,
            Order::Reordered => {
                self.counts.reordered += 1;
                false
            }
            Order::Duplicate => {
                self.counts.duplicate += 1;
                return;
            }
            Order::Doubtful => {
                self.counts.late += 1;
                return;
            }
        };
        self.counts.received += 1;
        if !self.config.receiving {
            return;
        }
        let when = self.moment(now);
        match kind {
            Kind::Audio => {
                self.reception.note_transit(when.clock, header.timestamp);
                let mut samples = [0; LONGEST];
                let n = g711::decode(self.config.law, packet.payload, &mut samples);
                if self.jitter.push(when, header.timestamp, &samples[..n], newer) != Placement::Placed {
                    self.counts.late += 1;
                }
            }
            Kind::Noise => self.jitter.hush(header.timestamp, FRAME as u32),
            Kind::Event(payload) => {
                // Repeated ends take the place of three more frames of audio.
                let ends = if payload.end { 3 * FRAME as u32 } else { 0 };
                self.jitter.hush(header.timestamp, u32::from(payload.duration) + ends);
                if payload.event > 15 {
                    self.counts.keys_refused += 1;
                    return;
                }
                let at = self.at + when.into_tick as u64;
                if let Some(key) = self.keys.packet(at, header.timestamp, header.marker, payload) {
                    self.report_key(key);
                }
            }
        }
    }

    fn is_agreed(&self, payload_type: u8) -> bool {
        payload_type == self.config.payload_type || Some(payload_type) == self.config.dtmf_payload_type
    }

    fn kind(&self, packet: &Packet<'_>) -> Option<Kind> {
        match packet.header.payload_type {
            t if t == self.config.payload_type => (1..=LONGEST).contains(&packet.payload.len()).then_some(Kind::Audio),
            t if Some(t) == self.config.dtmf_payload_type => Payload::parse(packet.payload).map(Kind::Event),
            COMFORT_NOISE => Some(Kind::Noise),
            _ => None,
        }
    }

    /// True for the caller's stream. Another SSRC becomes it by two packets in a row, without one of the old between them.
    fn belongs(&mut self, ssrc: u32, sequence: u16) -> bool {
        match self.stream.ssrc {
            Some(known) if known != ssrc => {
                if self.stream.trial == Some((ssrc, sequence)) {
                    self.begin_stream(ssrc);
                    return true;
                }
                self.stream.trial = Some((ssrc, sequence.wrapping_add(1)));
                self.counts.strangers += 1;
                false
            }
            Some(_) => {
                self.stream.trial = None;
                true
            }
            None => {
                self.stream.ssrc = Some(ssrc);
                true
            }
        }
    }

    fn begin_stream(&mut self, ssrc: u32) {
        if self.stream.ssrc.is_some() {
            self.counts.restarts += 1;
        }
        self.stream.ssrc = Some(ssrc);
        self.stream.trial = None;
        self.reception.forget();
        self.jitter.reset();
        if let Some(key) = self.keys.forget() {
            self.report_key(key);
        }
    }

    pub(super) fn report_key(&mut self, key: crate::dtmf::Key) {
        self.events.push_back(LegEvent::Key { digit: key.digit, at: key.at, duration_ms: key.duration_ms });
    }

    fn moment(&self, now: Instant) -> Moment {
        let samples = |since: Instant| {
            let passed = now.saturating_duration_since(since).as_micros();
            i64::try_from(passed * u128::from(RATE) / 1_000_000).unwrap_or(i64::MAX / 2)
        };
        Moment { clock: samples(self.begun), into_tick: samples(self.ticked).min(FRAME as i64) }
    }
}
