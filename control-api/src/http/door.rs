//! The door that every request passes: who asks, how often, and whether it has been answered already.

use axum::{
    extract::{Request, State as Extract},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use super::{
    State,
    actor::{self, Found},
    compat::OfTenant,
    envelope::RequestId,
    error::ApiError,
    idempotency,
    rate::{self, Source, Standing},
};

/// Authenticates, limits, and lets a repeated POST through once.
pub(super) async fn door(Extract(state): Extract<State>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // The operator's pages are asked by probes and scrapers all the time, and hold nothing of a tenant.
    let operator = ["/metrics", "/status", "/drain"].contains(&path);
    if !path.starts_with("/api/") && !path.starts_with("/internal/") && !operator {
        return next.run(request).await;
    }
    let ip = actor::peer(request.extensions());
    let Some(id) = request.extensions().get::<RequestId>().cloned() else {
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error").into_response();
    };
    let found = actor::authenticate(&state, request.headers(), ip, id).await;
    let now = Instant::now();
    let standing = match &found.0 {
        Err(_) if path.starts_with("/api/v1/auth/") => state.limiter.take(Source::auth(ip), rate::AUTH, now),
        Ok(actor) => state.limiter.take(Source::of(actor), actor.rate_per_min, now),
        Err(_) => state.limiter.take(Source::address(ip), rate::WITHOUT_CREDENTIAL, now),
    };
    if !standing.passes {
        return told(standing, too_many(standing).into_response());
    }
    let actor = found.0.as_ref().ok().cloned();
    let named = request.extensions().get::<OfTenant>().map(|OfTenant(tenant)| *tenant);
    if let (Some(actor), Some(tenant)) = (&actor, named)
        && actor.tenant != tenant
    {
        return told(standing, ApiError::not_found().into_response());
    }
    request.extensions_mut().insert::<Found>(found);
    let response = match actor {
        Some(actor) => idempotency::once(&state, &actor, request, next).await,
        None => next.run(request).await,
    };
    told(standing, response)
}

fn told(standing: Standing, mut response: Response) -> Response {
    standing.tell(response.headers_mut());
    response
}

fn too_many(standing: Standing) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", "too many requests; wait as Retry-After says")
        .retry_after(standing.retry_after_s())
}
