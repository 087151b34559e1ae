//! `analytics/report`: metrics and dimensions of one's choice over the roll-ups.

use axum::{
    Json,
    extract::State as Extract,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::analytics::{by, cut, dimension, open, slices, sum};
use crate::{
    analytics::{Cut, RangeQuery, Slice, Tally},
    files::{csv, export::Format},
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
};

/// A report of one's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"metrics": ["calls", "answered_pct"], "group_by": ["day", "agent"], "from": "2026-11-01", "to": "2026-11-21"}))]
pub(crate) struct ReportBody {
    /// For the file's name.
    name: Option<String>,
    /// 1 to 10 of `calls`, `answered`, `answered_pct`, `success_pct`, `avg_duration_ms`, `minutes`, `charged_micros`, `positive`, `neutral`, `negative`.
    metrics: Vec<String>,
    /// At most 3 of `hour`, `day`, `week`, `month`, `agent`, `direction`, `status`.
    #[serde(default)]
    group_by: Vec<String>,
    #[serde(default)]
    filter: ReportFilter,
    from: Option<String>,
    to: Option<String>,
    timezone: Option<String>,
    /// `json` (the default) or `csv`.
    format: Option<String>,
}

/// Which calls.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ReportFilter {
    agent_id: Option<String>,
    direction: Option<String>,
    status: Option<String>,
}

const METRICS: [&str; 10] = [
    "calls",
    "answered",
    "answered_pct",
    "success_pct",
    "avg_duration_ms",
    "minutes",
    "charged_micros",
    "positive",
    "neutral",
    "negative",
];
const DIMENSIONS: [&str; 7] = ["hour", "day", "week", "month", "agent", "direction", "status"];
/// Rows of a report at most.
const REPORT_ROWS: usize = 10_000;

fn metric(tally: &Tally, name: &str) -> Value {
    match name {
        "calls" => tally.calls.into(),
        "answered" => tally.answered.into(),
        "answered_pct" => tally.answered_pct().into(),
        "success_pct" => tally.success_pct().into(),
        "avg_duration_ms" => tally.average_ms().into(),
        "minutes" => tally.minutes().into(),
        "charged_micros" => tally.charged_micros.into(),
        "positive" => tally.positive.into(),
        "neutral" => tally.neutral.into(),
        _ => tally.negative.into(),
    }
}

/// Metrics of one's choice, grouped by dimensions of one's choice.
#[utoipa::path(post, path = "/api/v1/analytics/report", tag = "analytics", operation_id = "makeReport", request_body = ReportBody,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, description = "`{\"columns\":[…],\"rows\":[{…}]}`, or CSV"), (status = 400, body = ErrorEnvelope, description = "also `too_many_rows`: more than 10000"),
        (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn report(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(wanted): body::Json<ReportBody>,
) -> Result<Response, ApiError> {
    let words = |field: &str, words: &[String], known: &[&str], least: usize, most: usize| {
        if !(least..=most).contains(&words.len()) {
            return Err(ApiError::invalid(field, format!("{field} has {least} to {most} entries")));
        }
        match words.iter().find(|word| !known.contains(&word.as_str())) {
            Some(word) => Err(ApiError::invalid(field, format!("{word:?} is none of {}", known.join(", ")))),
            None => Ok(()),
        }
    };
    words("metrics", &wanted.metrics, &METRICS, 1, 10)?;
    words("group_by", &wanted.group_by, &DIMENSIONS, 0, 3)?;
    let format = match wanted.format.as_deref() {
        None | Some("json") => Format::Jsonl,
        Some("csv") => Format::Csv,
        Some(_) => return Err(ApiError::invalid("format", "format is json or csv")),
    };
    let ReportFilter { agent_id, direction, status } = wanted.filter;
    let query = RangeQuery { from: wanted.from, to: wanted.to, timezone: wanted.timezone, agent_id, bucket: None };
    let range = open(&state, &actor, &query).await?;
    let needed = Cut { direction: direction.is_some(), outcome: status.is_some(), ..Cut::NONE };
    let needed = wanted.group_by.iter().fold(needed, |needed, name| needed.and(cut(name)));
    let mut slices = slices(&state, &actor, &range, needed).await?;
    slices.retain(|slice| {
        direction.as_ref().is_none_or(|direction| *direction == slice.direction)
            && status.as_ref().is_none_or(|status| *status == slice.outcome)
            // Without groups the sum of no calls is no row.
            && slice.tally.calls > 0
    });
    let groups =
        by(&slices, |slice| wanted.group_by.iter().map(|name| dimension(&range, slice, name)).collect::<Vec<_>>());
    if groups.len() > REPORT_ROWS {
        let message = format!(
            "the report would have {} rows, at most {REPORT_ROWS} are given; ask for a shorter range or fewer groups",
            groups.len()
        );
        return Err(ApiError::new(axum::http::StatusCode::BAD_REQUEST, "too_many_rows", message).at("group_by"));
    }
    let columns: Vec<&String> = wanted.group_by.iter().chain(&wanted.metrics).collect();
    let row = |(group, slices): (Vec<String>, Vec<&Slice>)| {
        let tally = sum(slices);
        let groups = wanted.group_by.iter().cloned().zip(group.into_iter().map(Value::from));
        let metrics = wanted.metrics.iter().map(|name| (name.clone(), metric(&tally, name)));
        groups.chain(metrics).collect::<Map<_, _>>()
    };
    let rows: Vec<Map<String, Value>> = groups.into_iter().map(row).collect();
    if format == Format::Csv {
        let mut text = csv::line(&columns);
        for row in &rows {
            text.push_str(&csv::line(columns.iter().map(|column| row.get(*column).map(csv::text).unwrap_or_default())));
        }
        let name: String = wanted
            .name
            .unwrap_or_default()
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '_')
            .take(60)
            .collect();
        let name = format!("attachment; filename=\"{}.csv\"", if name.is_empty() { "report" } else { &name });
        return Ok((
            [(header::CONTENT_TYPE, Format::Csv.content_type().to_owned()), (header::CONTENT_DISPOSITION, name)],
            text,
        )
            .into_response());
    }
    Ok(Json(json!({"columns": columns, "rows": rows})).into_response())
}
