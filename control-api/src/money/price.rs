//! What a call costs: whole seconds in billing steps, rounded once, in the house's favour only where the rate says so.
//!
//! Pure and total: no clock, no store, no float, and no input that overflows. Money is in millionths of a dollar.

use serde::{Deserialize, Serialize};

/// How a fraction of a micro-dollar, and then of the quantum, is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rounding {
    /// Up: what every carrier does.
    #[default]
    Up,
    /// Half up: what an accountant does.
    HalfUp,
}

impl Rounding {
    /// The word in the deck.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::HalfUp => "half_up",
        }
    }

    /// `numerator / denominator` in whole numbers; both are not negative.
    fn divide(self, numerator: i128, denominator: i128) -> i128 {
        match self {
            Self::Up => (numerator + denominator - 1) / denominator,
            Self::HalfUp => (2 * numerator + denominator) / (2 * denominator),
        }
    }
}

/// One row of a rate deck, as it is frozen into a lease and shown in a call's cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) plan_id: String,
    /// `voice_in`, `voice_out`, `web`, `transfer_leg`, or a thing that is counted.
    pub(crate) item: String,
    /// Digits without `+`; "" = everything else.
    pub(crate) prefix: String,
    pub(crate) name: String,
    /// For `per_units` seconds (or pieces).
    pub(crate) unit_micros: i64,
    pub(crate) per_units: i64,
    /// Once, when anything is charged at all.
    pub(crate) connect_micros: i64,
    /// The first step, in seconds: "30/6" is `first_s` 30, `next_s` 6.
    pub(crate) first_s: i64,
    /// Every later step, in seconds.
    pub(crate) next_s: i64,
    /// Calls up to here cost nothing.
    pub(crate) free_s: i64,
    /// A charged call costs at least this.
    pub(crate) min_micros: i64,
    /// The sum is a multiple of this: 1 = exact, 10 000 = whole cents.
    pub(crate) quantum_micros: i64,
    pub(crate) rounding: Rounding,
}

impl Rate {
    /// So much a minute everywhere, counted by the second, to the micro.
    pub(crate) fn flat(plan: &str, item: &str, unit_micros: i64) -> Self {
        Self {
            plan_id: plan.to_owned(),
            item: item.to_owned(),
            prefix: String::new(),
            name: String::new(),
            unit_micros,
            per_units: 60,
            connect_micros: 0,
            first_s: 1,
            next_s: 1,
            free_s: 0,
            min_micros: 0,
            quantum_micros: 1,
            rounding: Rounding::Up,
        }
    }

    /// The rate as this traffic is charged by it: test traffic costs nothing.
    pub(crate) fn charged(mut self, livemode: bool) -> Self {
        if !livemode {
            (self.unit_micros, self.connect_micros, self.min_micros) = (0, 0, 0);
        }
        self
    }
}

/// The seconds that are billed for so many milliseconds: whole steps, nothing for a call that was not answered or is free.
pub(crate) fn billed_s(rate: &Rate, ms: i64) -> i64 {
    if ms <= 0 {
        return 0;
    }
    let seconds = i128::from(ms - 1) / 1000 + 1;
    if seconds <= i128::from(rate.free_s) {
        return 0;
    }
    let first = i128::from(rate.first_s.max(0));
    let next = i128::from(rate.next_s.max(1));
    let steps = if seconds <= first { 0 } else { Rounding::Up.divide(seconds - first, next) };
    narrow(first + steps * next)
}

/// What `ms` of conversation cost.
pub(crate) fn price(rate: &Rate, ms: i64) -> i64 {
    let billed = billed_s(rate, ms);
    if billed == 0 {
        return 0;
    }
    let talk = rate.rounding.divide(i128::from(billed) * i128::from(rate.unit_micros.max(0)), per_units(rate));
    let amount = (i128::from(rate.connect_micros.max(0)) + talk).max(i128::from(rate.min_micros));
    narrow(whole_quanta(rate, amount))
}

/// What so many pieces (tokens, characters, numbers) cost; connect fee and steps have no meaning for them.
pub(crate) fn price_of(rate: &Rate, quantity: i64) -> i64 {
    if quantity <= 0 {
        return 0;
    }
    let amount = rate.rounding.divide(i128::from(quantity) * i128::from(rate.unit_micros.max(0)), per_units(rate));
    narrow(whole_quanta(rate, amount.max(i128::from(rate.min_micros))))
}

/// The longest conversation, in whole seconds up to `limit_s`, that costs no more than `budget`. The price never falls with time,
/// so halving finds it.
pub(crate) fn reach_s(limit_s: i64, budget: i64, cost_of_ms: impl Fn(i64) -> i64) -> i64 {
    let (mut fits, mut beyond) = (0, limit_s.max(0).saturating_add(1));
    while beyond - fits > 1 {
        let middle = fits + (beyond - fits) / 2;
        if cost_of_ms(middle.saturating_mul(1000)) <= budget {
            fits = middle;
        } else {
            beyond = middle;
        }
    }
    fits
}

/// `$0.38` for 375 000: rounded half up to cents, for people. The ledger keeps micros.
pub(crate) fn display(micros: i64) -> String {
    let cents = (i128::from(micros.abs()) + 5_000) / 10_000;
    let sign = if micros < 0 && cents > 0 { "-" } else { "" };
    format!("{sign}${}.{:02}", cents / 100, cents % 100)
}

fn per_units(rate: &Rate) -> i128 {
    i128::from(rate.per_units.max(1))
}

fn whole_quanta(rate: &Rate, amount: i128) -> i128 {
    let quantum = i128::from(rate.quantum_micros.max(1));
    rate.rounding.divide(amount, quantum) * quantum
}

fn narrow(amount: i128) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "price/tests.rs"]
mod tests;
