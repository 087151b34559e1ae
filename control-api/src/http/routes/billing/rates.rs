//! What calls cost: the tenant's deck, and the operator's plans.

use axum::{
    Json,
    body::Bytes,
    extract::State as Extract,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::{
    Forbidden, audit,
    http::{
        State,
        actor::Actor,
        body::Json as Body,
        error::{ApiError, Detail, ErrorEnvelope},
        etag::{IfMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    money::{
        decks::{self, DeckChange, DeckRow, ITEMS, RatePlan, RateView},
        destination::{self, Tenant},
        price,
        rates::{self, Found},
    },
    routing::is_address,
    time::{self, now_ms, rfc3339},
};

/// Rows of a deck at most.
const ROWS: usize = 100_000;

/// Filters of the deck.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RateFilter {
    /// A number or SIP URI: the one rate that a call there would have, and what it would cost.
    to: Option<String>,
    /// One thing; `voice_out` with `to`.
    item: Option<String>,
}

/// The rate of one destination.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Quote {
    #[schema(value_type = Object)]
    rate: Value,
    prices: Vec<QuotedPrice>,
}

/// What so long a call costs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuotedPrice {
    minutes: i64,
    amount_micros: i64,
    display: String,
}

/// The deck, or what one destination costs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Rates {
    /// Of the destination `to`.
    Quote(Quote),
    /// All of it, paged.
    Deck(List<RateView>),
}

/// The deck that is in force, paged; or, with `to`, the one rate that would apply (as `Quote`).
#[utoipa::path(get, path = "/api/v1/billing/rates", tag = "billing", operation_id = "listRates", params(PageQuery, RateFilter),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Rates), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, filter): Paged<RateFilter>,
) -> Result<Json<Rates>, ApiError> {
    actor.needs("billing:read")?;
    if filter.item.as_deref().is_some_and(|item| !ITEMS.contains(&item)) {
        return Err(ApiError::invalid("item", format!("item is one of {}", ITEMS.join(", "))));
    }
    let store = &state.app.store;
    if let Some(to) = &filter.to {
        if !is_address(to) {
            return Err(ApiError::invalid("to", "to is a number in international form (+12125550100) or a sip: URI"));
        }
        let mut tx = store.begin().await?;
        let tenant = Tenant::read(&mut tx, actor.tenant).await?;
        let item = filter.item.as_deref().unwrap_or("voice_out");
        let rate = match item {
            "voice_out" | "transfer_leg" => {
                destination::outgoing(&mut tx, actor.tenant, &tenant, item, to, now_ms()).await?
            }
            _ => match rates::find(&mut tx, &tenant.plan, item, to, now_ms()).await? {
                Found::Rate(rate) => Ok(rate),
                Found::Blocked | Found::Nothing => Err(Forbidden::NoRate),
            },
        };
        let rate = rate.map_err(|reason| {
            ApiError::new(StatusCode::FORBIDDEN, "forbidden_destination", reason.to_string()).at("to")
        })?;
        let prices = [1, 3, 10].map(|minutes| {
            let amount_micros = price::price(&rate, minutes * 60_000);
            QuotedPrice { minutes, amount_micros, display: price::display(amount_micros) }
        });
        let rate = serde_json::to_value(&rate).unwrap_or_default();
        return Ok(Json(Rates::Quote(Quote { rate, prices: prices.into() })));
    }
    let listing = Listing::open(&state, &actor, ("rates", &filter.item), &page).await?;
    let rows = store.deck(actor.tenant, filter.item.as_deref(), now_ms(), &listing.page).await?;
    Ok(Json(Rates::Deck(listing.close(rows, |row| (row.created_at, row.id.clone()), |row| row))))
}

/// Plans of the installation, newest first.
#[utoipa::path(get, path = "/api/v1/rate-plans", tag = "billing", operation_id = "listRatePlans", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<RatePlan>), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn plans(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<RatePlan>>, ApiError> {
    actor.needs("platform:admin")?;
    let listing = Listing::open(&state, &actor, "rate-plans", &page).await?;
    let rows = state.app.store.rate_plans(&listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.id.clone()), |row| row)))
}

/// A plan to be made or renamed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "Gold"}))]
pub(crate) struct PlanName {
    /// 1 to 100 characters.
    name: String,
}

impl PlanName {
    fn checked(self) -> Result<String, ApiError> {
        if (1..=100).contains(&self.name.chars().count()) {
            return Ok(self.name);
        }
        Err(ApiError::invalid("name", "name has 1 to 100 characters"))
    }
}

/// Makes a plan without rates.
#[utoipa::path(post, path = "/api/v1/rate-plans", tag = "billing", operation_id = "createRatePlan", request_body = PlanName,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = RatePlan), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn create_plan(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(name): Body<PlanName>,
) -> Result<Response, ApiError> {
    actor.needs("platform:admin")?;
    let name = name.checked()?;
    let mut tx = state.app.store.begin().await?;
    let id = decks::create(&mut tx, &name, now_ms()).await?;
    audit::note(&mut tx, &actor, "rate_plan.create", "rate_plan", &id, Some(&json!({"name": name}))).await?;
    tx.commit().await?;
    let plan = state.app.store.rate_plan(&id).await?.ok_or_else(ApiError::not_found)?;
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/rate-plans/{id}"))], Json(plan)).into_response())
}

/// Renames a plan.
#[utoipa::path(put, path = "/api/v1/rate-plans/{id}", tag = "billing", operation_id = "updateRatePlan",
    params(("id" = String, Path, description = "The plan")), request_body = PlanName, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = RatePlan), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn update_plan(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<uuid::Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
    if_match: IfMatch,
    Body(name): Body<PlanName>,
) -> Result<Tagged<RatePlan>, ApiError> {
    actor.needs("platform:admin")?;
    let (id, name, store) = (id.to_string(), name.checked()?, &state.app.store);
    let plan = store.rate_plan(&id).await?.ok_or_else(ApiError::not_found)?;
    if_match.check(plan.version, actor.require_if_match)?;
    let mut tx = store.begin().await?;
    if !decks::rename(&mut tx, &plan, &name, now_ms()).await? {
        return Err(IfMatch::conflict());
    }
    let shown = json!({"name": {"from": plan.name, "to": name}});
    audit::note(&mut tx, &actor, "rate_plan.update", "rate_plan", &id, Some(&shown)).await?;
    tx.commit().await?;
    let plan = store.rate_plan(&id).await?.ok_or_else(ApiError::not_found)?;
    Ok(Tagged(plan.version, plan))
}

/// From when a deck counts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeckQuery {
    /// A time in the future; now when absent.
    starts_at: Option<String>,
}

/// A whole deck.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"rates": [{"item": "voice_in", "unit_micros": 0}, {"item": "voice_out", "prefix": "1", "name": "US", "unit_micros": 15_000, "first_s": 6, "next_s": 6}]}))]
pub(crate) struct Deck {
    rates: Vec<DeckRow>,
}

/// Replaces a plan's deck, all or nothing, from `starts_at` on: rows that are not in it end, running calls keep their rate. The body is
/// JSON or, with `Content-Type: text/csv`, a table whose first row names the columns.
#[utoipa::path(put, path = "/api/v1/rate-plans/{id}/rates", tag = "billing", operation_id = "replaceRates",
    params(("id" = String, Path, description = "The plan"), DeckQuery), request_body = Deck, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = DeckChange), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn replace(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<uuid::Uuid>,
    Query(query): Query<DeckQuery>,
    if_match: IfMatch,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<DeckChange>, ApiError> {
    actor.needs("platform:admin")?;
    let now = now_ms();
    let starts_at = match query.starts_at.as_deref() {
        None => now,
        Some(text) => time::parse(text).filter(|at| *at >= now).ok_or_else(|| {
            ApiError::invalid("starts_at", "starts_at is a time that is not past; the past is paid for")
        })?,
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let deck = if kind.starts_with("text/csv") {
        decks::from_csv(&String::from_utf8_lossy(&body)).map_err(|fault| ApiError::invalid("rates", fault))?
    } else {
        let deck: Deck =
            serde_json::from_slice(&body).map_err(|error| ApiError::invalid("rates", error.to_string()))?;
        deck.rates
    };
    check(&deck)?;
    let id = id.to_string();
    let mut tx = state.app.store.begin().await?;
    let version = decks::lock(&mut tx, &id, now).await?.ok_or_else(ApiError::not_found)?;
    if_match.check(version, actor.require_if_match)?;
    let change = decks::replace(&mut tx, &id, &deck, starts_at).await?;
    let shown = json!({"change": change, "starts_at": rfc3339(starts_at)});
    audit::note(&mut tx, &actor, "rates.replace", "rate_plan", &id, Some(&shown)).await?;
    tx.commit().await?;
    Ok(Json(change))
}

fn check(deck: &[DeckRow]) -> Result<(), ApiError> {
    if deck.len() > ROWS {
        return Err(ApiError::invalid("rates", format!("a deck has at most {ROWS} rows")));
    }
    let mut seen = std::collections::BTreeSet::new();
    let mut faults = Vec::new();
    for (n, row) in deck.iter().enumerate() {
        let twice = || (!seen.insert((&row.item, &row.prefix))).then(|| "item and prefix are there twice".to_owned());
        if let Some(message) = row.fault().or_else(twice) {
            faults.push(Detail { field: format!("rates.{n}"), code: "validation_failed".into(), message });
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(ApiError::faults(faults)) }
}
