//! `[events]` of the configuration.

use serde::Deserialize;

use super::NatsSettings;

/// What the operator decides about events.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct EventsSettings {
    /// Webhooks may go to this machine, also by http. For development: it opens every local service to the tenants.
    pub webhook_loopback: bool,
    /// A bus that gets every event too.
    pub nats: NatsSettings,
}
