//! The civil calendar, as far as an appointment needs it.

use serde::{Deserialize, Serialize};

/// A date and a time of day, without a zone: what a clock on the wall shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LocalTime {
    /// Days since 1970-01-01.
    day: i32,
    /// Minutes since midnight.
    minute: u16,
}

impl Default for LocalTime {
    /// The first of January 2000 at midnight.
    fn default() -> Self {
        LocalTime { day: 10_957, minute: 0 }
    }
}

pub(crate) const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
pub(crate) const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

fn leap(year: i32) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn month_length(year: i32, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from the epoch to the first of January of a year.
fn year_start(year: i32) -> i32 {
    let y = year - 1;
    365 * (year - 1970) + (y.div_euclid(4) - 492) - (y.div_euclid(100) - 19) + (y.div_euclid(400) - 4)
}

impl LocalTime {
    /// A point in time from its parts; `None` for a date or a time that no calendar has. Years 1970 to 9999.
    pub fn new(year: i32, month: u8, day: u8, hour: u8, minute: u8) -> Option<Self> {
        let date =
            (1970..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1 && day <= month_length(year, month);
        if !date || hour > 23 || minute > 59 {
            return None;
        }
        let before: i32 = (1..month).map(|m| i32::from(month_length(year, m))).sum();
        Some(LocalTime {
            day: year_start(year) + before + i32::from(day) - 1,
            minute: u16::from(hour) * 60 + u16::from(minute),
        })
    }

    /// A point in time from seconds since 1970 on the same wall clock (UTC plus the zone's offset).
    pub fn from_unix(seconds: i64) -> Self {
        let day = seconds.div_euclid(86_400).clamp(0, 2_932_896) as i32;
        LocalTime { day, minute: (seconds.rem_euclid(86_400) / 60) as u16 }
    }

    /// Year, month and day of the month.
    pub fn date(self) -> (i32, u8, u8) {
        let mut year = 1970 + self.day / 366;
        while year_start(year + 1) <= self.day {
            year += 1;
        }
        let mut rest = self.day - year_start(year);
        let mut month = 1;
        while rest >= i32::from(month_length(year, month)) {
            rest -= i32::from(month_length(year, month));
            month += 1;
        }
        (year, month, rest as u8 + 1)
    }

    /// Hour and minute.
    pub fn clock(self) -> (u8, u8) {
        ((self.minute / 60) as u8, (self.minute % 60) as u8)
    }

    /// 0 is Monday.
    pub fn weekday(self) -> usize {
        (self.day + 3).rem_euclid(7) as usize
    }

    pub(crate) fn plus_days(self, days: i32) -> Self {
        LocalTime { day: (self.day + days).clamp(0, 2_932_896), ..self }
    }

    pub(crate) fn plus_minutes(self, minutes: i32) -> Self {
        let all = i32::from(self.minute) + minutes;
        let moved = self.plus_days(all.div_euclid(1440));
        LocalTime { minute: all.rem_euclid(1440) as u16, ..moved }
    }

    pub(crate) fn at(self, minute: u16) -> Self {
        LocalTime { minute: minute % 1440, ..self }
    }

    pub(crate) fn day_number(self) -> i32 {
        self.day
    }

    /// `2026-11-24T10:30`, as tools get it.
    pub fn iso(self) -> String {
        let (year, month, day) = self.date();
        let (hour, minute) = self.clock();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}")
    }

    /// Reads `2026-11-24T10:30` with or without seconds and zone, which are ignored.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if !text.is_ascii() || bytes.len() < 16 || bytes[4] != b'-' || bytes[7] != b'-' || bytes[13] != b':' {
            return None;
        }
        let part = |range: std::ops::Range<usize>| text[range].parse::<u16>().ok();
        let small = |range| part(range).and_then(|v| u8::try_from(v).ok());
        LocalTime::new(part(0..4)?.into(), small(5..7)?, small(8..10)?, small(11..13)?, small(14..16)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_survive_a_round_trip_over_four_centuries() {
        for day in (0..150_000).step_by(13) {
            let at = LocalTime { day, minute: 61 };
            let (year, month, dom) = at.date();
            assert_eq!(LocalTime::new(year, month, dom, 1, 1), Some(at));
        }
    }

    #[test]
    fn known_days_have_their_weekday() {
        let known = LocalTime::new(2026, 11, 21, 3, 26).unwrap();
        assert_eq!(WEEKDAYS[known.weekday()], "saturday");
        assert_eq!(known.iso(), "2026-11-21T03:26");
        assert_eq!(LocalTime::parse("2026-11-21T03:26:00Z"), Some(known));
        assert_eq!(LocalTime::from_unix(1_795_231_560), known);
        assert_eq!(LocalTime::new(2026, 2, 29, 0, 0), None);
    }

    #[test]
    fn minutes_carry_into_the_next_day() {
        let late = LocalTime::new(2027, 12, 31, 23, 45).unwrap();
        assert_eq!(late.plus_minutes(30).iso(), "2028-01-01T00:15");
    }
}
