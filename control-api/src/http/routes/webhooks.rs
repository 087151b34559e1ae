//! Webhooks: make, read, change, remove, and give another secret.

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::TenantId;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        body,
        change::Change,
        error::{ApiError, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    outbox::{
        Patterns,
        webhooks::{self, Draft, Hook, MOST, Ordering, Secret},
    },
    seal,
    store::fresh_id,
    time::now_ms,
    view::{NewWebhook, Webhook},
};

/// Headers that are ours, or that would break the request.
const RESERVED: [&str; 10] = [
    "host",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "user-agent",
];

/// What only the server sets.
const READ_ONLY: &[&str] =
    &["id", "disabled_reason", "failing_since", "old_secret_until", "version", "created_at", "updated_at"];

/// What the owner of a webhook decides.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://example.com/hooks/sidetone", "types": ["*", "call.turn.*"], "description": "CRM"}))]
pub(crate) struct WebhookBody {
    /// https; not into private networks.
    url: String,
    /// 1 to 50 patterns; `["*"]` when absent.
    types: Option<Vec<String>>,
    /// Only events of these agents, 1 to 100.
    agent_ids: Option<Vec<String>>,
    /// Up to 200 characters.
    description: Option<String>,
    /// Up to 10, sent along with every delivery.
    #[schema(value_type = Option<Object>)]
    headers: Option<Map<String, Value>>,
    /// `per_call` (default) or `none`.
    ordering: Option<String>,
    /// True when absent.
    enabled: Option<bool>,
}

impl WebhookBody {
    /// Checks everything; the agents must be the tenant's.
    async fn draft(self, state: &State, tenant: TenantId) -> Result<Draft, ApiError> {
        state.app.sender.guard().check(&self.url).await.map_err(|why| {
            ApiError::new(StatusCode::BAD_REQUEST, "url_forbidden", format!("webhooks cannot go there: {why}"))
                .at("url")
        })?;
        let types = self.types.unwrap_or_else(|| vec!["*".into()]);
        if !(1..=50).contains(&types.len()) || types.iter().any(|pattern| pattern.trim().is_empty()) {
            return Err(ApiError::invalid("types", "types holds 1 to 50 patterns"));
        }
        let types = Patterns::new(types);
        types.check().map_err(|unknown| ApiError::invalid("types", unknown.to_string()))?;
        if let Some(ids) = &self.agent_ids {
            if !(1..=100).contains(&ids.len()) {
                return Err(ApiError::invalid("agent_ids", "agent_ids holds 1 to 100 ids"));
            }
            if !state.app.store.has_agents(tenant, ids).await? {
                return Err(ApiError::not_found());
            }
        }
        if self.description.as_ref().is_some_and(|text| text.chars().count() > 200) {
            return Err(ApiError::invalid("description", "description has at most 200 characters"));
        }
        let headers = self.headers.unwrap_or_default();
        check_headers(&headers)?;
        let ordering = match self.ordering.as_deref() {
            None | Some("per_call") => Ordering::PerCall,
            Some("none") => Ordering::None,
            Some(_) => return Err(ApiError::invalid("ordering", "ordering is per_call or none")),
        };
        let enabled = self.enabled.unwrap_or(true);
        Ok(Draft {
            url: self.url,
            description: self.description,
            types,
            agent_ids: self.agent_ids,
            headers,
            ordering,
            enabled,
        })
    }
}

fn check_headers(headers: &Map<String, Value>) -> Result<(), ApiError> {
    if headers.len() > 10 {
        return Err(ApiError::invalid("headers", "at most 10 headers"));
    }
    for (name, value) in headers {
        let at = format!("headers.{name}");
        let sound = name.parse::<HeaderName>().is_ok_and(|header| {
            let name = header.as_str();
            !RESERVED.contains(&name) && !name.starts_with("webhook-") && !name.starts_with("sidetone-")
        });
        if !sound {
            return Err(ApiError::invalid(at, format!("{name:?} is not a header that can be set")));
        }
        let text = value.as_str().filter(|text| text.len() <= 1000);
        if text.is_none_or(|text| HeaderValue::from_str(text).is_err()) {
            return Err(ApiError::invalid(at, "a header's value is text of at most 1000 printable characters"));
        }
    }
    Ok(())
}

/// Webhooks, newest first.
#[utoipa::path(get, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "listWebhooks", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Webhook>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<Webhook>>, ApiError> {
    actor.needs("webhooks:read")?;
    let listing = Listing::open(&state, &actor, "webhooks", &page).await?;
    let rows = state.app.store.webhooks(actor.tenant, &listing.page).await?;
    Ok(Json(listing.close(rows, |hook| (hook.created_at, hook.id.clone()), |hook| Webhook::from(&hook))))
}

/// Makes a webhook. Its secret is in this answer and in no other.
#[utoipa::path(post, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "createWebhook", request_body = WebhookBody,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = NewWebhook), (status = 400, body = ErrorEnvelope, description = "also `url_forbidden`"),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`too_many`: 20 is the most")))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("webhooks:write")?;
    let draft = change.create::<WebhookBody>(READ_ONLY)?.draft(&state, actor.tenant).await?;
    let (id, now) = (fresh_id(), now_ms());
    let (secret, sealed_secret) = fresh_secret(&state, &id)?;
    let hook = Hook {
        id,
        tenant: actor.tenant,
        draft,
        sealed_secret,
        sealed_old_secret: None,
        old_secret_until: None,
        disabled_reason: None,
        failing_since: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let mut tx = state.app.store.begin().await?;
    if !webhooks::insert(&mut tx, &hook).await? {
        return Err(ApiError::new(StatusCode::CONFLICT, "too_many", format!("a tenant has at most {MOST} webhooks")));
    }
    let made = serde_json::to_value(Webhook::from(&hook)).unwrap_or_default();
    audit::note(&mut tx, &actor, "webhook.create", "webhook", &hook.id, Some(&audit::diff(&Value::Null, &made)))
        .await?;
    tx.commit().await?;
    let location = format!("/api/v1/webhooks/{}", hook.id);
    let answer = NewWebhook { webhook: Webhook::from(&hook), secret };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(answer)).into_response())
}

/// One webhook.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "getWebhook",
    params(("id" = String, Path, description = "The webhook")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Webhook), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("webhooks:read")?;
    let hook = find(&state, &actor, id).await?;
    Ok(known.answer(hook.version, Webhook::from(&hook)))
}

/// Replaces what the owner of a webhook decides; what is absent gets its default.
#[utoipa::path(put, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "replaceWebhook", request_body = WebhookBody,
    params(("id" = String, Path, description = "The webhook"), ("If-Match" = Option<String>, Header, description = "Its ETag")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Webhook), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 412, body = ErrorEnvelope, description = "`version_conflict`")))]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    version: IfMatch,
    change: Change,
) -> Result<Tagged<Webhook>, ApiError> {
    let (hook, stored) = believed(&state, &actor, id, &version).await?;
    let body = change.replace(&stored, READ_ONLY)?;
    store(&state, &actor, hook, body).await
}

/// Changes what the body names; `null` puts a field back to its default (JSON Merge Patch). Enabling forgets why it was off.
#[utoipa::path(patch, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "changeWebhook", request_body = WebhookBody,
    params(("id" = String, Path, description = "The webhook"), ("If-Match" = Option<String>, Header, description = "Its ETag")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Webhook), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 412, body = ErrorEnvelope, description = "`version_conflict`")))]
pub(crate) async fn patch(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    version: IfMatch,
    change: Change,
) -> Result<Tagged<Webhook>, ApiError> {
    let (hook, stored) = believed(&state, &actor, id, &version).await?;
    let body = change.patch(&stored, READ_ONLY)?;
    store(&state, &actor, hook, body).await
}

async fn store(state: &State, actor: &Actor, hook: Hook, body: WebhookBody) -> Result<Tagged<Webhook>, ApiError> {
    let draft = body.draft(state, actor.tenant).await?;
    if draft == hook.draft {
        return Ok(Tagged(hook.version, Webhook::from(&hook)));
    }
    let mut tx = state.app.store.begin().await?;
    if !webhooks::update(&mut tx, &hook, &draft, now_ms()).await? {
        return Err(IfMatch::conflict());
    }
    let before = audited(&hook);
    let hook = webhooks::find(&mut tx, actor.tenant, &hook.id).await?.ok_or_else(ApiError::not_found)?;
    let diff = audit::diff(&before, &audited(&hook));
    audit::note(&mut tx, actor, "webhook.update", "webhook", &hook.id, Some(&diff)).await?;
    tx.commit().await?;
    state.app.store.ring();
    Ok(Tagged(hook.version, Webhook::from(&hook)))
}

/// The hook as it is, for a change by somebody who believes to know its version.
async fn believed(state: &State, actor: &Actor, id: Uuid, believed: &IfMatch) -> Result<(Hook, Value), ApiError> {
    actor.needs("webhooks:write")?;
    let hook = find(state, actor, id).await?;
    believed.check(hook.version, actor.require_if_match)?;
    let stored = serde_json::to_value(Webhook::from(&hook)).unwrap_or_default();
    Ok((hook, stored))
}

/// Removes a webhook; what still waited for it is not sent.
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "deleteWebhook",
    params(("id" = String, Path, description = "The webhook")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 412, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    version: IfMatch,
) -> Result<StatusCode, ApiError> {
    let (hook, _) = believed(&state, &actor, id, &version).await?;
    let mut tx = state.app.store.begin().await?;
    if !webhooks::delete(&mut tx, &hook, now_ms()).await? {
        return Err(IfMatch::conflict());
    }
    audit::note(&mut tx, &actor, "webhook.delete", "webhook", &hook.id, None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How long the secret before goes on to sign.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateBody {
    /// 0 to 604800; 86400 when absent.
    overlap_s: Option<i64>,
}

/// Gives a webhook another secret, shown this once. Until the overlap ends each delivery carries a signature by both.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/rotate-secret", tag = "webhooks", operation_id = "rotateWebhookSecret",
    request_body = RotateBody, params(("id" = String, Path, description = "The webhook")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = NewWebhook), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn rotate(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<RotateBody>,
) -> Result<Json<NewWebhook>, ApiError> {
    actor.needs("webhooks:write")?;
    let overlap = body.overlap_s.unwrap_or(86_400);
    if !(0..=604_800).contains(&overlap) {
        return Err(ApiError::invalid("overlap_s", "overlap_s is 0 to 604800"));
    }
    let hook = find(&state, &actor, id).await?;
    let key = &state.app.seal;
    let old = seal::open(key, ("webhooks", &hook.id, "sealed_secret"), &hook.sealed_secret).map_err(unsealed)?;
    let old = match overlap {
        0 => None,
        _ => Some(seal::seal(key, ("webhooks", &hook.id, "sealed_old_secret"), &old).map_err(unsealed)?),
    };
    let (secret, sealed) = fresh_secret(&state, &hook.id)?;
    let now = now_ms();
    let mut tx = state.app.store.begin().await?;
    if !webhooks::rotate(&mut tx, &hook, &sealed, old.as_deref(), now + overlap * 1000, now).await? {
        return Err(IfMatch::conflict());
    }
    audit::note(&mut tx, &actor, "webhook.rotate_secret", "webhook", &hook.id, None).await?;
    tx.commit().await?;
    let hook = find(&state, &actor, id).await?;
    Ok(Json(NewWebhook { webhook: Webhook::from(&hook), secret }))
}

/// The hook, if it is the tenant's.
pub(super) async fn find(state: &State, actor: &Actor, id: Uuid) -> Result<Hook, ApiError> {
    let mut connection = state.app.store.pool().acquire().await?;
    webhooks::find(&mut connection, actor.tenant, &id.to_string()).await?.ok_or_else(ApiError::not_found)
}

/// The hook for the audit log: the values of its headers are often credentials.
fn audited(hook: &Hook) -> Value {
    let mut shown = serde_json::to_value(Webhook::from(hook)).unwrap_or_default();
    if let Some(headers) = shown.get_mut("headers").and_then(Value::as_object_mut) {
        headers.values_mut().for_each(|value| *value = "…".into());
    }
    shown
}

fn fresh_secret(state: &State, hook: &str) -> Result<(String, String), ApiError> {
    let secret = Secret::fresh().map_err(|_| unsealed(seal::SealError::Random))?;
    let sealed = seal::seal(&state.app.seal, ("webhooks", hook, "sealed_secret"), secret.as_bytes());
    Ok((secret.text(), sealed.map_err(unsealed)?))
}

fn unsealed(error: seal::SealError) -> ApiError {
    tracing::error!(%error, "a webhook's secret cannot be used");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
}
