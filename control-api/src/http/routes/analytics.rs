//! Analytics over the roll-ups (API.md §1.9).

use std::collections::BTreeMap;

use axum::{Json, extract::State as Extract};
use serde::Serialize;
use sqlx::Row as _;
use utoipa::ToSchema;

use crate::{
    analytics::{Bucket, Histogram, Hour, Percentiles, Range, RangeQuery, Sentiment, Tally, Versions, percent},
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        query::Query,
    },
    time::{now_ms, rfc3339},
};

pub(super) async fn open(state: &State, actor: &Actor, query: &RangeQuery) -> Result<Range, ApiError> {
    actor.needs("analytics:read")?;
    let place = state.app.store.place(actor.tenant).await?;
    Range::read(query, &place, now_ms())
}

pub(super) async fn hours(state: &State, actor: &Actor, range: &Range) -> Result<Vec<Hour>, ApiError> {
    Ok(state.app.store.hours(actor.tenant, actor.livemode, range).await?)
}

pub(super) fn sum<'a>(hours: impl IntoIterator<Item = &'a Hour>) -> Tally {
    let mut tally = Tally::default();
    hours.into_iter().for_each(|hour| tally.add(&hour.tally));
    tally
}

pub(super) fn by<K: Ord>(hours: &[Hour], key: impl Fn(&Hour) -> K) -> BTreeMap<K, Vec<&Hour>> {
    let mut groups: BTreeMap<K, Vec<&Hour>> = BTreeMap::new();
    for hour in hours {
        groups.entry(key(hour)).or_default().push(hour);
    }
    groups
}

/// The steps of the range, each with its hours, in order.
fn steps<'a>(range: &Range, hours: &'a [Hour]) -> Vec<(String, Vec<&'a Hour>)> {
    by(hours, |hour| range.step(hour.at_ms, range.bucket)).into_iter().map(|(at, hours)| (rfc3339(at), hours)).collect()
}

async fn voice_to_voice(state: &State, actor: &Actor, range: &Range) -> Result<Option<i64>, ApiError> {
    let all = state.app.store.latencies(actor.tenant, range).await?;
    let mut merged = Histogram::default();
    all.into_iter().filter(|((stage, ..), _)| stage == "voice_to_voice").for_each(|(_, one)| merged.merge(&one));
    Ok(merged.at(0.5))
}

/// A range at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Overview {
    calls: i64,
    active_now: i64,
    answered_pct: Option<f64>,
    success_pct: Option<f64>,
    avg_duration_ms: Option<i64>,
    minutes: f64,
    charged_micros: i64,
    v2v_p50_ms: Option<i64>,
    sentiment: Sentiment,
    /// By how many percent each is more or less than in the range before; null where there was nothing.
    vs_previous: Change,
}

/// Percent of change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Change {
    calls_pct: Option<f64>,
    answered_pct: Option<f64>,
    success_pct: Option<f64>,
    minutes_pct: Option<f64>,
    charged_pct: Option<f64>,
}

/// The range and how it compares with the one before.
#[utoipa::path(get, path = "/api/v1/analytics/overview", tag = "analytics", operation_id = "getOverview", params(RangeQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Overview), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn overview(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Overview>, ApiError> {
    let range = open(&state, &actor, &query).await?;
    let now = sum(&hours(&state, &actor, &range).await?);
    let before = sum(&hours(&state, &actor, &range.previous()).await?);
    let change = |now: i64, before: i64| percent(now - before, before);
    Ok(Json(Overview {
        calls: now.calls,
        active_now: state.app.store.active(actor.tenant, actor.livemode).await?,
        answered_pct: now.answered_pct(),
        success_pct: now.success_pct(),
        avg_duration_ms: now.average_ms(),
        minutes: now.minutes(),
        charged_micros: now.charged_micros,
        v2v_p50_ms: voice_to_voice(&state, &actor, &range).await?,
        sentiment: now.sentiment(),
        vs_previous: Change {
            calls_pct: change(now.calls, before.calls),
            answered_pct: change(now.answered, before.answered),
            success_pct: change(now.success, before.success),
            minutes_pct: change(now.duration_ms, before.duration_ms),
            charged_pct: change(now.charged_micros, before.charged_micros),
        },
    }))
}

/// A step of the calls' series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallStep {
    at: String,
    calls: i64,
    answered: i64,
    failed: i64,
    busy: i64,
    no_answer: i64,
    inbound: i64,
    outbound: i64,
    minutes: f64,
}

/// A series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Series<T> {
    series: Vec<T>,
}

/// How many calls, when, and what became of them. Steps without calls are left out.
#[utoipa::path(get, path = "/api/v1/analytics/calls", tag = "analytics", operation_id = "getCallAnalytics", params(RangeQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Series<CallStep>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn calls(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Series<CallStep>>, ApiError> {
    let range = open(&state, &actor, &query).await?;
    let hours = hours(&state, &actor, &range).await?;
    let step = |(at, hours): (String, Vec<&Hour>)| {
        let all = sum(hours.iter().copied());
        let only = |is: &dyn Fn(&Hour) -> bool| sum(hours.iter().copied().filter(|hour| is(hour))).calls;
        CallStep {
            at,
            calls: all.calls,
            answered: all.answered,
            failed: only(&|hour| hour.outcome == "failed"),
            busy: only(&|hour| hour.outcome == "busy"),
            no_answer: only(&|hour| hour.outcome == "no_answer"),
            inbound: only(&|hour| hour.direction == "inbound"),
            outbound: only(&|hour| hour.direction == "outbound"),
            minutes: all.minutes(),
        }
    };
    Ok(Json(Series { series: steps(&range, &hours).into_iter().map(step).collect() }))
}

/// Objects in a row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rows<T> {
    data: Vec<T>,
}

/// Agents and their versions side by side, the busiest first.
#[utoipa::path(get, path = "/api/v1/analytics/agents", tag = "analytics", operation_id = "getAgentAnalytics", params(RangeQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Rows<Versions>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn agents(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Rows<Versions>>, ApiError> {
    let range = open(&state, &actor, &query).await?;
    Ok(Json(Rows { data: state.app.store.versions(actor.tenant, actor.livemode, &range).await? }))
}

/// Where the time of answers went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Latency {
    #[schema(value_type = Object)]
    stages: BTreeMap<String, Percentiles>,
    by_provider: Vec<ProviderLatency>,
    series: Vec<LatencyStep>,
}

/// A vendor's part.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProviderLatency {
    stage: String,
    provider: String,
    #[serde(flatten)]
    percentiles: Percentiles,
}

/// Voice to voice of one day (UTC).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LatencyStep {
    at: String,
    #[serde(flatten)]
    percentiles: Percentiles,
}

/// Percentiles of each stage, at most 1.5 % off, over whole days of UTC.
#[utoipa::path(get, path = "/api/v1/analytics/latency", tag = "analytics", operation_id = "getLatencyAnalytics", params(RangeQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Latency), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn latency(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Latency>, ApiError> {
    let range = open(&state, &actor, &query).await?;
    let mut stages: BTreeMap<String, Histogram> = BTreeMap::new();
    let mut providers: BTreeMap<(String, String), Histogram> = BTreeMap::new();
    let mut days: BTreeMap<String, Histogram> = BTreeMap::new();
    for ((stage, provider, day), histogram) in state.app.store.latencies(actor.tenant, &range).await? {
        stages.entry(stage.clone()).or_default().merge(&histogram);
        if stage == "voice_to_voice" {
            days.entry(day).or_default().merge(&histogram);
        }
        if !provider.is_empty() {
            providers.entry((stage, provider)).or_default().merge(&histogram);
        }
    }
    Ok(Json(Latency {
        stages: stages.into_iter().map(|(stage, histogram)| (stage, histogram.percentiles())).collect(),
        by_provider: providers
            .into_iter()
            .map(|((stage, provider), histogram)| ProviderLatency {
                stage,
                provider,
                percentiles: histogram.percentiles(),
            })
            .collect(),
        series: days
            .into_iter()
            .map(|(day, histogram)| LatencyStep {
                at: format!("{day}T00:00:00.000Z"),
                percentiles: histogram.percentiles(),
            })
            .collect(),
    }))
}

/// What calls cost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Costs {
    charged_micros: i64,
    vendor_micros: i64,
    /// Only for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    margin_micros: Option<i64>,
    by_item: Vec<ItemCost>,
    by_agent: Vec<AgentCost>,
    series: Vec<CostStep>,
}

/// By what was used.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemCost {
    item: String,
    quantity: i64,
    amount_micros: i64,
    vendor_micros: i64,
}

/// By agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentCost {
    agent_id: Option<String>,
    calls: i64,
    charged_micros: i64,
    vendor_micros: i64,
}

/// A step of the costs' series.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CostStep {
    at: String,
    charged_micros: i64,
    vendor_micros: i64,
}

/// What calls cost, by item, agent and time.
#[utoipa::path(get, path = "/api/v1/analytics/costs", tag = "analytics", operation_id = "getCostAnalytics", params(RangeQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Costs), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn costs(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Costs>, ApiError> {
    let range = open(&state, &actor, &query).await?;
    let hours = hours(&state, &actor, &range).await?;
    let all = sum(&hours);
    let (first, last) = range.days();
    let rows = sqlx::query(
        "SELECT item, CAST(SUM(quantity) AS BIGINT), CAST(SUM(amount_micros) AS BIGINT), CAST(SUM(vendor_micros) AS BIGINT)
         FROM usage_daily WHERE tenant_id = $1 AND livemode = $2 AND day >= $3 AND day <= $4 GROUP BY item ORDER BY item",
    )
    .bind(actor.tenant.to_string())
    .bind(i64::from(actor.livemode))
    .bind(first)
    .bind(last)
    .fetch_all(state.app.store.pool())
    .await?;
    let by_item: Result<_, sqlx::Error> = rows
        .iter()
        .map(|row| {
            Ok(ItemCost {
                item: row.try_get(0)?,
                quantity: row.try_get(1)?,
                amount_micros: row.try_get(2)?,
                vendor_micros: row.try_get(3)?,
            })
        })
        .collect();
    let agent = |(agent, hours): (String, Vec<&Hour>)| {
        let sum = sum(hours);
        let agent_id = Some(agent).filter(|agent| !agent.is_empty());
        AgentCost { agent_id, calls: sum.calls, charged_micros: sum.charged_micros, vendor_micros: sum.vendor_micros }
    };
    let step = |(at, hours): (String, Vec<&Hour>)| {
        let sum = sum(hours);
        CostStep { at, charged_micros: sum.charged_micros, vendor_micros: sum.vendor_micros }
    };
    Ok(Json(Costs {
        charged_micros: all.charged_micros,
        vendor_micros: all.vendor_micros,
        margin_micros: actor.has("platform:admin").then_some(all.charged_micros - all.vendor_micros),
        by_item: by_item?,
        by_agent: by(&hours, |hour| hour.agent.clone()).into_iter().map(agent).collect(),
        series: steps(&range, &hours).into_iter().map(step).collect(),
    }))
}

/// How callers sounded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Sentiments {
    series: Vec<SentimentGroup>,
    by_agent: Vec<SentimentGroup>,
    by_topic: Vec<SentimentGroup>,
}

/// A step, an agent or a topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SentimentGroup {
    /// When the step begins, the agent's id, or the topic.
    of: String,
    #[serde(flatten)]
    sentiment: Sentiment,
}

/// How callers sounded, by time, agent and topic.
#[utoipa::path(get, path = "/api/v1/analytics/sentiment", tag = "analytics", operation_id = "getSentimentAnalytics", params(RangeQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Sentiments), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn sentiment(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(query): Query<RangeQuery>,
) -> Result<Json<Sentiments>, ApiError> {
    let range = open(&state, &actor, &query).await?;
    let hours = hours(&state, &actor, &range).await?;
    let group = |of: String, hours: Vec<&Hour>| SentimentGroup { of, sentiment: sum(hours).sentiment() };
    let topics = state.app.store.topics(actor.tenant, actor.livemode, &range).await?;
    Ok(Json(Sentiments {
        series: steps(&range, &hours).into_iter().map(|(at, hours)| group(at, hours)).collect(),
        by_agent: by(&hours, |hour| hour.agent.clone()).into_iter().map(|(agent, hours)| group(agent, hours)).collect(),
        by_topic: topics.into_iter().map(|(of, sentiment)| SentimentGroup { of, sentiment }).collect(),
    }))
}

/// What an hour counts for.
pub(super) fn dimension(range: &Range, hour: &Hour, name: &str) -> String {
    let step = |bucket| rfc3339(range.step(hour.at_ms, bucket));
    match name {
        "agent" => hour.agent.clone(),
        "direction" => hour.direction.clone(),
        "hour" => step(Bucket::Hour),
        "day" => step(Bucket::Day),
        "week" => step(Bucket::Week),
        "month" => step(Bucket::Month),
        _ => hour.outcome.clone(),
    }
}
