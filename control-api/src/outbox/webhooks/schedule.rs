//! When a delivery is tried again: the schedule of API.md §3.7 as data.

use crate::jobs::jitter;

/// Attempts of a delivery; the last one's failure is its end.
pub(super) const ATTEMPTS: i64 = 10;

/// Pauses after the first, second … ninth failure, ms. All in all 27.7 h.
const PAUSES_MS: [i64; 9] = [5_000, 30_000, 120_000, 600_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 36_000_000];

/// A receiver's wish is honoured up to this, ms.
const LONGEST_WISH_MS: i64 = 3_600_000;

/// The pause after a failed attempt (1 is the first), up to a fifth shorter or longer; never shorter than the receiver wishes by
/// `Retry-After`. None: there is no further attempt.
pub(super) fn pause_ms(attempt: i64, wish_ms: Option<i64>) -> Option<i64> {
    let pause = PAUSES_MS.get(usize::try_from(attempt - 1).ok()?)?;
    Some(jitter(*pause).max(wish_ms.unwrap_or(0).min(LONGEST_WISH_MS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_pauses_that_lean_by_a_fifth_and_then_the_end() {
        for (n, middle) in PAUSES_MS.iter().enumerate() {
            for _ in 0..50 {
                let pause = pause_ms(n as i64 + 1, None).unwrap();
                assert!((middle * 8 / 10..=middle * 12 / 10).contains(&pause), "{n}: {pause}");
            }
        }
        assert_eq!((pause_ms(ATTEMPTS, None), pause_ms(ATTEMPTS + 3, Some(1))), (None, None));
        assert_eq!(PAUSES_MS.iter().sum::<i64>(), 99_755_000);
    }

    #[test]
    fn a_wish_is_honoured_for_an_hour_at_most_and_never_hastens() {
        assert_eq!(pause_ms(1, Some(90_000)), Some(90_000));
        assert_eq!(pause_ms(1, Some(86_400_000)), Some(3_600_000));
        assert!(pause_ms(3, Some(1)).unwrap() >= 96_000);
    }
}
