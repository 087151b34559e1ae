//! Files over HTTP: signed links that need no other credential, and the bytes with ranges (RFC 9110 §14).

use std::{
    io::SeekFrom,
    path::{Component, Path, PathBuf},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::{State, error::ApiError, wav::Side};
use crate::{seal, time::now_ms};

/// How long a signed link is good.
pub(super) const LINK_MS: i64 = 15 * 60 * 1000;
/// Read and sent at a time.
const CHUNK: usize = 64 * 1024;

/// What a signed link carries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SignedQuery {
    /// Unix time in ms until which it is good.
    expires: i64,
    /// Its seal.
    signature: String,
    /// Of a recording: `caller` or `agent`; both when absent.
    pub(super) channel: Option<String>,
}

/// What a link leads to; its seal covers all of it.
pub(super) struct Target<'a> {
    /// `recording` or `file`.
    pub(super) kind: &'static str,
    pub(super) tenant: &'a str,
    pub(super) id: &'a str,
    pub(super) locator: &'a str,
    /// Which side of a stereo recording; "" = the file as it is.
    pub(super) side: &'a str,
}

impl Target<'_> {
    /// The query of a link that is good until `expires`.
    pub(super) async fn sign(&self, state: &State, expires: i64) -> Result<String, ApiError> {
        let secret = state.app.store.secret().await?;
        let Self { kind, tenant, id, locator, side } = self;
        let message = format!("{kind}\n{tenant}\n{id}\n{locator}\n{side}\n{expires}");
        Ok(seal::hex(&seal::hmac(&secret, message.as_bytes())))
    }

    /// Refuses a link that is altered or no longer good.
    pub(super) async fn check(&self, state: &State, query: &SignedQuery) -> Result<(), ApiError> {
        let expected = self.sign(state, query.expires).await?;
        let good = seal::same(expected.as_bytes(), query.signature.as_bytes()) && query.expires >= now_ms();
        if good { Ok(()) } else { Err(refused()) }
    }
}

/// The same for a link to what never was: the answer must not tell.
pub(super) fn refused() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "bad_signature", "the link is altered or no longer good")
}

/// The bytes of a file below a folder, or the part of them that is asked for.
pub(super) async fn send(
    folder: &Path,
    target: &Target<'_>,
    content_type: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let path = below(folder, target.locator).ok_or_else(ApiError::not_found)?;
    let missing = |error: std::io::Error| {
        tracing::error!(kind = target.kind, id = target.id, %error, "file cannot be read");
        ApiError::not_found()
    };
    let mut file = File::open(path).await.map_err(missing)?;
    let whole = file.metadata().await.map_err(missing)?.len();
    let side = side_of(&mut file, target.side, whole).await?;
    let length = side.map_or(whole, Side::length);
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
    let body = match side {
        None => {
            file.seek(SeekFrom::Start(first)).await.map_err(missing)?;
            stream(file, size)
        }
        Some(side) => one_side(file, side, first, size),
    };
    let mut response = Response::new(body);
    let into = response.headers_mut();
    into.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream")),
    );
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

async fn side_of(file: &mut File, name: &str, length: u64) -> Result<Option<Side>, ApiError> {
    let right = match name {
        "" => return Ok(None),
        side => side == "agent",
    };
    let mut header = [0; 44];
    let read = file.read_exact(&mut header).await.is_ok();
    let side = Side::of(&header, length, right).filter(|_| read);
    side.map(Some).ok_or_else(|| {
        ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "the recording has no two sides").at("channel")
    })
}

/// One side of a stereo file, from a byte of the mono file on.
fn one_side(mut file: File, side: Side, mut at: u64, mut left: u64) -> Body {
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(2);
    tokio::spawn(async move {
        let header = side.header();
        if let Some(head) = header.get(usize::try_from(at).unwrap_or(usize::MAX)..) {
            let head = &head[..head.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            at += head.len() as u64;
            left -= head.len() as u64;
            if sender.send(Ok(Bytes::copy_from_slice(head))).await.is_err() || left == 0 {
                return;
            }
        }
        let (place, mut skip) = Side::place(at);
        if let Err(error) = file.seek(SeekFrom::Start(place)).await {
            let _ = sender.send(Err(error)).await;
            return;
        }
        while left > 0 {
            let wanted = usize::try_from((left + skip as u64).div_ceil(2) * 4).unwrap_or(CHUNK).min(CHUNK);
            let mut stereo = vec![0; wanted];
            let cut = match file.read_exact(&mut stereo).await {
                Ok(_) => {
                    let mut mono = side.cut(&stereo);
                    mono.drain(..skip);
                    mono.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                    (skip, left) = (0, left - mono.len() as u64);
                    Ok(Bytes::from(mono))
                }
                Err(error) => Err(error),
            };
            let failed = cut.is_err();
            if sender.send(cut).await.is_err() || failed {
                return;
            }
        }
    });
    Body::from_stream(ReceiverStream::new(receiver))
}

/// The file of a locator, which never leads out of the folder.
pub(crate) fn below(folder: &Path, locator: &str) -> Option<PathBuf> {
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
