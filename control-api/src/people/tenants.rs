//! Tenants: rows, their making, and what clients see of them (API §1.2).

use std::collections::BTreeMap;

use domain::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    money::ledger::open_accounts,
    scope::Role,
    store::{json_text, storable},
    time::{now_ms, rfc3339},
};

/// The plan of a new tenant: the one that the first run makes.
pub(crate) const DEFAULT_PLAN: &str = "00000000-0000-7000-8000-000000000001";

/// A tenant as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) slug: String,
    /// `active`, `suspended`, `deleting` or `deleted`.
    pub(crate) status: String,
    /// IANA name.
    pub(crate) timezone: String,
    pub(crate) rate_plan_id: String,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    pub(crate) settings: TenantSettings,
    pub(crate) version: i64,
    pub(crate) created_at: String,
}

/// What a tenant may use and spend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Calls at once; the platform's to set.
    #[serde(default = "max_calls")]
    pub(crate) max_calls: i64,
    /// New calls a second; the platform's to set.
    #[serde(default = "max_cps")]
    pub(crate) max_cps: i64,
    /// Countries that may be dialled, ISO 3166 alpha-2.
    #[serde(default = "countries")]
    pub(crate) countries: Vec<String>,
    /// Dearest minute that may be dialled, millionths of a dollar.
    #[serde(default = "max_rate")]
    pub(crate) max_rate_micros: i64,
    /// Spent a day at most, millionths of a dollar.
    #[serde(default)]
    pub(crate) daily_cap_micros: Option<i64>,
    /// Spent a month at most.
    #[serde(default)]
    pub(crate) monthly_cap_micros: Option<i64>,
    /// Spent a day at most on numbers of a country, by its code.
    #[serde(default)]
    pub(crate) country_caps_micros: BTreeMap<String, i64>,
}

fn max_calls() -> i64 {
    20
}

fn max_cps() -> i64 {
    2
}

fn countries() -> Vec<String> {
    vec!["US".into(), "CA".into()]
}

fn max_rate() -> i64 {
    500_000
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_calls: max_calls(),
            max_cps: max_cps(),
            countries: countries(),
            max_rate_micros: max_rate(),
            daily_cap_micros: None,
            monthly_cap_micros: None,
            country_caps_micros: BTreeMap::new(),
        }
    }
}

/// How long things are kept, days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Retention {
    pub(crate) recording_days: i64,
    pub(crate) transcript_days: i64,
    pub(crate) event_days: i64,
    pub(crate) trace_days: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { recording_days: 90, transcript_days: 365, event_days: 90, trace_days: 7 }
    }
}

/// How the tenant works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TenantSettings {
    /// Every change of a configuration object needs `If-Match`.
    pub(crate) require_if_match: bool,
    /// Analysts see masked numbers.
    pub(crate) mask_numbers_for_analyst: bool,
    /// Language of what is not said otherwise, as `en-US`.
    pub(crate) default_language: String,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self { require_if_match: false, mask_numbers_for_analyst: true, default_language: "en-US".into() }
    }
}

/// Whether the time zone is known.
pub(crate) fn is_timezone(name: &str) -> bool {
    name.is_ascii() && jiff::tz::TimeZone::get(name).is_ok()
}

/// `settings` holds the settings, the retention and what the platform granted.
const COLUMNS: &str = "t.id, t.name, t.slug, t.status, t.timezone, t.rate_plan_id, t.settings, t.max_calls, t.max_cps,
    t.countries, t.max_rate_micros, t.daily_cap_micros, t.monthly_cap_micros, t.country_caps, t.version, t.created_at";

/// The selection of tenants, before its `WHERE`.
pub(crate) fn select() -> String {
    format!("SELECT {COLUMNS} FROM tenants t")
}

/// A tenant, and what it was granted by the platform: the ceiling of what it may set itself.
#[derive(Clone, Debug)]
pub(crate) struct TenantRow {
    pub(crate) shown: Tenant,
    pub(crate) granted: Limits,
    pub(crate) created_at: i64,
    /// What other rooms keep among the settings.
    kept: Map<String, Value>,
}

pub(crate) fn read(row: &AnyRow) -> Result<TenantRow, sqlx::Error> {
    let stored: Map<String, Value> = serde_json::from_str(&row.try_get::<String, _>("settings")?).unwrap_or_default();
    let part = |name: &str| stored.get(name).cloned().unwrap_or_default();
    let limits = Limits {
        max_calls: row.try_get("max_calls")?,
        max_cps: row.try_get("max_cps")?,
        countries: serde_json::from_str(&row.try_get::<String, _>("countries")?).unwrap_or_default(),
        max_rate_micros: row.try_get("max_rate_micros")?,
        daily_cap_micros: row.try_get("daily_cap_micros")?,
        monthly_cap_micros: row.try_get("monthly_cap_micros")?,
        country_caps_micros: serde_json::from_str(&row.try_get::<String, _>("country_caps")?).unwrap_or_default(),
    };
    let granted = serde_json::from_value(part("granted")).unwrap_or_else(|_| limits.clone());
    let (settings, kept): (Map<_, _>, Map<_, _>) = stored.clone().into_iter().partition(|(key, _)| {
        matches!(key.as_str(), "require_if_match" | "mask_numbers_for_analyst" | "default_language")
    });
    let created_at: i64 = row.try_get("created_at")?;
    Ok(TenantRow {
        shown: Tenant {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            slug: row.try_get("slug")?,
            status: row.try_get("status")?,
            timezone: row.try_get("timezone")?,
            rate_plan_id: row.try_get("rate_plan_id")?,
            limits,
            retention: serde_json::from_value(part("retention")).unwrap_or_default(),
            settings: serde_json::from_value(settings.into()).unwrap_or_default(),
            version: row.try_get("version")?,
            created_at: rfc3339(created_at),
        },
        granted,
        created_at,
        kept,
    })
}

/// One tenant that is not deleted.
pub(crate) async fn get(db: &mut AnyConnection, tenant: &str) -> Result<Option<TenantRow>, sqlx::Error> {
    let sql = format!("{} WHERE t.id = $1 AND t.status <> 'deleted'", select());
    let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// Makes a tenant and its owner's membership.
pub(crate) async fn create(
    db: &mut AnyConnection,
    name: &str,
    timezone: &str,
    owner: &str,
) -> Result<TenantId, sqlx::Error> {
    let (id, now) = (Uuid::now_v7(), now_ms());
    // The last twelve digits of an UUIDv7 are random: a slug is unique by itself, and readable in front.
    let digits = id.simple().to_string();
    let slug = format!("{}-{}", slug(name), digits.get(20..).unwrap_or(&digits));
    sqlx::query(
        "INSERT INTO tenants (id, name, slug, timezone, rate_plan_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(id.to_string())
    .bind(storable(name))
    .bind(slug)
    .bind(timezone.to_owned())
    .bind(DEFAULT_PLAN)
    .bind(now)
    .execute(&mut *db)
    .await?;
    super::members::add(db, &id.to_string(), owner, Role::Owner).await?;
    open_accounts(db, TenantId(id)).await?;
    Ok(TenantId(id))
}

/// How many living tenants a user owns.
pub(crate) async fn owned(db: &mut AnyConnection, user: &str) -> Result<i64, sqlx::Error> {
    sqlx::query(
        "SELECT COUNT(*) FROM memberships m JOIN tenants t ON t.id = m.tenant_id
         WHERE m.user_id = $1 AND m.role = 'owner' AND t.status IN ('active', 'suspended')",
    )
    .bind(user.to_owned())
    .fetch_one(db)
    .await?
    .try_get(0)
}

/// Whether there is such a rate plan.
pub(crate) async fn plan_exists(db: &mut AnyConnection, plan: &str) -> Result<bool, sqlx::Error> {
    let found = sqlx::query("SELECT 1 FROM rate_plans WHERE id = $1").bind(storable(plan)).fetch_optional(db).await?;
    Ok(found.is_some())
}

/// Writes what can be changed; false if somebody was faster.
pub(crate) async fn update(
    db: &mut AnyConnection,
    before: &TenantRow,
    tenant: &Tenant,
    granted: &Limits,
) -> Result<bool, sqlx::Error> {
    let mut stored = before.kept.clone();
    if let Ok(Value::Object(settings)) = serde_json::to_value(&tenant.settings) {
        stored.extend(settings);
    }
    for (name, value) in
        [("retention", serde_json::to_value(&tenant.retention)), ("granted", serde_json::to_value(granted))]
    {
        stored.insert(name.into(), value.unwrap_or_default());
    }
    let done = sqlx::query(
        "UPDATE tenants SET name = $1, timezone = $2, settings = $3, max_calls = $4, max_cps = $5, countries = $6,
           max_rate_micros = $7, status = $8, rate_plan_id = $9, daily_cap_micros = $10, monthly_cap_micros = $11,
           country_caps = $12, version = version + 1, updated_at = $13
         WHERE id = $14 AND version = $15",
    )
    .bind(storable(&tenant.name))
    .bind(tenant.timezone.clone())
    .bind(json_text(&stored))
    .bind(tenant.limits.max_calls)
    .bind(tenant.limits.max_cps)
    .bind(json_text(&tenant.limits.countries))
    .bind(tenant.limits.max_rate_micros)
    .bind(tenant.status.clone())
    .bind(tenant.rate_plan_id.clone())
    .bind(tenant.limits.daily_cap_micros)
    .bind(tenant.limits.monthly_cap_micros)
    .bind(json_text(&tenant.limits.country_caps_micros))
    .bind(now_ms())
    .bind(tenant.id.clone())
    .bind(tenant.version)
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Letters, digits and single hyphens, at most 40; `tenant` if nothing is left.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 40 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "tenant".into() } else { slug.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_what_an_address_can_hold_of_a_name() {
        assert_eq!(slug("Hillside  Clinic & Söhne"), "hillside-clinic-s-hne");
        assert_eq!(slug("=cmd()"), "cmd");
        assert_eq!(slug("例"), "tenant");
        assert_eq!(slug(&"x".repeat(100)).len(), 40);
    }
}
