//! What a tenant reads about its money: the balance, the list of transactions, what was used.

use domain::TenantId;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{calendar, destination::Tenant, ledger::Account};
use crate::store::{
    Store,
    page::{Bound, Page},
};

/// A cap of the current period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cap {
    pub(crate) cap_micros: i64,
    pub(crate) used_micros: i64,
    pub(crate) resets_at: i64,
}

/// A tenant's money at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) available: i64,
    pub(crate) held: i64,
    pub(crate) floor: i64,
    pub(crate) low: i64,
    pub(crate) open_leases: i64,
    pub(crate) day: Option<Cap>,
    pub(crate) month: Option<Cap>,
    /// By country.
    pub(crate) countries: Vec<(String, Cap)>,
}

/// A line of the list of transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) id: String,
    pub(crate) at: i64,
    pub(crate) kind: String,
    pub(crate) call: Option<String>,
    pub(crate) memo: String,
    /// Positive: credit came; negative: it went.
    pub(crate) amount: i64,
    /// Available and held together, after it.
    pub(crate) balance_after: i64,
}

/// A sum of usage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) day: String,
    /// The item, the provider or the agent, as grouped.
    pub(crate) group: String,
    pub(crate) item: String,
    pub(crate) quantity: i64,
    pub(crate) amount: i64,
    pub(crate) vendor: i64,
    pub(crate) records: i64,
}

/// By what usage is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    Item,
    Provider,
    Agent,
}

impl Store {
    /// Whether there is such a tenant.
    pub(crate) async fn tenant_exists(&self, tenant: TenantId) -> Result<bool, sqlx::Error> {
        let row = sqlx::query("SELECT 1 FROM tenants WHERE id = $1").bind(tenant.to_string());
        Ok(row.fetch_optional(self.pool()).await?.is_some())
    }

    /// What a tenant calls itself.
    pub(crate) async fn tenant_name(&self, tenant: TenantId) -> Result<String, sqlx::Error> {
        let row = sqlx::query("SELECT name FROM tenants WHERE id = $1").bind(tenant.to_string());
        row.fetch_one(self.pool()).await?.try_get(0)
    }

    /// The zone in which a tenant's days begin.
    pub(crate) async fn timezone(&self, tenant: TenantId) -> Result<String, sqlx::Error> {
        sqlx::query("SELECT timezone FROM tenants WHERE id = $1")
            .bind(tenant.to_string())
            .fetch_one(self.pool())
            .await?
            .try_get(0)
    }

    /// One consistent reading.
    pub(crate) async fn balance(&self, tenant: TenantId, livemode: bool, now: i64) -> Result<Balance, sqlx::Error> {
        let mut db = self.pool().acquire().await?;
        let row = sqlx::query(
            "SELECT a.balance_micros, COALESCE(a.floor_micros, 0), a.low_micros,
               (SELECT h.balance_micros FROM ledger_accounts h WHERE h.id = $2),
               (SELECT COUNT(*) FROM leases l WHERE l.tenant_id = $3 AND l.livemode = $4 AND l.state = 'open')
             FROM ledger_accounts a WHERE a.id = $1",
        )
        .bind(Account::Available.id(tenant, livemode))
        .bind(Account::Held.id(tenant, livemode))
        .bind(tenant.to_string())
        .bind(i64::from(livemode))
        .fetch_optional(&mut *db)
        .await?;
        let settings = Tenant::read(&mut db, tenant).await?;
        let zone = calendar::zone(&settings.timezone);
        let day = cap(&mut db, tenant, "day", settings.daily_cap, calendar::day_bounds(now, &zone)).await?;
        let month = cap(&mut db, tenant, "month", settings.monthly_cap, calendar::month_bounds(now, &zone)).await?;
        let countries = country_caps(&mut db, tenant, &settings, calendar::day_bounds(now, &zone)).await?;
        let Some(row) = row else {
            return Ok(Balance {
                available: 0,
                held: 0,
                floor: 0,
                low: 5_000_000,
                open_leases: 0,
                day,
                month,
                countries,
            });
        };
        Ok(Balance {
            available: row.try_get(0)?,
            floor: row.try_get(1)?,
            low: row.try_get(2)?,
            held: row.try_get::<Option<i64>, _>(3)?.unwrap_or(0),
            open_leases: row.try_get(4)?,
            day,
            month,
            countries,
        })
    }

    /// The ledger as the tenant sees it: holds are no lines, a call is one (and a second, when its hold was too small).
    pub(crate) async fn transactions(
        &self,
        tenant: TenantId,
        livemode: bool,
        kind: Option<&str>,
        call: Option<&str>,
        page: &Page,
    ) -> Result<Vec<Line>, sqlx::Error> {
        let ours = format!("('{}', '{}')", Account::Available.id(tenant, livemode), Account::Held.id(tenant, livemode));
        let sql = format!(
            "SELECT t.id, t.created_at, t.kind, t.call_id, t.memo,
               (SELECT CAST(COALESCE(SUM(e.amount_micros), 0) AS BIGINT) FROM ledger_entries e WHERE e.txn_id = t.id AND e.account_id IN {ours}),
               t.balance_after_micros
             FROM ledger_txns t WHERE t.kind <> 'hold'
             AND EXISTS (SELECT 1 FROM ledger_entries x WHERE x.txn_id = t.id AND x.account_id IN {ours})"
        );
        let mut conditions = vec![("t.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        conditions.extend(kind.map(|kind| ("t.kind = {}".to_owned(), Bound::Text(kind.to_owned()))));
        conditions.extend(call.map(|call| ("t.call_id = {}".to_owned(), Bound::Text(call.to_owned()))));
        let (sql, values) = page.finish(sql, "t", conditions);
        let rows = self.fetch(sql, values).await?;
        let line = |row: &AnyRow| {
            Ok(Line {
                id: row.try_get(0)?,
                at: row.try_get(1)?,
                kind: row.try_get(2)?,
                call: row.try_get(3)?,
                memo: row.try_get(4)?,
                amount: row.try_get(5)?,
                balance_after: row.try_get(6)?,
            })
        };
        rows.iter().map(line).collect()
    }

    /// Usage from one day to another, both included; by day, too, if `daily`.
    pub(crate) async fn usage(
        &self,
        tenant: TenantId,
        livemode: bool,
        days: (&str, &str),
        group: Group,
        daily: bool,
    ) -> Result<Vec<Sum>, sqlx::Error> {
        let (from, key) = match group {
            Group::Item => ("usage_daily u", "u.item"),
            Group::Provider => ("usage_daily u", "u.provider"),
            Group::Agent => ("usage_records u LEFT JOIN calls c ON c.id = u.call_id", "COALESCE(c.agent_id, '')"),
        };
        let day = if daily { "u.day" } else { "''" };
        let records = if group == Group::Agent { "COUNT(*)" } else { "CAST(SUM(u.records) AS BIGINT)" };
        let sql = format!(
            "SELECT {day} AS d, {key} AS g, u.item, CAST(SUM(u.quantity) AS BIGINT), CAST(SUM(u.amount_micros) AS BIGINT),
               CAST(SUM(u.vendor_micros) AS BIGINT), {records}
             FROM {from} WHERE u.tenant_id = $1 AND u.livemode = $2 AND u.day >= $3 AND u.day <= $4
             GROUP BY {} {key}, u.item ORDER BY 1, 2, 3",
            if daily { "u.day," } else { "" }
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(tenant.to_string())
            .bind(i64::from(livemode))
            .bind(days.0.to_owned())
            .bind(days.1.to_owned())
            .fetch_all(self.pool())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Sum {
                    day: row.try_get(0)?,
                    group: row.try_get(1)?,
                    item: row.try_get(2)?,
                    quantity: row.try_get(3)?,
                    amount: row.try_get(4)?,
                    vendor: row.try_get(5)?,
                    records: row.try_get(6)?,
                })
            })
            .collect()
    }
}

/// The caps of countries, used or not.
async fn country_caps(
    db: &mut AnyConnection,
    tenant: TenantId,
    settings: &Tenant,
    (starts_at, resets_at): (i64, i64),
) -> Result<Vec<(String, Cap)>, sqlx::Error> {
    if settings.country_caps.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT scope, used_micros FROM spend_caps WHERE tenant_id = $1 AND period = 'day' AND starts_at = $2 AND scope LIKE 'country:%'",
    )
    .bind(tenant.to_string())
    .bind(starts_at)
    .fetch_all(db)
    .await?;
    let used: std::collections::BTreeMap<String, i64> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?;
    let cap = |(country, cap_micros): (&String, &i64)| {
        let used_micros = used.get(&format!("country:{country}")).copied().unwrap_or(0);
        (country.clone(), Cap { cap_micros: *cap_micros, used_micros, resets_at })
    };
    Ok(settings.country_caps.iter().map(cap).collect())
}

async fn cap(
    db: &mut AnyConnection,
    tenant: TenantId,
    period: &str,
    cap: Option<i64>,
    (starts_at, resets_at): (i64, i64),
) -> Result<Option<Cap>, sqlx::Error> {
    let Some(cap_micros) = cap else { return Ok(None) };
    let row = sqlx::query(
        "SELECT used_micros FROM spend_caps WHERE tenant_id = $1 AND period = $2 AND starts_at = $3 AND scope = ''",
    )
    .bind(tenant.to_string())
    .bind(period.to_owned())
    .bind(starts_at)
    .fetch_optional(db)
    .await?;
    let used_micros = row.map_or(Ok(0), |row| row.try_get(0))?;
    Ok(Some(Cap { cap_micros, used_micros, resets_at }))
}
