//! JSON bodies: limited in size, depth and time, unknown fields refused by name.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// A client that sends slower than this is given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Nesting at most.
const DEPTH: usize = 32;

/// A JSON body as `T`, which must `deny_unknown_fields`. An empty body reads as `{}`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = is_json(request.headers());
        let read = tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await;
        let bytes = match read {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 1 MiB"));
            }
            Ok(Err(_)) => return Err(malformed("the body ended early")),
            Err(_) => return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body came too slowly")),
        };
        if bytes.is_empty() {
            return parse(b"{}").map(Self);
        }
        if !is_json {
            let message = "the body must be application/json";
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
        }
        if too_deep(&bytes) {
            return Err(malformed("nested deeper than 32"));
        }
        parse(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", message)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        if !error.is_data() {
            return malformed(text);
        }
        let quoted = |lead: &str| Some(text.split_once(lead)?.1.split_once('`')?.0.to_owned());
        if let Some(field) = quoted("unknown field `") {
            let message = format!("there is no field {field:?} here");
            return ApiError::new(StatusCode::BAD_REQUEST, "unknown_field", message).at(field);
        }
        match quoted("missing field `") {
            Some(field) => ApiError::invalid(field.clone(), format!("{field} is required")),
            None => ApiError::new(StatusCode::BAD_REQUEST, "validation_failed", text),
        }
    })
}

/// Counts brackets outside of strings; says nothing about anything else.
fn too_deep(bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_but_not_those_in_strings() {
        assert!(!too_deep(format!("{}{}", "[".repeat(32), "]".repeat(32)).as_bytes()));
        assert!(too_deep("[".repeat(33).as_bytes()));
        assert!(!too_deep(format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(100)).as_bytes()));
    }
}
