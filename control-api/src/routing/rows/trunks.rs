//! Rows of `trunks` and `trunk_gateways`. The document is the truth; columns and gateway rows are drawn from it.

use domain::{TenantId, TrunkId};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{id, json};
use crate::{
    NodeKey, Store,
    routing::{Network, trunk::Trunk},
    seal,
    store::{
        fresh_id, json_text,
        page::{Bound, Page},
        storable,
    },
    time::now_ms,
};

/// A trunk as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct TrunkRow {
    pub(crate) id: TrunkId,
    pub(crate) trunk: Trunk,
    /// [`Secrets`], sealed.
    pub(crate) sealed: Option<String>,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

/// What is sealed of a trunk.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inbound: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outbound: Option<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set = |secret: &Option<String>| if secret.is_some() { "set" } else { "none" };
        f.debug_struct("Secrets").field("inbound", &set(&self.inbound)).field("outbound", &set(&self.outbound)).finish()
    }
}

impl Secrets {
    /// Opens what is sealed of a trunk; `None` when it does not open with this key.
    pub(crate) fn open(key: &NodeKey, trunk: TrunkId, sealed: &str) -> Option<Self> {
        let id = trunk.to_string();
        let opened = seal::open(key, ("trunks", &id, "sealed_secrets"), sealed).ok()?;
        serde_json::from_slice(&opened).ok()
    }
}

const SELECT: &str = "SELECT t.id, t.config, t.sealed_secrets, t.version, t.created_at, t.updated_at FROM trunks t";

fn read(row: &AnyRow) -> Result<TrunkRow, sqlx::Error> {
    Ok(TrunkRow {
        id: id(row, "id")?,
        trunk: json(row, "config")?,
        sealed: row.try_get("sealed_secrets")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

impl Store {
    /// A page of a tenant's trunks.
    pub(crate) async fn trunks(&self, tenant: TenantId, page: &Page) -> Result<Vec<TrunkRow>, sqlx::Error> {
        let own = vec![("t.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let (sql, values) = page.finish(format!("{SELECT} WHERE t.deleted_at IS NULL"), "t", own);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    /// One trunk of a tenant.
    pub(crate) async fn trunk(&self, tenant: TenantId, trunk: TrunkId) -> Result<Option<TrunkRow>, sqlx::Error> {
        let sql = format!("{SELECT} WHERE t.id = $1 AND t.tenant_id = $2 AND t.deleted_at IS NULL");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(trunk.to_string())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read).transpose()
    }

    /// What the nodes last saw of a trunk's gateways, and of its registrar if it has one.
    pub(crate) async fn trunk_health(&self, trunk: TrunkId) -> Result<Vec<GatewayHealth>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT g.host, s.state, s.rtt_ms, s.detail, s.sip_status, s.checked_at, s.registered_until, g.priority, g.id FROM trunk_gateways g
             LEFT JOIN trunk_status s ON s.trunk_id = g.trunk_id AND s.gateway_id = g.id AND s.checked_at =
               (SELECT MAX(n.checked_at) FROM trunk_status n WHERE n.trunk_id = g.trunk_id AND n.gateway_id = g.id)
             WHERE g.trunk_id = $1
             UNION ALL
             SELECT r.gateway_id, r.state, r.rtt_ms, r.detail, r.sip_status, r.checked_at, r.registered_until, 1001, r.gateway_id
             FROM trunk_status r WHERE r.trunk_id = $1 AND r.gateway_id = $2 AND r.checked_at =
               (SELECT MAX(n.checked_at) FROM trunk_status n WHERE n.trunk_id = r.trunk_id AND n.gateway_id = r.gateway_id)
             ORDER BY 8, 9",
        )
        .bind(trunk.to_string())
        .bind(REGISTRAR)
        .fetch_all(self.pool())
        .await?;
        let health = |row: &AnyRow| {
            Ok(GatewayHealth {
                host: row.try_get("host")?,
                state: row.try_get("state")?,
                rtt_ms: row.try_get("rtt_ms")?,
                detail: row.try_get("detail")?,
                sip_status: row.try_get("sip_status")?,
                checked_at: row.try_get("checked_at")?,
                registered_until: row.try_get("registered_until")?,
            })
        };
        rows.iter().map(health).collect()
    }

    /// Calls that left by a trunk since a time, and how many of them were answered.
    pub(crate) async fn trunk_answers(&self, trunk: TrunkId, since_ms: i64) -> Result<(i64, i64), sqlx::Error> {
        let row = sqlx::query(
            "SELECT COUNT(*), COUNT(answered_at) FROM calls WHERE trunk_id = $1 AND direction = 'outbound' AND created_at >= $2
             AND ended_at IS NOT NULL",
        )
        .bind(trunk.to_string())
        .bind(since_ms)
        .fetch_one(self.pool())
        .await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }
}

/// The gateway id of the row that tells how a trunk's registration is.
pub(crate) const REGISTRAR: &str = "registrar";

/// One gateway, as some node last saw it.
#[derive(Clone, Debug)]
pub(crate) struct GatewayHealth {
    pub(crate) host: String,
    pub(crate) state: Option<String>,
    pub(crate) rtt_ms: Option<i64>,
    pub(crate) detail: Option<String>,
    pub(crate) sip_status: Option<i64>,
    pub(crate) checked_at: Option<i64>,
    pub(crate) registered_until: Option<i64>,
}

pub(crate) async fn insert(tx: &mut AnyConnection, tenant: TenantId, row: &TrunkRow) -> Result<(), sqlx::Error> {
    let trunk = &row.trunk;
    sqlx::query(
        "INSERT INTO trunks (id, tenant_id, name, direction, config, sealed_secrets, max_channels, max_cps, enabled, version, created_at,
           updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(row.id.to_string())
    .bind(tenant.to_string())
    .bind(storable(&trunk.name))
    .bind(trunk.direction.as_str())
    .bind(json_text(trunk))
    .bind(row.sealed.as_deref())
    .bind(i64::from(trunk.limits.max_channels))
    .bind(i64::from(trunk.limits.max_cps))
    .bind(i64::from(trunk.enabled))
    .bind(row.version)
    .bind(row.created_at)
    .bind(row.updated_at)
    .execute(&mut *tx)
    .await?;
    gateways(tx, row).await
}

/// Writes a trunk over its version before; false when somebody was faster.
pub(crate) async fn update(tx: &mut AnyConnection, tenant: TenantId, row: &TrunkRow) -> Result<bool, sqlx::Error> {
    let trunk = &row.trunk;
    let done = sqlx::query(
        "UPDATE trunks SET name = $1, direction = $2, config = $3, sealed_secrets = $4, max_channels = $5, max_cps = $6, enabled = $7,
           version = $8, updated_at = $9 WHERE id = $10 AND tenant_id = $11 AND version = $8 - 1 AND deleted_at IS NULL",
    )
    .bind(storable(&trunk.name))
    .bind(trunk.direction.as_str())
    .bind(json_text(trunk))
    .bind(row.sealed.as_deref())
    .bind(i64::from(trunk.limits.max_channels))
    .bind(i64::from(trunk.limits.max_cps))
    .bind(i64::from(trunk.enabled))
    .bind(row.version)
    .bind(row.updated_at)
    .bind(row.id.to_string())
    .bind(tenant.to_string())
    .execute(&mut *tx)
    .await?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    gateways(tx, row).await?;
    Ok(true)
}

/// The gateway rows anew. One that stays the same address keeps its id, and with it what is known of its health.
async fn gateways(tx: &mut AnyConnection, row: &TrunkRow) -> Result<(), sqlx::Error> {
    let known = sqlx::query("SELECT id, host, port, transport FROM trunk_gateways WHERE trunk_id = $1")
        .bind(row.id.to_string())
        .fetch_all(&mut *tx)
        .await?;
    let mut ids = Vec::new();
    for row in &known {
        let address = (row.try_get::<String, _>(1)?, row.try_get::<Option<i64>, _>(2)?, row.try_get::<String, _>(3)?);
        ids.push((address, row.try_get::<String, _>(0)?));
    }
    sqlx::query("DELETE FROM trunk_gateways WHERE trunk_id = $1").bind(row.id.to_string()).execute(&mut *tx).await?;
    for gateway in &row.trunk.gateways {
        let address = (gateway.host.clone(), gateway.port.map(i64::from), gateway.transport.as_str().to_owned());
        let kept = ids.iter().position(|(known, _)| *known == address);
        let id = kept.map_or_else(fresh_id, |at| ids.swap_remove(at).1);
        sqlx::query(
            "INSERT INTO trunk_gateways (id, trunk_id, host, port, transport, cidr, inbound, outbound, priority, weight)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        )
        .bind(id)
        .bind(row.id.to_string())
        .bind(&gateway.host)
        .bind(gateway.port.map(i64::from))
        .bind(gateway.transport.as_str())
        .bind(gateway.network().map(|network| network.to_string()))
        .bind(i64::from(gateway.inbound))
        .bind(i64::from(gateway.outbound))
        .bind(gateway.priority)
        .bind(i64::from(gateway.weight))
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// The first network that another tenant's trunk has too. Writers take turns, so two tenants cannot both be first.
pub(crate) async fn overlap(
    tx: &mut AnyConnection,
    tenant: TenantId,
    trunk: &Trunk,
) -> Result<Option<Network>, sqlx::Error> {
    let wanted: Vec<Network> = trunk
        .gateways
        .iter()
        .filter(|gateway| gateway.inbound && trunk.takes())
        .filter_map(|gateway| gateway.network())
        .collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    sqlx::query(
        "INSERT INTO locks (name, holder, until_ms) VALUES ('trunk networks', '', 0) ON CONFLICT (name) DO UPDATE SET fence = locks.fence + 1",
    )
    .execute(&mut *tx)
    .await?;
    let rows = sqlx::query(
        "SELECT g.cidr FROM trunk_gateways g JOIN trunks t ON t.id = g.trunk_id
         WHERE g.inbound = 1 AND g.cidr IS NOT NULL AND t.enabled = 1 AND t.direction <> 'outbound' AND t.deleted_at IS NULL
           AND (t.tenant_id IS NULL OR t.tenant_id <> $1)",
    )
    .bind(tenant.to_string())
    .fetch_all(&mut *tx)
    .await?;
    for row in &rows {
        if let Ok(taken) = row.try_get::<String, _>(0)?.parse::<Network>()
            && let Some(network) = wanted.iter().find(|network| network.overlaps(&taken))
        {
            return Ok(Some(*network));
        }
    }
    Ok(None)
}

/// What names a trunk: `numbers` by their number, `dispatch_rules` by their name.
pub(crate) async fn users(
    tx: &mut AnyConnection,
    tenant: TenantId,
    trunk: TrunkId,
) -> Result<Vec<(&'static str, String)>, sqlx::Error> {
    let numbers =
        sqlx::query("SELECT e164 FROM numbers WHERE tenant_id = $1 AND trunk_id = $2 AND released_at IS NULL LIMIT 20");
    // Ids are of one form, so the text of one is in a matcher only where the matcher names it.
    let rules =
        sqlx::query("SELECT name FROM dispatch_rules WHERE tenant_id = $1 AND matcher LIKE '%' || $2 || '%' LIMIT 20");
    let mut users = Vec::new();
    for (kind, query) in [("number", numbers), ("dispatch_rule", rules)] {
        for row in &query.bind(tenant.to_string()).bind(trunk.to_string()).fetch_all(&mut *tx).await? {
            users.push((kind, row.try_get(0)?));
        }
    }
    Ok(users)
}

/// Takes a trunk out of service for ever.
pub(crate) async fn delete(
    tx: &mut AnyConnection,
    tenant: TenantId,
    trunk: TrunkId,
    version: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE trunks SET deleted_at = $1, updated_at = $1, enabled = 0, sealed_secrets = NULL, version = version + 1
         WHERE id = $2 AND tenant_id = $3 AND version = $4 AND deleted_at IS NULL",
    )
    .bind(now_ms())
    .bind(trunk.to_string())
    .bind(tenant.to_string())
    .bind(version)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
