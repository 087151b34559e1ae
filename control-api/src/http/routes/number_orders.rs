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
    routing::rows::{numbers::OrderRow, ports::PortRow},
    time::rfc3339,
};

/// An order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrderView {
    id: String,
    /// `buy`, `port` or `release`.
    kind: String,
    /// Of a port request with several numbers, the first.
    e164: String,
    carrier: String,
    /// `started`, `carrier_ok`, `done`, `failed` or `compensated`; of a port request `submitted`, `pending` (the losing carrier has it),
    /// `foc_confirmed`, `exception` (the carrier waits for something), `rejected`, `completed` or `canceled`: that of the number that is
    /// furthest from its end, and when all have ended, `completed` if any came over.
    state: String,
    number_id: Option<String>,
    error: Option<String>,
    /// What is ported.
    port: Option<PortView>,
    created_at: String,
    updated_at: String,
}

/// What a port request is about. Account number and PIN are never shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PortView {
    /// The end of the account number, if it is long enough to be told apart from it.
    account_hint: Option<String>,
    losing_carrier: Option<String>,
    /// The day that was asked for.
    foc_date: Option<String>,
    numbers: Vec<PortedView>,
}

/// A number of a port request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PortedView {
    number_id: String,
    e164: String,
    /// As the request's.
    state: String,
    /// What the carrier says about it.
    reason: Option<String>,
    /// The day that the losing carrier has agreed to.
    foc_date: Option<String>,
}

pub(super) fn show(row: OrderRow, ports: &[PortRow]) -> OrderView {
    let text = |name: &str| row.data[name].as_str().map(str::to_owned);
    let port = (row.kind == "port").then(|| PortView {
        account_hint: text("account_hint"),
        losing_carrier: text("losing_carrier"),
        foc_date: text("foc_date"),
        numbers: ports
            .iter()
            .map(|port| PortedView {
                number_id: port.number.to_string(),
                e164: port.e164.clone(),
                state: port.state.word().into(),
                reason: port.reason.clone(),
                foc_date: port.foc_date.clone(),
            })
            .collect(),
    });
    OrderView {
        port,
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
    let ported: Vec<OrderId> = rows.iter().filter(|row| row.kind == "port").map(|row| row.id).collect();
    let ports = state.app.store.ports_of(&ported).await?;
    let show = |row: OrderRow| {
        let id = row.id.to_string();
        show(row, ports.get(&id).map(Vec::as_slice).unwrap_or_default())
    };
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
    Ok(Json(one(&state, &actor, id).await?))
}

/// An order of the actor's tenant with what hangs on it.
pub(super) async fn one(state: &State, actor: &Actor, id: OrderId) -> Result<OrderView, ApiError> {
    let row = state.app.store.number_order(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    let ports = state.app.store.ports_of(&[id]).await?.remove(&id.to_string()).unwrap_or_default();
    Ok(show(row, &ports))
}
