//! The one error shape of the API: `{"error":{code,message,field?,details?,request_id}}`.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What a client is told when something is wrong. The envelope and the request id are put around it on the way out.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) field: Option<String>,
    pub(crate) details: Vec<Detail>,
    pub(crate) retry_after_s: Option<u32>,
}

/// One fault of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Detail {
    /// Dotted path.
    pub(crate) field: String,
    /// A word for programs.
    pub(crate) code: String,
    /// A sentence for people that names the limit.
    pub(crate) message: String,
}

/// Faults told at once.
const DETAILS: usize = 20;

/// Body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorEnvelope {
    pub(crate) error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// A word for programs.
    pub(crate) code: String,
    /// A sentence for people.
    pub(crate) message: String,
    /// The field or parameter, as a dotted path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// All faults, at most 20, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) details: Vec<Detail>,
    /// The same as the header `X-Request-Id`.
    pub(crate) request_id: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), field: None, details: Vec::new(), retry_after_s: None }
    }

    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "validation_failed", message).at(field)
    }

    /// Several faults of one body; the first one is also the error itself.
    pub(crate) fn faults(mut details: Vec<Detail>) -> Self {
        details.truncate(DETAILS);
        match details.first().cloned() {
            Some(Detail { field, message, .. }) => Self { details, ..Self::invalid(field, message) },
            None => Self::new(StatusCode::BAD_REQUEST, "validation_failed", "the body is not valid"),
        }
    }

    /// Who asks may not: `code` says why.
    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// Nothing that a client could mend; the cause is for the operator's log.
    pub(crate) fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed inside");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
    }

    /// What stands in the way of a change: `in_use`, `email_taken` and their like.
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// Also for what belongs to someone else: the answer must not tell the difference.
    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
    }

    pub(crate) fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "a valid credential is needed (Authorization: Bearer …)")
    }

    /// A path that speaks WebSocket only was asked otherwise.
    pub(crate) fn upgrade_required() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "upgrade_required", "this path speaks WebSocket only")
    }

    pub(crate) fn store_unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store does not answer").retry_after(2)
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        // The detail is for the operator's log, never for the client.
        tracing::error!(%error, "store failed while answering a request");
        match error {
            sqlx::Error::Database(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
            }
            _ => Self::store_unavailable(),
        }
    }
}

impl From<crate::SealError> for ApiError {
    fn from(error: crate::SealError) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}
