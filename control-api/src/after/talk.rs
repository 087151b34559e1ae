//! A call that is over, as an analysis needs it: what was heard, and what came of it.

use domain::{AgentSpec, CallId, TenantId};
use serde_json::Value;
use sqlx::Row as _;

use crate::Store;

/// Who said what, when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) caller: bool,
    pub(crate) text: String,
    pub(crate) start_ms: i64,
}

/// A finished call.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) call: CallId,
    pub(crate) tenant: TenantId,
    pub(crate) livemode: bool,
    pub(crate) agent_id: Option<String>,
    pub(crate) agent: AgentSpec,
    /// The person's address, of either direction.
    pub(crate) person: String,
    pub(crate) duration_ms: i64,
    pub(crate) ended_reason: Option<String>,
    pub(crate) ended: bool,
    pub(crate) lines: Vec<Line>,
    /// What `book_slot` wrote and nobody has given up since.
    pub(crate) bookings: Vec<Value>,
    /// What `take_message` wrote.
    pub(crate) messages: Vec<Value>,
}

impl Store {
    /// A call with all that an analysis reads.
    pub(crate) async fn talk(&self, call: CallId) -> Result<Option<Talk>, sqlx::Error> {
        let row = sqlx::query(
            "SELECT tenant_id, livemode, agent_id, config, direction, from_addr, to_addr, duration_ms, ended_reason, ended_at
             FROM calls WHERE id = $1 AND deleted_at IS NULL",
        )
        .bind(call.to_string())
        .fetch_optional(self.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let config: Option<String> = row.try_get("config")?;
        // A document of an earlier version may hold what this one does not know; then its defaults serve.
        let agent = config
            .and_then(|text| serde_json::from_str::<Value>(&text).ok())
            .and_then(|document| AgentSpec::read(&document).ok())
            .unwrap_or_default();
        let inbound = row.try_get::<String, _>("direction")? == "inbound";
        let (bookings, messages) = self.taken_on(call).await?;
        Ok(Some(Talk {
            call,
            tenant: row.try_get::<String, _>("tenant_id")?.parse().map_err(|_| not_an_id())?,
            livemode: row.try_get::<i64, _>("livemode")? != 0,
            agent_id: row.try_get("agent_id")?,
            agent,
            person: row.try_get(if inbound { "from_addr" } else { "to_addr" })?,
            duration_ms: row.try_get("duration_ms")?,
            ended_reason: row.try_get("ended_reason")?,
            ended: row.try_get::<Option<i64>, _>("ended_at")?.is_some(),
            lines: self.lines(call).await?,
            bookings,
            messages,
        }))
    }

    async fn lines(&self, call: CallId) -> Result<Vec<Line>, sqlx::Error> {
        let turns = self.turns(call).await?;
        let spoken = turns.into_iter().filter(|turn| turn.speaker == "caller" || turn.speaker == "agent");
        Ok(spoken
            .map(|turn| Line { caller: turn.speaker == "caller", text: turn.heard_text, start_ms: turn.start_ms })
            .filter(|line| !line.text.trim().is_empty())
            .collect())
    }

    async fn taken_on(&self, call: CallId) -> Result<(Vec<Value>, Vec<Value>), sqlx::Error> {
        let rows = sqlx::query(
            "SELECT kind, slot_key, data FROM taken WHERE call_id = $1 AND canceled_at IS NULL ORDER BY created_at, id",
        )
        .bind(call.to_string())
        .fetch_all(self.pool())
        .await?;
        let (mut bookings, mut messages) = (Vec::new(), Vec::new());
        for row in rows {
            let mut data: Value = serde_json::from_str(&row.try_get::<String, _>("data")?).unwrap_or_default();
            if row.try_get::<String, _>("kind")? == "booking" {
                if let (Value::Object(data), Some(slot)) = (&mut data, row.try_get::<Option<String>, _>("slot_key")?) {
                    data.insert("slot".into(), slot.into());
                }
                bookings.push(data);
            } else {
                messages.push(data);
            }
        }
        Ok((bookings, messages))
    }
}

fn not_an_id() -> sqlx::Error {
    sqlx::Error::Decode("tenant id is no uuid".into())
}
