//! From when to when, in whose days, and in how long steps.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{http::ApiError, time};

/// The longest range, days.
const LONGEST: i64 = 400;
const DAY_MS: i64 = 86_400_000;

/// The parameters of every analysis.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RangeQuery {
    /// Begins here; 30 days before `to` when absent.
    pub(crate) from: Option<String>,
    /// Ends before this; now when absent. At most 400 days after `from`.
    pub(crate) to: Option<String>,
    /// Whose days are meant; the tenant's when absent.
    pub(crate) timezone: Option<String>,
    /// Only calls of this agent.
    pub(crate) agent_id: Option<String>,
    /// `hour`, `day` (the default), `week` or `month`.
    pub(crate) bucket: Option<String>,
}

/// How long a step of a series is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Bucket {
    Hour,
    #[default]
    Day,
    Week,
    Month,
}

/// A range that was understood.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    pub(crate) zone: TimeZone,
    pub(crate) agent: Option<String>,
    pub(crate) bucket: Bucket,
}

impl Range {
    /// Reads the parameters; `place` is the tenant's time zone.
    pub(crate) fn read(query: &RangeQuery, place: &str, now_ms: i64) -> Result<Self, ApiError> {
        let when = |field: &str, text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => time::parse(text)
                .or_else(|| time::parse(&text.replace(' ', "+")))
                .map(Some)
                .ok_or_else(|| ApiError::invalid(field, format!("{field} is a time like 2026-11-21T00:00:00Z"))),
        };
        let to_ms = when("to", &query.to)?.unwrap_or(now_ms);
        let from_ms = when("from", &query.from)?.unwrap_or(to_ms - 30 * DAY_MS);
        if from_ms >= to_ms || to_ms - from_ms > LONGEST * DAY_MS {
            return Err(ApiError::invalid("from", format!("from lies before to, by at most {LONGEST} days")));
        }
        let name = query.timezone.as_deref().unwrap_or(place);
        let zone = TimeZone::get(name)
            .map_err(|_| ApiError::invalid("timezone", format!("{name:?} is no time zone like Europe/Berlin")))?;
        let bucket = match query.bucket.as_deref() {
            None | Some("day") => Bucket::Day,
            Some("hour") => Bucket::Hour,
            Some("week") => Bucket::Week,
            Some("month") => Bucket::Month,
            Some(_) => return Err(ApiError::invalid("bucket", "bucket is hour, day, week or month")),
        };
        Ok(Self { from_ms, to_ms, zone, agent: query.agent_id.clone(), bucket })
    }

    /// As long, and just before.
    pub(crate) fn previous(&self) -> Self {
        Self { from_ms: 2 * self.from_ms - self.to_ms, to_ms: self.from_ms, ..self.clone() }
    }

    /// The first and the last day that the range touches, in UTC, as the latency roll-up has them.
    pub(crate) fn days(&self) -> (String, String) {
        (time::rfc3339(self.from_ms)[..10].to_owned(), time::rfc3339(self.to_ms - 1)[..10].to_owned())
    }

    /// When the step of a moment begins, ms.
    pub(crate) fn step(&self, at_ms: i64, bucket: Bucket) -> i64 {
        if bucket == Bucket::Hour {
            return at_ms - at_ms.rem_euclid(3_600_000);
        }
        let Ok(at) = Timestamp::from_millisecond(at_ms) else { return at_ms };
        let date = at.to_zoned(self.zone.clone()).date();
        let first = match bucket {
            Bucket::Week => date.checked_sub(i64::from(date.weekday().to_monday_zero_offset()).days()).unwrap_or(date),
            Bucket::Month => date.first_of_month(),
            Bucket::Day | Bucket::Hour => date,
        };
        self.begin(first).unwrap_or(at_ms)
    }

    /// The number of the local day of a time in ms, in SQL: so the database adds the hours of a day up.
    pub(crate) fn day_of(&self, column: &str) -> String {
        let from = Timestamp::from_millisecond(self.from_ms - 3_600_000).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut offset = self.zone.to_offset(from);
        let mut cases = String::new();
        for change in self.zone.following(from).take_while(|change| change.timestamp().as_millisecond() < self.to_ms) {
            let (at, ms) = (change.timestamp().as_millisecond(), i64::from(offset.seconds()) * 1000);
            cases.push_str(&format!("WHEN {column} < {at} THEN {ms} "));
            offset = change.offset();
        }
        let last = i64::from(offset.seconds()) * 1000;
        let shift = if cases.is_empty() { last.to_string() } else { format!("CASE {cases}ELSE {last} END") };
        format!("({column} + {shift}) / {DAY_MS}")
    }

    fn begin(&self, date: Date) -> Option<i64> {
        Some(date.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(query: RangeQuery) -> Result<Range, String> {
        Range::read(&query, "UTC", 1_800_000_000_000).map_err(|error| error.field.unwrap_or_default())
    }

    #[test]
    fn a_day_is_the_day_of_the_place() {
        let berlin = range(RangeQuery { timezone: Some("Europe/Berlin".into()), ..RangeQuery::default() }).unwrap();
        let at = time::parse("2026-11-21T23:30:00Z").unwrap();
        for (bucket, begin) in [
            (Bucket::Hour, "2026-11-21T23:00:00.000Z"),
            (Bucket::Day, "2026-11-21T23:00:00.000Z"),
            (Bucket::Week, "2026-11-15T23:00:00.000Z"),
            (Bucket::Month, "2026-10-31T23:00:00.000Z"),
        ] {
            assert_eq!(time::rfc3339(berlin.step(at, bucket)), begin, "{bucket:?}");
        }
    }

    #[test]
    fn the_database_counts_days_as_the_place_does() {
        let zone = |name: &str, from: &str, to: &str| {
            let text = |text: &str| Some(text.to_owned());
            range(RangeQuery { timezone: text(name), from: text(from), to: text(to), ..RangeQuery::default() }).unwrap()
        };
        let plain = zone("Asia/Kolkata", "2026-11-01T00:00:00Z", "2026-11-21T00:00:00Z");
        assert_eq!(plain.day_of("at"), "(at + 19800000) / 86400000");
        let autumn = zone("Europe/Berlin", "2026-10-01T00:00:00Z", "2026-11-21T00:00:00Z");
        let change = time::parse("2026-10-25T01:00:00Z").unwrap();
        assert_eq!(
            autumn.day_of("at"),
            format!("(at + CASE WHEN at < {change} THEN 7200000 ELSE 3600000 END) / 86400000")
        );
    }

    #[test]
    fn what_cannot_be_asked_is_named() {
        let text = |text: &str| Some(text.to_owned());
        for (query, field) in [
            (RangeQuery { from: text("2026-01-02"), to: text("2026-01-01"), ..RangeQuery::default() }, "from"),
            (RangeQuery { from: text("2024-01-01"), to: text("2026-01-01"), ..RangeQuery::default() }, "from"),
            (RangeQuery { to: text("soon"), ..RangeQuery::default() }, "to"),
            (RangeQuery { timezone: text("Mars/Base"), ..RangeQuery::default() }, "timezone"),
            (RangeQuery { bucket: text("year"), ..RangeQuery::default() }, "bucket"),
        ] {
            assert_eq!(range(query.clone()).unwrap_err(), field, "{query:?}");
        }
        let month = range(RangeQuery::default()).unwrap();
        assert_eq!(month.to_ms - month.from_ms, 30 * DAY_MS);
        assert_eq!(month.previous().to_ms, month.from_ms);
    }
}
