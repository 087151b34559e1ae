//! What was used: sums by thing, by agent, by provider, and by day.

use std::collections::BTreeMap;

use axum::{Json, extract::State as Extract};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        query::{self, Query},
    },
    money::{
        calendar, cost,
        statement::{Group, Sum},
    },
    time::now_ms,
};

/// Days at most.
const DAYS: usize = 366;
const DAY_MS: i64 = 86_400_000;

/// Which days; `from` and `to` are times, `to` is not included. The last 30 days without them.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct UsageQuery {
    from: Option<String>,
    to: Option<String>,
    /// `item` (the default), `agent` or `provider`.
    group_by: Option<String>,
}

/// Which days.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DailyQuery {
    from: Option<String>,
    to: Option<String>,
    /// Usage is summed by the days of the tenant's own zone; another one is refused.
    timezone: Option<String>,
}

/// A sum.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Used {
    item: String,
    /// Of `group_by=agent`; empty for agents that are files.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<String>,
    /// Of `group_by=provider`; empty for what is ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    quantity: i64,
    /// `s`, `token`, `char`, `month` or `piece`.
    unit: &'static str,
    amount_micros: i64,
    /// What the vendors take for it, by the operator's price table.
    vendor_micros: i64,
}

/// Usage of a time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    total_micros: i64,
    items: Vec<Used>,
}

/// Usage of a day.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Day {
    /// `2026-11-21`.
    day: String,
    items: Vec<Used>,
    amount_micros: i64,
    calls: i64,
    minutes: f64,
}

/// Usage by day; days without use are there too.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Daily {
    days: Vec<Day>,
}

fn used(sum: Sum, group: Group) -> Used {
    Used {
        agent_id: (group == Group::Agent).then(|| sum.group.clone()),
        provider: (group == Group::Provider).then(|| sum.group.clone()),
        unit: cost::unit(&sum.item),
        item: sum.item,
        quantity: sum.quantity,
        amount_micros: sum.amount,
        vendor_micros: sum.vendor,
    }
}

/// First and last day of a query, in the tenant's zone.
async fn span(
    state: &State,
    actor: &Actor,
    from: Option<&str>,
    to: Option<&str>,
) -> Result<(String, String), ApiError> {
    let zone = calendar::zone(&state.app.store.timezone(actor.tenant).await?);
    let to = query::when("to", to)?.unwrap_or_else(|| now_ms() + 1);
    let from = query::when("from", from)?.unwrap_or(to - 30 * DAY_MS);
    if from >= to {
        return Err(ApiError::invalid("from", "from is before to"));
    }
    if to - from > DAYS as i64 * DAY_MS {
        return Err(ApiError::invalid("from", format!("from and to are at most {DAYS} days apart")));
    }
    Ok((calendar::day(from, &zone), calendar::day(to - 1, &zone)))
}

/// Usage of a time, summed.
#[utoipa::path(get, path = "/api/v1/billing/usage", tag = "billing", operation_id = "getUsage", params(UsageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Usage), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn usage(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<UsageQuery>,
) -> Result<Json<Usage>, ApiError> {
    actor.needs("billing:read")?;
    let group = match query.group_by.as_deref() {
        None | Some("item") => Group::Item,
        Some("agent") => Group::Agent,
        Some("provider") => Group::Provider,
        Some(_) => return Err(ApiError::invalid("group_by", "group_by is item, agent or provider")),
    };
    let (first, last) = span(&state, &actor, query.from.as_deref(), query.to.as_deref()).await?;
    let sums = state.app.store.usage(actor.tenant, actor.livemode, (&first, &last), group, false).await?;
    let total_micros = sums.iter().map(|sum| sum.amount).sum();
    Ok(Json(Usage { total_micros, items: sums.into_iter().map(|sum| used(sum, group)).collect() }))
}

/// Usage by day.
#[utoipa::path(get, path = "/api/v1/billing/usage/daily", tag = "billing", operation_id = "getDailyUsage", params(DailyQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Daily), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn daily(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<DailyQuery>,
) -> Result<Json<Daily>, ApiError> {
    actor.needs("billing:read")?;
    let zone = state.app.store.timezone(actor.tenant).await?;
    if query.timezone.as_ref().is_some_and(|wanted| *wanted != zone) {
        return Err(ApiError::invalid("timezone", format!("usage is summed by the days of the tenant's zone, {zone}")));
    }
    let (first, last) = span(&state, &actor, query.from.as_deref(), query.to.as_deref()).await?;
    let mut by_day: BTreeMap<String, Vec<Sum>> = BTreeMap::new();
    for sum in state.app.store.usage(actor.tenant, actor.livemode, (&first, &last), Group::Item, true).await? {
        by_day.entry(sum.day.clone()).or_default().push(sum);
    }
    let ends = first.parse().and_then(|first| last.parse().map(|last| (first, last)));
    let (first, last) = ends.map_err(|_| ApiError::invalid("from", "from is a date"))?;
    let days = calendar::days(first, last, DAYS + 1).into_iter().map(|day| {
        let sums = by_day.remove(&day).unwrap_or_default();
        let is_call = |sum: &&Sum| matches!(sum.item.as_str(), "voice_in" | "voice_out" | "web");
        let seconds: i64 = sums.iter().filter(is_call).map(|sum| sum.quantity).sum();
        Day {
            day,
            amount_micros: sums.iter().map(|sum| sum.amount).sum(),
            calls: sums.iter().filter(is_call).map(|sum| sum.records).sum(),
            minutes: (seconds as f64 / 6.0).round() / 10.0,
            items: sums.into_iter().map(|sum| used(sum, Group::Item)).collect(),
        }
    });
    Ok(Json(Daily { days: days.collect() }))
}
