//! Who asks: an API key in `Authorization: Bearer` or `X-API-Key`, and what it may do.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, StatusCode, header, request::Parts},
};

use super::{State, error::ApiError};
use crate::{seal, store::keys::Principal};

/// How long a key is believed without asking the store; also how long a revoked one may live on.
const BELIEVED: Duration = Duration::from_secs(5);

/// Keys seen lately, by hash.
#[derive(Default)]
pub(super) struct KeyCache(Mutex<HashMap<String, (Principal, Instant)>>);

impl KeyCache {
    fn get(&self, hash: &str) -> Option<Principal> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, seen) = keys.get(hash)?;
        (seen.elapsed() < BELIEVED).then(|| principal.clone())
    }

    fn put(&self, hash: String, principal: Principal) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= 4096 {
            keys.retain(|_, (_, seen)| seen.elapsed() < BELIEVED);
        }
        keys.insert(hash, (principal, Instant::now()));
    }
}

/// The caller of an authenticated route.
pub(super) struct Caller(pub(super) Principal);

impl Caller {
    /// Refuses a key without the scope, and names it.
    pub(super) fn needs(&self, scope: &str) -> Result<(), ApiError> {
        if self.0.has(scope) {
            return Ok(());
        }
        let message = format!("the key lacks the scope {scope}");
        Err(ApiError::new(StatusCode::FORBIDDEN, "missing_scope", message).at(scope))
    }
}

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let key = credential(&parts.headers).ok_or_else(ApiError::unauthenticated)?;
        let hash = seal::sha256_hex(key.as_bytes());
        if let Some(principal) = state.keys.get(&hash) {
            return Ok(Self(principal));
        }
        let principal = state.app.store.principal(&hash).await?.ok_or_else(ApiError::unauthenticated)?;
        tracing::debug!(key = %principal.key, tenant = %principal.tenant, "key accepted");
        state.keys.put(hash, principal.clone());
        Ok(Self(principal))
    }
}

fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = || {
        let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    };
    let own = || headers.get("x-api-key")?.to_str().ok();
    bearer().or_else(own).filter(|key| key.starts_with("st_") && key.len() <= 256)
}

/// Whether the peer is this machine. Without a known peer it is not.
pub(super) struct Loopback(pub(super) bool);

impl<S: Sync> FromRequestParts<S> for Loopback {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // A proxy on this machine speaks for others; only a direct request is ours.
        let direct = !parts.headers.contains_key("x-forwarded-for") && !parts.headers.contains_key("forwarded");
        Ok(Self(direct && peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback())))
    }
}
