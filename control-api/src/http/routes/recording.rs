//! The recording: a signed link, or the bytes themselves with ranges (RFC 9110 §14).

use std::{
    io::SeekFrom,
    path::{Component, Path, PathBuf},
};

use axum::{
    Json,
    body::Body,
    extract::State as Extract,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use bytes::Bytes;
use domain::{CallId, RecordingId};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::calls::find;
use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::Query,
    },
    seal,
    store::records::RecordingRow,
    time::{now_ms, rfc3339},
    view::Recording,
};

/// How long a signed link is good.
const LINK_MS: i64 = 15 * 60 * 1000;
/// Read and sent at a time.
const CHUNK: usize = 64 * 1024;

/// How to get it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecordingQuery {
    /// `true`: 302 to the signed link.
    redirect: Option<bool>,
}

/// The recording of a call: a link, or with `Accept: audio/*` the bytes.
#[utoipa::path(get, path = "/api/v1/calls/{id}/recording", tag = "calls", operation_id = "getRecording",
    params(("id" = String, Path, description = "The call"), RecordingQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Recording), (status = 202, description = "still being written"),
        (status = 206, description = "a part, with Accept: audio/* and Range"), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 410, body = ErrorEnvelope), (status = 416, body = ErrorEnvelope)))]
pub(crate) async fn recording(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(query): Query<RecordingQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    actor.needs("recordings:read")?;
    find(&state, &actor, id).await?;
    let row = state.app.store.recording_of(id).await?.ok_or_else(ApiError::not_found)?;
    match row.state.as_str() {
        "ready" => {}
        "writing" | "stored" => {
            return Ok(
                (StatusCode::ACCEPTED, [(header::RETRY_AFTER, "1")], Json(json!({"state": row.state}))).into_response()
            );
        }
        "deleted" => return Err(gone()),
        _ => return Err(ApiError::not_found()),
    }
    if wants_audio(&headers) {
        return send(&state.app.recordings, &row, &headers).await;
    }
    let expires = now_ms() + LINK_MS;
    let signature = sign(&state, &row, expires).await?;
    let url = format!("/api/v1/recordings/{}?expires={expires}&signature={signature}", row.id);
    if query.redirect == Some(true) {
        // A Location that axum cannot write as a header would panic there; ours is ASCII throughout.
        return Ok((StatusCode::FOUND, Redirect::temporary(&url).into_response().headers().clone()).into_response());
    }
    Ok(Json(Recording {
        url,
        expires_at: rfc3339(expires),
        format: row.format,
        channels: row.channels,
        duration_ms: row.duration_ms,
        bytes: row.bytes,
        sha256: row.sha256,
    })
    .into_response())
}

/// What a signed link carries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SignedQuery {
    /// Unix time in ms until which it is good.
    expires: i64,
    /// Its seal.
    signature: String,
}

/// The bytes behind a signed link; no other credential is needed.
#[utoipa::path(get, path = "/api/v1/recordings/{id}", tag = "calls", operation_id = "downloadRecording",
    params(("id" = String, Path, description = "The recording"), SignedQuery),
    responses((status = 200, content_type = "audio/wav", body = Vec<u8>), (status = 206, description = "a part, with Range"),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 410, body = ErrorEnvelope)))]
pub(crate) async fn signed(
    Extract(state): Extract<State>,
    Id(id): Id<RecordingId>,
    Query(query): Query<SignedQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let refused = || ApiError::new(StatusCode::FORBIDDEN, "bad_signature", "the link is altered or no longer good");
    // Without a row there is nothing to check against, and the answer must not tell.
    let row = state.app.store.recording(&id.to_string()).await?.ok_or_else(refused)?;
    let expected = sign(&state, &row, query.expires).await?;
    if !seal::same(expected.as_bytes(), query.signature.as_bytes()) || query.expires < now_ms() {
        return Err(refused());
    }
    if row.state == "deleted" {
        return Err(gone());
    }
    send(&state.app.recordings, &row, &headers).await
}

fn gone() -> ApiError {
    ApiError::new(StatusCode::GONE, "gone", "the recording is past its retention")
}

async fn sign(state: &State, row: &RecordingRow, expires: i64) -> Result<String, ApiError> {
    let secret = state.app.store.secret().await?;
    let message = format!("recording\n{}\n{}\n{}\n{expires}", row.tenant, row.id, row.locator);
    Ok(seal::hex(&seal::hmac(&secret, message.as_bytes())))
}

fn wants_audio(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.trim_start().starts_with("audio/"))
}

async fn send(folder: &Path, row: &RecordingRow, headers: &HeaderMap) -> Result<Response, ApiError> {
    let path = below(folder, &row.locator).ok_or_else(ApiError::not_found)?;
    let missing = |error: std::io::Error| {
        tracing::error!(recording = %row.id, %error, "recording cannot be read");
        ApiError::not_found()
    };
    let mut file = File::open(path).await.map_err(missing)?;
    let length = file.metadata().await.map_err(missing)?.len();
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let part = match range(asked, length) {
        Asked::Whole => None,
        Asked::Part(first, last) => Some((first, last)),
        Asked::Unsatisfiable => {
            let error =
                ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", "no such part").at("Range");
            return Ok(([(header::CONTENT_RANGE, format!("bytes */{length}"))], error).into_response());
        }
    };
    let (first, size) = part.map_or((0, length), |(first, last)| (first, last - first + 1));
    file.seek(SeekFrom::Start(first)).await.map_err(missing)?;
    let kind = if row.format == "wav" { "audio/wav" } else { "application/octet-stream" };
    let mut response = Response::new(stream(file, size));
    let into = response.headers_mut();
    into.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    into.insert(header::CONTENT_LENGTH, size.into());
    into.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some((first, last)) = part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        if let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{last}/{length}")) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

/// The file as a body, read as fast as it is taken.
fn stream(mut file: File, mut left: u64) -> Body {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(2);
    tokio::spawn(async move {
        while left > 0 {
            let mut chunk = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
            let read = match file.read(&mut chunk).await {
                // Shorter than its length says: the connection is cut rather than padded.
                Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    chunk.truncate(n);
                    left -= n as u64;
                    Ok(Bytes::from(chunk))
                }
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if sender.send(read).await.is_err() || failed {
                return;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

/// The file of a locator, which never leads out of the folder.
fn below(folder: &Path, locator: &str) -> Option<PathBuf> {
    let locator = Path::new(locator);
    let inside = locator.components().all(|part| matches!(part, Component::Normal(_)));
    (inside && !locator.as_os_str().is_empty()).then(|| folder.join(locator))
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    /// First and last byte.
    Part(u64, u64),
    Unsatisfiable,
}

/// One byte range; what is not understood, and lists of several, are answered with the whole (RFC 9110 §14.2 allows it).
fn range(header: Option<&str>, length: u64) -> Asked {
    let Some((first, last)) = header.and_then(|text| text.strip_prefix("bytes=")?.split_once('-')) else {
        return Asked::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= length && (last.is_empty() || last.parse::<u64>().is_ok()) => Asked::Unsatisfiable,
        (Ok(first), Ok(last)) if first <= last => Asked::Part(first, last.min(length - 1)),
        (Ok(first), Err(_)) if last.is_empty() => Asked::Part(first, length - 1),
        (Err(_), Ok(0)) if first.is_empty() => Asked::Unsatisfiable,
        (Err(_), Ok(suffix)) if first.is_empty() && length > 0 => {
            Asked::Part(length.saturating_sub(suffix), length - 1)
        }
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(range(None, 100), Asked::Whole);
        assert_eq!(range(Some("bytes=0-43"), 100), Asked::Part(0, 43));
        assert_eq!(range(Some("bytes=50-"), 100), Asked::Part(50, 99));
        assert_eq!(range(Some("bytes=-10"), 100), Asked::Part(90, 99));
        assert_eq!(range(Some("bytes=-1000"), 100), Asked::Part(0, 99));
        assert_eq!(range(Some("bytes=10-1000"), 100), Asked::Part(10, 99));
        assert_eq!(range(Some("bytes=100-"), 100), Asked::Unsatisfiable);
        assert_eq!(range(Some("bytes=-0"), 100), Asked::Unsatisfiable);
        for odd in ["bytes=5-2", "bytes=a-b", "bytes=1-2,5-6", "items=0-1", "bytes=-"] {
            assert_eq!(range(Some(odd), 100), Asked::Whole, "{odd}");
        }
        assert_eq!(range(Some("bytes=0-"), 0), Asked::Unsatisfiable);
    }

    #[test]
    fn a_locator_stays_in_its_folder() {
        let folder = Path::new("/var/lib/x");
        assert_eq!(below(folder, "2026/a.wav"), Some("/var/lib/x/2026/a.wav".into()));
        for escape in ["../a.wav", "/etc/passwd", "a/../../b", ""] {
            assert_eq!(below(folder, escape), None, "{escape}");
        }
    }
}
