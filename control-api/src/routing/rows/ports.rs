//! Rows of `number_ports`: the numbers of a port request, and what of the request the saga reads.

use std::collections::BTreeMap;

use domain::{NumberId, OrderId, TenantId};
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{id, json};
use crate::{Store, routing::carrier::porting::PortState, store::storable};

/// Those whose fate is open, in SQL.
pub(crate) const OPEN: &str = "state IN ('submitted','pending','foc_confirmed','exception')";

/// A number on its way.
#[derive(Clone, Debug)]
pub(crate) struct PortRow {
    pub(crate) order: OrderId,
    pub(crate) number: NumberId,
    pub(crate) e164: String,
    pub(crate) state: PortState,
    pub(crate) port_ref: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) foc_date: Option<String>,
    pub(crate) cancel_asked: bool,
    pub(crate) updated_at: i64,
}

const SELECT: &str =
    "SELECT p.order_id, p.number_id, p.e164, p.state, p.port_ref, p.reason, p.foc_date, p.cancel_asked, p.updated_at
    FROM number_ports p";

fn read(row: &AnyRow) -> Result<PortRow, sqlx::Error> {
    let state: String = row.try_get("state")?;
    Ok(PortRow {
        order: id(row, "order_id")?,
        number: id(row, "number_id")?,
        e164: row.try_get("e164")?,
        state: PortState::read(&state).ok_or_else(|| sqlx::Error::Decode(format!("no state {state}").into()))?,
        port_ref: row.try_get("port_ref")?,
        reason: row.try_get("reason")?,
        foc_date: row.try_get("foc_date")?,
        cancel_asked: row.try_get::<i64, _>("cancel_asked")? != 0,
        updated_at: row.try_get("updated_at")?,
    })
}

/// A request as the saga reads it.
pub(crate) struct Requested {
    pub(crate) tenant: TenantId,
    pub(crate) carrier: String,
    pub(crate) data: Value,
    pub(crate) sealed: Option<String>,
    pub(crate) created_at: i64,
}

impl Store {
    /// A request of whichever tenant, for the saga.
    pub(crate) async fn port_request(&self, order: OrderId) -> Result<Option<Requested>, sqlx::Error> {
        let sql =
            "SELECT tenant_id, carrier, data, sealed, created_at FROM number_orders WHERE id = $1 AND kind = 'port'";
        let row = sqlx::query(sql).bind(order.to_string()).fetch_optional(self.pool()).await?;
        row.map(|row| {
            Ok(Requested {
                tenant: id(&row, "tenant_id")?,
                carrier: row.try_get("carrier")?,
                data: json(&row, "data")?,
                sealed: row.try_get("sealed")?,
                created_at: row.try_get("created_at")?,
            })
        })
        .transpose()
    }

    /// The numbers of some requests, each request's in their order.
    pub(crate) async fn ports_of(&self, orders: &[OrderId]) -> Result<BTreeMap<String, Vec<PortRow>>, sqlx::Error> {
        let mut found: BTreeMap<String, Vec<PortRow>> = BTreeMap::new();
        for piece in orders.chunks(100) {
            let names = (1..=piece.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
            let sql = format!("{SELECT} WHERE p.order_id IN ({names}) ORDER BY p.order_id, p.number_id");
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for order in piece {
                query = query.bind(order.to_string());
            }
            for row in query.fetch_all(self.pool()).await? {
                let row = read(&row)?;
                found.entry(row.order.to_string()).or_default().push(row);
            }
        }
        Ok(found)
    }

    /// The open port of a number of a tenant.
    pub(crate) async fn port_of(&self, tenant: TenantId, number: NumberId) -> Result<Option<PortRow>, sqlx::Error> {
        let sql = format!(
            "{SELECT} JOIN number_orders o ON o.id = p.order_id WHERE p.number_id = $1 AND o.tenant_id = $2 AND p.{OPEN}"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(number.to_string())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read).transpose()
    }
}

/// Keeps what the losing carrier wants to know with its request, and puts a number on its way.
pub(crate) async fn seal(tx: &mut AnyConnection, order: OrderId, sealed: String) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE number_orders SET sealed = $1 WHERE id = $2")
        .bind(sealed)
        .bind(order.to_string())
        .execute(tx)
        .await
        .map(drop)
}

pub(crate) async fn insert(
    tx: &mut AnyConnection,
    order: OrderId,
    number: NumberId,
    e164: &str,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO number_ports (order_id, number_id, e164, state, updated_at) VALUES ($1, $2, $3, 'submitted', $4)",
    )
    .bind(order.to_string())
    .bind(number.to_string())
    .bind(e164.to_owned())
    .bind(now_ms)
    .execute(tx)
    .await
    .map(drop)
}

/// Writes how a number stands over how it stood; false when somebody was faster.
pub(crate) async fn update(tx: &mut AnyConnection, before: &PortRow, after: &PortRow) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE number_ports SET state = $1, port_ref = $2, reason = $3, foc_date = $4, updated_at = $5
         WHERE order_id = $6 AND number_id = $7 AND state = $8",
    )
    .bind(after.state.word())
    .bind(after.port_ref.as_deref().map(storable))
    .bind(after.reason.as_deref().map(storable))
    .bind(after.foc_date.as_deref().map(storable))
    .bind(after.updated_at)
    .bind(before.order.to_string())
    .bind(before.number.to_string())
    .bind(before.state.word())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that numbers of a request are not wanted any more, or that it is too late for that.
pub(crate) async fn ask_cancel(
    tx: &mut AnyConnection,
    order: OrderId,
    number: Option<NumberId>,
    asked: bool,
) -> Result<u64, sqlx::Error> {
    let sql = format!(
        "UPDATE number_ports SET cancel_asked = $1 WHERE order_id = $2 AND ($3 = '' OR number_id = $3) AND {OPEN}"
    );
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(i64::from(asked))
        .bind(order.to_string())
        .bind(number.map(|number| number.to_string()).unwrap_or_default())
        .execute(tx)
        .await?;
    Ok(done.rows_affected())
}

/// The numbers that are not wanted any more and still open.
pub(crate) async fn unwanted(tx: &mut AnyConnection, order: OrderId) -> Result<Vec<String>, sqlx::Error> {
    let sql = format!("SELECT number_id FROM number_ports WHERE order_id = $1 AND cancel_asked = 1 AND {OPEN}");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(order.to_string()).fetch_all(tx).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// How a number on its way is told of in events.
pub(crate) fn told(row: &PortRow, carrier: &str) -> Value {
    json!({
        "id": row.number.to_string(),
        "order_id": row.order.to_string(),
        "e164": row.e164,
        "carrier": carrier,
        "state": row.state.word(),
        "reason": row.reason,
        "foc_date": row.foc_date,
    })
}
