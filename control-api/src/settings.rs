//! How the control plane is set up: one block per room, nested into the server's configuration as they are.

use serde::Deserialize;

use crate::{AuthSettings, BillingSettings, EventsSettings, FilesSettings};

/// All rooms.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The API over HTTP.
    pub http: HttpSettings,
    /// Where exports lie.
    pub files: FilesSettings,
    /// Events and webhooks.
    pub events: EventsSettings,
    /// Money.
    pub billing: BillingSettings,
    /// Accounts with carriers that sell numbers.
    pub carriers: crate::CarrierSettings,
    /// Accounts and sign-in.
    pub auth: AuthSettings,
}

/// Whom the API answers in a browser.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Origins that may call it, as `https://console.example.com`; none by default.
    pub cors_origins: Vec<String>,
    /// Paths and field names of earlier products are answered.
    pub compat: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self { cors_origins: Vec::new(), compat: true }
    }
}
