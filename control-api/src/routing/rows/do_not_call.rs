//! Rows of `do_not_call`.

use domain::{CallId, TenantId, phone::E164};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::{
    Store,
    store::{
        page::{Bound, Page},
        storable,
    },
};

/// A number that the tenant does not call.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) e164: String,
    pub(crate) reason: String,
    pub(crate) call_id: Option<String>,
    pub(crate) created_at: i64,
}

impl Store {
    /// A page of a tenant's list. The number is what orders entries of one moment.
    pub(crate) async fn do_not_call(&self, tenant: TenantId, page: &Page) -> Result<Vec<Listed>, sqlx::Error> {
        let own = vec![("d.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let select = "SELECT d.e164, d.reason, d.call_id, d.created_at FROM
            (SELECT e164 AS id, e164, reason, call_id, created_at, tenant_id FROM do_not_call) d WHERE 1 = 1";
        let (sql, values) = page.finish(select.to_owned(), "d", own);
        let read = |row: &AnyRow| {
            Ok(Listed {
                e164: row.try_get("e164")?,
                reason: row.try_get("reason")?,
                call_id: row.try_get("call_id")?,
                created_at: row.try_get("created_at")?,
            })
        };
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    /// Lists the number of somebody who said so on a call; one that is listed already stays as it is.
    ///
    /// # Errors
    /// The store failed: nothing is listed.
    pub async fn mark_do_not_call(&self, tenant: TenantId, call: CallId, e164: &E164) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO do_not_call (tenant_id, e164, reason, call_id, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (tenant_id, e164) DO NOTHING",
        )
        .bind(tenant.to_string())
        .bind(e164.as_str())
        .bind("asked for on a call")
        .bind(call.to_string())
        .bind(crate::time::now_ms())
        .execute(self.writers())
        .await
        .map(drop)
    }
}

/// Lists a number; false when it was listed before, whose reason then stands.
pub(crate) async fn insert(
    tx: &mut AnyConnection,
    tenant: TenantId,
    e164: &E164,
    reason: &str,
    now_ms: i64,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "INSERT INTO do_not_call (tenant_id, e164, reason, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (tenant_id, e164) DO NOTHING",
    )
    .bind(tenant.to_string())
    .bind(e164.as_str())
    .bind(storable(reason))
    .bind(now_ms)
    .execute(tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn delete(tx: &mut AnyConnection, tenant: TenantId, e164: &E164) -> Result<bool, sqlx::Error> {
    let done = sqlx::query("DELETE FROM do_not_call WHERE tenant_id = $1 AND e164 = $2")
        .bind(tenant.to_string())
        .bind(e164.as_str())
        .execute(tx)
        .await?;
    Ok(done.rows_affected() == 1)
}
