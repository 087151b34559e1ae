use proptest::prelude::*;

use super::*;

fn rate(first_s: i64, next_s: i64) -> Rate {
    Rate { prefix: "1".into(), name: "US".into(), first_s, next_s, ..Rate::flat("p", "voice_out", 150_000) }
}

#[test]
fn the_worked_examples_come_out_to_the_micro() {
    let (second, minute) = (rate(1, 1), rate(60, 60));
    let six = Rate { connect_micros: 10_000, ..rate(30, 6) };
    let cents = Rate { quantum_micros: 10_000, ..rate(1, 1) };
    for (rate, ms, billed, cost) in [
        (&second, 150_000, 150, 375_000),
        (&second, 60_000, 60, 150_000),
        (&second, 105_000, 105, 262_500),
        (&second, 97_200, 98, 245_000),
        (&minute, 150_000, 180, 450_000),
        (&minute, 90_000, 120, 300_000),
        (&six, 60_000, 60, 160_000),
        (&six, 105_000, 108, 280_000),
        (&six, 150_000, 150, 385_000),
        (&six, 195_000, 198, 505_000),
        (&six, 150_400, 156, 400_000),
        (&cents, 150_000, 150, 380_000),
    ] {
        assert_eq!((billed_s(rate, ms), price(rate, ms)), (billed, cost), "{}/{} {ms}", rate.first_s, rate.next_s);
    }
}

#[test]
fn what_was_not_answered_or_is_free_costs_nothing_not_even_the_connection() {
    let rate = Rate { connect_micros: 10_000, min_micros: 50_000, free_s: 5, ..rate(1, 1) };
    for ms in [i64::MIN, -1, 0, 1, 4_001, 5_000] {
        assert_eq!((billed_s(&rate, ms), price(&rate, ms)), (0, 0), "{ms}");
    }
    assert_eq!(price(&rate, 5_001), 50_000);
}

#[test]
fn rounding_is_up_or_half_up_and_happens_once() {
    let third = Rate { unit_micros: 100, per_units: 3, ..rate(1, 1) };
    assert_eq!(price(&third, 1_000), 34);
    assert_eq!(price(&Rate { rounding: Rounding::HalfUp, ..third.clone() }, 1_000), 33);
    assert_eq!(price(&third, 3_000), 100);
    let tokens = Rate { unit_micros: 2_000_000, per_units: 1_000_000, ..rate(1, 1) };
    assert_eq!((price_of(&tokens, 1), price_of(&tokens, 18_210), price_of(&tokens, 0)), (2, 36_420, 0));
}

#[test]
fn no_number_is_too_large() {
    let huge = Rate { unit_micros: i64::MAX, connect_micros: i64::MAX, per_units: 1, quantum_micros: 7, ..rate(1, 1) };
    assert_eq!(price(&huge, i64::MAX), i64::MAX);
    assert_eq!(price_of(&huge, i64::MAX), i64::MAX);
    assert!(reach_s(i64::MAX, 10, |ms| price(&huge, ms)) == 0);
}

#[test]
fn people_read_cents_rounded_half_up() {
    for (micros, text) in [
        (375_000, "$0.38"),
        (374_999, "$0.37"),
        (19_620_000, "$19.62"),
        (0, "$0.00"),
        (-5_000, "-$0.01"),
        (-1, "$0.00"),
    ] {
        assert_eq!(display(micros), text);
    }
}

fn any_rate() -> impl Strategy<Value = Rate> {
    let steps = (0_i64..120, 1_i64..120, 0_i64..30);
    let money = (0_i64..2_000_000, 1_i64..120, 0_i64..100_000, 0_i64..100_000);
    (steps, money, prop_oneof![Just(1_i64), Just(100), Just(10_000)], any::<bool>()).prop_map(
        |((first_s, next_s, free_s), (unit_micros, per_units, connect_micros, min_micros), quantum_micros, up)| Rate {
            unit_micros,
            per_units,
            connect_micros,
            free_s,
            min_micros,
            quantum_micros,
            rounding: if up { Rounding::Up } else { Rounding::HalfUp },
            ..rate(first_s, next_s)
        },
    )
}

proptest! {
    #[test]
    fn a_longer_call_never_costs_less(rate in any_rate(), ms in 0_i64..8_000_000, more in 0_i64..500_000) {
        prop_assert!(price(&rate, ms) <= price(&rate, ms + more));
    }

    #[test]
    fn the_price_is_that_of_the_whole_steps_and_a_whole_number_of_quanta(rate in any_rate(), ms in 1_i64..8_000_000) {
        let cost = price(&rate, ms);
        prop_assert_eq!(cost % rate.quantum_micros, 0);
        let billed = billed_s(&rate, ms);
        if billed > 0 {
            prop_assert!(billed * 1000 >= ms);
            prop_assert_eq!(price(&rate, billed * 1000), cost);
            if rate.rounding == Rounding::Up {
                prop_assert!(cost >= rate.min_micros);
            }
        } else {
            prop_assert_eq!(cost, 0);
        }
    }

    #[test]
    fn what_a_budget_reaches_fits_it_and_a_second_more_does_not(rate in any_rate(), budget in 0_i64..5_000_000) {
        let seconds = reach_s(4_000, budget, |ms| price(&rate, ms));
        prop_assert!(price(&rate, seconds * 1000) <= budget);
        prop_assert!(seconds == 4_000 || price(&rate, (seconds + 1) * 1000) > budget);
    }
}
