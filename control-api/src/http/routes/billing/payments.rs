//! Buying credit, giving it back, and moving it by hand.

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use domain::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{idempotency_key, insufficient_credit};
use crate::{
    Adjustment, Movement, NewPayment, RefundFailed, RefundWish, audit,
    http::{
        State,
        actor::Actor,
        body::Json as Body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    money::{
        adjust::adjust as adjust_within,
        payments,
        top_up::{self, AutoTopUp},
    },
    time::{now_ms, rfc3339},
};

/// What may be bought at once, in micros: $5 to $10 000.
const LEAST: i64 = 5_000_000;
const MOST: i64 = 10_000_000_000;

/// Credit to be bought.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amount_minor": 2000, "currency": "usd"}))]
pub(crate) struct TopUp {
    /// In the smallest unit of the currency: 2000 = $20.00. Worth $5 to $10 000.
    amount_minor: i64,
    /// `usd`, or one that the operator has a rate for.
    currency: Option<String>,
    /// Where the payer comes back to.
    success_url: Option<String>,
    cancel_url: Option<String>,
}

/// A page where the credit is paid.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckoutPage {
    payment_id: String,
    checkout_url: String,
    expires_at: String,
}

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PaymentView {
    id: String,
    /// `open`, `succeeded`, `failed`, `expired`, `refunded` or `disputed`.
    state: String,
    amount_minor: i64,
    currency: String,
    credit_micros: i64,
    refunded_micros: i64,
    /// Bought by itself because credit ran low.
    auto: bool,
    created_at: String,
    settled_at: Option<String>,
}

/// Begins to buy credit. The credit comes with the gateway's word that it was paid, and never before.
#[utoipa::path(post, path = "/api/v1/billing/top-up", tag = "billing", operation_id = "topUp", request_body = TopUp,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = CheckoutPage), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 502, body = ErrorEnvelope)))]
pub(crate) async fn top_up(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(wish): Body<TopUp>,
) -> Result<Response, ApiError> {
    actor.needs("billing:write")?;
    let livemode = state.gateway.livemode().ok_or(crate::CashierError::NotConfigured)?;
    let currency = wish.currency.unwrap_or_else(|| "usd".into()).to_lowercase();
    let fx_ppm = if currency == "usd" {
        1_000_000
    } else {
        let known = &state.app.settings.billing.fx_ppm;
        *known.get(&currency).ok_or_else(|| ApiError::invalid("currency", format!("{currency:?} is not taken here")))?
    };
    if !(LEAST..=MOST).contains(&payments::credit_micros(wish.amount_minor, &currency, fx_ppm)) {
        return Err(ApiError::invalid("amount_minor", "amount_minor is worth $5 to $10000"));
    }
    let page = |given: Option<String>, field: &'static str| match given {
        Some(url) if url.len() > 2048 || !(url.starts_with("https://") || url.starts_with("http://127.0.0.1")) => {
            Err(ApiError::invalid(field, format!("{field} is an https URL of at most 2048 characters")))
        }
        Some(url) => Ok(url),
        None => Ok("https://checkout.stripe.com/".to_owned()),
    };
    let (success, cancel) = (page(wish.success_url, "success_url")?, page(wish.cancel_url, "cancel_url")?);
    let new = NewPayment {
        tenant: actor.tenant,
        livemode,
        amount_minor: wish.amount_minor,
        currency: currency.clone(),
        fx_ppm,
        auto: false,
        at_ms: now_ms(),
    };
    let payment_id = state.app.store.begin_payment(&new).await?;
    let checkout = state.gateway.checkout(&payment_id, wish.amount_minor, &currency, &success, &cancel).await?;
    state.app.store.name_payment(&payment_id, Some(&checkout.reference), None).await?;
    let expires_at = rfc3339(checkout.expires_at_s.saturating_mul(1000));
    let made = CheckoutPage { payment_id, checkout_url: checkout.url, expires_at };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// Payments, newest first.
#[utoipa::path(get, path = "/api/v1/billing/payments", tag = "billing", operation_id = "listPayments", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<PaymentView>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<PaymentView>>, ApiError> {
    actor.needs("billing:read")?;
    let listing = Listing::open(&state, &actor, "payments", &page).await?;
    let rows = state.app.store.payments(actor.tenant, &listing.page).await?;
    Ok(Json(listing.close(
        rows,
        |row| (row.created_at, row.id.clone()),
        |row| PaymentView {
            id: row.id,
            state: row.state,
            amount_minor: row.amount_minor,
            currency: row.currency,
            credit_micros: row.credit_micros,
            refunded_micros: row.refunded_micros,
            auto: row.auto,
            created_at: rfc3339(row.created_at),
            settled_at: row.settled_at.map(rfc3339),
        },
    )))
}

/// What to give back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefundBody {
    /// All that is left of the payment when absent.
    amount_micros: Option<i64>,
    /// The tenant whose payment it is; the operator's own when absent.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
}

/// What goes back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefundMade {
    amount_micros: i64,
    /// In the payment's own currency, at its stored rate.
    amount_minor: i64,
}

/// Gives a payment back to the card; never what is spent or held.
#[utoipa::path(post, path = "/api/v1/billing/payments/{id}/refund", tag = "billing", operation_id = "refundPayment",
    params(("id" = String, Path, description = "The payment")), request_body = RefundBody, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = RefundMade), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 402, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 502, body = ErrorEnvelope)))]
pub(crate) async fn refund(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<uuid::Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    Body(wish): Body<RefundBody>,
) -> Result<Json<RefundMade>, ApiError> {
    actor.needs("platform:admin")?;
    let id = id.to_string();
    // Without a key every request is a refund of its own.
    let key = idempotency_key(&headers).unwrap_or_else(|_| actor.request.as_str().to_owned());
    let key = format!("{id}:{key}");
    let tenant = wish.tenant.unwrap_or(actor.tenant);
    let (_, who) = actor.named();
    let store = &state.app.store;
    let asked =
        RefundWish { tenant, payment: &id, amount_micros: wish.amount_micros, key: &key, actor: &who, at_ms: now_ms() };
    let refunded = store.refund(&state.gateway, &asked).await;
    let refunded = refunded.map_err(|error| match error {
        RefundFailed::Unknown => ApiError::not_found(),
        RefundFailed::TooMuch { .. } => ApiError::invalid("amount_micros", error.to_string()),
        RefundFailed::NoCredit => insufficient_credit(),
        RefundFailed::RefusedBefore => ApiError::conflict("refund_refused", error.to_string()),
        RefundFailed::Gateway(error) => error.into(),
        RefundFailed::Store(error) => error.into(),
    })?;
    let mut tx = store.begin().await?;
    let shown = json!({"amount_micros": refunded.amount_micros});
    audit::note(&mut tx, &actor, "payment.refund", "payment", &id, Some(&shown)).await?;
    tx.commit().await?;
    Ok(Json(RefundMade { amount_micros: refunded.amount_micros, amount_minor: refunded.amount_minor }))
}

/// Money to be moved by hand.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"tenant_id": "0193481e-7a10-7000-8000-0000000000d1", "amount_micros": 5_000_000, "reason": "welcome", "kind": "promo"}))]
pub(crate) struct AdjustmentWish {
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// Negative takes, for `adjust` only.
    amount_micros: i64,
    /// 1 to 200 characters.
    reason: String,
    /// `promo`, `adjust` or `write_off`.
    kind: String,
}

/// What was moved.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdjustmentMade {
    tenant_id: String,
    amount_micros: i64,
    available_micros: i64,
}

/// Moves credit by hand. `Idempotency-Key` is required.
#[utoipa::path(post, path = "/api/v1/billing/adjustments", tag = "billing", operation_id = "adjustBalance", request_body = AdjustmentWish,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = AdjustmentMade), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 402, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn adjust(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    Body(wish): Body<AdjustmentWish>,
) -> Result<Response, ApiError> {
    actor.needs("platform:admin")?;
    let key = idempotency_key(&headers)?;
    let kind = match wish.kind.as_str() {
        "promo" => Adjustment::Promo,
        "adjust" => Adjustment::Adjust,
        "write_off" => Adjustment::WriteOff,
        _ => return Err(ApiError::invalid("kind", "kind is promo, adjust or write_off")),
    };
    let least = if kind == Adjustment::Adjust { -1_000_000_000_000 } else { 1 };
    if wish.amount_micros == 0 || !(least..=1_000_000_000_000).contains(&wish.amount_micros) {
        return Err(ApiError::invalid(
            "amount_micros",
            "amount_micros is not 0, at most 1e12, and negative for adjust only",
        ));
    }
    if !(1..=200).contains(&wish.reason.chars().count()) {
        return Err(ApiError::invalid("reason", "reason has 1 to 200 characters"));
    }
    let store = &state.app.store;
    if !store.tenant_exists(wish.tenant_id).await? {
        return Err(ApiError::not_found().at("tenant_id"));
    }
    let movement = Movement {
        tenant: wish.tenant_id,
        livemode: true,
        amount_micros: wish.amount_micros,
        idem_key: format!("{}:{key}", wish.tenant_id),
        memo: wish.reason,
        actor: actor.named().1,
        at_ms: now_ms(),
    };
    let mut tx = store.begin().await?;
    let (available_micros, new) = adjust_within(&mut tx, kind, &movement).await?;
    if new {
        let shown = json!({"amount_micros": movement.amount_micros, "kind": wish.kind, "reason": movement.memo});
        audit::note(&mut tx, &actor, "billing.adjust", "tenant", &movement.tenant.to_string(), Some(&shown)).await?;
    }
    tx.commit().await?;
    store.ring();
    let (tenant_id, amount_micros) = (movement.tenant.to_string(), movement.amount_micros);
    Ok((StatusCode::CREATED, Json(AdjustmentMade { tenant_id, amount_micros, available_micros })).into_response())
}

/// Credit that is bought by itself when it runs low.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AutoTopUpView {
    enabled: bool,
    below_micros: i64,
    /// US cents, worth $5 to $10 000.
    amount_minor: i64,
    /// US cents in a calendar month (UTC).
    monthly_max_minor: i64,
    /// `pm_…` of the gateway.
    payment_method: String,
    /// `cus_…` of the gateway, whose method it is.
    #[serde(default)]
    customer: Option<String>,
}

/// How credit is bought by itself; 404 while nothing is set.
#[utoipa::path(get, path = "/api/v1/billing/auto-top-up", tag = "billing", operation_id = "getAutoTopUp",
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = AutoTopUpView), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn auto(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<AutoTopUpView>, ApiError> {
    actor.needs("billing:read")?;
    let set = state.app.store.auto_top_up(actor.tenant).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(AutoTopUpView {
        enabled: set.enabled,
        below_micros: set.below_micros,
        amount_minor: set.amount_minor,
        monthly_max_minor: set.monthly_max_minor,
        payment_method: set.payment_method,
        customer: set.customer,
    }))
}

/// Sets how credit is bought by itself: one attempt at a time, within the month's limit, off after three failures.
#[utoipa::path(put, path = "/api/v1/billing/auto-top-up", tag = "billing", operation_id = "setAutoTopUp", request_body = AutoTopUpView,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = AutoTopUpView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn set_auto(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(wish): Body<AutoTopUpView>,
) -> Result<Json<AutoTopUpView>, ApiError> {
    actor.needs("billing:write")?;
    if !(LEAST..=MOST).contains(&payments::credit_micros(wish.amount_minor, "usd", 1_000_000)) {
        return Err(ApiError::invalid("amount_minor", "amount_minor is worth $5 to $10000"));
    }
    if !(0..=MOST).contains(&wish.below_micros) {
        return Err(ApiError::invalid("below_micros", "below_micros is from 0 to 10000000000"));
    }
    if wish.monthly_max_minor < wish.amount_minor {
        return Err(ApiError::invalid("monthly_max_minor", "monthly_max_minor is at least amount_minor"));
    }
    let reference = |text: &str| (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !reference(&wish.payment_method) || !wish.customer.as_deref().is_none_or(reference) {
        return Err(ApiError::invalid("payment_method", "payment_method and customer are ids of the gateway"));
    }
    let set = AutoTopUp {
        enabled: wish.enabled,
        below_micros: wish.below_micros,
        amount_minor: wish.amount_minor,
        monthly_max_minor: wish.monthly_max_minor,
        payment_method: wish.payment_method.clone(),
        customer: wish.customer.clone(),
    };
    let mut tx = state.app.store.begin().await?;
    top_up::set(&mut tx, actor.tenant, &set, now_ms()).await?;
    let shown = serde_json::to_value(&wish).unwrap_or_default();
    audit::note(&mut tx, &actor, "billing.auto_top_up", "tenant", &actor.tenant.to_string(), Some(&shown)).await?;
    tx.commit().await?;
    Ok(Json(wish))
}
