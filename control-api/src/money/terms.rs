//! What a lease agreed: the rate of the call, that of each leg to which it was handed over, and the caps in which its holds count.
//!
//! Pure: how long a leg was up is told by [`Span`]s, which `legs` reads from the rows.

use serde::{Deserialize, Serialize};

use super::{
    Cover, Limit,
    caps::{Period, Room},
    price::{self, Rate},
};

/// What was agreed, frozen: a change of the deck never alters a running call.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Terms {
    #[serde(flatten)]
    pub(crate) rate: Rate,
    /// Held beside the price for things that are counted, per minute; settled by what was counted.
    pub(crate) hold_per_min: i64,
    /// The agent's own ceiling.
    pub(crate) max_cost_micros: Option<i64>,
    pub(crate) caps: Vec<Period>,
    /// Where the dialled number is, for that country's cap.
    #[serde(default)]
    pub(crate) country: Option<String>,
    /// Legs to which the call was handed over, each with its own rate.
    #[serde(default)]
    pub(crate) legs: Vec<LegTerms>,
}

/// What was agreed for a leg, when it was begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LegTerms {
    /// Its row.
    pub(crate) id: String,
    pub(crate) rate: Rate,
    /// Where its number is.
    #[serde(default)]
    pub(crate) country: Option<String>,
}

/// When a leg was up, in ms of conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from_ms: i64,
    /// None while it lasts.
    pub(crate) until_ms: Option<i64>,
}

impl Span {
    /// How much of it lies before a time.
    pub(crate) fn before(self, ms: i64) -> i64 {
        (self.until_ms.unwrap_or(ms).min(ms) - self.from_ms).max(0)
    }
}

/// For each leg of the terms when it was up; none for one that nobody answered.
pub(crate) type Spans = Vec<Option<Span>>;

impl Terms {
    /// What the call itself must hold for so long.
    fn own(&self, ms: i64) -> i64 {
        let seconds = ms.max(0).saturating_add(999) / 1000;
        let counted = i128::from(seconds) * i128::from(self.hold_per_min.max(0));
        price::price(&self.rate, ms).saturating_add(i64::try_from((counted + 59) / 60).unwrap_or(i64::MAX))
    }

    /// The legs that were up, and for how long of the first `ms`.
    pub(crate) fn talks<'a>(&'a self, ms: i64, spans: &'a [Option<Span>]) -> impl Iterator<Item = (&'a LegTerms, i64)> {
        self.legs.iter().zip(spans).filter_map(move |(leg, span)| Some((leg, span.as_ref()?.before(ms))))
    }

    /// What its legs cost in so long.
    pub(crate) fn cost_of_legs(&self, ms: i64, spans: &[Option<Span>]) -> i64 {
        self.talks(ms, spans).map(|(leg, ms)| price::price(&leg.rate, ms)).fold(0, i64::saturating_add)
    }

    /// What must be held for so long.
    fn cost(&self, ms: i64, spans: &[Option<Span>]) -> i64 {
        self.own(ms).saturating_add(self.cost_of_legs(ms, spans))
    }

    /// What of it is spent in a country.
    fn part(&self, country: &str, ms: i64, spans: &[Option<Span>]) -> i64 {
        let own = if self.country.as_deref() == Some(country) { self.own(ms) } else { 0 };
        self.abroad(country, ms, spans).fold(own, i64::saturating_add)
    }

    /// The legs to a country.
    fn abroad<'a>(&'a self, country: &'a str, ms: i64, spans: &'a [Option<Span>]) -> impl Iterator<Item = i64> {
        let there = self.talks(ms, spans).filter(move |(leg, _)| leg.country.as_deref() == Some(country));
        there.map(|(leg, ms)| price::price(&leg.rate, ms))
    }

    /// Whether the caps of countries leave room for so much.
    pub(crate) fn fits(&self, ms: i64, spans: &[Option<Span>], room: &Room) -> bool {
        room.countries.iter().all(|(country, most)| self.part(country, ms, spans) <= *most)
    }

    /// What to hold, with `budget` at most, for a conversation up to `target_ms`; and how long that lasts.
    pub(crate) fn hold(&self, budget: i64, room: &Room, target_ms: i64, spans: &[Option<Span>]) -> Cover {
        let whole = self.cost(target_ms, spans);
        let ceiling = self.max_cost_micros.unwrap_or(i64::MAX);
        let most = budget.min(ceiling);
        let fits = |ms: i64| self.cost(ms, spans) <= most && self.fits(ms, spans, room);
        if whole <= most && self.fits(target_ms, spans, room) {
            // A leg that is up costs beyond the target, whatever step of its own the call has paid for.
            let paid_ms = match spans.iter().flatten().any(|span| span.until_ms.is_none()) {
                true => target_ms,
                false => target_ms.max(price::billed_s(&self.rate, target_ms).saturating_mul(1000)),
            };
            return Cover { held_micros: whole, added_micros: 0, covered_ms: paid_ms, limit: None };
        }
        let covered_ms = price::reach_s(target_ms / 1000, 0, |ms| i64::from(!fits(ms))) * 1000;
        let by_ceiling = ceiling < budget && self.fits(target_ms, spans, room);
        let limit = Some(if by_ceiling { Limit::Cost } else { Limit::Credit });
        Cover { held_micros: self.cost(covered_ms, spans), added_micros: 0, covered_ms, limit }
    }

    /// What a hold counts in each cap: the whole of it, or what of the call is spent in that country and was not counted yet.
    pub(crate) fn count(&mut self, added: i64, covered_ms: i64, spans: &[Option<Span>]) -> Vec<(Period, i64)> {
        let counts: Vec<i64> = self
            .caps
            .iter()
            .map(|cap| match cap.country() {
                Some(country) => (self.part(country, covered_ms, spans) - cap.counted).max(0),
                None => added,
            })
            .collect();
        for (cap, amount) in self.caps.iter_mut().zip(&counts) {
            cap.counted = cap.counted.saturating_add(*amount);
        }
        self.caps.iter().cloned().zip(counts).collect()
    }

    /// What comes back to each cap when the call is settled: `refunded` of the hold, `own` the price of the call itself.
    pub(crate) fn returns(&self, refunded: i64, own: i64, ms: i64, spans: &[Option<Span>]) -> Vec<(Period, i64)> {
        let back = |cap: &Period| match cap.country() {
            Some(country) => {
                let own = if self.country.as_deref() == Some(country) { own } else { 0 };
                let spent = self.abroad(country, ms, spans).fold(own, i64::saturating_add);
                (cap.counted - spent).max(0)
            }
            None => refunded,
        };
        self.caps.iter().map(|cap| (cap.clone(), -back(cap))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(unit_micros: i64) -> Rate {
        Rate::flat("", "voice_in", unit_micros)
    }

    fn terms(legs: &[(i64, &str)]) -> Terms {
        let leg = |(unit, country): &(i64, &str)| LegTerms {
            id: String::new(),
            rate: rate(*unit),
            country: Some((*country).to_owned()),
        };
        Terms {
            rate: rate(60_000),
            hold_per_min: 0,
            max_cost_micros: None,
            caps: Vec::new(),
            country: None,
            legs: legs.iter().map(leg).collect(),
        }
    }

    const fn span(from_ms: i64, until_ms: Option<i64>) -> Option<Span> {
        Some(Span { from_ms, until_ms })
    }

    #[test]
    fn a_leg_costs_while_it_is_up_and_one_that_nobody_answered_nothing() {
        let terms = terms(&[(120_000, "US"), (600_000, "US")]);
        assert_eq!(terms.cost(60_000, &[span(30_000, None), None]), 60_000 + 60_000);
        assert_eq!(terms.cost(60_000, &[span(30_000, Some(40_000)), None]), 60_000 + 20_000);
        assert_eq!(terms.cost(20_000, &[span(30_000, None), None]), 20_000);
    }

    #[test]
    fn credit_that_does_not_reach_ends_call_and_leg_together() {
        let terms = terms(&[(120_000, "US")]);
        // 1000 a second alone, 3000 with the leg: 10 s and then 10 s of both.
        let cover = terms.hold(40_000, &Room::default(), 60_000, &[span(10_000, None)]);
        assert_eq!((cover.covered_ms, cover.held_micros, cover.limit), (20_000, 40_000, Some(Limit::Credit)));
    }

    #[test]
    fn a_country_s_cap_bounds_what_is_spent_there_and_nothing_else() {
        let terms = terms(&[(120_000, "GB")]);
        let room = Room { total: i64::MAX, countries: vec![("GB".into(), 20_000)] };
        let cover = terms.hold(i64::MAX, &room, 60_000, &[span(10_000, None)]);
        assert_eq!((cover.covered_ms, cover.held_micros), (20_000, 40_000));
        let elsewhere = Room { total: i64::MAX, countries: vec![("FR".into(), 0)] };
        assert_eq!(terms.hold(i64::MAX, &elsewhere, 60_000, &[span(10_000, None)]).limit, None);
    }
}
