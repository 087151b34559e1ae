//! The balance, and the transactions behind it.

use axum::{Json, extract::State as Extract};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    money::{price, statement},
    time::{now_ms, rfc3339},
};

/// A tenant's money. `*_micros` are millionths of a dollar.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Balance {
    /// `USD`.
    currency: &'static str,
    available_micros: i64,
    /// Held by running calls; what they do not use comes back.
    held_micros: i64,
    /// The available credit, rounded half up to cents.
    display: String,
    /// 0, or the credit line as a negative number.
    floor_micros: i64,
    /// Below it `billing.balance.low` is told.
    low_threshold_micros: i64,
    /// Nothing can be spent.
    exhausted: bool,
    open_leases: i64,
    caps: Caps,
}

/// Caps that are set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Caps {
    day: Option<Cap>,
    month: Option<Cap>,
    /// By day, of what is spent on numbers of a country.
    countries: Vec<CountryCap>,
}

/// A spending cap of one country.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountryCap {
    /// ISO 3166 alpha-2.
    country: String,
    #[serde(flatten)]
    cap: Cap,
}

/// A spending cap of the current period.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cap {
    cap_micros: i64,
    used_micros: i64,
    resets_at: String,
}

impl From<statement::Cap> for Cap {
    fn from(cap: statement::Cap) -> Self {
        Self { cap_micros: cap.cap_micros, used_micros: cap.used_micros, resets_at: rfc3339(cap.resets_at) }
    }
}

/// The balance.
#[utoipa::path(get, path = "/api/v1/billing/balance", tag = "billing", operation_id = "getBalance",
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Balance), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn balance(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Balance>, ApiError> {
    actor.needs("billing:read")?;
    let balance = state.app.store.balance(actor.tenant, actor.livemode, now_ms()).await?;
    Ok(Json(Balance {
        currency: "USD",
        available_micros: balance.available,
        held_micros: balance.held,
        display: price::display(balance.available),
        floor_micros: balance.floor,
        low_threshold_micros: balance.low,
        exhausted: balance.available <= balance.floor,
        open_leases: balance.open_leases,
        caps: Caps {
            day: balance.day.map(Cap::from),
            month: balance.month.map(Cap::from),
            countries: balance
                .countries
                .into_iter()
                .map(|(country, cap)| CountryCap { country, cap: cap.into() })
                .collect(),
        },
    }))
}

/// A movement of credit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Transaction {
    id: String,
    at: String,
    /// `top_up`, `promo`, `settle` (a call), `late_charge`, `charge`, `refund`, `adjust`, `write_off`.
    kind: String,
    /// Negative: credit went.
    amount_micros: i64,
    /// Available and held together.
    balance_after_micros: i64,
    call_id: Option<String>,
    memo: String,
}

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TransactionFilter {
    /// One kind.
    kind: Option<String>,
    /// One call.
    call_id: Option<String>,
}

/// The ledger as the tenant sees it, newest first; holds are not shown, a call is one line when it is over.
#[utoipa::path(get, path = "/api/v1/billing/transactions", tag = "billing", operation_id = "listTransactions",
    params(PageQuery, TransactionFilter), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Transaction>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn transactions(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, filter): Paged<TransactionFilter>,
) -> Result<Json<List<Transaction>>, ApiError> {
    actor.needs("billing:read")?;
    let listing = Listing::open(&state, &actor, ("transactions", &filter), &page).await?;
    let (kind, call) = (filter.kind.as_deref(), filter.call_id.as_deref());
    let lines = state.app.store.transactions(actor.tenant, actor.livemode, kind, call, &listing.page).await?;
    Ok(Json(listing.close(
        lines,
        |line| (line.at, line.id.clone()),
        |line| {
            let memo: serde_json::Value = serde_json::from_str(&line.memo).unwrap_or_default();
            Transaction {
                id: line.id,
                at: rfc3339(line.at),
                kind: line.kind,
                amount_micros: line.amount,
                balance_after_micros: line.balance_after,
                call_id: line.call,
                memo: memo["text"].as_str().unwrap_or_default().to_owned(),
            }
        },
    )))
}
