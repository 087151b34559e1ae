//! Sources that only knock: each refusal counts against the address, slowly forgotten; too many and it hears nothing
//! more, then is shut out for a while (FAULTS 4). Only the socket's address counts.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses that are remembered; a flood of forged ones pushes out the quietest.
const REMEMBERED: usize = 16_384;

/// When a source is throttled and shut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BouncerConfig {
    /// Refusals after which further strangers' requests are dropped unanswered.
    pub throttle_after: u32,
    /// Refusals, dropped ones included, after which everything from the source is dropped.
    pub ban_after: u32,
    /// One refusal is forgotten in this time.
    pub forget_one: Duration,
    /// How long a source is shut out.
    pub ban: Duration,
    /// Networks that are never counted: address and prefix length. Trunks belong here, for a source can be forged.
    pub exempt: Vec<(IpAddr, u8)>,
}

impl Default for BouncerConfig {
    fn default() -> Self {
        BouncerConfig {
            throttle_after: 20,
            ban_after: 60,
            forget_one: Duration::from_secs(3),
            ban: Duration::from_secs(600),
            exempt: vec![(IpAddr::from([127, 0, 0, 0]), 8), (IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]), 128)],
        }
    }
}

#[derive(Debug)]
struct Source {
    offences: u32,
    counted: Instant,
    banned_until: Option<Instant>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As usual.
    Polite,
    /// Strangers are not answered.
    Silent,
    /// Nothing is even read.
    Shut,
}

#[derive(Debug)]
pub(crate) struct Bouncer {
    config: BouncerConfig,
    sources: HashMap<IpAddr, Source>,
}

fn contains((network, bits): (IpAddr, u8), source: IpAddr) -> bool {
    let (network, source, width) = match (network, source.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(source)) => {
            (u128::from(u32::from(network)), u128::from(u32::from(source)), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(source)) => (u128::from(network), u128::from(source), 128),
        _ => return false,
    };
    let shift = width - u32::from(bits).min(width);
    network.checked_shr(shift) == source.checked_shr(shift)
}

impl Bouncer {
    pub(crate) fn new(config: BouncerConfig) -> Self {
        Bouncer { config, sources: HashMap::new() }
    }

    pub(crate) fn exempt(&mut self, networks: Vec<(IpAddr, u8)>) {
        self.sources.retain(|source, _| !networks.iter().any(|network| contains(*network, *source)));
        self.config.exempt = networks;
    }

    pub(crate) fn pardon(&mut self, source: IpAddr) {
        if let Some(known) = self.sources.get_mut(&source) {
            known.offences = known.offences.saturating_sub(1);
        }
    }

    pub(crate) fn manner(&mut self, now: Instant, source: IpAddr) -> Manner {
        let Some(known) = self.sources.get_mut(&source) else { return Manner::Polite };
        match known.banned_until {
            Some(until) if now < until => Manner::Shut,
            Some(_) => {
                self.sources.remove(&source);
                Manner::Polite
            }
            None if forgiven(known, now, self.config.forget_one) >= self.config.throttle_after => Manner::Silent,
            None => Manner::Polite,
        }
    }

    /// Counts a refusal; `Some` when it was the one too many: for how long the source is shut out.
    pub(crate) fn offend(&mut self, now: Instant, source: IpAddr) -> Option<Duration> {
        if self.config.exempt.iter().any(|network| contains(*network, source)) {
            return None;
        }
        if self.sources.len() >= REMEMBERED && !self.sources.contains_key(&source) {
            let oldest = now.checked_sub(self.config.forget_one * self.config.throttle_after);
            self.sources.retain(|_, known| {
                known.banned_until.is_some_and(|until| now < until)
                    || oldest.is_some_and(|oldest| known.counted > oldest) && known.offences > 1
            });
            if self.sources.len() >= REMEMBERED {
                return None;
            }
        }
        let known = self.sources.entry(source).or_insert(Source { offences: 0, counted: now, banned_until: None });
        known.offences = forgiven(known, now, self.config.forget_one) + 1;
        known.counted = now;
        if known.offences < self.config.ban_after || known.banned_until.is_some() {
            return None;
        }
        known.banned_until = Some(now + self.config.ban);
        Some(self.config.ban)
    }
}

fn forgiven(known: &Source, now: Instant, forget_one: Duration) -> u32 {
    let passed = now.saturating_duration_since(known.counted).as_millis() / forget_one.as_millis().max(1);
    known.offences.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX))
}
