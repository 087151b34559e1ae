//! What an agent knows: documents added, listed, removed, and asked.

use axum::{
    Json,
    extract::{Path, Request, State as Extract},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::AgentId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id;
use crate::{
    agents::{
        edit,
        knowledge::{self, Added, Document, text::Kind},
    },
    audit,
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        list::List,
        multipart,
        query::{NoParameters, Query},
    },
    net::{self, UrlRefused},
    time::rfc3339,
};

/// A file at most, bytes.
const LARGEST: usize = 10 << 20;
/// A body at most: the file and what stands around it.
pub(crate) const BODY_LIMIT: usize = LARGEST + (64 << 10);

/// A document, without what it says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DocumentView {
    id: String,
    title: String,
    /// `text`, `markdown`, `html`, `csv` or `json`.
    kind: String,
    bytes: i64,
    /// `ready`: it can be asked.
    status: String,
    created_at: String,
}

fn show(document: Document) -> DocumentView {
    DocumentView {
        id: document.id,
        title: document.title,
        kind: document.kind,
        bytes: document.bytes,
        status: document.status,
        created_at: rfc3339(document.created_at),
    }
}

/// What an agent knows, newest first.
#[utoipa::path(get, path = "/api/v1/agents/{id}/knowledge", tag = "agents", operation_id = "listKnowledge",
    params(("id" = String, Path, description = "The agent")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<DocumentView>), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(agent): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<List<DocumentView>>, ApiError> {
    actor.needs("agents:read")?;
    edit::find(&state, &actor, agent).await?;
    let data = state.app.store.knowledge(agent).await?.into_iter().map(show).collect();
    Ok(Json(List { data, next_cursor: None }))
}

/// A text that an agent is to know.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"title": "Prices", "text": "A cleaning costs ninety dollars."}))]
pub(crate) struct NewText {
    /// 1 to 200 characters; may be left out with `url`.
    title: Option<String>,
    /// 1 to 500000 characters.
    text: Option<String>,
    /// Instead of `text`: where a txt, md, html, csv or json file of at most 10 MiB lies. It is read once, now.
    url: Option<String>,
}

/// Add a text (`{title, text}`), what lies at a URL (`{url, title?}`), or a file (`multipart/form-data` with `file`: txt, md, html, csv or
/// json, at most 10 MiB).
/// The same bytes again are the document that is there already.
#[utoipa::path(post, path = "/api/v1/agents/{id}/knowledge", tag = "agents", operation_id = "addKnowledge",
    params(("id" = String, Path, description = "The agent")),
    request_body(content((NewText = "application/json"), (String = "multipart/form-data"))),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = DocumentView), (status = 200, body = DocumentView, description = "it was there already"),
        (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope), (status = 413, body = ErrorEnvelope), (status = 415, body = ErrorEnvelope),
        (status = 502, body = ErrorEnvelope), (status = 504, body = ErrorEnvelope)))]
pub(crate) async fn add(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(agent): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, ApiError> {
    actor.needs("agents:write")?;
    edit::find(&state, &actor, agent).await?;
    let bytes = body::bytes(request, &state).await?;
    let (title, kind, content) = match read(&headers, &bytes)? {
        Brought::Here(title, kind, content) => (title, kind, content),
        Brought::At(title, url) => fetch(&state, title, &url).await?,
    };
    // Cutting ten megabytes takes a while that others should not wait for.
    let cut = tokio::task::spawn_blocking(move || knowledge::cut(title, kind, &content)).await;
    let cut = cut.map_err(|_| ApiError::store_unavailable())?.map_err(|why| ApiError::invalid("file", why))?;
    let mut tx = state.app.store.begin().await?;
    match knowledge::add(&mut tx, actor.tenant, actor.livemode, agent, &cut).await? {
        Added::Known(document) => Ok(Json(show(document)).into_response()),
        Added::Full => Err(ApiError::conflict("knowledge_full", "an agent has at most 500 documents and 50 MiB")),
        Added::New(document) => {
            audit::note(&mut tx, &actor, "knowledge.add", "agent", &agent.to_string(), None).await?;
            tx.commit().await?;
            Ok((StatusCode::ACCEPTED, Json(show(document))).into_response())
        }
    }
}

/// What a request brings.
enum Brought {
    Here(String, Kind, Vec<u8>),
    /// Title and URL.
    At(Option<String>, String),
}

/// Longest wait for a document that lies elsewhere.
const FETCH: std::time::Duration = std::time::Duration::from_secs(15);

/// Reads what lies at a URL, by the guarded way; redirects are not followed.
async fn fetch(state: &State, title: Option<String>, url: &str) -> Result<(String, Kind, Vec<u8>), ApiError> {
    let outward = state.app.tools.outward();
    let forbidden =
        |why: UrlRefused| ApiError::new(StatusCode::BAD_REQUEST, "url_forbidden", why.to_string()).at("url");
    let place = outward.guard().check(url).await.map_err(forbidden)?;
    let failed = |why: String| ApiError::new(StatusCode::BAD_GATEWAY, "vendor_failed", why).at("url");
    let file = place.path().rsplit('/').next().unwrap_or_default().to_owned();
    let shown = format!("{}{}", place.host_str().unwrap_or_default(), place.path());
    let get = async {
        let response =
            outward.request(reqwest::Method::GET, place).send().await.map_err(|error| match net::refusal(&error) {
                Some(why) => forbidden(why),
                None => failed("the URL cannot be read".to_owned()),
            })?;
        if !response.status().is_success() {
            return Err(failed(format!("the server there answered {}", response.status().as_u16())));
        }
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let content = net::body(response, LARGEST).await.map_err(|error| match error {
            net::BodyFault::TooLarge(_) => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a file has at most 10 MiB").at("url")
            }
            net::BodyFault::Broken(_) => failed("the answer broke off".to_owned()),
        })?;
        Ok((content_type, content))
    };
    let slow =
        |_| ApiError::new(StatusCode::GATEWAY_TIMEOUT, "vendor_timeout", "no whole answer within 15 s").at("url");
    let (content_type, content) = tokio::time::timeout(FETCH, get).await.map_err(slow)??;
    let kind = Kind::of("", &content_type).or_else(|| Kind::of(&file, "")).ok_or_else(|| unknown_kind("url"))?;
    Ok((title.unwrap_or_else(|| shown.chars().take(200).collect()), kind, content))
}

fn unknown_kind(field: &str) -> ApiError {
    let message = "a file is txt, md, html, csv or json";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message).at(field)
}

fn read(headers: &HeaderMap, bytes: &[u8]) -> Result<Brought, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if let Some(boundary) = multipart::boundary(content_type) {
        let part = multipart::part(bytes, &boundary, "file")
            .ok_or_else(|| ApiError::invalid("file", "a part named file is needed"))?;
        if part.content.len() > LARGEST {
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a file has at most 10 MiB"));
        }
        let file = part.file.unwrap_or_default();
        let kind = Kind::of(&file, &part.content_type).ok_or_else(|| unknown_kind("file"))?;
        let title = if file.is_empty() { "file".to_owned() } else { file.chars().take(200).collect() };
        return Ok(Brought::Here(title, kind, part.content.to_vec()));
    }
    let new: NewText = body::read(&mut serde_json::Deserializer::from_slice(bytes))?;
    let sound = |title: &String| (1..=200).contains(&title.chars().count()) && !title.contains('\0');
    if new.title.as_ref().is_some_and(|title| !sound(title)) || (new.title.is_none() && new.text.is_some()) {
        return Err(ApiError::invalid("title", "title has 1 to 200 characters"));
    }
    match (new.title, new.text, new.url) {
        (Some(title), Some(text), None) if (1..=500_000).contains(&text.chars().count()) => {
            Ok(Brought::Here(title, Kind::Text, text.into_bytes()))
        }
        (_, Some(_), None) => Err(ApiError::invalid("text", "text has 1 to 500000 characters")),
        (title, None, Some(url)) => Ok(Brought::At(title, url)),
        _ => Err(ApiError::invalid("text", "exactly one of text and url is needed")),
    }
}

/// One document, without what it says.
#[utoipa::path(get, path = "/api/v1/agents/{id}/knowledge/{doc_id}", tag = "agents", operation_id = "getKnowledge",
    params(("id" = String, Path, description = "The agent"), ("doc_id" = String, Path, description = "The document")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = DocumentView), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Path((agent, document)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<DocumentView>, ApiError> {
    actor.needs("agents:read")?;
    let agent = id(&agent)?;
    edit::find(&state, &actor, agent).await?;
    let found = state.app.store.knowledge(agent).await?.into_iter().find(|one| one.id == document);
    found.map(|found| Json(show(found))).ok_or_else(ApiError::not_found)
}

/// Forget a document.
#[utoipa::path(delete, path = "/api/v1/agents/{id}/knowledge/{doc_id}", tag = "agents", operation_id = "deleteKnowledge",
    params(("id" = String, Path, description = "The agent"), ("doc_id" = String, Path, description = "The document")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Path((agent, document)): Path<(String, String)>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    actor.needs("agents:write")?;
    let agent: AgentId = id(&agent)?;
    id::<uuid::Uuid>(&document)?;
    edit::find(&state, &actor, agent).await?;
    let mut tx = state.app.store.begin().await?;
    if !knowledge::remove(&mut tx, agent, &document).await? {
        return Err(ApiError::not_found());
    }
    audit::note(&mut tx, &actor, "knowledge.delete", "agent", &agent.to_string(), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"query": "What does a cleaning cost?", "top_k": 4}))]
pub(crate) struct Question {
    /// 1 to 1000 characters.
    query: String,
    /// 1 to 20; 4 when absent.
    top_k: Option<usize>,
}

/// A passage that answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PassageView {
    doc_id: String,
    title: String,
    text: String,
    /// Above 0, at most 1: 1 speaks of everything that was asked.
    score: f64,
}

/// Ask what an agent knows.
#[utoipa::path(post, path = "/api/v1/agents/{id}/knowledge/search", tag = "agents", operation_id = "searchKnowledge",
    params(("id" = String, Path, description = "The agent")), request_body = Question,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<PassageView>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn search(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(agent): Id<AgentId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(question): body::Json<Question>,
) -> Result<Json<List<PassageView>>, ApiError> {
    actor.needs("agents:read")?;
    edit::find(&state, &actor, agent).await?;
    if !(1..=1000).contains(&question.query.chars().count()) {
        return Err(ApiError::invalid("query", "query has 1 to 1000 characters"));
    }
    let top = question.top_k.unwrap_or(4);
    if !(1..=20).contains(&top) {
        return Err(ApiError::invalid("top_k", "top_k is a whole number from 1 to 20"));
    }
    let shelf = state.app.shelves.of(actor.tenant, agent).await?;
    let found = shelf.map(|shelf| shelf.search(&question.query, top, 0.0)).unwrap_or_default();
    let view = |passage: knowledge::Passage| PassageView {
        doc_id: passage.doc_id,
        title: passage.title,
        text: passage.text,
        score: passage.score,
    };
    Ok(Json(List { data: found.into_iter().map(view).collect(), next_cursor: None }))
}
