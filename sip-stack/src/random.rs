//! Tags and branches: unguessable without the seed, the same for the same seed.

use md5::{Digest, Md5};

/// MD5 in counter mode over a secret seed. From the tags a stranger sees, the next one cannot be computed.
#[derive(Debug)]
pub(crate) struct Random {
    seed: u64,
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random { seed, counter: 0 }
    }

    /// Sixty-four fresh bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.counter += 1;
        self.of(&[&self.counter.to_be_bytes()])
    }

    /// The same bits for the same parts: the To tag of an answer that keeps no state (RFC 3261 §8.2.7).
    pub(crate) fn of(&self, parts: &[&[u8]]) -> u64 {
        let mut hash = Md5::new();
        hash.update(self.seed.to_be_bytes());
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut bits = [0u8; 8];
        bits.copy_from_slice(&digest[..8]);
        u64::from_be_bytes(bits)
    }

    pub(crate) fn tag(&mut self) -> String {
        format!("{:016x}", self.next())
    }

    pub(crate) fn branch(&mut self) -> String {
        format!("z9hG4bK{:016x}", self.next())
    }
}
