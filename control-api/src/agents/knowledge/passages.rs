//! Documents cut into passages that answer a question by themselves, and a passage's terms.

use std::collections::BTreeMap;

/// A passage has about so many characters: a few spoken sentences.
const USUAL: usize = 700;
/// And never more than so many.
const LONGEST: usize = 1_200;

/// Cuts at paragraphs; short ones are joined, long ones cut at sentences. A heading stays with what follows it.
pub(crate) fn passages(text: &str) -> Vec<String> {
    let (mut passages, mut open) = (Vec::new(), String::new());
    for paragraph in text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" ")) {
        if paragraph.is_empty() {
            continue;
        }
        for piece in pieces(&paragraph) {
            if !open.is_empty() && open.chars().count() + piece.chars().count() > USUAL {
                passages.push(std::mem::take(&mut open));
            }
            if !open.is_empty() {
                open.push('\n');
            }
            open.push_str(piece);
        }
    }
    if !open.is_empty() {
        passages.push(open);
    }
    passages
}

/// A paragraph in pieces of at most [`LONGEST`] characters, cut behind sentences, else behind words, else anywhere.
fn pieces(paragraph: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), paragraph);
    while let Some((limit, _)) = rest.char_indices().nth(LONGEST) {
        let window = &rest[..limit];
        let sentence = window.rmatch_indices([' ']).find(|(at, _)| window[..*at].ends_with(['.', '!', '?', ';']));
        let at = sentence.or_else(|| window.rmatch_indices([' ']).next()).map_or(limit, |(at, _)| at);
        let at = if at == 0 { limit } else { at };
        pieces.push(rest[..at].trim());
        rest = rest[at..].trim_start();
    }
    if !rest.is_empty() {
        pieces.push(rest);
    }
    pieces
}

/// Words that are in every text and tell nothing.
const EMPTY: &[&str] = &[
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "could", "did", "do", "does", "for", "from", "had",
    "has", "have", "he", "her", "his", "how", "i", "if", "in", "is", "it", "its", "me", "my", "of", "on", "or", "our",
    "please", "she", "so", "tell", "that", "the", "their", "them", "there", "they", "this", "to", "us", "want", "was",
    "we", "were", "what", "when", "where", "which", "who", "will", "with", "would", "you", "your",
];

/// The terms of a text with how often each stands in it: lower case, endings of number and tense cut, empty words left out.
pub(crate) fn terms(text: &str) -> BTreeMap<String, u32> {
    let mut terms = BTreeMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()) {
        let word = word.to_lowercase().replace("'s", "").replace('\'', "");
        if word.is_empty() || EMPTY.contains(&word.as_str()) {
            continue;
        }
        *terms.entry(stem(&word).to_owned()).or_insert(0) += 1;
    }
    terms
}

/// Cuts the commonest English endings, so that "prices" finds "price" and "opening" finds "opens".
fn stem(word: &str) -> &str {
    const ENDINGS: [&str; 5] = ["ing", "ed", "es", "s", "e"];
    if !word.is_ascii() || word.bytes().any(|b| b.is_ascii_digit()) || word.ends_with("ss") {
        return word;
    }
    let cut = ENDINGS.iter().find_map(|ending| word.strip_suffix(ending)).filter(|stem| stem.len() >= 3);
    cut.map_or(word, |stem| stem.strip_suffix('e').filter(|shorter| shorter.len() >= 3).unwrap_or(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_paragraphs_are_joined_and_long_ones_cut_at_sentences() {
        assert_eq!(passages("Hours\n\nWe open at\nnine.\n\n\n"), ["Hours\nWe open at nine."]);
        let long = "This sentence is about prices. ".repeat(200);
        let cut = passages(&long);
        assert!(
            cut.len() > 4 && cut.iter().all(|passage| passage.chars().count() <= LONGEST && passage.ends_with('.'))
        );
        let none: String = "x".repeat(5_000);
        assert_eq!(passages(&none).concat(), none);
        assert_eq!(passages(&"ü".repeat(3_000)).concat().chars().count(), 3_000);
        assert!(passages(" \n\n ").is_empty());
    }

    #[test]
    fn forms_of_a_word_are_one_term() {
        let of = |text: &str| terms(text).into_keys().collect::<Vec<_>>();
        assert_eq!(of("prices"), of("the price"));
        assert_eq!(of("opening"), of("opens"));
        assert_eq!(of("booked"), of("book's"));
        assert_eq!(of("What is it?"), Vec::<String>::new());
        assert_eq!(terms("Grüße Grüße").get("grüße"), Some(&2));
        assert_eq!(of("glass 2026s"), ["2026s", "glass"]);
    }
}
