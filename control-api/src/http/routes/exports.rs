//! Exports: at once, or as files.

use axum::{
    Json,
    body::Body,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use sqlx::Row as _;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use utoipa::{IntoParams, ToSchema};

use super::{calls::ListQuery, leads::check_filter};
use crate::{
    audit,
    files::{
        self,
        export::{self, CALL_COLUMNS, Export, Format, INCLUDES, What},
    },
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        query::{self, NoParameters, Query},
    },
    leads::rows::LeadFilter,
};

/// Leads that are streamed at once; more become a file.
const AT_ONCE: i64 = 10_000;

/// Which calls, and how.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"format": "csv", "filter": {"status": "completed"}, "created_after": "2026-11-01T00:00:00Z"}))]
pub(crate) struct CallExport {
    /// `csv` or `jsonl`.
    format: Format,
    /// As in `GET calls`.
    #[serde(default)]
    filter: ListQuery,
    /// Created at or after this time.
    created_after: Option<String>,
    /// Created before this time.
    created_before: Option<String>,
    /// Columns of a CSV, as dotted paths into a call; a useful set when absent.
    columns: Option<Vec<String>>,
    /// `transcript`, `cost`, `analysis`.
    #[serde(default)]
    include: Vec<String>,
}

/// Exports calls, at most a million, into a file that is kept for seven days.
#[utoipa::path(post, path = "/api/v1/calls/export", tag = "calls", operation_id = "exportCalls", request_body = CallExport,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, description = "`{\"id\",\"state\":\"queued\"}`; see `GET files/{id}`"), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn calls(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(wanted): body::Json<CallExport>,
) -> Result<Response, ApiError> {
    actor.needs("calls:export")?;
    for (include, scope) in [("transcript", "transcripts:read"), ("cost", "calls:read"), ("analysis", "calls:read")] {
        if wanted.include.iter().any(|wanted| wanted == include) {
            actor.needs(scope)?;
        }
    }
    known("include", &wanted.include, INCLUDES)?;
    let columns =
        wanted.columns.unwrap_or_else(|| CALL_COLUMNS.iter().take(18).map(|column| (*column).to_owned()).collect());
    known("columns", &columns, CALL_COLUMNS)?;
    let export = Export {
        format: wanted.format,
        created_after: query::when("created_after", wanted.created_after.as_deref())?,
        created_before: query::when("created_before", wanted.created_before.as_deref())?,
        what: What::Calls {
            livemode: actor.livemode,
            filter: wanted.filter.filter()?,
            columns,
            include: wanted.include,
            pii: actor.has("calls:pii"),
        },
    };
    order(&state, &actor, &export).await
}

fn known(field: &str, words: &[String], known: &[&str]) -> Result<(), ApiError> {
    match words.iter().find(|word| !known.contains(&word.as_str())) {
        Some(word) => Err(ApiError::invalid(field, format!("{word:?} is none of {}", known.join(", ")))),
        None => Ok(()),
    }
}

async fn order(state: &State, actor: &Actor, export: &Export) -> Result<Response, ApiError> {
    let request = serde_json::to_value(export).unwrap_or_default();
    let mut tx = state.app.store.begin().await?;
    let id = files::order(&mut tx, actor.tenant, "export", export.format.content_type(), &request).await?;
    audit::note(&mut tx, actor, "export.create", "file", &id, None).await?;
    tx.commit().await?;
    state.app.store.ring();
    let location = format!("/api/v1/files/{id}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(json!({"id": id, "state": "queued"})))
        .into_response())
}

/// Which leads, and how.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LeadExport {
    /// `csv` (the default) or `jsonl`.
    format: Option<Format>,
    stage: Option<String>,
    q: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    agent_id: Option<String>,
    owner_id: Option<String>,
    created_after: Option<String>,
    created_before: Option<String>,
}

/// Exports leads: at once up to 10000, else into a file.
#[utoipa::path(get, path = "/api/v1/leads/export", tag = "leads", operation_id = "exportLeads", params(LeadExport),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, content_type = "text/csv", body = String), (status = 202, description = "`{\"id\",\"state\":\"queued\"}`; see `GET files/{id}`"),
        (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn leads(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(wanted): Query<LeadExport>,
) -> Result<Response, ApiError> {
    actor.needs("leads:read")?;
    let LeadExport { format, stage, q, phone, email, agent_id, owner_id, created_after, created_before } = wanted;
    let filter = LeadFilter { stage, q, phone, email, agent_id, owner_id };
    check_filter(&filter)?;
    let export = Export {
        format: format.unwrap_or_default(),
        created_after: query::when("created_after", created_after.as_deref())?,
        created_before: query::when("created_before", created_before.as_deref())?,
        what: What::Leads { filter },
    };
    let all: i64 = sqlx::query("SELECT COUNT(*) FROM leads WHERE tenant_id = $1 AND deleted_at IS NULL")
        .bind(actor.tenant.to_string())
        .fetch_one(state.app.store.pool())
        .await?
        .try_get(0)?;
    if all > AT_ONCE {
        return order(&state, &actor, &export).await;
    }
    let format = export.format;
    let lines = export::lines(state.app.store.clone(), actor.tenant, export);
    let body = Body::from_stream(ReceiverStream::new(lines).map(|chunk| chunk.map(Bytes::from)));
    let name = format!("attachment; filename=\"leads.{}\"", format.extension());
    Ok(([(header::CONTENT_TYPE, format.content_type().to_owned()), (header::CONTENT_DISPOSITION, name)], body)
        .into_response())
}
