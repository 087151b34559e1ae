//! A leg in its place on a media thread: its sockets, its rings, and what happens to it every 20 ms.

use std::io;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Instant;

use codecs::pcm::SILENCE;
use media_core::{Channel, Dial, Leg, LegCommand, LegConfig, LegEvent, Outward, Stats};

use crate::media_counts::ThreadCounts;
use crate::patch::Patch;
use crate::ports::Ports;
use crate::ring::Far;

/// Datagrams one leg may read in one tick: 20 times what a caller sends, and a bound on what a flood can steal from
/// the other legs. What exceeds it overflows in the kernel's queue of that one socket.
const PACKETS_PER_TICK: usize = 20;
/// How often the snapshot of the statistics is renewed, in ticks.
const STATS_EVERY: u32 = 10;
/// Larger than any datagram we accept; the kernel cuts off what exceeds it.
pub(crate) const DATAGRAM: usize = 2048;

/// Buffers shared by all legs of a thread.
pub(crate) struct Scratch {
    pub(crate) inward: Box<[u8; DATAGRAM]>,
    pub(crate) outward: Vec<u8>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { inward: Box::new([0; DATAGRAM]), outward: Vec::with_capacity(DATAGRAM) }
    }
}

/// One side of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What comes in.
    Caller,
    /// What goes out.
    Agent,
}

pub(crate) struct Seat {
    pub(crate) id: u64,
    leg: Leg,
    ports: Ports,
    far: Far,
    snapshot: Arc<Mutex<Stats>>,
    age: u32,
    /// What goes out instead of the leg's own voice.
    pub(crate) patch: Option<Box<Patch>>,
    caller_muted: bool,
    agent_muted: bool,
}

impl Seat {
    pub(crate) fn new(id: u64, leg: Leg, ports: Ports, far: Far, snapshot: Arc<Mutex<Stats>>) -> Self {
        let (caller_muted, agent_muted) = (false, false);
        Self { id, leg, ports, far, snapshot, age: 0, patch: None, caller_muted, agent_muted }
    }

    pub(crate) fn update(&mut self, config: LegConfig) {
        self.leg.update(config);
    }

    pub(crate) fn mute(&mut self, side: Side, on: bool) {
        match side {
            Side::Caller => self.caller_muted = on,
            Side::Agent => self.agent_muted = on,
        }
    }

    pub(crate) fn press(&mut self, dial: Dial) {
        let _ = self.leg.handle_command(LegCommand::SendDigits(dial));
    }

    /// One tick: what has arrived, what the voice thread ordered, 20 ms of both directions, what goes out.
    pub(crate) fn run(&mut self, now: Instant, scratch: &mut Scratch, counts: &ThreadCounts) {
        let leg = &mut self.leg;
        drain(&self.ports.rtp, &mut scratch.inward[..], counts, |from, packet| leg.handle_rtp(now, from, packet));
        // Every tick, though it comes every few seconds: what it waits here would count as round-trip time.
        drain(&self.ports.rtcp, &mut scratch.inward[..], counts, |from, packet| leg.handle_rtcp(now, from, packet));
        while let Ok(command) = self.far.commands.pop() {
            if let Some(spent) = leg.handle_command(command)
                && self.far.spent.push(spent).is_err()
            {
                counts.freed_here.one();
            }
        }
        // What the other leg sent is taken even where it is not sent on: it must not pile up.
        let inside = self.patch.as_ref().is_some_and(|patch| patch.is_inside());
        let take = |digit| if inside { leg.take_key(digit) } else { leg.pass_key(digit) };
        let across = self.patch.as_mut().map(|patch| patch.next(take));
        let outward = match &across {
            Some(_) if inside => Outward::Aside,
            Some(_) if self.agent_muted => Outward::Frame(&SILENCE),
            Some(frame) => Outward::Frame(frame),
            None if self.agent_muted => Outward::Muted,
            None => Outward::Own,
        };
        let mut tick = leg.tick_with(now, outward);
        if let Some(frame) = across.filter(|_| inside) {
            tick.caller = frame;
        }
        if self.caller_muted {
            tick.caller = SILENCE;
        }
        if inside && self.agent_muted {
            tick.agent = SILENCE;
        }
        if let Some(patch) = &mut self.patch {
            patch.give(if inside { &tick.agent } else { &tick.caller });
        }
        if self.far.ticks.push(tick).is_err() {
            counts.lost_ticks.one();
        }
        self.send(scratch, counts);
        self.hand_over(counts);
        if self.age.is_multiple_of(STATS_EVERY) {
            self.publish();
        }
        self.age = self.age.wrapping_add(1);
        counts.ticks.one();
    }

    fn send(&mut self, scratch: &mut Scratch, counts: &ThreadCounts) {
        while let Some(transmit) = self.leg.poll_transmit(&mut scratch.outward) {
            let socket = match transmit.channel {
                Channel::Rtp => &self.ports.rtp,
                Channel::Rtcp => &self.ports.rtcp,
            };
            if socket.send_to(&scratch.outward, transmit.to).is_err() {
                counts.send_failures.one();
            }
        }
    }

    fn hand_over(&mut self, counts: &ThreadCounts) {
        while !self.far.events.is_full() {
            let Some(event) = self.leg.poll_event() else { break };
            if let (Some(patch), LegEvent::Key { digit, .. }) = (&mut self.patch, event) {
                patch.give_key(digit);
            }
            // Cannot fail: room was seen, and only this thread fills it.
            let _ = self.far.events.push(event);
        }
        while let Some(spent) = self.leg.poll_spent() {
            if self.far.spent.push(spent).is_err() {
                counts.freed_here.one();
            }
        }
    }

    /// Renews the snapshot unless somebody reads it this very moment: the media thread waits for nobody.
    pub(crate) fn publish(&self) {
        match self.snapshot.try_lock() {
            Ok(mut seen) => *seen = self.leg.stats(),
            Err(TryLockError::Poisoned(seen)) => *seen.into_inner() = self.leg.stats(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
}

fn drain(
    socket: &UdpSocket,
    buffer: &mut [u8],
    counts: &ThreadCounts,
    mut take: impl FnMut(std::net::SocketAddr, &[u8]),
) {
    for _ in 0..PACKETS_PER_TICK {
        match socket.recv_from(buffer) {
            Ok((length, from)) => take(from, &buffer[..length]),
            // WouldBlock: all read. Anything else belongs to one datagram (an ICMP answer), the next tick reads on.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
    counts.floods.one();
}
