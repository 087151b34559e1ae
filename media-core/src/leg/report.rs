//! RTCP of a leg: what we sent and heard, every five seconds, and what the other side says of us.

use super::{Leg, is_reachable};
use crate::rtcp::{self, Packet, Report, Sent};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(5);
/// A longer round trip is a mistake of the other side's arithmetic.
const LONGEST_TRIP: u32 = 10 << 16;

/// The memory behind our reports.
#[derive(Debug)]
pub(super) struct Reporter {
    begun: Instant,
    next: Instant,
    packets: u32,
    octets: u32,
    /// Middle of the NTP time of their last sender report, and when it came.
    last: Option<(u32, Instant)>,
    /// Where their RTCP comes from, when not from where the signalling said.
    learned: Option<SocketAddr>,
    rtt: Option<Duration>,
    remote_loss: Option<f32>,
}

impl Reporter {
    pub(super) fn new(ssrc: u32, now: Instant) -> Self {
        // The first report comes early and not of all legs at once (RFC 3550 section 6.2 wants chance; the SSRC is random).
        let next = now + Duration::from_millis(1000 + u64::from(ssrc % 2000));
        Reporter { begun: now, next, packets: 0, octets: 0, last: None, learned: None, rtt: None, remote_loss: None }
    }

    pub(super) fn sent(&mut self, payload: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
    }

    pub(super) fn forget_address(&mut self) {
        self.learned = None;
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    pub(super) fn remote_loss(&self) -> Option<f32> {
        self.remote_loss
    }

    /// Time since the leg began in place of the time of day, which RFC 3550 section 4 allows; never zero.
    fn ntp(&self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.begun);
        let fraction = (u64::from(passed.subsec_nanos()) << 32) / 1_000_000_000;
        (passed.as_secs() + 1) << 32 | fraction
    }
}

fn middle(ntp: u64) -> u32 {
    (ntp >> 16) as u32
}

fn units(duration: Duration) -> u32 {
    (duration.as_micros() * 65_536 / 1_000_000).min(u128::from(u32::MAX)) as u32
}

impl Leg {
    /// One datagram of the RTCP socket. Reports are believed of the caller's address only; a BYE ends nothing.
    pub fn handle_rtcp(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        let moved = !self.source.is_signalled();
        let known = if moved { from.ip() == self.source.latched().ip() } else { from == self.config.remote_rtcp };
        if !known {
            self.counts.strangers += 1;
            return;
        }
        let Ok(compound) = rtcp::parse(packet) else {
            self.counts.malformed += 1;
            return;
        };
        if moved {
            self.reporter.learned = Some(from);
        }
        for packet in compound.flatten() {
            match packet {
                Packet::Report { ssrc, sent, blocks } => {
                    if let Some(sent) = sent.filter(|_| self.stream.ssrc == Some(ssrc)) {
                        self.reporter.last = Some((middle(sent.ntp), now));
                    }
                    if let Some(report) = rtcp::reports(blocks).find(|report| report.ssrc == self.config.ssrc) {
                        self.believe(now, &report);
                    }
                }
                Packet::Bye { .. } => self.counts.byes += 1,
                Packet::Description { .. } | Packet::Other { .. } => {}
            }
        }
    }

    fn believe(&mut self, now: Instant, report: &Report) {
        self.reporter.remote_loss = Some(f32::from(report.fraction_lost) / 256.0);
        let trip = middle(self.reporter.ntp(now)).wrapping_sub(report.last_report).wrapping_sub(report.delay);
        if report.last_report != 0 && trip < LONGEST_TRIP {
            self.reporter.rtt = Some(Duration::from_micros(u64::from(trip) * 1_000_000 / 65_536));
        }
    }

    pub(super) fn stage_report(&mut self, now: Instant) {
        if now < self.reporter.next {
            return;
        }
        self.reporter.next = now + EVERY;
        self.stage_compound(now, false);
    }

    /// Says BYE: the last words of a leg, for the owner to send before it is dropped.
    pub fn handle_close(&mut self, now: Instant) {
        self.stage_compound(now, true);
    }

    fn stage_compound(&mut self, now: Instant, bye: bool) {
        let Some(to) = self.rtcp_address().filter(|&to| is_reachable(to)) else { return };
        let ssrc = self.config.ssrc;
        let sent = (self.config.sending && self.reporter.packets > 0).then(|| Sent {
            ntp: self.reporter.ntp(now),
            timestamp: self.timestamp,
            packets: self.reporter.packets,
            octets: self.reporter.octets,
        });
        let report = self.stream.ssrc.map(|theirs| {
            let (last_report, delay) =
                self.reporter.last.map_or((0, 0), |(ntp, came)| (ntp, units(now.saturating_duration_since(came))));
            Report {
                ssrc: theirs,
                fraction_lost: self.reception.fraction_lost(),
                lost: i32::try_from(self.reception.lost()).unwrap_or(i32::MAX),
                highest_sequence: self.reception.highest(),
                jitter: self.reception.jitter() as u32,
                last_report,
                delay,
            }
        });
        let buf = &mut self.rtcp.bytes;
        buf.clear();
        rtcp::write_report(buf, ssrc, sent.as_ref(), report.as_ref());
        rtcp::write_cname(buf, ssrc, &self.config.cname);
        if bye {
            rtcp::write_bye(buf, ssrc);
        }
        self.rtcp.to = Some(to);
    }

    /// As signalled; behind a NAT from where their RTCP comes, else the port above their RTP.
    fn rtcp_address(&self) -> Option<SocketAddr> {
        if self.source.is_signalled() {
            return Some(self.config.remote_rtcp);
        }
        let latched = self.source.latched();
        let above = latched.port().checked_add(1).map(|port| SocketAddr::new(latched.ip(), port));
        self.reporter.learned.or(above)
    }
}
