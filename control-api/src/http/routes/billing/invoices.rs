//! Monthly statements.

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
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
    money::{
        cost,
        invoices::{Invoice, InvoiceLine},
        pdf,
    },
    time::rfc3339,
};

/// A statement of a month of the tenant's own time zone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvoiceView {
    id: String,
    number: String,
    /// `2026-11`.
    period: String,
    /// `paid`: calls are paid from credit as they end.
    state: String,
    currency: String,
    total_micros: i64,
    /// The total, rounded half up, once.
    total_cents: i64,
    created_at: String,
    finalized_at: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<LineView>,
}

/// A line of a statement.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineView {
    item: String,
    label: String,
    quantity: i64,
    unit: &'static str,
    amount_micros: i64,
}

fn show(invoice: Invoice, lines: Vec<InvoiceLine>) -> InvoiceView {
    let lines = lines.into_iter().map(|line| LineView {
        unit: cost::unit(&line.item),
        item: line.item,
        label: line.label,
        quantity: line.quantity,
        amount_micros: line.amount_micros,
    });
    InvoiceView {
        id: invoice.id,
        number: invoice.number,
        period: invoice.period,
        state: invoice.state,
        currency: invoice.currency,
        total_micros: invoice.total_micros,
        total_cents: invoice.total_cents,
        created_at: rfc3339(invoice.created_at),
        finalized_at: invoice.finalized_at.map(rfc3339),
        lines: lines.collect(),
    }
}

/// Statements, newest first.
#[utoipa::path(get, path = "/api/v1/billing/invoices", tag = "billing", operation_id = "listInvoices", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<InvoiceView>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<InvoiceView>>, ApiError> {
    actor.needs("billing:read")?;
    let listing = Listing::open(&state, &actor, "invoices", &page).await?;
    let rows = state.app.store.invoices(actor.tenant, &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.id.clone()), |row| show(row, Vec::new()))))
}

/// One statement with its lines; as PDF with `Accept: application/pdf`.
#[utoipa::path(get, path = "/api/v1/billing/invoices/{id}", tag = "billing", operation_id = "getInvoice",
    params(("id" = String, Path, description = "The statement")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = InvoiceView), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<uuid::Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (invoice, lines) = find(&state, &actor, id).await?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.starts_with("application/pdf") {
        return print(&state, &actor, &invoice, &lines).await;
    }
    Ok(Json(show(invoice, lines)).into_response())
}

/// One statement as PDF.
#[utoipa::path(get, path = "/api/v1/billing/invoices/{id}/pdf", tag = "billing", operation_id = "getInvoicePdf",
    params(("id" = String, Path, description = "The statement")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, content_type = "application/pdf", body = Vec<u8>), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn pdf(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<uuid::Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, ApiError> {
    let (invoice, lines) = find(&state, &actor, id).await?;
    print(&state, &actor, &invoice, &lines).await
}

async fn find(state: &State, actor: &Actor, id: uuid::Uuid) -> Result<(Invoice, Vec<InvoiceLine>), ApiError> {
    actor.needs("billing:read")?;
    // Statements are of real money only.
    let found = if actor.livemode { state.app.store.invoice(actor.tenant, &id.to_string()).await? } else { None };
    found.ok_or_else(ApiError::not_found)
}

async fn print(state: &State, actor: &Actor, invoice: &Invoice, lines: &[InvoiceLine]) -> Result<Response, ApiError> {
    let tenant = state.app.store.tenant_name(actor.tenant).await?;
    let bytes = pdf::statement(&tenant, invoice, lines);
    let name = format!("attachment; filename=\"statement-{}.pdf\"", invoice.number);
    Ok(([(header::CONTENT_TYPE, "application/pdf".to_owned()), (header::CONTENT_DISPOSITION, name)], bytes)
        .into_response())
}
