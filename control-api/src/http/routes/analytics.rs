//! Analytics over the roll-ups (API.md §1.9).

use std::collections::BTreeMap;

use axum::{Json, extract::State as Extract};
use serde::Serialize;
use sqlx::Row as _;
use utoipa::ToSchema;

use crate::{
    analytics::{Bucket, Cut, Histogram, Percentiles, Range, RangeQuery, Sentiment, Slice, Tally, Versions, percent},
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

pub(super) async fn slices(state: &State, actor: &Actor, range: &Range, cut: Cut) -> Result<Vec<Slice>, ApiError> {
    Ok(state.app.store.slices(actor.tenant, actor.livemode, range, cut).await?)
}

pub(super) fn sum<'a>(slices: impl IntoIterator<Item = &'a Slice>) -> Tally {
    let mut tally = Tally::default();
    slices.into_iter().for_each(|slice| tally.add(&slice.tally));
    tally
}

pub(super) fn by<K: Ord>(slices: &[Slice], key: impl Fn(&Slice) -> K) -> BTreeMap<K, Vec<&Slice>> {
    let mut groups: BTreeMap<K, Vec<&Slice>> = BTreeMap::new();
    for slice in slices {
        groups.entry(key(slice)).or_default().push(slice);
    }
    groups
}

/// The steps of the range, each with its calls, in order.
fn steps<'a>(range: &Range, slices: &'a [Slice]) -> Vec<(String, Vec<&'a Slice>)> {
    let groups = by(slices, |slice| range.step(slice.hour_ms, range.bucket));
    groups.into_iter().map(|(at, slices)| (rfc3339(at), slices)).collect()
}

async fn voice_to_voice(state: &State, actor: &Actor, range: &Range) -> Result<Option<i64>, ApiError> {
    Ok(state.app.store.voice_to_voice(actor.tenant, range).await?.at(0.5))
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
    let now = sum(&slices(&state, &actor, &range, Cut::NONE).await?);
    let before = sum(&slices(&state, &actor, &range.previous(), Cut::NONE).await?);
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
    let slices =
        slices(&state, &actor, &range, Cut { direction: true, outcome: true, ..Cut::every(range.bucket) }).await?;
    let step = |(at, slices): (String, Vec<&Slice>)| {
        let all = sum(slices.iter().copied());
        let only = |is: &dyn Fn(&Slice) -> bool| sum(slices.iter().copied().filter(|slice| is(slice))).calls;
        CallStep {
            at,
            calls: all.calls,
            answered: all.answered,
            failed: only(&|slice| slice.outcome == "failed"),
            busy: only(&|slice| slice.outcome == "busy"),
            no_answer: only(&|slice| slice.outcome == "no_answer"),
            inbound: only(&|slice| slice.direction == "inbound"),
            outbound: only(&|slice| slice.direction == "outbound"),
            minutes: all.minutes(),
        }
    };
    Ok(Json(Series { series: steps(&range, &slices).into_iter().map(step).collect() }))
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
    for ((stage, provider), histogram) in state.app.store.latencies(actor.tenant, &range).await? {
        stages.entry(stage.clone()).or_default().merge(&histogram);
        if !provider.is_empty() {
            providers.entry((stage, provider)).or_default().merge(&histogram);
        }
    }
    let days = state.app.store.voice_by_day(actor.tenant, &range).await?;
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
    let by_agent = slices(&state, &actor, &range, Cut::AGENT).await?;
    let by_time = slices(&state, &actor, &range, Cut::every(range.bucket)).await?;
    let all = sum(&by_agent);
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
    let agent = |Slice { agent, tally, .. }: Slice| AgentCost {
        agent_id: Some(agent).filter(|agent| !agent.is_empty()),
        calls: tally.calls,
        charged_micros: tally.charged_micros,
        vendor_micros: tally.vendor_micros,
    };
    let step = |(at, slices): (String, Vec<&Slice>)| {
        let sum = sum(slices);
        CostStep { at, charged_micros: sum.charged_micros, vendor_micros: sum.vendor_micros }
    };
    Ok(Json(Costs {
        charged_micros: all.charged_micros,
        vendor_micros: all.vendor_micros,
        margin_micros: actor.has("platform:admin").then_some(all.charged_micros - all.vendor_micros),
        by_item: by_item?,
        series: steps(&range, &by_time).into_iter().map(step).collect(),
        by_agent: by_agent.into_iter().map(agent).collect(),
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
    let by_agent = slices(&state, &actor, &range, Cut::AGENT).await?;
    let by_time = slices(&state, &actor, &range, Cut::every(range.bucket)).await?;
    let step = |(of, slices): (String, Vec<&Slice>)| SentimentGroup { of, sentiment: sum(slices).sentiment() };
    let agent = |slice: Slice| SentimentGroup { of: slice.agent, sentiment: slice.tally.sentiment() };
    let topics = state.app.store.topics(actor.tenant, actor.livemode, &range).await?;
    Ok(Json(Sentiments {
        series: steps(&range, &by_time).into_iter().map(step).collect(),
        by_agent: by_agent.into_iter().map(agent).collect(),
        by_topic: topics.into_iter().map(|(of, sentiment)| SentimentGroup { of, sentiment }).collect(),
    }))
}

/// The cut that [`dimension`] needs.
pub(super) fn cut(name: &str) -> Cut {
    match name {
        "agent" => Cut::AGENT,
        "direction" => Cut { direction: true, ..Cut::NONE },
        "hour" => Cut::every(Bucket::Hour),
        "day" | "week" | "month" => Cut::every(Bucket::Day),
        _ => Cut::OUTCOME,
    }
}

/// What a slice counts for.
pub(super) fn dimension(range: &Range, slice: &Slice, name: &str) -> String {
    let step = |bucket| rfc3339(range.step(slice.hour_ms, bucket));
    match name {
        "agent" => slice.agent.clone(),
        "direction" => slice.direction.clone(),
        "hour" => step(Bucket::Hour),
        "day" => step(Bucket::Day),
        "week" => step(Bucket::Week),
        "month" => step(Bucket::Month),
        _ => slice.outcome.clone(),
    }
}
