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
use domain::{ApiKeyId, SessionId, TenantId, UserId};
use tokio::time::Instant;

use super::{State, envelope::RequestId, error::ApiError};
use crate::{
    auth::{
        jwt::{self, Claims, Refused},
        sessions::Standing,
    },
    scope::{Role, Scopes},
    seal,
    store::keys::Principal,
    time::now_ms,
};

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
    /// The user behind it: who signed in, or who made the key and bounds it.
    pub(crate) person: Option<UserId>,
    /// That user's role in the tenant.
    pub(crate) role: Option<Role>,
    /// The tenant wants `If-Match` on every change.
    pub(crate) require_if_match: bool,
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
    /// Somebody who signed in.
    User(UserId, SessionId),
    /// A part of the node itself: the first run, a command of the operator's.
    System(&'static str),
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
            Who::User(id, _) => ("user", id.to_string()),
            Who::System(part) => ("system", (*part).to_owned()),
        }
    }

    /// The user and the session, for what only a person does.
    pub(crate) fn user(&self) -> Result<(UserId, SessionId), ApiError> {
        match self.who {
            Who::User(user, session) => Ok((user, session)),
            _ => {
                Err(ApiError::forbidden("user_session_required", "only somebody who signed in may do this, not a key"))
            }
        }
    }

    /// Whether the platform's operator asks.
    pub(crate) fn is_platform(&self) -> bool {
        self.has("platform:admin")
    }

    /// The same in another tenant, for what the audit log says about a user's own doing.
    pub(crate) fn inside(&self, tenant: TenantId) -> Self {
        Self { tenant, ..self.clone() }
    }

    /// Somebody who is only just signing in.
    pub(crate) fn arriving(visitor: &Visitor, tenant: TenantId, user: UserId, session: SessionId) -> Self {
        Self {
            tenant,
            livemode: true,
            scopes: Scopes::NONE,
            who: Who::User(user, session),
            person: Some(user),
            role: None,
            require_if_match: false,
            ip: visitor.ip,
            request: visitor.request.clone(),
            rate_per_min: super::rate::WITHOUT_CREDENTIAL,
        }
    }

    /// A part of the node.
    pub(crate) fn system(part: &'static str, tenant: TenantId) -> Self {
        Self {
            tenant,
            livemode: true,
            scopes: Scopes::of(Role::Owner) | Scopes::platform(),
            who: Who::System(part),
            person: None,
            role: None,
            require_if_match: false,
            ip: None,
            request: RequestId::fresh(),
            rate_per_min: super::rate::WITHOUT_CREDENTIAL,
        }
    }
}

/// What is known of whoever sends a request, also without a credential.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) request: RequestId,
    pub(crate) user_agent: Option<String>,
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        let request = parts.extensions.get::<RequestId>().cloned().unwrap_or_else(RequestId::fresh);
        Ok(Self { ip: peer(&parts.extensions), request, user_agent: agent.map(str::to_owned) })
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
    let Some(credential) = credential(headers) else { return Found(Err(ApiError::unauthenticated())) };
    if !credential.starts_with("st_") {
        return Found(by_token(state, credential, ip, request).await);
    }
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    Found(by_key(state, credential, origin, ip, request).await)
}

/// By an access token: signed by us, for us, not too old, and of a session that is not over.
async fn by_token(state: &State, token: &str, ip: Option<IpAddr>, request: RequestId) -> Result<Actor, ApiError> {
    let kid = jwt::kid(token).ok_or_else(ApiError::unauthenticated)?;
    let key = state.auth.signing.public(&kid).await?.ok_or_else(ApiError::unauthenticated)?;
    let claims: Claims = jwt::verify(token, &key, now_ms() / 1000, 0).map_err(|refused| match refused {
        Refused::Invalid => ApiError::unauthenticated(),
        Refused::Expired => {
            ApiError::new(StatusCode::UNAUTHORIZED, "token_expired", "the access token has expired; refresh it")
        }
    })?;
    if claims.iss != state.app.settings.auth.base() || claims.aud != crate::auth::AUDIENCE {
        return Err(ApiError::unauthenticated());
    }
    let session = claims.sid.parse().map_err(|_| ApiError::unauthenticated())?;
    by_session(state, session, ip, request).await
}

/// By a session, as it stands now.
pub(super) async fn by_session(
    state: &State,
    session: SessionId,
    ip: Option<IpAddr>,
    request: RequestId,
) -> Result<Actor, ApiError> {
    let standing = match state.auth.seen.get(session) {
        Some(standing) => standing,
        None => {
            let standing = state.app.store.session(session).await?.ok_or_else(ApiError::unauthenticated)?;
            let standing = Arc::new(standing);
            state.auth.seen.put(session, Arc::clone(&standing));
            standing
        }
    };
    let Standing { user, tenant, role, scopes, blocked, require_if_match } = &*standing;
    if *blocked {
        return Err(ApiError::forbidden("blocked", "this account is blocked"));
    }
    Ok(Actor {
        tenant: *tenant,
        livemode: true,
        scopes: *scopes,
        who: Who::User(*user, session),
        person: Some(*user),
        role: *role,
        require_if_match: *require_if_match,
        ip,
        request,
        rate_per_min: super::rate::WITHOUT_CREDENTIAL,
    })
}

async fn by_key(
    state: &State,
    key: &str,
    origin: Option<&str>,
    ip: Option<IpAddr>,
    request: RequestId,
) -> Result<Actor, ApiError> {
    let found = principal(state, key).await?;
    by_principal(&found, origin, ip, request)
}

async fn principal(state: &State, key: &str) -> Result<Arc<Principal>, ApiError> {
    let hash = seal::sha256_hex(key.as_bytes());
    if let Some(principal) = state.keys.get(&hash) {
        return Ok(principal);
    }
    let principal = state.app.store.principal(&hash).await?.ok_or_else(ApiError::unauthenticated)?;
    tracing::debug!(key = %principal.key, tenant = %principal.tenant, "key accepted");
    let principal = Arc::new(principal);
    state.keys.put(hash, Arc::clone(&principal));
    Ok(principal)
}

/// Whether a request bears a public key that names the page it comes from.
pub(super) async fn is_key_of_page(state: &State, headers: &HeaderMap, origin: &str) -> bool {
    let Some(key) = credential(headers).filter(|credential| credential.starts_with("st_")) else { return false };
    let Ok(principal) = principal(state, key).await else { return false };
    principal.origins.as_ref().is_some_and(|origins| origins.iter().any(|one| one == origin))
}

/// By a key that handed its name to something else: a ticket.
pub(super) async fn by_key_id(
    state: &State,
    key: ApiKeyId,
    ip: Option<IpAddr>,
    request: RequestId,
) -> Result<Actor, ApiError> {
    let principal = state.app.store.principal_of(key).await?.ok_or_else(ApiError::unauthenticated)?;
    by_principal(&principal, None, ip, request)
}

fn by_principal(
    principal: &Principal,
    origin: Option<&str>,
    ip: Option<IpAddr>,
    request: RequestId,
) -> Result<Actor, ApiError> {
    let Principal {
        key,
        tenant,
        livemode,
        scopes,
        allowed,
        rate_per_min,
        origins,
        maker,
        role,
        blocked,
        require_if_match,
    } = principal;
    if *blocked {
        return Err(ApiError::forbidden("blocked", "who made this key is blocked"));
    }
    if let Some(origins) = origins
        && !origin.is_some_and(|origin| origins.iter().any(|one| one == origin))
    {
        return Err(ApiError::forbidden("forbidden_origin", "this key may not be used on that page"));
    }
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
        person: *maker,
        role: *role,
        require_if_match: *require_if_match,
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
    bearer().or_else(own).filter(|text| (1..=8192).contains(&text.len()))
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

    /// What a user's keys may do has changed.
    pub(super) fn forget_maker(&self, user: UserId) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, (principal, _)| principal.maker != Some(user));
    }

    /// What a tenant's keys may do has changed.
    pub(super) fn forget_tenant(&self, tenant: TenantId) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|_, (principal, _)| principal.tenant != tenant);
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
