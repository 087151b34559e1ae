//! How the caller sounds, by a small list of words that people use on the telephone. Negation turns a word around, except that
//! nobody means thanks badly: "no thank you" is polite.

const GOOD: &[(&str, f64)] = &[
    ("thanks", 1.0),
    ("thank", 1.0),
    ("great", 2.0),
    ("good", 1.2),
    ("perfect", 2.5),
    ("excellent", 2.5),
    ("wonderful", 2.5),
    ("lovely", 2.0),
    ("nice", 1.5),
    ("happy", 2.0),
    ("glad", 1.8),
    ("pleased", 2.0),
    ("love", 2.0),
    ("awesome", 2.5),
    ("fantastic", 2.5),
    ("amazing", 2.5),
    ("helpful", 2.0),
    ("appreciate", 1.8),
    ("brilliant", 2.2),
    ("super", 1.5),
    ("works", 0.8),
    ("fine", 0.6),
    ("easy", 1.0),
    ("best", 1.5),
    ("kind", 1.0),
    ("satisfied", 2.0),
];

const BAD: &[(&str, f64)] = &[
    ("bad", 1.8),
    ("terrible", 2.5),
    ("awful", 2.5),
    ("horrible", 2.5),
    ("worst", 2.5),
    ("angry", 2.2),
    ("upset", 2.0),
    ("annoyed", 2.0),
    ("annoying", 2.0),
    ("frustrated", 2.2),
    ("frustrating", 2.2),
    ("disappointed", 2.0),
    ("disappointing", 2.0),
    ("ridiculous", 2.2),
    ("unacceptable", 2.5),
    ("useless", 2.2),
    ("stupid", 2.2),
    ("hate", 2.2),
    ("wrong", 1.2),
    ("problem", 1.0),
    ("problems", 1.0),
    ("broken", 1.5),
    ("complaint", 1.8),
    ("complain", 1.8),
    ("refund", 1.0),
    ("cancel", 0.8),
    ("late", 0.8),
    ("slow", 1.0),
    ("rude", 2.2),
    ("waste", 1.8),
    ("unhappy", 2.0),
    ("sick", 0.6),
    ("pain", 0.8),
    ("scam", 2.5),
    ("lawyer", 1.5),
    ("never", 0.4),
    ("fail", 1.2),
    ("failed", 1.2),
    ("worse", 1.8),
    ("confusing", 1.2),
    ("error", 0.8),
];

const NOT: &[&str] =
    &["not", "no", "never", "don't", "doesn't", "didn't", "isn't", "wasn't", "can't", "won't", "hardly", "without"];
const VERY: &[&str] = &["very", "really", "so", "extremely", "absolutely", "totally", "completely", "too"];
const POLITE: &[&str] = &["thanks", "thank", "appreciate"];

/// -1 to 1, of one sentence or many.
pub(super) fn score(text: &str) -> f64 {
    let words: Vec<String> = super::words(text);
    let sum: f64 = words.iter().enumerate().map(|(at, word)| weight(&words, at, word)).sum();
    // Grows quickly at first and never leaves the range, however long somebody talks.
    sum / (sum * sum + 8.0).sqrt()
}

fn weight(words: &[String], at: usize, word: &str) -> f64 {
    let of = |list: &[(&str, f64)]| list.iter().find(|(known, _)| *known == word).map(|(_, weight)| *weight);
    let Some(weight) = of(GOOD).or_else(|| of(BAD).map(|weight| -weight)) else { return 0.0 };
    let before = &words[at.saturating_sub(3)..at];
    let strong = before.last().is_some_and(|word| VERY.contains(&word.as_str()));
    let turned = !POLITE.contains(&word) && before.iter().any(|word| NOT.contains(&word.as_str()));
    // "Not bad" is less good than "good", "not good" less bad than "bad".
    weight * if strong { 1.4 } else { 1.0 } * if turned { -0.5 } else { 1.0 }
}

/// The word for a score.
pub(super) fn word(score: f64) -> &'static str {
    match score {
        s if s >= 0.3 => "positive",
        s if s <= -0.3 => "negative",
        _ => "neutral",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_heard_as_people_mean_them() {
        for (text, expected) in [
            ("that's perfect thank you so much", "positive"),
            ("this is ridiculous i am very angry", "negative"),
            ("that is not good at all, it is terrible", "negative"),
            ("i would like to book an appointment on tuesday", "neutral"),
            ("no thank you that's all", "positive"),
            ("", "neutral"),
        ] {
            assert_eq!(word(score(text)), expected, "{text}: {}", score(text));
        }
        assert!(score("good") > score("not bad") && score("not bad") > 0.0);
        assert!((-1.0..=1.0).contains(&score(&"awful ".repeat(10_000))));
    }
}
