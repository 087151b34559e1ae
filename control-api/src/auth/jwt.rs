//! Signed tokens (RFC 7519 in the compact form of RFC 7515): our access tokens, and the identity tokens of others.
//!
//! The key is found by `kid` and brings its algorithm; `alg` of the token must agree and decides nothing. So neither `none` nor a
//! public key used as an HMAC secret gets anywhere.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::jwk::Jwk;

/// Longer tokens are not looked at.
const LONGEST: usize = 16 * 1024;

/// What an access token says (API §1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    /// The user.
    pub(crate) sub: String,
    /// The tenant.
    pub(crate) tid: String,
    /// The role at the time; what counts is the one in the store.
    pub(crate) role: String,
    /// The session.
    pub(crate) sid: String,
    pub(crate) iat: i64,
    pub(crate) nbf: i64,
    pub(crate) exp: i64,
    pub(crate) jti: String,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No token, or not of a key that we know, or not signed by it, or not for us.
    Invalid,
    /// Good but for its age.
    Expired,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    /// Extensions that must be understood (RFC 7515 §4.1.11); none are.
    crit: Option<Value>,
}

/// The validity of a token, as far as everyone checks it alike.
#[derive(Deserialize)]
struct Dates {
    exp: i64,
    nbf: Option<i64>,
}

/// The text of a signed token.
pub(crate) fn sign(key: &RsaKeyPair, kid: &str, claims: &impl Serialize) -> Option<String> {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(&json!({"alg": "RS256", "typ": "JWT", "kid": kid}));
    let message = format!("{header}.{}", encode(&serde_json::to_value(claims).ok()?));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).ok()?;
    Some(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The `kid` of a token, unverified: only to find the key.
pub(crate) fn kid(token: &str) -> Option<String> {
    let (header, _) = token.split_once('.')?;
    part::<Header>(header).map(|header| header.kid)
}

/// The claims of a token that the key signed and that is valid at `now_s`, with `leeway_s` for clocks that differ.
pub(crate) fn verify<C: DeserializeOwned>(token: &str, key: &Jwk, now_s: i64, leeway_s: i64) -> Result<C, Refused> {
    let claims = signed(token, key).ok_or(Refused::Invalid)?;
    let dates: Dates = serde_json::from_slice(&claims).map_err(|_| Refused::Invalid)?;
    if dates.nbf.is_some_and(|nbf| nbf > now_s + leeway_s) {
        return Err(Refused::Invalid);
    }
    let claims = serde_json::from_slice(&claims).map_err(|_| Refused::Invalid)?;
    if dates.exp <= now_s - leeway_s { Err(Refused::Expired) } else { Ok(claims) }
}

fn signed(token: &str, key: &Jwk) -> Option<Vec<u8>> {
    let (message, signature) = token.rsplit_once('.').filter(|_| token.len() <= LONGEST)?;
    let (header, claims) = message.split_once('.')?;
    let header: Header = part(header)?;
    if header.crit.is_some() || Some(header.alg.as_str()) != key.algorithm() || header.kid != key.kid {
        return None;
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    key.verifies(message.as_bytes(), &signature).then(|| URL_SAFE_NO_PAD.decode(claims).ok())?
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::signing::testing, seal};

    fn claims(exp: i64) -> Claims {
        Claims {
            iss: "https://voice.example".into(),
            aud: "sidetone".into(),
            sub: "u".into(),
            tid: "t".into(),
            role: "owner".into(),
            sid: "s".into(),
            iat: 1000,
            nbf: 1000,
            exp,
            jti: "j".into(),
        }
    }

    #[test]
    fn a_signed_token_is_believed_until_it_expires() {
        let (pair, jwk) = testing::key("k1");
        let token = sign(&pair, "k1", &claims(1900)).unwrap();
        assert_eq!(kid(&token).as_deref(), Some("k1"));
        assert_eq!(verify::<Claims>(&token, &jwk, 1899, 0), Ok(claims(1900)));
        assert_eq!(verify::<Claims>(&token, &jwk, 1900, 0), Err(Refused::Expired));
        assert_eq!(verify::<Claims>(&token, &jwk, 1900, 60), Ok(claims(1900)));
        assert_eq!(verify::<Claims>(&token, &jwk, 999, 0), Err(Refused::Invalid));
    }

    #[test]
    fn another_algorithm_another_key_or_a_changed_byte_is_refused() {
        let (pair, jwk) = testing::key("k1");
        let token = sign(&pair, "k1", &claims(1900)).unwrap();
        let [header, body, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let none = encode(r#"{"alg":"none","kid":"k1"}"#);
        // The classic: an HMAC over the token, its secret being the public key that everybody has.
        let hs256 = encode(r#"{"alg":"HS256","kid":"k1"}"#);
        let secret = seal::sha256_hex(jwk.n.as_deref().unwrap().as_bytes());
        let mac = seal::hmac(secret.as_bytes()[..32].try_into().unwrap(), format!("{hs256}.{body}").as_bytes());
        let other =
            encode(&String::from_utf8(URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap().replace("owner", "admin"));
        for forged in [
            format!("{none}.{body}."),
            format!("{none}.{body}.{signature}"),
            format!("{hs256}.{body}.{}", URL_SAFE_NO_PAD.encode(mac)),
            format!("{header}.{other}.{signature}"),
            format!("{}.{body}.{signature}", encode(r#"{"alg":"RS256","kid":"k1","crit":["exp"]}"#)),
            sign(&pair, "k2", &claims(1900)).unwrap(),
            String::new(),
            "..".into(),
            "a.b.c".into(),
        ] {
            assert_eq!(verify::<Claims>(&forged, &jwk, 1500, 0), Err(Refused::Invalid), "{forged}");
        }
    }

    #[test]
    fn keys_of_other_kinds_or_for_encryption_verify_nothing() {
        let (pair, jwk) = testing::key("k1");
        let token = sign(&pair, "k1", &claims(1900)).unwrap();
        for key in [
            Jwk { usage: Some("enc".into()), ..jwk.clone() },
            Jwk { alg: Some("PS256".into()), ..jwk.clone() },
            Jwk { kty: "oct".into(), ..jwk },
        ] {
            assert_eq!(verify::<Claims>(&token, &key, 1500, 0), Err(Refused::Invalid), "{key:?}");
        }
    }
}
