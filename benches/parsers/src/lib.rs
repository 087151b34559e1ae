//! SIP messages made from a number, each with some twists that textbook messages lack; what every parser read in them.

mod corpus;
mod reading;
mod twist;

pub use corpus::message;
pub use reading::{FIELDS, Peer, Reading, ours};
pub use twist::{Part, TWISTS, Twist};

/// Numbers that are the same in every run (splitmix64).
#[derive(Debug, Clone)]
pub struct Lot(pub u64);

impl Lot {
    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % count.max(1) as u64) as usize
    }

    /// One of them.
    pub fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}
