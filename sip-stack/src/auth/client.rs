//! The client's side of digest: which challenge is answered, and with what (RFC 3261 §22.2, RFC 8760 §2.4).

use std::net::IpAddr;

use super::{Authorization, Challenge, Credentials};
use crate::message::{Message, Name};

/// How often one request may be sent again with credentials: once, and once more for a nonce that was too old.
const TRIES: u8 = 2;

/// The credentials of one call or registration, and the last challenge they answered.
#[derive(Debug)]
pub(crate) struct ClientAuth {
    credentials: Credentials,
    challenge: Option<(Challenge, Name)>,
    /// How often the nonce was used.
    count: u32,
}

impl ClientAuth {
    pub(crate) fn new(mut credentials: Credentials, server: IpAddr) -> Self {
        if credentials.servers.is_empty() {
            credentials.servers.push(server);
        }
        ClientAuth { credentials, challenge: None, count: 0 }
    }

    /// Takes a 401 or 407 that answers a request which was sent `tries` times before; true when it should be sent
    /// again. Strangers that challenge learn nothing: only the configured realm at the configured addresses counts.
    pub(crate) fn hear(&mut self, response: &Message, source: IpAddr, tries: u8) -> bool {
        if tries >= TRIES || !self.credentials.servers.contains(&source) {
            return false;
        }
        let (header, answer) = match response.status() {
            Some(401) => (Name::WwwAuthenticate, Name::Authorization),
            Some(407) => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
            _ => return false,
        };
        let allowed = &self.credentials.algorithms;
        // RFC 8760 §2.4: the strongest that both sides know. One header per challenge; commas separate parameters.
        let best = response
            .headers(header)
            .filter_map(|value| Challenge::parse(&String::from_utf8_lossy(value)))
            .filter(|challenge| self.credentials.realm.as_ref().is_none_or(|realm| *realm == challenge.realm))
            .filter(|challenge| allowed.is_empty() || allowed.contains(&challenge.algorithm))
            .max_by_key(|challenge| challenge.algorithm);
        let Some(challenge) = best else { return false };
        // The second refusal of the same password is final, unless only the nonce was too old.
        if tries > 0 && !challenge.stale {
            return false;
        }
        self.challenge = Some((challenge, answer));
        self.count = 0;
        true
    }

    /// The header for the next request; `None` until somebody asked.
    pub(crate) fn header(&mut self, method: &str, uri: &str, cnonce: String) -> Option<(Name, String)> {
        let (challenge, name) = self.challenge.as_ref()?;
        self.count += 1;
        let Credentials { username, password, .. } = &self.credentials;
        let realm = &challenge.realm;
        let mut authorization = Authorization {
            username: username.clone(),
            realm: realm.clone(),
            nonce: challenge.nonce.clone(),
            uri: uri.to_owned(),
            response: String::new(),
            algorithm: challenge.algorithm,
            count: challenge.qop.then_some((cnonce, self.count)),
            opaque: challenge.opaque.clone(),
        };
        let ha1 = challenge.algorithm.ha1(username, realm, password);
        authorization.response = authorization.expected(&ha1, method);
        Some((*name, authorization.to_string()))
    }
}
