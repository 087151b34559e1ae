//! Everything that a call is routed by, in memory: numbers, trunks, rules, who is a live agent.

use std::collections::HashMap;

use domain::{AgentId, NumberId, TenantId, TrunkId, phone::E164};
use serde::de::DeserializeOwned;
use sqlx::{AnyPool, Row as _, any::AnyRow};

use super::{
    document::Routing,
    network::Table,
    rows::trunks::Secrets,
    rule::{Match, Rule},
    trunk::{Gateway, Trunk},
};
use crate::NodeKey;

/// One state of the installation.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// What [`fingerprint`] said before it was read.
    pub(crate) print: [[i64; 3]; 5],
    pub(crate) numbers: HashMap<E164, Number>,
    pub(crate) trunks: HashMap<TrunkId, TrunkEntry>,
    /// Trunks by the addresses that calls come from.
    pub(crate) sources: Table<TrunkId>,
    /// Of each tenant, lowest priority first, then id.
    pub(crate) rules: HashMap<TenantId, Vec<Rule>>,
    /// Agents that are not deleted, with their owner and newest version.
    pub(crate) agents: HashMap<AgentId, (TenantId, i64)>,
    pub(crate) tenants: HashMap<TenantId, String>,
}

/// A number in service.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    pub(crate) id: NumberId,
    pub(crate) tenant: TenantId,
    pub(crate) trunk: Option<TrunkId>,
    pub(crate) agent: Option<AgentId>,
    /// Bought or ported through us: that it is the tenant's is known, not only said.
    pub(crate) bought: bool,
    pub(crate) routing: Routing,
    pub(crate) created_at: i64,
}

/// A trunk in service.
#[derive(Clone, Debug)]
pub(crate) struct TrunkEntry {
    pub(crate) id: TrunkId,
    /// None: the platform's own.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) trunk: Trunk,
    pub(crate) secrets: Secrets,
    /// Rows of its gateways, in the document's order.
    pub(crate) gateways: Vec<String>,
    pub(crate) created_at: i64,
}

/// Changes whenever a row that calls are routed by does, also when another node or a person at the database wrote it.
pub(crate) async fn fingerprint(pool: &AnyPool) -> Result<[[i64; 3]; 5], sqlx::Error> {
    let mut print = [[0; 3]; 5];
    let questions = [
        "SELECT COUNT(*), CAST(COALESCE(SUM(version), 0) AS BIGINT), COALESCE(MAX(updated_at), 0) FROM numbers",
        "SELECT COUNT(*), CAST(COALESCE(SUM(version), 0) AS BIGINT), COALESCE(MAX(updated_at), 0) FROM trunks",
        "SELECT COUNT(*), CAST(COALESCE(SUM(version), 0) AS BIGINT), COALESCE(MAX(updated_at), 0) FROM dispatch_rules",
        "SELECT COUNT(*), CAST(COALESCE(SUM(version), 0) AS BIGINT), COALESCE(MAX(updated_at), 0) FROM agents",
        "SELECT COUNT(*), CAST(COALESCE(SUM(version), 0) AS BIGINT), COALESCE(MAX(updated_at), 0) FROM tenants",
    ];
    for (print, sql) in print.iter_mut().zip(questions) {
        let row = sqlx::query(sql).fetch_one(pool).await?;
        *print = [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?];
    }
    Ok(print)
}

impl Snapshot {
    /// Reads it whole. A row that cannot be read is left out and named in the log; it must not silence the others.
    pub(crate) async fn read(pool: &AnyPool, seal: Option<&NodeKey>) -> Result<Self, sqlx::Error> {
        let mut snapshot = Self { print: fingerprint(pool).await?, ..Self::default() };
        let tenants = sqlx::query("SELECT id, name FROM tenants WHERE status = 'active'").fetch_all(pool).await?;
        for row in &tenants {
            if let Some(id) = id(row, "id")? {
                snapshot.tenants.insert(id, row.try_get("name")?);
            }
        }
        let sql = "SELECT id, tenant_id, version FROM agents WHERE deleted_at IS NULL";
        for row in &sqlx::query(sql).fetch_all(pool).await? {
            if let (Some(agent), Some(tenant)) = (id(row, "id")?, id(row, "tenant_id")?) {
                snapshot.agents.insert(agent, (tenant, row.try_get("version")?));
            }
        }
        let sql = "SELECT id, tenant_id, config, sealed_secrets, created_at FROM trunks WHERE enabled = 1 AND deleted_at IS NULL ORDER BY created_at, id";
        for row in &sqlx::query(sql).fetch_all(pool).await? {
            snapshot.add_trunk(row, seal)?;
        }
        let sql = "SELECT g.id, g.trunk_id, g.host, g.port, g.transport FROM trunk_gateways g JOIN trunks t ON t.id = g.trunk_id
           WHERE t.enabled = 1 AND t.deleted_at IS NULL ORDER BY g.id";
        for row in &sqlx::query(sql).fetch_all(pool).await? {
            snapshot.add_gateway(row)?;
        }
        let sql = "SELECT id, tenant_id, e164, carrier, trunk_id, agent_id, routing, created_at FROM numbers WHERE status = 'active' AND released_at IS NULL";
        for row in &sqlx::query(sql).fetch_all(pool).await? {
            snapshot.add_number(row)?;
        }
        let sql = "SELECT id, tenant_id, name, priority, matcher, action, variables FROM dispatch_rules WHERE enabled = 1 ORDER BY priority, id";
        for row in &sqlx::query(sql).fetch_all(pool).await? {
            snapshot.add_rule(row)?;
        }
        Ok(snapshot)
    }

    fn add_trunk(&mut self, row: &AnyRow, seal: Option<&NodeKey>) -> Result<(), sqlx::Error> {
        let tenant: Option<TenantId> = id(row, "tenant_id")?;
        // A suspended tenant's trunk is no trunk.
        if tenant.is_some_and(|tenant| !self.tenants.contains_key(&tenant)) {
            return Ok(());
        }
        let (Some(id), Some(trunk)) = (id(row, "id")?, document::<Trunk>(row, "config", "trunk")?) else {
            return Ok(());
        };
        if trunk.takes() {
            for network in
                trunk.gateways.iter().filter(|gateway| gateway.inbound).filter_map(|gateway| gateway.network())
            {
                self.sources.insert(network, id);
            }
        }
        let sealed: Option<String> = row.try_get("sealed_secrets")?;
        let secrets = match (seal, &sealed) {
            (Some(key), Some(sealed)) => Secrets::open(key, id, sealed).unwrap_or_else(|| {
                tracing::error!(trunk = %id, "the secrets of a trunk do not open with this node's seal key; it goes on without them");
                Secrets::default()
            }),
            _ => Secrets::default(),
        };
        let gateways = vec![String::new(); trunk.gateways.len()];
        let created_at = row.try_get("created_at")?;
        self.trunks.insert(id, TrunkEntry { id, tenant, trunk, secrets, gateways, created_at });
        Ok(())
    }

    /// Gives a gateway of a document the id of its row.
    fn add_gateway(&mut self, row: &AnyRow) -> Result<(), sqlx::Error> {
        let Some(entry) = id::<TrunkId>(row, "trunk_id")?.and_then(|id| self.trunks.get_mut(&id)) else {
            return Ok(());
        };
        let (host, port): (String, Option<i64>) = (row.try_get("host")?, row.try_get("port")?);
        let transport: String = row.try_get("transport")?;
        let same = |gateway: &Gateway| {
            (gateway.host.as_str(), gateway.port.map(i64::from), gateway.transport.as_str())
                == (host.as_str(), port, transport.as_str())
        };
        let at =
            entry.trunk.gateways.iter().zip(&entry.gateways).position(|(gateway, id)| id.is_empty() && same(gateway));
        if let Some(at) = at {
            entry.gateways[at] = row.try_get("id")?;
        }
        Ok(())
    }

    fn add_number(&mut self, row: &AnyRow) -> Result<(), sqlx::Error> {
        let (Some(number), Some(tenant), Some(routing)) =
            (id(row, "id")?, id(row, "tenant_id")?, document::<Routing>(row, "routing", "number")?)
        else {
            return Ok(());
        };
        let e164 = row.try_get::<String, _>("e164")?;
        if let (Ok(e164), true) = (e164.parse(), self.tenants.contains_key(&tenant)) {
            let (trunk, agent) = (id(row, "trunk_id")?, id(row, "agent_id")?);
            let created_at = row.try_get("created_at")?;
            let bought = row.try_get::<String, _>("carrier")? != "none";
            self.numbers.insert(e164, Number { id: number, tenant, trunk, agent, bought, routing, created_at });
        }
        Ok(())
    }

    fn add_rule(&mut self, row: &AnyRow) -> Result<(), sqlx::Error> {
        let (Some(rule), Some(tenant)) = (id(row, "id")?, id::<TenantId>(row, "tenant_id")?) else { return Ok(()) };
        let (Some(matcher), Some(action)) =
            (document::<Match>(row, "matcher", "rule")?, document(row, "action", "rule")?)
        else {
            return Ok(());
        };
        let rule = Rule {
            id: rule,
            name: row.try_get("name")?,
            priority: row.try_get("priority")?,
            matcher,
            action,
            variables: document(row, "variables", "rule")?.unwrap_or_default(),
        };
        self.rules.entry(tenant).or_default().push(rule);
        Ok(())
    }

    /// The numbers of a tenant, oldest first.
    pub(crate) fn numbers_of(&self, tenant: TenantId) -> Vec<(&E164, &Number)> {
        let mut own: Vec<_> = self.numbers.iter().filter(|(_, number)| number.tenant == tenant).collect();
        own.sort_by_key(|(_, number)| (number.created_at, number.id));
        own
    }
}

fn id<T: std::str::FromStr>(row: &AnyRow, column: &str) -> Result<Option<T>, sqlx::Error> {
    Ok(row.try_get::<Option<String>, _>(column)?.and_then(|text| text.parse().ok()))
}

fn document<T: DeserializeOwned>(row: &AnyRow, column: &str, what: &str) -> Result<Option<T>, sqlx::Error> {
    let text: String = row.try_get(column)?;
    Ok(serde_json::from_str(&text)
        .inspect_err(|error| {
            let id = row.try_get::<String, _>("id").unwrap_or_default();
            tracing::error!(%id, what, column, %error, "a stored document cannot be read; calls do not see it");
        })
        .ok())
}
