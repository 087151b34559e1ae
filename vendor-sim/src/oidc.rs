//! An identity provider: OpenID Connect (discovery, authorise, token, keys) and GitHub's OAuth beside it.
//!
//! It checks what a provider checks: the client, its secret, the redirect, PKCE, and that a code is used once. It can lie.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// PKCS #8, 2048 bits, for nothing but this.
const PRIVATE: &[u8] = include_bytes!("oidc.der");
/// The client that the provider knows.
pub const OIDC_CLIENT: (&str, &str) = ("sidetone-client", "sidetone-client-secret");

/// Who signs in at the provider.
#[derive(Clone, Debug)]
pub struct OidcPerson {
    /// The provider's name for them.
    pub subject: String,
    /// Their address.
    pub email: String,
    /// Whether the provider says it is proven.
    pub email_verified: bool,
    /// Their name.
    pub name: String,
}

/// What is wrong with the identity token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OidcLie {
    /// Nothing.
    #[default]
    None,
    /// It answers another sign-in.
    Nonce,
    /// It is for another client.
    Audience,
    /// It is of another issuer.
    Issuer,
    /// It is an hour old.
    Expired,
    /// It says that it needs no signature.
    AlgNone,
    /// A byte of it was changed after it was signed.
    Altered,
}

struct Grant {
    redirect_uri: String,
    challenge: String,
    nonce: String,
}

struct Provider {
    base: String,
    person: Mutex<(OidcPerson, OidcLie)>,
    grants: Mutex<HashMap<String, Grant>>,
    key: RsaKeyPair,
}

/// A running provider.
pub struct Oidc {
    provider: Arc<Provider>,
    serving: JoinHandle<io::Result<()>>,
}

impl Drop for Oidc {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Oidc {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(person: OidcPerson) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let key = RsaKeyPair::from_pkcs8(PRIVATE).map_err(|error| io::Error::other(error.to_string()))?;
        let provider =
            Arc::new(Provider { base, person: Mutex::new((person, OidcLie::None)), grants: Mutex::default(), key });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/jwks", get(jwks))
            .route("/user", get(user))
            .route("/user/emails", get(emails))
            .with_state(provider.clone());
        let serving = tokio::spawn(axum::serve(listener, router).into_future());
        Ok(Self { provider, serving })
    }

    /// The issuer.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.provider.base
    }

    /// Who signs in from now on, and what is said about them.
    pub fn next(&self, person: OidcPerson, lie: OidcLie) {
        *self.provider.person.lock().unwrap_or_else(PoisonError::into_inner) = (person, lie);
    }
}

async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let base = &provider.base;
    Json(json!({
        "issuer": base, "authorization_endpoint": format!("{base}/authorize"), "token_endpoint": format!("{base}/token"),
        "jwks_uri": format!("{base}/jwks"), "userinfo_endpoint": format!("{base}/user"),
        "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
    }))
}

/// The person agrees at once.
async fn authorize(State(provider): State<Arc<Provider>>, Query(asked): Query<HashMap<String, String>>) -> Response {
    let of = |name: &str| asked.get(name).cloned().unwrap_or_default();
    if of("client_id") != OIDC_CLIENT.0 || of("response_type") != "code" || of("code_challenge_method") != "S256" {
        return (StatusCode::BAD_REQUEST, "not a request of a client that this provider knows").into_response();
    }
    let mut grants = provider.grants.lock().unwrap_or_else(PoisonError::into_inner);
    let code = format!("code-{}", grants.len() + 1);
    let grant = Grant { redirect_uri: of("redirect_uri"), challenge: of("code_challenge"), nonce: of("nonce") };
    let location = format!("{}?code={code}&state={}", grant.redirect_uri, of("state"));
    grants.insert(code, grant);
    (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
}

async fn token(State(provider): State<Arc<Provider>>, Form(form): Form<HashMap<String, String>>) -> Response {
    let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let refuse = |error: &str| (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    if (of("client_id"), of("client_secret")) != OIDC_CLIENT {
        return refuse("invalid_client");
    }
    let grant = provider.grants.lock().unwrap_or_else(PoisonError::into_inner).remove(of("code"));
    let Some(grant) = grant.filter(|grant| grant.redirect_uri == of("redirect_uri")) else {
        return refuse("invalid_grant");
    };
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, of("code_verifier").as_bytes()));
    if challenge != grant.challenge {
        return refuse("invalid_grant");
    }
    Json(json!({
        "access_token": "at-1", "token_type": "Bearer", "expires_in": 3600, "id_token": identity(&provider, &grant.nonce),
    }))
    .into_response()
}

fn identity(provider: &Provider, nonce: &str) -> String {
    let (person, lie) = provider.person.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let says =
        |wrong: OidcLie, other: &str, right: &str| if lie == wrong { other.to_owned() } else { right.to_owned() };
    let (exp, alg) = (
        if lie == OidcLie::Expired { now - 3600 } else { now + 3600 },
        if lie == OidcLie::AlgNone { "none" } else { "RS256" },
    );
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(json!({"alg": alg, "kid": "sim-1", "typ": "JWT"}));
    let claims = |subject: &str| {
        encode(json!({
            "iss": says(OidcLie::Issuer, "https://elsewhere.example", &provider.base),
            "aud": says(OidcLie::Audience, "another-client", OIDC_CLIENT.0),
            "nonce": says(OidcLie::Nonce, "another", nonce),
            "sub": subject, "email": person.email, "email_verified": person.email_verified, "name": person.name,
            "iat": now, "exp": exp,
        }))
    };
    let message = format!("{header}.{}", claims(&person.subject));
    let mut signature = vec![0; provider.key.public().modulus_len()];
    if alg == "none"
        || provider.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).is_err()
    {
        return format!("{message}.");
    }
    let signature = URL_SAFE_NO_PAD.encode(signature);
    if lie == OidcLie::Altered {
        return format!("{header}.{}.{signature}", claims("somebody-else"));
    }
    format!("{message}.{signature}")
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(provider.key.public());
    let number = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
    Json(
        json!({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "sim-1", "n": number(n), "e": number(e)}]}),
    )
}

fn bearer(headers: &HeaderMap) -> bool {
    headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Bearer at-1")
}

async fn user(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    if !bearer(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let (person, _) = provider.person.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Json(json!({"id": 583_231, "login": person.subject, "name": person.name, "email": person.email})).into_response()
}

async fn emails(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    if !bearer(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let (person, _) = provider.person.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Json(json!([
        {"email": "old@example.com", "primary": false, "verified": false},
        {"email": person.email, "primary": true, "verified": person.email_verified},
    ]))
    .into_response()
}
