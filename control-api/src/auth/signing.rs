//! The keys that sign access tokens: next, active, retired (API §1.1). Private halves are sealed in the store.
//!
//! The next key is published long before it signs, so that whoever keeps a copy of the key set for five minutes never meets a token
//! that it cannot verify. A retired key verifies for an hour more, four times as long as a token lives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{rsa::PublicKeyComponents, signature::RsaKeyPair};
use rsa::{RsaPrivateKey, pkcs8::EncodePrivateKey as _};
use sqlx::Row as _;

use super::jwk::{Jwk, Jwks};
use crate::{NodeKey, Store, http::ApiError, seal, store::json_text, time::now_ms};

/// How long the keys are believed without asking the store; also how late a node may learn of a rotation.
const BELIEVED: Duration = Duration::from_secs(30);
/// How often an unknown `kid` may cause a look into the store.
const LOOK: Duration = Duration::from_secs(2);
/// How long a retired key still verifies.
const RETIRED_MS: i64 = 3_600_000;

/// The keys as they stand.
pub(crate) struct Keys {
    active: Option<(String, RsaKeyPair)>,
    /// By `kid`; with the time of retirement.
    public: HashMap<String, (Jwk, Option<i64>)>,
    has_next: bool,
    read: Instant,
}

/// The keys of the installation.
pub(crate) struct Signing {
    store: Store,
    node_key: NodeKey,
    /// PKCS #8 of the first key, if the operator gave one.
    first: Option<Vec<u8>>,
    keys: Mutex<Option<Arc<Keys>>>,
    making: Arc<tokio::sync::Mutex<()>>,
}

impl Signing {
    pub(crate) fn new(store: Store, node_key: NodeKey, first: &str) -> Arc<Self> {
        let first = STANDARD.decode(first.trim()).ok().filter(|key| !key.is_empty());
        Arc::new(Self { store, node_key, first, keys: Mutex::default(), making: Arc::default() })
    }

    /// Signs claims with the active key, which is made if there is none.
    pub(crate) async fn sign(self: &Arc<Self>, claims: &impl serde::Serialize) -> Result<String, ApiError> {
        let mut keys = self.keys(BELIEVED).await?;
        if keys.active.is_none() {
            self.make("active").await?;
            keys = self.keys(Duration::ZERO).await?;
        }
        let (kid, pair) = keys.active.as_ref().ok_or_else(|| ApiError::internal("no active signing key"))?;
        super::jwt::sign(pair, kid, claims).ok_or_else(|| ApiError::internal("a token could not be signed"))
    }

    /// The public key that a token names, if it still verifies.
    pub(crate) async fn public(self: &Arc<Self>, kid: &str) -> Result<Option<Jwk>, ApiError> {
        let mut keys = self.keys(BELIEVED).await?;
        if !keys.public.contains_key(kid) {
            keys = self.keys(LOOK).await?;
        }
        let good = |(_, retired): &&(Jwk, Option<i64>)| retired.is_none_or(|at| now_ms() - at < RETIRED_MS);
        Ok(keys.public.get(kid).filter(good).map(|(jwk, _)| jwk.clone()))
    }

    /// All keys that verify or will.
    pub(crate) async fn jwks(self: &Arc<Self>) -> Result<Jwks, ApiError> {
        let keys = self.keys(BELIEVED).await?;
        if keys.active.is_some() && !keys.has_next {
            let signing = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = signing.make("next").await {
                    tracing::warn!(?error, "the next signing key could not be made");
                }
            });
        }
        let now = now_ms();
        let good = keys.public.values().filter(|(_, retired)| retired.is_none_or(|at| now - at < RETIRED_MS));
        let mut keys: Vec<Jwk> = good.map(|(jwk, _)| jwk.clone()).collect();
        keys.sort_by(|a, b| a.kid.cmp(&b.kid));
        Ok(Jwks { keys })
    }

    /// Next becomes active, active becomes retired; the `kid` that signs now.
    pub(crate) async fn rotate(self: &Arc<Self>) -> Result<String, ApiError> {
        self.make("next").await?;
        let mut tx = self.store.begin().await?;
        sqlx::query("UPDATE signing_keys SET state = 'retired', retired_at = $1 WHERE state = 'active'")
            .bind(now_ms())
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query(
            "UPDATE signing_keys SET state = 'active'
             WHERE kid = (SELECT kid FROM signing_keys WHERE state = 'next' ORDER BY created_at, kid LIMIT 1) AND state = 'next'
             RETURNING kid",
        )
        .fetch_optional(&mut *tx)
        .await?;
        // Two rotations at once: the other one took the key, and did what was asked for.
        let Some(row) = row else { return Err(ApiError::conflict("conflict", "the keys are being rotated already")) };
        let kid: String = row.try_get(0)?;
        tx.commit().await?;
        self.forget();
        let signing = Arc::clone(self);
        tokio::spawn(async move { signing.make("next").await.map_err(|error| tracing::warn!(?error, "no next key")) });
        Ok(kid)
    }

    fn forget(&self) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The keys, not older than `age`.
    async fn keys(&self, age: Duration) -> Result<Arc<Keys>, ApiError> {
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(keys) = known.filter(|keys| keys.read.elapsed() < age) {
            return Ok(keys);
        }
        let rows = sqlx::query("SELECT kid, public_jwk, sealed_private, state, retired_at FROM signing_keys")
            .fetch_all(self.store.pool())
            .await?;
        let mut keys = Keys { active: None, public: HashMap::new(), has_next: false, read: Instant::now() };
        for row in rows {
            let (kid, state): (String, String) = (row.try_get(0)?, row.try_get(3)?);
            let jwk: Jwk = serde_json::from_str(&row.try_get::<String, _>(1)?).map_err(ApiError::internal)?;
            keys.has_next |= state == "next";
            if state == "active" {
                let sealed: String = row.try_get(2)?;
                let private = seal::open(&self.node_key, ("signing_keys", &kid, "sealed_private"), &sealed)?;
                let pair = RsaKeyPair::from_pkcs8(&private).map_err(ApiError::internal)?;
                keys.active = Some((kid.clone(), pair));
            }
            keys.public.insert(kid, (jwk, row.try_get(4)?));
        }
        let keys = Arc::new(keys);
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&keys));
        Ok(keys)
    }

    /// Makes a key in a state in which there is none.
    async fn make(self: &Arc<Self>, state: &'static str) -> Result<(), ApiError> {
        // One at a time on a node; between nodes, the index of the one active key and this look decide.
        let _turn = self.making.lock().await;
        let there: i64 = sqlx::query("SELECT COUNT(*) FROM signing_keys WHERE state = $1")
            .bind(state)
            .fetch_one(self.store.pool())
            .await?
            .try_get(0)?;
        if there > 0 {
            return Ok(());
        }
        let private = match (&self.first, state) {
            (Some(first), "active") => first.clone(),
            _ => tokio::task::spawn_blocking(generate).await.map_err(ApiError::internal)??,
        };
        let pair = RsaKeyPair::from_pkcs8(&private)
            .map_err(|error| ApiError::internal(format!("auth.signing_key: {error}")))?;
        let jwk = public(&pair);
        let sealed = seal::seal(&self.node_key, ("signing_keys", &jwk.kid, "sealed_private"), &private)?;
        sqlx::query(
            "INSERT INTO signing_keys (kid, public_jwk, sealed_private, state, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(jwk.kid.clone())
        .bind(json_text(&jwk))
        .bind(sealed)
        .bind(state)
        .bind(now_ms())
        .execute(self.store.writers())
        .await?;
        self.forget();
        Ok(())
    }
}

/// A fresh 2048-bit key as PKCS #8.
fn generate() -> Result<Vec<u8>, ApiError> {
    let key = RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).map_err(ApiError::internal)?;
    Ok(key.to_pkcs8_der().map_err(ApiError::internal)?.as_bytes().to_vec())
}

/// The public half; its `kid` is the thumbprint of RFC 7638.
fn public(pair: &RsaKeyPair) -> Jwk {
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
    let jwk = Jwk::rsa(String::new(), &n, &e);
    let (n, e) = (jwk.n.as_deref().unwrap_or_default(), jwk.e.as_deref().unwrap_or_default());
    let kid = seal::sha256_hex(format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes());
    Jwk { kid: kid[..32].to_owned(), ..jwk }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::LazyLock;

    use super::*;

    static PRIVATE: LazyLock<Vec<u8>> = LazyLock::new(|| generate().unwrap());

    /// A key pair under a name of the test's.
    pub(crate) fn key(kid: &str) -> (RsaKeyPair, Jwk) {
        let pair = RsaKeyPair::from_pkcs8(&PRIVATE).unwrap();
        let jwk = Jwk { kid: kid.into(), ..public(&pair) };
        (pair, jwk)
    }
}
