//! What the node's SIP side must know of trunks to keep them alive: where to register, whom to ask whether he lives, with which
//! password, and what it saw.

use std::{collections::HashMap, fmt, net::IpAddr, time::Duration};

use domain::{TenantId, TrunkId, event::Name};
use serde_json::json;

use super::{
    Network,
    directory::StoreDirectory,
    rows::trunks::REGISTRAR,
    snapshot::TrunkEntry,
    trunk::{GatewayTransport, InboundMode},
};
use crate::{
    outbox::{NewEvent, emit},
    store::storable,
    time::now_ms,
};

/// Trunks that may share a username; more are not tried.
const NAMESAKES: usize = 16;

/// A trunk in service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which.
    pub id: TrunkId,
    /// None: the platform's own.
    pub tenant: Option<TenantId>,
    /// Its gateways.
    pub gateways: Vec<Gate>,
    /// Our registration, if it wants one.
    pub binding: Option<Binding>,
    /// What its challenges are answered with.
    pub login: Option<Login>,
    /// How often gateways are asked whether they live.
    pub ping_every: Option<Duration>,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Its row.
    pub id: String,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port, where one is named.
    pub port: Option<u16>,
    /// What carries SIP.
    pub transport: GatewayTransport,
    /// Calls may go to it.
    pub outbound: bool,
    /// Calls may come from it though no network is named: from wherever its name leads.
    pub inbound_by_name: bool,
}

/// A registration to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The registrar, as `sip:carrier.example`.
    pub registrar: String,
    /// Our address there.
    pub aor: String,
    /// The user part of our Contact.
    pub contact_user: String,
    /// For how long.
    pub expires: Duration,
}

/// Name and password for a trunk's challenges.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
    /// Other realms are not answered; none: whatever the trunk's addresses ask for.
    pub realm: Option<String>,
    /// The sums that may be made, as `SHA-256`.
    pub algorithms: Vec<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl Login {
    pub(super) fn of(entry: &TrunkEntry) -> Option<Self> {
        let auth = &entry.trunk.auth.outbound;
        Some(Self {
            username: auth.username.clone()?,
            password: entry.secrets.outbound.clone()?,
            realm: auth.realm.clone(),
            algorithms: auth.algorithms.clone(),
        })
    }
}

/// The user part of a trunk's Contact: as configured, else one that nobody else has.
pub(super) fn contact_user(entry: &TrunkEntry) -> String {
    let configured = entry.trunk.register.contact_user.clone();
    configured.unwrap_or_else(|| format!("t{}", &crate::seal::sha256_hex(entry.id.to_string().as_bytes())[..20]))
}

fn line(entry: &TrunkEntry) -> Line {
    let trunk = &entry.trunk;
    let gates = trunk.gateways.iter().zip(&entry.gateways).map(|(gateway, id)| Gate {
        id: id.clone(),
        host: super::trunk::bare(&gateway.host).to_owned(),
        port: gateway.port,
        transport: gateway.transport,
        outbound: gateway.outbound && trunk.gives(),
        inbound_by_name: gateway.inbound && gateway.network().is_none() && trunk.takes(),
    });
    let register = &trunk.register;
    let binding = match (&register.registrar, &register.aor) {
        (Some(registrar), Some(aor)) if register.enabled => Some(Binding {
            registrar: registrar.clone(),
            aor: aor.clone(),
            contact_user: contact_user(entry),
            expires: Duration::from_secs(register.expires_s.into()),
        }),
        _ => None,
    };
    let ping = u64::from(trunk.sip.options_ping_s);
    Line {
        id: entry.id,
        tenant: entry.tenant,
        gateways: gates.collect(),
        binding,
        login: Login::of(entry),
        ping_every: (ping > 0).then(|| Duration::from_secs(ping)),
    }
}

/// What a node saw of a gateway, or of the registrar (`gateway` is none).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The trunk.
    pub trunk: TrunkId,
    /// Whose it is.
    pub tenant: Option<TenantId>,
    /// The row of the gateway.
    pub gateway: Option<String>,
    /// Its host, or the registrar.
    pub host: String,
    /// It takes calls, or holds our binding.
    pub up: bool,
    /// Words for people.
    pub detail: Option<String>,
    /// What it said last; 408 for nothing.
    pub sip_status: Option<u16>,
    /// How long the answer took.
    pub rtt: Option<Duration>,
    /// Unix time, ms.
    pub registered_until_ms: Option<i64>,
    /// The state is another than before, so it is an event.
    pub changed: bool,
}

impl StoreDirectory {
    /// Every enabled trunk, by id.
    pub async fn lines(&self) -> Vec<Line> {
        let now = self.fresh().await;
        let mut lines: Vec<_> = now.trunks.values().map(line).collect();
        lines.sort_by_key(|line| line.id);
        lines
    }

    /// The networks that trunks' calls come from.
    pub async fn networks(&self) -> Vec<Network> {
        let now = self.fresh().await;
        let takes = now.trunks.values().filter(|entry| entry.trunk.takes());
        let gateways = takes.flat_map(|entry| &entry.trunk.gateways).filter(|gateway| gateway.inbound);
        gateways.filter_map(|gateway| gateway.network()).collect()
    }

    /// Trunks that take calls from whoever shows this name, with the password that proves it.
    pub async fn logins(&self, username: &str) -> Vec<(TrunkId, String)> {
        let now = self.fresh().await;
        let wanted = |entry: &&TrunkEntry| {
            let inbound = &entry.trunk.auth.inbound;
            entry.trunk.takes()
                && matches!(inbound.mode, InboundMode::Digest | InboundMode::IpAndDigest)
                && inbound.username.as_deref() == Some(username)
        };
        let mut found: Vec<_> = now
            .trunks
            .values()
            .filter(wanted)
            .filter_map(|entry| Some((entry.id, entry.secrets.inbound.clone()?)))
            .collect();
        found.sort_by_key(|(id, _)| *id);
        found.truncate(NAMESAKES);
        found
    }

    /// The addresses that the names of trunks' gateways lead to, instead of those known so far.
    pub fn learn(&self, addresses: HashMap<TrunkId, Vec<IpAddr>>) {
        self.keep_learned(addresses);
    }

    /// Keeps what this node saw. A change is told as an event of the trunk's tenant.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn saw(&self, node: &str, sightings: &[Sighting]) -> Result<(), sqlx::Error> {
        if sightings.is_empty() {
            return Ok(());
        }
        let mut tx = self.store().begin().await?;
        let at = now_ms();
        for sighting in sightings {
            let gateway = sighting.gateway.as_deref().unwrap_or(REGISTRAR);
            // A trunk that was taken away meanwhile has no row to hold on to.
            sqlx::query(
                "INSERT INTO trunk_status (trunk_id, gateway_id, node_id, state, detail, sip_status, rtt_ms, registered_until, checked_at)
                 SELECT t.id, $2, $3, $4, $5, $6, $7, $8, $9 FROM trunks t WHERE t.id = $1 AND t.deleted_at IS NULL
                 ON CONFLICT (trunk_id, gateway_id, node_id) DO UPDATE SET state = excluded.state, detail = excluded.detail,
                   sip_status = excluded.sip_status, rtt_ms = excluded.rtt_ms, registered_until = excluded.registered_until,
                   checked_at = excluded.checked_at",
            )
            .bind(sighting.trunk.to_string())
            .bind(gateway)
            .bind(storable(node))
            .bind(if sighting.up { "up" } else { "down" })
            .bind(sighting.detail.as_deref().map(storable))
            .bind(sighting.sip_status.map(i64::from))
            .bind(sighting.rtt.map(|rtt| i64::try_from(rtt.as_millis()).unwrap_or(i64::MAX)))
            .bind(sighting.registered_until_ms)
            .bind(at)
            .execute(&mut *tx)
            .await?;
            let Some(tenant) = sighting.tenant.filter(|_| sighting.changed) else { continue };
            let kind = match (&sighting.gateway, sighting.up) {
                (Some(_), true) => Name::TrunkUp,
                (Some(_), false) => Name::TrunkDown,
                (None, true) => Name::TrunkRegistered,
                (None, false) => Name::TrunkRegistrationFailed,
            };
            let data =
                json!({"trunk_id": sighting.trunk.to_string(), "gateway": sighting.host, "detail": sighting.detail});
            emit(&mut tx, NewEvent { tenant, livemode: true, kind, data }).await?;
        }
        tx.commit().await?;
        self.store().ring();
        Ok(())
    }

    /// Forgets what this node saw of registrars and gateways that are no more.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn lost_sight(&self, node: &str, trunk: TrunkId, registrar: bool) -> Result<(), sqlx::Error> {
        sqlx::query(
            "DELETE FROM trunk_status WHERE trunk_id = $1 AND node_id = $2 AND (($3 = 1 AND gateway_id = $4) OR (gateway_id <> $4
               AND NOT EXISTS (SELECT 1 FROM trunk_gateways g WHERE g.trunk_id = trunk_status.trunk_id AND g.id = trunk_status.gateway_id)))",
        )
        .bind(trunk.to_string())
        .bind(storable(node))
        .bind(i64::from(registrar))
        .bind(REGISTRAR)
        .execute(self.store().pool())
        .await
        .map(drop)
    }
}
