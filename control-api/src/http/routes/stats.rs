//! `calls/stats`: ended calls, counted from the roll-ups.

use axum::{Json, extract::State as Extract};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::analytics::{by, cut, dimension, open, slices, sum};
use crate::{
    analytics::{Cut, RangeQuery, Slice},
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        query::Query,
    },
};

/// Which calls are counted, and by what.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatsQuery {
    from: Option<String>,
    to: Option<String>,
    timezone: Option<String>,
    /// `status` (the default), `agent`, `direction`, `day` or `hour`.
    group_by: Option<String>,
}

/// Sums over calls.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Totals {
    /// What the group is of; absent for the totals.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    calls: i64,
    answered: i64,
    completed: i64,
    failed: i64,
    /// Answered of all.
    asr_pct: Option<f64>,
    /// Average of answered calls.
    acd_ms: Option<i64>,
    minutes: f64,
    charged_micros: i64,
    success_pct: Option<f64>,
}

fn totals(group: Option<String>, slices: &[&Slice]) -> Totals {
    let all = sum(slices.iter().copied());
    let only = |outcome: &str| sum(slices.iter().copied().filter(|slice| slice.outcome == outcome)).calls;
    Totals {
        group,
        calls: all.calls,
        answered: all.answered,
        completed: only("completed"),
        failed: only("failed"),
        asr_pct: all.answered_pct(),
        acd_ms: all.average_ms(),
        minutes: all.minutes(),
        charged_micros: all.charged_micros,
        success_pct: all.success_pct(),
    }
}

/// Totals and groups.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Stats {
    totals: Totals,
    groups: Vec<Totals>,
}

/// Ended calls, counted.
#[utoipa::path(get, path = "/api/v1/calls/stats", tag = "calls", operation_id = "getCallStats", params(StatsQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Stats), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn stats(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<StatsQuery>,
) -> Result<Json<Stats>, ApiError> {
    let StatsQuery { from, to, timezone, group_by } = query;
    let group_by = group_by.as_deref().unwrap_or("status");
    if !["status", "agent", "direction", "day", "hour"].contains(&group_by) {
        return Err(ApiError::invalid("group_by", "group_by is status, agent, direction, day or hour"));
    }
    let range = open(&state, &actor, &RangeQuery { from, to, timezone, ..RangeQuery::default() }).await?;
    let slices = slices(&state, &actor, &range, Cut { outcome: true, ..cut(group_by) }).await?;
    let groups = by(&slices, |slice| dimension(&range, slice, group_by));
    Ok(Json(Stats {
        totals: totals(None, &slices.iter().collect::<Vec<_>>()),
        groups: groups.into_iter().map(|(group, slices)| totals(Some(group), &slices)).collect(),
    }))
}
