//! Where a call may go and what it costs there: one rule for dialling, transfers, REFER and campaigns.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use domain::{
    TenantId,
    phone::{self, Barred, E164},
};
use sqlx::{AnyConnection, Row as _};

use super::{
    price::Rate,
    rates::{self, Found},
};

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The tenant does not call this country.
    #[error("calls to this country are not allowed for this tenant")]
    Country,
    /// Premium, satellite, personal and stateless numbers.
    #[error("numbers of this range ({}) are never dialled", .0.as_str())]
    Barred(Barred),
    /// The plan has no rate for it, or blocks it.
    #[error("the rate plan has no rate for this destination")]
    NoRate,
    /// Dearer than the tenant allows.
    #[error("the rate of this destination is above the tenant's max_rate_micros")]
    Rate,
    /// Listed by the tenant.
    #[error("the number is on the do-not-call list")]
    DoNotCall,
    /// Link-local, multicast or no address at all.
    #[error("the host is in a network that is never called")]
    Network,
    /// Neither a number nor a SIP URI.
    #[error("not a number in international form nor a sip: URI")]
    Malformed,
    /// The host of a SIP URI has no address.
    #[error("the host cannot be found")]
    Unresolved,
}

impl Forbidden {
    /// The word in the error's details.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Country => "country",
            Self::Barred(barred) => barred.as_str(),
            Self::NoRate => "no_rate",
            Self::Rate => "max_rate_micros",
            Self::DoNotCall => "do_not_call",
            Self::Network => "network",
            Self::Malformed => "malformed",
            Self::Unresolved => "unresolved",
        }
    }
}

/// What is asked of a destination.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) plan: String,
    pub(crate) timezone: String,
    pub(crate) max_calls: i64,
    pub(crate) max_rate_micros: i64,
    pub(crate) countries: Vec<String>,
    pub(crate) daily_cap: Option<i64>,
    pub(crate) monthly_cap: Option<i64>,
    /// By day, of what is dialled there.
    pub(crate) country_caps: std::collections::BTreeMap<String, i64>,
}

impl Tenant {
    pub(crate) async fn read(db: &mut AnyConnection, tenant: TenantId) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "SELECT rate_plan_id, timezone, max_calls, max_rate_micros, countries, daily_cap_micros, monthly_cap_micros, country_caps
             FROM tenants WHERE id = $1",
        )
        .bind(tenant.to_string())
        .fetch_one(db)
        .await?;
        Ok(Self {
            plan: row.try_get(0)?,
            timezone: row.try_get(1)?,
            max_calls: row.try_get(2)?,
            max_rate_micros: row.try_get(3)?,
            countries: serde_json::from_str(&row.try_get::<String, _>(4)?).unwrap_or_default(),
            daily_cap: row.try_get(5)?,
            monthly_cap: row.try_get(6)?,
            country_caps: serde_json::from_str(&row.try_get::<String, _>(7)?).unwrap_or_default(),
        })
    }
}

/// The rate of an outgoing leg, or why it is not dialled. `item` is `voice_out` or `transfer_leg`.
pub(crate) async fn outgoing(
    db: &mut AnyConnection,
    id: TenantId,
    tenant: &Tenant,
    item: &str,
    address: &str,
    at_ms: i64,
) -> Result<Result<Rate, Forbidden>, sqlx::Error> {
    if let Err(forbidden) = allowed(db, id, tenant, address).await? {
        return Ok(Err(forbidden));
    }
    Ok(priced(tenant, rates::find(db, &tenant.plan, item, address, at_ms).await?))
}

/// The rate of an outgoing leg, unless it is dearer than the tenant allows.
pub(crate) fn priced(tenant: &Tenant, found: Found) -> Result<Rate, Forbidden> {
    match found {
        Found::Rate(rate) if rates::per_minute(&rate) > tenant.max_rate_micros => Err(Forbidden::Rate),
        Found::Rate(rate) => Ok(rate),
        Found::Blocked | Found::Nothing => Err(Forbidden::NoRate),
    }
}

/// Whether an address may be dialled at all, whatever it costs.
pub(crate) async fn allowed(
    db: &mut AnyConnection,
    id: TenantId,
    tenant: &Tenant,
    address: &str,
) -> Result<Result<(), Forbidden>, sqlx::Error> {
    let digits = rates::digits(address);
    if digits.is_empty() {
        if host(address).is_some_and(|host| !callable(host)) {
            return Ok(Err(Forbidden::Network));
        }
    } else {
        let Ok(number) = format!("+{digits}").parse::<E164>() else { return Ok(Err(Forbidden::NoRate)) };
        if let Some(barred) = phone::barred(&number) {
            return Ok(Err(Forbidden::Barred(barred)));
        }
        let allowed = |country: &str| tenant.countries.iter().any(|allowed| allowed == country || allowed == "*");
        if !phone::country(&number).is_some_and(allowed) {
            return Ok(Err(Forbidden::Country));
        }
        let listed = sqlx::query("SELECT 1 FROM do_not_call WHERE tenant_id = $1 AND e164 = $2")
            .bind(id.to_string())
            .bind(format!("+{digits}"))
            .fetch_optional(&mut *db)
            .await?;
        if listed.is_some() {
            return Ok(Err(Forbidden::DoNotCall));
        }
    }
    Ok(Ok(()))
}

/// The host of a SIP URI if it is a literal address; names are judged by [`callable`] once they are resolved.
fn host(address: &str) -> Option<IpAddr> {
    let rest = address.strip_prefix("sips:").or_else(|| address.strip_prefix("sip:"))?;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split([';', '?']).next().unwrap_or_default();
    if let Some(v6) = host.strip_prefix('[') {
        return v6.split(']').next()?.parse().ok();
    }
    host.split(':').next()?.parse().ok()
}

/// Whether a call may go to this address at all: not to link-local ones, where clouds keep their secrets, nor to groups or nobody.
#[must_use]
pub(crate) fn callable(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            !(v4.is_link_local() || v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0)
                && v4 != Ipv4Addr::new(100, 100, 100, 200)
        }
        IpAddr::V6(v6) => {
            !(v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local())
                && v6 != Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_never_called_are_recognised_in_every_spelling() {
        for address in [
            "sip:x@169.254.169.254",
            "sip:169.254.1.1:5060;transport=tcp",
            "sips:x@[::ffff:169.254.169.254]:5061",
            "sip:x@0.0.0.0",
            "sip:x@[fe80::1]",
            "sip:x@224.0.1.75",
            "sip:a@b@169.254.169.254",
        ] {
            assert!(!callable(host(address).unwrap()), "{address}");
        }
        for address in ["sip:bob@127.0.0.1:5080", "sip:bob@192.168.1.7", "sip:bob@[2001:db8::1]"] {
            assert!(callable(host(address).unwrap()), "{address}");
        }
        assert_eq!(host("sip:bob@example.org"), None);
    }
}
