//! What every request and every answer passes: the request id, the error envelope, the security headers.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State as Extract},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    State,
    error::{ApiError, ErrorBody, ErrorEnvelope},
};

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

/// The id of a request: the client's if it is one that we can echo safely, else a fresh one.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let sent = headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
        Self(sent.map_or_else(|| uuid::Uuid::now_v7().to_string().into(), Into::into))
    }

    /// For what no request caused.
    pub(crate) fn fresh() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gives the request an id, and the answer its envelope and headers.
pub(super) async fn envelope(Extract(state): Extract<State>, mut request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let mut response = rendered(next.run(request).await, &id);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // Whether a proxy in front speaks TLS is known by the address under which the operator says that we are reached.
    if state.app.settings.auth.public_url.starts_with("https://") {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// An answer whose error, if it is one, has its body.
pub(super) fn rendered(mut response: Response, id: &RequestId) -> Response {
    let (status, body) = if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        let ApiError { status, code, message, field, details, .. } = error;
        (status, ErrorBody { code: code.into(), message, field, details, request_id: id.as_str().into() })
    } else if let Some((code, message)) = bare(&response) {
        // What axum answers by itself (405, 413 …) comes without our body.
        let (code, message) = (code.into(), message.into());
        let body = ErrorBody { code, message, field: None, details: Vec::new(), request_id: id.as_str().into() };
        (response.status(), body)
    } else {
        return response;
    };
    with_headers_of(response, (status, Json(ErrorEnvelope { error: body })).into_response())
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
