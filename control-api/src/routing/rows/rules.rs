//! Rows of `dispatch_rules`.

use domain::{RuleId, TenantId, TrunkId};
use serde_json::{Map, Value};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

use super::{all_exist, id, json};
use crate::{
    Store,
    routing::rule::{Match, RuleAction},
    store::{
        json_text,
        page::{Bound, Page},
        storable,
    },
};

/// A rule as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleRow {
    pub(crate) id: RuleId,
    pub(crate) name: String,
    pub(crate) priority: i64,
    pub(crate) enabled: bool,
    pub(crate) matcher: Match,
    pub(crate) action: RuleAction,
    pub(crate) variables: Map<String, Value>,
    pub(crate) version: i64,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
}

const SELECT: &str = "SELECT r.id, r.name, r.priority, r.enabled, r.matcher, r.action, r.variables, r.version, r.created_at, r.updated_at
    FROM dispatch_rules r";

fn read(row: &AnyRow) -> Result<RuleRow, sqlx::Error> {
    Ok(RuleRow {
        id: id(row, "id")?,
        name: row.try_get("name")?,
        priority: row.try_get("priority")?,
        enabled: row.try_get::<i64, _>("enabled")? != 0,
        matcher: json(row, "matcher")?,
        action: json(row, "action")?,
        variables: json(row, "variables")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

impl Store {
    /// A page of a tenant's rules.
    pub(crate) async fn rules(&self, tenant: TenantId, page: &Page) -> Result<Vec<RuleRow>, sqlx::Error> {
        let own = vec![("r.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let (sql, values) = page.finish(format!("{SELECT} WHERE 1 = 1"), "r", own);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    /// One rule of a tenant.
    pub(crate) async fn rule(&self, tenant: TenantId, rule: RuleId) -> Result<Option<RuleRow>, sqlx::Error> {
        let row = sqlx::query(AssertSqlSafe(format!("{SELECT} WHERE r.id = $1 AND r.tenant_id = $2")))
            .bind(rule.to_string())
            .bind(tenant.to_string())
            .fetch_optional(self.pool())
            .await?;
        row.as_ref().map(read).transpose()
    }
}

pub(crate) async fn insert(tx: &mut AnyConnection, tenant: TenantId, rule: &RuleRow) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO dispatch_rules (id, tenant_id, name, priority, enabled, matcher, action, variables, version, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(rule.id.to_string())
    .bind(tenant.to_string())
    .bind(storable(&rule.name))
    .bind(rule.priority)
    .bind(i64::from(rule.enabled))
    .bind(json_text(&rule.matcher))
    .bind(json_text(&rule.action))
    .bind(json_text(&rule.variables))
    .bind(rule.version)
    .bind(rule.created_at)
    .bind(rule.updated_at)
    .execute(tx)
    .await
    .map(drop)
}

/// Writes a rule over its version before; false when somebody was faster.
pub(crate) async fn update(tx: &mut AnyConnection, tenant: TenantId, rule: &RuleRow) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE dispatch_rules SET name = $1, priority = $2, enabled = $3, matcher = $4, action = $5, variables = $6, version = $7,
           updated_at = $8 WHERE id = $9 AND tenant_id = $10 AND version = $7 - 1",
    )
    .bind(storable(&rule.name))
    .bind(rule.priority)
    .bind(i64::from(rule.enabled))
    .bind(json_text(&rule.matcher))
    .bind(json_text(&rule.action))
    .bind(json_text(&rule.variables))
    .bind(rule.version)
    .bind(rule.updated_at)
    .bind(rule.id.to_string())
    .bind(tenant.to_string())
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn delete(
    tx: &mut AnyConnection,
    tenant: TenantId,
    rule: RuleId,
    version: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM dispatch_rules WHERE id = $1 AND tenant_id = $2 AND version = $3")
        .bind(rule.to_string())
        .bind(tenant.to_string())
        .bind(version)
        .execute(tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether all of these trunks are the tenant's, or the platform's for everybody.
pub(crate) async fn trunks_exist(
    db: &mut AnyConnection,
    tenant: TenantId,
    trunks: &[TrunkId],
) -> Result<bool, sqlx::Error> {
    let sql = "SELECT COUNT(DISTINCT id) FROM trunks WHERE (tenant_id IS NULL OR tenant_id = $1) AND deleted_at IS NULL AND id IN";
    all_exist(db, sql, tenant, trunks).await
}
