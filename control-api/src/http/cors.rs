//! Whom browsers let read the answers: pages of the operator's own list, with cookies; pages that a public key names, for requests with
//! that key, without cookies. Never `*`.

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::http::{HeaderName, HeaderValue, Method, header, request::Parts};
use tokio::{sync::Mutex, time::Instant};
use tower_http::cors::{AllowCredentials, AllowHeaders, AllowOrigin, CorsLayer};

use super::{State, actor};

/// How long the origins of public keys are believed.
const BELIEVED: Duration = Duration::from_secs(5);

/// The origins that some public key names, for preflights: they come without the key.
#[derive(Debug, Default)]
pub(super) struct PublicOrigins(Mutex<Option<(Instant, Arc<HashSet<String>>)>>);

impl PublicOrigins {
    async fn hold(&self, state: &State, origin: &str) -> bool {
        let mut known = self.0.lock().await;
        let fresh =
            known.as_ref().filter(|(read, _)| read.elapsed() < BELIEVED).map(|(_, origins)| Arc::clone(origins));
        let origins = match fresh {
            Some(origins) => origins,
            None => {
                let origins = match state.app.store.public_origins().await {
                    Ok(read) => Arc::new(read),
                    // What was known before is better than nothing.
                    Err(_) => known.take().map(|(_, origins)| origins).unwrap_or_default(),
                };
                // Also after a fault: the store is not asked again by everybody who waits here.
                *known = Some((Instant::now(), Arc::clone(&origins)));
                origins
            }
        };
        origins.contains(origin)
    }
}

/// The layer for all routes.
pub(super) fn layer(state: &State) -> CorsLayer {
    let listed: Arc<HashSet<HeaderValue>> = Arc::new(
        state.app.settings.http.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
    );
    let exposed = [
        "etag",
        "location",
        "x-request-id",
        "retry-after",
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
    ];
    let (by_name, state) = (Arc::clone(&listed), state.clone());
    CorsLayer::new()
        .allow_origin(AllowOrigin::async_predicate(move |origin: HeaderValue, parts: &Parts| {
            let preflight =
                parts.method == Method::OPTIONS && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
            // Keys are for the API; what probes ask touches no store.
            let guarded = parts.uri.path().starts_with("/api/");
            let headers = parts.headers.clone();
            async move {
                if by_name.contains(&origin) {
                    return true;
                }
                if !guarded {
                    return false;
                }
                let Ok(origin) = origin.to_str() else { return false };
                match preflight {
                    true => state.public.hold(&state, origin).await,
                    false => actor::is_key_of_page(&state, &headers, origin).await,
                }
            }
        }))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed.map(HeaderName::from_static))
        .allow_credentials(AllowCredentials::predicate(move |origin, _| listed.contains(origin)))
        .max_age(Duration::from_secs(600))
}
