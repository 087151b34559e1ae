//! Against guessing: ten wrong passwords of one account from one address, then a pause (API §1.1).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Pairs of account and address remembered.
const REMEMBERED: usize = 50_000;

/// An account, and from where it is tried.
type Pair = (String, Option<IpAddr>);

/// Failures of late, of this node: an attacker who meets n nodes gets n times ten guesses, which is still none.
#[derive(Debug, Default)]
pub(crate) struct Lockout(Mutex<HashMap<Pair, (u32, Instant)>>);

impl Lockout {
    /// Seconds to wait, if there were too many failures.
    pub(crate) fn wait_s(&self, account: &str, ip: Option<IpAddr>, now: Instant) -> Option<u32> {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, since) = failures.get(&(account.to_owned(), ip))?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(*since)).filter(|left| !left.is_zero())?;
        (*count >= FAILURES).then(|| u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(1))
    }

    /// Notes a failure.
    pub(crate) fn failed(&self, account: &str, ip: Option<IpAddr>, now: Instant) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= REMEMBERED {
            failures.retain(|_, (_, since)| now.saturating_duration_since(*since) < WINDOW);
        }
        let entry = failures.entry((account.to_owned(), ip)).or_insert((0, now));
        if now.saturating_duration_since(entry.1) >= WINDOW {
            *entry = (0, now);
        }
        entry.0 += 1;
    }

    /// Forgets, after a success.
    pub(crate) fn forget(&self, account: &str, ip: Option<IpAddr>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(account.to_owned(), ip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_lock_that_account_for_that_address_for_a_quarter_of_an_hour() {
        let (lockout, start) = (Lockout::default(), Instant::now());
        let here = Some("192.0.2.1".parse().unwrap());
        for _ in 0..FAILURES {
            assert_eq!(lockout.wait_s("a@b", here, start), None);
            lockout.failed("a@b", here, start);
        }
        assert_eq!(lockout.wait_s("a@b", here, start), Some(900));
        assert_eq!(lockout.wait_s("a@b", None, start), None);
        assert_eq!(lockout.wait_s("c@b", here, start), None);
        assert_eq!(lockout.wait_s("a@b", here, start + WINDOW), None);
        lockout.failed("a@b", here, start + WINDOW);
        assert_eq!(lockout.wait_s("a@b", here, start + WINDOW), None);
        lockout.forget("a@b", here);
        assert_eq!(lockout.wait_s("a@b", here, start), None);
    }
}
