//! What webhooks were sent: listed, tested, sent again.

use axum::{Json, extract::State as Extract, http::StatusCode};
use domain::event::Name;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::webhooks::find;
use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        list::{List, Listing},
        query::{self, NoParameters, PageQuery, Paged, Query},
    },
    outbox::{
        Patterns,
        webhooks::{self, DeliveryFilter, Replay},
    },
    store::fresh_id,
    time::{now_ms, rfc3339},
    view::{API_VERSION, Delivery, Event},
};

/// Filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveriesQuery {
    /// `pending`, `delivered` or `dead`.
    state: Option<String>,
    /// A type, exactly.
    r#type: Option<String>,
    /// Events of this call only.
    call_id: Option<String>,
}

/// The deliveries of a webhook, newest first; `state=dead` lists the dead letters.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/events", tag = "webhooks", operation_id = "listWebhookDeliveries",
    params(("id" = String, Path, description = "The webhook"), PageQuery, DeliveriesQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Delivery>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Paged(page, query): Paged<DeliveriesQuery>,
) -> Result<Json<List<Delivery>>, ApiError> {
    actor.needs("webhooks:read")?;
    let hook = find(&state, &actor, id).await?;
    if query.state.as_deref().is_some_and(|state| !["pending", "delivered", "dead"].contains(&state)) {
        return Err(ApiError::invalid("state", "state is pending, delivered or dead"));
    }
    let filter = DeliveryFilter { state: query.state, kind: query.r#type, call_id: query.call_id };
    let listing = Listing::open(&state, &actor, ("deliveries", id, &filter), &page).await?;
    let rows = state.app.store.deliveries(&hook.id, &filter, &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.id.clone()), Delivery::from)))
}

/// Which example is sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestBody {
    /// A type of event; `webhook.test` when absent.
    r#type: Option<String>,
}

/// What the receiver made of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tested {
    /// It answered 2xx.
    delivered: bool,
    http_status: Option<u16>,
    duration_ms: i64,
    /// `timeout`, `connect_failed`, `tls_failed`, `url_forbidden`, `redirect`, `http_status` or `broken`.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// Sends an example to a webhook now and waits for the answer. It carries `"test": true` and is neither stored nor tried again.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/test", tag = "webhooks", operation_id = "testWebhook", request_body = TestBody,
    params(("id" = String, Path, description = "The webhook")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Tested), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn test(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<TestBody>,
) -> Result<Json<Tested>, ApiError> {
    actor.needs("webhooks:write")?;
    let hook = find(&state, &actor, id).await?;
    let kind = match body.r#type {
        None => Name::WebhookTest,
        Some(text) => text.parse().map_err(|_| ApiError::invalid("type", format!("{text:?} is no type of event")))?,
    };
    let now = now_ms();
    let example = Event {
        id: fresh_id(),
        kind: kind.as_str().into(),
        api_version: API_VERSION,
        tenant_id: actor.tenant.to_string(),
        livemode: false,
        call_id: None,
        seq: None,
        cursor: None,
        created_at: rfc3339(now),
        data: json!({"webhook_id": hook.id}),
    };
    // The tenant's own last one shows best what will come.
    let last = match kind {
        Name::WebhookTest => None,
        _ => state.app.store.newest(actor.tenant, kind.as_str()).await?,
    };
    let event = Event { id: example.id.clone(), ..last.unwrap_or(example) };
    let Some(mut letter) = webhooks::letter(&hook, &state.app.seal, &event, 1, now) else {
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error"));
    };
    let mut body = serde_json::to_value(&event).unwrap_or(Value::Null);
    body["test"] = true.into();
    letter.body = serde_json::to_vec(&body).unwrap_or_default();
    let attempt = state.app.sender.send(&letter, now / 1000).await;
    Ok(Json(Tested {
        delivered: attempt.is_delivered(),
        http_status: attempt.http_status,
        duration_ms: attempt.duration_ms,
        error: attempt.error,
    }))
}

/// A span of time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"from": "2026-11-21T00:00:00.000Z", "to": "2026-11-21T06:00:00.000Z", "only_dead": true}))]
pub(crate) struct ReplayBody {
    /// Events from this time on.
    from: String,
    /// Events until before this time; at most 31 days after `from`.
    to: String,
    /// Patterns; what the webhook wants when absent.
    types: Option<Vec<String>>,
    /// Only deliveries that were given up (true when absent); else all events of the span.
    only_dead: Option<bool>,
}

/// How many now wait.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queued {
    queued: u64,
}

/// Sends the events of a span again.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/replay", tag = "webhooks", operation_id = "replayWebhook", request_body = ReplayBody,
    params(("id" = String, Path, description = "The webhook")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = Queued), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn replay(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<ReplayBody>,
) -> Result<(StatusCode, Json<Queued>), ApiError> {
    actor.needs("webhooks:write")?;
    let hook = find(&state, &actor, id).await?;
    let from = query::when("from", Some(&body.from))?.unwrap_or_default();
    let to = query::when("to", Some(&body.to))?.unwrap_or_default();
    if to <= from || to - from > 31 * 86_400_000 {
        return Err(ApiError::invalid("to", "to is after from and at most 31 days later"));
    }
    let types = body.types.map(Patterns::new);
    if let Some(types) = &types {
        types.check().map_err(|unknown| ApiError::invalid("types", unknown.to_string()))?;
    }
    let span = Replay { from, to, types, only_dead: body.only_dead.unwrap_or(true) };
    let mut tx = state.app.store.begin().await?;
    let queued = webhooks::replay(&mut tx, &hook, &span, now_ms()).await?;
    let what = json!({"from": rfc3339(from), "to": rfc3339(to), "queued": queued});
    audit::note(&mut tx, &actor, "webhook.replay", "webhook", &hook.id, Some(&what)).await?;
    tx.commit().await?;
    state.app.store.ring();
    Ok((StatusCode::ACCEPTED, Json(Queued { queued })))
}

/// Sends a delivery again, also one that was given up or accepted: same `webhook-id`, a new attempt.
#[utoipa::path(post, path = "/api/v1/deliveries/{id}/retry", tag = "webhooks", operation_id = "retryDelivery",
    params(("id" = String, Path, description = "The delivery")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 202), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn retry(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    actor.needs("webhooks:write")?;
    if !state.app.store.resend(actor.tenant, &id.to_string(), now_ms()).await? {
        return Err(ApiError::not_found());
    }
    Ok((StatusCode::ACCEPTED, Json(json!({}))))
}
