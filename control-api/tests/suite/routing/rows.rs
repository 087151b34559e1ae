//! Rows that calls are routed by, written behind the API's back as another node would.

use control_api::{Identity, PlanQuery, Refused, Route, RouteQuery, StoreDirectory};
use domain::{AgentId, AgentSpec, CallId, TenantId};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::db::Db;

fn fresh() -> String {
    Uuid::now_v7().to_string()
}

/// A second tenant, as the first one is.
pub(crate) async fn tenant(db: &Db, name: &str) -> TenantId {
    let id = fresh();
    sqlx::query(
        "INSERT INTO tenants (id, name, slug, rate_plan_id, created_at, updated_at)
         SELECT $1, $2, $2, rate_plan_id, 1, 1 FROM tenants WHERE slug = 'default'",
    )
    .bind(&id)
    .bind(name)
    .execute(&db.raw)
    .await
    .unwrap();
    // Of the same owner: every live tenant has one.
    sqlx::query(
        "INSERT INTO memberships (tenant_id, user_id, role, created_at)
         SELECT $1, m.user_id, 'owner', 1 FROM memberships m JOIN tenants t ON t.id = m.tenant_id WHERE t.slug = 'default'",
    )
    .bind(&id)
    .execute(&db.raw)
    .await
    .unwrap();
    id.parse().unwrap()
}

/// An agent in versions 1 to `versions`; each version's name tells it.
pub(crate) async fn agent(db: &Db, tenant: TenantId, name: &str, versions: i64) -> AgentId {
    let id = fresh();
    let config = |n: i64| serde_json::to_string(&AgentSpec::named(format!("{name} {n}"))).unwrap();
    sqlx::query("INSERT INTO agents (id, tenant_id, name, config, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, 1, 1)")
        .bind(&id)
        .bind(tenant.to_string())
        .bind(name)
        .bind(config(versions))
        .bind(versions)
        .execute(&db.raw)
        .await
        .unwrap();
    for n in 1..=versions {
        sqlx::query("INSERT INTO agent_versions (agent_id, version, tenant_id, config, created_by, created_at) VALUES ($1, $2, $3, $4, 'test', 1)")
            .bind(&id)
            .bind(n)
            .bind(tenant.to_string())
            .bind(config(n))
            .execute(&db.raw)
            .await
            .unwrap();
    }
    id.parse().unwrap()
}

pub(crate) async fn trunk(db: &Db, tenant: Option<TenantId>, document: Value) -> String {
    let id = fresh();
    sqlx::query(
        "INSERT INTO trunks (id, tenant_id, name, config, created_at, updated_at) VALUES ($1, $2, 'trunk', $3, 1, 1)",
    )
    .bind(&id)
    .bind(tenant.map(|tenant| tenant.to_string()))
    .bind(document.to_string())
    .execute(&db.raw)
    .await
    .unwrap();
    id
}

pub(crate) async fn number(
    db: &Db,
    tenant: TenantId,
    e164: &str,
    agent: Option<AgentId>,
    trunk: Option<&str>,
    routing: Value,
) -> String {
    let id = fresh();
    sqlx::query(
        "INSERT INTO numbers (id, tenant_id, e164, carrier, country, status, trunk_id, agent_id, routing, created_at, updated_at)
         VALUES ($1, $2, $3, 'none', 'US', 'active', $4, $5, $6, 1, 1)",
    )
    .bind(&id)
    .bind(tenant.to_string())
    .bind(e164)
    .bind(trunk)
    .bind(agent.map(|agent| agent.to_string()))
    .bind(routing.to_string())
    .execute(&db.raw)
    .await
    .unwrap();
    id
}

pub(crate) async fn rule(db: &Db, tenant: TenantId, priority: i64, matcher: Value, action: Value, variables: Value) {
    sqlx::query(
        "INSERT INTO dispatch_rules (id, tenant_id, name, priority, matcher, action, variables, created_at, updated_at)
         VALUES ($1, $2, 'rule', $3, $4, $5, $6, 1, 1)",
    )
    .bind(fresh())
    .bind(tenant.to_string())
    .bind(priority)
    .bind(matcher.to_string())
    .bind(action.to_string())
    .bind(variables.to_string())
    .execute(&db.raw)
    .await
    .unwrap();
}

pub(crate) async fn directory(db: &Db) -> StoreDirectory {
    StoreDirectory::open(db.store.clone(), vec!["127.0.0.0/8".parse().unwrap()], None).await.unwrap()
}

pub(crate) fn arrival(source: &str, to: &str, from: &str) -> RouteQuery {
    RouteQuery {
        call: CallId(Uuid::now_v7()),
        to: to.to_owned().into(),
        from: from.to_owned().into(),
        source: format!("{source}:5060").parse().unwrap(),
        headers: Vec::new(),
        identity: Identity::default(),
        proven: None,
    }
}

/// The name of the agent that answers.
pub(crate) fn answered(route: Result<Option<Route>, Refused>) -> String {
    route.unwrap().unwrap().agent.name.clone()
}

pub(crate) fn dial(tenant: TenantId, to: &str, from: Option<&str>) -> PlanQuery {
    PlanQuery {
        call: CallId(Uuid::now_v7()),
        tenant,
        to: to.to_owned().into(),
        from: from.map(|from| from.to_owned().into()),
        trunk: None,
        variables: Map::new(),
    }
}
