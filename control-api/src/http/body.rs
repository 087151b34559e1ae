//! JSON bodies: limited in size, depth and time, unknown fields refused by their dotted path.

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
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = json_bytes(request, state).await?;
        read(&mut serde_json::Deserializer::from_slice(&bytes)).map(Self)
    }
}

/// The bytes of a body, whole.
pub(crate) async fn bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(PATIENCE, Bytes::from_request(request, state)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 1 MiB"))
        }
        Ok(Err(_)) => Err(malformed("the body ended early")),
        Err(_) => Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body came too slowly")),
    }
}

/// The bytes of a JSON body of bearable depth; `{}` for none at all.
pub(super) async fn json_bytes<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let is_json = is_json(request.headers());
    let bytes = bytes(request, state).await?;
    if bytes.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    if !is_json {
        let message = "the body must be application/json";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    }
    if too_deep(&bytes) {
        return Err(malformed("nested deeper than 32"));
    }
    if has_nul(&bytes) {
        // No database stores it.
        return Err(malformed("a text contains the character U+0000"));
    }
    Ok(bytes)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

pub(super) fn malformed(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", message)
}

/// Reads a `T`; what is wrong is named by its dotted path.
pub(crate) fn read<'de, T: DeserializeOwned, D>(from: D) -> Result<T, ApiError>
where
    D: serde::Deserializer<'de>,
    D::Error: Into<serde_json::Error>,
{
    serde_path_to_error::deserialize(from).map_err(|fault| {
        let path = fault.path().to_string();
        let error: serde_json::Error = fault.into_inner().into();
        explain(&path, &error)
    })
}

fn explain(path: &str, error: &serde_json::Error) -> ApiError {
    let text = error.to_string();
    if !error.is_data() {
        return malformed(text);
    }
    let parents = path.trim_end_matches('?').trim_end_matches('.');
    let quoted = |lead: &str| Some(text.split_once(lead)?.1.split_once('`')?.0);
    let below = |field: &str| {
        if parents.is_empty() || parents == field || parents.ends_with(&format!(".{field}")) {
            if parents.is_empty() { field.to_owned() } else { parents.to_owned() }
        } else {
            format!("{parents}.{field}")
        }
    };
    if let Some(field) = quoted("unknown field `") {
        let message = format!("there is no field {field:?} here");
        return ApiError::new(StatusCode::BAD_REQUEST, "unknown_field", message).at(below(field));
    }
    if let Some(field) = quoted("missing field `") {
        return ApiError::invalid(below(field), format!("{field} is required"));
    }
    // The position in the text says nothing that the path does not.
    let message = text.split(" at line ").next().unwrap_or(&text);
    // Our own names say nothing to a client.
    let message = match message.split_once(", expected ") {
        Some((found, rest)) if rest.starts_with("struct ") || rest.starts_with("internally tagged ") => {
            &format!("{found}, expected an object")
        }
        Some((found, rest)) if rest.starts_with("enum ") || rest.starts_with("tuple ") => found,
        _ => message,
    };
    match parents {
        "" => ApiError::new(StatusCode::BAD_REQUEST, "validation_failed", message),
        field => ApiError::invalid(field, message),
    }
}

/// Counts brackets outside of strings; says nothing about anything else.
pub(super) fn too_deep(bytes: &[u8]) -> bool {
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

/// Whether some text has the escape `\u0000`; what follows an escaped backslash is no escape.
fn has_nul(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        if rest[at..].starts_with(br"\u0000") {
            return true;
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_nul_is_found_and_its_picture_is_not() {
        assert!(has_nul(br#"{"a":"x\u0000"}"#));
        assert!(has_nul(br#"{"a":"\\\u0000"}"#));
        assert!(!has_nul(br#"{"a":"\\u0000"}"#));
        assert!(!has_nul(b"{}") && !has_nul(br"\"));
    }

    #[test]
    fn depth_counts_brackets_but_not_those_in_strings() {
        assert!(!too_deep(format!("{}{}", "[".repeat(32), "]".repeat(32)).as_bytes()));
        assert!(too_deep("[".repeat(33).as_bytes()));
        assert!(!too_deep(format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(100)).as_bytes()));
    }

    #[test]
    fn a_fault_has_its_dotted_path() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Outer {
            #[allow(dead_code)]
            end: Inner,
        }
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Inner {
            #[allow(dead_code)]
            silence_ms: u32,
        }
        for (text, code, field) in [
            (r#"{"end":{"silence_ms":1,"silense":2}}"#, "unknown_field", Some("end.silense")),
            (r#"{"end":{"silence_ms":1},"x":1}"#, "unknown_field", Some("x")),
            (r#"{"end":{}}"#, "validation_failed", Some("end.silence_ms")),
            (r#"{"end":{"silence_ms":"1"}}"#, "validation_failed", Some("end.silence_ms")),
            (r#"{"end":{"silence_ms":"#, "malformed_json", None),
            (r#"{"end":7}"#, "validation_failed", Some("end")),
        ] {
            let error = read::<Outer, _>(&mut serde_json::Deserializer::from_str(text)).unwrap_err();
            assert_eq!((error.code, error.field.as_deref()), (code, field), "{text}");
            assert!(!error.message.contains("Inner"), "{}", error.message);
        }
    }
}
