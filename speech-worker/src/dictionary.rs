//! The pronouncing dictionary of the English model: words to phones.

use std::collections::HashMap;
use std::path::PathBuf;

/// Where Debian's pocketsphinx-en-us puts its model.
const MODEL: &str = "/usr/share/pocketsphinx/model/en-us";

/// The folder of the model; `SIDETONE_SPEECH_MODEL` names another one.
pub(crate) fn model() -> PathBuf {
    std::env::var_os("SIDETONE_SPEECH_MODEL").map_or_else(|| PathBuf::from(MODEL), PathBuf::from)
}

/// Pronunciations by word.
pub(crate) struct Dictionary {
    words: HashMap<Box<str>, Vec<Box<str>>>,
}

impl Dictionary {
    /// Reads the model's dictionary; the error names the file.
    pub(crate) fn load() -> Result<Self, String> {
        let path = model().join("cmudict-en-us.dict");
        let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let acoustic = model().join("en-us").join("mdef");
        if !acoustic.exists() {
            return Err(format!("{} is missing", acoustic.display()));
        }
        Ok(Self::parse(&String::from_utf8_lossy(&text)))
    }

    fn parse(text: &str) -> Self {
        let mut words: HashMap<Box<str>, Vec<Box<str>>> = HashMap::with_capacity(140_000);
        for (word, phones) in text.lines().filter_map(|line| line.split_once(' ')) {
            // "read(2)" is another way to say "read".
            let base = word.find('(').map_or(word, |at| &word[..at]);
            words.entry(base.into()).or_default().push(phones.trim().into());
        }
        Dictionary { words }
    }

    /// How a word is said, most usual first; empty if it is not known.
    pub(crate) fn phones(&self, word: &str) -> &[Box<str>] {
        self.words.get(word).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_pronunciations_join_their_word() {
        let dictionary = Dictionary::parse("read R IY D\nread(2) R EH D\n");
        assert_eq!(dictionary.phones("read").len(), 2);
        assert!(dictionary.phones("sidetone").is_empty());
    }
}
