//! What 20 ms of one call cost: G.711, the jitter buffer, the whole leg; and a second of its recording afterwards.
#![allow(missing_docs)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use codecs::g711::{self, Law};
use codecs::ogg_opus;
use codecs::pcm::{FRAME, Frame};
use criterion::{Criterion, criterion_group, criterion_main};
use media_core::jitter::{JitterBuffer, Moment};
use media_core::{Leg, LegCommand, LegConfig, Outward};
use wire::media::Patch;

const TICK: Duration = Duration::from_millis(20);

fn codec(c: &mut Criterion) {
    let pcm: Frame = std::array::from_fn(|n| (n as i16 - 80) * 200);
    let mut bytes = [0; FRAME];
    c.bench_function("codecs/encode a G.711 frame", |b| {
        b.iter(|| g711::encode(Law::Mu, black_box(&pcm), &mut bytes));
    });
    let mut back: Frame = [0; FRAME];
    c.bench_function("codecs/decode a G.711 frame", |b| {
        b.iter(|| g711::decode(Law::Mu, black_box(&bytes), &mut back));
    });
}

fn jitter(c: &mut Criterion) {
    let packet: Frame = std::array::from_fn(|n| (n as i16 - 80) * 200);
    let mut frame: Frame = [0; FRAME];
    let mut buffer = JitterBuffer::new();
    let mut clock = 0;
    c.bench_function("media/jitter buffer: one packet pushed, one frame popped", |b| {
        b.iter(|| {
            // Packets come a quarter of a tick behind the tick, as from a caller with a clock of its own.
            buffer.push(Moment { clock: clock + 40, into_tick: 40 }, clock as u32, black_box(&packet), true);
            clock += FRAME as i64;
            buffer.pop(&mut frame)
        });
    });
}

fn peer() -> SocketAddr {
    ([192, 0, 2, 1], 4000).into()
}

fn leg(now: Instant) -> Leg {
    let config = LegConfig {
        law: Law::Mu,
        payload_type: 0,
        dtmf_payload_type: Some(101),
        remote: peer(),
        remote_rtcp: ([192, 0, 2, 1], 4001).into(),
        ssrc: 7,
        first_sequence: 0,
        first_timestamp: 0,
        cname: "bench".to_owned(),
        sending: true,
        receiving: true,
    };
    Leg::new(config, now)
}

struct Caller {
    now: Instant,
    sequence: u16,
    timestamp: u32,
    packet: [u8; 12 + FRAME],
}

impl Caller {
    fn new() -> Self {
        let mut packet = [0x55; 12 + FRAME];
        packet[..2].copy_from_slice(&[0x80, 0]);
        Self { now: Instant::now(), sequence: 0, timestamp: 0, packet }
    }

    fn next(&mut self) {
        self.packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        self.packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        self.now += TICK;
    }
}

fn whole_leg(c: &mut Criterion) {
    let mut out = Vec::with_capacity(2048);
    let mut caller = Caller::new();
    let mut hearing = leg(caller.now);
    c.bench_function("media/leg tick: packet in, jitter buffer, frame, packet out", |b| {
        b.iter(|| {
            caller.next();
            hearing.handle_rtp(caller.now, peer(), &caller.packet);
            let tick = hearing.tick(caller.now);
            while hearing.poll_transmit(&mut out).is_some() {
                black_box(&out);
            }
            while hearing.poll_event().is_some() {}
            tick
        });
    });
    let mut caller = Caller::new();
    let mut lossy = leg(caller.now);
    c.bench_function("media/leg tick: every fifth packet lost", |b| {
        b.iter(|| {
            caller.next();
            if !caller.sequence.is_multiple_of(5) {
                lossy.handle_rtp(caller.now, peer(), &caller.packet);
            }
            let tick = lossy.tick(caller.now);
            while lossy.poll_transmit(&mut out).is_some() {
                black_box(&out);
            }
            while lossy.poll_event().is_some() {}
            tick
        });
    });
}

/// Two calls that a voice speaks to, and the same two bridged: what the crossing costs beside the playout that it takes the place of.
fn two_legs(c: &mut Criterion) {
    let mut out = Vec::with_capacity(2048);
    let mut caller = Caller::new();
    let mut legs = [leg(caller.now), leg(caller.now)];
    let mut said = 0;
    c.bench_function("media/two legs, each spoken to", |b| {
        b.iter(|| {
            caller.next();
            for leg in &mut legs {
                if said % 50 == 0 {
                    leg.handle_command(LegCommand::Speak { r#gen: 1, pcm: vec![700; 50 * FRAME].into() });
                }
                leg.handle_rtp(caller.now, peer(), &caller.packet);
                black_box(leg.tick(caller.now));
                while leg.poll_transmit(&mut out).is_some() {}
                while leg.poll_event().is_some() {}
                while leg.poll_spent().is_some() {}
            }
            said += 1;
        });
    });
    let mut caller = Caller::new();
    let mut legs = [leg(caller.now), leg(caller.now)];
    let (to_a, to_b) = Patch::bridge();
    let mut patches = [to_a, to_b];
    c.bench_function("media/two legs, bridged", |b| {
        b.iter(|| {
            caller.next();
            for (leg, patch) in legs.iter_mut().zip(&mut patches) {
                leg.handle_rtp(caller.now, peer(), &caller.packet);
                let frame = patch.next(|_| {});
                let tick = leg.tick_with(caller.now, Outward::Frame(&frame));
                patch.give(&tick.caller);
                while leg.poll_transmit(&mut out).is_some() {}
                while leg.poll_event().is_some() {}
            }
        });
    });
}

/// A second of both sides, one of them speaking: harmonics of a voice under a slow swell, and the noise of a line.
fn second(n: usize) -> Vec<i16> {
    let mut seed = 1_u32;
    (n * 8000..(n + 1) * 8000)
        .flat_map(|at| {
            let wave = |hz: f64| (at as f64 * hz / 8000.0 * std::f64::consts::TAU).sin();
            let voice: f64 = (1..12).map(|k| wave(140.0 * f64::from(k)) / f64::from(k)).sum();
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (seed >> 27) as i16 - 16;
            let spoken = (voice * 5000.0 * (0.5 + 0.5 * wave(3.0))) as i16;
            if (n / 3).is_multiple_of(2) { [spoken, noise] } else { [noise, spoken] }
        })
        .collect()
}

fn recording(c: &mut Criterion) {
    let seconds: Vec<_> = (0..6).map(second).collect();
    let mut writer = ogg_opus::Writer::new(std::io::sink(), 1, 8000, 2).expect("Opus has 8 kHz");
    let mut n = 0;
    c.bench_function("codecs/encode a second of both sides as Ogg Opus", |b| {
        b.iter(|| {
            n += 1;
            writer.write(black_box(&seconds[n % 6])).expect("a sink takes all")
        });
    });
    let mut writer = ogg_opus::Writer::new(Vec::new(), 1, 8000, 2).expect("Opus has 8 kHz");
    seconds.iter().for_each(|second| writer.write(second).expect("memory takes all"));
    let file = writer.finish().expect("memory takes all");
    let mut samples = Vec::new();
    c.bench_function("codecs/decode six seconds of both sides from Ogg Opus", |b| {
        b.iter(|| {
            samples.clear();
            ogg_opus::Decoder::default().push(black_box(&file), &mut samples)
        });
    });
}

criterion_group!(benches, codec, jitter, whole_leg, two_legs, recording);
criterion_main!(benches);
