//! What every request and every answer passes: the request id, the error envelope, the security headers.

use axum::{
    Json,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::error::{ApiError, ErrorBody, ErrorEnvelope};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Drops one trailing slash of the path before it is routed.
pub(super) async fn without_trailing_slash(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path.len() > 1 && path.ends_with('/') {
        let mut target = path[..path.len() - 1].to_owned();
        if let Some(query) = request.uri().query() {
            target.push('?');
            target.push_str(query);
        }
        // `//host` would read as an authority; such a path is no route of ours either way.
        if let Ok(uri) = target.parse::<Uri>()
            && uri.authority().is_none()
        {
            *request.uri_mut() = uri;
        }
    }
    next.run(request).await
}

/// Gives the request an id, and the answer its envelope and headers.
pub(super) async fn envelope(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let envelope = ErrorEnvelope {
            error: ErrorBody {
                code: error.code.into(),
                message: error.message,
                field: error.field,
                request_id: id.clone(),
            },
        };
        response = with_headers_of(response, (error.status, Json(envelope)).into_response());
    } else if let Some((code, message)) = bare(&response) {
        // What axum answers by itself (405, 413 …) comes without our body.
        let status = response.status();
        let envelope = ErrorEnvelope {
            error: ErrorBody { code: code.into(), message: message.into(), field: None, request_id: id.clone() },
        };
        response = with_headers_of(response, (status, Json(envelope)).into_response());
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// The client's id if it is one we can echo safely, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
        .map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned)
}

fn bare(response: &Response) -> Option<(&'static str, &'static str)> {
    Some(match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path does not take that method"),
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the body is larger than 1 MiB"),
        StatusCode::BAD_REQUEST => ("malformed", "the request cannot be read"),
        _ => return None,
    })
    .filter(|_| {
        let kind = response.headers().get(header::CONTENT_TYPE);
        kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"application/json"))
    })
}

/// The new answer with what the old one's headers said beyond its body (`Allow`, `Retry-After`, `WWW-Authenticate`).
fn with_headers_of(old: Response, mut new: Response) -> Response {
    for (name, value) in old.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            new.headers_mut().insert(name.clone(), value.clone());
        }
    }
    new
}
