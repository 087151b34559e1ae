//! What can be exported and how it is written: a stream of lines, page by page, however many there are.

use domain::{CallId, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::csv;
use crate::{
    Store,
    leads::rows::LeadFilter,
    store::{calls::CallFilter, page::Page},
};

/// Rows at most.
const MOST: usize = 1_000_000;
/// Rows of one page.
const PAGE: i64 = 500;

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// RFC 4180, with a header line; cells that look like formulas are disarmed.
    #[default]
    Csv,
    /// A JSON object a line.
    Jsonl,
}

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Jsonl => "application/x-ndjson",
        }
    }

    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// What is exported.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
#[allow(clippy::large_enum_variant, reason = "one lives at a time")]
pub(crate) enum What {
    /// Calls of one mode.
    Calls {
        livemode: bool,
        filter: CallFilter,
        columns: Vec<String>,
        include: Vec<String>,
        /// Whether numbers are shown whole.
        pii: bool,
    },
    /// Leads.
    Leads { filter: LeadFilter },
}

/// An export as it waits in its row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Export {
    pub(crate) format: Format,
    pub(crate) created_after: Option<i64>,
    pub(crate) created_before: Option<i64>,
    #[serde(flatten)]
    pub(crate) what: What,
}

/// Columns of calls, where a dot goes into an object.
pub(crate) const CALL_COLUMNS: &[&str] = &[
    "id",
    "created_at",
    "answered_at",
    "ended_at",
    "direction",
    "channel",
    "status",
    "ended_reason",
    "from.address",
    "to.address",
    "agent.id",
    "agent.name",
    "agent.version",
    "duration_ms",
    "billed_s",
    "cost.charged_micros",
    "turns",
    "latency.voice_to_voice.p50",
    "answered_by",
    "degraded",
    "sip_status",
    "number_id",
    "trunk_id",
    "metadata",
    "variables",
];

/// What a row of calls can have beside its columns.
pub(crate) const INCLUDES: &[&str] = &["transcript", "cost", "analysis"];

const LEAD_COLUMNS: &[&str] = &[
    "id",
    "created_at",
    "name",
    "email",
    "phone",
    "business_type",
    "stage",
    "score",
    "call_id",
    "agent_id",
    "owner_id",
    "notes_count",
    "fields",
];

/// The lines of an export as they become ready; an error ends them.
pub(crate) fn lines(store: Store, tenant: TenantId, export: Export) -> mpsc::Receiver<Result<String, sqlx::Error>> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(error) = write(&store, tenant, &export, &sender).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    receiver
}

/// Who read no further has gone: then the work ends.
async fn write(
    store: &Store,
    tenant: TenantId,
    export: &Export,
    sender: &mpsc::Sender<Result<String, sqlx::Error>>,
) -> Result<(), sqlx::Error> {
    let columns = columns(&export.what);
    if export.format == Format::Csv && sender.send(Ok(csv::line(&columns))).await.is_err() {
        return Ok(());
    }
    let mut page = Page {
        after: None,
        limit: PAGE,
        ascending: true,
        created_after: export.created_after,
        created_before: export.created_before,
    };
    let mut written = 0;
    loop {
        let (rows, next) = rows(store, tenant, &export.what, &page).await?;
        let mut chunk = String::new();
        for row in rows.into_iter().take(MOST - written) {
            written += 1;
            match export.format {
                Format::Csv => chunk.push_str(&csv::line(columns.iter().map(|column| csv::text(at(&row, column))))),
                Format::Jsonl => chunk.push_str(&format!("{row}\n")),
            }
        }
        if !chunk.is_empty() && sender.send(Ok(chunk)).await.is_err() {
            return Ok(());
        }
        match next {
            Some(after) if written < MOST => page.after = Some(after),
            _ => return Ok(()),
        }
    }
}

fn columns(what: &What) -> Vec<String> {
    match what {
        What::Calls { columns, include, .. } => columns.iter().chain(include).cloned().collect(),
        What::Leads { .. } => LEAD_COLUMNS.iter().map(|column| (*column).to_owned()).collect(),
    }
}

/// The value at a dotted path.
fn at<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(row, |value, part| &value[part])
}

type Next = Option<(i64, String)>;

async fn rows(store: &Store, tenant: TenantId, what: &What, page: &Page) -> Result<(Vec<Value>, Next), sqlx::Error> {
    let limit = usize::try_from(page.limit).unwrap_or(0);
    match what {
        What::Calls { livemode, filter, include, pii, .. } => {
            let mut calls = store.calls(tenant, *livemode, filter, page).await?;
            let more = calls.len() > limit;
            calls.truncate(limit);
            let next = calls.last().filter(|_| more).map(|(at, call)| (*at, call.id.clone()));
            let mut rows = Vec::with_capacity(calls.len());
            for (_, call) in calls {
                let call = if *pii { call } else { call.masked() };
                let id: Option<CallId> = call.id.parse().ok();
                let mut row = serde_json::to_value(call).unwrap_or_default();
                for extra in include {
                    if let Some(id) = id {
                        row[extra] = included(store, id, extra, &row).await?;
                    }
                }
                rows.push(row);
            }
            Ok((rows, next))
        }
        What::Leads { filter } => {
            let mut leads = store.leads(tenant, filter, page).await?;
            let more = leads.len() > limit;
            leads.truncate(limit);
            let next = leads.last().filter(|_| more).map(|lead| (lead.created_at_ms, lead.id.clone()));
            Ok((leads.iter().map(|lead| serde_json::to_value(lead).unwrap_or_default()).collect(), next))
        }
    }
}

async fn included(store: &Store, call: CallId, what: &str, row: &Value) -> Result<Value, sqlx::Error> {
    Ok(match what {
        "transcript" => {
            let turns = store.turns(call).await?;
            let line = |turn: crate::view::TurnView| json!({"speaker": turn.speaker, "text": turn.heard_text, "start_ms": turn.start_ms});
            turns.into_iter().map(line).collect()
        }
        "analysis" => match store.analysis(call, None).await? {
            Some(analysis) => serde_json::to_value(analysis).unwrap_or_default(),
            None => Value::Null,
        },
        // The cost stands in the call already; as a column it is whole.
        _ => row["cost"].clone(),
    })
}
