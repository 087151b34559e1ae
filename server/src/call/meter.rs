//! When a running call asks for more credit, when it warns, and when it ends: sans-IO, in ms of conversation.

use control_api::{Cover, FINAL_AFTER_MS, Limit, RENEW_AFTER_MS, WARN_MS};

/// How soon a renewal that failed is tried again.
const RETRY_MS: i64 = 2_000;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask for more.
    Renew,
    /// The credit will run out; told once for each time that it does.
    Low {
        /// Until the end.
        remaining_ms: i64,
    },
    /// The caller is to be warned.
    Warn,
    /// Nothing is left.
    End(Limit),
}

/// The credit of one call, from its answer.
#[derive(Debug)]
pub(super) struct Meter {
    covered_ms: i64,
    limit: Option<Limit>,
    renew_at: i64,
    told: bool,
    warned: bool,
}

impl Meter {
    /// A call that was admitted with this much cover; without a lease it asks for one soon.
    pub(super) fn new(cover: Option<(i64, Option<Limit>)>) -> Self {
        let renew_at = if cover.is_some() { RENEW_AFTER_MS } else { RETRY_MS };
        let (covered_ms, limit) = cover.unwrap_or_default();
        Self { covered_ms, limit, renew_at, told: false, warned: false }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> i64 {
        let Some(_) = self.limit else { return self.renew_at };
        let warn = if self.warned { i64::MAX } else { self.covered_ms - WARN_MS };
        let low = if self.told { i64::MAX } else { 0 };
        self.renew_at.min(self.covered_ms).min(warn).min(low)
    }

    /// What is due at this time; ask until nothing is.
    pub(super) fn due(&mut self, elapsed_ms: i64) -> Option<Due> {
        if let Some(limit) = self.limit {
            if elapsed_ms >= self.covered_ms {
                return Some(Due::End(limit));
            }
            if !std::mem::replace(&mut self.told, true) {
                return Some(Due::Low { remaining_ms: self.covered_ms - elapsed_ms });
            }
            if elapsed_ms >= self.covered_ms - WARN_MS && !std::mem::replace(&mut self.warned, true) {
                return Some(Due::Warn);
            }
        }
        (elapsed_ms >= self.renew_at).then(|| {
            // Until the answer is here; it sets the next time.
            self.renew_at = elapsed_ms + RETRY_MS;
            Due::Renew
        })
    }

    /// The store has answered.
    pub(super) fn renewed(&mut self, elapsed_ms: i64, cover: &Cover) {
        self.covered_ms = cover.covered_ms;
        self.limit = cover.limit;
        if cover.limit.is_none() {
            (self.told, self.warned) = (false, false);
        }
        self.renew_at = match cover.limit {
            Some(_) => elapsed_ms + FINAL_AFTER_MS,
            None => elapsed_ms - elapsed_ms % RENEW_AFTER_MS + RENEW_AFTER_MS,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(covered_ms: i64, limit: Option<Limit>) -> Cover {
        Cover { held_micros: 0, added_micros: 0, covered_ms, limit }
    }

    /// Lets the time run from deadline to deadline, and the store answer at once.
    fn run(meter: &mut Meter, until: i64, store: impl Fn(i64) -> Cover) -> Vec<(i64, Due)> {
        let mut seen = Vec::new();
        let mut now = 0;
        while now <= until {
            while let Some(due) = meter.due(now) {
                seen.push((now, due));
                match due {
                    Due::Renew => meter.renewed(now, &store(now)),
                    Due::End(_) => return seen,
                    _ => {}
                }
            }
            now = meter.deadline().max(now + 1);
        }
        seen
    }

    #[test]
    fn with_credit_it_renews_every_forty_five_seconds() {
        let seen = run(&mut Meter::new(Some((60_000, None))), 150_000, |at| cover(at + 60_000, None));
        assert_eq!(seen, [(45_000, Due::Renew), (90_000, Due::Renew), (135_000, Due::Renew)]);
    }

    #[test]
    fn without_credit_it_tells_warns_asks_again_and_ends_at_the_paid_second() {
        let seen = run(&mut Meter::new(Some((60_000, None))), 150_000, |_| cover(80_000, Some(Limit::Credit)));
        let told: Vec<_> = seen.iter().copied().filter(|(_, due)| *due != Due::Renew).collect();
        assert_eq!(
            told,
            [(45_000, Due::Low { remaining_ms: 35_000 }), (65_000, Due::Warn), (80_000, Due::End(Limit::Credit))]
        );
        assert_eq!(seen.iter().filter(|(_, due)| *due == Due::Renew).count(), 7, "at 45 s and every 5 s after");
    }

    #[test]
    fn when_no_whole_minute_fits_the_warning_is_at_once() {
        let seen = run(&mut Meter::new(Some((60_000, None))), 150_000, |_| cover(60_000, Some(Limit::Credit)));
        assert_eq!(seen[..3], [(45_000, Due::Renew), (45_000, Due::Low { remaining_ms: 15_000 }), (45_000, Due::Warn)]);
        assert_eq!(seen.last(), Some(&(60_000, Due::End(Limit::Credit))));
    }

    #[test]
    fn a_ceiling_below_a_minute_is_known_from_the_answer() {
        let seen =
            run(&mut Meter::new(Some((20_000, Some(Limit::Cost)))), 60_000, |_| cover(20_000, Some(Limit::Cost)));
        let low = Due::Low { remaining_ms: 20_000 };
        assert_eq!(seen, [(0, low), (5_000, Due::Warn), (20_000, Due::End(Limit::Cost))]);
    }

    #[test]
    fn a_top_up_meanwhile_lets_it_go_on_and_arms_the_warning_again() {
        let store = |at: i64| if at < 70_000 { cover(80_000, Some(Limit::Credit)) } else { cover(at + 60_000, None) };
        let mut meter = Meter::new(Some((60_000, None)));
        let seen = run(&mut meter, 200_000, store);
        assert!(!seen.iter().any(|(_, due)| matches!(due, Due::End(_))), "{seen:?}");
        assert!(!meter.warned && !meter.told);
    }

    #[test]
    fn while_the_store_is_away_the_call_goes_on_and_asks_again() {
        let mut meter = Meter::new(Some((60_000, None)));
        let mut asked = 0;
        for now in (0..=120_000).step_by(100) {
            while let Some(due) = meter.due(now) {
                assert_eq!(due, Due::Renew);
                asked += 1;
            }
        }
        assert_eq!(asked, 38, "from 45 s on, every 2 s");
    }
}
