//! Leases for workers outside of this process; in it the same functions are called directly. Only this machine is answered, and only
//! with a credential that holds `internal:billing`.

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use domain::{BootId, CallId, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::billing::{idempotency_key, insufficient_credit};
use crate::{
    Admission, Item, Movement, NotAdmitted, NotRenewed, RENEW_AFTER_MS, Used,
    http::{
        State,
        actor::{Actor, Loopback},
        body::Json as Body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
    money::{
        decks::ITEMS,
        lease::{self, By},
        release,
    },
    seal,
    time::{now_ms, rfc3339},
};

fn inside(actor: &Actor, Loopback(loopback): &Loopback) -> Result<(), ApiError> {
    // From elsewhere these routes do not exist.
    if !loopback {
        return Err(ApiError::not_found());
    }
    actor.needs("internal:billing")
}

/// A call that asks for credit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaseWish {
    #[schema(value_type = String)]
    tenant_id: TenantId,
    #[schema(value_type = String)]
    call_id: CallId,
    /// `inbound` or `outbound`.
    direction: String,
    /// The called address, by which it is priced.
    to: String,
    #[allow(dead_code, reason = "told by workers for their own logs; nothing is priced by it")]
    from: Option<String>,
    node_id: Option<String>,
}

/// A lease.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeaseView {
    lease_token: String,
    lease_id: String,
    held_micros: i64,
    covered_ms: i64,
    renew_after_ms: i64,
    expires_at: String,
    #[schema(value_type = Object)]
    rate: Value,
}

/// Opens a lease: 201, or 200 with the one that the call has.
#[utoipa::path(post, path = "/internal/v1/lease", tag = "internal", operation_id = "openLease", request_body = LeaseWish,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = LeaseView), (status = 201, body = LeaseView), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 402, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 429, body = ErrorEnvelope)))]
pub(crate) async fn open(
    Extract(state): Extract<State>,
    loopback: Loopback,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(wish): Body<LeaseWish>,
) -> Result<Response, ApiError> {
    inside(&actor, &loopback)?;
    let item = match wish.direction.as_str() {
        "inbound" => Item::VoiceIn,
        "outbound" => Item::VoiceOut,
        _ => return Err(ApiError::invalid("direction", "direction is inbound or outbound")),
    };
    if !state.app.store.tenant_exists(wish.tenant_id).await? {
        return Err(ApiError::not_found().at("tenant_id"));
    }
    let admission = Admission {
        tenant: wish.tenant_id,
        livemode: true,
        call: wish.call_id,
        item,
        address: wish.to,
        number: None,
        node: wish.node_id.unwrap_or_else(|| "worker".into()),
        boot: BootId(uuid::Uuid::nil()),
        max_cost_micros: None,
    };
    let grant = state.app.store.admit(&admission, now_ms()).await.map_err(|error| match error {
        NotAdmitted::NoCredit => insufficient_credit(),
        NotAdmitted::SpendCap => ApiError::new(StatusCode::PAYMENT_REQUIRED, "spend_cap_reached", error.to_string()),
        NotAdmitted::Concurrency { .. } => {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "concurrency_limit", error.to_string()).retry_after(5)
        }
        NotAdmitted::Forbidden(reason) => {
            ApiError::new(StatusCode::FORBIDDEN, "forbidden_destination", reason.to_string()).at("to")
        }
        NotAdmitted::Store(error) => error.into(),
    })?;
    let status = if grant.is_new { StatusCode::CREATED } else { StatusCode::OK };
    let view = LeaseView {
        lease_token: grant.token,
        lease_id: grant.id,
        held_micros: grant.held_micros,
        covered_ms: grant.covered_ms,
        renew_after_ms: RENEW_AFTER_MS,
        expires_at: rfc3339(grant.expires_at_ms),
        rate: grant.rate,
    };
    Ok((status, Json(view)).into_response())
}

/// More cover.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RenewWish {
    lease_token: String,
    /// Conversation so far.
    elapsed_ms: i64,
}

/// How far a lease reaches.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RenewedView {
    held_micros: i64,
    added_micros: i64,
    covered_ms: i64,
    /// Nothing further fits: the call ends with the cover.
    #[serde(rename = "final")]
    is_final: bool,
    /// When the caller is to be warned, in ms of conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    warn_at_ms: Option<i64>,
}

/// Extends a lease.
#[utoipa::path(post, path = "/internal/v1/lease/renew", tag = "internal", operation_id = "renewLease", request_body = RenewWish,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = RenewedView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn renew(
    Extract(state): Extract<State>,
    loopback: Loopback,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(wish): Body<RenewWish>,
) -> Result<Json<RenewedView>, ApiError> {
    inside(&actor, &loopback)?;
    if !(0..=86_400_000).contains(&wish.elapsed_ms) {
        return Err(ApiError::invalid("elapsed_ms", "elapsed_ms is from 0 to 86400000"));
    }
    let hash = seal::sha256_hex(wish.lease_token.as_bytes());
    let cover = lease::renew(&state.app.store, By::Token(&hash), wish.elapsed_ms, now_ms()).await;
    let cover = cover.map_err(|error| match error {
        NotRenewed::Unknown => ApiError::not_found(),
        NotRenewed::Closed => ApiError::conflict("lease_closed", "the lease is closed"),
        NotRenewed::Store(error) => error.into(),
    })?;
    Ok(Json(RenewedView {
        held_micros: cover.held_micros,
        added_micros: cover.added_micros,
        covered_ms: cover.covered_ms,
        is_final: cover.limit.is_some(),
        warn_at_ms: cover.warn_at_ms(),
    }))
}

/// The end of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseWish {
    lease_token: String,
    duration_ms: i64,
    #[serde(default)]
    usage: Vec<UsedView>,
}

/// Something that was used.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UsedView {
    item: String,
    provider: String,
    quantity: u64,
}

/// How a lease was closed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReleasedView {
    charged_micros: i64,
    refunded_micros: i64,
    uncollected_micros: i64,
}

/// Closes a lease; the first close counts, and every later one hears the same.
#[utoipa::path(post, path = "/internal/v1/lease/release", tag = "internal", operation_id = "releaseLease", request_body = ReleaseWish,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = ReleasedView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn close(
    Extract(state): Extract<State>,
    loopback: Loopback,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(wish): Body<ReleaseWish>,
) -> Result<Json<ReleasedView>, ApiError> {
    inside(&actor, &loopback)?;
    if !(0..=86_400_000).contains(&wish.duration_ms) {
        return Err(ApiError::invalid("duration_ms", "duration_ms is from 0 to 86400000"));
    }
    let mut used: Vec<Used> = Vec::new();
    for UsedView { item, provider, quantity } in &wish.usage {
        let known = ITEMS.iter().find(|known| **known == item.as_str());
        let known = known.ok_or_else(|| ApiError::invalid("usage", format!("{item:?} is nothing that is counted")))?;
        used.push(state.app.settings.billing.used(known, provider, *quantity));
    }
    let hash = seal::sha256_hex(wish.lease_token.as_bytes());
    let settled = release::by_token(&state.app.store, &hash, wish.duration_ms, &used, now_ms()).await?;
    let settled = settled.ok_or_else(ApiError::not_found)?;
    Ok(Json(ReleasedView {
        charged_micros: settled.charged,
        refunded_micros: settled.refunded,
        uncollected_micros: settled.uncollected,
    }))
}

/// An amount to be taken.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeductWish {
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// Positive.
    amount_micros: i64,
    /// What for; one of the deck's things.
    item: String,
    #[serde(default)]
    memo: String,
}

/// What is left.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeductedView {
    available_micros: i64,
}

/// Takes an amount for something that is no call. `Idempotency-Key` is required.
#[utoipa::path(post, path = "/internal/v1/deduct", tag = "internal", operation_id = "deduct", request_body = DeductWish,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = DeductedView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 402, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn deduct(
    Extract(state): Extract<State>,
    loopback: Loopback,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    Body(wish): Body<DeductWish>,
) -> Result<Response, ApiError> {
    inside(&actor, &loopback)?;
    let key = idempotency_key(&headers)?;
    if !(1..=1_000_000_000_000).contains(&wish.amount_micros) {
        return Err(ApiError::invalid("amount_micros", "amount_micros is from 1 to 1000000000000"));
    }
    if !ITEMS.contains(&wish.item.as_str()) {
        return Err(ApiError::invalid("item", format!("item is one of {}", ITEMS.join(", "))));
    }
    if wish.memo.chars().count() > 200 {
        return Err(ApiError::invalid("memo", "memo has at most 200 characters"));
    }
    if !state.app.store.tenant_exists(wish.tenant_id).await? {
        return Err(ApiError::not_found().at("tenant_id"));
    }
    let movement = Movement {
        tenant: wish.tenant_id,
        livemode: true,
        amount_micros: wish.amount_micros,
        idem_key: format!("{}:deduct:{key}", wish.tenant_id),
        memo: wish.memo,
        actor: actor.named().1,
        at_ms: now_ms(),
    };
    let (available_micros, _) = state.app.store.deduct(&wish.item, &movement).await?;
    Ok((StatusCode::CREATED, Json(DeductedView { available_micros })).into_response())
}
