//! Bookings and messages.

use axum::{Json, extract::State as Extract};

use crate::{
    http::{
        State,
        auth::Caller,
        error::{ApiError, ErrorEnvelope},
        query::{self, PageQuery, Query},
    },
    time::rfc3339,
    view::{BookingList, BookingView, MessageList, MessageView},
};

/// Slots that agents booked, newest first.
#[utoipa::path(get, path = "/api/v1/bookings", tag = "records", operation_id = "listBookings", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = BookingList), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope)))]
pub(crate) async fn bookings(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<BookingList>, ApiError> {
    caller.needs("leads:read")?;
    let secret = state.app.store.secret().await?;
    let filter = format!("bookings {}", caller.0.tenant);
    let page = query::page(&secret, query.limit.as_deref(), query.cursor.as_deref(), query.order.as_deref(), &filter)?;
    let rows = state.app.store.bookings(caller.0.tenant, &page).await?;
    let (rows, next_cursor) = query::cut(&secret, &page, &filter, rows, |row| (row.created_at_ms, row.id.to_string()));
    let data = rows
        .into_iter()
        .map(|row| BookingView {
            id: row.id.to_string(),
            call_id: row.call.to_string(),
            slot: row.slot_key,
            data: row.data,
            created_at: rfc3339(row.created_at_ms),
            canceled_at: row.canceled_at_ms.map(rfc3339),
        })
        .collect();
    Ok(Json(BookingList { data, next_cursor }))
}

/// Messages that agents took, newest first.
#[utoipa::path(get, path = "/api/v1/messages", tag = "records", operation_id = "listMessages", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = MessageList), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope)))]
pub(crate) async fn messages(
    Extract(state): Extract<State>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<MessageList>, ApiError> {
    caller.needs("leads:read")?;
    let secret = state.app.store.secret().await?;
    let filter = format!("messages {}", caller.0.tenant);
    let page = query::page(&secret, query.limit.as_deref(), query.cursor.as_deref(), query.order.as_deref(), &filter)?;
    let rows = state.app.store.messages(caller.0.tenant, &page).await?;
    let (rows, next_cursor) = query::cut(&secret, &page, &filter, rows, |row| (row.created_at_ms, row.id.to_string()));
    let data = rows
        .into_iter()
        .map(|row| MessageView {
            id: row.id.to_string(),
            call_id: row.call.to_string(),
            data: row.data,
            created_at: rfc3339(row.created_at_ms),
        })
        .collect();
    Ok(Json(MessageList { data, next_cursor }))
}
