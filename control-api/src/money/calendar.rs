//! Days and months where the tenant lives: spending caps, daily usage and monthly statements begin at its midnight.

use jiff::{Timestamp, ToSpan as _, Zoned, civil::Date, tz::TimeZone};

/// The zone by its IANA name; UTC where the machine does not know it.
pub(crate) fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap_or(TimeZone::UTC)
}

fn at(ms: i64, zone: &TimeZone) -> Zoned {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
}

/// The date of a moment, `2026-11-21`.
pub(crate) fn day(ms: i64, zone: &TimeZone) -> String {
    at(ms, zone).date().to_string()
}

/// Where the day of a moment begins and ends, Unix ms.
pub(crate) fn day_bounds(ms: i64, zone: &TimeZone) -> (i64, i64) {
    let date = at(ms, zone).date();
    (begins(date, zone), begins(date.saturating_add(1.day()), zone))
}

/// Where the month of a moment begins and ends, Unix ms.
pub(crate) fn month_bounds(ms: i64, zone: &TimeZone) -> (i64, i64) {
    let first = at(ms, zone).date().first_of_month();
    (begins(first, zone), begins(first.saturating_add(1.month()), zone))
}

/// The month before, `2026-10` for a moment in November.
pub(crate) fn month_before(ms: i64, zone: &TimeZone) -> String {
    let first = at(ms, zone).date().first_of_month();
    first.saturating_sub(1.day()).strftime("%Y-%m").to_string()
}

/// The same time a month later, or the last day of a shorter month; of the zone's length of days nobody asks.
pub(crate) fn month_after(ms: i64) -> i64 {
    at(ms, &TimeZone::UTC).saturating_add(1.month()).timestamp().as_millisecond()
}

/// First and last day of `2026-11`.
pub(crate) fn month_days(month: &str) -> Option<(Date, Date)> {
    let first: Date = format!("{month}-01").parse().ok()?;
    Some((first, first.last_of_month()))
}

/// The days from `first` to `last`, both included, at most `limit`.
pub(crate) fn days(first: Date, last: Date, limit: usize) -> Vec<String> {
    first.series(1.day()).take_while(|day| *day <= last).take(limit).map(|day| day.to_string()).collect()
}

fn begins(date: Date, zone: &TimeZone) -> i64 {
    date.to_zoned(zone.clone()).map_or(0, |midnight| midnight.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_at_the_tenants_midnight_even_when_the_clocks_change() {
        let berlin = zone("Europe/Berlin");
        let noon = crate::time::parse("2026-10-25T12:00:00Z").unwrap();
        let (from, to) = day_bounds(noon, &berlin);
        assert_eq!(crate::time::rfc3339(from), "2026-10-24T22:00:00.000Z");
        assert_eq!(to - from, 25 * 3_600_000);
        assert_eq!((day(from, &berlin), day(from - 1, &berlin)), ("2026-10-25".into(), "2026-10-24".into()));
    }

    #[test]
    fn months_have_their_own_length() {
        let utc = zone("Nowhere/Atall");
        let moment = crate::time::parse("2028-02-29T23:59:59Z").unwrap();
        let (from, to) = month_bounds(moment, &utc);
        assert_eq!((to - from) / 86_400_000, 29);
        assert_eq!(month_before(moment, &utc), "2028-01");
        let (first, last) = month_days("2028-02").unwrap();
        assert_eq!(days(first, last, 366).len(), 29);
        assert_eq!(month_days("2028-13"), None);
    }
}
