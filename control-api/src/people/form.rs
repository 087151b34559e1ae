//! A tenant as it is asked to be. What the platform grants is a ceiling: below it a tenant sets its own limits.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use super::tenants::{Limits, Retention, Tenant, TenantRow, TenantSettings, is_timezone};
use crate::{
    http::ApiError,
    routing::{Faults, document::is_country},
};

/// What can be changed of a tenant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantForm {
    /// 1 to 100 characters.
    name: String,
    /// IANA name.
    #[serde(default = "utc")]
    timezone: String,
    /// The platform's to set: `active` or `suspended`.
    status: Option<String>,
    /// The platform's to set.
    rate_plan_id: Option<String>,
    #[serde(default)]
    limits: LimitsForm,
    #[serde(default)]
    retention: Retention,
    #[serde(default)]
    settings: TenantSettings,
}

fn utc() -> String {
    "UTC".into()
}

/// Limits as they are asked for.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsForm {
    /// The platform's to set.
    max_calls: Option<i64>,
    /// The platform's to set.
    max_cps: Option<i64>,
    /// Those granted when absent.
    countries: Option<Vec<String>>,
    /// What is granted when absent.
    max_rate_micros: Option<i64>,
    /// What is granted when absent.
    daily_cap_micros: Option<i64>,
    /// What is granted when absent.
    monthly_cap_micros: Option<i64>,
    /// What is granted when absent.
    country_caps_micros: Option<BTreeMap<String, i64>>,
}

impl TenantForm {
    /// The tenant with this form laid over it, and what it is granted then.
    pub(crate) fn over(self, row: &TenantRow, platform: bool) -> Result<(Tenant, Limits), ApiError> {
        let shown = &row.shown;
        let own = |field: &str, same: bool| {
            let message = format!("{field} is set by the platform");
            let error = ApiError::new(axum::http::StatusCode::BAD_REQUEST, "read_only_field", message).at(field);
            if same || platform { Ok(()) } else { Err(error) }
        };
        let status = self.status.unwrap_or_else(|| shown.status.clone());
        own("status", status == shown.status)?;
        if status != shown.status && !["active", "suspended"].contains(&status.as_str()) {
            return Err(ApiError::invalid("status", "status is active or suspended"));
        }
        let rate_plan_id = self.rate_plan_id.unwrap_or_else(|| shown.rate_plan_id.clone());
        own("rate_plan_id", rate_plan_id == shown.rate_plan_id)?;
        let form = self.limits;
        let limits = Limits {
            max_calls: form.max_calls.unwrap_or(shown.limits.max_calls),
            max_cps: form.max_cps.unwrap_or(shown.limits.max_cps),
            countries: form.countries.unwrap_or_else(|| row.granted.countries.clone()),
            max_rate_micros: form.max_rate_micros.unwrap_or(row.granted.max_rate_micros),
            daily_cap_micros: form.daily_cap_micros.or(row.granted.daily_cap_micros),
            monthly_cap_micros: form.monthly_cap_micros.or(row.granted.monthly_cap_micros),
            country_caps_micros: form.country_caps_micros.unwrap_or_else(|| row.granted.country_caps_micros.clone()),
        };
        own("limits.max_calls", limits.max_calls == shown.limits.max_calls)?;
        own("limits.max_cps", limits.max_cps == shown.limits.max_cps)?;
        let granted = if platform { limits.clone() } else { row.granted.clone() };
        within(&limits, &granted)?;
        let tenant = Tenant {
            name: self.name,
            timezone: self.timezone,
            status,
            rate_plan_id,
            limits,
            retention: self.retention,
            settings: self.settings,
            ..shown.clone()
        };
        Ok((tenant, granted))
    }
}

/// Refuses limits above what the platform granted.
fn within(limits: &Limits, granted: &Limits) -> Result<(), ApiError> {
    let above = |field: &str, ceiling: String| {
        Err(ApiError::invalid(field, format!("the platform grants {ceiling}; ask its operator for more")))
    };
    if let Some(country) = limits.countries.iter().find(|country| !granted.countries.contains(country)) {
        return above("limits.countries", format!("{} and not {country}", granted.countries.join(", ")));
    }
    if limits.max_rate_micros > granted.max_rate_micros {
        return above("limits.max_rate_micros", format!("at most {}", granted.max_rate_micros));
    }
    for (field, asked, ceiling) in [
        ("limits.daily_cap_micros", limits.daily_cap_micros, granted.daily_cap_micros),
        ("limits.monthly_cap_micros", limits.monthly_cap_micros, granted.monthly_cap_micros),
    ] {
        if let (Some(asked), Some(ceiling)) = (asked, ceiling)
            && asked > ceiling
        {
            return above(field, format!("at most {ceiling}"));
        }
    }
    for (country, ceiling) in &granted.country_caps_micros {
        if limits.country_caps_micros.get(country).is_none_or(|asked| asked > ceiling) {
            return above("limits.country_caps_micros", format!("at most {ceiling} in {country}"));
        }
    }
    Ok(())
}

impl Tenant {
    /// Everything that is wrong with it.
    pub(crate) fn check(&self) -> Faults {
        let mut faults = Faults::default();
        let count = self.name.chars().count();
        faults.need(
            (1..=100).contains(&count) && !self.name.contains('\0'),
            "name",
            "name has 1 to 100 characters, without NUL",
        );
        faults.need(is_timezone(&self.timezone), "timezone", "a time zone, as Europe/Berlin");
        let limits = &self.limits;
        faults.need((0..=100_000).contains(&limits.max_calls), "limits.max_calls", "0 to 100000");
        faults.need((0..=10_000).contains(&limits.max_cps), "limits.max_cps", "0 to 10000");
        let countries = limits.countries.len() <= 250 && limits.countries.iter().all(|code| is_country(code));
        faults.need(countries, "limits.countries", "at most 250 country codes, as US");
        for (field, amount) in [
            ("limits.max_rate_micros", Some(limits.max_rate_micros)),
            ("limits.daily_cap_micros", limits.daily_cap_micros),
            ("limits.monthly_cap_micros", limits.monthly_cap_micros),
        ] {
            // A billion dollars, far from where sums overflow.
            faults.need(
                amount.is_none_or(|amount| (0..=1_000_000_000_000_000).contains(&amount)),
                field,
                "0 to 1000000000000000",
            );
        }
        let caps = &limits.country_caps_micros;
        faults.need(
            caps.len() <= 250
                && caps.iter().all(|(code, cap)| is_country(code) && (0..=1_000_000_000_000_000).contains(cap)),
            "limits.country_caps_micros",
            "at most 250 country codes, as GB, each with 0 to 1000000000000000",
        );
        let Retention { recording_days, transcript_days, event_days, trace_days } = self.retention;
        for (field, days) in [
            ("retention.recording_days", recording_days),
            ("retention.transcript_days", transcript_days),
            ("retention.event_days", event_days),
            ("retention.trace_days", trace_days),
        ] {
            faults.need((1..=3650).contains(&days), field, "1 to 3650 days");
        }
        faults.need(is_language(&self.settings.default_language), "settings.default_language", "a language, as en-US");
        faults
    }
}

/// Two or three letters, and perhaps a region.
fn is_language(tag: &str) -> bool {
    let (language, region) = tag.split_once('-').map_or((tag, None), |(language, region)| (language, Some(region)));
    (2..=3).contains(&language.len())
        && language.bytes().all(|b| b.is_ascii_lowercase())
        && region.is_none_or(|region| region.len() == 2 && region.bytes().all(|b| b.is_ascii_uppercase()))
}
