//! What can go wrong between us and a vendor, how long we wait, and when we try again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use serde::Deserialize;

/// Why an answer or a connection failed, and whether to try again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Fault {
    /// For the log; never holds a key.
    pub reason: String,
    /// Whether another attempt may help: not for credentials, credit or a request that the vendor calls wrong.
    pub retry: bool,
    /// The vendor's own wish how long to wait.
    pub after: Option<Duration>,
}

impl Fault {
    /// One that may pass by itself.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: true, after: None }
    }

    /// One that only a person can mend.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry: false, after: None }
    }

    /// A refused HTTP request or WebSocket handshake; `body` is kept short for the log.
    pub fn refused(status: u16, body: &str, after: Option<Duration>) -> Self {
        // Credit that has run out comes as 429 at OpenAI: waiting does not fill it.
        let broke = body.contains("insufficient_quota") || body.contains("quota_exceeded");
        let retry = !broke && (matches!(status, 408 | 409 | 425 | 429) || status >= 500);
        let body: String = body.chars().filter(|c| !c.is_control()).take(200).collect();
        Self { reason: format!("refused with {status}: {body}"), retry, after }
    }

    /// A WebSocket that the vendor closed. 1008 is a policy violation: a wrong request or key, which stays wrong.
    pub fn closed(code: Option<u16>, reason: &str) -> Self {
        let code_text = code.map_or_else(|| "no code".into(), |code| code.to_string());
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(200).collect();
        Self {
            reason: format!("closed with {code_text}: {reason}"),
            retry: !matches!(code, Some(1002 | 1003 | 1007..=1010)),
            after: None,
        }
    }
}

/// How long a link waits before it calls something lost; a part of each provider's settings.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// To reach the vendor, TLS and handshake included.
    pub connect_ms: u64,
    /// From a request to the first message of its answer.
    pub first_byte_ms: u64,
    /// Between two messages of an answer.
    pub stall_ms: u64,
    /// A socket on which nothing comes for so long is asked whether it lives; after twice this it does not.
    pub silence_ms: u64,
    /// Failed connections in a row before the link reports that it is down.
    pub attempts: u32,
    /// First pause before another attempt; it doubles, with jitter, up to sixteen times this.
    pub backoff_ms: u64,
    /// Audio that is kept for a recogniser that has to be connected again. Vendors take audio
    /// little faster than real time, so that a long replay would stay late for the rest of the call.
    pub replay_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_ms: 4000,
            first_byte_ms: 8000,
            stall_ms: 5000,
            silence_ms: 10_000,
            attempts: 4,
            backoff_ms: 250,
            replay_ms: 5000,
        }
    }
}

impl Limits {
    /// Pause before attempt number `failures` + 1: doubling, capped, with a random half.
    pub fn backoff(&self, failures: u32, wish: Option<Duration>) -> Duration {
        let full = self.backoff_ms.saturating_mul(1 << failures.saturating_sub(1).min(4));
        // A hasher's random keys are randomness enough to keep calls from reconnecting in step.
        let jitter = RandomState::new().hash_one(failures) % (full / 2 + 1);
        let pause = Duration::from_millis(full / 2 + jitter);
        // A vendor that wants minutes is not waited for; the call cannot.
        wish.filter(|wish| *wish <= Duration::from_secs(10)).map_or(pause, |wish| wish.max(pause))
    }

    pub(crate) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(crate) fn first_byte(&self) -> Duration {
        Duration::from_millis(self.first_byte_ms)
    }

    pub(crate) fn silence(&self) -> Duration {
        Duration::from_millis(self.silence_ms)
    }

    pub(crate) fn stall(&self) -> Duration {
        Duration::from_millis(self.stall_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_and_is_capped() {
        let limits = Limits { backoff_ms: 100, ..Limits::default() };
        for failures in 1..40 {
            let full = 100 * (1 << (failures - 1).min(4));
            let pause = limits.backoff(failures, None).as_millis();
            assert!(pause >= full / 2 && pause <= full, "{failures}: {pause}");
        }
    }

    #[test]
    fn a_short_wish_of_the_vendor_is_kept_and_a_long_one_ignored() {
        let limits = Limits::default();
        assert_eq!(limits.backoff(1, Some(Duration::from_secs(2))), Duration::from_secs(2));
        assert!(limits.backoff(1, Some(Duration::from_secs(120))) < Duration::from_secs(1));
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(Fault::refused(429, "rate_limit_exceeded", None).retry);
        assert!(Fault::refused(503, "", None).retry);
        assert!(!Fault::refused(429, r#"{"error":{"code":"insufficient_quota"}}"#, None).retry);
        assert!(!Fault::refused(401, "", None).retry);
        assert!(Fault::closed(Some(1011), "NET-0001").retry);
        assert!(Fault::closed(None, "").retry);
        assert!(!Fault::closed(Some(1008), "DATA-0000").retry);
    }
}
