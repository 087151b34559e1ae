//! Rate limits: a token bucket per credential, and per address for requests without one (API §0).

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use domain::{ApiKeyId, SessionId};
use tokio::time::Instant;

use super::actor::{Actor, Who};

const MINUTE: Duration = Duration::from_secs(60);
/// Requests a minute from one address without a credential.
pub(super) const WITHOUT_CREDENTIAL: u32 = 100;
/// Requests a minute to `auth/*` from one address.
pub(super) const AUTH: u32 = 10;
/// Buckets kept; full ones are forgotten first, since a fresh one is full too.
const BUCKETS: usize = 65_536;

/// Who shares a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// Requests with one key.
    Key(ApiKeyId),
    /// Requests of one sign-in.
    Session(SessionId),
    /// Requests to `auth/*` about one account, by a hash of its address.
    Account(u64),
    /// Requests without a credential, by IPv4 address or IPv6 /64.
    Address(IpAddr),
    /// Requests to `auth/*`.
    Auth(IpAddr),
    /// Requests whose address nobody knows.
    Unknown,
}

impl Source {
    pub(super) fn of(actor: &Actor) -> Self {
        match actor.who {
            Who::Key(key) => Self::Key(key),
            Who::User(_, session) => Self::Session(session),
            Who::System(_) => Self::Unknown,
        }
    }

    pub(super) fn address(ip: Option<IpAddr>) -> Self {
        ip.map_or(Self::Unknown, |ip| Self::Address(subscriber(ip)))
    }

    pub(super) fn account(email_key: &str) -> Self {
        let mut hasher = std::hash::DefaultHasher::new();
        email_key.hash(&mut hasher);
        Self::Account(std::hash::Hasher::finish(&hasher))
    }

    pub(super) fn auth(ip: Option<IpAddr>) -> Self {
        ip.map_or(Self::Unknown, |ip| Self::Auth(subscriber(ip)))
    }
}

/// One subscriber has a whole IPv6 /64 to change addresses in.
fn subscriber(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::from((u128::from(ip) >> 64 << 64).to_be_bytes()),
    }
}

/// Where a source stands after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Whether the request may pass.
    pub(super) passes: bool,
    limit: u32,
    remaining: u32,
    /// Until the next request would pass, or until the bucket is full again.
    wait: Duration,
}

impl Standing {
    /// Whole seconds after which a refused client may try again.
    pub(super) fn retry_after_s(self) -> u32 {
        u32::try_from(self.wait.as_millis().div_ceil(1000)).unwrap_or(60)
    }

    /// `RateLimit-Limit`, `-Remaining` and `-Reset`.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        for (name, value) in [
            ("ratelimit-limit", self.limit),
            ("ratelimit-remaining", self.remaining),
            ("ratelimit-reset", self.retry_after_s()),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

struct Bucket {
    /// Parts of a request; a minute brings `limit` whole ones.
    tokens: f64,
    filled: Instant,
}

/// All buckets of a node.
#[derive(Default)]
pub(super) struct Limiter(Mutex<HashMap<Source, Bucket>>);

impl Limiter {
    /// Takes one request out of a bucket of `limit` a minute, if there is one.
    pub(super) fn take(&self, source: Source, limit: u32, now: Instant) -> Standing {
        let capacity = f64::from(limit.max(1));
        let per_second = capacity / MINUTE.as_secs_f64();
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS {
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled) < MINUTE);
        }
        let bucket = buckets.entry(source).or_insert(Bucket { tokens: capacity, filled: now });
        let gone = now.saturating_duration_since(bucket.filled);
        bucket.tokens = (bucket.tokens + gone.as_secs_f64() * per_second).min(capacity);
        bucket.filled = now;
        let passes = bucket.tokens >= 1.0;
        if passes {
            bucket.tokens -= 1.0;
        }
        let missing = if passes { capacity - bucket.tokens } else { 1.0 - bucket.tokens };
        Standing { passes, limit, remaining: bucket.tokens as u32, wait: Duration::from_secs_f64(missing / per_second) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Source = Source::Address(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    #[test]
    fn a_minute_holds_its_limit_and_fills_evenly() {
        let (limiter, start) = (Limiter::default(), Instant::now());
        for n in 0..100 {
            let standing = limiter.take(HERE, 100, start);
            assert_eq!((standing.passes, standing.remaining), (true, 99 - n));
        }
        let refused = limiter.take(HERE, 100, start);
        assert_eq!((refused.passes, refused.remaining, refused.retry_after_s()), (false, 0, 1));
        assert!(limiter.take(HERE, 100, start + Duration::from_millis(601)).passes);
        assert!(!limiter.take(HERE, 100, start + Duration::from_millis(602)).passes);
        assert!((0..100).all(|_| limiter.take(HERE, 100, start + 2 * MINUTE).passes));
    }

    #[test]
    fn others_are_served_and_a_64_is_one_source() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        let of = |text: &str| Source::address(Some(text.parse().unwrap()));
        assert!(limiter.take(of("192.0.2.1"), 1, now).passes);
        assert!(!limiter.take(of("192.0.2.1"), 1, now).passes);
        assert!(limiter.take(of("192.0.2.2"), 1, now).passes);
        assert!(limiter.take(of("2001:db8::1"), 1, now).passes);
        assert!(!limiter.take(of("2001:db8::2"), 1, now).passes);
        assert!(limiter.take(of("2001:db8:0:1::1"), 1, now).passes);
    }
}
