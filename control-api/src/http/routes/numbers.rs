//! Telephone numbers of a tenant's own (API.md §1.4): bring, list, change, give back.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{AgentId, NumberId, TrunkId, event::Name, phone::E164};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    number_orders, number_port, number_shop,
    routing::{Edit, agents, sound},
};
use crate::{
    NewEvent, audit, emit,
    http::{
        State,
        actor::Actor,
        body,
        change::Change,
        error::{ApiError, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{self, NoParameters, PageQuery, Paged, Query},
    },
    routing::{
        Faults, carrier,
        document::{Routing, Version, Weighted},
        rows::{
            numbers::{self, NumberFilter, NumberRow},
            rules::trunks_exist,
        },
    },
    time::{now_ms, rfc3339},
};

const READ_ONLY: &[&str] = &[
    "id",
    "e164",
    "carrier",
    "kind",
    "country",
    "status",
    "agent_id",
    "capabilities",
    "monthly_micros",
    "next_bill_at",
    "version",
    "created_at",
    "updated_at",
];

/// A number.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NumberView {
    id: String,
    e164: String,
    label: Option<String>,
    /// `twilio`, `telnyx` or `none`.
    carrier: String,
    /// `local`, `mobile`, `toll_free` or `national`.
    kind: String,
    country: String,
    /// `pending`, `active`, `porting`, `releasing`, `released` or `failed`.
    status: String,
    trunk_id: Option<String>,
    agent_id: Option<String>,
    #[schema(value_type = Object)]
    routing: Routing,
    #[schema(value_type = Object)]
    capabilities: Value,
    monthly_micros: i64,
    next_bill_at: Option<String>,
    version: i64,
    created_at: String,
    updated_at: String,
}

pub(super) fn show(row: NumberRow) -> NumberView {
    NumberView {
        id: row.id.to_string(),
        e164: row.e164,
        label: row.label,
        carrier: row.carrier,
        kind: row.kind,
        country: row.country,
        status: row.status,
        trunk_id: row.trunk.map(|id| id.to_string()),
        agent_id: row.agent.map(|id| id.to_string()),
        routing: row.routing,
        capabilities: row.capabilities,
        monthly_micros: row.monthly_micros,
        next_bill_at: row.next_bill_at.map(rfc3339),
        version: row.version,
        created_at: rfc3339(row.created_at),
        updated_at: rfc3339(row.updated_at),
    }
}

pub(super) fn document(row: &NumberRow) -> Value {
    serde_json::to_value(show(row.clone())).unwrap_or_default()
}

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Filter {
    /// Exactly this number (`+` may come as `%2B`).
    e164: Option<String>,
    /// Numbers of this agent.
    agent_id: Option<String>,
    /// A status; without it, all that have not been given back.
    status: Option<String>,
    /// `twilio`, `telnyx` or `none`.
    carrier: Option<String>,
}

/// The tenant's numbers, newest first.
#[utoipa::path(get, path = "/api/v1/numbers", tag = "numbers", operation_id = "listNumbers", params(Filter, PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<NumberView>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, filter): Paged<Filter>,
) -> Result<Json<List<NumberView>>, ApiError> {
    actor.needs("numbers:read")?;
    one_of("status", filter.status.as_deref(), &["pending", "active", "porting", "releasing", "released", "failed"])?;
    one_of("carrier", filter.carrier.as_deref(), &["twilio", "telnyx", "none"])?;
    query::word::<AgentId>("agent_id", filter.agent_id.as_deref())?;
    let filter = NumberFilter {
        // In a query string an unescaped + is a space.
        e164: filter.e164.map(|text| text.replace(' ', "+")),
        agent_id: filter.agent_id,
        status: filter.status,
        carrier: filter.carrier,
    };
    let listing = Listing::open(&state, &actor, ("numbers", &filter), &page).await?;
    let rows = state.app.store.numbers(actor.tenant, &filter, &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.created_at, row.id.to_string()), show)))
}

fn one_of(field: &str, value: Option<&str>, words: &[&str]) -> Result<(), ApiError> {
    match value {
        Some(value) if !words.contains(&value) => {
            Err(ApiError::invalid(field, format!("{field} is one of {}", words.join(", "))))
        }
        _ => Ok(()),
    }
}

/// A number to be bought, or one of one's own that a trunk of one's own reaches.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"e164": "+12125550123", "carrier": "none", "trunk_id": "0193481e-7a10-7000-8000-0000000000d1", "label": "Front desk"}))]
pub(crate) struct NewNumber {
    /// In international form.
    #[schema(value_type = String)]
    e164: E164,
    /// `twilio` or `telnyx` to buy it there; `none`: the number is brought along, and needs `trunk_id`.
    carrier: String,
    #[schema(value_type = Option<String>)]
    trunk_id: Option<TrunkId>,
    /// At most 64 characters.
    label: Option<String>,
    #[schema(value_type = Option<String>)]
    agent_id: Option<AgentId>,
}

/// Buys a number (202, `pending`), or brings one along (201).
#[utoipa::path(post, path = "/api/v1/numbers", tag = "numbers", operation_id = "createNumber", request_body = NewNumber,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = NumberView), (status = 202, body = NumberView, description = "ordered at the carrier"),
        (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 402, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("numbers:write")?;
    let new: NewNumber = change.create(READ_ONLY_NEW)?;
    if new.carrier != "none" {
        one_of("carrier", Some(&new.carrier), &["twilio", "telnyx", "none"])?;
        sound(labelled(new.label.as_deref()))?;
        if new.trunk_id.is_some() {
            return Err(ApiError::invalid("trunk_id", "a number that is bought comes by the carrier's own trunk"));
        }
        return number_shop::buy(&state, &actor, &new.e164, &new.carrier, new.label, new.agent_id).await;
    }
    let trunk = new.trunk_id.ok_or_else(|| ApiError::invalid("trunk_id", "a number of one's own needs a trunk"))?;
    sound(labelled(new.label.as_deref()))?;
    let row = numbers::own(NumberId(Uuid::now_v7()), &new.e164, new.label, trunk, new.agent_id, now_ms());
    let mut tx = state.app.store.begin().await?;
    references(&mut tx, &actor, &row).await?;
    if !numbers::insert(&mut tx, actor.tenant, &row).await? {
        return Err(ApiError::conflict("number_taken", "the number is in use here already").at("e164"));
    }
    let id = row.id.to_string();
    audit::note(&mut tx, &actor, "number.create", "number", &id, Some(&document(&row))).await?;
    tx.commit().await?;
    state.app.store.changed();
    let location = format!("/api/v1/numbers/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(1, show(row))).into_response())
}

const READ_ONLY_NEW: &[&str] =
    &["id", "kind", "country", "status", "monthly_micros", "next_bill_at", "version", "created_at", "updated_at"];

/// One number.
#[utoipa::path(get, path = "/api/v1/numbers/{id}", tag = "numbers", operation_id = "getNumber",
    params(("id" = String, Path, description = "The number")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = NumberView), (status = 304), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<NumberId>,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("numbers:read")?;
    let row = find(&state, &actor, id).await?;
    Ok(known.answer(row.version, show(row)))
}

/// What a tenant may change of a number.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NumberBody {
    /// At most 64 characters.
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    trunk_id: Option<TrunkId>,
    /// Who answers, when and for whom (API.md §1.4).
    #[serde(default)]
    #[schema(value_type = Object)]
    routing: Routing,
}

/// Writes label, trunk and routing anew.
#[utoipa::path(put, path = "/api/v1/numbers/{id}", tag = "numbers", operation_id = "putNumber", request_body = NumberBody,
    params(("id" = String, Path, description = "The number")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = NumberView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<NumberId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<NumberView>, ApiError> {
    edit(&state, &actor, id, &expected, change, Edit::Replace).await
}

/// Changes label, trunk or routing.
#[utoipa::path(patch, path = "/api/v1/numbers/{id}", tag = "numbers", operation_id = "patchNumber", request_body = NumberBody,
    params(("id" = String, Path, description = "The number")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = NumberView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn patch(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<NumberId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<NumberView>, ApiError> {
    edit(&state, &actor, id, &expected, change, Edit::Patch).await
}

async fn edit(
    state: &State,
    actor: &Actor,
    id: NumberId,
    expected: &IfMatch,
    change: Change,
    how: Edit,
) -> Result<Tagged<NumberView>, ApiError> {
    actor.needs("numbers:write")?;
    let stored = find(state, actor, id).await?;
    let new: NumberBody = how.read(change, &document(&stored), READ_ONLY)?;
    let mut faults = labelled(new.label.as_deref());
    faults.below("routing", new.routing.check());
    sound(faults)?;
    let row = NumberRow { label: new.label, trunk: new.trunk_id, routing: new.routing.normalised(), ..stored.clone() };
    store(state, actor, expected, stored, row, "number.update").await
}

/// Writes a changed number, if it is changed, and tells who answers now if that is another.
async fn store(
    state: &State,
    actor: &Actor,
    expected: &IfMatch,
    stored: NumberRow,
    row: NumberRow,
    action: &str,
) -> Result<Tagged<NumberView>, ApiError> {
    expected.check(stored.version, actor.require_if_match)?;
    let before = document(&stored);
    if document(&row) == before {
        return Ok(Tagged(stored.version, show(stored)));
    }
    if stored.status == "released" {
        return Err(ApiError::conflict("released", "the number has been given back"));
    }
    let row = NumberRow { version: stored.version + 1, updated_at: now_ms(), ..row };
    let mut tx = state.app.store.begin().await?;
    references(&mut tx, actor, &row).await?;
    if !numbers::update(&mut tx, actor.tenant, &row).await? {
        return Err(IfMatch::conflict());
    }
    let after = document(&row);
    audit::note(&mut tx, actor, action, "number", &row.id.to_string(), Some(&audit::diff(&before, &after))).await?;
    if row.agent != stored.agent || row.routing.agents != stored.routing.agents {
        emit(&mut tx, event(actor, Name::NumberAssigned, after)).await?;
    }
    tx.commit().await?;
    state.app.store.changed();
    Ok(Tagged(row.version, show(row)))
}

/// Who is to answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"agent_id": "0193481e-7a10-7000-8000-0000000000a1", "version": "latest"}))]
pub(crate) struct Assignment {
    #[schema(value_type = String)]
    agent_id: AgentId,
    /// A version's number, or `"latest"`.
    #[serde(default)]
    #[schema(value_type = Object)]
    version: Version,
}

/// Gives the number to an agent; the next INVITE is answered by it.
#[utoipa::path(put, path = "/api/v1/numbers/{id}/assign", tag = "numbers", operation_id = "assignNumber", request_body = Assignment,
    params(("id" = String, Path, description = "The number")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = NumberView), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn assign(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<NumberId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    body::Json(new): body::Json<Assignment>,
) -> Result<Tagged<NumberView>, ApiError> {
    actor.needs("numbers:write")?;
    let stored = find(&state, &actor, id).await?;
    let mut row = NumberRow { agent: Some(new.agent_id), ..stored.clone() };
    // A version that is named is a share of one; otherwise the number's own agent answers in its newest version.
    row.routing.agents = match new.version {
        Version::Latest => Vec::new(),
        version => vec![Weighted { agent_id: new.agent_id, version, weight: 1 }],
    };
    store(&state, &actor, &expected, stored, row, "number.assign").await
}

/// Takes the number from its agents; calls get the fallback of its routing, else 480.
#[utoipa::path(delete, path = "/api/v1/numbers/{id}/assign", tag = "numbers", operation_id = "unassignNumber",
    params(("id" = String, Path, description = "The number")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn unassign(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<NumberId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
) -> Result<StatusCode, ApiError> {
    actor.needs("numbers:write")?;
    let stored = find(&state, &actor, id).await?;
    let mut row = NumberRow { agent: None, ..stored.clone() };
    row.routing.agents.clear();
    store(&state, &actor, &expected, stored, row, "number.unassign").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the number does with calls.
#[utoipa::path(get, path = "/api/v1/numbers/{id}/routing", tag = "numbers", operation_id = "getNumberRouting",
    params(("id" = String, Path, description = "The number")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object), (status = 304), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn routing(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<NumberId>,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("numbers:read")?;
    let row = find(&state, &actor, id).await?;
    Ok(known.answer(row.version, row.routing))
}

/// Writes what the number does with calls.
#[utoipa::path(put, path = "/api/v1/numbers/{id}/routing", tag = "numbers", operation_id = "putNumberRouting",
    request_body(content = Object, example = json!({"agents": [{"agent_id": "0193481e-7a10-7000-8000-0000000000a1", "weight": 9}, {"agent_id": "0193481e-7a10-7000-8000-0000000000a2", "weight": 1}], "hours": {"timezone": "Europe/Berlin", "open": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:30"}], "closed": {"kind": "voicemail"}}})),
    params(("id" = String, Path, description = "The number")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn put_routing(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<NumberId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    body::Json(new): body::Json<Routing>,
) -> Result<Tagged<Routing>, ApiError> {
    actor.needs("numbers:write")?;
    sound(new.check())?;
    let stored = find(&state, &actor, id).await?;
    let row = NumberRow { routing: new.normalised(), ..stored.clone() };
    let Tagged(version, shown) = store(&state, &actor, &expected, stored, row, "number.update").await?;
    Ok(Tagged(version, shown.routing))
}

/// How much goes with a number.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Releasing {
    /// `true`: with a number that is `porting`, the other open numbers of its port request are called off too. Some carriers (Telnyx)
    /// call off a request only whole.
    with_request: Option<String>,
}

/// Gives a number back. One that is `porting` is called off at the carrier, as long as the carrier does that (else 409
/// `port_not_cancelable`); its order then becomes `canceled`.
#[utoipa::path(delete, path = "/api/v1/numbers/{id}", tag = "numbers", operation_id = "releaseNumber",
    params(("id" = String, Path, description = "The number"), Releasing), security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = number_orders::OrderView), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 400, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope),
        (status = 502, body = ErrorEnvelope)))]
pub(crate) async fn release(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<NumberId>,
    Query(releasing): Query<Releasing>,
    expected: IfMatch,
) -> Result<(StatusCode, Json<number_orders::OrderView>), ApiError> {
    actor.needs("numbers:buy")?;
    let stored = find(&state, &actor, id).await?;
    one_of("with_request", releasing.with_request.as_deref(), &["true", "false"])?;
    expected.check(stored.version, actor.require_if_match)?;
    if stored.status == "porting" {
        return number_port::call_off(&state, &actor, &stored, releasing.with_request.as_deref() == Some("true")).await;
    }
    let now = now_ms();
    let mut tx = state.app.store.begin().await?;
    if numbers::live_calls(&mut tx, id).await? > 0 {
        return Err(ApiError::conflict("calls_active", "calls stand on this number; end them first"));
    }
    let mut order = number_shop::order("release", &stored, json!({}), now);
    let sold = stored.carrier != "none";
    if sold {
        // The carrier is told by a job; until then the number is nobody else's.
        let carrier_ref = numbers::releasing(&mut tx, actor.tenant, id, now).await?.ok_or_else(ApiError::not_found)?;
        order.data = json!({ "carrier_ref": carrier_ref });
        numbers::insert_order(&mut tx, actor.tenant, &order).await?;
        carrier::begin(&mut tx, actor.tenant, order.id).await?;
    } else {
        if !numbers::release(&mut tx, actor.tenant, id, now).await? {
            return Err(ApiError::not_found());
        }
        order.state = "done".into();
        numbers::insert_order(&mut tx, actor.tenant, &order).await?;
        let released = NumberRow { status: "released".into(), version: stored.version + 1, updated_at: now, ..stored };
        emit(&mut tx, event(&actor, Name::NumberReleased, document(&released))).await?;
    }
    audit::note(&mut tx, &actor, "number.release", "number", &id.to_string(), None).await?;
    tx.commit().await?;
    state.app.store.changed();
    state.app.store.ring();
    Ok((StatusCode::ACCEPTED, Json(number_orders::show(order, &[]))))
}

async fn find(state: &State, actor: &Actor, id: NumberId) -> Result<NumberRow, ApiError> {
    state.app.store.number(actor.tenant, id).await?.ok_or_else(ApiError::not_found)
}

fn labelled(label: Option<&str>) -> Faults {
    let mut faults = Faults::default();
    let sound = label.is_none_or(|label| label.chars().count() <= 64 && !label.contains('\0'));
    faults.need(sound, "label", "label has at most 64 characters and no NUL");
    faults
}

/// Refuses agents, versions and trunks that are not the tenant's.
pub(super) async fn references(tx: &mut sqlx::AnyConnection, actor: &Actor, row: &NumberRow) -> Result<(), ApiError> {
    let named: Vec<_> = row.routing.agent_ids().into_iter().chain(row.agent).collect();
    agents(tx, actor.tenant, &named).await?;
    for shared in &row.routing.agents {
        if !numbers::version_exists(tx, actor.tenant, shared.agent_id, shared.version).await? {
            return Err(ApiError::not_found());
        }
    }
    let trunks: Vec<_> = row.trunk.into_iter().collect();
    if trunks_exist(tx, actor.tenant, &trunks).await? { Ok(()) } else { Err(ApiError::not_found()) }
}

fn event(actor: &Actor, kind: Name, data: Value) -> NewEvent {
    NewEvent { tenant: actor.tenant, livemode: actor.livemode, kind, data }
}
