//! Callers who must show a password: challenged without memory, and proved by the trunk's secret (RFC 7616).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use control_api::StoreDirectory;
use domain::TrunkId;
use sip_stack::auth::{Algorithm, Denied, Secret};
use sip_stack::{Authenticator, Authorization, Invite, Refusal};

/// How long a nonce is good for.
const LIFETIME: Duration = Duration::from_secs(120);

/// Challenges callers and judges what they answer.
pub struct Challenger {
    realm: String,
    /// First the one we prefer: who answers takes the first that it knows (RFC 8760 §2.4).
    algorithms: Vec<Algorithm>,
    authenticator: Mutex<Authenticator>,
}

/// What a caller showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing, or a wrong password.
    Nothing,
    /// The right password for a nonce that is too old or was used before.
    Stale,
    /// This trunk's password.
    Proof(TrunkId),
}

impl Challenger {
    /// With a key of its own; nonces of another run or another node are stale.
    pub fn new(realm: &str, algorithms: Vec<Algorithm>) -> Self {
        let random = || *uuid::Uuid::new_v4().as_bytes();
        let key: Vec<u8> = [random(), random(), random()].concat();
        let key = std::array::from_fn(|at| key[at] ^ key[at + 16]);
        let authenticator = Mutex::new(Authenticator::new(Instant::now(), key, LIFETIME));
        Self { realm: realm.to_owned(), algorithms, authenticator }
    }

    /// Judges the credentials of an INVITE.
    pub async fn judge(&self, directory: &StoreDirectory, invite: &Invite) -> Shown {
        let Some(answer) = Authorization::of(&invite.headers, &self.realm) else { return Shown::Nothing };
        if !self.algorithms.contains(&answer.algorithm) {
            return Shown::Nothing;
        }
        let (now, source) = (Instant::now(), invite.source.ip());
        let mut shown = Shown::Nothing;
        for (trunk, password) in directory.logins(&answer.username).await {
            let mut authenticator = self.authenticator.lock().unwrap_or_else(PoisonError::into_inner);
            match authenticator.verify(now, source, "INVITE", &answer, Secret::Password(&password)) {
                Ok(()) => return Shown::Proof(trunk),
                Err(Denied::Stale | Denied::Replayed) => shown = Shown::Stale,
                Err(Denied::Wrong) => {}
            }
        }
        shown
    }

    /// 401, with the sums that we take.
    pub fn refusal(&self, invite: &Invite, shown: Shown) -> Refusal {
        let mut authenticator = self.authenticator.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = shown == Shown::Stale;
        let all = authenticator.challenge(Instant::now(), &self.realm, invite.source.ip(), stale);
        let asked = |wanted: &Algorithm| all.iter().find(|challenge| challenge.algorithm == *wanted).cloned();
        Refusal::unauthorized(self.algorithms.iter().filter_map(asked).collect())
    }
}
