//! Names that the offline recogniser listens for, and names as people give them.

/// Common first names of both halves of the population.
pub(crate) const FIRST: [&str; 15] = [
    "john", "mary", "david", "susan", "james", "linda", "robert", "sarah", "michael", "karen", "thomas", "anna",
    "peter", "emily", "daniel",
];
/// Common family names.
pub(crate) const LAST: [&str; 15] = [
    "smith", "johnson", "brown", "taylor", "miller", "wilson", "anderson", "thompson", "walker", "harris", "clark",
    "lewis", "young", "baker", "carter",
];
const LEADS: [&str; 8] = ["my name is", "the name is", "name is", "this is", "it's", "it is", "i'm", "i am"];
const TAILS: [&str; 4] = ["speaking", "here", "please", "calling"];

/// The name in what was said, with capitals; `None` if there is none.
pub(crate) fn read(words: &[String]) -> Option<String> {
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    for lead in LEADS {
        let lead: Vec<&str> = lead.split(' ').collect();
        if let Some(at) = words.windows(lead.len()).position(|w| w == lead) {
            words.drain(..at + lead.len());
            break;
        }
    }
    while let Some(first) = words.first()
        && ["yes", "yeah", "sure", "hi", "hello", "um", "uh", "er", "okay", "well"].contains(first)
    {
        words.remove(0);
    }
    while let Some(last) = words.last()
        && TAILS.contains(last)
    {
        words.pop();
    }
    if words.is_empty() || words.iter().all(|w| w.bytes().all(|b| b.is_ascii_digit())) {
        return None;
    }
    words.truncate(4);
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|c| c.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
    };
    Some(words.into_iter().map(capital).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::words::tokens;

    #[test]
    fn a_name_is_taken_out_of_its_sentence() {
        for (text, want) in [
            ("my name is John Smith", Some("John Smith")),
            ("yes, hello, this is Ay\u{15f}e speaking.", Some("Ay\u{15f}e")),
            ("john smith", Some("John Smith")),
            ("it's Mary Ann O'Brien please", Some("Mary Ann O'brien")),
            ("um", None),
            ("1 2", None),
        ] {
            assert_eq!(read(&tokens(text)).as_deref(), want, "{text}");
        }
    }
}
