//! Signed callers at the door: the certificate that a token names is fetched, guarded and kept for a while, and the trunk's wish decides
//! what becomes of the call. Calls of ours are signed here on trunks that want it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control_api::{BoxFuture, Outward, Signature, Signed, StirVerify, Vouched};
use ring::rand::SystemRandom;
use sip_stack::stir::{Anchors, Attestation, Expected, Fault, Party, Signer, Statement, Token, Verdict, http_date};
use sip_stack::{Invite, Refusal};
use tokio::sync::Semaphore;

use super::leg::unix_ms;
use crate::config;

/// No call waits longer for a certificate.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a chain at most.
const LARGEST: usize = 16 * 1024;
/// How long a chain is kept; whether it is still valid is judged at every call.
const KEPT: Duration = Duration::from_secs(3600);
/// How long a URL is left alone that led to nothing.
const MISSED: Duration = Duration::from_secs(30);
/// Chains that are kept.
const MOST: usize = 1000;
/// Fetches at once.
const AT_ONCE: usize = 16;

/// Fetches what a URL leads to; none when there is nothing that could be a chain.
type Fetch = Arc<dyn Fn(String) -> BoxFuture<'static, Option<Vec<u8>>> + Send + Sync>;

struct Kept {
    until: Instant,
    chain: Option<Arc<[u8]>>,
}

/// Verifies and signs; cheap to clone.
#[derive(Clone)]
pub struct Stir(Arc<Inner>);

struct Inner {
    /// Where `files` came from, and come from again.
    config: config::Stir,
    files: Mutex<Arc<Files>>,
    freshness: u64,
    hosts: Vec<String>,
    fetch: Fetch,
    kept: Mutex<HashMap<String, Kept>>,
    room: Semaphore,
    random: SystemRandom,
}

/// What was read from the operator's files.
struct Files {
    anchors: Option<Anchors>,
    signer: Option<Signer>,
}

/// What became of a caller's signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// `A`, `B`, `C`, `failed` or `none`; none where this node cannot tell.
    pub(super) verified: Option<&'static str>,
    /// The trunk wants more than that.
    pub(super) refusal: Option<Refusal>,
}

impl Files {
    /// Reads anchors and key; the error says which key of the configuration cannot be used, and why.
    fn read(config: &config::Stir, random: &SystemRandom) -> Result<Self, String> {
        let read = |key: &str, path: &std::path::Path| {
            std::fs::read(path).map_err(|error| format!("stir.{key}: {}: {error}", path.display()))
        };
        let given = |path: &std::path::Path| !path.as_os_str().is_empty();
        let anchors = match &config.trust_anchors {
            path if given(path) => Some(
                Anchors::from_pem(&read("trust_anchors", path)?)
                    .map_err(|error| format!("stir.trust_anchors: {}: {error}", path.display()))?,
            ),
            _ => None,
        };
        let signer = match &config.key {
            path if given(path) => Some(
                Signer::new(&read("key", path)?, &config.certificate_url, random)
                    .map_err(|error| format!("stir.key and stir.certificate_url: {error}"))?,
            ),
            _ => None,
        };
        Ok(Self { anchors, signer })
    }
}

impl Stir {
    /// Reads anchors and key.
    ///
    /// # Errors
    /// Which key of the configuration cannot be used, and why.
    pub fn new(config: &config::Stir, outward: Outward) -> Result<Self, String> {
        let fetch: Fetch = Arc::new(move |url| {
            let outward = outward.clone();
            Box::pin(async move { fetch(&outward, &url).await })
        });
        Ok(Self::with(config.clone(), Files::read(config, &SystemRandom::new())?, fetch))
    }

    fn with(config: config::Stir, files: Files, fetch: Fetch) -> Self {
        let (kept, room, random) = (Mutex::default(), Semaphore::new(AT_ONCE), SystemRandom::new());
        let hosts = config.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let (freshness, files) = (config.freshness_s, Mutex::new(Arc::new(files)));
        Self(Arc::new(Inner { config, files, freshness, hosts, fetch, kept, room, random }))
    }

    /// Reads the files again, and forgets the signers' certificates that were fetched; calls at hand go on with what they have.
    ///
    /// # Errors
    /// As [`Stir::new`]; then everything stays as it was.
    pub fn reload(&self) -> Result<(), String> {
        let files = Arc::new(Files::read(&self.0.config, &self.0.random)?);
        *self.0.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
        self.kept().clear();
        Ok(())
    }

    fn files(&self) -> Arc<Files> {
        Arc::clone(&self.0.files.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges a caller's signature as his trunk wants it.
    pub(super) async fn judge(&self, invite: &Invite, signed: &Signed) -> Judged {
        let least = match signed.verify {
            StirVerify::Off => return Judged { verified: None, refusal: None },
            StirVerify::Record => None,
            StirVerify::RequireA => Some(Attestation::A),
            StirVerify::RequireB => Some(Attestation::B),
        };
        let files = self.files();
        let Some(anchors) = &files.anchors else {
            // Without anchors nobody is trusted: what is only to be recorded is not known, what is required is not there.
            return Judged { verified: None, refusal: least.map(|_| Fault::Untrusted.refusal()) };
        };
        let verdict = self.verdict(invite, signed, anchors).await;
        let verified = match &verdict {
            Ok(verdict) => verdict.attest.as_str(),
            Err(Fault::Missing) => "none",
            Err(fault) => {
                tracing::info!(source = %invite.source, %fault, "a signed caller id does not hold");
                "failed"
            }
        };
        let refusal = least.and_then(|least| match verdict {
            Ok(verdict) if verdict.attest <= least => None,
            Ok(_) => Some(Fault::TooWeak.refusal()),
            Err(fault) => Some(fault.refusal()),
        });
        Judged { verified: Some(verified), refusal }
    }

    async fn verdict(&self, invite: &Invite, signed: &Signed, anchors: &Anchors) -> Result<Verdict, Fault> {
        let now = unix();
        let orig = match &signed.orig {
            Some(number) => Party::number(number.as_str()),
            None => Party::uri(invite.from.uri.as_str()),
        };
        let mut dest: Vec<Party> = signed.dest.iter().filter_map(|number| Party::number(number.as_str())).collect();
        dest.extend([&invite.to, &invite.request_uri].into_iter().filter_map(|uri| Party::uri(uri.as_str())));
        let (orig, freshness) = (orig.as_slice(), self.0.freshness);
        let token = Token::read(&invite.headers, &Expected { orig, dest: &dest, now, freshness })?;
        let chain = self.chain(token.url()).await.ok_or(Fault::Unreachable)?;
        token.verify(&chain, anchors, now)
    }

    /// The chain that a URL leads to, from memory if it was there lately.
    async fn chain(&self, url: &str) -> Option<Arc<[u8]>> {
        if let Some(kept) = self.kept().get(url).filter(|kept| kept.until > Instant::now()) {
            return kept.chain.clone();
        }
        let began = tokio::time::Instant::now();
        // A crowd before slow servers must not keep more calls waiting than that; nor is it the fault of this URL.
        let permit = tokio::time::timeout(PATIENCE, self.0.room.acquire()).await.ok()?.ok()?;
        let found = match self.permits(url) {
            true => tokio::time::timeout_at(began + PATIENCE, (self.0.fetch)(url.to_owned())).await.ok().flatten(),
            false => None,
        };
        drop(permit);
        let chain: Option<Arc<[u8]>> = found.map(Into::into);
        let until = Instant::now() + if chain.is_some() { KEPT } else { MISSED };
        let mut kept = self.kept();
        if kept.len() >= MOST {
            kept.retain(|_, kept| kept.until > Instant::now());
        }
        if kept.len() >= MOST {
            kept.clear();
        }
        kept.insert(url.to_owned(), Kept { until, chain: chain.clone() });
        chain
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a URL is of a host that certificates come from; where it leads is judged by whoever connects.
    fn permits(&self, url: &str) -> bool {
        let host = || reqwest::Url::parse(url).ok()?.host_str().map(str::to_ascii_lowercase);
        self.0.hosts.is_empty() || host().is_some_and(|host| self.0.hosts.contains(&host))
    }

    /// The headers that sign a call of ours; none without a key.
    pub(super) fn sign(&self, signature: &Signature, origin: &str) -> Vec<(String, String)> {
        let files = self.files();
        let Some(signer) = &files.signer else { return Vec::new() };
        let attest = match signature.vouched {
            Vouched::Number => Attestation::A,
            Vouched::Customer => Attestation::B,
            Vouched::Nothing => Attestation::C,
        };
        let party = |number: &domain::phone::E164| Party::number(number.as_str());
        let (Some(orig), Some(dest)) = (party(&signature.orig), party(&signature.dest)) else { return Vec::new() };
        let iat = unix();
        let statement = Statement { orig: &orig, dest: &dest, iat, attest, origid: origin };
        match signer.sign(&statement, &self.0.random) {
            Ok(value) => vec![("Date".into(), http_date(iat)), ("Identity".into(), value)],
            Err(error) => {
                tracing::error!(%error, "a call leaves unsigned");
                Vec::new()
            }
        }
    }
}

fn unix() -> u64 {
    u64::try_from(unix_ms() / 1000).unwrap_or_default()
}

/// What a URL leads to, if it is there at once, small, and nowhere that the guard forbids.
async fn fetch(outward: &Outward, url: &str) -> Option<Vec<u8>> {
    let refused = |why: String| tracing::info!(url, why, "a signer's certificate cannot be fetched");
    let parsed = outward.guard().read(url).map_err(|error| refused(error.to_string())).ok()?;
    let answer = outward.request(reqwest::Method::GET, parsed).send().await;
    let mut answer = answer.map_err(|error| refused(error.to_string())).ok()?;
    if answer.status() != reqwest::StatusCode::OK {
        refused(answer.status().to_string());
        return None;
    }
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= LARGEST => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                refused(format!("more than {LARGEST} bytes"));
                return None;
            }
            Ok(None) => return Some(body),
            Err(error) => {
                refused(error.to_string());
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests;
