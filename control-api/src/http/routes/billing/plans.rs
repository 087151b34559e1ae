//! Plans on offer, and the tenant's subscription to one of them.

use axum::{
    Json,
    extract::State as Extract,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::AnyConnection;
use utoipa::ToSchema;

use crate::{
    CashierError, NotMoved, audit,
    http::{
        State,
        actor::Actor,
        body::Json as Body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
    money::{
        ledger::Purse,
        price,
        subscriptions::{self, Plan, Subscription},
    },
    store::fresh_id,
    time::{now_ms, rfc3339},
};

/// A plan on offer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanView {
    id: String,
    name: String,
    monthly_micros: i64,
    /// `$49.00`.
    display: String,
    /// Credit given each month.
    included_micros: i64,
    #[schema(value_type = Object)]
    limits: Value,
}

/// All plans; there are few.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Plans {
    data: Vec<PlanView>,
    #[schema(value_type = Option<String>)]
    next_cursor: Option<String>,
}

/// The plans on offer, cheapest first. Needs no credential.
#[utoipa::path(get, path = "/api/v1/billing/plans", tag = "billing", operation_id = "listPlans", responses((status = 200, body = Plans)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Plans>, ApiError> {
    let data = state.app.store.plans().await?.into_iter().map(|plan| PlanView {
        display: price::display(plan.monthly_micros),
        id: plan.id,
        name: plan.name,
        monthly_micros: plan.monthly_micros,
        included_micros: plan.included_micros,
        limits: plan.limits,
    });
    Ok(Json(Plans { data: data.collect(), next_cursor: None }))
}

/// What a tenant has subscribed to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubscriptionView {
    plan_id: String,
    /// `pending` (waits for its first payment), `active`, `past_due` or `canceled`.
    state: String,
    period_start: String,
    period_end: String,
    cancel_at_period_end: bool,
    /// The plan that follows: when its page is paid, or when the period ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_plan_id: Option<String>,
}

/// The subscription.
#[utoipa::path(get, path = "/api/v1/billing/subscription", tag = "billing", operation_id = "getSubscription",
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = SubscriptionView), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<SubscriptionView>, ApiError> {
    actor.needs("billing:read")?;
    Ok(Json(show(&state, &actor).await?))
}

async fn show(state: &State, actor: &Actor) -> Result<SubscriptionView, ApiError> {
    let found = state.app.store.subscription(actor.tenant).await?.ok_or_else(ApiError::not_found)?;
    Ok(SubscriptionView {
        plan_id: found.plan,
        state: found.state,
        period_start: rfc3339(found.period_start),
        period_end: rfc3339(found.period_end),
        cancel_at_period_end: found.cancel_at_end,
        next_plan_id: found.next_plan,
    })
}

/// A plan to be subscribed to, or an end to be set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubscriptionWish {
    plan_id: String,
    /// The present plan ends with its period.
    #[serde(default)]
    cancel_at_period_end: Option<bool>,
}

/// Where the first payment is made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubscriptionPage {
    checkout_url: String,
}

/// Subscribes, or changes the plan. A plan that costs nothing begins at once; for the first one that costs something the answer (202)
/// names the page where it is paid. From one to a dearer one: at once, paid pro rata by the same card; to a cheaper one: with the next
/// period.
#[utoipa::path(post, path = "/api/v1/billing/subscription", tag = "billing", operation_id = "subscribe", request_body = SubscriptionWish,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = SubscriptionView), (status = 202, body = SubscriptionPage), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope), (status = 502, body = ErrorEnvelope)))]
pub(crate) async fn subscribe(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(wish): Body<SubscriptionWish>,
) -> Result<Response, ApiError> {
    actor.needs("billing:write")?;
    let store = &state.app.store;
    let plans = store.plans().await?;
    let present = store.subscription(actor.tenant).await?;
    let running = present.as_ref().filter(|present| present.is_running());
    if let Some(present) = running.filter(|present| present.plan == wish.plan_id) {
        stay(&state, &actor, present, &plans, wish.cancel_at_period_end.unwrap_or(false)).await?;
        return Ok(Json(show(&state, &actor).await?).into_response());
    }
    let plan = plans.iter().find(|plan| plan.id == wish.plan_id).ok_or_else(|| ApiError::not_found().at("plan_id"))?;
    if wish.cancel_at_period_end == Some(true) {
        let message = "only the present plan can be told to end; name it as plan_id";
        return Err(ApiError::invalid("cancel_at_period_end", message));
    }
    if let Some((present, gateway_ref)) = running.and_then(|present| Some((present, present.gateway_ref.as_deref()?))) {
        change(&state, &actor, present, gateway_ref, &plans, plan).await?;
        return Ok(Json(show(&state, &actor).await?).into_response());
    }
    if let Some(open) = present.as_ref().and_then(|present| present.checkout_ref.as_deref()) {
        // Nobody shall pay on two pages.
        match state.gateway.expire(open, &fresh_id()).await {
            Ok(()) => {}
            Err(CashierError::Refused(_)) => {
                let message =
                    "the subscription that was begun before is being paid or has just ended; try again in a minute";
                return Err(ApiError::conflict("payment_in_progress", message));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let now = now_ms();
    if plan.monthly_micros == 0 {
        let mut tx = store.begin().await?;
        let mut purse = Purse::open(&mut tx, actor.tenant, true).await?;
        subscriptions::begin_free(&mut tx, &mut purse, actor.tenant, plan, now).await.map_err(NotMoved::from)?;
        noted(&mut tx, &actor, &plan.id).await?;
        tx.commit().await?;
        store.ring();
        return Ok(Json(show(&state, &actor).await?).into_response());
    }
    let (tenant, page) = (actor.tenant.to_string(), "https://checkout.stripe.com/");
    let checkout = state.gateway.subscribe(&tenant, price_of(plan)?, page, page, &fresh_id()).await?;
    let mut tx = store.begin().await?;
    subscriptions::await_payment(&mut tx, actor.tenant, plan, &checkout.reference, now).await?;
    noted(&mut tx, &actor, &plan.id).await?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(SubscriptionPage { checkout_url: checkout.url })).into_response())
}

fn price_of(plan: &Plan) -> Result<&str, ApiError> {
    plan.stripe_price.as_deref().ok_or_else(|| {
        ApiError::conflict("payments_not_configured", "this plan has no price at the payment gateway yet")
    })
}

async fn noted(db: &mut AnyConnection, actor: &Actor, plan: &str) -> Result<(), sqlx::Error> {
    let shown = json!({"plan_id": plan});
    audit::note(db, actor, "billing.subscribe", "tenant", &actor.tenant.to_string(), Some(&shown)).await
}

/// The present plan goes on, or ends with its period; a change that was planned is off.
async fn stay(
    state: &State,
    actor: &Actor,
    present: &Subscription,
    plans: &[Plan],
    ends: bool,
) -> Result<(), ApiError> {
    if present.checkout_ref.is_some() || (present.next_plan.is_none() && present.cancel_at_end == ends) {
        return Ok(());
    }
    let now = now_ms();
    let mut tx;
    if let Some(gateway_ref) = &present.gateway_ref {
        let key = fresh_id();
        let planned = present.next_plan.as_ref().and_then(|_| plans.iter().find(|plan| plan.id == present.plan));
        if let Some(plan) = planned {
            state.gateway.change_price(gateway_ref, price_of(plan)?, false, &key).await?;
        }
        state.gateway.end_with_period(gateway_ref, ends, &format!("{key}:end")).await?;
        tx = state.app.store.begin().await?;
        subscriptions::follow(&mut tx, present, None, ends, now).await?;
    } else {
        // What costs nothing has no period that somebody paid for.
        tx = state.app.store.begin().await?;
        let mut purse = Purse::open(&mut tx, actor.tenant, true).await?;
        subscriptions::ended(&mut tx, &mut purse, present, now).await.map_err(NotMoved::from)?;
    }
    noted(&mut tx, actor, &present.plan).await?;
    tx.commit().await?;
    state.app.store.ring();
    Ok(())
}

/// From a plan that is paid for to another one.
async fn change(
    state: &State,
    actor: &Actor,
    present: &Subscription,
    gateway_ref: &str,
    plans: &[Plan],
    plan: &Plan,
) -> Result<(), ApiError> {
    let (now, key, store) = (now_ms(), fresh_id(), &state.app.store);
    let paid = plans.iter().find(|plan| plan.id == present.plan).map_or(0, |plan| plan.monthly_micros);
    let mut tx;
    if plan.monthly_micros == 0 {
        state.gateway.end_with_period(gateway_ref, true, &key).await?;
        tx = store.begin().await?;
        subscriptions::follow(&mut tx, present, Some(&plan.id), true, now).await?;
    } else if plan.monthly_micros > paid {
        state.gateway.change_price(gateway_ref, price_of(plan)?, true, &key).await?;
        tx = store.begin().await?;
        let mut purse = Purse::open(&mut tx, actor.tenant, true).await?;
        subscriptions::upgraded(&mut tx, &mut purse, present, plan, &key, now).await.map_err(NotMoved::from)?;
    } else {
        state.gateway.change_price(gateway_ref, price_of(plan)?, false, &key).await?;
        tx = store.begin().await?;
        subscriptions::follow(&mut tx, present, Some(&plan.id), false, now).await?;
    }
    noted(&mut tx, actor, &plan.id).await?;
    tx.commit().await?;
    store.ring();
    Ok(())
}
