//! Published events, read back in the order of their numbers.

use domain::{CallId, TenantId};
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use crate::{
    Store,
    time::rfc3339,
    view::{API_VERSION, Event},
};

/// A durable event with its number.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    /// Number of publication; the event's cursor.
    pub(crate) seq: i64,
    pub(crate) tenant: TenantId,
    /// The agent of its call, or the one it tells about.
    pub(crate) agent_id: Option<String>,
    /// The version that the call runs.
    pub(crate) agent_version: Option<i64>,
    pub(crate) at_ms: i64,
    /// As clients read it.
    pub(crate) event: Event,
}

const SELECT: &str =
    "SELECT e.pub_seq, e.id, e.tenant_id, e.livemode, e.call_id, e.call_seq, e.type, e.data, e.created_at, c.agent_id, c.agent_version
    FROM events e LEFT JOIN calls c ON c.id = e.call_id";

/// Everyone's events after a number, at most `limit`.
pub(crate) async fn after(db: &mut AnyConnection, seq: i64, limit: i64) -> Result<Vec<Published>, sqlx::Error> {
    let sql = format!("{SELECT} WHERE e.pub_seq > $1 ORDER BY e.pub_seq LIMIT $2");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(seq).bind(limit).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// A tenant's published events of a span of time after a number, at most `limit`.
pub(crate) async fn between(
    db: &mut AnyConnection,
    tenant: TenantId,
    from_ms: i64,
    to_ms: i64,
    seq: i64,
    limit: i64,
) -> Result<Vec<Published>, sqlx::Error> {
    let sql = format!(
        "{SELECT} WHERE e.tenant_id = $1 AND e.created_at >= $2 AND e.created_at < $3 AND e.pub_seq > $4 ORDER BY e.pub_seq LIMIT $5"
    );
    let query =
        sqlx::query(AssertSqlSafe(sql)).bind(tenant.to_string()).bind(from_ms).bind(to_ms).bind(seq).bind(limit);
    query.fetch_all(db).await?.iter().map(read).collect()
}

impl Store {
    /// One event of a tenant.
    pub(crate) async fn event(&self, tenant: &str, id: &str) -> Result<Option<Event>, sqlx::Error> {
        let sql = format!("{SELECT} WHERE e.id = $1 AND e.tenant_id = $2");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.to_owned())
            .bind(tenant.to_owned())
            .fetch_optional(self.pool())
            .await?;
        Ok(row.as_ref().map(read).transpose()?.map(|published| published.event))
    }

    /// The newest published event of a type, for a webhook's test.
    pub(crate) async fn newest(&self, tenant: TenantId, kind: &str) -> Result<Option<Event>, sqlx::Error> {
        let sql = format!(
            "{SELECT} WHERE e.tenant_id = $1 AND e.type = $2 AND e.pub_seq IS NOT NULL ORDER BY e.pub_seq DESC LIMIT 1"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.to_string())
            .bind(kind.to_owned())
            .fetch_optional(self.pool())
            .await?;
        Ok(row.as_ref().map(read).transpose()?.map(|published| published.event))
    }

    /// A tenant's events of one mode after a number, of one call or of all, at most `limit`.
    pub(crate) async fn published(
        &self,
        tenant: TenantId,
        livemode: bool,
        call: Option<CallId>,
        seq: i64,
        limit: i64,
    ) -> Result<Vec<Published>, sqlx::Error> {
        let of_call = if call.is_some() { "AND e.call_id = $5" } else { "" };
        let sql = format!(
            "{SELECT} WHERE e.tenant_id = $1 AND e.livemode = $2 AND e.pub_seq > $3 {of_call} ORDER BY e.pub_seq LIMIT $4"
        );
        let mut query =
            sqlx::query(AssertSqlSafe(sql)).bind(tenant.to_string()).bind(i64::from(livemode)).bind(seq).bind(limit);
        if let Some(call) = call {
            query = query.bind(call.to_string());
        }
        query.fetch_all(self.pool()).await?.iter().map(read).collect()
    }

    /// How many there are after a number, and after a call's own number.
    pub(crate) async fn count_published(
        &self,
        tenant: TenantId,
        livemode: bool,
        call: Option<CallId>,
        seq: i64,
        after_seq: i64,
    ) -> Result<i64, sqlx::Error> {
        let of_call = if call.is_some() { "AND call_id = $4 AND call_seq > $5" } else { "" };
        let sql =
            format!("SELECT COUNT(*) FROM events WHERE tenant_id = $1 AND livemode = $2 AND pub_seq > $3 {of_call}");
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(tenant.to_string()).bind(i64::from(livemode)).bind(seq);
        if let Some(call) = call {
            query = query.bind(call.to_string()).bind(after_seq);
        }
        query.fetch_one(self.pool()).await?.try_get(0)
    }

    /// The last number of a tenant's events that retention has taken, 0 if none. It stands among the cursors of consumers.
    pub(crate) async fn purged(&self, tenant: TenantId) -> Result<i64, sqlx::Error> {
        let row = sqlx::query("SELECT pub_seq FROM consumers WHERE name = $1")
            .bind(purge_cursor(&tenant.to_string()))
            .fetch_optional(self.pool())
            .await?;
        row.map_or(Ok(0), |row| row.try_get(0))
    }

    /// The last number given, 0 before the first.
    pub(crate) async fn last_published(&self) -> Result<i64, sqlx::Error> {
        let row = sqlx::query("SELECT fence FROM locks WHERE name = 'publisher'").fetch_optional(self.pool()).await?;
        row.map_or(Ok(0), |row| row.try_get(0))
    }
}

fn read(row: &AnyRow) -> Result<Published, sqlx::Error> {
    let seq: Option<i64> = row.try_get("pub_seq")?;
    let tenant_id: String = row.try_get("tenant_id")?;
    let at_ms = row.try_get("created_at")?;
    let data: Value = serde_json::from_str(&row.try_get::<String, _>("data")?).unwrap_or(Value::Null);
    let of_call: Option<String> = row.try_get("agent_id")?;
    Ok(Published {
        seq: seq.unwrap_or(0),
        tenant: tenant_id.parse().map_err(|_| sqlx::Error::Decode("tenant id is no uuid".into()))?,
        agent_version: row.try_get("agent_version")?,
        agent_id: of_call.or_else(|| data.get("agent_id")?.as_str().map(str::to_owned)),
        at_ms,
        event: Event {
            id: row.try_get("id")?,
            kind: row.try_get("type")?,
            api_version: API_VERSION,
            tenant_id,
            livemode: row.try_get::<i64, _>("livemode")? != 0,
            call_id: row.try_get("call_id")?,
            seq: row.try_get("call_seq")?,
            cursor: seq.map(|seq| seq.to_string()),
            created_at: rfc3339(at_ms),
            data,
        },
    })
}

/// The row of `consumers` that says how far a tenant's events are gone.
pub(crate) fn purge_cursor(tenant: &str) -> String {
    format!("retention:{tenant}")
}
