//! Calls: list, read, end, forget.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRequestParts, Query as RawQuery, State as Extract},
    http::{StatusCode, Uri, request::Parts},
};
use domain::{AgentId, CallId, Channel, Direction, EndedReason, Status};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use utoipa::{IntoParams, ToSchema};

use crate::{
    Ask, after, audit,
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        list::{List, Listing},
        query::{self, NoParameters, PageQuery, Paged, Query},
    },
    money::cost::Cost,
    scheduled,
    store::{
        calls::{CallFilter, Further},
        erase,
    },
    time::rfc3339,
    view::{self, AgentRef, Call, CallLatency, CostBrief, Event, Party, TurnView},
};

/// Filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// A status, e.g. `completed`.
    status: Option<String>,
    /// `inbound` or `outbound`.
    direction: Option<String>,
    /// Why it ended, e.g. `caller_hung_up`.
    ended_reason: Option<String>,
    /// The calling address, exactly.
    from: Option<String>,
    /// The called address, exactly.
    to: Option<String>,
    /// `sip`, `web` or `media_stream`.
    channel: Option<String>,
    agent_id: Option<String>,
    number_id: Option<String>,
    trunk_id: Option<String>,
    campaign_id: Option<String>,
    /// `human`, `voicemail`, `screening`, `ivr` or `fax`.
    answered_by: Option<String>,
    /// `positive`, `neutral` or `negative`, as the analysis has it.
    sentiment: Option<String>,
    /// As the analysis has it: `true` or `false`.
    success: Option<String>,
    min_duration_ms: Option<String>,
    max_duration_ms: Option<String>,
    /// `true` or `false`.
    has_recording: Option<String>,
    /// `true` or `false`.
    degraded: Option<String>,
    /// In the summary: 1 to 200 characters.
    q: Option<String>,
    /// Notes of the call: `metadata.<key>=<value>`; as an object in bodies.
    #[param(ignore)]
    metadata: BTreeMap<String, String>,
}

impl ListQuery {
    /// The filter, its words checked.
    pub(super) fn filter(self) -> Result<CallFilter, ApiError> {
        let known = |word: &'static str| word.to_owned();
        Ok(CallFilter {
            status: query::word::<Status>("status", self.status.as_deref())?.map(Status::as_str).map(known),
            direction: query::word::<Direction>("direction", self.direction.as_deref())?
                .map(Direction::as_str)
                .map(known),
            ended_reason: query::word::<EndedReason>("ended_reason", self.ended_reason.as_deref())?
                .map(EndedReason::as_str)
                .map(known),
            further: Further {
                channel: query::word::<Channel>("channel", self.channel.as_deref())?.map(Channel::as_str).map(known),
                agent_id: self.agent_id,
                number_id: self.number_id,
                trunk_id: self.trunk_id,
                campaign_id: self.campaign_id,
                answered_by: self.answered_by,
                sentiment: self.sentiment,
                success: flag("success", self.success.as_deref())?,
                min_duration_ms: duration("min_duration_ms", self.min_duration_ms.as_deref())?,
                max_duration_ms: duration("max_duration_ms", self.max_duration_ms.as_deref())?,
                has_recording: flag("has_recording", self.has_recording.as_deref())?,
                degraded: flag("degraded", self.degraded.as_deref())?,
                q: match self.q {
                    Some(q) if !(1..=200).contains(&q.chars().count()) => {
                        return Err(ApiError::invalid("q", "q has 1 to 200 characters"));
                    }
                    q => q,
                },
                metadata: self.metadata,
            },
            from: self.from,
            to: self.to,
        })
    }
}

fn flag(field: &str, text: Option<&str>) -> Result<Option<bool>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    text.parse().map(Some).map_err(|_| ApiError::invalid(field, format!("{field} is true or false")))
}

fn duration(field: &str, text: Option<&str>) -> Result<Option<i64>, ApiError> {
    text.map(|_| query::number(field, text, 0, i64::MAX, 0)).transpose()
}

/// The parameters of the list. What begins with `metadata.` is a note of the call, whose keys nobody knows beforehand.
pub(crate) struct Asked(PageQuery, ListQuery, bool);

impl FromRequestParts<State> for Asked {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let (notes, rest): (Vec<&str>, Vec<&str>) = query.split('&').partition(|pair| pair.starts_with("metadata."));
        let (include, rest): (Vec<&str>, Vec<&str>) = rest.into_iter().partition(|pair| pair.starts_with("include="));
        parts.uri = Uri::try_from(format!("/?{}", rest.join("&"))).map_err(|_| ApiError::not_found())?;
        let Paged(page, mut filter) = Paged::<ListQuery>::from_request_parts(parts, state).await?;
        if !filter.metadata.is_empty() {
            return Err(ApiError::invalid("metadata", "notes are named one by one: metadata.<key>=<value>"));
        }
        let notes = Uri::try_from(format!("/?{}", notes.join("&"))).map_err(|_| ApiError::not_found())?;
        let notes = RawQuery::<BTreeMap<String, String>>::try_from_uri(&notes)
            .map_err(|_| ApiError::invalid("metadata", "the notes cannot be read"))?;
        for (key, value) in notes.0 {
            filter.metadata.insert(key.trim_start_matches("metadata.").to_owned(), value);
        }
        if filter.metadata.len() > 5 {
            return Err(ApiError::invalid("metadata", "at most 5 notes can be asked for"));
        }
        let transcript = match include.as_slice() {
            [] => false,
            ["include=transcript"] => true,
            _ => return Err(ApiError::invalid("include", "include is transcript")),
        };
        Ok(Self(page, filter, transcript))
    }
}

/// Calls, newest first.
#[utoipa::path(get, path = "/api/v1/calls", tag = "calls", operation_id = "listCalls", params(PageQuery, ListQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Whole>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Asked(page, query, transcript): Asked,
) -> Result<Json<List<Whole>>, ApiError> {
    listed(&state, &actor, &page, query, transcript).await
}

/// The calls of an agent with what was said on them, newest first: `calls` with `agent_id` and `include=transcript`.
#[utoipa::path(get, path = "/api/v1/agents/{id}/transcripts", tag = "calls", operation_id = "listAgentTranscripts",
    params(("id" = String, Path, description = "The agent"), PageQuery, ListQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Whole>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn transcripts(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<AgentId>,
    Asked(page, query, _): Asked,
) -> Result<Json<List<Whole>>, ApiError> {
    actor.needs("transcripts:read")?;
    if query.agent_id.is_some() {
        return Err(ApiError::invalid("agent_id", "the path names the agent"));
    }
    state.app.store.agent(actor.tenant, id, None).await?.ok_or_else(ApiError::not_found)?;
    listed(&state, &actor, &page, ListQuery { agent_id: Some(id.to_string()), ..query }, true).await
}

async fn listed(
    state: &State,
    actor: &Actor,
    page: &PageQuery,
    query: ListQuery,
    transcript: bool,
) -> Result<Json<List<Whole>>, ApiError> {
    actor.needs("calls:read")?;
    if transcript {
        actor.needs("transcripts:read")?;
    }
    let filter = query.filter()?;
    let listing = Listing::open(state, actor, ("calls", &filter), page).await?;
    let rows = state.app.store.calls(actor.tenant, actor.livemode, &filter, &listing.page).await?;
    let mut list = listing.close(
        rows,
        |(at, call)| (*at, call.id.clone()),
        |(_, call)| Whole {
            call: visible(actor, call),
            transcript: None,
            events: None,
            latency_detail: None,
            cost_detail: None,
        },
    );
    if transcript {
        let ids: Vec<String> = list.data.iter().map(|whole| whole.call.id.clone()).collect();
        let mut turns = state.app.store.turns_of(&ids).await?;
        for whole in &mut list.data {
            whole.transcript = Some(turns.remove(&whole.call.id).unwrap_or_default());
        }
    }
    Ok(Json(list))
}

/// A call, and what was asked for with it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Whole {
    #[serde(flatten)]
    call: Call,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<Vec<TurnView>>,
    /// The first 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<Event>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_detail: Option<CallLatency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_detail: Option<Cost>,
}

/// What is wanted with a call.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct GetQuery {
    /// Comma-separated: `transcript`, `events`, `latency`, `cost`; the last two as `latency_detail` and `cost_detail`.
    include: Option<String>,
}

/// Calls that have not ended, newest first, from the node's memory.
#[utoipa::path(get, path = "/api/v1/calls/active", tag = "calls", operation_id = "listActiveCalls",
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Call>), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn active(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<List<Call>>, ApiError> {
    actor.needs("calls:read")?;
    let live = state.app.switchboard.live();
    let data = live
        .into_iter()
        .filter(|call| call.tenant == actor.tenant && call.livemode == actor.livemode)
        .map(|call| visible(&actor, of_live(&call)))
        .collect();
    Ok(Json(List { data, next_cursor: None }))
}

/// One call.
#[utoipa::path(get, path = "/api/v1/calls/{id}", tag = "calls", operation_id = "getCall",
    params(("id" = String, Path, description = "The call"), GetQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Whole), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(query): Query<GetQuery>,
) -> Result<Json<Whole>, ApiError> {
    actor.needs("calls:read")?;
    let include: Vec<&str> = query.include.as_deref().map(|words| words.split(',').collect()).unwrap_or_default();
    if let Some(word) = include.iter().find(|word| !["transcript", "events", "latency", "cost"].contains(word)) {
        let message = format!("{word:?} is none of transcript, events, latency, cost");
        return Err(ApiError::invalid("include", message));
    }
    let wants = |word: &str| include.contains(&word);
    if wants("transcript") {
        actor.needs("transcripts:read")?;
    }
    let mut call = find(&state, &actor, id).await?;
    if call.ended_at.is_none() {
        let live = state.app.switchboard.live_call(id);
        call.activity = live.and_then(|live| live.activity).map(str::to_owned);
    }
    let store = &state.app.store;
    let turns = if wants("transcript") || wants("latency") { store.turns(id).await? } else { Vec::new() };
    let latency_detail = wants("latency").then(|| view::summary(&turns));
    let events = if wants("events") { Some(store.events(id, 0, 200).await?) } else { None };
    let cost_detail = if wants("cost") { store.cost(id).await? } else { None };
    let transcript = wants("transcript").then_some(turns);
    Ok(Json(Whole { call: visible(&actor, call), transcript, events, latency_detail, cost_detail }))
}

/// Forget a call that has ended, or cancel and forget one that waits for its time: its recording, transcript, analysis and who it was. That it was, how long and for how much, stays with
/// the bills.
#[utoipa::path(delete, path = "/api/v1/calls/{id}", tag = "calls", operation_id = "deleteCall",
    params(("id" = String, Path, description = "The call")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`call_active`")))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    actor.needs("calls:delete")?;
    let active = || ApiError::conflict("call_active", "the call has not ended; end it first");
    let call = find(&state, &actor, id).await?;
    if call.ended_at.is_none() && !waits(&call) {
        return Err(active());
    }
    let mut tx = state.app.store.begin().await?;
    if call.ended_at.is_none() {
        scheduled::cancel(&mut tx, id).await?;
    }
    if !erase::call(&mut tx, id).await? {
        return Err(active());
    }
    audit::note(&mut tx, &actor, "call.delete", "call", &id.to_string(), None).await?;
    tx.commit().await?;
    after::delete_recordings(&state.app.store, &state.app.recordings, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Why the call is ended.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndBody {
    /// For the log; at most 100 characters.
    reason: Option<String>,
    /// The agent's last words, at most 500 characters; nobody hears them before the answer.
    say: Option<String>,
}

/// End a call. Ending an ended call changes nothing.
#[utoipa::path(post, path = "/api/v1/calls/{id}/end", tag = "calls", operation_id = "endCall",
    params(("id" = String, Path, description = "The call")), request_body = Option<EndBody>,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Call), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn end(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(end): body::Json<EndBody>,
) -> Result<Json<Call>, ApiError> {
    actor.needs("calls:control")?;
    if let Some(reason) = &end.reason {
        if reason.chars().count() > 100 {
            return Err(ApiError::invalid("reason", "reason has at most 100 characters"));
        }
        tracing::info!(call_id = %id, reason, "end asked for by API");
    }
    if end.say.as_ref().is_some_and(|say| say.trim().is_empty() || say.chars().count() > 500) {
        return Err(ApiError::invalid("say", "say has 1 to 500 characters"));
    }
    let call = find(&state, &actor, id).await?;
    if call.ended_at.is_some() {
        return Ok(Json(visible(&actor, call)));
    }
    if waits(&call) {
        let mut tx = state.app.store.begin().await?;
        let canceled = scheduled::cancel(&mut tx, id).await?;
        tx.commit().await?;
        if canceled {
            state.app.store.ring();
            return Ok(Json(visible(&actor, find(&state, &actor, id).await?)));
        }
    }
    let ask = Ask::End { reason: EndedReason::ApiEnded, say: end.say };
    if state.app.switchboard.ask(id, ask).await.is_err() {
        // It ended between our look and our request, or another node has it.
        settle(&state).await?;
        let call = find(&state, &actor, id).await?;
        if call.ended_at.is_none() {
            return Err(super::live::not_active());
        }
        return Ok(Json(visible(&actor, call)));
    }
    settle(&state).await?;
    Ok(Json(visible(&actor, find(&state, &actor, id).await?)))
}

/// Waits a moment until what the node has just written can be read.
pub(super) async fn settle(state: &State) -> Result<(), ApiError> {
    let wait = tokio::time::timeout(std::time::Duration::from_secs(5), state.app.journal.flush());
    wait.await.map_err(|_| ApiError::store_unavailable())
}

/// A call of the caller's tenant, or 404.
pub(super) async fn find(state: &State, actor: &Actor, id: CallId) -> Result<Call, ApiError> {
    state.app.store.call(actor.tenant, actor.livemode, id).await?.ok_or_else(ApiError::not_found)
}

/// The call as this reader may see it.
pub(super) fn visible(actor: &Actor, call: Call) -> Call {
    if actor.has("calls:pii") { call } else { call.masked() }
}

/// It is to be placed later, and nobody has begun to.
fn waits(call: &Call) -> bool {
    call.scheduled_at.is_some() && call.node_id.is_none() && call.ended_at.is_none()
}

fn of_live(call: &crate::LiveCall) -> Call {
    Call {
        id: call.id.to_string(),
        tenant_id: call.tenant.to_string(),
        livemode: call.livemode,
        channel: domain::Channel::Sip.as_str().into(),
        direction: call.direction.as_str().into(),
        status: call.status.as_str().into(),
        activity: call.activity.map(str::to_owned),
        ended_reason: None,
        sip_status: None,
        answered_by: None,
        degraded: false,
        from: Party { address: call.from.expose().clone(), verified: call.verified.map(str::to_owned) },
        to: Party { address: call.to.expose().clone(), verified: None },
        number_id: call.number.map(|id| id.to_string()),
        trunk_id: call.trunk.map(|id| id.to_string()),
        agent: Some(AgentRef { id: None, name: Some(call.agent.clone()), version: None, mode: None }),
        variables: Map::new(),
        metadata: Map::new(),
        scheduled_at: None,
        created_at: rfc3339(call.created_at_ms),
        initiated_at: None,
        ringing_at: None,
        answered_at: call.answered_at_ms.map(rfc3339),
        ended_at: None,
        duration_ms: call.answered_at_ms.map_or(0, |answered| (crate::now_ms() - answered).max(0)),
        ring_ms: None,
        billed_s: 0,
        turns: 0,
        media: None,
        latency: None,
        recording: None,
        cost: CostBrief { is_final: false, charged_micros: 0, currency: "USD" },
        transfer: None,
        node_id: None,
        version: 1,
    }
}

/// What a call costs and why; while it lasts, as if it ended now (`final` is false).
#[utoipa::path(get, path = "/api/v1/calls/{id}/cost", tag = "calls", operation_id = "getCallCost",
    params(("id" = String, Path, description = "The call")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Cost), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn cost(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<domain::CallId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<Cost>, ApiError> {
    actor.needs("calls:read")?;
    let store = &state.app.store;
    store.call(actor.tenant, actor.livemode, id).await?.ok_or_else(ApiError::not_found)?;
    let cost = store.cost(id).await?.ok_or_else(ApiError::not_found)?;
    Ok(Json(cost))
}
