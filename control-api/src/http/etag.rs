//! Versions of configuration objects as strong entity tags: `ETag`, `If-Match`, `If-None-Match` (RFC 9110 §8.8.3, §13.1).

use axum::{
    Json,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::error::ApiError;

/// An object and its version: JSON with an `ETag`.
pub(crate) struct Tagged<T>(pub(crate) i64, pub(crate) T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.1).into_response();
        response.headers_mut().insert(header::ETAG, tag(self.0));
        response
    }
}

fn tag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

/// The versions of a request's precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Versions {
    Absent,
    Any,
    These(Vec<i64>),
}

fn versions(headers: &HeaderMap, name: HeaderName) -> Versions {
    let mut listed = Vec::new();
    let mut values = headers.get_all(name).iter().peekable();
    if values.peek().is_none() {
        return Versions::Absent;
    }
    for value in values {
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return Versions::Any;
            }
            // What is no tag of ours (a weak one, another server's) matches nothing.
            listed.extend(
                tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|n| n.parse::<i64>().ok()),
            );
        }
    }
    Versions::These(listed)
}

/// `If-Match`: what the client believes it changes.
#[derive(Clone, Debug)]
pub(crate) struct IfMatch(Versions);

impl IfMatch {
    /// Refuses a stale version with 412; `required` makes its absence a 428.
    pub(crate) fn check(&self, version: i64, required: bool) -> Result<(), ApiError> {
        match &self.0 {
            Versions::Absent if required => Err(ApiError::new(
                StatusCode::PRECONDITION_REQUIRED,
                "if_match_required",
                "this tenant asks for If-Match with the version that is to be changed",
            )),
            Versions::These(listed) if !listed.contains(&version) => Err(Self::conflict()),
            _ => Ok(()),
        }
    }

    /// Someone else was faster.
    pub(crate) fn conflict() -> ApiError {
        ApiError::new(
            StatusCode::PRECONDITION_FAILED,
            "version_conflict",
            "the object has changed; read it again and repeat the change",
        )
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(versions(&parts.headers, header::IF_MATCH)))
    }
}

/// `If-None-Match`: what the client already has.
#[derive(Clone, Debug)]
pub(crate) struct IfNoneMatch(Versions);

impl IfNoneMatch {
    /// The object, or 304 if the client has this version.
    pub(crate) fn answer<T: Serialize>(&self, version: i64, object: T) -> Response {
        let known = match &self.0 {
            Versions::Absent => false,
            Versions::Any => true,
            Versions::These(listed) => listed.contains(&version),
        };
        if known {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag(version))]).into_response();
        }
        Tagged(version, object).into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(versions(&parts.headers, header::IF_NONE_MATCH)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn if_match(value: Option<&'static str>) -> IfMatch {
        let mut headers = HeaderMap::new();
        headers.extend(value.map(|value| (header::IF_MATCH, HeaderValue::from_static(value))));
        IfMatch(versions(&headers, header::IF_MATCH))
    }

    #[test]
    fn only_the_version_that_is_there_may_be_changed() {
        assert!(if_match(Some("\"7\"")).check(7, true).is_ok());
        assert!(if_match(Some("\"6\", \"7\"")).check(7, false).is_ok());
        assert!(if_match(Some("*")).check(7, true).is_ok());
        assert!(if_match(None).check(7, false).is_ok());
        assert_eq!(if_match(None).check(7, true).unwrap_err().status, StatusCode::PRECONDITION_REQUIRED);
        for stale in ["\"6\"", "W/\"7\"", "7", "\"x\""] {
            assert_eq!(if_match(Some(stale)).check(7, false).unwrap_err().code, "version_conflict", "{stale}");
        }
    }
}
