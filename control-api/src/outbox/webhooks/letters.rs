//! Deliveries as their owner sees them: listed, sent again one by one, or replayed for a span of time.

use domain::TenantId;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _};

use super::{fanout, hooks::Hook};
use crate::{
    Store,
    outbox::{Patterns, published},
    store::page::{Bound, Page},
};

/// A delivery and its last attempt.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryRow {
    pub(crate) id: String,
    pub(crate) event_id: String,
    pub(crate) kind: String,
    pub(crate) call_id: Option<String>,
    pub(crate) state: String,
    pub(crate) attempts: i64,
    pub(crate) next_at: Option<i64>,
    pub(crate) delivered_at: Option<i64>,
    pub(crate) created_at: i64,
    pub(crate) last: Option<LastAttempt>,
}

/// What the last attempt came to.
#[derive(Clone, Debug)]
pub(crate) struct LastAttempt {
    pub(crate) at: i64,
    pub(crate) http_status: Option<i64>,
    pub(crate) duration_ms: i64,
    pub(crate) error: Option<String>,
    pub(crate) response_head: Option<String>,
}

/// Which deliveries.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryFilter {
    /// `pending` (which includes those under way), `delivered` or `dead`.
    pub(crate) state: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) call_id: Option<String>,
}

/// A span of time to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Replay {
    /// From this time on, Unix ms.
    pub(crate) from: i64,
    /// Until before this time, Unix ms.
    pub(crate) to: i64,
    pub(crate) types: Option<Patterns>,
    /// Only deliveries that were given up.
    pub(crate) only_dead: bool,
}

impl Store {
    /// A page of a hook's deliveries, one more than asked if there are more. The caller has found the hook in the tenant.
    pub(crate) async fn deliveries(
        &self,
        hook: &str,
        filter: &DeliveryFilter,
        page: &Page,
    ) -> Result<Vec<DeliveryRow>, sqlx::Error> {
        let sql =
            "SELECT d.id, d.event_id, d.type, d.call_id, d.state, d.attempts, d.next_at, d.delivered_at, d.created_at,
              a.started_at, a.http_status, a.duration_ms, a.error, a.response_head
            FROM webhook_deliveries d LEFT JOIN webhook_attempts a ON a.delivery_id = d.id
              AND a.n = (SELECT MAX(l.n) FROM webhook_attempts l WHERE l.delivery_id = d.id) WHERE 1 = 1";
        let mut conditions = vec![("d.webhook_id = {}".to_owned(), Bound::Text(hook.to_owned()))];
        let texts = [
            ("CASE WHEN d.state = 'sending' THEN 'pending' ELSE d.state END", &filter.state),
            ("d.type", &filter.kind),
            ("d.call_id", &filter.call_id),
        ];
        for (column, value) in texts {
            conditions.extend(value.clone().map(|value| (format!("{column} = {{}}"), Bound::Text(value))));
        }
        let (sql, values) = page.finish(sql.to_owned(), "d", conditions);
        let rows = self.fetch(sql, values).await?;
        rows.iter()
            .map(|row| {
                let last = row.try_get::<Option<i64>, _>("started_at")?.map(|at| -> Result<_, sqlx::Error> {
                    Ok(LastAttempt {
                        at,
                        http_status: row.try_get("http_status")?,
                        duration_ms: row.try_get("duration_ms")?,
                        error: row.try_get("error")?,
                        response_head: row.try_get("response_head")?,
                    })
                });
                Ok(DeliveryRow {
                    id: row.try_get("id")?,
                    event_id: row.try_get("event_id")?,
                    kind: row.try_get("type")?,
                    call_id: row.try_get("call_id")?,
                    state: row.try_get("state")?,
                    attempts: row.try_get("attempts")?,
                    next_at: row.try_get("next_at")?,
                    delivered_at: row.try_get("delivered_at")?,
                    created_at: row.try_get("created_at")?,
                    last: last.transpose()?,
                })
            })
            .collect()
    }

    /// Sends a delivery of a tenant again, as soon as it may; false when there is none.
    pub(crate) async fn resend(&self, tenant: TenantId, id: &str, now_ms: i64) -> Result<bool, sqlx::Error> {
        let changed = sqlx::query(
            "UPDATE webhook_deliveries SET state = 'pending', next_at = $1, delivered_at = NULL
             WHERE id = $2 AND tenant_id = $3 AND state <> 'sending'
               AND EXISTS (SELECT 1 FROM webhooks w WHERE w.id = webhook_id AND w.deleted_at IS NULL)",
        )
        .bind(now_ms)
        .bind(id.to_owned())
        .bind(tenant.to_string())
        .execute(self.writers())
        .await?;
        if changed.rows_affected() == 1 {
            self.ring();
            return Ok(true);
        }
        // One that is under way needs nothing.
        let known = sqlx::query(
            "SELECT d.id FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
             WHERE d.id = $1 AND d.tenant_id = $2 AND w.deleted_at IS NULL",
        )
        .bind(id.to_owned())
        .bind(tenant.to_string())
        .fetch_optional(self.pool())
        .await?;
        Ok(known.is_some())
    }
}

/// Queues a span of events again; returns how many deliveries now wait because of it.
pub(crate) async fn replay(
    tx: &mut AnyConnection,
    hook: &Hook,
    replay: &Replay,
    now_ms: i64,
) -> Result<u64, sqlx::Error> {
    let mut queued = 0;
    let states = if replay.only_dead { "('dead')" } else { "('dead','delivered')" };
    let sql = format!(
        "SELECT d.id, d.type FROM webhook_deliveries d JOIN events e ON e.id = d.event_id
         WHERE d.webhook_id = $1 AND d.state IN {states} AND e.created_at >= $2 AND e.created_at < $3"
    );
    let rows =
        sqlx::query(AssertSqlSafe(sql)).bind(&hook.id).bind(replay.from).bind(replay.to).fetch_all(&mut *tx).await?;
    for row in rows {
        let (id, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        if replay.types.as_ref().is_none_or(|types| types.want(&kind)) {
            queued += sqlx::query(
                "UPDATE webhook_deliveries SET state = 'pending', next_at = $1, created_at = $1, delivered_at = NULL
                 WHERE id = $2 AND state <> 'sending'",
            )
            .bind(now_ms)
            .bind(id)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        }
    }
    if replay.only_dead {
        return Ok(queued);
    }
    // Events that the hook did not get at all: from before it was made, or while it was off.
    let mut seq = 0;
    loop {
        let events = published::between(tx, hook.tenant, replay.from, replay.to, seq, 500).await?;
        let Some(last) = events.last().map(|event| event.seq) else { return Ok(queued) };
        for event in &events {
            let wanted = match &replay.types {
                Some(types) => types.want(&event.event.kind),
                None => hook.wants(event),
            };
            if wanted && fanout::insert(tx, hook, event, now_ms).await? {
                queued += 1;
            }
        }
        seq = last;
    }
}
