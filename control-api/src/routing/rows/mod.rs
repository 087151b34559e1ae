//! The rows of this room. Every function takes the tenant; what changes a row names the version that it changes.

pub(crate) mod do_not_call;
pub(crate) mod numbers;
pub(crate) mod ports;
pub(crate) mod rules;
pub(crate) mod trunks;

use std::{fmt::Display, str::FromStr};

use domain::{AgentId, TenantId};
use serde::de::DeserializeOwned;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};

/// An id column.
fn id<T: FromStr>(row: &AnyRow, column: &str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    text.parse().map_err(|_| sqlx::Error::Decode(format!("{column} is no uuid").into()))
}

/// An id column that may be empty.
fn maybe_id<T: FromStr>(row: &AnyRow, column: &str) -> Result<Option<T>, sqlx::Error> {
    Ok(row.try_get::<Option<String>, _>(column)?.and_then(|text| text.parse().ok()))
}

/// A JSON column.
fn json<T: DeserializeOwned>(row: &AnyRow, column: &str) -> Result<T, sqlx::Error> {
    let text: String = row.try_get(column)?;
    serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(format!("{column}: {error}").into()))
}

/// Whether all of these agents are the tenant's and not deleted.
pub(crate) async fn agents_exist(
    db: &mut AnyConnection,
    tenant: TenantId,
    agents: &[AgentId],
) -> Result<bool, sqlx::Error> {
    let sql = "SELECT COUNT(DISTINCT id) FROM agents WHERE tenant_id = $1 AND deleted_at IS NULL AND id IN";
    all_exist(db, sql, tenant, agents).await
}

/// Whether `sql`, completed by a list of ids, counts each of them once.
async fn all_exist<T: Display + Ord + Copy>(
    db: &mut AnyConnection,
    sql: &'static str,
    tenant: TenantId,
    ids: &[T],
) -> Result<bool, sqlx::Error> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    // Lists are short by their documents' limits; a piece at a time keeps below what a statement may bind.
    for piece in ids.chunks(100) {
        let names = (0..piece.len()).map(|n| format!("${}", n + 2)).collect::<Vec<_>>().join(", ");
        let mut query = sqlx::query(AssertSqlSafe(format!("{sql} ({names})"))).bind(tenant.to_string());
        for id in piece {
            query = query.bind(id.to_string());
        }
        if query.fetch_one(&mut *db).await?.try_get::<i64, _>(0)? != piece.len() as i64 {
            return Ok(false);
        }
    }
    Ok(true)
}
