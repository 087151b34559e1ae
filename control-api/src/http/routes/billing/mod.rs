//! Money over HTTP (API §1.7): balance and usage, payments, rates, plans, statements. The rules are in `money`; here they get their
//! shapes.

pub(crate) mod balance;
pub(crate) mod invoices;
pub(crate) mod payments;
pub(crate) mod plans;
pub(crate) mod rates;
pub(crate) mod stripe;
pub(crate) mod usage;

use axum::http::{HeaderMap, StatusCode};

use crate::http::error::ApiError;

/// The key of a request that moves money and must therefore carry one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).filter(|key| !key.is_empty());
    key.map(str::to_owned).ok_or_else(|| {
        let message = "this request moves money and needs an Idempotency-Key";
        ApiError::new(StatusCode::BAD_REQUEST, "idempotency_key_required", message).at("Idempotency-Key")
    })
}

impl From<crate::NotMoved> for ApiError {
    fn from(error: crate::NotMoved) -> Self {
        match error {
            crate::NotMoved::NoCredit => insufficient_credit(),
            crate::NotMoved::Store(error) => error.into(),
        }
    }
}

pub(crate) fn insufficient_credit() -> ApiError {
    ApiError::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credit", "there is not enough credit for that")
}

impl From<crate::CashierError> for ApiError {
    fn from(error: crate::CashierError) -> Self {
        let message = error.to_string();
        match error {
            crate::CashierError::NotConfigured => Self::conflict("payments_not_configured", message),
            crate::CashierError::Refused(_) => Self::new(StatusCode::BAD_GATEWAY, "vendor_failed", message),
            crate::CashierError::Away(_) => Self::new(StatusCode::BAD_GATEWAY, "vendor_failed", message).retry_after(5),
        }
    }
}
