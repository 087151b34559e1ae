//! Bringing numbers over from another carrier (API.md §1.4): asking for it, and calling it off. The job is `routing/carrier/port.rs`.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{
    NumberId, OrderId,
    event::Name,
    phone::{E164, calling_code, country},
};
use serde::Deserialize;
use serde_json::json;
use sqlx::{AnyConnection, Row as _};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    number_orders::{self, OrderView},
    number_shop::{unconfigured, vendor},
    routing::sound,
};
use crate::{
    NewEvent,
    agents::credentials::hint,
    audit,
    auth::users::is_email,
    emit,
    http::{
        State,
        actor::Actor,
        change::Change,
        error::{ApiError, Detail, ErrorEnvelope},
        query::{NoParameters, Query},
    },
    money::ledger::{LedgerError, Purse},
    routing::{
        Faults,
        carrier::{
            self, CarrierError,
            porting::{Address, Form, PortState},
        },
        document::Routing,
        rows::{
            numbers::{self, NumberRow, OrderRow},
            ports::{self, PortRow},
        },
    },
    seal,
    time::{self, now_ms, rfc3339},
};

const DAY_MS: i64 = 86_400_000;
/// Until then it is some day's evening somewhere.
const LAST_ZONE_MS: i64 = DAY_MS / 2;

/// Numbers to be brought over, all of one account at one losing carrier.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"e164s": ["+12125550147", "+12125550148"], "carrier": "telnyx", "authorized_name": "Ann Example",
    "account_number": "8841-2204-77", "pin": "4711", "losing_carrier": "Example Telecom", "foc_date": "2099-03-01",
    "service_address": {"street": "600 Congress Ave", "city": "Austin", "region": "TX", "postal_code": "78701", "country": "US"}}))]
pub(crate) struct NewPort {
    /// 1 to 50 numbers in international form.
    #[schema(value_type = Vec<String>)]
    e164s: Vec<E164>,
    /// `twilio` or `telnyx`: who is to have them.
    carrier: String,
    /// Who may decide about the account, as the losing carrier knows the name; at most 128 characters.
    authorized_name: String,
    /// Where the letter of authorization is sent to be signed, if the carrier does that (Twilio); without it, an owner of the tenant.
    authorized_email: Option<String>,
    /// The account at the losing carrier; at most 64 characters. Never shown again.
    account_number: String,
    /// Its PIN or passcode; at most 32 characters. Never shown again.
    pin: Option<String>,
    service_address: Address,
    /// At most 128 characters.
    losing_carrier: Option<String>,
    /// The day that is asked for, `YYYY-MM-DD`; the losing carrier decides.
    foc_date: Option<String>,
    /// A bill of the losing carrier, sent by `POST files`.
    bill_file_id: Option<String>,
}

/// Asks that numbers come over from another carrier. They are `porting` until they are here; the request is an order of kind `port`.
#[utoipa::path(post, path = "/api/v1/numbers/port", tag = "numbers", operation_id = "portNumbers", request_body = NewPort,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = OrderView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 402, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("numbers:buy")?;
    let new: NewPort = change.create(&["id", "state"])?;
    let now = now_ms();
    sound(faults(&new, now))?;
    match new.carrier.as_str() {
        "twilio" | "telnyx" => {}
        "none" => {
            let message =
                "a number is brought over to a carrier; one that comes by a trunk of yours is made with POST numbers";
            return Err(ApiError::conflict("port_needs_carrier", message).at("carrier"));
        }
        _ => return Err(ApiError::invalid("carrier", "carrier is one of twilio, telnyx")),
    }
    let account = state.carriers.get(&new.carrier).ok_or_else(|| unconfigured(Some(&new.carrier)).at("carrier"))?;
    if let Some(file) = &new.bill_file_id {
        bill(&state, &actor, file, now).await?;
    }
    let price = account.price();
    let id = OrderId(Uuid::now_v7());
    let rows: Vec<NumberRow> =
        new.e164s.iter().map(|e164| coming(e164, &new.carrier, price.monthly_micros, now)).collect();
    let order = OrderRow {
        id,
        kind: "port".into(),
        e164: rows.first().map(|row| row.e164.clone()).unwrap_or_default(),
        carrier: new.carrier.clone(),
        state: PortState::Submitted.word().into(),
        number: if let [only] = rows.as_slice() { Some(only.id) } else { None },
        error: None,
        data: json!({
            "setup_micros": price.setup_micros,
            "account_hint": hint(&new.account_number),
            "losing_carrier": new.losing_carrier,
            "foc_date": new.foc_date,
            "bill_file_id": new.bill_file_id,
        }),
        created_at: now,
        updated_at: now,
    };
    let mut tx = state.app.store.begin().await?;
    // Money first: its lock comes before every other (API.md §5.1).
    if price.setup_micros > 0 {
        let mut purse = Purse::open(&mut tx, actor.tenant, true).await?;
        let fee = price.setup_micros.saturating_mul(rows.len() as i64);
        match carrier::pay_port(&mut tx, &mut purse, actor.tenant, id, None, fee, now).await {
            Ok(()) => {}
            Err(LedgerError::NoCredit) => {
                let message = "not enough credit for bringing the numbers over";
                return Err(ApiError::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credit", message));
            }
            Err(error) => return Err(sqlx::Error::Protocol(error.to_string()).into()),
        }
    }
    refuse_taken(&mut tx, &new.e164s).await?;
    let email = match new.authorized_email {
        Some(email) => Some(email),
        None => owner(&mut tx, &actor).await?,
    };
    let form = Form {
        authorized_name: new.authorized_name,
        authorized_email: email,
        account_number: new.account_number,
        pin: new.pin,
        service_address: new.service_address,
        foc_date: new.foc_date,
    };
    let form = serde_json::to_vec(&form).map_err(ApiError::internal)?;
    let sealed = seal::seal(&state.app.seal, ("number_orders", &id.to_string(), "sealed"), &form)?;
    numbers::insert_order(&mut tx, actor.tenant, &order).await?;
    ports::seal(&mut tx, id, sealed).await?;
    let mut ported = Vec::with_capacity(rows.len());
    // In one order for all who ask for the same, so that nobody waits for somebody who waits for him.
    let mut in_order: Vec<(usize, &NumberRow)> = rows.iter().enumerate().collect();
    in_order.sort_unstable_by(|(_, one), (_, other)| one.e164.cmp(&other.e164));
    for (n, row) in in_order {
        // Somebody may have been faster than the look above.
        if !numbers::insert(&mut tx, actor.tenant, row).await? {
            return Err(taken(&[n], &new.e164s));
        }
    }
    for row in &rows {
        ports::insert(&mut tx, id, row.id, &row.e164, now).await?;
        let port = PortRow {
            order: id,
            number: row.id,
            e164: row.e164.clone(),
            state: PortState::Submitted,
            port_ref: None,
            reason: None,
            foc_date: None,
            cancel_asked: false,
            updated_at: now,
        };
        let data = ports::told(&port, &order.carrier);
        emit(&mut tx, NewEvent { tenant: actor.tenant, livemode: true, kind: Name::NumberPortUpdated, data }).await?;
        ported.push(port);
    }
    carrier::begin_port(&mut tx, actor.tenant, id, now).await?;
    let asked = json!({ "e164s": rows.iter().map(|row| &row.e164).collect::<Vec<_>>(), "carrier": order.carrier,
        "losing_carrier": order.data["losing_carrier"], "foc_date": order.data["foc_date"] });
    audit::note(&mut tx, &actor, "number.port", "number_order", &id.to_string(), Some(&asked)).await?;
    tx.commit().await?;
    state.app.store.ring();
    let location = format!("/api/v1/numbers/orders/{id}");
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(number_orders::show(order, &ported)))
        .into_response())
}

/// A number on its way.
fn coming(e164: &E164, carrier: &str, monthly_micros: i64, now: i64) -> NumberRow {
    NumberRow {
        id: NumberId(Uuid::now_v7()),
        e164: e164.as_str().to_owned(),
        label: None,
        carrier: carrier.to_owned(),
        kind: "local".into(),
        country: country(e164).unwrap_or_default().to_owned(),
        status: "porting".into(),
        trunk: None,
        agent: None,
        routing: Routing::default(),
        capabilities: json!({ "voice": true, "sms": false }),
        monthly_micros,
        next_bill_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
    }
}

fn faults(new: &NewPort, now: i64) -> Faults {
    let mut faults = Faults::default();
    faults.need((1..=50).contains(&new.e164s.len()), "e164s", "e164s has 1 to 50 numbers");
    let mut seen = std::collections::BTreeSet::new();
    for (n, e164) in new.e164s.iter().enumerate().take(50) {
        faults.need(seen.insert(e164.as_str()), &format!("e164s[{n}]"), "a number stands in e164s once");
    }
    let mut text = |field: &str, value: &str, most: usize| {
        let sound = !value.trim().is_empty() && value.chars().count() <= most && !value.chars().any(char::is_control);
        faults.need(sound, field, &format!("{field} has 1 to {most} characters on one line"));
    };
    let address = &new.service_address;
    text("authorized_name", &new.authorized_name, 128);
    text("account_number", &new.account_number, 64);
    text("service_address.street", &address.street, 128);
    text("service_address.city", &address.city, 64);
    text("service_address.region", &address.region, 64);
    text("service_address.postal_code", &address.postal_code, 16);
    for (field, value, most) in [
        ("pin", &new.pin, 32),
        ("service_address.street2", &address.street2, 128),
        ("losing_carrier", &new.losing_carrier, 128),
    ] {
        if let Some(value) = value {
            text(field, value, most);
        }
    }
    let known = address.country.len() == 2 && calling_code(&address.country).is_some();
    faults.need(known, "service_address.country", "service_address.country is a code as US");
    if let Some(email) = &new.authorized_email {
        faults.need(is_email(email), "authorized_email", "authorized_email is an address");
    }
    if let Some(day) = &new.foc_date {
        let at = time::parse(day).filter(|_| day.len() == 10);
        let ahead = at.is_some_and(|at| at + DAY_MS + LAST_ZONE_MS > now);
        faults.need(ahead, "foc_date", &format!("foc_date is a day as {}, not one that is over", &rfc3339(now)[..10]));
    }
    faults
}

/// Refuses numbers that somebody has; who, is not told.
async fn refuse_taken(tx: &mut AnyConnection, e164s: &[E164]) -> Result<(), ApiError> {
    let known = numbers::taken(tx, e164s).await?;
    let at: Vec<usize> = (0..e164s.len()).filter(|n| known.iter().any(|known| known == e164s[*n].as_str())).collect();
    if at.is_empty() { Ok(()) } else { Err(taken(&at, e164s)) }
}

fn taken(at: &[usize], e164s: &[E164]) -> ApiError {
    let details = at.iter().filter_map(|n| {
        let message = format!("{} is in use here already", e164s.get(*n)?.as_str());
        Some(Detail { field: format!("e164s[{n}]"), code: "number_taken".into(), message })
    });
    let details: Vec<Detail> = details.take(20).collect();
    let first = details.first().cloned();
    let mut error = ApiError::conflict("number_taken", first.as_ref().map_or("", |first| first.message.as_str()));
    error.field = first.map(|first| first.field);
    error.details = details;
    error
}

async fn bill(state: &State, actor: &Actor, file: &str, now: i64) -> Result<(), ApiError> {
    let row = state.app.store.file(file).await?.filter(|row| row.tenant == actor.tenant && row.expires_at > now);
    let row = row.ok_or_else(ApiError::not_found)?;
    if row.kind != "bill" || row.state != "ready" {
        return Err(ApiError::invalid("bill_file_id", "not a bill; send one with POST files"));
    }
    Ok(())
}

/// The address of the tenant's first owner.
async fn owner(tx: &mut AnyConnection, actor: &Actor) -> Result<Option<String>, ApiError> {
    let row = sqlx::query(
        "SELECT u.email FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.tenant_id = $1 AND m.role = 'owner'
           AND m.blocked_at IS NULL AND u.blocked_at IS NULL AND u.deleted_at IS NULL ORDER BY m.created_at, u.id LIMIT 1",
    )
    .bind(actor.tenant.to_string())
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Calls a number off that is on its way, or all of its request. What the carrier says decides; the states follow by the job.
pub(super) async fn call_off(
    state: &State,
    actor: &Actor,
    number: &NumberRow,
    whole: bool,
) -> Result<(StatusCode, Json<OrderView>), ApiError> {
    let port = state.app.store.port_of(actor.tenant, number.id).await?.ok_or_else(ApiError::not_found)?;
    let others = state.app.store.ports_of(&[port.order]).await?.remove(&port.order.to_string()).unwrap_or_default();
    let others: Vec<PortRow> =
        others.into_iter().filter(|other| other.number != number.id && other.state.open()).collect();
    let account = state.carriers.get(&number.carrier).ok_or_else(|| unconfigured(Some(&number.carrier)))?;
    let together = |other: &PortRow| other.port_ref == port.port_ref;
    if account.indivisible() && !whole && port.port_ref.is_some() && others.iter().any(together) {
        let message = format!(
            "{} calls off a request only whole: with_request=true calls off its {} open numbers",
            number.carrier,
            others.len() + 1
        );
        return Err(ApiError::conflict("port_indivisible", message));
    }
    // What the carrier has already is called off there now, so that its refusal is the answer; the rest is left to the job.
    let mut names: Vec<&str> = [&port].into_iter().chain(others.iter().filter(|_| whole)).filter_map(name).collect();
    if whole {
        names.sort_unstable_by_key(|name| name.split('/').next());
        names.dedup_by_key(|name| name.split('/').next());
    }
    for name in names {
        match account.call_off(name, whole).await {
            Ok(()) => {}
            Err(error @ CarrierError::Busy(_)) => return Err(vendor(&number.carrier, &error)),
            Err(error) => {
                let message = format!("{}: {error}", number.carrier);
                return Err(ApiError::conflict("port_not_cancelable", message));
            }
        }
    }
    let mut tx = state.app.store.begin().await?;
    // The order first, as the job does: it either sees the wish, or its next round is there to be hurried.
    sqlx::query("UPDATE number_orders SET updated_at = updated_at WHERE id = $1")
        .bind(port.order.to_string())
        .execute(&mut *tx)
        .await?;
    if ports::ask_cancel(&mut tx, port.order, (!whole).then_some(number.id), true).await? == 0 {
        return Err(ApiError::conflict("port_not_cancelable", "the number is not on its way any more"));
    }
    carrier::hurry_port(&mut tx, port.order, now_ms()).await?;
    let asked = json!({ "e164": number.e164, "with_request": whole });
    audit::note(&mut tx, actor, "number.port.cancel", "number_order", &port.order.to_string(), Some(&asked)).await?;
    tx.commit().await?;
    state.app.store.ring();
    Ok((StatusCode::ACCEPTED, Json(number_orders::one(state, actor, port.order).await?)))
}

fn name(port: &PortRow) -> Option<&str> {
    port.port_ref.as_deref()
}
