//! Numbers as they are spoken, in both directions.

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const ORDINALS: [&str; 20] = [
    "zeroth",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
];

/// 0 to 99 in words.
pub(crate) fn cardinal(n: u8) -> String {
    let (tens, ones) = (usize::from(n / 10 % 10), usize::from(n % 10));
    match (tens, ones) {
        (0 | 1, _) => SMALL[usize::from(n % 20)].to_owned(),
        (_, 0) => TENS[tens].to_owned(),
        _ => format!("{} {}", TENS[tens], SMALL[ones]),
    }
}

/// 1 to 31 in words: "twenty fourth".
pub(crate) fn ordinal(n: u8) -> String {
    match n {
        0..20 => ORDINALS[usize::from(n)].to_owned(),
        20 => "twentieth".to_owned(),
        30 => "thirtieth".to_owned(),
        _ => format!("{} {}", TENS[usize::from(n / 10 % 10)], ORDINALS[usize::from(n % 10)]),
    }
}

/// A cardinal number below 100 at the start of some words, and how many words it takes.
pub(crate) fn read_cardinal(words: &[String]) -> Option<(u8, usize)> {
    let first = words.first()?.as_str();
    if let Ok(n) = first.parse::<u8>() {
        return (n < 100).then_some((n, 1));
    }
    if let Some(n) = SMALL.iter().position(|w| *w == first) {
        return Some((n as u8, 1));
    }
    let tens = TENS.iter().position(|w| !w.is_empty() && *w == first)? as u8 * 10;
    let ones = words.get(1).and_then(|w| SMALL[1..10].iter().position(|s| s == w));
    Some(ones.map_or((tens, 1), |ones| (tens + ones as u8 + 1, 2)))
}

/// An ordinal number ("24th", "twenty fourth") at the start of some words, and how many words it takes.
pub(crate) fn read_ordinal(words: &[String]) -> Option<(u8, usize)> {
    let first = words.first()?.as_str();
    if let Some(n) = first
        .strip_suffix("th")
        .or_else(|| first.strip_suffix("st"))
        .or_else(|| first.strip_suffix("nd"))
        .or_else(|| first.strip_suffix("rd"))
        && let Ok(n) = n.parse::<u8>()
    {
        return Some((n, 1));
    }
    for (word, n) in [("twentieth", 20), ("thirtieth", 30)] {
        if first == word {
            return Some((n, 1));
        }
    }
    if let Some(n) = ORDINALS.iter().position(|w| *w == first) {
        return Some((n as u8, 1));
    }
    let tens = TENS.iter().position(|w| !w.is_empty() && *w == first)? as u8 * 10;
    let ones = words.get(1).and_then(|w| ORDINALS[1..10].iter().position(|s| s == w))?;
    Some((tens + ones as u8 + 1, 2))
}

/// All digits in some words: "five five, double two" and "555-0199" alike.
pub(crate) fn digits(words: &[String]) -> String {
    let mut out = String::new();
    let mut times = 1;
    let mut i = 0;
    while i < words.len() {
        let word = words[i].as_str();
        i += 1;
        match word {
            "double" => {
                times = 2;
                continue;
            }
            "triple" => {
                times = 3;
                continue;
            }
            "oh" | "o" => out.extend(std::iter::repeat_n('0', times)),
            _ if word.bytes().all(|b| b.is_ascii_digit()) => {
                for c in word.chars() {
                    out.extend(std::iter::repeat_n(c, if word.len() == 1 { times } else { 1 }));
                }
            }
            _ => {
                if let Some((n, used)) = read_cardinal(&words[i - 1..]) {
                    let text = n.to_string();
                    for _ in 0..if n < 10 { times } else { 1 } {
                        out.push_str(&text);
                    }
                    i += used - 1;
                }
            }
        }
        times = 1;
    }
    out
}

/// Digits for a voice: in words, in groups of three with a rest of four at the end.
pub(crate) fn spell(number: &str) -> String {
    let digits: Vec<&str> = number.bytes().filter(u8::is_ascii_digit).map(|b| SMALL[usize::from(b - b'0')]).collect();
    let mut out = String::new();
    for (i, word) in digits.iter().enumerate() {
        if i > 0 {
            let left = digits.len() - i;
            let pause = left >= 3 && (left == 4 || (left % 3 == 1 && left > 4));
            out.push_str(if pause { ", " } else { " " });
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::words::tokens;

    #[test]
    fn words_and_figures_are_read_alike() {
        assert_eq!(digits(&tokens("five five five oh one double nine")), "5550199");
        assert_eq!(digits(&tokens("555-0199.")), "5550199");
        assert_eq!(digits(&tokens("it's forty two, seven")), "427");
        assert_eq!(digits(&tokens("hello")), "");
    }

    #[test]
    fn ordinals_go_both_ways() {
        for n in 1..=31 {
            let words = tokens(&ordinal(n));
            assert_eq!(read_ordinal(&words), Some((n, words.len())), "{n}");
        }
        assert_eq!(read_ordinal(&tokens("24th")), Some((24, 1)));
    }

    #[test]
    fn cardinals_go_both_ways() {
        for n in 0..100 {
            let words = tokens(&cardinal(n));
            assert_eq!(read_cardinal(&words), Some((n, words.len())), "{n}");
        }
    }

    #[test]
    fn telephone_numbers_are_spelled_in_groups() {
        assert_eq!(spell("2125550199"), "two one two, five five five, zero one nine nine");
    }
}
