//! Bookings and messages.

use axum::{Json, extract::State as Extract, http::StatusCode};
use domain::{TakenId, event::Name};
use serde_json::json;

use crate::{
    NewEvent, Store, audit, emit,
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    journal,
    time::{now_ms, rfc3339},
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

/// Gives up a booking: its slot is free again. One that was given up before stays so.
#[utoipa::path(delete, path = "/api/v1/bookings/{id}", tag = "records", operation_id = "cancelBooking",
    params(("id" = String, Path, description = "The booking")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn cancel(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TakenId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    actor.needs("leads:write")?;
    let now = now_ms();
    let mut tx = state.app.store.begin().await?;
    let (booking, stood) =
        Store::cancel_booking(&mut tx, actor.tenant, id, now).await?.ok_or_else(ApiError::not_found)?;
    if stood {
        let data = json!({"id": booking.id, "call_id": booking.call, "slot": booking.slot_key, "data": booking.data});
        // It is an event of the call, as long as there is one.
        if !journal::tell(&mut tx, booking.call, Name::BookingCanceled, data.clone(), now).await? {
            let event = NewEvent { tenant: actor.tenant, livemode: actor.livemode, kind: Name::BookingCanceled, data };
            emit(&mut tx, event).await?;
        }
        let diff = json!({"slot": booking.slot_key});
        audit::note(&mut tx, &actor, "booking.cancel", "booking", &id.to_string(), Some(&diff)).await?;
        tx.commit().await?;
        state.app.store.ring();
    }
    Ok(StatusCode::NO_CONTENT)
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
