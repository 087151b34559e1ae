//! Spending caps: of a tenant by day and month, by day of each country that it dials and of each of its numbers. A hold counts in the
//! periods in which its call was admitted, and what comes back of it comes back there. All of it happens under the tenant's purse, in
//! the transaction of the hold itself, so reading and then writing is safe.

use domain::{NumberId, TenantId, phone};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::{calendar, destination::Tenant, rates};

/// A period whose cap a lease counts in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Period {
    /// `day` or `month`.
    pub(crate) period: String,
    pub(crate) starts_at: i64,
    /// Empty for all that the tenant spends; `country:GB`, `number:<id>`.
    #[serde(default)]
    pub(crate) scope: String,
    /// What the lease has counted there.
    #[serde(default)]
    pub(crate) counted: i64,
}

impl Period {
    /// The country whose cap it is.
    pub(crate) fn country(&self) -> Option<&str> {
        self.scope.strip_prefix("country:")
    }
}

/// What the caps leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// For all of the call.
    pub(crate) total: i64,
    /// For what of it is spent in a country: what this lease has counted there already, and what is left.
    pub(crate) countries: Vec<(String, i64)>,
}

impl Default for Room {
    fn default() -> Self {
        Self { total: i64::MAX, countries: Vec::new() }
    }
}

/// Whose caps are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'a> {
    pub(crate) id: TenantId,
    pub(crate) tenant: &'a Tenant,
    /// The country that is dialled.
    pub(crate) country: Option<&'a str>,
    /// The tenant's number on which the call stands.
    pub(crate) number: Option<NumberId>,
}

/// The country of an address, if it is a number.
pub(crate) fn country(address: &str) -> Option<String> {
    let number = format!("+{}", rates::digits(address)).parse().ok()?;
    phone::country(&number).map(str::to_owned)
}

/// The periods that have a cap at this time, brought to the cap that is configured now.
pub(crate) async fn current(db: &mut AnyConnection, whose: Whose<'_>, at_ms: i64) -> Result<Vec<Period>, sqlx::Error> {
    let Whose { id, tenant, country, number } = whose;
    let zone = calendar::zone(&tenant.timezone);
    let day = calendar::day_bounds(at_ms, &zone).0;
    let mut configured = vec![
        ("day", day, String::new(), tenant.daily_cap),
        ("month", calendar::month_bounds(at_ms, &zone).0, String::new(), tenant.monthly_cap),
    ];
    if let Some(country) = country {
        configured.push(("day", day, format!("country:{country}"), tenant.country_caps.get(country).copied()));
    }
    if let Some(number) = number {
        configured.push(("day", day, format!("number:{number}"), of_number(db, id, number).await?));
    }
    let mut periods = Vec::new();
    for (period, starts_at, scope, cap) in configured {
        let Some(cap) = cap else { continue };
        // A cap lowered below what is used already means: nothing more, and not that too much was used.
        sqlx::query(
            "INSERT INTO spend_caps (tenant_id, period, starts_at, scope, cap_micros, used_micros) VALUES ($1, $2, $3, $4, $5, 0)
             ON CONFLICT (tenant_id, period, starts_at, scope) DO UPDATE SET cap_micros =
               CASE WHEN excluded.cap_micros > spend_caps.used_micros THEN excluded.cap_micros ELSE spend_caps.used_micros END",
        )
        .bind(id.to_string())
        .bind(period)
        .bind(starts_at)
        .bind(scope.clone())
        .bind(cap.max(0))
        .execute(&mut *db)
        .await?;
        periods.push(Period { period: period.to_owned(), starts_at, scope, counted: 0 });
    }
    Ok(periods)
}

/// The cap that a number's routing has.
async fn of_number(db: &mut AnyConnection, tenant: TenantId, number: NumberId) -> Result<Option<i64>, sqlx::Error> {
    let row = sqlx::query("SELECT routing FROM numbers WHERE id = $1 AND tenant_id = $2")
        .bind(number.to_string())
        .bind(tenant.to_string())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let routing: serde_json::Value = serde_json::from_str(&row.try_get::<String, _>(0)?).unwrap_or_default();
    Ok(routing["daily_cap_micros"].as_i64())
}

/// What the periods leave; without a cap, everything.
pub(crate) async fn room(db: &mut AnyConnection, tenant: TenantId, periods: &[Period]) -> Result<Room, sqlx::Error> {
    let mut room = Room::default();
    for cap in periods {
        let row = sqlx::query(
            "SELECT cap_micros - used_micros FROM spend_caps WHERE tenant_id = $1 AND period = $2 AND starts_at = $3 AND scope = $4",
        )
        .bind(tenant.to_string())
        .bind(cap.period.clone())
        .bind(cap.starts_at)
        .bind(cap.scope.clone())
        .fetch_optional(&mut *db)
        .await?;
        let Some(row) = row else { continue };
        let left: i64 = row.try_get(0)?;
        match cap.country() {
            Some(country) => room.countries.push((country.to_owned(), cap.counted.saturating_add(left.max(0)))),
            None => room.total = room.total.min(left),
        }
    }
    Ok(room)
}

/// Counts amounts, negative for what comes back.
pub(crate) async fn count(
    db: &mut AnyConnection,
    tenant: TenantId,
    counts: &[(Period, i64)],
) -> Result<(), sqlx::Error> {
    for (cap, amount) in counts.iter().filter(|(_, amount)| *amount != 0) {
        sqlx::query(
            "UPDATE spend_caps SET used_micros = used_micros + $1 WHERE tenant_id = $2 AND period = $3 AND starts_at = $4 AND scope = $5",
        )
        .bind(*amount)
        .bind(tenant.to_string())
        .bind(cap.period.clone())
        .bind(cap.starts_at)
        .bind(cap.scope.clone())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}
