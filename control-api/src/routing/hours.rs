//! Opening hours: days and times on the wall clock of a time zone, and the dates on which nobody is there.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use super::{Faults, document::Action};

/// When somebody is there. `closed` says what happens otherwise; a dispatch rule has none, it just does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hours {
    /// IANA name, as `Europe/Berlin`.
    pub(crate) timezone: String,
    /// None at all: never open.
    #[serde(default)]
    pub(crate) open: Vec<Opening>,
    /// `2026-12-25`; an opening that begins on such a day does not.
    #[serde(default)]
    pub(crate) closed_dates: Vec<String>,
    /// What happens when it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closed: Option<Action>,
}

/// A span of some days. `to` before or at `from` is on the next day; `24:00` is midnight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    pub(crate) days: Vec<Day>,
    pub(crate) from: String,
    pub(crate) to: String,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    const fn of(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

impl Hours {
    /// Whether it is open at a Unix time in ms.
    pub(crate) fn are_open(&self, now_ms: i64) -> bool {
        // The zone was known when the document was stored; should the system have lost it since, UTC is the honest reading.
        let zone = TimeZone::get(&self.timezone).unwrap_or(TimeZone::UTC);
        let Ok(now) = Timestamp::from_millisecond(now_ms) else { return false };
        let local: DateTime = now.to_zoned(zone).datetime();
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let today = local.date();
        let yesterday = today.yesterday().ok();
        self.open.iter().any(|opening| {
            let (Some(from), Some(to)) = (clock(&opening.from), clock(&opening.to)) else { return false };
            let begins_on = |date: Date| opening.days.contains(&Day::of(date.weekday())) && !self.is_closed_on(date);
            if from < to {
                begins_on(today) && (from..to).contains(&minute)
            } else {
                (begins_on(today) && minute >= from) || (yesterday.is_some_and(begins_on) && minute < to)
            }
        })
    }

    fn is_closed_on(&self, date: Date) -> bool {
        self.closed_dates.iter().any(|closed| closed.parse::<Date>().is_ok_and(|closed| closed == date))
    }

    pub(crate) fn check(&self) -> Faults {
        let mut faults = Faults::default();
        if TimeZone::get(&self.timezone).is_err() {
            faults.add("timezone", format!("{:?} is no time zone, as Europe/Berlin", self.timezone));
        }
        faults.need(self.open.len() <= 50, "open", "at most 50 openings");
        for (n, opening) in self.open.iter().enumerate() {
            for (name, time) in [("from", &opening.from), ("to", &opening.to)] {
                if clock(time).is_none() {
                    faults.add(format!("open.{n}.{name}"), format!("{time:?} is no time of day, as 09:00"));
                }
            }
            faults.need(
                !opening.days.is_empty(),
                &format!("open.{n}.days"),
                "at least one of mon, tue, wed, thu, fri, sat, sun",
            );
        }
        faults.need(self.closed_dates.len() <= 400, "closed_dates", "at most 400 dates");
        for (n, date) in self.closed_dates.iter().enumerate() {
            if date.parse::<Date>().is_err() || date.len() != 10 {
                faults.add(format!("closed_dates.{n}"), format!("{date:?} is no date, as 2026-12-25"));
            }
        }
        if let Some(closed) = &self.closed {
            faults.below("closed", closed.check());
        }
        faults
    }
}

/// Minutes since midnight of `HH:MM`, up to `24:00`.
fn clock(text: &str) -> Option<i32> {
    let (hour, minute) = text.split_once(':').filter(|(hour, minute)| hour.len() == 2 && minute.len() == 2)?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i32>().ok())?;
    let minutes = number(hour)? * 60 + number(minute).filter(|minute| *minute < 60)?;
    (minutes <= 24 * 60).then_some(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::parse;

    fn hours(json: serde_json::Value) -> Hours {
        let hours: Hours = serde_json::from_value(json).unwrap();
        assert_eq!(hours.check(), Faults::default());
        hours
    }

    fn open(hours: &Hours, at: &str) -> bool {
        hours.are_open(parse(at).unwrap())
    }

    #[test]
    fn hours_are_those_of_their_place_summer_and_winter() {
        let berlin = hours(serde_json::json!({"timezone": "Europe/Berlin",
            "open": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:30"}], "closed_dates": ["2026-12-25"]}));
        // Winter is UTC+1, summer UTC+2.
        assert!(!open(&berlin, "2026-11-20T07:59:59Z"));
        assert!(open(&berlin, "2026-11-20T08:00:00Z"));
        assert!(open(&berlin, "2026-11-20T16:29:59Z"));
        assert!(!open(&berlin, "2026-11-20T16:30:00Z"));
        assert!(open(&berlin, "2026-07-20T07:00:00Z"));
        assert!(!open(&berlin, "2026-11-21T10:00:00Z"), "a Saturday");
        assert!(!open(&berlin, "2026-12-25T10:00:00Z"), "a closed date");
        assert!(open(&berlin, "2026-12-24T10:00:00Z"));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = hours(serde_json::json!({"timezone": "America/New_York",
            "open": [{"days": ["fri"], "from": "22:00", "to": "02:00"}], "closed_dates": ["2026-11-27"]}));
        assert!(open(&night, "2026-11-21T03:30:00Z"), "Friday 22:30");
        assert!(open(&night, "2026-11-21T06:59:00Z"), "Saturday 01:59");
        assert!(!open(&night, "2026-11-21T07:00:00Z"), "Saturday 02:00");
        assert!(!open(&night, "2026-11-20T06:00:00Z"), "Friday 01:00 belongs to Thursday");
        assert!(!open(&night, "2026-11-28T06:00:00Z"), "the night of a closed Friday");
        let whole =
            hours(serde_json::json!({"timezone": "UTC", "open": [{"days": ["sat"], "from": "00:00", "to": "24:00"}]}));
        assert!(open(&whole, "2026-11-21T23:59:59Z") && !open(&whole, "2026-11-22T00:00:00Z"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let wrong: Hours = serde_json::from_value(serde_json::json!({"timezone": "Mars/Base",
            "open": [{"days": [], "from": "9:00", "to": "25:00"}], "closed_dates": ["2026-02-30"]}))
        .unwrap();
        let fields: Vec<_> = wrong.check().0.into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["timezone", "open.0.from", "open.0.to", "open.0.days", "closed_dates.0"]);
    }
}
