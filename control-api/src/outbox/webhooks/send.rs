//! One attempt: a signed POST to an address that was judged, and what came back.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode, header};
use serde_json::{Map, Value};

use super::sign::{Secret, signatures};
use crate::net::{self, Guard, Outward};

/// From the first byte out to the status line in.
const ALL: Duration = Duration::from_secs(10);
/// What is kept of an answer's body, bytes.
const HEAD: usize = 1024;

/// What an attempt came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The status, if there was an answer.
    pub(crate) http_status: Option<u16>,
    /// A word for what went wrong: `timeout`, `connect_failed`, `tls_failed`, `url_forbidden`, `redirect`, `http_status`, `broken`.
    pub(crate) error: Option<&'static str>,
    /// The first KiB of the answer's body.
    pub(crate) response_head: Option<String>,
    pub(crate) duration_ms: i64,
    /// `Retry-After` of a 429 or 503, ms.
    pub(crate) wish_ms: Option<i64>,
}

impl Attempt {
    /// Any 2xx.
    pub(crate) fn is_delivered(&self) -> bool {
        self.error.is_none()
    }

    /// The receiver wants nothing any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.http_status == Some(StatusCode::GONE.as_u16())
    }
}

/// What is sent.
#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) url: String,
    /// The hook's own headers.
    pub(crate) headers: Map<String, Value>,
    /// Valid now, the newest first.
    pub(crate) secrets: Vec<Secret>,
    /// The event.
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) seq: Option<i64>,
    pub(crate) attempt: i64,
    pub(crate) body: Vec<u8>,
}

/// Sends webhooks; keeps connections open between them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WebhookSender(Outward);

impl WebhookSender {
    /// A sender to where the guard lets it.
    ///
    /// # Errors
    /// The system has no certificates to check receivers by.
    pub fn new(guard: Guard) -> Result<Self, reqwest::Error> {
        Outward::new(guard).map(Self)
    }

    /// The way its letters take, for other requests to servers that tenants name.
    pub fn outward(&self) -> &Outward {
        &self.0
    }

    pub(crate) fn guard(&self) -> &Guard {
        self.0.guard()
    }

    /// Sends one letter. `now_s`: the time the receiver reads, Unix seconds.
    pub(crate) async fn send(&self, letter: &Letter, now_s: i64) -> Attempt {
        let started = Instant::now();
        let mut attempt = self.exchange(letter, now_s).await;
        attempt.duration_ms = i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX);
        attempt
    }

    async fn exchange(&self, letter: &Letter, now_s: i64) -> Attempt {
        let failed = |error| Attempt { error: Some(error), ..Attempt::default() };
        let Ok(url) = self.guard().read(&letter.url) else { return failed("url_forbidden") };
        let mut request = self.0.request(Method::POST, url);
        for (name, value) in &letter.headers {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        request = request
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &letter.id)
            .header("webhook-timestamp", now_s)
            .header("webhook-signature", signatures(&letter.secrets, &letter.id, now_s, &letter.body))
            .header("sidetone-attempt", letter.attempt)
            .header("sidetone-event", &letter.kind);
        if let Some(seq) = letter.seq {
            request = request.header("sidetone-seq", seq);
        }
        let deadline = tokio::time::Instant::now() + ALL;
        let mut response = match tokio::time::timeout_at(deadline, request.body(letter.body.clone()).send()).await {
            Err(_) => return failed("timeout"),
            Ok(Err(error)) => return failed(word(&error)),
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        let wish = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
            .then(|| response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse::<u32>().ok());
        let mut head = Vec::new();
        // The status is the answer; a body that dawdles is left.
        while head.len() < HEAD
            && let Ok(Ok(Some(chunk))) = tokio::time::timeout_at(deadline, response.chunk()).await
        {
            head.extend_from_slice(&chunk);
        }
        head.truncate(HEAD);
        Attempt {
            http_status: Some(status.as_u16()),
            error: if status.is_success() {
                None
            } else if status.is_redirection() {
                Some("redirect")
            } else {
                Some("http_status")
            },
            response_head: (!head.is_empty()).then(|| String::from_utf8_lossy(&head).into_owned()),
            duration_ms: 0,
            wish_ms: wish.flatten().map(|seconds| i64::from(seconds) * 1000),
        }
    }
}

/// The word for what the client could not do.
fn word(error: &reqwest::Error) -> &'static str {
    if net::refusal(error).is_some() {
        return "url_forbidden";
    }
    if net::cause::<rustls::Error>(error).is_some() {
        return "tls_failed";
    }
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect_failed"
    } else {
        "broken"
    }
}
