//! Credentials: written, never read back. `secret` goes in and a hint comes out.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::agent::engines;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    agents::credentials::{self, CredentialError, Row},
    audit,
    http::{
        State,
        actor::Actor,
        change::Change,
        error::{ApiError, Detail, ErrorEnvelope},
        etag::{IfMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    time::{now_ms, rfc3339},
};

/// What the server sets.
const READ_ONLY: &[&str] = &["id", "hint", "version", "created_at", "updated_at"];

/// A credential, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Credential {
    id: String,
    /// Whose key it is.
    provider: String,
    name: String,
    /// The last four characters of the secret.
    hint: String,
    /// Where the vendor is, if not at its usual place.
    base_url: Option<String>,
    version: i64,
    created_at: String,
    updated_at: String,
}

fn show(row: Row) -> Credential {
    Credential {
        id: row.id,
        provider: row.provider,
        name: row.name,
        hint: row.hint,
        base_url: row.base_url,
        version: row.version,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
    }
}

/// A credential as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"provider": "openai", "name": "production", "secret": "sk-…"}))]
pub(crate) struct Wanted {
    /// A provider of any stage, or `webhook` for keys of the tenant's own servers. It does not change.
    provider: String,
    /// 1 to 64 characters, unique for its provider.
    name: String,
    /// 1 to 4096 characters; never shown again. When a credential is replaced without one, the old one stays.
    secret: Option<String>,
    /// Only with `http` or `https`, without user name, query and fragment.
    base_url: Option<String>,
}

impl From<CredentialError> for ApiError {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Sql(error) => error.into(),
            CredentialError::Seal(error) => {
                tracing::error!(%error, "a credential cannot be sealed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
            }
        }
    }
}

fn check(wanted: &Wanted) -> Result<(), ApiError> {
    let mut faults = Vec::new();
    let mut add = |field: &str, message: &str| {
        faults.push(Detail { field: field.into(), code: "validation_failed".into(), message: message.into() });
    };
    let known = [engines::STT, engines::LLM, engines::TTS, engines::REALTIME].concat();
    let keyless = ["auto", "builtin", "flow", "exec"];
    if wanted.provider != "webhook"
        && (!known.contains(&wanted.provider.as_str()) || keyless.contains(&wanted.provider.as_str()))
    {
        add("provider", "provider is one of those of GET providers that need a key, or webhook");
    }
    if !(1..=64).contains(&wanted.name.chars().count()) || wanted.name.contains('\0') {
        add("name", "name has 1 to 64 characters");
    }
    let printable = |secret: &str| secret.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    if wanted.secret.as_deref().is_some_and(|secret| secret.is_empty() || secret.len() > 4096 || !printable(secret)) {
        add("secret", "secret has 1 to 4096 printable ASCII characters");
    }
    if faults.is_empty() { Ok(()) } else { Err(ApiError::faults(faults)) }
}

async fn place(state: &State, url: Option<&str>) -> Result<(), ApiError> {
    let Some(url) = url else { return Ok(()) };
    let forbidden = |why: String| ApiError::new(StatusCode::BAD_REQUEST, "url_forbidden", why).at("base_url");
    let read = state.app.tools.outward().guard().check(url).await.map_err(|why| forbidden(why.to_string()))?;
    if read.query().is_some() || read.fragment().is_some() {
        return Err(forbidden("base_url is scheme, host and path only".to_owned()));
    }
    Ok(())
}

/// Credentials, newest first; never their secrets.
#[utoipa::path(get, path = "/api/v1/credentials", tag = "agents", operation_id = "listCredentials", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Credential>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<Credential>>, ApiError> {
    actor.needs("credentials:read")?;
    let listing = Listing::open(&state, &actor, "credentials", &page).await?;
    let rows = state.app.store.credentials(actor.tenant, &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.id.clone()), show)))
}

/// Store a key of a vendor. It is sealed and never shown again.
#[utoipa::path(post, path = "/api/v1/credentials", tag = "agents", operation_id = "createCredential", request_body = Wanted,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Credential, headers(("Location" = String), ("ETag" = String))),
        (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("credentials:write")?;
    let wanted: Wanted = change.create(READ_ONLY)?;
    check(&wanted)?;
    let secret = wanted.secret.ok_or_else(|| ApiError::invalid("secret", "secret is required"))?;
    place(&state, wanted.base_url.as_deref()).await?;
    let now = now_ms();
    let row = Row {
        id: uuid::Uuid::now_v7().to_string(),
        provider: wanted.provider,
        name: wanted.name,
        hint: credentials::hint(&secret),
        base_url: wanted.base_url,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let mut tx = state.app.store.begin().await?;
    if !credentials::create(&mut tx, &state.app.seal, actor.tenant, &row, &secret).await? {
        return Err(ApiError::conflict("name_taken", "there is a credential of this provider and name").at("name"));
    }
    let diff = json!({"provider": row.provider, "name": row.name, "hint": row.hint});
    audit::note(&mut tx, &actor, "credential.create", "credential", &row.id, Some(&diff)).await?;
    tx.commit().await?;
    let location = format!("/api/v1/credentials/{}", row.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(1, show(row))).into_response())
}

async fn find(state: &State, actor: &Actor, id: &str) -> Result<Row, ApiError> {
    super::id::<uuid::Uuid>(id)?;
    state.app.store.credential(actor.tenant, id).await?.ok_or_else(ApiError::not_found)
}

/// Replace a credential; calls that run keep the key they began with.
#[utoipa::path(put, path = "/api/v1/credentials/{id}", tag = "agents", operation_id = "replaceCredential",
    params(("id" = String, Path, description = "The credential")), request_body = Wanted,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Credential, headers(("ETag" = String))), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn replace(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<String>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
    change: Change,
) -> Result<Tagged<Credential>, ApiError> {
    actor.needs("credentials:write")?;
    let stored = find(&state, &actor, &id).await?;
    if_match.check(stored.version, actor.require_if_match)?;
    let wanted: Wanted = change.replace(&json!(show(stored.clone())), READ_ONLY)?;
    check(&wanted)?;
    if wanted.provider != stored.provider {
        return Err(
            ApiError::new(StatusCode::BAD_REQUEST, "read_only_field", "provider does not change").at("provider")
        );
    }
    place(&state, wanted.base_url.as_deref()).await?;
    let hint = wanted.secret.as_deref().map_or_else(|| stored.hint.clone(), credentials::hint);
    let row = Row { name: wanted.name, base_url: wanted.base_url, hint, ..stored };
    let mut tx = state.app.store.begin().await?;
    let moved = credentials::change(&mut tx, &state.app.seal, actor.tenant, &row, wanted.secret.as_deref()).await;
    let moved = moved.map_err(|error| match error {
        CredentialError::Sql(sqlx::Error::Database(database)) if database.is_unique_violation() => {
            ApiError::conflict("name_taken", "there is a credential of this provider and name").at("name")
        }
        error => error.into(),
    })?;
    if !moved {
        return Err(IfMatch::conflict());
    }
    let diff = json!({"name": row.name, "hint": row.hint, "base_url": row.base_url});
    audit::note(&mut tx, &actor, "credential.update", "credential", &row.id, Some(&diff)).await?;
    tx.commit().await?;
    let row = find(&state, &actor, &id).await?;
    Ok(Tagged(row.version, show(row)))
}

/// Delete a credential that no agent names.
#[utoipa::path(delete, path = "/api/v1/credentials/{id}", tag = "agents", operation_id = "deleteCredential",
    params(("id" = String, Path, description = "The credential")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`in_use`: `details` lists the agents that name it"), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<String>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
) -> Result<StatusCode, ApiError> {
    actor.needs("credentials:write")?;
    let stored = find(&state, &actor, &id).await?;
    if_match.check(stored.version, actor.require_if_match)?;
    let mut tx = state.app.store.begin().await?;
    let users = credentials::users(&mut tx, actor.tenant, &id).await?;
    if !users.is_empty() {
        let mut error = ApiError::conflict("in_use", "agents name this credential");
        let detail = |(id, name): (String, String)| Detail { field: "agent".into(), code: id, message: name };
        error.details = users.into_iter().map(detail).collect();
        return Err(error);
    }
    credentials::delete(&mut tx, actor.tenant, &id).await?;
    audit::note(&mut tx, &actor, "credential.delete", "credential", &id, None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
