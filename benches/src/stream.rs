//! The media of many callers on one thread: a packet every 20 ms per call, and the arrival of every packet back.
//!
//! Calls share sockets, 32 to one, and are told apart by the address the server sends from: a thread that looks at
//! a few sockets once a millisecond costs little and still times each arrival to a millisecond.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use codecs::g711::{self, Law};
use codecs::pcm::{FRAME, RATE};

use crate::histogram::Histogram;
use crate::report::Rtp;

const TICK: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_millis(1);
const STEPS: usize = 20;
const CALLS_PER_SOCKET: usize = 32;
const HEADER: usize = 12;
/// What a usual jitter buffer would not wait for.
const LATE: Duration = Duration::from_millis(40);

/// One answered call.
#[derive(Debug, Clone, Copy)]
pub struct Party {
    /// Where its RTP goes and comes from.
    pub remote: SocketAddr,
    /// PCMU 0 or PCMA 8.
    pub payload_type: u8,
    /// Which of the thread's sockets was offered.
    pub socket: usize,
}

enum Order {
    Begin(Party),
    End(SocketAddr),
    Stop,
}

/// What one thread saw within the window.
#[derive(Debug, Default)]
pub struct Seen {
    /// Packets.
    pub rtp: Rtp,
    /// Gaps between arrivals.
    pub gaps: Histogram,
    /// The latest a packet left after its time.
    pub worst_late: Duration,
    /// Packets the system did not take.
    pub send_failures: u64,
}

/// A thread that speaks and listens for many calls.
#[derive(Debug)]
pub struct Stream {
    orders: Sender<Order>,
    handle: JoinHandle<Seen>,
    ports: Vec<(u16, u16)>,
    next: usize,
}

impl Stream {
    /// Binds sockets for `calls` calls and starts the thread. Only while `window` is true is anything counted.
    ///
    /// # Errors
    /// A socket or thread the system did not give.
    pub fn start(number: usize, address: IpAddr, calls: usize, window: Arc<AtomicBool>) -> io::Result<Self> {
        let mut sockets = Vec::new();
        let mut ports = Vec::new();
        let mut reports = Vec::new();
        for _ in 0..calls.div_ceil(CALLS_PER_SOCKET).max(1) {
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_nonblocking(true)?;
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
            // RTCP must have somewhere to go, or the server is told that nobody listens; it is not read.
            let report = UdpSocket::bind((address, 0))?;
            ports.push((socket.local_addr()?.port(), report.local_addr()?.port()));
            sockets.push(socket);
            reports.push(report);
        }
        let (orders, inbox) = channel();
        let handle = std::thread::Builder::new().name(format!("stream-{number}")).spawn(move || {
            // As the server's: on a busy machine the instrument must not be later than what it measures.
            wire::media::raise_priority();
            let seen = Hall::new(sockets).run(&inbox, &window);
            drop(reports);
            seen
        })?;
        Ok(Self { orders, handle, ports, next: 0 })
    }

    /// A socket for the next call: its index, RTP port and RTCP port.
    pub fn seat(&mut self) -> (usize, u16, u16) {
        let index = self.next % self.ports.len();
        self.next += 1;
        (index, self.ports[index].0, self.ports[index].1)
    }

    /// A call is answered: speak.
    pub fn begin(&self, party: Party) {
        let _ = self.orders.send(Order::Begin(party));
    }

    /// A call is over.
    pub fn end(&self, remote: SocketAddr) {
        let _ = self.orders.send(Order::End(remote));
    }

    /// Ends the thread and hands over what it saw.
    pub fn finish(self) -> Seen {
        let _ = self.orders.send(Order::Stop);
        self.handle.join().unwrap_or_default()
    }
}

struct Call {
    party: Party,
    packet: Vec<u8>,
    sequence: u16,
    timestamp: u32,
    at: usize,
    hearing: Option<Hearing>,
}

/// What a call has received within the window.
struct Hearing {
    first_at: Instant,
    first_timestamp: u32,
    /// Extended sequence numbers (RFC 3550 A.1).
    first: u64,
    highest: u64,
    received: u64,
    last_at: Instant,
    /// Arrival minus media time of the quickest packet, relative to `first_at`, in microseconds.
    quickest_us: i64,
}

struct Hall {
    sockets: Vec<UdpSocket>,
    calls: Vec<Call>,
    steps: [Vec<usize>; STEPS],
    by_remote: HashMap<SocketAddr, usize>,
    speech: [Vec<u8>; 2],
    seen: Seen,
}

impl Hall {
    fn new(sockets: Vec<UdpSocket>) -> Self {
        let speech = [Law::Mu, Law::A].map(|law| {
            let pcm = babble();
            let mut bytes = vec![0; pcm.len()];
            g711::encode(law, &pcm, &mut bytes);
            bytes
        });
        let (calls, steps) = (Vec::new(), Default::default());
        Self { sockets, calls, steps, by_remote: HashMap::new(), speech, seen: Seen::default() }
    }

    fn run(mut self, inbox: &Receiver<Order>, window: &AtomicBool) -> Seen {
        let epoch = Instant::now();
        let mut counting = false;
        for step in 0u64.. {
            loop {
                match inbox.try_recv() {
                    Ok(Order::Begin(party)) => self.begin(party),
                    Ok(Order::End(remote)) => self.end(remote),
                    Ok(Order::Stop) | Err(TryRecvError::Disconnected) => {
                        self.settle();
                        return self.seen;
                    }
                    Err(TryRecvError::Empty) => break,
                }
            }
            let due = epoch + Duration::from_millis(step);
            if let Some(early) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(early);
            }
            let now_counting = window.load(Ordering::Relaxed);
            if counting && !now_counting {
                self.settle();
            }
            counting = now_counting;
            self.listen(counting);
            let late = due.elapsed();
            if counting && !self.steps[(step % STEPS as u64) as usize].is_empty() {
                self.seen.worst_late = self.seen.worst_late.max(late);
            }
            self.speak((step % STEPS as u64) as usize, counting);
        }
        self.seen
    }

    fn begin(&mut self, party: Party) {
        let index = self.calls.len();
        let mut packet = vec![0; HEADER + FRAME];
        packet[0] = 0x80;
        // The SSRC need only differ within one server leg, which hears a single call.
        packet[8..12].copy_from_slice(&(0x5eed_0000 + index as u32).to_be_bytes());
        let at = index * 7 * FRAME;
        self.calls.push(Call { party, packet, sequence: 0, timestamp: 0, at, hearing: None });
        self.by_remote.insert(party.remote, index);
        if let Some(step) = self.steps.iter_mut().min_by_key(|step| step.len()) {
            step.push(index);
        }
    }

    fn end(&mut self, remote: SocketAddr) {
        if let Some(index) = self.by_remote.remove(&remote) {
            self.steps.iter_mut().for_each(|step| step.retain(|call| *call != index));
            settle(&mut self.calls[index], &mut self.seen.rtp);
        }
    }

    fn speak(&mut self, step: usize, counting: bool) {
        let Self { calls, steps, speech, sockets, seen, .. } = self;
        for index in &steps[step] {
            let call = &mut calls[*index];
            let speech = &speech[usize::from(call.party.payload_type == 8)];
            let marker = if call.sequence == 0 && call.timestamp == 0 { 0x80 } else { 0 };
            call.packet[1] = marker | call.party.payload_type;
            call.packet[2..4].copy_from_slice(&call.sequence.to_be_bytes());
            call.packet[4..8].copy_from_slice(&call.timestamp.to_be_bytes());
            let at = call.at % speech.len();
            call.packet[HEADER..].copy_from_slice(&speech[at..at + FRAME]);
            call.at = at + FRAME;
            call.sequence = call.sequence.wrapping_add(1);
            call.timestamp = call.timestamp.wrapping_add(FRAME as u32);
            match sockets[call.party.socket].send_to(&call.packet, call.party.remote) {
                Ok(_) if counting => seen.rtp.sent += 1,
                Ok(_) => {}
                Err(_) => seen.send_failures += 1,
            }
        }
    }

    fn listen(&mut self, counting: bool) {
        let mut packet = [0; 2048];
        for socket in &self.sockets {
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                if !counting {
                    continue;
                }
                let call = self.by_remote.get(&from).map(|index| &mut self.calls[*index]);
                match (call, length) {
                    (Some(call), HEADER..) if packet[0] >> 6 == 2 => hear(call, &packet, &mut self.seen),
                    _ => self.seen.rtp.foreign += 1,
                }
            }
        }
    }

    fn settle(&mut self) {
        self.calls.iter_mut().for_each(|call| settle(call, &mut self.seen.rtp));
    }
}

fn hear(call: &mut Call, packet: &[u8], seen: &mut Seen) {
    let now = Instant::now();
    let sequence = u16::from_be_bytes([packet[2], packet[3]]);
    let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
    seen.rtp.received += 1;
    let Some(hearing) = &mut call.hearing else {
        // One turn of the counter ahead, so that a packet from before the first one is not below zero.
        let first = u64::from(sequence) + (1 << 16);
        call.hearing = Some(Hearing {
            first_at: now,
            first_timestamp: timestamp,
            first,
            highest: first,
            received: 1,
            last_at: now,
            quickest_us: 0,
        });
        return;
    };
    let ahead = sequence.wrapping_sub(hearing.highest as u16) as i16;
    let extended = hearing.highest.saturating_add_signed(i64::from(ahead));
    if extended < hearing.first {
        return;
    }
    hearing.highest = hearing.highest.max(extended);
    hearing.received += 1;
    seen.gaps.add(now - hearing.last_at);
    hearing.last_at = now;

    let media = i64::from(timestamp.wrapping_sub(hearing.first_timestamp) as i32) * 1_000_000 / i64::from(RATE);
    let transit = (now - hearing.first_at).as_micros() as i64 - media;
    hearing.quickest_us = hearing.quickest_us.min(transit);
    if transit - hearing.quickest_us > LATE.as_micros() as i64 {
        seen.rtp.late += 1;
    }
}

fn settle(call: &mut Call, rtp: &mut Rtp) {
    if let Some(hearing) = call.hearing.take() {
        let expected = hearing.highest - hearing.first + 1;
        rtp.lost += expected.saturating_sub(hearing.received);
    }
}

/// Four seconds of something like speech: a voiced tone in syllables, then a pause as long as a turn's end.
fn babble() -> Vec<i16> {
    let seconds = |n: u32| f64::from(n) / f64::from(RATE);
    (0..4 * RATE)
        .map(|n| {
            let t = seconds(n);
            if t > 2.8 {
                return 0;
            }
            let pitch = 120.0 + 30.0 * (t * 1.7).sin();
            let voice: f64 =
                (1..12).map(|k| (t * pitch * f64::from(k) * std::f64::consts::TAU).sin() / f64::from(k)).sum();
            let syllable = (t * 4.0 * std::f64::consts::PI).sin().abs();
            (voice * syllable * 5_000.0) as i16
        })
        .collect()
}

const _: () = assert!(STEPS as u64 * STEP.as_millis() as u64 == TICK.as_millis() as u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        let party = Party { remote: "127.0.0.1:9".parse().unwrap(), payload_type: 0, socket: 0 };
        Call { party, packet: vec![0; HEADER + FRAME], sequence: 0, timestamp: 0, at: 0, hearing: None }
    }

    fn packet(sequence: u16) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 160).to_be_bytes());
        packet.extend([0; 4]);
        packet
    }

    fn lost(sequences: &[u16]) -> u64 {
        let (mut call, mut seen) = (call(), Seen::default());
        sequences.iter().for_each(|sequence| hear(&mut call, &packet(*sequence), &mut seen));
        settle(&mut call, &mut seen.rtp);
        seen.rtp.lost
    }

    #[test]
    fn loss_is_what_never_came() {
        assert_eq!(lost(&[10, 11, 12]), 0);
        assert_eq!(lost(&[10, 13, 12]), 1);
        assert_eq!(lost(&[65_534, 65_535, 1]), 1);
        assert_eq!(lost(&[5, 4, 6]), 0);
    }

    #[test]
    fn a_thread_speaks_every_20_ms_and_hears_what_comes_back() {
        let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
        echo.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let window = Arc::new(AtomicBool::new(true));
        let mut stream = Stream::start(0, "127.0.0.1".parse().unwrap(), 1, window).unwrap();
        let (socket, _, _) = stream.seat();
        stream.begin(Party { remote: echo.local_addr().unwrap(), payload_type: 0, socket });
        let mut buffer = [0; 2048];
        for n in 0..20u16 {
            let (length, from) = echo.recv_from(&mut buffer).unwrap();
            assert_eq!(length, HEADER + FRAME);
            assert_eq!(u16::from_be_bytes([buffer[2], buffer[3]]), n);
            echo.send_to(&buffer[..length], from).unwrap();
        }
        // The last echo may still be on its way when the thread is told to stop.
        let seen = stream.finish();
        assert!(seen.rtp.sent >= 20);
        assert!(seen.rtp.received >= 19);
        assert_eq!(seen.rtp.lost, 0);
    }
}
