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

/// How many calls began in each of the last ten seconds.
#[derive(Debug)]
pub struct Begun {
    since: Instant,
    seconds: [(u64, u32); 10],
}

impl Default for Begun {
    fn default() -> Self {
        Self { since: Instant::now(), seconds: [(0, 0); 10] }
    }
}

impl Begun {
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }

    /// A call begins.
    pub fn note(&mut self, now: Instant) {
        let second = self.second(now);
        let slot = &mut self.seconds[(second % 10) as usize];
        if slot.0 != second {
            *slot = (second, 0);
        }
        slot.1 = slot.1.saturating_add(1);
    }

    /// Calls of this second and the nine before it.
    pub fn of_ten_seconds(&self, now: Instant) -> u32 {
        let second = self.second(now);
        self.seconds.iter().filter(|(at, _)| at + 10 > second).map(|(_, count)| count).sum()
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

    #[test]
    fn calls_that_begin_are_counted_for_ten_seconds() {
        let mut begun = Begun::default();
        let at = |seconds: u64| begun_at(&begun, seconds);
        let (zero, three, twelve) = (at(0), at(3), at(12));
        begun.note(zero);
        begun.note(zero);
        begun.note(three);
        assert_eq!((begun.of_ten_seconds(three), begun.of_ten_seconds(twelve)), (3, 1));
        begun.note(twelve);
        assert_eq!(begun.of_ten_seconds(twelve), 2);
    }

    fn begun_at(begun: &Begun, seconds: u64) -> Instant {
        begun.since + Duration::from_secs(seconds)
    }
}
