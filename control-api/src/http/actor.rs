//! Who asks, and what they may do. A request is authenticated once, at the door; handlers take the [`Actor`] it found.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use domain::{ApiKeyId, TenantId};
use tokio::time::Instant;

use super::{State, envelope::RequestId, error::ApiError};
use crate::{scope::Scopes, seal, store::keys::Principal};

/// How long a key is believed without asking the store; also how long a revoked one may live on.
const BELIEVED: Duration = Duration::from_secs(5);

/// Who a request speaks for.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    /// Whose objects it sees.
    pub(crate) tenant: TenantId,
    /// False for test keys, which see and make test objects only.
    pub(crate) livemode: bool,
    /// What it may do: role ∩ key scopes.
    pub(crate) scopes: Scopes,
    /// Who it is.
    pub(crate) who: Who,
    /// Where the request came from, by the socket.
    pub(crate) ip: Option<IpAddr>,
    /// The request's id.
    pub(crate) request: RequestId,
    /// Requests a minute.
    pub(crate) rate_per_min: u32,
}

/// The holder of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// An API key.
    Key(ApiKeyId),
}

impl Actor {
    /// Refuses a credential without the scope, and names it.
    pub(crate) fn needs(&self, scope: &str) -> Result<(), ApiError> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        let message = format!("this credential lacks the scope {scope}");
        Err(ApiError::new(StatusCode::FORBIDDEN, "missing_scope", message).at(scope))
    }

    pub(crate) fn has(&self, scope: &str) -> bool {
        self.scopes.has(scope)
    }

    /// `key` or `user`, and its id; for the audit log and for `created_by`.
    pub(crate) fn named(&self) -> (&'static str, String) {
        match &self.who {
            Who::Key(id) => ("key", id.to_string()),
        }
    }
}

impl FromRequestParts<State> for Actor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, ApiError> {
        match parts.extensions.get::<Found>() {
            Some(Found(found)) => found.clone(),
            None => Err(ApiError::unauthenticated()),
        }
    }
}

/// What the door found out about a request's credential.
#[derive(Clone)]
pub(super) struct Found(pub(super) Result<Actor, ApiError>);

/// Finds out who asks.
pub(super) async fn authenticate(state: &State, headers: &HeaderMap, ip: Option<IpAddr>, request: RequestId) -> Found {
    let Some(key) = credential(headers) else { return Found(Err(ApiError::unauthenticated())) };
    Found(by_key(state, key, ip, request).await)
}

async fn by_key(state: &State, key: &str, ip: Option<IpAddr>, request: RequestId) -> Result<Actor, ApiError> {
    let hash = seal::sha256_hex(key.as_bytes());
    let principal = match state.keys.get(&hash) {
        Some(principal) => principal,
        None => {
            let principal = state.app.store.principal(&hash).await?.ok_or_else(ApiError::unauthenticated)?;
            tracing::debug!(key = %principal.key, tenant = %principal.tenant, "key accepted");
            let principal = Arc::new(principal);
            state.keys.put(hash, Arc::clone(&principal));
            principal
        }
    };
    let Principal { key, tenant, livemode, scopes, allowed, rate_per_min } = &*principal;
    if let Some(allowed) = allowed
        && !ip.is_some_and(|ip| allowed.iter().any(|network| network.contains(&ip)))
    {
        tracing::warn!(key = %key, "key used from an address that it does not allow");
        return Err(ApiError::unauthenticated());
    }
    Ok(Actor {
        tenant: *tenant,
        livemode: *livemode,
        scopes: *scopes,
        who: Who::Key(*key),
        ip,
        request,
        rate_per_min: *rate_per_min,
    })
}

fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = || {
        let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    };
    let own = || headers.get("x-api-key")?.to_str().ok();
    bearer().or_else(own).filter(|key| key.starts_with("st_") && key.len() <= 256)
}

/// Keys seen lately, by hash.
#[derive(Default)]
pub(super) struct KeyCache(Mutex<HashMap<String, (Arc<Principal>, Instant)>>);

impl KeyCache {
    fn get(&self, hash: &str) -> Option<Arc<Principal>> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (principal, seen) = keys.get(hash)?;
        (seen.elapsed() < BELIEVED).then(|| Arc::clone(principal))
    }

    fn put(&self, hash: String, principal: Arc<Principal>) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= 4096 {
            keys.retain(|_, (_, seen)| seen.elapsed() < BELIEVED);
        }
        keys.insert(hash, (principal, Instant::now()));
    }

    /// A key that this node has just revoked dies at once.
    pub(super) fn forget(&self, key: ApiKeyId) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, (principal, _)| principal.key != key);
    }
}

/// The address of the socket's other end.
pub(super) fn peer(extensions: &axum::http::Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical())
}

/// Whether the peer is this machine. Without a known peer it is not.
pub(super) struct Loopback(pub(super) bool);

impl<S: Sync> FromRequestParts<S> for Loopback {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        // A proxy on this machine speaks for others; only a direct request is ours.
        let direct = !parts.headers.contains_key("x-forwarded-for") && !parts.headers.contains_key("forwarded");
        Ok(Self(direct && peer(&parts.extensions).is_some_and(|ip| ip.is_loopback())))
    }
}
