//! Symmetric RTP: which address is the caller's (RFC 4961), against strangers that inject or draw audio ("RTPbleed").
//!
//! The signalled address is preferred and wins at once whenever it speaks. Another one is learned only when it sends
//! [`LEARN`] consecutive packets of one stream while the known one is silent; packets on trial are never heard.

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

/// Addresses on trial at a time, so that a flood cannot keep the caller from being learned.
const TRIALS: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Trial {
    from: SocketAddr,
    ssrc: u32,
    next: u16,
    count: u32,
    /// The leg's count of trial packets when this one's last came.
    age: u64,
}

/// The latch of one leg.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    signalled: SocketAddr,
    latched: SocketAddr,
    /// Start of the leg, or the last accepted packet.
    heard: Instant,
    proven: bool,
    trials: [Option<Trial>; TRIALS],
    tried: u64,
}

impl Source {
    pub(crate) fn new(signalled: SocketAddr, now: Instant) -> Self {
        Source { signalled, latched: signalled, heard: now, proven: false, trials: [None; TRIALS], tried: 0 }
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
            self.trials = [None; TRIALS];
            return Verdict::Accept;
        }
        if from == self.signalled {
            return self.move_to(now, from);
        }
        if now.saturating_duration_since(self.heard) < self.patience(from.ip()) {
            self.trials = [None; TRIALS];
            return Verdict::Stranger;
        }
        let next = header.sequence.wrapping_add(1);
        self.tried += 1;
        let age = self.tried;
        let slot = self.slot(from);
        let count = match *slot {
            Some(t) if t.from == from && t.ssrc == header.ssrc && t.next == header.sequence => t.count + 1,
            _ => 1,
        };
        *slot = Some(Trial { from, ssrc: header.ssrc, next, count, age });
        if count >= LEARN { self.move_to(now, from) } else { Verdict::Stranger }
    }

    /// How long the known address must be silent before packets from `other` are put on trial.
    fn patience(&self, other: IpAddr) -> Duration {
        let signalled = self.signalled.ip();
        match self.proven {
            true => SILENCE,
            // A private address of a caller behind a NAT cannot be reached: nothing will ever come from it.
            false if is_private(signalled) && !is_private(other) => Duration::ZERO,
            // A public host that never speaks while quite another one does is hardly the same caller.
            false if !is_private(signalled) && other != signalled => SILENCE,
            false => GRACE,
        }
    }

    /// The trial of an address, or the place of the least advanced one, the oldest of equals.
    fn slot(&mut self, from: SocketAddr) -> &mut Option<Trial> {
        let own = self.trials.iter().position(|trial| trial.is_some_and(|trial| trial.from == from));
        let least =
            (0..TRIALS).min_by_key(|&i| self.trials[i].map_or((0, 0), |trial| (trial.count, trial.age))).unwrap_or(0);
        &mut self.trials[own.unwrap_or(least)]
    }

    fn move_to(&mut self, now: Instant, to: SocketAddr) -> Verdict {
        self.latched = to;
        self.heard = now;
        self.proven = true;
        self.trials = [None; TRIALS];
        Verdict::Moved
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        // RFC 1918, RFC 3927 and the shared space of carrier NATs (RFC 6598); nowhere, where the signalled place was forbidden.
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_link_local()
                || ip.is_loopback()
                || ip.is_unspecified()
                || (a == 100 && b & 0xC0 == 64)
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback() || ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests;
