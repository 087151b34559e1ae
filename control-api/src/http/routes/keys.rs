//! API keys: made once and shown once, listed by their prefix, revoked for ever (API §1.1).

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{ApiKeyId, UserId, event::Name};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    NewEvent, audit, emit,
    http::{
        State,
        actor::Actor,
        change::Change,
        error::{ApiError, Detail, ErrorEnvelope},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    scope::{Role, Scopes},
    seal,
    store::keys::{self, FASTEST, KeyRow},
    time::{self, now_ms, rfc3339},
};

/// What the server sets.
const READ_ONLY: &[&str] = &["id", "prefix", "created_by", "created_at", "last_used_at", "revoked_at", "key"];

/// An API key; the key itself is shown only in the answer that makes it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiKey {
    id: String,
    name: String,
    /// `live`, `test` or `public`.
    kind: String,
    /// The first 16 characters.
    prefix: String,
    scopes: Vec<String>,
    /// Agents that a public key may join.
    agent_ids: Option<Vec<String>>,
    /// Pages that a public key may be used on.
    origins: Option<Vec<String>>,
    /// Networks that the key may be used from; anywhere when null.
    #[schema(value_type = Option<Vec<String>>)]
    allowed_ips: Option<Vec<IpNet>>,
    rate_per_min: i64,
    created_by: Option<String>,
    created_at: String,
    /// Written at most once a minute.
    last_used_at: Option<String>,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    /// The key, this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

fn show(row: KeyRow) -> ApiKey {
    ApiKey {
        id: row.id.to_string(),
        name: row.name,
        kind: row.kind,
        prefix: row.prefix,
        scopes: row.scopes,
        agent_ids: row.agent_ids,
        origins: row.origins,
        allowed_ips: row.allowed_ips,
        rate_per_min: row.rate_per_min,
        created_by: row.created_by,
        created_at: rfc3339(row.created_at),
        last_used_at: row.last_used_at.map(rfc3339),
        expires_at: row.expires_at.map(rfc3339),
        revoked_at: row.revoked_at.map(rfc3339),
        key: None,
    }
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "reporting", "scopes": ["calls:read", "transcripts:read"]}))]
pub(crate) struct NewKey {
    /// 1 to 64 characters.
    name: String,
    /// `live` (the default), `test` (sees and makes only test objects) or `public` (joins web calls from named pages).
    #[serde(default)]
    kind: Kind,
    /// Scopes, or the presets `full`, `read_only`, `calls`, `dialler`, `billing`, `widget`. Never more than the maker holds.
    scopes: Vec<String>,
    expires_at: Option<String>,
    /// Networks as `192.0.2.0/24`, or single addresses.
    allowed_ips: Option<Vec<String>>,
    /// 1 to 6000; 100 when absent.
    rate_per_min: Option<i64>,
    agent_ids: Option<Vec<String>>,
    origins: Option<Vec<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Live,
    Test,
    Public,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
            Self::Public => "public",
        }
    }
}

/// The tenant's keys, newest first.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "keys", operation_id = "listApiKeys", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<ApiKey>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<ApiKey>>, ApiError> {
    actor.needs("keys:read")?;
    let listing = Listing::open(&state, &actor, ("api-keys", whose(&actor)), &page).await?;
    let rows = state.app.store.keys(actor.tenant, whose(&actor), &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.id.to_string()), show)))
}

/// Makes a key and shows it this once.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "keys", operation_id = "createApiKey", request_body = NewKey,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = ApiKey), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("keys:write")?;
    let wanted = check(&actor, change.create(READ_ONLY)?)?;
    let key = seal::fresh_key(&wanted.kind);
    let row = KeyRow { prefix: key.chars().take(16).collect(), ..wanted };
    let mut tx = state.app.store.begin().await?;
    keys::insert(&mut tx, actor.tenant, &row, &seal::sha256_hex(key.as_bytes())).await?;
    let id = row.id.to_string();
    let shown = json!({ "name": row.name, "kind": row.kind, "prefix": row.prefix, "scopes": row.scopes });
    audit::note(&mut tx, &actor, "key.create", "api_key", &id, Some(&shown)).await?;
    emit(&mut tx, event(&actor, Name::KeyCreated, &id)).await?;
    tx.commit().await?;
    let location = format!("/api/v1/api-keys/{id}");
    let made = ApiKey { key: Some(key), ..show(row) };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// One key.
#[utoipa::path(get, path = "/api/v1/api-keys/{id}", tag = "keys", operation_id = "getApiKey",
    params(("id" = String, Path, description = "The key")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = ApiKey), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<ApiKeyId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<ApiKey>, ApiError> {
    actor.needs("keys:read")?;
    Ok(Json(show(find(&state, &actor, id).await?)))
}

/// Whose keys an actor sees: a developer their own, everybody else all (API §6).
fn whose(actor: &Actor) -> Option<UserId> {
    actor.person.filter(|_| actor.role == Some(Role::Developer) && !actor.is_platform())
}

async fn find(state: &State, actor: &Actor, id: ApiKeyId) -> Result<KeyRow, ApiError> {
    let row = state.app.store.key(actor.tenant, id).await?;
    let own = |row: &KeyRow| whose(actor).is_none_or(|user| row.created_by.as_deref() == Some(&user.to_string()));
    row.filter(own).ok_or_else(ApiError::not_found)
}

/// Revokes a key, on this node at once and on all within five seconds.
#[utoipa::path(delete, path = "/api/v1/api-keys/{id}", tag = "keys", operation_id = "revokeApiKey",
    params(("id" = String, Path, description = "The key")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn revoke(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<ApiKeyId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    actor.needs("keys:write")?;
    find(&state, &actor, id).await?;
    let mut tx = state.app.store.begin().await?;
    if !keys::revoke(&mut tx, actor.tenant, id, now_ms()).await? {
        // Revoked before is as good.
        return Ok(StatusCode::NO_CONTENT);
    }
    audit::note(&mut tx, &actor, "key.revoke", "api_key", &id.to_string(), None).await?;
    emit(&mut tx, event(&actor, Name::KeyRevoked, &id.to_string())).await?;
    tx.commit().await?;
    state.keys.forget(id);
    Ok(StatusCode::NO_CONTENT)
}

fn event(actor: &Actor, kind: Name, id: &str) -> NewEvent {
    NewEvent { tenant: actor.tenant, livemode: actor.livemode, kind, data: json!({ "key_id": id }) }
}

/// The row that a body asks for, or everything that is wrong with it.
fn check(actor: &Actor, new: NewKey) -> Result<KeyRow, ApiError> {
    let mut faults = Vec::new();
    let mut fault = |field: &str, code: &str, message: String| {
        faults.push(Detail { field: field.into(), code: code.into(), message });
    };
    if !(1..=64).contains(&new.name.chars().count()) {
        fault("name", "out_of_range", "name has 1 to 64 characters".into());
    }
    let mut scopes = Scopes::NONE;
    for name in &new.scopes {
        match Scopes::asked(name, actor.scopes) {
            Some(asked) => scopes = scopes | asked,
            None => fault("scopes", "unknown_scope", format!("{name:?} is no scope")),
        }
    }
    if new.scopes.is_empty() {
        fault("scopes", "out_of_range", "at least one scope is needed".into());
    }
    let public = new.kind == Kind::Public;
    if public {
        if new.agent_ids.as_ref().is_none_or(Vec::is_empty) {
            fault("agent_ids", "required", "a public key names the agents that it may join".into());
        }
        if new.origins.as_ref().is_none_or(Vec::is_empty) {
            fault("origins", "required", "a public key names the pages that it may be used on".into());
        }
        if scopes.names() != ["web:join"] {
            fault("scopes", "out_of_range", "a public key has the scope web:join and no other".into());
        }
    }
    for origin in new.origins.iter().flatten() {
        let page = reqwest::Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if page.is_none_or(|url| url.origin().ascii_serialization() != *origin) {
            fault("origins", "malformed", format!("{origin:?} is no origin as https://www.example.com"));
        }
    }
    if new.origins.as_ref().is_some_and(|origins| origins.len() > 50) {
        fault("origins", "out_of_range", "a key names at most 50 origins".into());
    }
    let mut allowed_ips = None;
    for text in new.allowed_ips.iter().flatten() {
        let networks = allowed_ips.get_or_insert_with(Vec::new);
        match text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)) {
            Ok(network) => networks.push(network),
            Err(_) => {
                fault("allowed_ips", "malformed", format!("{text:?} is no address and no network as 192.0.2.0/24"))
            }
        }
    }
    let rate_per_min = new.rate_per_min.unwrap_or(100);
    if !(1..=FASTEST).contains(&rate_per_min) {
        fault("rate_per_min", "out_of_range", format!("rate_per_min is from 1 to {FASTEST}"));
    }
    let expires_at = new.expires_at.as_deref().map(|text| time::parse(text).filter(|at| *at > now_ms()));
    if expires_at == Some(None) {
        fault("expires_at", "out_of_range", "expires_at is a time in the future as 2027-01-01T00:00:00Z".into());
    }
    if !faults.is_empty() {
        return Err(ApiError::faults(faults));
    }
    let beyond = scopes.beyond(actor.scopes).names();
    if let Some(first) = beyond.first() {
        let message = format!("a key cannot hold {first}, which its maker does not hold");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "scope_not_held", message).at("scopes"));
    }
    Ok(KeyRow {
        id: ApiKeyId(Uuid::now_v7()),
        name: new.name,
        kind: new.kind.as_str().into(),
        prefix: String::new(),
        scopes: scopes.names().into_iter().map(str::to_owned).collect(),
        agent_ids: new.agent_ids,
        origins: new.origins,
        allowed_ips,
        rate_per_min,
        created_by: actor.person.map(|user| user.to_string()),
        created_at: now_ms(),
        last_used_at: None,
        expires_at: expires_at.flatten(),
        revoked_at: None,
    })
}
