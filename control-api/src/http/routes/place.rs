//! Placing calls: one or several, now or later.

use axum::{
    Json,
    extract::State as Extract,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{CallId, NumberId, TrunkId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use uuid::Uuid;

use super::calls::{find, settle, visible};
use crate::{
    DialRefused, DialRequest,
    agents::choose::{Wish, choose},
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        query::{NoParameters, Query},
    },
    routing::{ANONYMOUS, PlanQuery, is_address},
    scheduled, time,
    view::Call,
};

/// A call to be placed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCallBody {
    /// A `sip:` URI, or a number in international form where a trunk can dial it.
    to: String,
    /// What the callee sees: a number of the tenant's or its id; the tenant's oldest when absent. A `sip:` URI for calls to one. `anonymous`
    /// hides it: the callee is told no number.
    from: Option<String>,
    /// The trunk to take; that of the number shown when absent.
    #[schema(value_type = Option<String>)]
    trunk_id: Option<TrunkId>,
    /// Id of a stored agent or name of an agent file. One of `agent_id` and `agent` is needed.
    agent_id: Option<String>,
    /// Of a stored agent: a number, or `latest`.
    #[schema(value_type = Option<Object>)]
    agent_version: Option<Value>,
    /// A merge patch of the agent, for this call only; engines, hooks and transfers only with the scope `agents:write`.
    #[schema(value_type = Option<Object>)]
    overrides: Option<Value>,
    /// A whole agent, for this call only.
    #[schema(value_type = Option<Object>)]
    agent: Option<Value>,
    /// Scalars for `{{name}}` in the agent's texts, at most 50.
    #[serde(default)]
    #[schema(value_type = Object)]
    variables: Map<String, Value>,
    /// The tenant's own notes: strings of at most 500 characters, at most 20.
    #[serde(default)]
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    /// 5000 to 120000.
    ring_timeout_ms: Option<u64>,
    /// 10000 to 43200000.
    max_duration_ms: Option<u64>,
    /// Overrides the agent's setting.
    record: Option<bool>,
    /// When to place it: a time to come, at most 30 days ahead. Until then the call is `pending` and holds no credit.
    scheduled_at: Option<String>,
}

/// Several calls.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCallsBody {
    /// 1 to 100 calls, each as for one alone.
    #[schema(value_type = Vec<Object>)]
    calls: Vec<Map<String, Value>>,
    /// What holds for those that do not say otherwise.
    #[serde(default)]
    #[schema(value_type = Object)]
    defaults: Map<String, Value>,
}

/// One call, or several.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, clippy::large_enum_variant, reason = "only its schema is used")]
pub(crate) enum PlaceBody {
    One(NewCallBody),
    Several(NewCallsBody),
}

/// What became of several calls.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlacedList {
    data: Vec<Placed>,
}

/// What became of one of them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Placed {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<Call>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<NotPlaced>,
}

/// Why one was not placed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotPlaced {
    code: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
}

/// Place a call, or up to 100 with a list; of a list each is placed or refused by itself.
#[utoipa::path(post, path = "/api/v1/calls", tag = "calls", operation_id = "createCall", request_body = PlaceBody,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Call, description = "pending", headers(("Location" = String))),
        (status = 202, body = PlacedList, description = "of a list"),
        (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 402, body = ErrorEnvelope, description = "`insufficient_credit` or `spend_cap_reached`"),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`no_trunk` or `too_many`"), (status = 503, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(asked): body::Json<Value>,
) -> Result<Response, ApiError> {
    actor.needs("calls:write")?;
    if asked.get("calls").is_some() {
        let placed = place_all(&state, &actor, body::read(asked)?).await?;
        return Ok((StatusCode::ACCEPTED, Json(placed)).into_response());
    }
    let call = place(&state, &actor, body::read(asked)?).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/calls/{}", call.id)).map_err(|_| ApiError::not_found())?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(call)).into_response())
}

/// Each by itself: one that is refused keeps no other from being placed.
async fn place_all(state: &State, actor: &Actor, list: NewCallsBody) -> Result<PlacedList, ApiError> {
    let NewCallsBody { calls, defaults } = list;
    if !(1..=100).contains(&calls.len()) {
        return Err(ApiError::invalid("calls", "calls has 1 to 100 elements"));
    }
    let mut data = Vec::with_capacity(calls.len());
    for (index, own) in calls.into_iter().enumerate() {
        let mut whole = defaults.clone();
        whole.extend(own);
        let placed = match body::read(Value::Object(whole)) {
            Ok(new) => place(state, actor, new).await,
            Err(error) => Err(error),
        };
        data.push(match placed {
            Ok(call) => Placed { index, call: Some(call), error: None },
            Err(ApiError { code, message, field, .. }) => {
                Placed { index, call: None, error: Some(NotPlaced { code: code.to_owned(), message, field }) }
            }
        });
    }
    Ok(PlacedList { data })
}

async fn place(state: &State, actor: &Actor, new: NewCallBody) -> Result<Call, ApiError> {
    check(&new)?;
    let due_ms = new.scheduled_at.as_deref().map(due).transpose()?;
    let wish = Wish {
        agent_id: new.agent_id.as_deref(),
        agent: new.agent.as_ref(),
        agent_version: new.agent_version.as_ref(),
        overrides: new.overrides.as_ref(),
        variables: &new.variables,
    };
    let chosen = choose(state, actor, &wish).await?;
    if !actor.livemode {
        // Test calls reach no trunk; the numbers that stand in for one come with the trunks.
        return Err(forbidden("a test key cannot dial"));
    }
    let call = CallId(Uuid::now_v7());
    let request = DialRequest {
        call,
        tenant: actor.tenant,
        livemode: actor.livemode,
        to: new.to.into(),
        from: new.from.map(Into::into),
        trunk: new.trunk_id,
        agent: chosen.agent,
        agent_id: chosen.id,
        agent_version: chosen.version,
        variables: chosen.variables,
        metadata: new.metadata,
        ring_timeout_ms: new.ring_timeout_ms,
        max_duration_ms: new.max_duration_ms,
        record: new.record,
        asked_at_ms: None,
    };
    match due_ms {
        None => {
            state.app.switchboard.dial(request).await.map_err(refused)?;
            settle(state).await?;
        }
        Some(due_ms) => {
            // The version of the moment speaks, unless the request knows better.
            let latest = new.overrides.is_none() && !matches!(new.agent_version, Some(Value::Number(_)));
            let plan = state.app.directory.plan(&PlanQuery::of(&request)).await;
            let plan = plan.map_err(|why| refused(why.into()))?;
            if !state.app.store.schedule(&request, &plan, due_ms, latest).await? {
                let message = format!("a tenant has at most {} calls that wait for their time", scheduled::MOST);
                return Err(ApiError::conflict("too_many", message).at("scheduled_at"));
            }
        }
    }
    Ok(visible(actor, find(state, actor, call).await?.newborn()))
}

fn forbidden(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "forbidden_destination", message).at("to")
}

pub(super) fn refused(refusal: DialRefused) -> ApiError {
    match refusal {
        DialRefused::BadAddress => ApiError::invalid("to", "this node cannot dial that address"),
        DialRefused::Forbidden(why) => forbidden(&format!("that destination is not allowed: {why}")),
        DialRefused::CallerIdNotOwned => {
            ApiError::new(StatusCode::BAD_REQUEST, "caller_id_not_owned", "from is not a number of this tenant")
                .at("from")
        }
        DialRefused::NoTrunk => {
            let message = "no enabled trunk of this tenant takes outbound calls; add one with POST /api/v1/trunks";
            ApiError::new(StatusCode::CONFLICT, "no_trunk", message)
        }
        DialRefused::StoreUnavailable => ApiError::store_unavailable(),
        DialRefused::NoCredit => {
            ApiError::new(StatusCode::PAYMENT_REQUIRED, "insufficient_credit", refusal.to_string())
        }
        DialRefused::SpendCap => ApiError::new(StatusCode::PAYMENT_REQUIRED, "spend_cap_reached", refusal.to_string()),
        DialRefused::Concurrency => {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "concurrency_limit", refusal.to_string()).retry_after(5)
        }
        DialRefused::NoCapacity => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no_capacity", "the node is full").retry_after(5)
        }
        DialRefused::Draining => {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the node is draining").retry_after(30)
        }
    }
}

fn check(new: &NewCallBody) -> Result<(), ApiError> {
    if !is_address(&new.to) {
        return Err(ApiError::invalid(
            "to",
            "to is a sip: URI or a number in international form, at most 255 characters",
        ));
    }
    let is_known = |from: &str| is_address(from) || from.parse::<NumberId>().is_ok() || from == ANONYMOUS;
    if new.from.as_deref().is_some_and(|from| !is_known(from)) {
        return Err(ApiError::invalid(
            "from",
            "from is a number in international form, the id of one, a sip: URI, or anonymous",
        ));
    }
    let within = |field, value: Option<u64>, min, max| match value {
        Some(value) if !(min..=max).contains(&value) => {
            Err(ApiError::invalid(field, format!("{field} is from {min} to {max}")))
        }
        _ => Ok(()),
    };
    within("ring_timeout_ms", new.ring_timeout_ms, 5_000, 120_000)?;
    within("max_duration_ms", new.max_duration_ms, 10_000, 43_200_000)?;
    if new.variables.len() > 50 || new.variables.values().any(|value| value.is_array() || value.is_object()) {
        return Err(ApiError::invalid("variables", "variables are at most 50 scalars"));
    }
    let short = |value: &Value| value.as_str().is_some_and(|text| text.chars().count() <= 500);
    if new.metadata.len() > 20 || !new.metadata.values().all(short) {
        return Err(ApiError::invalid("metadata", "metadata is at most 20 strings of at most 500 characters"));
    }
    if new.agent_id.as_ref().is_some_and(|id| !(1..=100).contains(&id.chars().count())) {
        return Err(ApiError::invalid("agent_id", "agent_id has 1 to 100 characters"));
    }
    Ok(())
}

/// When a call is to be placed.
fn due(text: &str) -> Result<i64, ApiError> {
    let wrong = |message: &str| ApiError::invalid("scheduled_at", message);
    let due_ms = time::parse(text).ok_or_else(|| wrong("scheduled_at is a time, 2026-11-21T10:00:00Z"))?;
    match due_ms - crate::now_ms() {
        ..=0 => Err(wrong("scheduled_at is past")),
        1..=scheduled::AHEAD_MS => Ok(due_ms),
        _ => Err(wrong("scheduled_at is more than 30 days ahead")),
    }
}
