//! Files over HTTP: signed links that need no other credential, and the bytes with ranges (RFC 9110 §14).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use utoipa::IntoParams;

use super::{State, decoded::Decoded, error::ApiError, wav::Side};
use crate::{
    archive::{Media, NoMedia},
    seal,
    time::now_ms,
};

/// How long a signed link is good.
pub(super) const LINK_MS: i64 = 15 * 60 * 1000;

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
    /// Of a recording: `wav`, which is made of what is stored; as it is stored when absent.
    pub(super) format: Option<String>,
}

/// What a link leads to; its seal covers all of it.
pub(super) struct Target<'a> {
    /// `recording` or `file`.
    pub(super) kind: &'static str,
    pub(super) tenant: &'a str,
    pub(super) id: &'a str,
    /// Which side of a stereo recording; "" = both.
    pub(super) side: &'a str,
    /// `wav`; "" = the file as it is, if both sides are wanted.
    pub(super) format: &'a str,
}

impl Target<'_> {
    /// The query of a link that is good until `expires`.
    pub(super) async fn sign(&self, state: &State, expires: i64) -> Result<String, ApiError> {
        let secret = state.app.store.secret().await?;
        // Not where it lies: that may change while the link is good.
        let Self { kind, tenant, id, side, format } = self;
        let message = format!("{kind}\n{tenant}\n{id}\n{side}\n{format}\n{expires}");
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

/// All bytes of something, or the part of them that is asked for.
pub(super) async fn send(
    mut media: Media,
    target: &Target<'_>,
    content_type: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let shape = shape_of(&mut media, target).await?;
    let length = match shape {
        Shape::Stored => media.length(),
        Shape::Side(side) => side.length(),
        Shape::Decoded(decoded) => decoded.length(),
    };
    let content_type = if matches!(shape, Shape::Stored) { content_type } else { "audio/wav" };
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
    let body = match shape {
        Shape::Stored => {
            let flow = media.read(first, size).await.map_err(|fault| no_media(target, fault))?;
            Body::from_stream(flow.pieces())
        }
        Shape::Side(side) => one_side(media, target, side, first, size).await?,
        Shape::Decoded(decoded) => {
            let flow = media.read(0, media.length()).await.map_err(|fault| no_media(target, fault))?;
            decoded.body(flow, first, size)
        }
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

/// What a client is told of bytes that cannot be read; why is for the log.
pub(super) fn no_media(target: &Target<'_>, fault: NoMedia) -> ApiError {
    tracing::error!(kind = target.kind, id = target.id, %fault, "bytes cannot be read");
    match fault {
        NoMedia::Absent | NoMedia::NoBucket | NoMedia::Io(_) => ApiError::not_found(),
        NoMedia::Bucket(_) => {
            let message = "the object store does not answer as it should; try again";
            ApiError::new(StatusCode::BAD_GATEWAY, "vendor_failed", message).retry_after(5)
        }
    }
}

/// What is made of the stored bytes on their way.
#[derive(Clone, Copy)]
enum Shape {
    Stored,
    Side(Side),
    Decoded(Decoded),
}

async fn shape_of(media: &mut Media, target: &Target<'_>) -> Result<Shape, ApiError> {
    if target.side.is_empty() && target.format.is_empty() {
        return Ok(Shape::Stored);
    }
    let only = match target.side {
        "" => None,
        side => Some(usize::from(side == "agent")),
    };
    let header = media.head::<44>().await.map_err(|fault| no_media(target, fault))?;
    let made = if header.is_some_and(|header| header.starts_with(b"OggS")) {
        Decoded::of(media, only).await.map_err(|fault| no_media(target, fault))?.map(Shape::Decoded)
    } else if let Some(side) = only {
        header.and_then(|header| Side::of(&header, media.length(), side == 1)).map(Shape::Side)
    } else {
        Some(Shape::Stored)
    };
    made.ok_or_else(|| {
        ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", "the recording has no two sides").at("channel")
    })
}

/// One side of a stereo file, from a byte of the mono file on.
async fn one_side(
    mut media: Media,
    target: &Target<'_>,
    side: Side,
    mut at: u64,
    mut left: u64,
) -> Result<Body, ApiError> {
    let header = side.header();
    let head = header.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
    let head = Bytes::copy_from_slice(&head[..head.len().min(usize::try_from(left).unwrap_or(usize::MAX))]);
    at += head.len() as u64;
    left -= head.len() as u64;
    let flow = match left {
        0 => None,
        left => {
            let (place, skip) = Side::place(at);
            let stereo = (left + skip as u64).div_ceil(2) * 4;
            let flow = media.read(place, stereo).await.map_err(|fault| no_media(target, fault))?;
            Some((flow, skip))
        }
    };
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(2);
    tokio::spawn(async move {
        if !head.is_empty() && sender.send(Ok(head)).await.is_err() {
            return;
        }
        let Some((mut flow, mut skip)) = flow else { return };
        // Pieces end anywhere; what is left of a frame waits for the rest of it.
        let mut stereo = Vec::new();
        while let Some(piece) = flow.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            stereo.extend_from_slice(&piece);
            let frames = stereo.len() / 4 * 4;
            let mut mono = side.cut(&stereo[..frames]);
            stereo.drain(..frames);
            let skipped = skip.min(mono.len());
            mono.drain(..skipped);
            skip -= skipped;
            mono.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= mono.len() as u64;
            if !mono.is_empty() && sender.send(Ok(Bytes::from(mono))).await.is_err() {
                return;
            }
        }
    });
    Ok(Body::from_stream(ReceiverStream::new(receiver)))
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
}
