//! An answer, in words or keys, as a value of the kind that was expected.

use super::LocalTime;
use super::spec::{ExpectSpec, Kind};
use super::state::Value;
use super::{names, numbers, when, words};

/// What an answer turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// A choice among intents, or yes and no.
    Choice(String),
    /// A value.
    Given(Value),
    /// One half of a day and a time.
    Half(when::Spoken),
    /// Nothing of that kind.
    None,
}

/// Fewest and most digits of an answer.
pub(crate) fn digit_range(expect: &ExpectSpec) -> (u8, u8) {
    match expect.kind {
        Kind::Phone => (expect.min.unwrap_or(7), expect.max.unwrap_or(15)),
        _ => (expect.min.unwrap_or(1), expect.max.unwrap_or(32)),
    }
}

/// Understands words.
pub(crate) fn from_words(
    expect: &ExpectSpec,
    heard: &[String],
    raw: &str,
    now: LocalTime,
    before: when::Spoken,
) -> Answer {
    match expect.kind {
        Kind::Intent | Kind::Menu => words::intent(heard, &expect.intents)
            .map(str::to_owned)
            .or_else(|| {
                let key = numbers::digits(heard);
                expect.menu.get(&key).cloned()
            })
            .map_or(Answer::None, Answer::Choice),
        Kind::YesNo => words::yes_no(heard).map_or(Answer::None, yes_no),
        Kind::Digits | Kind::Phone => {
            let digits = numbers::digits(heard);
            let (min, max) = digit_range(expect);
            if (usize::from(min)..=usize::from(max)).contains(&digits.len()) {
                Answer::Given(Value::Digits(digits))
            } else {
                Answer::None
            }
        }
        Kind::DateTime => {
            let spoken = when::parse(heard, now).or(before.day, before.clock);
            match spoken.resolve(now) {
                Some(at) => Answer::Given(Value::At(at)),
                None if spoken.day.is_some() || spoken.clock.is_some() => Answer::Half(spoken),
                None => Answer::None,
            }
        }
        Kind::Name => names::read(heard).map_or(Answer::None, |name| Answer::Given(Value::Text(name))),
        Kind::Email => {
            written_email(raw).or_else(|| email(heard)).map_or(Answer::None, |text| Answer::Given(Value::Text(text)))
        }
        Kind::Free if raw.trim().is_empty() => Answer::None,
        Kind::Free => Answer::Given(Value::Text(raw.trim().chars().take(2000).collect())),
    }
}

/// Understands keys; `#` has done its work already.
pub(crate) fn from_keys(expect: &ExpectSpec, keys: &str, now: LocalTime) -> Answer {
    match expect.kind {
        Kind::Intent | Kind::Menu => expect.menu.get(keys).cloned().map_or(Answer::None, Answer::Choice),
        Kind::YesNo => match keys {
            "1" => yes_no(true),
            "2" => yes_no(false),
            _ => Answer::None,
        },
        Kind::Digits | Kind::Phone => {
            let (min, max) = digit_range(expect);
            if (usize::from(min)..=usize::from(max)).contains(&keys.len()) {
                Answer::Given(Value::Digits(keys.to_owned()))
            } else {
                Answer::None
            }
        }
        Kind::DateTime => {
            let offer = keys.parse::<usize>().ok().and_then(|n| n.checked_sub(1)).filter(|_| keys.len() == 1);
            offer
                .and_then(|n| when::offers(now).get(n).copied())
                .map_or(Answer::None, |at| Answer::Given(Value::At(at)))
        }
        // Keys cannot say these: pressing one goes on without.
        Kind::Name | Kind::Email | Kind::Free => Answer::Given(Value::Text("not given".to_owned())),
    }
}

pub(crate) fn yes_no(yes: bool) -> Answer {
    Answer::Choice(if yes { "yes" } else { "no" }.to_owned())
}

/// An address as a cloud recogniser writes it.
fn written_email(raw: &str) -> Option<String> {
    raw.split_whitespace()
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase())
        .find(|word| word.split_once('@').is_some_and(|(user, domain)| !user.is_empty() && domain.contains('.')))
}

/// "john dot smith at example dot com".
fn email(heard: &[String]) -> Option<String> {
    let mut out = String::new();
    for word in heard {
        match word.as_str() {
            "at" => out.push('@'),
            "dot" | "point" => out.push('.'),
            "dash" | "hyphen" | "minus" => out.push('-'),
            "underscore" => out.push('_'),
            "it's" | "is" | "my" | "email" | "address" => {}
            word => match numbers::read_cardinal(&[word.to_owned()]) {
                Some((n, _)) if n < 10 => out.push_str(&n.to_string()),
                _ => out.push_str(word),
            },
        }
    }
    let (user, domain) = out.split_once('@')?;
    (!user.is_empty() && domain.contains('.') && !domain.contains('@') && !domain.ends_with('.')).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_put_together() {
        for (text, want) in [
            ("john dot smith at example dot com", Some("john.smith@example.com")),
            ("it's j 2 at example dot org", Some("j2@example.org")),
            ("It's Anna.B@example.com.", Some("anna.b@example.com")),
            ("no idea", None),
        ] {
            let heard = words::tokens(text);
            assert_eq!(written_email(text).or_else(|| email(&heard)).as_deref(), want, "{text}");
        }
    }
}
