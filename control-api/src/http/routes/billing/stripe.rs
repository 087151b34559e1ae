//! Where the gateway tells what happened. Whoever knows the endpoint's secret is believed, about payments that we began.

use axum::{
    body::Bytes,
    extract::State as Extract,
    http::{HeaderMap, StatusCode},
};

use crate::{
    GatewayEvent,
    http::{
        State,
        error::{ApiError, ErrorEnvelope},
    },
    money::stripe::verify,
    time::now_ms,
};

/// An event of Stripe's, with `Stripe-Signature` over the raw body; each counts once, however often it comes.
#[utoipa::path(post, path = "/webhooks/stripe", tag = "billing", operation_id = "stripeWebhook", request_body(content_type = "application/json"),
    responses((status = 200), (status = 400, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn webhook(
    Extract(state): Extract<State>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let Some(secret) = state.app.settings.billing.stripe_webhook_secret.reveal() else {
        return Err(ApiError::conflict("payments_not_configured", "billing.stripe_webhook_secret is empty"));
    };
    let header = headers.get("stripe-signature").and_then(|header| header.to_str().ok()).unwrap_or_default();
    let now = now_ms();
    verify(secret, header, &body, now / 1000).map_err(|error| {
        ApiError::new(StatusCode::BAD_REQUEST, "bad_signature", error.to_string()).at("Stripe-Signature")
    })?;
    let event: GatewayEvent = serde_json::from_slice(&body)
        .map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", error.to_string()))?;
    let outcome = state.app.store.gateway_event(&event, now).await?;
    tracing::info!(event = event.id, kind = event.kind, ?outcome, "the gateway tells");
    Ok(StatusCode::OK)
}
