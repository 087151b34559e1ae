//! Signed caller ids: STIR (RFC 8224, 8225, 8226) and SHAKEN (RFC 8588), as plain data in and out.
//!
//! Verifying has two steps, because between them somebody must fetch a certificate: [`Token::read`] judges all that the INVITE
//! itself says, [`Token::verify`] the signature with the chain that [`Token::url`] led to. The clock and the randomness are handed in.
//!
//! Not done: PASSporTs other than `shaken` and the plain one (`div`, `rcd`, `rph` are passed over as if they were not there), lists of
//! revoked certificates, and a memory of tokens that were seen: within the freshness a token may be shown again for the same number.

mod authority;
mod chain;
mod date;
mod passport;
mod sign;
#[cfg(test)]
mod tests;
mod token;

pub use chain::{Anchors, NoAnchors};
pub use date::{http_date, parse_date};
pub use passport::{Attestation, Party};
pub use sign::{NoSigner, Signer, Statement};
pub use token::{Expected, Token, Verdict};

use crate::refusal::Refusal;

/// Why a signed caller id does not hold, or is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No Identity header that we could judge.
    #[error("the caller id is not signed")]
    Missing,
    /// Header, token or claims are not what RFC 8224 and RFC 8225 ask for.
    #[error("the Identity header is malformed: {0}")]
    Malformed(&'static str),
    /// The token was made for another caller.
    #[error("the token names another caller")]
    OtherCaller,
    /// The token was made for a call to somebody else.
    #[error("the token was made for a call to somebody else")]
    OtherCallee,
    /// Too old, or from the future.
    #[error("the token is not fresh")]
    Stale,
    /// The certificate could not be fetched.
    #[error("the certificate cannot be fetched")]
    Unreachable,
    /// The certificate does not lead to an anchor of ours, is out of date, or holds no key for ES256.
    #[error("the certificate is not one that is trusted")]
    Untrusted,
    /// The certificate is for other numbers.
    #[error("the certificate is for other numbers")]
    NotItsNumber,
    /// Somebody else signed, or something was changed.
    #[error("the signature does not fit")]
    Signature,
    /// The signature holds; the signer says less of the caller than is wanted.
    #[error("the signer does not vouch enough for the caller")]
    TooWeak,
}

impl Fault {
    /// The refusal of RFC 8224 §6.2.2. An attestation that is too low has no status of its own there.
    pub fn refusal(self) -> Refusal {
        match self {
            Fault::Missing => Refusal::new(428),
            Fault::Unreachable => Refusal::new(436),
            Fault::Untrusted | Fault::NotItsNumber => Refusal::new(437),
            Fault::Malformed(_) | Fault::OtherCaller | Fault::OtherCallee | Fault::Signature => Refusal::new(438),
            Fault::Stale => Refusal::because(403, "Stale Date"),
            Fault::TooWeak => Refusal::because(403, "Attestation Too Low"),
        }
    }
}
