//! How fast calls may come on a trunk, and which gateways are left alone for a while after they failed.

use std::collections::HashMap;
use std::time::Instant;

use control_api::Hop;
use domain::TrunkId;

/// New calls per second on each trunk: a bucket of one second's worth that fills at that pace.
#[derive(Debug, Default)]
pub struct Paces(HashMap<TrunkId, (f64, Instant)>);

impl Paces {
    /// Takes one call's share; false when the trunk is too fast.
    pub fn take(&mut self, trunk: TrunkId, per_second: u32, now: Instant) -> bool {
        let burst = f64::from(per_second.max(1));
        let (left, at) = self.0.entry(trunk).or_insert((burst, now));
        *left = (*left + now.saturating_duration_since(*at).as_secs_f64() * burst).min(burst);
        *at = now;
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

/// Gateways that failed, by host and port.
#[derive(Debug, Default)]
pub struct Bans(HashMap<(String, u16), Instant>);

impl Bans {
    /// Leaves a gateway alone until then.
    pub fn ban(&mut self, hop: &Hop, until: Instant) {
        self.0.insert((hop.host.clone(), hop.port), until);
    }

    /// The same hops, those that failed lately behind the others: better a gateway that may be down than none.
    pub fn last(&mut self, mut hops: Vec<Hop>, now: Instant) -> Vec<Hop> {
        self.0.retain(|_, until| *until > now);
        hops.sort_by_key(|hop| self.0.contains_key(&(hop.host.clone(), hop.port)));
        hops
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_trunk_takes_its_pace_and_no_more() {
        let (mut paces, trunk) = (Paces::default(), TrunkId(uuid::Uuid::nil()));
        let start = Instant::now();
        let taken = |paces: &mut Paces, at: u64| {
            (0..100).filter(|_| paces.take(trunk, 5, start + Duration::from_millis(at))).count()
        };
        assert_eq!(taken(&mut paces, 0), 5);
        assert_eq!(taken(&mut paces, 100), 0);
        assert_eq!(taken(&mut paces, 400), 2);
        assert_eq!(taken(&mut paces, 60_000), 5);
    }
}
