//! A refusal is a value: status, reason, warning, and when to try again (RFC 3261 §21.4).

use crate::auth::Challenge;

/// What a request is refused with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 300 to 699.
    pub status: u16,
    /// The words after the status.
    pub reason: String,
    /// Why, for the peer's engineer (RFC 3261 §20.43).
    pub warning: Option<Warning>,
    /// Seconds until another try makes sense.
    pub retry_after: Option<u32>,
    /// With 401 or 407: the challenges, each printed as a header of its own.
    pub challenges: Vec<Challenge>,
}

/// The content of a Warning header; the agent's name is added when it is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// 300 to 399 (RFC 3261 §20.43).
    pub code: u16,
    /// Human-readable.
    pub text: String,
}

impl Refusal {
    /// A refusal with the usual words for its status.
    pub fn new(status: u16) -> Self {
        Refusal { status, reason: phrase(status).to_owned(), warning: None, retry_after: None, challenges: Vec::new() }
    }

    /// 401 with challenges (RFC 3261 §22.2).
    pub fn unauthorized(challenges: Vec<Challenge>) -> Self {
        Refusal { challenges, ..Refusal::new(401) }
    }

    /// The same with other words after the status.
    pub fn because(status: u16, reason: impl Into<String>) -> Self {
        Refusal { reason: reason.into(), ..Refusal::new(status) }
    }

    /// Adds a Warning header.
    pub fn with_warning(mut self, code: u16, text: impl Into<String>) -> Self {
        self.warning = Some(Warning { code, text: text.into() });
        self
    }

    /// Adds a Retry-After header, in seconds.
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

/// The usual words for a status (RFC 3261 §21).
pub(crate) fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        202 => "Accepted",
        302 => "Moved Temporarily",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        414 => "Request-URI Too Long",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        428 => "Use Identity Header",
        436 => "Bad Identity Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        606 => "Not Acceptable",
        _ => match status / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirect",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}
