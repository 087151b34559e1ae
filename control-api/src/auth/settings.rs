//! `[auth]`: who may sign up, and through whom one may sign in.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `[auth]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSettings {
    /// Who may make an account.
    pub registration: Registration,
    /// How browsers and mail reach this API, without a slash at the end, as `https://voice.example.com`.
    pub public_url: String,
    /// The owner of the tenant `default`, made at the first run without a password; `sidetone admin password` sets one.
    pub owner_email: String,
    /// Credit of a tenant that comes by registration, in millionths of a dollar.
    pub welcome_micros: u32,
    /// The first signing key, as base64 of PKCS #8; made by itself when empty. From the environment, never from the file.
    pub signing_key: String,
    /// Sign-in through others, by the name in the path. Client secrets belong in the environment.
    pub providers: BTreeMap<String, OauthProvider>,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            registration: Registration::Open,
            public_url: "http://127.0.0.1:8080".into(),
            owner_email: "owner@localhost".into(),
            welcome_micros: 0,
            signing_key: String::new(),
            providers: BTreeMap::new(),
        }
    }
}

impl AuthSettings {
    /// The base of links, without a slash at the end; also the issuer of access tokens.
    pub(crate) fn base(&self) -> &str {
        self.public_url.trim_end_matches('/')
    }
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Everybody.
    #[default]
    Open,
    /// Who was invited to a tenant.
    Invite,
    /// Nobody.
    Closed,
}

/// An identity provider. `google` and `github` need only the client; any other OpenID provider its issuer too.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OauthProvider {
    /// Given by the provider.
    pub client_id: String,
    /// Given by the provider; from the environment.
    pub client_secret: String,
    /// The issuer's URL, below which `/.well-known/openid-configuration` is read.
    pub issuer: String,
    /// Of a provider that speaks OAuth but not OpenID: where the user agrees.
    pub authorize_url: String,
    /// Of the same: where the code is exchanged.
    pub token_url: String,
    /// Of the same: where the user's data are.
    pub userinfo_url: String,
}
