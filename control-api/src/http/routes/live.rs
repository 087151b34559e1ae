//! What can be asked of a call under way: speak, listen, press keys, hold, be silent.

use axum::{Json, extract::State as Extract, http::StatusCode};
use domain::CallId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::calls::{find, visible};
use crate::{
    Ask, AskRefused, Side, Via,
    http::{
        State,
        actor::Actor,
        body,
        error::{ApiError, ErrorEnvelope},
        ids::Id,
        query::{NoParameters, Query},
    },
    view::Call,
};

/// Asks something of an answered call of the caller's tenant.
pub(super) async fn ask(state: &State, actor: &Actor, id: CallId, ask: Ask) -> Result<Call, ApiError> {
    let call = find(state, actor, id).await?;
    if call.ended_at.is_some() {
        return Err(not_active());
    }
    state.app.switchboard.ask(id, ask).await.map_err(refused)?;
    Ok(visible(actor, call))
}

pub(super) fn not_active() -> ApiError {
    ApiError::conflict("call_not_active", "the call is not active on this node")
}

pub(super) fn refused(refused: AskRefused) -> ApiError {
    match refused {
        AskRefused::NotActive => not_active(),
        AskRefused::Busy => {
            let message = "the call is at something else; nothing was done";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "call_busy", message).retry_after(1)
        }
        AskRefused::NoEvents => {
            let message = "no telephone events were agreed on this call; use via=inband or via=info";
            ApiError::conflict("no_telephone_events", message).at("via")
        }
        AskRefused::TransferInProgress => {
            ApiError::conflict("transfer_in_progress", "a transfer of this call is under way; end it first")
        }
        AskRefused::NoTransfer => ApiError::conflict("no_transfer", "no transfer of this call is under way"),
        AskRefused::UnknownDestination => {
            ApiError::invalid("destination", "the agent of this call has no transfer of that name")
        }
        AskRefused::Dial(refusal) => super::place::refused(refusal),
        AskRefused::NoModel => ApiError::conflict("no_model", "no model speaks on this call: a flow takes no notes"),
    }
}

/// Text of so many characters that are not all blank.
pub(super) fn text(field: &'static str, text: &str, most: usize) -> Result<(), ApiError> {
    if text.trim().is_empty() || text.chars().count() > most {
        return Err(ApiError::invalid(field, format!("{field} has 1 to {most} characters")));
    }
    Ok(())
}

/// When something is said.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    /// At once: what the agent is saying is cut.
    Now,
    /// When nobody speaks, behind what was asked for before.
    #[default]
    Queue,
    /// When the turn that is under way is over and answered.
    AfterTurn,
}

/// Words for the agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "One moment, please."}))]
pub(crate) struct SayBody {
    /// 1 to 1000 characters.
    text: String,
    #[serde(default)]
    when: When,
    /// Whether the caller may talk over it; true when absent.
    interruptible: Option<bool>,
}

/// What will be said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SayAccepted {
    /// The event `call.turn.agent` carries it.
    say_id: String,
}

/// Let the agent say something.
#[utoipa::path(post, path = "/api/v1/calls/{id}/say", tag = "calls", operation_id = "say",
    params(("id" = String, Path, description = "The call")), request_body = SayBody, security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = SayAccepted), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn say(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<SayBody>,
) -> Result<(StatusCode, Json<SayAccepted>), ApiError> {
    actor.needs("calls:control")?;
    text("text", &body.text, 1000)?;
    let say_id = Uuid::now_v7().to_string();
    let now = matches!(body.when, When::Now);
    let interruptible = body.interruptible.unwrap_or(true);
    ask(&state, &actor, id, Ask::Say { id: say_id.clone(), text: body.text, now, interruptible }).await?;
    Ok((StatusCode::ACCEPTED, Json(SayAccepted { say_id })))
}

/// A note to the model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "The caller is a regular guest."}))]
pub(crate) struct InstructBody {
    /// 1 to 4000 characters.
    text: String,
    /// Let the model speak about it at once; false when absent.
    #[serde(default)]
    respond: bool,
}

/// What was taken on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted {
    /// Always true.
    accepted: bool,
}

const ACCEPTED: (StatusCode, Json<Accepted>) = (StatusCode::ACCEPTED, Json(Accepted { accepted: true }));

/// Tell the model something that is never spoken.
#[utoipa::path(post, path = "/api/v1/calls/{id}/instruct", tag = "calls", operation_id = "instruct",
    params(("id" = String, Path, description = "The call")), request_body = InstructBody,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = Accepted), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn instruct(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<InstructBody>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    actor.needs("calls:control")?;
    text("text", &body.text, 4000)?;
    ask(&state, &actor, id, Ask::Instruct { text: body.text, respond: body.respond }).await?;
    Ok(ACCEPTED)
}

/// Keys to be pressed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"digits": "1w2#"}))]
pub(crate) struct DtmfBody {
    /// 1 to 64 of `0-9`, `A-D`, `*`, `#` and `w`, which waits for half a second.
    digits: String,
    /// How long each sounds: 40 to 1000; 100 when absent.
    tone_ms: Option<u16>,
    /// The pause between two: 40 to 1000; 60 when absent.
    gap_ms: Option<u16>,
    /// How they travel; `auto` when absent: as events of RFC 4733 where they were agreed, else as tones.
    #[serde(default)]
    via: ViaWord,
}

/// How keys travel.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ViaWord {
    #[default]
    Auto,
    Rfc4733,
    Info,
    Inband,
}

/// Press keys towards the other side.
#[utoipa::path(post, path = "/api/v1/calls/{id}/dtmf", tag = "calls", operation_id = "pressKeys",
    params(("id" = String, Path, description = "The call")), request_body = DtmfBody, security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, body = Accepted), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn dtmf(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<DtmfBody>,
) -> Result<(StatusCode, Json<Accepted>), ApiError> {
    actor.needs("calls:control")?;
    let key = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'D' | b'*' | b'#' | b'w');
    if !(1..=64).contains(&body.digits.len()) || !body.digits.bytes().all(key) {
        return Err(ApiError::invalid("digits", "digits are 1 to 64 of 0-9, A-D, *, # and w"));
    }
    let within = |field: &'static str, value: Option<u16>, default: u16| match value.unwrap_or(default) {
        ms @ 40..=1000 => Ok(ms),
        _ => Err(ApiError::invalid(field, format!("{field} is from 40 to 1000"))),
    };
    let via = match body.via {
        ViaWord::Auto => Via::Auto,
        ViaWord::Rfc4733 => Via::Rfc4733,
        ViaWord::Info => Via::Info,
        ViaWord::Inband => Via::InBand,
    };
    let (tone_ms, gap_ms) = (within("tone_ms", body.tone_ms, 100)?, within("gap_ms", body.gap_ms, 60)?);
    ask(&state, &actor, id, Ask::Press { digits: body.digits, tone_ms, gap_ms, via }).await?;
    Ok(ACCEPTED)
}

/// On hold, or back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"on": true}))]
pub(crate) struct HoldBody {
    on: bool,
    /// Music meanwhile; true when absent, else silence.
    music: Option<bool>,
}

/// Put the caller on hold, or take them back. The agent neither speaks nor listens meanwhile.
#[utoipa::path(post, path = "/api/v1/calls/{id}/hold", tag = "calls", operation_id = "hold",
    params(("id" = String, Path, description = "The call")), request_body = HoldBody, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Call), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn hold(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<HoldBody>,
) -> Result<Json<Call>, ApiError> {
    actor.needs("calls:control")?;
    ask(&state, &actor, id, Ask::Hold { on: body.on, music: body.music.unwrap_or(true) }).await.map(Json)
}

/// Whom to silence.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"who": "agent", "on": true}))]
pub(crate) struct MuteBody {
    who: Who,
    on: bool,
}

/// One side of a call.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Who {
    /// Heard by nobody but in its own room: what it says meanwhile counts as said.
    Agent,
    /// Neither heard nor recorded.
    Caller,
}

/// Silence one side, or let it be heard again. Keys pass all the same.
#[utoipa::path(post, path = "/api/v1/calls/{id}/mute", tag = "calls", operation_id = "mute",
    params(("id" = String, Path, description = "The call")), request_body = MuteBody, security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Call), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn mute(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<CallId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(body): body::Json<MuteBody>,
) -> Result<Json<Call>, ApiError> {
    actor.needs("calls:control")?;
    let who = match body.who {
        Who::Agent => Side::Agent,
        Who::Caller => Side::Caller,
    };
    ask(&state, &actor, id, Ask::Mute { who, on: body.on }).await.map(Json)
}
