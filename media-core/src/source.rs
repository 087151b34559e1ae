//! Symmetric RTP: which address is the caller's (RFC 4961), against strangers that inject or draw audio ("RTPbleed").
//!
//! The signalled address is preferred and wins at once whenever it speaks. Another one is learned only when it sends
//! [`LEARN`] consecutive packets of one stream while the known one is silent; packets sent on trial are never heard.

use crate::rtp::Header;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Consecutive packets that make a new address known.
const LEARN: u32 = 5;
/// How long the signalled address may take to start before another one is learned in its place.
const GRACE: Duration = Duration::from_millis(600);
/// Silence of a known address after which the stream may have moved.
const SILENCE: Duration = Duration::from_secs(3);

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The caller's.
    Accept,
    /// The caller's, from another place than before: a new stream begins.
    Moved,
    /// Somebody else's, or on trial.
    Stranger,
}

#[derive(Debug, Clone, Copy)]
struct Trial {
    from: SocketAddr,
    ssrc: u32,
    next: u16,
    count: u32,
}

/// The latch of one leg.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    signalled: SocketAddr,
    latched: SocketAddr,
    /// Start of the leg, or the last accepted packet.
    heard: Instant,
    proven: bool,
    trial: Option<Trial>,
}

impl Source {
    pub(crate) fn new(signalled: SocketAddr, now: Instant) -> Self {
        Source { signalled, latched: signalled, heard: now, proven: false, trial: None }
    }

    /// Where our packets go.
    pub(crate) fn latched(&self) -> SocketAddr {
        self.latched
    }

    /// True while the caller is where the signalling said.
    pub(crate) fn is_signalled(&self) -> bool {
        self.latched == self.signalled
    }

    /// A new answer or re-INVITE; the same address keeps what was learned.
    pub(crate) fn signal(&mut self, signalled: SocketAddr, now: Instant) {
        if signalled != self.signalled {
            *self = Source::new(signalled, now);
        }
    }

    /// Judges a well-formed packet of a negotiated type.
    pub(crate) fn judge(&mut self, now: Instant, from: SocketAddr, header: &Header) -> Verdict {
        if from == self.latched {
            self.heard = now;
            self.proven = true;
            self.trial = None;
            return Verdict::Accept;
        }
        if from == self.signalled {
            return self.move_to(now, from);
        }
        let patience = match self.proven {
            true => SILENCE,
            // A private address of a caller behind a NAT cannot be reached: nothing will ever come from it.
            false if is_private(self.signalled.ip()) && !is_private(from.ip()) => Duration::ZERO,
            false => GRACE,
        };
        if now.saturating_duration_since(self.heard) < patience {
            self.trial = None;
            return Verdict::Stranger;
        }
        let count = match self.trial {
            Some(t) if t.from == from && t.ssrc == header.ssrc && t.next == header.sequence => t.count + 1,
            // Only the one on trial may go on; another stranger in between starts its own trial when the first breaks.
            Some(t) if t.from != from && t.count > 1 => {
                self.trial = Some(Trial { count: t.count - 1, ..t });
                return Verdict::Stranger;
            }
            _ => 1,
        };
        if count >= LEARN {
            return self.move_to(now, from);
        }
        self.trial = Some(Trial { from, ssrc: header.ssrc, next: header.sequence.wrapping_add(1), count });
        Verdict::Stranger
    }

    fn move_to(&mut self, now: Instant, to: SocketAddr) -> Verdict {
        self.latched = to;
        self.heard = now;
        self.proven = true;
        self.trial = None;
        Verdict::Moved
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        // RFC 1918, RFC 3927 and the shared space of carrier NATs (RFC 6598).
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || (a == 100 && b & 0xC0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}

#[cfg(test)]
mod tests;
