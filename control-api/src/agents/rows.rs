//! Agents and their versions in the store. A version is never changed; the agent's row holds the newest.

use domain::{AgentId, AgentSpec, TenantId, event::Name};
use serde_json::{Value, json};
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use crate::{
    NewEvent, Store, emit,
    store::{
        json_text,
        page::{Bound, Page},
        storable,
    },
    time::now_ms,
};

/// Agents of a tenant at most.
pub(crate) const MOST: i64 = 1_000;

/// One version of an agent, as stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: AgentId,
    pub(crate) version: i64,
    /// The whole document.
    pub(crate) config: Value,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

impl Stored {
    /// The agent itself. What was stored was checked by the version that stored it; a later one may be stricter.
    pub(crate) fn spec(&self) -> Result<AgentSpec, sqlx::Error> {
        AgentSpec::read(&self.config).map_err(|faults| {
            let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
            sqlx::Error::Decode(format!("agent {} version {}: {}", self.id, self.version, told.join("; ")).into())
        })
    }
}

/// A version as it is listed.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) version: i64,
    pub(crate) note: Option<String>,
    pub(crate) created_by: String,
    pub(crate) created_at: i64,
}

/// Who changes an agent and why.
pub(crate) struct Change<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) livemode: bool,
    /// User or key.
    pub(crate) by: &'a str,
    pub(crate) note: Option<&'a str>,
}

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Changed {
    /// A new version is there.
    Stored,
    /// The document is the same: nothing was stored.
    Same,
    /// Somebody else was faster.
    Conflict,
}

/// What a list holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentFilter {
    /// Part of the name, whatever its case.
    pub(crate) q: Option<String>,
    /// Label → value.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) archived: bool,
}

const SELECT: &str = "SELECT a.id, a.version, a.config, a.created_at, a.updated_at FROM agents a";

/// Makes an agent; `None` when the tenant has as many as it may.
pub(crate) async fn create(
    tx: &mut AnyConnection,
    change: &Change<'_>,
    id: AgentId,
    spec: &AgentSpec,
) -> Result<Option<Stored>, sqlx::Error> {
    let (now, config) = (now_ms(), spec.document());
    let made = sqlx::query(
        "INSERT INTO agents (id, tenant_id, name, config, version, created_at, updated_at)
         SELECT $1, $2, $3, $4, 1, $5, $6 WHERE (SELECT COUNT(*) FROM agents WHERE tenant_id = $7 AND deleted_at IS NULL) < $8",
    )
    .bind(id.to_string())
    .bind(change.tenant.to_string())
    .bind(storable(&spec.name))
    .bind(json_text(&config))
    .bind(now)
    .bind(now)
    .bind(change.tenant.to_string())
    .bind(MOST)
    .execute(&mut *tx)
    .await?;
    if made.rows_affected() == 0 {
        return Ok(None);
    }
    keep_version(tx, change, id, 1, &config, now).await?;
    tell(tx, change, Name::AgentCreated, id, 1).await?;
    Ok(Some(Stored { id, version: 1, config, created_at: now, updated_at: now }))
}

/// Stores the next version, if the agent still is at `from` and the document differs.
pub(crate) async fn change(
    tx: &mut AnyConnection,
    change: &Change<'_>,
    from: &Stored,
    spec: &AgentSpec,
) -> Result<Changed, sqlx::Error> {
    let config = spec.document();
    if config == from.config {
        return Ok(Changed::Same);
    }
    let now = now_ms();
    let moved = sqlx::query(
        "UPDATE agents SET name = $1, config = $2, version = version + 1, updated_at = $3
         WHERE id = $4 AND tenant_id = $5 AND version = $6 AND deleted_at IS NULL",
    )
    .bind(storable(&spec.name))
    .bind(json_text(&config))
    .bind(now)
    .bind(from.id.to_string())
    .bind(change.tenant.to_string())
    .bind(from.version)
    .execute(&mut *tx)
    .await?;
    if moved.rows_affected() == 0 {
        return Ok(Changed::Conflict);
    }
    let version = from.version + 1;
    keep_version(tx, change, from.id, version, &config, now).await?;
    tell(tx, change, Name::AgentUpdated, from.id, version).await?;
    Ok(Changed::Stored)
}

async fn keep_version(
    tx: &mut AnyConnection,
    change: &Change<'_>,
    id: AgentId,
    version: i64,
    config: &Value,
    now: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO agent_versions (agent_id, version, tenant_id, config, note, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id.to_string())
    .bind(version)
    .bind(change.tenant.to_string())
    .bind(json_text(config))
    .bind(change.note.map(storable))
    .bind(change.by)
    .bind(now)
    .execute(tx)
    .await
    .map(drop)
}

async fn tell(
    tx: &mut AnyConnection,
    change: &Change<'_>,
    kind: Name,
    id: AgentId,
    version: i64,
) -> Result<(), sqlx::Error> {
    let data = json!({"agent_id": id, "version": version});
    emit(tx, NewEvent { tenant: change.tenant, livemode: change.livemode, kind, data }).await
}

/// Who still points at an agent.
pub(crate) async fn users(tx: &mut AnyConnection, tenant: TenantId, id: AgentId) -> Result<Vec<Value>, sqlx::Error> {
    let mut users = Vec::new();
    let numbers = sqlx::query(
        "SELECT id, e164 FROM numbers WHERE tenant_id = $1 AND released_at IS NULL
         AND (agent_id = $2 OR routing LIKE $3) ORDER BY created_at, id LIMIT 50",
    );
    let rules = sqlx::query(
        "SELECT id, name FROM dispatch_rules WHERE tenant_id = $1 AND (action LIKE $2 OR action LIKE $3)
         ORDER BY created_at, id LIMIT 50",
    );
    let (tenant, id) = (tenant.to_string(), id.to_string());
    let within = format!("%{id}%");
    for row in numbers.bind(&tenant).bind(&id).bind(&within).fetch_all(&mut *tx).await? {
        users.push(json!({"kind": "number", "id": row.try_get::<String, _>(0)?, "name": row.try_get::<String, _>(1)?}));
    }
    for row in rules.bind(&tenant).bind(&within).bind(&within).fetch_all(&mut *tx).await? {
        let (id, name) = (row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?);
        users.push(json!({"kind": "dispatch_rule", "id": id, "name": name}));
    }
    Ok(users)
}

/// Takes the agent off its numbers. Rules name it inside their action and are switched off: nobody can guess whom they meant.
pub(crate) async fn detach(tx: &mut AnyConnection, tenant: TenantId, id: AgentId) -> Result<(), sqlx::Error> {
    let now = now_ms();
    sqlx::query("UPDATE numbers SET agent_id = NULL, version = version + 1, updated_at = $1 WHERE tenant_id = $2 AND agent_id = $3")
        .bind(now)
        .bind(tenant.to_string())
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE dispatch_rules SET enabled = 0, version = version + 1, updated_at = $1 WHERE tenant_id = $2 AND action LIKE $3")
        .bind(now)
        .bind(tenant.to_string())
        .bind(format!("%{id}%"))
        .execute(tx)
        .await
        .map(drop)
}

/// Marks an agent as gone; its versions stay for the calls that ran them. False if it is no longer at `from`.
pub(crate) async fn delete(tx: &mut AnyConnection, change: &Change<'_>, from: &Stored) -> Result<bool, sqlx::Error> {
    let now = now_ms();
    let gone = sqlx::query(
        "UPDATE agents SET deleted_at = $1, updated_at = $2 WHERE id = $3 AND tenant_id = $4 AND version = $5 AND deleted_at IS NULL",
    )
    .bind(now)
    .bind(now)
    .bind(from.id.to_string())
    .bind(change.tenant.to_string())
    .bind(from.version)
    .execute(&mut *tx)
    .await?;
    if gone.rows_affected() == 0 {
        return Ok(false);
    }
    tell(tx, change, Name::AgentDeleted, from.id, from.version).await?;
    Ok(true)
}

impl Store {
    /// An agent of a tenant at its newest version, or at one of its versions.
    pub(crate) async fn agent(
        &self,
        tenant: TenantId,
        id: AgentId,
        version: Option<i64>,
    ) -> Result<Option<Stored>, sqlx::Error> {
        let query = match version {
            None => sqlx::query::<Any>(AssertSqlSafe(format!(
                "{SELECT} WHERE a.id = $1 AND a.tenant_id = $2 AND a.deleted_at IS NULL"
            ))),
            Some(_) => sqlx::query::<Any>(
                "SELECT a.id, v.version, v.config, a.created_at, v.created_at AS updated_at FROM agents a
                 JOIN agent_versions v ON v.agent_id = a.id WHERE a.id = $1 AND a.tenant_id = $2 AND a.deleted_at IS NULL AND v.version = $3",
            ),
        };
        let query = query.bind(id.to_string()).bind(tenant.to_string());
        let query = if let Some(version) = version { query.bind(version) } else { query };
        query.fetch_optional(self.pool()).await?.as_ref().map(read).transpose()
    }

    /// The newest version of an agent, ready to run, and its number.
    pub async fn agent_to_run(&self, tenant: TenantId, id: AgentId) -> Result<Option<(AgentSpec, i64)>, sqlx::Error> {
        let stored = self.agent(tenant, id, None).await?;
        stored.map(|stored| Ok((stored.spec()?, stored.version))).transpose()
    }

    /// A page of a tenant's agents, one more than asked if there are more. Labels stand inside the document, which the two databases
    /// read differently; a tenant has at most [`MOST`] agents, so they are compared here.
    pub(crate) async fn agents(
        &self,
        tenant: TenantId,
        filter: &AgentFilter,
        page: &Page,
    ) -> Result<Vec<Stored>, sqlx::Error> {
        let gone = if filter.archived { "IS NOT NULL" } else { "IS NULL" };
        let mut found = Vec::new();
        // Without labels every row that is read is shown.
        let batch = if filter.labels.is_empty() { page.limit } else { 200 };
        let mut at = Page { limit: batch, ..page.clone() };
        loop {
            let mut conditions = vec![("a.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
            if let Some(q) = &filter.q {
                let escaped = q.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
                conditions.push(("LOWER(a.name) LIKE {} ESCAPE '\\'".to_owned(), Bound::Text(format!("%{escaped}%"))));
            }
            let (sql, values) = at.finish(format!("{SELECT} WHERE a.deleted_at {gone}"), "a", conditions);
            let mut rows = self.fetch(sql, values).await?;
            let more = rows.len() as i64 > batch;
            if filter.labels.is_empty() {
                return rows.iter().map(read).collect();
            }
            rows.truncate(200);
            for row in &rows {
                let agent = read(row)?;
                at.after = Some((agent.created_at, agent.id.to_string()));
                let labelled = |(key, value): &(String, String)| agent.config["labels"][key] == value.as_str();
                if filter.labels.iter().all(labelled) {
                    found.push(agent);
                }
            }
            if !more || found.len() as i64 > page.limit {
                return Ok(found);
            }
        }
    }

    /// Versions of an agent, newest first.
    pub(crate) async fn agent_versions(&self, tenant: TenantId, id: AgentId) -> Result<Vec<Version>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT version, note, created_by, created_at FROM agent_versions WHERE agent_id = $1 AND tenant_id = $2
             ORDER BY version DESC",
        )
        .bind(id.to_string())
        .bind(tenant.to_string())
        .fetch_all(self.pool())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Version {
                    version: row.try_get(0)?,
                    note: row.try_get(1)?,
                    created_by: row.try_get(2)?,
                    created_at: row.try_get(3)?,
                })
            })
            .collect()
    }
}

fn read(row: &AnyRow) -> Result<Stored, sqlx::Error> {
    let id: String = row.try_get("id")?;
    let config: String = row.try_get("config")?;
    Ok(Stored {
        id: id.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        version: row.try_get("version")?,
        config: serde_json::from_str(&config).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}
