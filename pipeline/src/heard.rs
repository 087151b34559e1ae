//! The heard-text ledger: which words of a generation had been sent when it ended.
//!
//! It trusts two counters only: samples in front of each piece, as the voice counted them, and samples sent, as the
//! playout counted them.

use std::collections::BTreeMap;

use crate::Gen;

/// Samples in a millisecond.
const PER_MS: u64 = codecs::pcm::RATE as u64 / 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    text: String,
    end_sample: u64,
}

/// The words of the generations that are alive, with their place in the audio.
#[derive(Debug, Default)]
pub struct Heard {
    pieces: BTreeMap<Gen, Vec<Piece>>,
}

impl Heard {
    /// Words of `gen` that end at `end_sample` of its audio.
    pub fn piece(&mut self, r#gen: Gen, text: String, end_sample: u64) {
        self.pieces.entry(r#gen).or_default().push(Piece { text, end_sample });
    }

    /// All words of `gen`, as they were generated.
    #[must_use]
    pub fn generated(&self, r#gen: Gen) -> String {
        join(self.pieces.get(&r#gen).into_iter().flatten().map(|piece| piece.text.as_str()))
    }

    /// The words of `gen` that had been sent after `heard_ms`: whole words only, and of the piece that was cut as
    /// many as its share of the audio says.
    #[must_use]
    pub fn until(&self, r#gen: Gen, heard_ms: u64) -> String {
        let sent = heard_ms * PER_MS;
        let mut begin = 0;
        let mut heard = Vec::new();
        for piece in self.pieces.get(&r#gen).into_iter().flatten() {
            if piece.end_sample <= sent {
                heard.push(piece.text.as_str());
            } else {
                if sent > begin {
                    heard.push(share(&piece.text, sent - begin, piece.end_sample - begin));
                }
                break;
            }
            begin = piece.end_sample;
        }
        join(heard.into_iter())
    }

    /// How far back the word began that was sounding after `heard_ms`: what to repeat when speech resumes.
    #[must_use]
    pub fn into_word_ms(&self, r#gen: Gen, heard_ms: u64) -> u32 {
        let sent = heard_ms * PER_MS;
        let mut begin = 0;
        for piece in self.pieces.get(&r#gen).into_iter().flatten() {
            if piece.end_sample > sent {
                let chars = piece.text.chars().count().max(1) as u64;
                let per_char = (piece.end_sample - begin) / chars;
                let cut = (sent.saturating_sub(begin)).checked_div(per_char).unwrap_or(0) as usize;
                let into = piece.text.chars().take(cut).collect::<Vec<_>>();
                let since = into.iter().rev().take_while(|letter| !letter.is_whitespace()).count() as u64;
                return u32::try_from(since * per_char / PER_MS).unwrap_or(0).min(600);
            }
            begin = piece.end_sample;
        }
        0
    }

    /// Forgets a generation.
    pub fn forget(&mut self, r#gen: Gen) {
        self.pieces.remove(&r#gen);
    }
}

fn share(text: &str, sent: u64, of: u64) -> &str {
    let chars = text.chars().count() as u64;
    let upto = (chars * sent / of.max(1)) as usize;
    let cut = text.char_indices().nth(upto).map_or(text.len(), |(at, _)| at);
    if cut == text.len() || text[cut..].starts_with(char::is_whitespace) {
        return text[..cut].trim_end();
    }
    text[..cut].rfind(char::is_whitespace).map_or("", |end| text[..end].trim_end())
}

fn join<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let mut whole = String::new();
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        if !whole.is_empty() {
            whole.push(' ');
        }
        whole.push_str(part);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Heard {
        let mut heard = Heard::default();
        heard.piece(7, "Thank you for calling.".into(), 8000);
        heard.piece(7, "How can I help you today?".into(), 18_000);
        heard
    }

    #[test]
    fn nothing_sent_is_nothing_heard() {
        assert_eq!(ledger().until(7, 0), "");
    }

    #[test]
    fn a_piece_that_was_cut_counts_by_whole_words() {
        assert_eq!(ledger().until(7, 1000), "Thank you for calling.");
        assert_eq!(ledger().until(7, 1600), "Thank you for calling. How can I");
        assert_eq!(ledger().until(7, 1650), "Thank you for calling. How can I");
    }

    #[test]
    fn all_sent_is_all_heard() {
        assert_eq!(ledger().until(7, 2250), ledger().generated(7));
        assert_eq!(ledger().until(7, 99_999), "Thank you for calling. How can I help you today?");
    }

    #[test]
    fn a_resumed_word_begins_again() {
        let back = ledger().into_word_ms(7, 1600);
        assert!(back <= 250, "{back}");
        assert_eq!(ledger().into_word_ms(9, 1600), 0);
    }

    #[test]
    fn letters_of_several_bytes_are_cut_between() {
        let mut heard = Heard::default();
        heard.piece(1, "Grüße aus Köln".into(), 8000);
        for ms in 0..1100 {
            let _ = heard.until(1, ms);
        }
        assert_eq!(heard.until(1, 1000), "Grüße aus Köln");
    }
}
