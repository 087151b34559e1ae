//! Days and times of day as people say them, relative to now, and back into words.

use serde::{Deserialize, Serialize};

use super::calendar::{LocalTime, MONTHS, WEEKDAYS};
use super::numbers::{cardinal, ordinal, read_cardinal, read_ordinal};

/// A part of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Morning,
    Afternoon,
    Evening,
}

/// A time of day as it was said: "at three" may be one of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// 0–23.
    hour: u8,
    minute: u8,
    /// Said, or meant because no other reading exists.
    part: Option<Part>,
    /// A part of the day without an hour ("friday morning").
    vague: bool,
}

/// A day and a time of day, as far as they were said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// The day, at midnight.
    pub(crate) day: Option<LocalTime>,
    pub(crate) clock: Option<Clock>,
}

impl Spoken {
    /// Completes what was said now with what was said before.
    pub(crate) fn or(self, day: Option<LocalTime>, clock: Option<Clock>) -> Spoken {
        let clock = match (self.clock, clock) {
            // "Friday morning" — "at nine": the part said first still rules.
            (Some(now), Some(before)) if now.part.is_none() && before.vague => Some(Clock { part: before.part, ..now }),
            (now, before) => now.or(before),
        };
        Spoken { day: self.day.or(day), clock }
    }

    /// The point in time, once a day and an hour are known. A time of today that has passed is not meant.
    pub(crate) fn resolve(self, now: LocalTime) -> Option<LocalTime> {
        let (day, clock) = (self.day?, self.clock.filter(|c| !c.vague)?);
        let at = day.at(clock.minutes(false));
        if at > now {
            return Some(at);
        }
        let later = day.at(clock.minutes(true));
        Some(if later > now { later } else { at.plus_days(7) })
    }
}

impl Clock {
    /// Minutes since midnight. Without a part of the day it is a time at which people work: eight to half past seven.
    fn minutes(self, late: bool) -> u16 {
        let hour = match (self.hour, self.part) {
            (13.., _) | (0, _) => self.hour,
            (12, Some(Part::Morning)) => 0,
            (12, _) => 12,
            (hour, Some(Part::Morning)) => hour,
            (hour, Some(Part::Afternoon | Part::Evening)) => hour + 12,
            (hour, None) if hour < 8 || late => hour + 12,
            (hour, None) => hour,
        };
        u16::from(hour) * 60 + u16::from(self.minute)
    }
}

/// The day and time that some words name.
pub(crate) fn parse(words: &[String], now: LocalTime) -> Spoken {
    let today = now.at(0);
    let mut day = None;
    let mut hour: Option<(u8, u8)> = None;
    let mut part = None;
    let mut noon = false;
    let mut i = 0;
    while i < words.len() {
        let rest = &words[i..];
        let word = rest[0].as_str();
        let next = rest.get(1).map(String::as_str);
        i += 1;
        if word == "day" && next == Some("after") && rest.get(2).is_some_and(|w| w == "tomorrow") {
            day = Some(today.plus_days(2));
            i += 2;
        } else if let Some((found, used)) = month_day(rest, today) {
            day = Some(found);
            i += used - 1;
        } else if MONTHS.contains(&word) {
            // A day that this month does not have is not a time of day either.
            i += read_ordinal(&rest[1..]).or_else(|| read_cardinal(&rest[1..])).map_or(0, |(_, used)| used);
        } else if let Some(weekday) = WEEKDAYS.iter().position(|w| *w == word.strip_suffix("s").unwrap_or(word)) {
            let ahead = (weekday + 7 - today.weekday()) % 7;
            let next_week = i >= 2 && words[i - 2] == "next" && ahead == 0;
            day = Some(today.plus_days(if next_week { 7 } else { ahead as i32 }));
        } else {
            match word {
                "today" => day = Some(today),
                "tonight" => {
                    day = Some(today);
                    part = Some(Part::Evening);
                }
                "tomorrow" => day = Some(today.plus_days(1)),
                "morning" | "am" => part = Some(Part::Morning),
                "afternoon" | "pm" => part = Some(Part::Afternoon),
                "evening" | "night" => part = Some(Part::Evening),
                "noon" | "midday" | "lunchtime" => noon = true,
                "half" if next == Some("past") => {
                    if let Some((h, used)) = rest.get(2..).and_then(read_cardinal) {
                        hour = Some((h, 30));
                        i += 1 + used;
                    }
                }
                "quarter" if matches!(next, Some("past" | "after" | "to" | "of" | "before")) => {
                    if let Some((h, used)) = rest.get(2..).and_then(read_cardinal) {
                        let past = matches!(next, Some("past" | "after"));
                        hour = Some(if past { (h, 15) } else { (if h <= 1 { 12 } else { h - 1 }, 45) });
                        i += 1 + used;
                    }
                }
                _ => {
                    if let Some((dom, used)) = read_ordinal(rest).filter(|_| day.is_none()) {
                        day = day_of_month(dom, today).or(day);
                        i += used - 1;
                    } else if let Some(((h, m), used)) = hour_minute(rest) {
                        // A later number replaces an earlier one: people correct themselves.
                        hour = Some((h, m));
                        i += used - 1;
                    }
                }
            }
        }
    }
    // "Twelve noon" is one time, not two.
    if noon {
        hour = Some((12, 0));
        part = None;
    }
    let clock = match (hour, part) {
        (Some((hour, minute)), part) if hour < 24 && minute < 60 => {
            // "Nine in the evening" and "three at night" mean what their hour allows.
            let part = if hour == 0 || hour > 12 { None } else { part };
            Some(Clock { hour, minute, part, vague: false })
        }
        (None, Some(part)) => Some(Clock { hour: 0, minute: 0, part: Some(part), vague: true }),
        _ => None,
    };
    Spoken { day, clock }
}

/// "november twenty fourth", "november 24", "twenty fourth of november", "the 24th".
fn month_day(words: &[String], today: LocalTime) -> Option<(LocalTime, usize)> {
    let month_of = |word: &String| MONTHS.iter().position(|m| m == word).map(|m| m as u8 + 1);
    if let Some(month) = words.first().and_then(month_of) {
        let skip = usize::from(words.get(1).is_some_and(|w| w == "the"));
        let rest = words.get(1 + skip..)?;
        let (dom, used) = read_ordinal(rest).or_else(|| read_cardinal(rest))?;
        return Some((dated(month, dom, today)?, 1 + skip + used));
    }
    let (dom, used) = read_ordinal(words)?;
    let skip = usize::from(words.get(used).is_some_and(|w| w == "of"));
    let month = words.get(used + skip).and_then(month_of)?;
    Some((dated(month, dom, today)?, used + skip + 1))
}

fn dated(month: u8, dom: u8, today: LocalTime) -> Option<LocalTime> {
    let (year, ..) = today.date();
    (year..year + 5).filter_map(|year| LocalTime::new(year, month, dom, 0, 0)).find(|day| *day >= today)
}

fn day_of_month(dom: u8, today: LocalTime) -> Option<LocalTime> {
    (0..62).map(|ahead| today.plus_days(ahead)).find(|day| day.date().2 == dom)
}

/// "ten", "ten thirty", "nine oh five", "fifteen hundred", "10 30".
fn hour_minute(words: &[String]) -> Option<((u8, u8), usize)> {
    let (hour, used) = read_cardinal(words)?;
    if hour > 23 {
        return None;
    }
    let rest = &words[used..];
    match rest.first().map(String::as_str) {
        Some("oh" | "o") => {
            let minute = read_cardinal(&rest[1..]).filter(|(m, _)| *m < 10);
            Some(minute.map_or(((hour, 0), used), |(m, more)| ((hour, m), used + 1 + more)))
        }
        Some("hundred") => Some(((hour, 0), used + 1)),
        _ => {
            let minute = read_cardinal(rest)
                .filter(|(m, _)| (10..60).contains(m) || rest[0] == "00" || rest[0].starts_with('0'));
            Some(minute.map_or(((hour, 0), used), |(m, more)| ((hour, m), used + more)))
        }
    }
}

/// A time of day for a voice: "ten thirty a m".
pub(crate) fn say_clock(at: LocalTime) -> String {
    let (hour, minute) = at.clock();
    if (hour, minute) == (12, 0) {
        return "noon".to_owned();
    }
    let half = if hour < 12 { "a m" } else { "p m" };
    let hour = cardinal(if hour % 12 == 0 { 12 } else { hour % 12 });
    match minute {
        0 => format!("{hour} {half}"),
        1..10 => format!("{hour} oh {} {half}", cardinal(minute)),
        _ => format!("{hour} {} {half}", cardinal(minute)),
    }
}

/// A day for a voice: "tomorrow", "Friday", "Friday, December fourth".
pub(crate) fn say_day(at: LocalTime, now: LocalTime) -> String {
    let name = |word: &str| word[..1].to_uppercase() + &word[1..];
    let weekday = name(WEEKDAYS[at.weekday()]);
    match at.day_number() - now.day_number() {
        0 => "today".to_owned(),
        1 => format!("tomorrow, {weekday}"),
        2..7 => weekday,
        _ => {
            let (_, month, dom) = at.date();
            format!("{weekday}, {} {}", name(MONTHS[usize::from(month - 1)]), ordinal(dom))
        }
    }
}

/// A point in time for a voice.
pub(crate) fn say(at: LocalTime, now: LocalTime) -> String {
    format!("{} at {}", say_day(at, now), say_clock(at))
}

/// Three times that keys can choose from: the next working day at nine and two, the one after at ten.
pub(crate) fn offers(now: LocalTime) -> [LocalTime; 3] {
    let working = |from: LocalTime| (1..4).map(|d| from.plus_days(d)).find(|d| d.weekday() < 5).unwrap_or(from);
    let first = working(now);
    [first.at(9 * 60), first.at(14 * 60), working(first).at(10 * 60)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::words::tokens;

    /// Saturday, 21 November 2026, half past nine in the morning.
    fn now() -> LocalTime {
        LocalTime::new(2026, 11, 21, 9, 30).unwrap()
    }

    fn at(text: &str) -> Option<String> {
        parse(&tokens(text), now()).resolve(now()).map(LocalTime::iso)
    }

    #[test]
    fn what_people_say_becomes_a_point_in_time() {
        for (text, want) in [
            ("tuesday at ten", "2026-11-24T10:00"),
            ("tomorrow at three pm", "2026-11-22T15:00"),
            ("tomorrow at three", "2026-11-22T15:00"),
            ("friday morning at nine thirty", "2026-11-27T09:30"),
            ("Monday at 10:30 AM.", "2026-11-23T10:30"),
            ("monday at 3pm", "2026-11-23T15:00"),
            ("at noon on wednesday", "2026-11-25T12:00"),
            ("twelve noon thursday", "2026-11-26T12:00"),
            ("half past four on friday", "2026-11-27T16:30"),
            ("quarter to nine tomorrow morning", "2026-11-22T08:45"),
            ("the day after tomorrow at eleven", "2026-11-23T11:00"),
            ("december third at nine oh five", "2026-12-03T09:05"),
            ("the twenty fourth at two", "2026-11-24T14:00"),
            ("the 4th of January at 14:15", "2027-01-04T14:15"),
            ("today at eight in the evening", "2026-11-21T20:00"),
            ("today at nine", "2026-11-21T21:00"),
            ("saturday at eight a m", "2026-11-28T08:00"),
            ("next saturday at ten", "2026-11-28T10:00"),
            ("saturday at ten", "2026-11-21T10:00"),
            ("monday at ten no at eleven", "2026-11-23T11:00"),
            ("tuesday at seven", "2026-11-24T19:00"),
            ("tuesday at seven in the morning", "2026-11-24T07:00"),
        ] {
            assert_eq!(at(text).as_deref(), Some(want), "{text}");
        }
    }

    #[test]
    fn half_a_date_is_kept_until_the_other_half_comes() {
        let first = parse(&tokens("friday morning"), now());
        assert_eq!(first.resolve(now()), None);
        let both = parse(&tokens("at nine"), now()).or(first.day, first.clock);
        assert_eq!(both.resolve(now()).map(LocalTime::iso).as_deref(), Some("2026-11-27T09:00"));
        let clock = parse(&tokens("at ten thirty"), now());
        let both = parse(&tokens("on monday"), now()).or(clock.day, clock.clock);
        assert_eq!(both.resolve(now()).map(LocalTime::iso).as_deref(), Some("2026-11-23T10:30"));
    }

    #[test]
    fn nothing_is_made_of_words_that_name_no_time() {
        for text in ["", "book an appointment", "five five five one two", "february thirtieth at ten", "at twenty five"]
        {
            assert_eq!(at(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_said_is_understood_again() {
        for minute in [0, 5, 15, 30, 45] {
            for hour in 0..24 {
                for ahead in 1..10 {
                    let time = now().plus_days(ahead).at(hour * 60 + minute);
                    let text = say(time, now());
                    assert_eq!(at(&text), Some(time.iso()), "{text}");
                }
            }
        }
    }

    #[test]
    fn offers_are_on_working_days() {
        assert_eq!(offers(now()).map(LocalTime::iso), ["2026-11-23T09:00", "2026-11-23T14:00", "2026-11-24T10:00"]);
    }
}
