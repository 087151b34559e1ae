//! Bookings and messages.

use axum::{Json, extract::State as Extract};

use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged},
    },
    time::rfc3339,
    view::{BookingView, MessageView},
};

/// Slots that agents booked, newest first.
#[utoipa::path(get, path = "/api/v1/bookings", tag = "records", operation_id = "listBookings", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<BookingView>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope)))]
pub(crate) async fn bookings(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<BookingView>>, ApiError> {
    actor.needs("leads:read")?;
    let listing = Listing::open(&state, &actor, "bookings", &page).await?;
    let rows = state.app.store.bookings(actor.tenant, &listing.page).await?;
    let key = |row: &crate::Booking| (row.created_at_ms, row.id.to_string());
    Ok(Json(listing.close(rows, key, |row| BookingView {
        id: row.id.to_string(),
        call_id: row.call.to_string(),
        slot: row.slot_key,
        data: row.data,
        created_at: rfc3339(row.created_at_ms),
        canceled_at: row.canceled_at_ms.map(rfc3339),
    })))
}

/// Messages that agents took, newest first.
#[utoipa::path(get, path = "/api/v1/messages", tag = "records", operation_id = "listMessages", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<MessageView>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope)))]
pub(crate) async fn messages(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<MessageView>>, ApiError> {
    actor.needs("leads:read")?;
    let listing = Listing::open(&state, &actor, "messages", &page).await?;
    let rows = state.app.store.messages(actor.tenant, &listing.page).await?;
    let key = |row: &crate::Message| (row.created_at_ms, row.id.to_string());
    Ok(Json(listing.close(rows, key, |row| MessageView {
        id: row.id.to_string(),
        call_id: row.call.to_string(),
        data: row.data,
        created_at: rfc3339(row.created_at_ms),
    })))
}
