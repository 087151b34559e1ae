//! Rows of `call_analyses`: asked for, in work, done.

use domain::{AgentSpec, CallId, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use utoipa::ToSchema;

use super::{
    analysis::{Analysis, Findings},
    talk::Talk,
};
use crate::{
    Store,
    jobs::{NewJob, enqueue},
    store::{fresh_id, json_text, storable},
    time::{now_ms, rfc3339},
};

/// The job that analyses.
pub(super) const ANALYZE: &str = "call.analyze";

/// An analysis that is not done by then has lost its job.
const STUCK_MS: i64 = 6 * 3_600_000;

/// What a request wants otherwise than the agent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wishes {
    /// JSON Schema in place of the agent's.
    #[schema(value_type = Option<Object>)]
    pub(crate) schema: Option<Value>,
    /// In place of the agent's; at most 2000 characters.
    pub(crate) criterion: Option<String>,
    /// `{provider,model?,credential_id?}` in place of the agent's; `{"provider":"flow"}` = by rules.
    #[schema(value_type = Option<Object>)]
    pub(crate) llm: Option<Value>,
}

impl Wishes {
    /// The talk with what was wished.
    pub(super) fn apply(self, talk: &mut Talk) {
        if let Some(schema) = self.schema {
            talk.agent.analysis.schema = schema;
        }
        if let Some(criterion) = self.criterion {
            talk.agent.analysis.success_criterion = criterion;
        }
        if let Some(llm) = self.llm {
            // Read as part of an agent, as it was when it was asked for.
            let read = AgentSpec::read(&json!({"name": "x", "analysis": {"llm": llm}}));
            talk.agent.analysis.llm = read.ok().and_then(|agent| agent.analysis.llm);
        }
    }
}

/// The analysis that follows the call; once, whatever is read twice.
pub(super) async fn first(tx: &mut AnyConnection, call: CallId, enough: bool) -> Result<(), sqlx::Error> {
    let now = now_ms();
    let made = sqlx::query(
        "INSERT INTO call_analyses (id, call_id, tenant_id, revision, state, created_at, finished_at)
         SELECT $1, c.id, c.tenant_id, 1, $2, $3, $4 FROM calls c WHERE c.id = $5 ON CONFLICT (call_id, revision) DO NOTHING",
    )
    .bind(fresh_id())
    .bind(if enough { "queued" } else { "skipped" })
    .bind(now)
    .bind((!enough).then_some(now))
    .bind(call.to_string())
    .execute(&mut *tx)
    .await?;
    if enough && made.rows_affected() == 1 {
        leave(tx, call, 1, &Wishes::default()).await?;
    }
    Ok(())
}

/// A further analysis of an ended call; while one waits or runs it is that one.
pub(crate) async fn ask(store: &Store, tenant: TenantId, call: CallId, wishes: &Wishes) -> Result<i64, sqlx::Error> {
    let mut tx = store.begin().await?;
    // Two requests at once take turns at the call's row.
    sqlx::query("UPDATE calls SET id = id WHERE id = $1").bind(call.to_string()).execute(&mut *tx).await?;
    let newest = sqlx::query(
        "SELECT revision, state, created_at FROM call_analyses WHERE call_id = $1 ORDER BY revision DESC LIMIT 1",
    )
    .bind(call.to_string())
    .fetch_optional(&mut *tx)
    .await?;
    let (last, state, since) = match newest {
        Some(row) => (row.try_get("revision")?, row.try_get::<String, _>("state")?, row.try_get("created_at")?),
        None => (0, String::new(), 0),
    };
    if (state == "queued" || state == "running") && since > now_ms() - STUCK_MS {
        return Ok(last);
    }
    let revision: i64 = last + 1;
    sqlx::query(
        "INSERT INTO call_analyses (id, call_id, tenant_id, revision, state, created_at) VALUES ($1, $2, $3, $4, 'queued', $5)",
    )
    .bind(fresh_id())
    .bind(call.to_string())
    .bind(tenant.to_string())
    .bind(revision)
    .bind(now_ms())
    .execute(&mut *tx)
    .await?;
    leave(&mut tx, call, revision, wishes).await?;
    tx.commit().await?;
    store.ring();
    Ok(revision)
}

async fn leave(tx: &mut AnyConnection, call: CallId, revision: i64, wishes: &Wishes) -> Result<(), sqlx::Error> {
    let tenant: String = sqlx::query("SELECT tenant_id FROM calls WHERE id = $1")
        .bind(call.to_string())
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    let job = NewJob {
        tenant: tenant.parse().ok(),
        kind: ANALYZE,
        dedupe_key: format!("{ANALYZE}:{call}:{revision}"),
        payload: json!({"call_id": call, "revision": revision, "wishes": wishes}),
        run_at_ms: now_ms(),
    };
    enqueue(tx, job).await.map(drop)
}

/// Marks a revision as in work; false when it is finished or gone.
pub(super) async fn begin(store: &Store, call: CallId, revision: i64) -> Result<bool, sqlx::Error> {
    let begun = sqlx::query(
        "UPDATE call_analyses SET state = 'running' WHERE call_id = $1 AND revision = $2 AND state IN ('queued','running')",
    )
    .bind(call.to_string())
    .bind(revision)
    .execute(store.writers())
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// Ends a revision; false when it had ended before.
pub(super) async fn finish(
    tx: &mut AnyConnection,
    call: CallId,
    analysis: &Analysis,
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE call_analyses SET state = $1, engine = $2, result = $3, error = $4, finished_at = $5
         WHERE call_id = $6 AND revision = $7 AND state IN ('queued','running')",
    )
    .bind(analysis.state.clone())
    .bind(analysis.engine.clone())
    .bind((analysis.state == "done").then(|| json_text(&analysis.findings)))
    .bind(analysis.error.as_deref().map(storable))
    .bind(now_ms)
    .bind(call.to_string())
    .bind(analysis.revision)
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() == 1 && analysis.state == "done" {
        sqlx::query("UPDATE calls SET sentiment = $1, success = $2, summary_line = $3 WHERE id = $4")
            .bind(analysis.findings.sentiment.clone())
            .bind(analysis.findings.success.map(i64::from))
            .bind(analysis.findings.line().map(|line| storable(&line)))
            .bind(call.to_string())
            .execute(tx)
            .await?;
    }
    Ok(done.rows_affected() == 1)
}

impl Store {
    /// One revision of a call's analysis, or the newest.
    pub(crate) async fn analysis(&self, call: CallId, revision: Option<i64>) -> Result<Option<Analysis>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT revision, state, engine, result, error, finished_at FROM call_analyses
             WHERE call_id = $1 AND ($2 = 0 OR revision = $2) ORDER BY revision DESC LIMIT 1",
        )
        .bind(call.to_string())
        .bind(revision.unwrap_or(0))
        .fetch_optional(self.pool())
        .await?;
        row.as_ref().map(read).transpose()
    }
}

fn read(row: &AnyRow) -> Result<Analysis, sqlx::Error> {
    let result: Option<String> = row.try_get("result")?;
    let findings: Findings = result.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    Ok(Analysis {
        revision: row.try_get("revision")?,
        state: row.try_get("state")?,
        engine: row.try_get("engine")?,
        findings,
        error: row.try_get("error")?,
        finished_at: row.try_get::<Option<i64>, _>("finished_at")?.map(rfc3339),
    })
}
