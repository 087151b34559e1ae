//! The recording: a signed link, or the bytes themselves with ranges (RFC 9110 §14).

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use domain::{CallId, RecordingId};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;

use super::calls::find;
use crate::{
    after,
    archive::{self, NoMedia},
    audit,
    http::{
        State,
        actor::Actor,
        download::{self, LINK_MS, SignedQuery, Target, no_media},
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::{NoParameters, Query},
    },
    store::records::RecordingRow,
    time::{now_ms, rfc3339},
    view::Recording,
};

/// How to get it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecordingQuery {
    /// `true`: 302 to the signed link.
    redirect: Option<bool>,
    /// `stored` (the default): as it lies. `wav`: decoded where it is stored as Ogg Opus. `ogg`: 406 if it is stored as WAV.
    format: Option<String>,
    /// `both` (the default), `caller` or `agent`; one side is always WAV.
    channel: Option<String>,
}

/// The recording of a call: a link, or with `Accept: audio/*` the bytes.
#[utoipa::path(get, path = "/api/v1/calls/{id}/recording", tag = "calls", operation_id = "getRecording",
    params(("id" = String, Path, description = "The call"), RecordingQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Recording), (status = 202, description = "still being written"),
        (status = 206, description = "a part, with Accept: audio/* and Range"), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 406, body = ErrorEnvelope, description = "not in that format"),
        (status = 410, body = ErrorEnvelope), (status = 416, body = ErrorEnvelope),
        (status = 502, body = ErrorEnvelope, description = "`vendor_failed`: the object store does not answer")))]
pub(crate) async fn recording(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(query): Query<RecordingQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    actor.needs("recordings:read")?;
    let side = side(query.channel.as_deref())?;
    let wanted = Wanted::of(query.format.as_deref())?;
    find(&state, &actor, id).await?;
    let row = state.app.store.recording_of(id).await?.ok_or_else(ApiError::not_found)?;
    match row.state.as_str() {
        "ready" if is_past(&row) => return Err(gone()),
        "ready" => {}
        "writing" | "stored" => {
            return Ok(not_yet(&row.state));
        }
        "deleted" => return Err(gone()),
        _ => return Err(ApiError::not_found()),
    }
    let format = wanted.made_of(&row, side)?;
    if wants_audio(&headers) {
        return bytes(&state, row, (side, format), &headers).await;
    }
    let expires = now_ms() + LINK_MS;
    let signature = target(&row, (side, format)).sign(&state, expires).await?;
    let mut url = format!("/api/v1/recordings/{}?expires={expires}&signature={signature}", row.id);
    for (name, value) in [("channel", side), ("format", format)] {
        if !value.is_empty() {
            url.push_str(&format!("&{name}={value}"));
        }
    }
    let as_stored = side.is_empty() && (format.is_empty() || row.format == "wav");
    if query.redirect == Some(true) {
        // A Location that axum cannot write as a header would panic there; ours is ASCII throughout.
        return Ok((StatusCode::FOUND, Redirect::temporary(&url).into_response().headers().clone()).into_response());
    }
    Ok(Json(Recording {
        url,
        expires_at: rfc3339(expires),
        format: if as_stored { row.format } else { "wav".into() },
        channels: if side.is_empty() { row.channels } else { 1 },
        duration_ms: row.duration_ms,
        // Of the file as it is stored.
        bytes: row.bytes.filter(|_| as_stored),
        sha256: row.sha256.filter(|_| as_stored),
    })
    .into_response())
}

/// The bytes behind a signed link; no other credential is needed.
#[utoipa::path(get, path = "/api/v1/recordings/{id}", tag = "calls", operation_id = "downloadRecording",
    params(("id" = String, Path, description = "The recording"), SignedQuery),
    responses((status = 200, content_type = "audio/ogg", body = Vec<u8>, description = "or `audio/wav`"), (status = 206, description = "a part, with Range"),
        (status = 202, description = "still on its way from the node that recorded it"), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 410, body = ErrorEnvelope),
        (status = 502, body = ErrorEnvelope, description = "`vendor_failed`: the object store does not answer")))]
pub(crate) async fn signed(
    Extract(state): Extract<State>,
    Id(id): Id<RecordingId>,
    Query(query): Query<SignedQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // Without a row there is nothing to check against, and the answer must not tell.
    let row = state.app.store.recording(&id.to_string()).await?.ok_or_else(download::refused)?;
    let side = side(query.channel.as_deref())?;
    let format = match query.format.as_deref() {
        None => "",
        Some("wav") => "wav",
        Some(_) => return Err(download::refused()),
    };
    target(&row, (side, format)).check(&state, &query).await?;
    if row.state == "deleted" || is_past(&row) {
        return Err(gone());
    }
    bytes(&state, row, (side, format), &headers).await
}

/// Deletes the recording of an ended call for good.
#[utoipa::path(delete, path = "/api/v1/calls/{id}/recording", tag = "calls", operation_id = "deleteRecording",
    params(("id" = String, Path, description = "The call")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`call_active`: it is still being written")))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    actor.needs("calls:delete")?;
    find(&state, &actor, id).await?;
    let row = state.app.store.recording_of(id).await?.ok_or_else(ApiError::not_found)?;
    if row.state == "writing" {
        return Err(ApiError::conflict("call_active", "the recording is still being written"));
    }
    after::delete_recordings(&state.app.store, &state.app.recordings, id).await?;
    let mut tx = state.app.store.begin().await?;
    audit::note(&mut tx, &actor, "recording.delete", "call", &id.to_string(), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes, wherever they lie by now and as whatever.
async fn bytes(
    state: &State,
    mut row: RecordingRow,
    shape: (&str, &str),
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let mut media = state.app.recordings.media(&row.locator, row.bytes).await;
    // It may have been encoded since the row was read, and then gone to the bucket.
    for _ in 0..2 {
        if !matches!(media, Err(NoMedia::Absent)) {
            break;
        }
        let now = state.app.store.recording(&row.id).await?.ok_or_else(ApiError::not_found)?;
        if now.state == "deleted" {
            return Err(gone());
        }
        if now.locator == row.locator {
            if archive::is_pending(&state.app.store, &state.app.recordings, &row.id).await? {
                // Another node has it, and will move it.
                return Ok(not_yet("stored"));
            }
            break;
        }
        media = state.app.recordings.media(&now.locator, now.bytes).await;
        row = now;
    }
    let target = target(&row, shape);
    let media = media.map_err(|fault| no_media(&target, fault))?;
    download::send(media, &target, archive::content_type(&row.format), headers).await
}

/// The format that is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Stored,
    Wav,
    Ogg,
}

impl Wanted {
    fn of(format: Option<&str>) -> Result<Self, ApiError> {
        match format {
            None | Some("stored") => Ok(Self::Stored),
            Some("wav") => Ok(Self::Wav),
            Some("ogg") => Ok(Self::Ogg),
            Some(_) => Err(ApiError::invalid("format", "format is stored, wav or ogg")),
        }
    }

    /// What is to be made of a recording: `wav`, or "" for what lies there.
    fn made_of(self, row: &RecordingRow, side: &str) -> Result<&'static str, ApiError> {
        let refused = |message: &str, at: &'static str| {
            Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message).at(at))
        };
        if !side.is_empty() && row.channels != 2 {
            return refused("the recording has no two sides that can be told apart here", "channel");
        }
        match self {
            Self::Stored => Ok(""),
            Self::Wav => Ok("wav"),
            Self::Ogg if !side.is_empty() => refused("one side comes as WAV", "format"),
            Self::Ogg if row.format != archive::OGG_OPUS => {
                let message = "the recording is stored as WAV: its agent's recording.format says so, or it is still to be encoded";
                refused(message, "format")
            }
            Self::Ogg => Ok(""),
        }
    }
}

fn not_yet(state: &str) -> Response {
    (StatusCode::ACCEPTED, [(header::RETRY_AFTER, "1")], Json(json!({"state": state}))).into_response()
}

fn is_past(row: &RecordingRow) -> bool {
    row.expires_at.is_some_and(|at| at <= now_ms())
}

/// The side that is asked for; "" = both.
fn side(channel: Option<&str>) -> Result<&'static str, ApiError> {
    match channel {
        None | Some("both") => Ok(""),
        Some("caller") => Ok("caller"),
        Some("agent") => Ok("agent"),
        Some(_) => Err(ApiError::invalid("channel", "channel is both, caller or agent")),
    }
}

fn gone() -> ApiError {
    ApiError::new(StatusCode::GONE, "gone", "the recording is past its retention")
}

fn target<'a>(row: &'a RecordingRow, (side, format): (&'a str, &'a str)) -> Target<'a> {
    Target { kind: "recording", tenant: &row.tenant, id: &row.id, side, format }
}

fn wants_audio(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|kind| kind.trim_start().starts_with("audio/"))
}
