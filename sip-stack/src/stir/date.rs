//! The Date header (RFC 3261 §20.17): the one form of RFC 1123 that SIP allows.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY: u64 = 86_400;

/// Days of the years before this one and since 0000-03-01, when years begin in March: leap days then come last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1
}

/// Unix time of a Date header; none for what is no date since 1970.
pub fn parse_date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words[..] else { return None };
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as u64 + 1;
    let number = |text: &str, width: usize| match text.len() == width && text.bytes().all(|b| b.is_ascii_digit()) {
        true => text.parse::<u64>().ok(),
        false => None,
    };
    let (day, year) = (number(day, 2)?, number(year, 4)?);
    let mut clock = time.splitn(3, ':').map(|part| number(part, 2));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if year < 1970 || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some((days(year, month, day) - days(1970, 1, 1)) * DAY + hour * 3600 + minute * 60 + second)
}

/// A Date header of a unix time.
pub fn http_date(unix: u64) -> String {
    let (since, clock) = (unix / DAY, unix % DAY);
    // Four hundred years have 146 097 days; within them the year is found by its leap days (Howard Hinnant's civil_from_days).
    let shifted = since + days(1970, 1, 1);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(since % 7) as usize],
        MONTHS[(month - 1) as usize],
        clock / 3600,
        clock / 60 % 60,
        clock % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written_alike() {
        for (unix, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_289_687_189, "Sat, 13 Nov 2010 22:26:29 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(unix), text);
            assert_eq!(parse_date(text), Some(unix), "{text}");
        }
        for day in 0..60_000 {
            assert_eq!(parse_date(&http_date(day * DAY + 3661)), Some(day * DAY + 3661));
        }
        for wrong in [
            "",
            "now",
            "Sat, 13 Nov 2010 22:26:29 EST",
            "Sat, 00 Nov 2010 22:26:29 GMT",
            "Sat, 13 Foo 2010 22:26:29 GMT",
            "Sat, 13 Nov 1969 22:26:29 GMT",
            "Sat, 13 Nov 2010 24:26:29 GMT",
            "Sat, 13 Nov 2010 22:26 GMT",
            "Sat, +3 Nov 2010 22:26:29 GMT",
        ] {
            assert_eq!(parse_date(wrong), None, "{wrong}");
        }
    }
}
