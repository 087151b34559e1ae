//! Many rows to a statement.

/// Rows of one statement: the largest that fits is taken, so that few different statements are prepared. SQLite has 500 terms in a
/// compound SELECT at most.
const ROWS: [usize; 4] = [256, 32, 4, 1];

/// The largest portions that fit, one after the other.
pub(crate) fn portions<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let count = ROWS.into_iter().find(|count| *count <= rest.len())?;
        let (now, later) = rest.split_at(count);
        rest = later;
        Some(now)
    })
}

/// The parameters of so many rows of so many columns each: `($1, $2), ($3, $4)`.
pub(crate) fn places(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let all = (1..=columns).map(|column| format!("${}", row * columns + column)).collect::<Vec<_>>();
        format!("({})", all.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_the_whole_in_order() {
        let all: Vec<_> = (0..580).collect();
        assert_eq!(portions(&all).map(<[_]>::len).collect::<Vec<_>>()[..4], [256, 256, 32, 32]);
        assert_eq!(portions(&all).flatten().copied().collect::<Vec<_>>(), all);
    }

    #[test]
    fn every_place_has_its_own_number() {
        assert_eq!(places(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
