//! Which rate applies to an address: the longest prefix in the tenant's plan that is in force at the time.

use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::price::{Rate, Rounding};

/// Digits of a number in international form at most (ITU-T E.164).
const DIGITS: usize = 15;

/// The columns of [`read`].
pub(crate) const COLUMNS: &str =
    "plan_id, item, prefix, name, unit_micros, per_units, connect_micros, first_s, next_s, free_s, min_micros,
    quantum_micros, rounding";

/// What a plan says about an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Rate(Rate),
    /// The longest prefix is one that the operator has blocked.
    Blocked,
    /// No prefix fits, not even "".
    Nothing,
}

/// The digits by which an address is rated: those of a number; none of a SIP user or URI, which only "" fits.
pub(crate) fn digits(address: &str) -> &str {
    let user = address.strip_prefix("sips:").or_else(|| address.strip_prefix("sip:")).unwrap_or(address);
    let user = user.split(['@', ';']).next().unwrap_or_default();
    let digits = user.strip_prefix('+').unwrap_or("");
    if (7..=DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits } else { "" }
}

/// The rate for an item and an address at a time.
pub(crate) async fn find(
    db: &mut AnyConnection,
    plan: &str,
    item: &str,
    address: &str,
    at_ms: i64,
) -> Result<Found, sqlx::Error> {
    find_two(db, plan, [item, item], address, at_ms).await.map(|[found, _]| found)
}

/// The rates for two items and an address at a time, in one statement.
pub(crate) async fn find_two(
    db: &mut AnyConnection,
    plan: &str,
    items: [&str; 2],
    address: &str,
    at_ms: i64,
) -> Result<[Found; 2], sqlx::Error> {
    let digits = digits(address);
    // All prefixes of the number by name, so that one index look-up each finds them: fewer than sixteen are padded with "".
    let names: Vec<String> = (0..=DIGITS).map(|n| format!("${}", n + 5)).collect();
    let sql = format!(
        "SELECT {COLUMNS}, blocked FROM rates WHERE plan_id = $1 AND item IN ($2, $3) AND starts_at <= $4
         AND (ends_at IS NULL OR ends_at > $4) AND prefix IN ({}) ORDER BY LENGTH(prefix) DESC, starts_at DESC",
        names.join(",")
    );
    let [first, second] = items.map(str::to_owned);
    let mut query = sqlx::query::<Any>(AssertSqlSafe(sql)).bind(plan.to_owned()).bind(first).bind(second).bind(at_ms);
    for n in 0..=DIGITS {
        query = query.bind(digits.get(..n).unwrap_or_default().to_owned());
    }
    let mut found = [Found::Nothing, Found::Nothing];
    for row in query.fetch_all(db).await? {
        let item: String = row.try_get("item")?;
        for (found, wanted) in found.iter_mut().zip(items) {
            if *found == Found::Nothing && item == wanted {
                *found = if row.try_get::<i64, _>("blocked")? != 0 { Found::Blocked } else { Found::Rate(read(&row)?) };
            }
        }
    }
    Ok(found)
}

/// A row of `rates` with [`COLUMNS`].
pub(crate) fn read(row: &AnyRow) -> Result<Rate, sqlx::Error> {
    Ok(Rate {
        plan_id: row.try_get("plan_id")?,
        item: row.try_get("item")?,
        prefix: row.try_get("prefix")?,
        name: row.try_get("name")?,
        unit_micros: row.try_get("unit_micros")?,
        per_units: row.try_get("per_units")?,
        connect_micros: row.try_get("connect_micros")?,
        first_s: row.try_get("first_s")?,
        next_s: row.try_get("next_s")?,
        free_s: row.try_get("free_s")?,
        min_micros: row.try_get("min_micros")?,
        quantum_micros: row.try_get("quantum_micros")?,
        rounding: if row.try_get::<String, _>("rounding")? == "half_up" { Rounding::HalfUp } else { Rounding::Up },
    })
}

/// What a minute costs at most by this rate; for the ceiling of a tenant.
pub(crate) fn per_minute(rate: &Rate) -> i64 {
    super::price::price(&Rate { connect_micros: 0, free_s: 0, first_s: 60, next_s: 60, ..rate.clone() }, 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_digits_and_names_have_none() {
        assert_eq!(digits("+12125550123"), "12125550123");
        assert_eq!(digits("sip:+12125550123@carrier.example;user=phone"), "12125550123");
        for other in ["demo", "sip:bob@127.0.0.1", "12125550123", "+1", "+123456789012345678", "", "sip:+12a@x"] {
            assert_eq!(digits(other), "", "{other}");
        }
    }
}
