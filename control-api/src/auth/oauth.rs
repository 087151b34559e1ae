//! Sign-in through others: OAuth 2.0 with PKCE (RFC 6749, RFC 7636, RFC 9700), and OpenID Connect Core §3.1 where a provider speaks it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    OauthProvider,
    jwk::Jwks,
    jwt::{self, Refused},
};
use crate::time::now_ms;

/// A provider that takes longer is down.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clocks may differ by so much, s.
const LEEWAY_S: i64 = 60;

/// Why somebody could not be signed in through a provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OauthError {
    /// The provider does not answer, or not as it should.
    #[error("{0}")]
    Provider(String),
    /// It answered, and what it said does not hold.
    #[error("{0}")]
    Refused(&'static str),
}

impl From<reqwest::Error> for OauthError {
    fn from(error: reqwest::Error) -> Self {
        // Its URL may hold what is secret.
        Self::Provider(error.without_url().to_string())
    }
}

/// A provider with everything that its defaults fill in.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    settings: OauthProvider,
    http: reqwest::Client,
}

/// Where a provider does what.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Endpoints {
    #[serde(default)]
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    jwks_uri: Option<String>,
}

/// Who signed in, as the provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// The provider's own name for them, for ever.
    pub(crate) subject: String,
    pub(crate) email: Option<String>,
    /// The provider says that the address is theirs.
    pub(crate) email_verified: bool,
    pub(crate) name: Option<String>,
}

/// What is kept between the way there and the way back, beside the state itself.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    pub(crate) verifier: String,
    pub(crate) nonce: String,
}

#[derive(Deserialize)]
struct Exchanged {
    access_token: String,
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct Identity {
    iss: String,
    aud: Value,
    azp: Option<String>,
    sub: String,
    nonce: Option<String>,
    email: Option<String>,
    #[serde(default)]
    email_verified: Value,
    name: Option<String>,
}

impl Provider {
    /// The provider of a name, as configured.
    pub(crate) fn new(name: &str, settings: &OauthProvider, http: reqwest::Client) -> Self {
        let mut settings = settings.clone();
        let fill = |field: &mut String, default: &str| {
            if field.is_empty() {
                default.clone_into(field);
            }
        };
        match name {
            "google" => fill(&mut settings.issuer, "https://accounts.google.com"),
            "github" => {
                fill(&mut settings.authorize_url, "https://github.com/login/oauth/authorize");
                fill(&mut settings.token_url, "https://github.com/login/oauth/access_token");
                fill(&mut settings.userinfo_url, "https://api.github.com/user");
            }
            _ => {}
        }
        Self { settings, http }
    }

    fn speaks_openid(&self) -> bool {
        !self.settings.issuer.is_empty()
    }

    /// Asks an OpenID provider, or reads the configuration.
    pub(crate) async fn endpoints(&self) -> Result<Endpoints, OauthError> {
        let own = &self.settings;
        if !self.speaks_openid() {
            return Ok(Endpoints {
                issuer: String::new(),
                authorization_endpoint: own.authorize_url.clone(),
                token_endpoint: own.token_url.clone(),
                userinfo_endpoint: Some(own.userinfo_url.clone()),
                jwks_uri: None,
            });
        }
        let issuer = own.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let found: Endpoints = self.get(&url, None).await?;
        // OpenID Connect Discovery §4.3: it must be the document of whom we asked.
        if found.issuer.trim_end_matches('/') != issuer {
            return Err(OauthError::Refused("the provider's document is of another issuer"));
        }
        Ok(found)
    }

    /// Where the browser is sent.
    pub(crate) fn authorize_url(
        &self,
        endpoints: &Endpoints,
        callback: &str,
        state: &str,
        secrets: &Secrets,
    ) -> Result<String, OauthError> {
        let bad = |_| OauthError::Provider("its authorisation endpoint is no URL".into());
        let mut url = reqwest::Url::parse(&endpoints.authorization_endpoint).map_err(bad)?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(secrets.verifier.as_bytes()));
        let scope = if self.speaks_openid() { "openid email profile" } else { "read:user user:email" };
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", callback)
            .append_pair("scope", scope)
            .append_pair("state", state)
            .append_pair("nonce", &secrets.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// Exchanges the code that came back for who it is.
    pub(crate) async fn person(&self, code: &str, callback: &str, secrets: &Secrets) -> Result<Person, OauthError> {
        let endpoints = self.endpoints().await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", callback),
            ("client_id", &self.settings.client_id),
            ("client_secret", &self.settings.client_secret),
            ("code_verifier", &secrets.verifier),
        ];
        let body = reqwest::Url::parse_with_params("http://form/", form).map_err(|_| OauthError::Refused("no form"))?;
        let request = self
            .http
            .post(&endpoints.token_endpoint)
            .timeout(PATIENCE)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.query().unwrap_or_default().to_owned());
        let response = request.send().await?;
        if response.status().is_client_error() {
            return Err(OauthError::Refused("the provider did not take the code"));
        }
        // GitHub says 200 and `{"error":…}` for a bad code.
        let answer: Value = response.error_for_status()?.json().await?;
        let exchanged: Exchanged =
            serde_json::from_value(answer).map_err(|_| OauthError::Refused("the provider gave no token"))?;
        match (&exchanged.id_token, self.speaks_openid()) {
            (Some(token), true) => self.identity(token, &endpoints, &secrets.nonce).await,
            (None, true) => Err(OauthError::Refused("the provider gave no identity token")),
            (_, false) => self.userinfo(&exchanged.access_token, &endpoints).await,
        }
    }

    /// OpenID Connect Core §3.1.3.7.
    async fn identity(&self, token: &str, endpoints: &Endpoints, nonce: &str) -> Result<Person, OauthError> {
        let jwks_uri = endpoints.jwks_uri.as_deref().ok_or(OauthError::Refused("the provider publishes no keys"))?;
        let keys: Jwks = self.get(jwks_uri, None).await?;
        let kid = jwt::kid(token).ok_or(OauthError::Refused("the identity token cannot be read"))?;
        let key = keys
            .keys
            .iter()
            .find(|key| key.kid == kid)
            .ok_or(OauthError::Refused("the identity token names no key of the provider"))?;
        let claims =
            jwt::verify::<Identity>(token, key, now_ms() / 1000, LEEWAY_S).map_err(|refused| match refused {
                Refused::Expired => OauthError::Refused("the identity token has expired"),
                Refused::Invalid => OauthError::Refused("the identity token is not signed by the provider"),
            })?;
        let client = &self.settings.client_id;
        let (for_us, several) = match &claims.aud {
            Value::String(audience) => (audience == client, false),
            Value::Array(all) => (all.iter().any(|one| one == client.as_str()), all.len() > 1),
            _ => (false, false),
        };
        if claims.iss.trim_end_matches('/') != endpoints.issuer.trim_end_matches('/') {
            return Err(OauthError::Refused("the identity token is of another issuer"));
        }
        if !for_us || (several && claims.azp.as_ref() != Some(client)) {
            return Err(OauthError::Refused("the identity token is for somebody else"));
        }
        if claims.nonce.as_deref() != Some(nonce) {
            return Err(OauthError::Refused("the identity token belongs to another sign-in"));
        }
        // Some providers write the flag as text.
        let email_verified = claims.email_verified == true || claims.email_verified == "true";
        Ok(Person { subject: claims.sub, email: claims.email, email_verified, name: claims.name })
    }

    /// GitHub's way: the user, and apart from it which of the addresses are proven.
    async fn userinfo(&self, access_token: &str, endpoints: &Endpoints) -> Result<Person, OauthError> {
        let url = endpoints.userinfo_endpoint.as_deref().ok_or(OauthError::Refused("the provider has no user data"))?;
        let user: Value = self.get(url, Some(access_token)).await?;
        let subject = match &user["id"] {
            Value::Number(id) => id.to_string(),
            Value::String(id) => id.clone(),
            _ => return Err(OauthError::Refused("the provider's user has no id")),
        };
        let emails: Vec<Value> = self.get(&format!("{url}/emails"), Some(access_token)).await?;
        let proven = |email: &&Value| email["verified"] == true;
        let primary = emails.iter().filter(proven).find(|email| email["primary"] == true);
        let email = primary.or_else(|| emails.iter().find(proven)).and_then(|email| email["email"].as_str());
        let name = user["name"].as_str().or(user["login"].as_str()).map(str::to_owned);
        Ok(Person { subject, email: email.map(str::to_owned), email_verified: email.is_some(), name })
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, url: &str, token: Option<&str>) -> Result<T, OauthError> {
        let mut request =
            self.http.get(url).timeout(PATIENCE).header("accept", "application/json").header("user-agent", "Sidetone");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Ok(request.send().await?.error_for_status()?.json().await?)
    }
}
