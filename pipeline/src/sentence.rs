//! Tokens of a model become pieces that can be spoken: the first early, the rest by sentence.

/// Shortest clause that is worth a synthesis of its own, in characters.
const CLAUSE: usize = 24;
/// Longest piece; a model that forgets to punctuate is cut at a space.
const LONGEST: usize = 240;
/// Words that end in a full stop without ending a sentence.
const ABBREVIATIONS: [&str; 12] =
    ["mr.", "mrs.", "ms.", "dr.", "st.", "no.", "e.g.", "i.e.", "vs.", "prof.", "a.m.", "p.m."];

/// Collects tokens until there is a piece to speak.
#[derive(Debug, Default)]
pub struct Sentences {
    text: String,
    spoken: bool,
}

impl Sentences {
    /// Adds a token; returns the pieces that are complete now.
    pub fn push(&mut self, token: &str) -> Vec<String> {
        self.text.push_str(token);
        let mut pieces = Vec::new();
        while let Some(end) = self.end() {
            let rest = self.text.split_off(end);
            let piece = std::mem::replace(&mut self.text, rest);
            let piece = piece.trim();
            if piece.chars().any(char::is_alphanumeric) {
                pieces.push(piece.to_owned());
                self.spoken = true;
            }
        }
        pieces
    }

    /// What is left when the model is done.
    pub fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.text);
        let rest = rest.trim();
        rest.chars().any(char::is_alphanumeric).then(|| rest.to_owned())
    }

    /// Byte position behind the first complete piece. A mark counts only once something follows it, because "3." may
    /// become "3.5" and "Dr." may be no end.
    fn end(&self) -> Option<usize> {
        let mut length = 0;
        for (at, letter) in self.text.char_indices() {
            length += 1;
            let after = at + letter.len_utf8();
            let Some(next) = self.text[after..].chars().next() else { break };
            let stands_alone = next.is_whitespace() || letter == '\n';
            if !stands_alone {
                continue;
            }
            let ends = match letter {
                '.' => !self.is_abbreviation(after),
                '!' | '?' | '…' | '\n' => true,
                ',' | ';' | ':' => !self.spoken && length >= CLAUSE,
                _ => length >= LONGEST,
            };
            if ends {
                return Some(after);
            }
        }
        None
    }

    fn is_abbreviation(&self, end: usize) -> bool {
        let word = self.text[..end].rsplit(char::is_whitespace).next().unwrap_or_default().to_lowercase();
        ABBREVIATIONS.contains(&word.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(tokens: &[&str]) -> Vec<String> {
        let mut sentences = Sentences::default();
        let mut all: Vec<String> = tokens.iter().flat_map(|token| sentences.push(token)).collect();
        all.extend(sentences.finish());
        all
    }

    #[test]
    fn sentences_come_as_they_end() {
        assert_eq!(feed(&["Hel", "lo. How", " are you?", " Fine"]), ["Hello.", "How are you?", "Fine"]);
    }

    #[test]
    fn numbers_and_titles_are_not_ends() {
        assert_eq!(feed(&["It is 3.", "5 euros at Dr. Lee's. Good."]), ["It is 3.5 euros at Dr. Lee's.", "Good."]);
    }

    #[test]
    fn the_first_piece_may_end_at_a_comma() {
        assert_eq!(
            feed(&["Of course, I can look that up for you, and then, if you like, book it."]),
            ["Of course, I can look that up for you,", "and then, if you like, book it."]
        );
    }

    #[test]
    fn marks_alone_are_not_spoken() {
        assert_eq!(feed(&[" ... ", "-- ", "! "]), Vec::<String>::new());
    }

    #[test]
    fn endless_text_is_cut_at_a_space() {
        let text = "word ".repeat(200);
        assert!(feed(&[&text]).iter().all(|piece| piece.chars().count() <= LONGEST + 5));
    }
}
