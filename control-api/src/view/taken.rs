//! What agents took down: bookings and messages.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// A booked slot; `slot` is unique among a tenant's bookings that stand.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BookingView {
    pub(crate) id: String,
    pub(crate) call_id: String,
    pub(crate) slot: String,
    #[schema(value_type = Object)]
    pub(crate) data: Value,
    pub(crate) created_at: String,
    pub(crate) canceled_at: Option<String>,
}

/// A message for the tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageView {
    pub(crate) id: String,
    pub(crate) call_id: String,
    #[schema(value_type = Object)]
    pub(crate) data: Value,
    pub(crate) created_at: String,
}
