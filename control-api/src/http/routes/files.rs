//! Files: those that were ordered, and bills that are sent here for a port request.

use axum::{
    Json,
    extract::{Request, State as Extract},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::FileId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    archive::Media,
    audit,
    files::{FileRow, Sent},
    http::{
        State,
        actor::Actor,
        body,
        download::{self, LINK_MS, SignedQuery, Target, no_media},
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        multipart,
        query::{NoParameters, Query},
    },
    time::{now_ms, rfc3339},
};

/// A file at most, bytes.
const LARGEST: usize = 10 << 20;
/// A body at most: the file and what stands around it.
pub(crate) const BODY_LIMIT: usize = LARGEST + (64 << 10);
/// The scope of those who send bills and see them.
const BILLS: &str = "numbers:buy";

/// Send a bill for `POST numbers/port` (`multipart/form-data` with `file`: PDF, PNG or JPEG, at most 10 MiB). It is kept for thirty days.
#[utoipa::path(post, path = "/api/v1/files", tag = "numbers", operation_id = "uploadFile",
    request_body(content = String, content_type = "multipart/form-data"), security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = FileView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 413, body = ErrorEnvelope), (status = 415, body = ErrorEnvelope)))]
pub(crate) async fn upload(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    actor.needs(BILLS)?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let boundary = multipart::boundary(content_type).ok_or_else(|| unknown("the body is multipart/form-data"))?;
    let bytes = body::bytes(request, &state).await?;
    let part = multipart::part(&bytes, &boundary, "file")
        .ok_or_else(|| ApiError::invalid("file", "a part named file is needed"))?;
    if part.content.len() > LARGEST {
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a file has at most 10 MiB"));
    }
    let (kind, ending) = kind_of(part.content).ok_or_else(|| unknown("a bill is a PDF, PNG or JPEG").at("file"))?;
    let sent = Sent::new(actor.tenant, kind, ending, part.content.len());
    sent.write(&state.app.settings.files, part.content).await.map_err(ApiError::internal)?;
    if let Err(error) = note(&state, &actor, &sent).await {
        sent.remove(&state.app.settings.files).await;
        return Err(error);
    }
    let location = format!("/api/v1/files/{}", sent.id);
    let (expires_at, bytes) = (rfc3339(sent.expires_at()), Some(sent.bytes));
    let shown = FileView { id: sent.id, state: "ready".into(), url: None, expires_at, bytes };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(shown)).into_response())
}

/// The row of a file that lies in its place, and who sent it.
async fn note(state: &State, actor: &Actor, sent: &Sent) -> Result<(), ApiError> {
    let mut tx = state.app.store.begin().await?;
    sent.add(&mut tx).await?;
    audit::note(&mut tx, actor, "file.create", "file", &sent.id, None).await?;
    tx.commit().await?;
    Ok(())
}

fn unknown(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
}

/// By the first bytes: names and types of clients are no evidence.
fn kind_of(content: &[u8]) -> Option<(&'static str, &'static str)> {
    match content {
        [b'%', b'P', b'D', b'F', b'-', ..] => Some(("application/pdf", "pdf")),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(("image/png", "png")),
        [0xff, 0xd8, 0xff, ..] => Some(("image/jpeg", "jpg")),
        _ => None,
    }
}

/// A file that was ordered or sent here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FileView {
    id: String,
    /// `queued`, `ready`, `failed` or `expired`.
    state: String,
    /// Good for 15 minutes, without further credential.
    url: Option<String>,
    /// When the file goes.
    expires_at: String,
    bytes: Option<i64>,
}

/// How far a file is, and where to fetch it.
#[utoipa::path(get, path = "/api/v1/files/{id}", tag = "records", operation_id = "getFile",
    params(("id" = String, Path, description = "The file")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = FileView), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn file(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<FileId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<FileView>, ApiError> {
    let row = state.app.store.file(&id.to_string()).await?.filter(|row| row.tenant == actor.tenant);
    let row = row.ok_or_else(ApiError::not_found)?;
    // A file shows what its kind shows elsewhere.
    actor.needs(match row.kind.as_str() {
        "bill" => BILLS,
        "report" => "analytics:read",
        _ if row.request["what"] == "leads" => "leads:read",
        _ => "calls:export",
    })?;
    let gone = row.expires_at < now_ms();
    let url = match (&row.locator, row.state.as_str()) {
        (Some(_), "ready") if !gone => {
            let expires = now_ms() + LINK_MS;
            let tenant = row.tenant.to_string();
            let signature = target(&row, &tenant).sign(&state, expires).await?;
            Some(format!("/api/v1/files/{id}/content?expires={expires}&signature={signature}"))
        }
        _ => None,
    };
    Ok(Json(FileView {
        id: row.id,
        state: if gone { "expired".into() } else { row.state },
        url,
        expires_at: rfc3339(row.expires_at),
        bytes: row.bytes,
    }))
}

/// The bytes behind a signed link; no other credential is needed.
#[utoipa::path(get, path = "/api/v1/files/{id}/content", tag = "records", operation_id = "downloadFile",
    params(("id" = String, Path, description = "The file"), SignedQuery),
    responses((status = 200, body = Vec<u8>), (status = 206, description = "a part, with Range"), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 410, body = ErrorEnvelope)))]
pub(crate) async fn content(
    Extract(state): Extract<State>,
    Id(id): Id<FileId>,
    Query(query): Query<SignedQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let row = state.app.store.file(&id.to_string()).await?.ok_or_else(download::refused)?;
    let tenant = row.tenant.to_string();
    target(&row, &tenant).check(&state, &query).await?;
    if row.expires_at < now_ms() {
        return Err(ApiError::new(StatusCode::GONE, "gone", "the file is past its days"));
    }
    let target = target(&row, &tenant);
    let media = Media::file(&state.app.settings.files.dir, row.locator.as_deref().unwrap_or_default()).await;
    download::send(media.map_err(|fault| no_media(&target, fault))?, &target, &row.content_type, &headers).await
}

fn target<'a>(row: &'a FileRow, tenant: &'a str) -> Target<'a> {
    Target { kind: "file", tenant, id: &row.id, side: "", format: "" }
}
