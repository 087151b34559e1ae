//! Secrets at rest and in transit: hashes of what we hand out, seals on what we must be able to read again.

mod aead;
mod hash;
mod token;

pub use aead::{NodeKey, SealError};
pub(crate) use aead::{open, seal};
pub(crate) use hash::{hex, hmac, same, sha256_hex};
pub(crate) use token::{fresh_key, fresh_token};
