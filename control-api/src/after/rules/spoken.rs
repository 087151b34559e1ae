//! Spoken forms: "john dot smith at example dot com", "five five five, oh one two three".

/// The e-mail address in a text, written or spoken; lower case.
pub(crate) fn email(text: &str) -> Option<String> {
    written(text).or_else(|| said(text)).filter(|address| crate::mail::is_address(address))
}

fn written(text: &str) -> Option<String> {
    let strip = |c: char| !c.is_ascii_alphanumeric();
    text.split_whitespace()
        .map(|word| word.trim_matches(strip).to_lowercase())
        .find(|word| word.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.')))
}

/// Words that come before an address and are no part of it.
const LEAD: &[&str] = &[
    "is", "it's", "its", "email", "e-mail", "mail", "address", "at", "to", "me", "my", "the", "and", "so", "yes",
    "yeah", "sure", "okay", "ok", "um", "uh", "that's", "reach", "on", "write", "send", "be", "would", "as", "you",
    "can", "please", "sorry", "no", "not", "wait", "actually", "said", "correct", "have", "got", "use", "using", "or",
    "it",
];

fn said(text: &str) -> Option<String> {
    let words = super::words(text);
    // Each "at" may be the sign; the right one has "dot" and a domain behind it.
    let signs = words.iter().enumerate().filter(|(_, word)| *word == "at").map(|(at, _)| at);
    signs.into_iter().find_map(|at| {
        let host = host(&words[at + 1..])?;
        let user = user(&words[..at])?;
        Some(format!("{user}@{host}"))
    })
}

fn host(words: &[String]) -> Option<String> {
    let mut host = String::new();
    let mut dotted = false;
    for word in words.iter().take(12) {
        match word.as_str() {
            "dot" | "point" if !host.is_empty() && !host.ends_with('.') => host.push('.'),
            "dash" | "hyphen" if !host.is_empty() => host.push('-'),
            // Behind the dot comes one word: what follows is the rest of the sentence.
            word if host.ends_with('.') => {
                host.push_str(&letters(word));
                dotted = true;
            }
            _ if dotted => break,
            word => host.push_str(&letters(word)),
        }
    }
    (dotted && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')).then_some(host)
}

fn user(words: &[String]) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for word in words.iter().rev().take(40) {
        let part = match word.as_str() {
            "dot" | "point" => ".".to_owned(),
            "underscore" => "_".to_owned(),
            "dash" | "hyphen" | "minus" => "-".to_owned(),
            "plus" => "+".to_owned(),
            word if LEAD.contains(&word) => break,
            word => letters(word),
        };
        parts.push(part);
    }
    parts.reverse();
    let user: String = parts.concat();
    let user = user.trim_matches(['.', '-', '_', '+']).to_owned();
    (!user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+".contains(&b))).then_some(user)
}

/// A word as it is written in an address: digits by their sign.
fn letters(word: &str) -> String {
    match digit(word) {
        // A single "o" was spelled.
        Some(digit) if word != "o" => digit.to_string(),
        _ => word.to_owned(),
    }
}

fn digit(word: &str) -> Option<char> {
    Some(match word {
        "zero" | "oh" | "o" => '0',
        "one" => '1',
        "two" => '2',
        "three" => '3',
        "four" => '4',
        "five" => '5',
        "six" => '6',
        "seven" => '7',
        "eight" => '8',
        "nine" => '9',
        word if word.len() == 1 => word.chars().next().filter(char::is_ascii_digit)?,
        _ => return None,
    })
}

/// The longest telephone number in a text, 7 to 15 digits, with its `+` if one was said.
pub(crate) fn phone(text: &str) -> Option<String> {
    let mut found: Vec<String> = Vec::new();
    let mut run = String::new();
    let mut times = 1;
    let normal = text.replace(['(', ')', '-', '.', '/'], " ").replace('+', " plus ");
    for word in super::words(&normal) {
        let digits = match word.as_str() {
            "plus" if run.is_empty() => {
                run.push('+');
                continue;
            }
            "double" => {
                times = 2;
                continue;
            }
            "triple" => {
                times = 3;
                continue;
            }
            word if word.bytes().all(|b| b.is_ascii_digit()) => word.to_owned(),
            word => match digit(word) {
                Some(digit) => digit.to_string(),
                None => {
                    found.push(std::mem::take(&mut run));
                    times = 1;
                    continue;
                }
            },
        };
        run.push_str(&digits.repeat(times));
        times = 1;
    }
    found.push(run);
    let count = |number: &String| number.bytes().filter(u8::is_ascii_digit).count();
    found.into_iter().filter(|number| (7..=15).contains(&count(number))).max_by_key(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_written_and_spoken() {
        for (text, expected) in [
            ("you can write to John.Smith@Example.com, thanks", Some("john.smith@example.com")),
            ("my email is john at example dot com", Some("john@example.com")),
            ("it's john dot smith at mail dot example dot co dot uk thank you", Some("john.smith@mail.example.co.uk")),
            ("j o h n underscore nine two at gmail dot com", Some("john_92@gmail.com")),
            ("i am at home at the moment", None),
            ("meet me at ten at example", None),
            ("mary dash jane at my hyphen shop dot net please", Some("mary-jane@my-shop.net")),
        ] {
            assert_eq!(email(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_read_written_and_spoken() {
        for (text, expected) in [
            ("call me at (212) 555-0123 please", Some("2125550123")),
            ("five five five oh one two three", Some("5550123")),
            ("plus one two one two double five five oh one two three", Some("+12125550123")),
            ("+49 30 1234567", Some("+49301234567")),
            ("on the 24 at 10", None),
            ("5550123456", Some("5550123456")),
        ] {
            assert_eq!(phone(text).as_deref(), expected, "{text}");
        }
    }
}
