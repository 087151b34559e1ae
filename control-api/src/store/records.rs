//! What belongs to a call: its turns, its events, its recording. The caller has already found the call in the tenant.

use std::collections::HashMap;

use domain::CallId;
use serde_json::Value;
use sqlx::{Row as _, any::AnyRow};

use super::{Store, page::Bound};
use crate::{
    time::rfc3339,
    view::{Event, TurnView},
};

/// A row of `recordings`.
#[derive(Clone, Debug)]
pub(crate) struct RecordingRow {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) state: String,
    pub(crate) format: String,
    pub(crate) channels: i64,
    pub(crate) duration_ms: Option<i64>,
    pub(crate) bytes: Option<i64>,
    pub(crate) sha256: Option<String>,
    pub(crate) locator: String,
    pub(crate) expires_at: Option<i64>,
}

const TURNS: &str = "SELECT call_id, n, speaker, text, heard_chars, lang, confidence_milli, start_ms, end_ms, interrupted, words, latency
    FROM turns";

fn turn(row: &AnyRow) -> Result<TurnView, sqlx::Error> {
    let json = |text: Option<String>| text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let text: String = row.try_get("text")?;
    let heard: Option<i64> = row.try_get("heard_chars")?;
    let heard_text = match heard {
        Some(chars) => text.chars().take(usize::try_from(chars).unwrap_or(0)).collect(),
        None => text.clone(),
    };
    Ok(TurnView {
        n: row.try_get("n")?,
        speaker: row.try_get("speaker")?,
        text,
        heard_text,
        interrupted: row.try_get::<i64, _>("interrupted")? != 0,
        lang: row.try_get("lang")?,
        confidence: row.try_get::<Option<i64>, _>("confidence_milli")?.map(|milli| milli as f64 / 1000.0),
        start_ms: row.try_get("start_ms")?,
        end_ms: row.try_get("end_ms")?,
        words: json(row.try_get("words")?).unwrap_or_else(|| Value::Array(Vec::new())),
        latency: json(row.try_get("latency")?),
    })
}

impl Store {
    /// The turns of a call in order.
    pub(crate) async fn turns(&self, call: CallId) -> Result<Vec<TurnView>, sqlx::Error> {
        let sql = format!("{TURNS} WHERE call_id = $1 ORDER BY n");
        let rows = self.fetch(sql, vec![Bound::Text(call.to_string())]).await?;
        rows.iter().map(turn).collect()
    }

    /// The turns of several calls, each in order.
    pub(crate) async fn turns_of(&self, calls: &[String]) -> Result<HashMap<String, Vec<TurnView>>, sqlx::Error> {
        if calls.is_empty() {
            return Ok(HashMap::new());
        }
        let places = (1..=calls.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let sql = format!("{TURNS} WHERE call_id IN ({places}) ORDER BY call_id, n");
        let rows = self.fetch(sql, calls.iter().map(|call| Bound::Text(call.clone())).collect()).await?;
        let mut turns: HashMap<String, Vec<TurnView>> = HashMap::new();
        for row in &rows {
            turns.entry(row.try_get("call_id")?).or_default().push(turn(row)?);
        }
        Ok(turns)
    }

    /// Events of a call after a number, oldest first, at most `limit`; `type_prefixes` empty = all.
    pub(crate) async fn events(&self, call: CallId, after_seq: i64, limit: i64) -> Result<Vec<Event>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT id, pub_seq, tenant_id, call_id, call_seq, type, livemode, data, created_at FROM events
             WHERE call_id = $1 AND call_seq > $2 ORDER BY call_seq LIMIT $3",
        )
        .bind(call.to_string())
        .bind(after_seq)
        .bind(limit)
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Event {
                    id: row.try_get("id")?,
                    kind: row.try_get("type")?,
                    api_version: crate::view::API_VERSION,
                    tenant_id: row.try_get("tenant_id")?,
                    livemode: row.try_get::<i64, _>("livemode")? != 0,
                    call_id: row.try_get("call_id")?,
                    seq: row.try_get("call_seq")?,
                    cursor: row.try_get::<Option<i64>, _>("pub_seq")?.map(|seq| seq.to_string()),
                    created_at: rfc3339(row.try_get("created_at")?),
                    data: serde_json::from_str(&row.try_get::<String, _>("data")?).unwrap_or(Value::Null),
                })
            })
            .collect()
    }

    /// The newest recording of a call.
    pub(crate) async fn recording_of(&self, call: CallId) -> Result<Option<RecordingRow>, sqlx::Error> {
        self.one_recording("call_id", &call.to_string()).await
    }

    /// A recording by its own id, for signed links (whose signature covers the tenant).
    pub(crate) async fn recording(&self, id: &str) -> Result<Option<RecordingRow>, sqlx::Error> {
        self.one_recording("id", id).await
    }

    async fn one_recording(&self, column: &'static str, value: &str) -> Result<Option<RecordingRow>, sqlx::Error> {
        let sql = format!(
            "SELECT id, tenant_id, state, format, channels, duration_ms, bytes, sha256, locator, expires_at FROM recordings
             WHERE {column} = $1 ORDER BY created_at DESC, id DESC LIMIT 1"
        );
        let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(value.to_owned()).fetch_optional(self.pool()).await?;
        row.map(|row| {
            Ok(RecordingRow {
                id: row.try_get(0)?,
                tenant: row.try_get(1)?,
                state: row.try_get(2)?,
                format: row.try_get(3)?,
                channels: row.try_get(4)?,
                duration_ms: row.try_get(5)?,
                bytes: row.try_get(6)?,
                sha256: row.try_get(7)?,
                locator: row.try_get(8)?,
                expires_at: row.try_get(9)?,
            })
        })
        .transpose()
    }
}
