//! One caller's audio path, both ways, in one place.
//!
//! In: datagram → parse → type → source → order → jitter buffer → frame. Out: playout or keys → frame → encode → datagram.
//! `handle_*` from outside in, `poll_*` from inside out; [`Leg::tick`] every 20 ms moves everything on by one frame.

mod inbound;
mod report;

use crate::dtmf::{Keys, Press, Presses};
use crate::event::{Channel, LegCommand, LegEvent, Outward, Spent, Tick, Transmit};
use crate::jitter::JitterBuffer;
use crate::playout::{Out, Playout};
use crate::reception::Reception;
use crate::rtp;
use crate::source::Source;
use crate::stats::Stats;
use codecs::g711::{self, Law};
use codecs::pcm::{FRAME, Frame, RATE, SILENCE};
use report::Reporter;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Largest datagram that a leg sends.
const DATAGRAM: usize = 512;
/// The owner hears of a silent line this often.
const SILENT_EVERY: Duration = Duration::from_secs(5);
/// Events kept for an owner that does not ask for them.
const EVENTS: usize = 256;

/// What offer and answer agreed on, and how we begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegConfig {
    /// Both directions.
    pub law: Law,
    /// Of the audio, both directions.
    pub payload_type: u8,
    /// Of RFC 4733 events; without it keys are sent as tones.
    pub dtmf_payload_type: Option<u8>,
    /// Where the signalling says that RTP goes.
    pub remote: SocketAddr,
    /// Where the signalling says that RTCP goes.
    pub remote_rtcp: SocketAddr,
    /// Ours; random.
    pub ssrc: u32,
    /// Ours; random.
    pub first_sequence: u16,
    /// Ours; random.
    pub first_timestamp: u32,
    /// Ours in RTCP; names neither person nor machine.
    pub cname: String,
    /// False while the other side put us on hold.
    pub sending: bool,
    /// False while we put the other side on hold.
    pub receiving: bool,
}

/// One caller's RTP and RTCP. Owned by one media thread; does nothing by itself.
#[derive(Debug)]
pub struct Leg {
    config: LegConfig,
    begun: Instant,
    ticked: Instant,
    /// Samples since the leg began, at the start of the next frame.
    at: u64,

    source: Source,
    stream: Stream,
    reception: Reception,
    jitter: JitterBuffer,
    keys: Keys,
    heard: Instant,
    next_silent: Duration,

    playout: Playout,
    presses: Presses,
    sequence: u16,
    timestamp: u32,
    /// The next packet is the first, or the first after a pause of sending.
    marker: bool,
    reporter: Reporter,

    counts: Stats,
    events: VecDeque<LegEvent>,
    spent: VecDeque<Spent>,
    rtp: Staged,
    rtcp: Staged,
}

/// Which SSRC is the caller's, and which one may become it.
#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    ssrc: Option<u32>,
    trial: Option<(u32, u16)>,
}

/// A packet that waits for the socket.
#[derive(Debug, Default)]
struct Staged {
    bytes: Vec<u8>,
    to: Option<SocketAddr>,
}

impl Leg {
    /// A leg that begins now.
    pub fn new(config: LegConfig, now: Instant) -> Self {
        let staged = || Staged { bytes: Vec::with_capacity(DATAGRAM), to: None };
        Leg {
            begun: now,
            ticked: now,
            at: 0,
            source: Source::new(config.remote, now),
            stream: Stream::default(),
            reception: Reception::default(),
            jitter: JitterBuffer::new(),
            keys: Keys::new(),
            heard: now,
            next_silent: SILENT_EVERY,
            playout: Playout::new(),
            presses: Presses::default(),
            sequence: config.first_sequence,
            timestamp: config.first_timestamp,
            marker: true,
            reporter: Reporter::new(config.ssrc, now),
            counts: Stats::default(),
            events: VecDeque::with_capacity(EVENTS),
            spent: VecDeque::with_capacity(64),
            rtp: staged(),
            rtcp: staged(),
            config,
        }
    }

    /// Moves on by 20 ms: one frame of the caller, one frame to the caller.
    pub fn tick(&mut self, now: Instant) -> Tick {
        self.tick_with(now, Outward::Own)
    }

    /// [`Leg::tick`] with a word about what goes out.
    pub fn tick_with(&mut self, now: Instant, outward: Outward<'_>) -> Tick {
        self.ticked = now;
        let at = self.at;

        let mut caller = SILENCE;
        let heard = self.jitter.pop(&mut caller);
        if let Some(key) = self.keys.tick() {
            self.report_key(key);
        }
        self.notice_silence(now);

        let mut agent = SILENCE;
        if matches!(outward, Outward::Aside) {
            self.marker = true;
            if self.presses.tick(&mut agent, &mut self.spent).is_none() {
                let mut out = Out { events: &mut self.events, spent: &mut self.spent };
                self.playout.frame(at, &mut agent, &mut out);
            }
        } else if self.config.sending {
            self.send_frame(at, &mut agent, outward);
        } else {
            self.marker = true;
        }
        self.stage_report(now);

        self.at += FRAME as u64;
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        while self.events.len() > EVENTS {
            self.events.pop_front();
        }
        Tick { at, caller, agent, heard }
    }

    /// Speech, or a key in its place; silence when there is neither.
    fn send_frame(&mut self, at: u64, agent: &mut Frame, outward: Outward<'_>) {
        let press = self.presses.tick(agent, &mut self.spent);
        let events = self.config.dtmf_payload_type;
        if let Some(Press { digit, in_band, let_go: true, .. }) = press {
            self.events.push_back(LegEvent::Sent { digit, at, in_band: in_band || events.is_none() });
        }
        match (press, events) {
            (Some(press), Some(payload_type)) if !press.pause && !press.in_band => {
                self.stage_event(press, payload_type);
            }
            // Without agreed events the tone itself is the audio. Speech waits for the keys either way.
            (Some(_), _) => self.stage_audio(agent),
            (None, _) => {
                let mut out = Out { events: &mut self.events, spent: &mut self.spent };
                match outward {
                    Outward::Own | Outward::Aside => self.playout.frame(at, agent, &mut out),
                    Outward::Muted => {
                        self.playout.frame(at, agent, &mut out);
                        *agent = SILENCE;
                    }
                    Outward::Frame(frame) => {
                        // What was cancelled is over now, not when it is the leg's turn again.
                        if self.playout.is_stopping() {
                            self.playout.frame(at, agent, &mut out);
                        }
                        *agent = *frame;
                    }
                }
                self.stage_audio(agent);
            }
        }
    }

    /// A key of whoever is heard instead of this leg's caller.
    pub fn take_key(&mut self, digit: u8) {
        self.events.push_back(LegEvent::Key { digit, at: self.at, duration_ms: 100 });
    }

    /// Presses a key that was pressed on another leg.
    pub fn pass_key(&mut self, digit: u8) {
        if !self.presses.pass(digit) {
            self.counts.keys_refused += 1;
        }
    }

    fn stage_audio(&mut self, frame: &Frame) {
        let marker = std::mem::take(&mut self.marker);
        if self.stage_header(self.config.payload_type, marker, self.timestamp) {
            let mut payload = [0; FRAME];
            g711::encode(self.config.law, frame, &mut payload);
            self.rtp.bytes.extend_from_slice(&payload);
            self.reporter.sent(payload.len());
        }
    }

    /// All packets of an event carry the timestamp of its beginning (RFC 4733 section 2.5.1.2).
    fn stage_event(&mut self, press: Press, payload_type: u8) {
        let begun = self.timestamp.wrapping_sub(press.age * FRAME as u32);
        if self.stage_header(payload_type, press.first, begun) {
            let payload = press.payload.bytes();
            self.rtp.bytes.extend_from_slice(&payload);
            self.reporter.sent(payload.len());
        }
        self.marker = false;
    }

    fn stage_header(&mut self, payload_type: u8, marker: bool, timestamp: u32) -> bool {
        let to = self.source.latched();
        if !is_reachable(to) {
            return false;
        }
        let header = rtp::Header { payload_type, marker, sequence: self.sequence, timestamp, ssrc: self.config.ssrc };
        header.write(&mut self.rtp.bytes);
        self.rtp.to = Some(to);
        self.sequence = self.sequence.wrapping_add(1);
        self.counts.sent += 1;
        true
    }

    fn notice_silence(&mut self, now: Instant) {
        let silence = now.saturating_duration_since(self.heard);
        if !self.config.receiving || silence < SILENT_EVERY {
            self.next_silent = SILENT_EVERY;
        } else if silence >= self.next_silent {
            self.next_silent += SILENT_EVERY;
            self.events.push_back(LegEvent::Silent { ms: u32::try_from(silence.as_millis()).unwrap_or(u32::MAX) });
        }
    }

    /// The next staged packet, its bytes in `buf` (whose old content goes); ask until `None`, best right after each tick.
    pub fn poll_transmit(&mut self, buf: &mut Vec<u8>) -> Option<Transmit> {
        for (staged, channel) in [(&mut self.rtp, Channel::Rtp), (&mut self.rtcp, Channel::Rtcp)] {
            if let Some(to) = staged.to.take() {
                buf.clear();
                buf.extend_from_slice(&staged.bytes);
                return Some(Transmit { to, channel });
            }
        }
        None
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop_front()
    }

    /// The next allocation that is no longer needed.
    pub fn poll_spent(&mut self) -> Option<Spent> {
        self.spent.pop_front()
    }

    /// Takes a wish; gives back audio that came too late.
    pub fn handle_command(&mut self, command: LegCommand) -> Option<Spent> {
        let mut out = Out { events: &mut self.events, spent: &mut self.spent };
        match command {
            LegCommand::Speak { r#gen, pcm } => return self.playout.speak(r#gen, pcm, &mut out),
            LegCommand::Finish { r#gen } => self.playout.finish(r#gen, &mut out),
            LegCommand::Pause => self.playout.pause(),
            LegCommand::Resume { rewind_ms } => self.playout.resume(rewind_ms),
            LegCommand::Cancel { r#gen } => self.playout.cancel(r#gen, &mut out),
            LegCommand::SendDigits(dial) => self.presses.add(dial),
        }
        None
    }

    /// A re-INVITE changed something. Our SSRC, sequence, timestamp and name go on as they were.
    pub fn update(&mut self, config: LegConfig) {
        self.source.signal(config.remote, self.ticked);
        if config.remote != self.config.remote || config.remote_rtcp != self.config.remote_rtcp {
            self.reporter.forget_address();
        }
        if config.receiving && !self.config.receiving {
            self.heard = self.ticked;
        }
        let LegConfig { ssrc, first_sequence, first_timestamp, .. } = self.config;
        let cname = std::mem::take(&mut self.config.cname);
        self.config = LegConfig { ssrc, first_sequence, first_timestamp, cname, ..config };
    }

    /// The counters of now.
    pub fn stats(&self) -> Stats {
        let lost = self.reception.lost().max(0) as u64;
        let expected = self.reception.should_have_come().max(1);
        let delay_ms = (self.jitter.delay().max(0) / 8) as u32;
        let rtt_ms = self.reporter.rtt().map(|rtt| rtt.as_secs_f32() * 1000.0);
        // One way of the network, the buffer, and a frame at either end.
        let mouth_to_ear = rtt_ms.unwrap_or(0.0) / 2.0 + delay_ms as f32 + 40.0;
        Stats {
            lost,
            concealed_ms: self.jitter.concealed() / 8,
            jitter_ms: self.reception.jitter() * 1000.0 / RATE as f32,
            delay_ms,
            rtt_ms,
            displaced: !self.source.is_signalled(),
            remote_loss: self.reporter.remote_loss(),
            keys_refused: self.counts.keys_refused + self.keys.dropped(),
            mos: crate::stats::mos((lost + self.counts.late) as f32 / expected as f32, mouth_to_ear),
            ..self.counts
        }
    }
}

fn is_reachable(to: SocketAddr) -> bool {
    !to.ip().is_unspecified() && !to.ip().is_multicast() && to.port() != 0
}
