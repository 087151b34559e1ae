//! People and their credentials: passwords, sessions, access tokens, sign-in through others.
//!
//! What speaks HTTP is in `http/routes/auth`; here is what it does.

pub(crate) mod jwk;
pub(crate) mod jwt;
pub(crate) mod letters;
pub(crate) mod lockout;
pub(crate) mod oauth;
pub(crate) mod once;
pub(crate) mod password;
pub(crate) mod sessions;
mod settings;
pub(crate) mod signing;
pub(crate) mod users;

use std::sync::Arc;

use crate::{NodeKey, Store};

/// Whom access tokens are for.
pub(crate) const AUDIENCE: &str = "sidetone";

/// What this node keeps about people: keys, sessions seen lately, failures of late.
pub(crate) struct Auth {
    pub(crate) signing: Arc<signing::Signing>,
    pub(crate) seen: sessions::Seen,
    pub(crate) lockout: lockout::Lockout,
    /// For conversations with identity providers.
    pub(crate) http: Option<reqwest::Client>,
}

impl Auth {
    pub(crate) fn new(store: Store, node_key: NodeKey, settings: &AuthSettings) -> Self {
        // The one TLS provider of the process; a second call finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        Self {
            signing: signing::Signing::new(store, node_key, &settings.signing_key),
            seen: sessions::Seen::default(),
            lockout: lockout::Lockout::default(),
            http: http.map_err(|error| tracing::error!(%error, "no HTTP client for sign-in through others")).ok(),
        }
    }
}

pub use settings::{AuthSettings, OauthProvider, Registration};
