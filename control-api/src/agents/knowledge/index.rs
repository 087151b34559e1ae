//! Ranks passages by BM25 (Robertson and Zaragoza 2009, k1 = 1.2, b = 0.75) in memory.
//!
//! A score is divided by what a passage of average length would get that has each term of the question once, and cut at 1: 1 means
//! that the passage speaks of everything that was asked, so that `min_score` means the same in every collection.

use std::collections::{BTreeMap, HashMap};

use super::passages::terms;

const K1: f64 = 1.2;
const B: f64 = 0.75;

/// A passage as it is found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// Which passage, as it was added.
    pub(crate) passage: usize,
    /// Above 0, at most 1.
    pub(crate) score: f64,
}

/// The passages of one agent.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// Term → passages that have it, with how often.
    postings: HashMap<String, Vec<(usize, u32)>>,
    /// Terms in each passage.
    lengths: Vec<u32>,
}

impl Index {
    /// Adds a passage by its terms; they are numbered from 0.
    pub(crate) fn add(&mut self, terms: &BTreeMap<String, u32>) {
        let passage = self.lengths.len();
        self.lengths.push(terms.values().sum());
        for (term, count) in terms {
            self.postings.entry(term.clone()).or_default().push((passage, *count));
        }
    }

    /// The best passages for a question, best first; equals stay in the order in which they were added.
    pub(crate) fn search(&self, question: &str, top: usize, min_score: f64) -> Vec<Found> {
        let all = self.lengths.len() as f64;
        let average = self.lengths.iter().map(|length| f64::from(*length)).sum::<f64>() / all.max(1.0);
        let rarity = |having: usize| {
            let having = having as f64;
            (1.0 + (all - having + 0.5) / (having + 0.5)).ln()
        };
        let mut wanted = 0.0;
        let mut scores: BTreeMap<usize, f64> = BTreeMap::new();
        for term in terms(question).into_keys() {
            let postings = self.postings.get(&term).map_or(&[][..], Vec::as_slice);
            let rarity = rarity(postings.len());
            wanted += rarity;
            for (passage, count) in postings {
                let count = f64::from(*count);
                let length = f64::from(self.lengths[*passage]) / average.max(1.0);
                let weight = count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
                *scores.entry(*passage).or_insert(0.0) += rarity * weight;
            }
        }
        let mut found: Vec<Found> = scores
            .into_iter()
            .map(|(passage, score)| Found { passage, score: (score / wanted).min(1.0) })
            .filter(|found| found.score >= min_score)
            .collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(top);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(passages: &[&str]) -> Index {
        let mut index = Index::default();
        passages.iter().for_each(|passage| index.add(&terms(passage)));
        index
    }

    #[test]
    fn the_passage_that_speaks_of_it_comes_first() {
        let index = index(&[
            "We are open Monday to Friday from nine to five.",
            "A cleaning costs ninety dollars. Prices include taxes.",
            "Parking is behind the house. Dogs are welcome.",
        ]);
        let found = index.search("what is the price of a cleaning?", 4, 0.3);
        assert_eq!((found.len(), found[0].passage), (1, 1));
        assert!(found[0].score > 0.8 && found[0].score <= 1.0, "{found:?}");
        assert_eq!(index.search("can i bring my dog", 1, 0.3)[0].passage, 2);
        assert_eq!(index.search("quantum chromodynamics", 4, 0.0), []);
        assert_eq!(index.search("what is it", 4, 0.0), []);
        assert_eq!(Index::default().search("price", 4, 0.0), []);
    }

    #[test]
    fn a_passage_with_half_of_what_was_asked_scores_about_half() {
        let index = index(&["apples pears", "plums grapes", "figs dates"]);
        let half = index.search("apples oranges", 4, 0.0);
        assert!((0.3..0.7).contains(&half[0].score), "{half:?}");
        assert!(index.search("apples oranges", 4, 0.9).is_empty());
        assert_eq!(index.search("apples plums figs", 2, 0.0).len(), 2);
    }
}
