//! Rows of `numbers` and `number_orders`.

use domain::{AgentId, NumberId, OrderId, TenantId, TrunkId, phone::E164};
use serde_json::Value;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{id, json, maybe_id};
use crate::{
    Store,
    routing::document::{Routing, Version},
    store::{
        json_text,
        page::{Bound, Page},
        storable,
    },
};

/// A number as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct NumberRow {
    pub(crate) id: NumberId,
    pub(crate) e164: String,
    pub(crate) label: Option<String>,
    pub(crate) carrier: String,
    pub(crate) kind: String,
    pub(crate) country: String,
    pub(crate) status: String,
    pub(crate) trunk: Option<TrunkId>,
    pub(crate) agent: Option<AgentId>,
    pub(crate) routing: Routing,
    pub(crate) capabilities: Value,
    pub(crate) monthly_micros: i64,
    pub(crate) next_bill_at: Option<i64>,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

const SELECT: &str = "SELECT n.id, n.e164, n.label, n.carrier, n.kind, n.country, n.status, n.trunk_id, n.agent_id, n.routing, n.capabilities,
    n.monthly_micros, n.next_bill_at, n.version, n.created_at, n.updated_at FROM numbers n";

fn read(row: &AnyRow) -> Result<NumberRow, sqlx::Error> {
    Ok(NumberRow {
        id: id(row, "id")?,
        e164: row.try_get("e164")?,
        label: row.try_get("label")?,
        carrier: row.try_get("carrier")?,
        kind: row.try_get("kind")?,
        country: row.try_get("country")?,
        status: row.try_get("status")?,
        trunk: maybe_id(row, "trunk_id")?,
        agent: maybe_id(row, "agent_id")?,
        routing: json(row, "routing")?,
        capabilities: json(row, "capabilities")?,
        monthly_micros: row.try_get("monthly_micros")?,
        next_bill_at: row.try_get("next_bill_at")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

/// Which numbers a list holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct NumberFilter {
    pub(crate) e164: Option<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) status: Option<String>,
    pub(crate) carrier: Option<String>,
}

impl Store {
    /// A page of a tenant's numbers; those given back are seen only by their status.
    pub(crate) async fn numbers(
        &self,
        tenant: TenantId,
        filter: &NumberFilter,
        page: &Page,
    ) -> Result<Vec<NumberRow>, sqlx::Error> {
        let mut conditions = vec![("n.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let texts = [
            ("n.e164", &filter.e164),
            ("n.agent_id", &filter.agent_id),
            ("n.status", &filter.status),
            ("n.carrier", &filter.carrier),
        ];
        for (column, value) in texts {
            conditions.extend(value.clone().map(|value| (format!("{column} = {{}}"), Bound::Text(value))));
        }
        let gone = if filter.status.is_some() { "1 = 1" } else { "n.released_at IS NULL" };
        let (sql, values) = page.finish(format!("{SELECT} WHERE {gone}"), "n", conditions);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    /// One number of a tenant.
    pub(crate) async fn number(&self, tenant: TenantId, number: NumberId) -> Result<Option<NumberRow>, sqlx::Error> {
        let row = sqlx::query(AssertSqlSafe(format!("{SELECT} WHERE n.id = $1 AND n.tenant_id = $2")))
            .bind(number.to_string())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read).transpose()
    }
}

/// Stores a number; false when somebody has it.
pub(crate) async fn insert(tx: &mut AnyConnection, tenant: TenantId, row: &NumberRow) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO numbers (id, tenant_id, e164, label, carrier, kind, country, status, trunk_id, agent_id, routing, capabilities,
           monthly_micros, next_bill_at, version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (e164) WHERE released_at IS NULL DO NOTHING",
    )
    .bind(row.id.to_string())
    .bind(tenant.to_string())
    .bind(&row.e164)
    .bind(row.label.as_deref().map(storable))
    .bind(&row.carrier)
    .bind(&row.kind)
    .bind(&row.country)
    .bind(&row.status)
    .bind(row.trunk.map(|id| id.to_string()))
    .bind(row.agent.map(|id| id.to_string()))
    .bind(json_text(&row.routing))
    .bind(json_text(&row.capabilities))
    .bind(row.monthly_micros)
    .bind(row.next_bill_at)
    .bind(row.version)
    .bind(row.created_at)
    .bind(row.updated_at)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes what a tenant may change over the version before; false when somebody was faster.
pub(crate) async fn update(tx: &mut AnyConnection, tenant: TenantId, row: &NumberRow) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE numbers SET label = $1, trunk_id = $2, agent_id = $3, routing = $4, version = $5, updated_at = $6
         WHERE id = $7 AND tenant_id = $8 AND version = $5 - 1 AND released_at IS NULL",
    )
    .bind(row.label.as_deref().map(storable))
    .bind(row.trunk.map(|id| id.to_string()))
    .bind(row.agent.map(|id| id.to_string()))
    .bind(json_text(&row.routing))
    .bind(row.version)
    .bind(row.updated_at)
    .bind(row.id.to_string())
    .bind(tenant.to_string())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Calls that stand on a number now; one that waits for its time does not.
pub(crate) async fn live_calls(tx: &mut AnyConnection, number: NumberId) -> Result<i64, sqlx::Error> {
    sqlx::query("SELECT COUNT(*) FROM calls WHERE number_id = $1 AND ended_at IS NULL AND node_id IS NOT NULL")
        .bind(number.to_string())
        .fetch_one(tx)
        .await?
        .try_get(0)
}

/// Gives a number back: from now on anybody may have it. False when it was given back before.
pub(crate) async fn release(
    tx: &mut AnyConnection,
    tenant: TenantId,
    number: NumberId,
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE numbers SET status = 'released', released_at = $1, updated_at = $1, next_bill_at = NULL, version = version + 1
         WHERE id = $2 AND tenant_id = $3 AND released_at IS NULL",
    )
    .bind(now_ms)
    .bind(number.to_string())
    .bind(tenant.to_string())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Takes a bought number out of service while its carrier is told; its name at the carrier. None: it is not in service.
pub(crate) async fn releasing(
    tx: &mut AnyConnection,
    tenant: TenantId,
    number: NumberId,
    now_ms: i64,
) -> Result<Option<Option<String>>, sqlx::Error> {
    let row = sqlx::query(
        "UPDATE numbers SET status = 'releasing', updated_at = $1, next_bill_at = NULL, version = version + 1
         WHERE id = $2 AND tenant_id = $3 AND status = 'active' RETURNING carrier_ref",
    )
    .bind(now_ms)
    .bind(number.to_string())
    .bind(tenant.to_string())
    .fetch_optional(tx)
    .await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Which of these numbers somebody has already.
pub(crate) async fn taken(tx: &mut AnyConnection, e164s: &[E164]) -> Result<Vec<String>, sqlx::Error> {
    let names = (1..=e164s.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT e164 FROM numbers WHERE released_at IS NULL AND e164 IN ({names})");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for e164 in e164s {
        query = query.bind(e164.as_str().to_owned());
    }
    query.fetch_all(tx).await?.iter().map(|row| row.try_get(0)).collect()
}

/// Whether a version of an agent exists.
pub(crate) async fn version_exists(
    db: &mut AnyConnection,
    tenant: TenantId,
    agent: AgentId,
    version: Version,
) -> Result<bool, sqlx::Error> {
    let Version::Number(version) = version else { return Ok(true) };
    let row = sqlx::query("SELECT 1 FROM agent_versions WHERE agent_id = $1 AND version = $2 AND tenant_id = $3")
        .bind(agent.to_string())
        .bind(version)
        .bind(tenant.to_string())
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}

/// A number that is bought, ported or given back.
#[derive(Clone, Debug)]
pub(crate) struct OrderRow {
    pub(crate) id: OrderId,
    pub(crate) kind: String,
    pub(crate) e164: String,
    pub(crate) carrier: String,
    pub(crate) state: String,
    pub(crate) number: Option<NumberId>,
    pub(crate) error: Option<String>,
    /// What the order is made with, as far as it is no secret.
    pub(crate) data: Value,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

const ORDERS: &str =
    "SELECT o.id, o.kind, o.e164, o.carrier, o.state, o.number_id, o.error, o.data, o.created_at, o.updated_at
    FROM number_orders o";

fn read_order(row: &AnyRow) -> Result<OrderRow, sqlx::Error> {
    Ok(OrderRow {
        id: id(row, "id")?,
        kind: row.try_get("kind")?,
        e164: row.try_get("e164")?,
        carrier: row.try_get("carrier")?,
        state: row.try_get("state")?,
        number: maybe_id(row, "number_id")?,
        error: row.try_get("error")?,
        data: json(row, "data")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

impl Store {
    /// A page of a tenant's orders.
    pub(crate) async fn number_orders(&self, tenant: TenantId, page: &Page) -> Result<Vec<OrderRow>, sqlx::Error> {
        let own = vec![("o.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let (sql, values) = page.finish(format!("{ORDERS} WHERE 1 = 1"), "o", own);
        self.fetch(sql, values).await?.iter().map(read_order).collect()
    }

    /// One order of a tenant.
    pub(crate) async fn number_order(&self, tenant: TenantId, order: OrderId) -> Result<Option<OrderRow>, sqlx::Error> {
        let row = sqlx::query(AssertSqlSafe(format!("{ORDERS} WHERE o.id = $1 AND o.tenant_id = $2")))
            .bind(order.to_string())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read_order).transpose()
    }
}

pub(crate) async fn insert_order(tx: &mut AnyConnection, tenant: TenantId, row: &OrderRow) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO number_orders (id, tenant_id, kind, e164, carrier, state, data, number_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
    )
    .bind(row.id.to_string())
    .bind(tenant.to_string())
    .bind(&row.kind)
    .bind(&row.e164)
    .bind(&row.carrier)
    .bind(&row.state)
    .bind(json_text(&row.data))
    .bind(row.number.map(|id| id.to_string()))
    .bind(row.created_at)
    .execute(tx)
    .await
    .map(drop)
}

/// A number of one's own, in service at once.
pub(crate) fn own(
    id: NumberId,
    e164: &E164,
    label: Option<String>,
    trunk: TrunkId,
    agent: Option<AgentId>,
    now_ms: i64,
) -> NumberRow {
    NumberRow {
        id,
        e164: e164.as_str().to_owned(),
        label,
        carrier: "none".into(),
        kind: "local".into(),
        country: domain::phone::country(e164).unwrap_or_default().to_owned(),
        status: "active".into(),
        trunk: Some(trunk),
        agent,
        routing: Routing::default(),
        capabilities: serde_json::json!({ "voice": true, "sms": false }),
        monthly_micros: 0,
        next_bill_at: None,
        version: 1,
        created_at: now_ms,
        updated_at: now_ms,
    }
}
