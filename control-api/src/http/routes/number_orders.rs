//! Orders of numbers: what was bought, ported and given back (API.md §1.4).

use axum::{Json, extract::State as Extract};
use domain::OrderId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    routing::rows::numbers::OrderRow,
    time::rfc3339,
};

/// An order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderView {
    id: String,
    /// `buy`, `port` or `release`.
    kind: String,
    e164: String,
    carrier: String,
    /// `started`, `carrier_ok`, `done`, `failed` or `compensated`.
    state: String,
    number_id: Option<String>,
    error: Option<String>,
    created_at: String,
    updated_at: String,
}

pub(super) fn show(row: OrderRow) -> OrderView {
    OrderView {
        id: row.id.to_string(),
        kind: row.kind,
        e164: row.e164,
        carrier: row.carrier,
        state: row.state,
        number_id: row.number.map(|id| id.to_string()),
        error: row.error,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
    }
}

/// What was bought, ported and given back, newest first.
#[utoipa::path(get, path = "/api/v1/numbers/orders", tag = "numbers", operation_id = "listNumberOrders", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<OrderView>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<OrderView>>, ApiError> {
    actor.needs("numbers:read")?;
    let listing = Listing::open(&state, &actor, "number-orders", &page).await?;
    let rows = state.app.store.number_orders(actor.tenant, &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.id.to_string()), show)))
}

/// One order.
#[utoipa::path(get, path = "/api/v1/numbers/orders/{id}", tag = "numbers", operation_id = "getNumberOrder",
    params(("id" = String, Path, description = "The order")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = OrderView), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<OrderId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<OrderView>, ApiError> {
    actor.needs("numbers:read")?;
    let row = state.app.store.number_order(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(show(row)))
}
