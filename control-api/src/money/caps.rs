//! Spending caps by day and month. A hold counts in the periods in which its call was admitted, and what comes back of it comes
//! back there. All of it happens under the tenant's purse, so reading and then writing is safe.

use domain::TenantId;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::{calendar, destination::Tenant};

/// A period whose cap a lease counts in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Period {
    /// `day` or `month`.
    pub(crate) period: String,
    pub(crate) starts_at: i64,
}

/// The periods of a tenant that have a cap at this time, brought to the cap that is configured now.
pub(crate) async fn current(
    db: &mut AnyConnection,
    id: TenantId,
    tenant: &Tenant,
    at_ms: i64,
) -> Result<Vec<Period>, sqlx::Error> {
    let zone = calendar::zone(&tenant.timezone);
    let configured = [
        ("day", calendar::day_bounds(at_ms, &zone).0, tenant.daily_cap),
        ("month", calendar::month_bounds(at_ms, &zone).0, tenant.monthly_cap),
    ];
    let mut periods = Vec::new();
    for (period, starts_at, cap) in configured {
        let Some(cap) = cap else { continue };
        // A cap lowered below what is used already means: nothing more, and not that too much was used.
        sqlx::query(
            "INSERT INTO spend_caps (tenant_id, period, starts_at, cap_micros, used_micros) VALUES ($1, $2, $3, $4, 0)
             ON CONFLICT (tenant_id, period, starts_at) DO UPDATE SET cap_micros =
               CASE WHEN excluded.cap_micros > spend_caps.used_micros THEN excluded.cap_micros ELSE spend_caps.used_micros END",
        )
        .bind(id.to_string())
        .bind(period)
        .bind(starts_at)
        .bind(cap.max(0))
        .execute(&mut *db)
        .await?;
        periods.push(Period { period: period.to_owned(), starts_at });
    }
    Ok(periods)
}

/// What is left in the tightest of the periods; without a cap, everything.
pub(crate) async fn left(db: &mut AnyConnection, tenant: TenantId, periods: &[Period]) -> Result<i64, sqlx::Error> {
    let mut left = i64::MAX;
    for Period { period, starts_at } in periods {
        let row = sqlx::query(
            "SELECT cap_micros - used_micros FROM spend_caps WHERE tenant_id = $1 AND period = $2 AND starts_at = $3",
        )
        .bind(tenant.to_string())
        .bind(period.clone())
        .bind(*starts_at)
        .fetch_optional(&mut *db)
        .await?;
        if let Some(row) = row {
            left = left.min(row.try_get(0)?);
        }
    }
    Ok(left)
}

/// Counts an amount, negative for what comes back.
pub(crate) async fn count(
    db: &mut AnyConnection,
    tenant: TenantId,
    periods: &[Period],
    amount: i64,
) -> Result<(), sqlx::Error> {
    if amount == 0 {
        return Ok(());
    }
    for Period { period, starts_at } in periods {
        sqlx::query(
            "UPDATE spend_caps SET used_micros = used_micros + $1 WHERE tenant_id = $2 AND period = $3 AND starts_at = $4",
        )
        .bind(amount)
        .bind(tenant.to_string())
        .bind(period.clone())
        .bind(*starts_at)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}
