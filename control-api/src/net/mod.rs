//! The one way out to servers that tenants name: a guarded client that follows nobody and asks no proxy.

mod guard;

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, Url, redirect};

pub use guard::{Guard, Lookup, UrlRefused};

/// To the end of the TLS handshake.
const CONNECT: Duration = Duration::from_secs(3);

/// Clients that reach only what their guard lets them; connections stay open between requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outward {
    guard: Guard,
    public: Client,
    loopback: Client,
}

impl Outward {
    /// # Errors
    /// The system has no certificates to check servers by.
    pub fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        // Another part of the process may have chosen the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |plain: bool| {
            Client::builder()
                .dns_resolver(guard.resolver(plain))
                .redirect(redirect::Policy::none())
                // A proxy would resolve the name again.
                .no_proxy()
                .https_only(!plain)
                .user_agent("Sidetone/1")
                .connect_timeout(CONNECT)
                .pool_idle_timeout(Duration::from_secs(30))
                .build()
        };
        Ok(Self { public: client(false)?, loopback: client(true)?, guard })
    }

    /// Who judges.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// A request to a URL that the guard has read; where its name leads is judged when the connection is made.
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let client = if url.scheme() == "https" { &self.public } else { &self.loopback };
        client.request(method, url)
    }
}

/// Whether it was the guard that stopped a request.
pub(crate) fn refusal(error: &reqwest::Error) -> Option<UrlRefused> {
    cause(error)
}

/// The first error of a kind that led to this one.
pub(crate) fn cause<E: std::error::Error + Clone + 'static>(error: &reqwest::Error) -> Option<E> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref::<E>() {
            return Some(found.clone());
        }
        // An io::Error shows what it wraps only this way.
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|wrapped| wrapped.downcast_ref::<E>()) {
            return Some(found.clone());
        }
        source = cause.source();
    }
    None
}

/// Why an answer has no body that can be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    /// More than was asked for.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// It broke off.
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
}

/// The whole body, if it is not larger than so many bytes.
pub(crate) async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, BodyFault> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyFault::Broken)? {
        if body.len() + chunk.len() > most {
            return Err(BodyFault::TooLarge(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
