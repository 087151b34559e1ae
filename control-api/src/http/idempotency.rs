//! `Idempotency-Key`: a POST that is sent again gets the answer of the first time (API §0).
//!
//! The key is claimed by one INSERT, so of many that race one works and the others hear 409.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{State, actor::Actor, body, envelope, error::ApiError};
use crate::{seal, store::idempotency::Claim, time::now_ms};

/// Kept so long.
const KEPT_MS: i64 = 24 * 3_600_000;
/// A request that runs longer than this has died; its key may be claimed again.
const RUNS_MS: i64 = 60_000;
/// Answers larger than this are not kept; none of ours is.
const LARGEST: usize = 4 << 20;

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    content_type: Option<String>,
    location: Option<String>,
    etag: Option<String>,
    body: String,
}

/// The key of a request, if it has one and the request is of the kind that takes it.
fn key(request: &Request) -> Option<Result<String, ApiError>> {
    if request.method() != Method::POST {
        return None;
    }
    let value = request.headers().get("idempotency-key")?;
    let sound = value.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    Some(
        sound.map(str::to_owned).ok_or_else(|| {
            ApiError::invalid("Idempotency-Key", "Idempotency-Key has 1 to 255 printable ASCII characters")
        }),
    )
}

/// Lets a POST through once per key and tenant.
pub(super) async fn once(state: &State, actor: &Actor, request: Request, next: Next) -> Response {
    let key = match key(&request) {
        None => return next.run(request).await,
        Some(Err(error)) => return error.into_response(),
        Some(Ok(key)) => key,
    };
    match claimed(state, actor, key, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn claimed(
    state: &State,
    actor: &Actor,
    key: String,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = body::bytes(Request::from_parts(parts.clone(), body), &()).await?;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let fingerprint = seal::sha256_hex(
        format!("{} {target} {} {}", parts.method, actor.livemode, seal::sha256_hex(&bytes)).as_bytes(),
    );
    let store = &state.app.store;
    let now = now_ms();
    match store.claim(actor.tenant, &key, &fingerprint, now, now + RUNS_MS, now + KEPT_MS).await? {
        Claim::Ours => {}
        Claim::Mismatch => {
            let message = "this Idempotency-Key was used for another request";
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", message));
        }
        Claim::Running => {
            let message = "the first request with this Idempotency-Key still runs";
            return Err(ApiError::new(StatusCode::CONFLICT, "idempotency_in_progress", message).retry_after(1));
        }
        Claim::Done { status, response } => {
            let kept = seal::open(&state.app.seal, ("idempotency_keys", &key, "response"), &response)?;
            return replay(status, &kept);
        }
    }
    let request = actor.request.clone();
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    let response = envelope::rendered(response, &request);
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, LARGEST).await.unwrap_or_default();
    let kept = if lasting(parts.status) { keep(&parts.headers, &bytes) } else { None };
    // An answer may hold what is shown once, as a new API key.
    let kept = kept.and_then(|kept| seal::seal(&state.app.seal, ("idempotency_keys", &key, "response"), &kept).ok());
    let noted = match kept {
        Some(kept) => store.settle(actor.tenant, &key, &fingerprint, parts.status.as_u16().into(), &kept).await,
        None => store.unclaim(actor.tenant, &key, &fingerprint).await,
    };
    if let Err(error) = noted {
        // The work is done and the client is to know; a repetition within the minute hears 409, then works again.
        tracing::error!(%error, "the answer under an idempotency key could not be kept");
    }
    Ok(Response::from_parts(parts, Body::from(bytes)))
}

/// Whether a repetition would get the same answer anyway, or ought to.
fn lasting(status: StatusCode) -> bool {
    let passing = [StatusCode::UNAUTHORIZED, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status.is_success() || (status.is_client_error() && !passing.contains(&status))
}

fn keep(headers: &HeaderMap, bytes: &Bytes) -> Option<Vec<u8>> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let kept = Kept {
        content_type: text(header::CONTENT_TYPE),
        location: text(header::LOCATION),
        etag: text(header::ETAG),
        body: String::from_utf8(bytes.to_vec()).ok()?,
    };
    serde_json::to_vec(&kept).ok()
}

fn replay(status: i64, response: &[u8]) -> Result<Response, ApiError> {
    let unreadable = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error");
    let kept: Kept = serde_json::from_slice(response).map_err(|_| unreadable())?;
    let status = u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut response = (status.ok_or_else(unreadable)?, kept.body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    for (name, value) in
        [(header::CONTENT_TYPE, kept.content_type), (header::LOCATION, kept.location), (header::ETAG, kept.etag)]
    {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert("idempotent-replay", HeaderValue::from_static("true"));
    Ok(response)
}
