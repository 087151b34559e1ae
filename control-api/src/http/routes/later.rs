//! Paths of earlier products whose work this version does not do: 501, in words, and not a 404 that would read as a wrong address.
//!
//! What carries audio (Twilio's media streams, browsers) comes with the media of browsers; referrals and workers outside of the process
//! come by themselves. A path that is served leaves this list.

use axum::http::StatusCode;

use crate::http::{
    actor::Loopback,
    error::{ApiError, ErrorEnvelope},
};

/// Says what is missing.
fn not_served(what: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "not_served", format!("this version does not serve {what}"))
}

macro_rules! later {
    ($($name:ident: $method:ident $path:literal $what:literal $(of $id:literal)?;)+) => {$(
        #[doc = concat!("Not served in this version: ", $what, ".")]
        #[utoipa::path($method, path = $path, tag = "later", $(params(("id" = String, Path, description = $id)),)?
            responses((status = 501, body = ErrorEnvelope)))]
        pub(crate) async fn $name() -> ApiError {
            not_served($what)
        }
    )+};
}

later! {
    twilio_voice: post "/api/v1/webhooks/twilio/voice" "calls that come through Twilio's media streams";
    twilio_voice_root: post "/twilio/voice" "calls that come through Twilio's media streams";
    twilio_inbound: post "/api/inbound-call" "calls that come through Twilio's media streams";
    twilio_outbound: post "/api/outbound-call-webhook" "calls that are placed through Twilio's REST";
    twilio_media: get "/twilio/media" "Twilio's media streams";
    media_stream: get "/media-stream" "Twilio's media streams";
    stream: get "/stream" "audio of browsers over a WebSocket";
    ultravox: post "/api/v1/webhooks/ultravox/events" "realtime sessions of Ultravox";
    referral_event: post "/events" "events of referral services";
    referrals: get "/referrals/me" "referrals";
    referral_links: get "/referral-links" "referrals";
    make_referral_link: post "/referral-links" "referrals";
    affiliates: get "/affiliate-dashboard" "referrals";
    twilio_connect: post "/api/v1/webhooks/twilio/connect/{id}" "calls that are placed through Twilio's REST" of "The call";
    twilio_status: post "/api/v1/webhooks/twilio/status/{id}" "calls that are placed through Twilio's REST" of "The call";
    token: get "/api/v1/calls/{id}/token" "browsers that join calls" of "The call";
    make_token: post "/api/v1/calls/{id}/token" "browsers that join calls" of "The call";
}

/// For this machine; from elsewhere these routes do not exist.
fn inside(Loopback(loopback): &Loopback, what: &str) -> ApiError {
    if *loopback { not_served(what) } else { ApiError::not_found() }
}

/// Not served in this version: work handed to workers outside of the process.
#[utoipa::path(post, path = "/internal/v1/dispatch", tag = "later",
    responses((status = 404, body = ErrorEnvelope), (status = 501, body = ErrorEnvelope)))]
pub(crate) async fn dispatch(loopback: Loopback) -> ApiError {
    inside(&loopback, "workers outside of the process; events reach webhooks by themselves")
}

/// Not served in this version: calls of workers outside of the process.
#[utoipa::path(post, path = "/internal/v1/calls", tag = "later",
    responses((status = 404, body = ErrorEnvelope), (status = 501, body = ErrorEnvelope)))]
pub(crate) async fn calls(loopback: Loopback) -> ApiError {
    inside(&loopback, "calls of workers outside of the process")
}

/// Not served in this version: calls of workers outside of the process.
#[utoipa::path(put, path = "/internal/v1/calls/{id}", tag = "later", params(("id" = String, Path, description = "The call")),
    responses((status = 404, body = ErrorEnvelope), (status = 501, body = ErrorEnvelope)))]
pub(crate) async fn change_call(loopback: Loopback) -> ApiError {
    inside(&loopback, "calls of workers outside of the process")
}

/// Not served in this version: calls of workers outside of the process.
#[utoipa::path(post, path = "/internal/v1/calls/{id}/events", tag = "later", params(("id" = String, Path, description = "The call")),
    responses((status = 404, body = ErrorEnvelope), (status = 501, body = ErrorEnvelope)))]
pub(crate) async fn call_events(loopback: Loopback) -> ApiError {
    inside(&loopback, "calls of workers outside of the process")
}
