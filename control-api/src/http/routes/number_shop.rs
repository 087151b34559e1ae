//! Buying numbers from carriers (API.md §1.4): what there is, and orders of it. The saga is `routing/carrier/order.rs`.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{
    AgentId, NumberId, OrderId,
    phone::{E164, calling_code, country},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::numbers::{NumberView, document, references, show};
use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        error::{ApiError, ErrorEnvelope},
        etag::Tagged,
        query::{self, Query},
    },
    money::ledger::LedgerError,
    routing::{
        carrier::{self, CarrierError, Offer, Search},
        document::Routing,
        rows::numbers::{self, NumberRow, OrderRow},
    },
    time::now_ms,
};

/// What is looked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// `US` when absent.
    country: Option<String>,
    /// Digits behind the country code.
    #[serde(alias = "areaCode")]
    area_code: Option<String>,
    /// Digits and `*`.
    contains: Option<String>,
    /// `local`, `mobile`, `toll_free` or `national`.
    kind: Option<String>,
    /// 1 to 50; 20 when absent.
    limit: Option<String>,
    /// `twilio` or `telnyx`; all when absent.
    carrier: Option<String>,
}

/// A number that can be bought.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Available {
    e164: String,
    carrier: String,
    kind: String,
    locality: Option<String>,
    region: Option<String>,
    #[schema(value_type = Object)]
    capabilities: Value,
    monthly_micros: i64,
    setup_micros: i64,
}

/// Numbers that can be bought.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AvailableList {
    data: Vec<Available>,
}

/// Numbers that can be bought now.
#[utoipa::path(get, path = "/api/v1/numbers/available", tag = "numbers", operation_id = "listAvailableNumbers", params(Wanted),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = AvailableList), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 502, body = ErrorEnvelope)))]
pub(crate) async fn available(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(wanted): Query<Wanted>,
) -> Result<Json<AvailableList>, ApiError> {
    actor.needs("numbers:read")?;
    let limit = query::number("limit", wanted.limit.as_deref(), 1, 50, 20)?;
    let country = wanted.country.unwrap_or_else(|| "US".into());
    if calling_code(&country).is_none() {
        return Err(ApiError::invalid("country", "country is a code as US"));
    }
    let digits = |field: &str, text: &Option<String>, also: &str| match text {
        Some(text)
            if text.is_empty() || text.len() > 15 || !text.chars().all(|c| c.is_ascii_digit() || also.contains(c)) =>
        {
            Err(ApiError::invalid(field, format!("{field} has 1 to 15 of 0-9{also}")))
        }
        _ => Ok(()),
    };
    digits("area_code", &wanted.area_code, "")?;
    digits("contains", &wanted.contains, "*")?;
    if wanted.kind.as_deref().is_some_and(|kind| !["local", "mobile", "toll_free", "national"].contains(&kind)) {
        return Err(ApiError::invalid("kind", "kind is one of local, mobile, toll_free, national"));
    }
    let search = Search { country, area_code: wanted.area_code, contains: wanted.contains, kind: wanted.kind, limit };
    let asked =
        state.carriers.iter().filter(|(name, _)| wanted.carrier.as_deref().is_none_or(|wanted| wanted == *name));
    let mut data = Vec::new();
    let mut any = false;
    for (name, carrier) in asked {
        any = true;
        let price = carrier.price();
        let offers = carrier.search(&search).await.map_err(|error| vendor(name, &error))?;
        data.extend(offers.into_iter().map(|offer: Offer| Available {
            e164: offer.e164,
            carrier: name.into(),
            kind: offer.kind,
            locality: offer.locality,
            region: offer.region,
            capabilities: json!({ "voice": offer.voice, "sms": offer.sms }),
            monthly_micros: price.monthly_micros,
            setup_micros: price.setup_micros,
        }));
    }
    if !any {
        return Err(unconfigured(wanted.carrier.as_deref()));
    }
    data.truncate(usize::try_from(limit).unwrap_or(50));
    Ok(Json(AvailableList { data }))
}

pub(super) fn unconfigured(carrier: Option<&str>) -> ApiError {
    let message = format!("this installation has no account with {}", carrier.unwrap_or("any carrier"));
    ApiError::conflict("no_carrier_configured", message)
}

pub(super) fn vendor(name: &str, error: &CarrierError) -> ApiError {
    let again = matches!(error, CarrierError::Busy(_));
    let message = format!("{name}: {error} (retryable: {again})");
    ApiError::new(StatusCode::BAD_GATEWAY, "vendor_failed", message)
}

/// Orders a number: the money is taken with the order, in one transaction, and comes back if the order fails.
pub(super) async fn buy(
    state: &State,
    actor: &Actor,
    e164: &E164,
    name: &str,
    label: Option<String>,
    agent: Option<AgentId>,
) -> Result<Response, ApiError> {
    actor.needs("numbers:buy")?;
    let carrier = state.carriers.get(name).ok_or_else(|| unconfigured(Some(name)).at("carrier"))?;
    let (price, now) = (carrier.price(), now_ms());
    let row = NumberRow {
        id: NumberId(Uuid::now_v7()),
        e164: e164.as_str().to_owned(),
        label,
        carrier: name.to_owned(),
        kind: "local".into(),
        country: country(e164).unwrap_or_default().to_owned(),
        status: "pending".into(),
        trunk: None,
        agent,
        routing: Routing::default(),
        capabilities: json!({ "voice": true, "sms": false }),
        monthly_micros: price.monthly_micros,
        next_bill_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let data = json!({ "setup_micros": price.setup_micros, "monthly_micros": price.monthly_micros });
    let order = order("buy", &row, data, now);
    let mut tx = state.app.store.begin().await?;
    // Money first: its lock comes before every other (API.md §5.1).
    match carrier::pay(&mut tx, actor.tenant, order.id, price, false).await {
        Ok(()) => {}
        Err(LedgerError::NoCredit) => {
            let message = "not enough credit for the number's setup and first month";
            return Err(ApiError::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credit", message));
        }
        Err(error) => return Err(sqlx::Error::Protocol(error.to_string()).into()),
    }
    references(&mut tx, actor, &row).await?;
    if !numbers::insert(&mut tx, actor.tenant, &row).await? {
        return Err(ApiError::conflict("number_taken", "the number is in use here already").at("e164"));
    }
    numbers::insert_order(&mut tx, actor.tenant, &order).await?;
    carrier::begin(&mut tx, actor.tenant, order.id).await?;
    audit::note(&mut tx, actor, "number.buy", "number", &row.id.to_string(), Some(&document(&row))).await?;
    tx.commit().await?;
    state.app.store.ring();
    let location = format!("/api/v1/numbers/{}", row.id);
    let pending: Tagged<NumberView> = Tagged(1, show(row));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], pending).into_response())
}

/// A new order about a number.
pub(super) fn order(kind: &str, number: &NumberRow, data: Value, now: i64) -> OrderRow {
    OrderRow {
        id: OrderId(Uuid::now_v7()),
        kind: kind.into(),
        e164: number.e164.clone(),
        carrier: number.carrier.clone(),
        state: "started".into(),
        number: Some(number.id),
        error: None,
        data,
        created_at: now,
        updated_at: now,
    }
}
