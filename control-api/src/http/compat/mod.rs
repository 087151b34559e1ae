//! Paths and field names of earlier products, answered as if the canonical path had been asked (API §1.14).
//!
//! A request that matches a row of the [`table`] is rewritten before it is routed: path, query, body. So an alias needs no handler, passes
//! the same door, and cannot differ from what it stands for. The answer says where it belongs.

mod fields;
mod table;

use std::time::Duration;

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Request, State as Extract},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use domain::TenantId;
use serde_json::Value;

use super::{BODY_LIMIT, State, error::ApiError};
use table::{Alias, TABLE};

/// A client that sends slower than this is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers larger than this keep their own field names.
const LARGEST: usize = 4 << 20;

/// The tenant that an alias's path names: the door refuses every other one's credential.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfTenant(pub(super) TenantId);

/// Answers an alias as its canonical path; lets everything else pass.
pub(super) async fn rewrite(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    if !state.app.settings.http.compat {
        return next.run(request).await;
    }
    let path = request.uri().path().to_owned();
    let Some((alias, captured)) = find(request.method(), &path) else { return next.run(request).await };
    match translated(alias, &captured, request).await {
        Ok((canonical, request)) => {
            let response = next.run(request).await;
            told(alias, &canonical, response).await
        }
        Err(error) => error.into_response(),
    }
}

/// The row of a request, and what stands for its `{…}`.
fn find<'a>(method: &Method, path: &'a str) -> Option<(&'static Alias, Vec<&'a str>)> {
    TABLE
        .iter()
        .filter(|alias| alias.method == method.as_str())
        .find_map(|alias| Some((alias, matched(alias.path, path)?)))
}

fn matched<'a>(pattern: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut captured = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(captured),
            (Some(name), Some(text)) if name.starts_with('{') && !text.is_empty() => captured.push(text),
            (Some(name), Some(text)) if name == text => {}
            _ => return None,
        }
    }
}

/// The canonical path, and the request as it would have been made there.
async fn translated(alias: &Alias, captured: &[&str], mut request: Request) -> Result<(String, Request), ApiError> {
    let mut captured = captured.iter();
    if alias.of_tenant {
        let tenant = captured.next().and_then(|tenant| tenant.parse().ok()).ok_or_else(ApiError::not_found)?;
        request.extensions_mut().insert(OfTenant(tenant));
    }
    let parts = alias.to.split('/').map(|part| match part.starts_with('{') {
        true => captured.next().copied().unwrap_or_default(),
        false => part,
    });
    let canonical = parts.collect::<Vec<_>>().join("/");
    let query = request.uri().query().map(|query| fields::query(alias.family, query));
    let target = query
        .filter(|query| !query.is_empty())
        .map_or_else(|| canonical.clone(), |query| format!("{canonical}?{query}"));
    let uri: Uri = target.parse().map_err(|_| ApiError::not_found())?;
    let method = Method::from_bytes(alias.to_method.as_bytes()).map_err(|_| ApiError::not_found())?;
    let (mut parts, body) = request.into_parts();
    (parts.uri, parts.method) = (uri, method);
    let body = if alias.has_body() { rewritten(alias, &mut parts.headers, body).await? } else { body };
    Ok((canonical, Request::from_parts(parts, body)))
}

/// The body with the canonical names. What is no JSON object passes as it is: the handler says what is wrong with it.
async fn rewritten(alias: &Alias, headers: &mut axum::http::HeaderMap, body: Body) -> Result<Body, ApiError> {
    let too_large = || ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 1 MiB");
    let slow = |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body came too slowly");
    let bytes =
        tokio::time::timeout(PATIENCE, to_bytes(body, BODY_LIMIT)).await.map_err(slow)?.map_err(|_| too_large())?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    if super::body::too_deep(text) {
        return Ok(Body::from(bytes));
    }
    let Ok(Value::Object(mut object)) = serde_json::from_slice(text) else { return Ok(Body::from(bytes)) };
    fields::body(alias, &mut object);
    if object.is_empty() && bytes.is_empty() {
        return Ok(Body::empty());
    }
    let text = Value::Object(object).to_string();
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    Ok(Body::from(text))
}

/// The answer with the names that the alias's clients look for, and with the way to the canonical path.
async fn told(alias: &Alias, canonical: &str, response: Response) -> Response {
    let mut response = match fields::adds(alias) && response.status().is_success() {
        true => added(alias, response).await,
        false => response,
    };
    if alias.no_content && response.status() == StatusCode::OK {
        let headers = std::mem::take(response.headers_mut());
        response = StatusCode::NO_CONTENT.into_response();
        for (name, value) in &headers {
            if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
                response.headers_mut().append(name, value.clone());
            }
        }
    }
    let headers = response.headers_mut();
    headers.insert("deprecation", HeaderValue::from_static("true"));
    if let Ok(link) = HeaderValue::from_str(&format!("<{canonical}>; rel=\"canonical\"")) {
        headers.append(header::LINK, link);
    }
    response
}

async fn added(alias: &Alias, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, LARGEST).await else {
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error").into_response();
    };
    let Ok(mut answer) = serde_json::from_slice::<Value>(&bytes) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    fields::answer(alias, &mut answer);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    let mut response = Json(answer).into_response();
    *response.status_mut() = parts.status;
    response.headers_mut().extend(parts.headers);
    *response.extensions_mut() = parts.extensions;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_paths_and_tells_what_stood_in_it() {
        assert_eq!(matched("/api/v1/orgs/{id}", "/api/v1/orgs/7"), Some(vec!["7"]));
        for other in ["/api/v1/orgs", "/api/v1/orgs/", "/api/v1/orgs/7/x", "/api/v1/org/7"] {
            assert_eq!(matched("/api/v1/orgs/{id}", other), None, "{other}");
        }
    }

    #[test]
    fn every_row_leads_to_a_canonical_path_with_no_more_names_than_it_has() {
        for alias in TABLE {
            let names = |path: &str| path.split('/').filter(|part| part.starts_with('{')).count();
            assert_eq!(names(alias.path), names(alias.to) + usize::from(alias.of_tenant), "{}", alias.path);
            assert!(alias.to.starts_with("/api/v1/") || alias.to.starts_with("/internal/"), "{}", alias.to);
            assert!(
                find(&Method::from_bytes(alias.to_method.as_bytes()).unwrap(), alias.to).is_none(),
                "{}",
                alias.path
            );
        }
    }
}
