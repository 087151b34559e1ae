//! Trunks (API.md §1.5). Secrets are written, sealed, and never read again by anybody but the calls.

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::TrunkId;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::routing::{Edit, in_use, sound};
use crate::{
    ProbeRefused, Probed, audit,
    http::{
        State,
        actor::Actor,
        change::Change,
        error::{ApiError, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    routing::{
        rows::trunks::{self, Secrets, TrunkRow},
        trunk::{Powers, Trunk},
    },
    seal,
    time::{now_ms, rfc3339},
};

const READ_ONLY: &[&str] = &["id", "version", "created_at", "updated_at"];
/// Over what time answers are counted, ms.
const DAY_MS: i64 = 86_400_000;

/// What of a trunk is sealed, opened.
fn secrets(state: &State, row: &TrunkRow) -> Result<Secrets, ApiError> {
    let Some(sealed) = &row.sealed else { return Ok(Secrets::default()) };
    Secrets::open(&state.app.seal, row.id, sealed).ok_or_else(|| {
        tracing::error!(trunk = %row.id, "the secrets of a trunk do not open with this node's seal key");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
    })
}

fn sealed(state: &State, id: TrunkId, secrets: &Secrets) -> Result<Option<String>, ApiError> {
    if *secrets == Secrets::default() {
        return Ok(None);
    }
    let text = serde_json::to_vec(secrets).unwrap_or_default();
    let sealed = seal::seal(&state.app.seal, ("trunks", &id.to_string(), "sealed_secrets"), &text);
    sealed.map(Some).map_err(|error| {
        tracing::error!(%error, "a secret cannot be sealed");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error")
    })
}

/// The trunk as everybody sees it: of its passwords, whether there are any.
fn show(row: &TrunkRow, secrets: &Secrets) -> Value {
    let mut trunk = row.trunk.clone();
    trunk.auth.inbound.password_set = Some(secrets.inbound.is_some());
    trunk.auth.outbound.password_set = Some(secrets.outbound.is_some());
    let mut shown = json!(trunk);
    shown["id"] = json!(row.id.to_string());
    shown["version"] = json!(row.version);
    shown["created_at"] = json!(rfc3339(row.created_at));
    shown["updated_at"] = json!(rfc3339(row.updated_at));
    shown
}

/// The tenant's trunks, newest first.
#[utoipa::path(get, path = "/api/v1/trunks", tag = "trunks", operation_id = "listTrunks", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Object>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<Value>>, ApiError> {
    actor.needs("trunks:read")?;
    let listing = Listing::open(&state, &actor, "trunks", &page).await?;
    let rows = state.app.store.trunks(actor.tenant, &listing.page).await?;
    let rows = rows.into_iter().map(|row| Ok((secrets(&state, &row)?, row))).collect::<Result<Vec<_>, ApiError>>()?;
    let key = |(_, row): &(Secrets, TrunkRow)| (row.created_at, row.id.to_string());
    Ok(Json(listing.close(rows, key, |(secrets, row)| show(&row, &secrets))))
}

/// Makes a trunk; calls may come and go by it at once.
#[utoipa::path(post, path = "/api/v1/trunks", tag = "trunks", operation_id = "createTrunk",
    request_body(content = Object, description = "The trunk of API.md §1.5; only `name` is required", example = json!({"name": "Carrier", "gateways": [{"host": "sip.carrier.example", "cidr": "198.51.100.0/28"}], "auth": {"outbound": {"username": "hillside", "password": "write-only"}}})),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Object), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("trunks:write")?;
    let new: Trunk = change.create(READ_ONLY)?;
    let (id, now) = (TrunkId(Uuid::now_v7()), now_ms());
    let mut secrets = Secrets::default();
    check(&state, &actor, &new, &secrets)?;
    take(&new, &mut secrets);
    let row = TrunkRow {
        id,
        trunk: new.without_secrets(),
        sealed: sealed(&state, id, &secrets)?,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let mut tx = state.app.store.begin().await?;
    free(&mut tx, &actor, &row.trunk).await?;
    trunks::insert(&mut tx, actor.tenant, &row).await?;
    let shown = show(&row, &secrets);
    audit::note(&mut tx, &actor, "trunk.create", "trunk", &id.to_string(), Some(&shown)).await?;
    tx.commit().await?;
    state.app.store.changed();
    Ok((StatusCode::CREATED, [(header::LOCATION, format!("/api/v1/trunks/{id}"))], Tagged(1, shown)).into_response())
}

/// One trunk.
#[utoipa::path(get, path = "/api/v1/trunks/{id}", tag = "trunks", operation_id = "getTrunk",
    params(("id" = String, Path, description = "The trunk")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object), (status = 304), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TrunkId>,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("trunks:read")?;
    let row = state.app.store.trunk(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    Ok(known.answer(row.version, show(&row, &secrets(&state, &row)?)))
}

/// Writes a trunk anew; a password that is left out stays as it is, `""` takes it away.
#[utoipa::path(put, path = "/api/v1/trunks/{id}", tag = "trunks", operation_id = "putTrunk", request_body = Object,
    params(("id" = String, Path, description = "The trunk")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TrunkId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<Value>, ApiError> {
    edit(&state, &actor, id, &expected, change, Edit::Replace).await
}

/// Changes parts of a trunk.
#[utoipa::path(patch, path = "/api/v1/trunks/{id}", tag = "trunks", operation_id = "patchTrunk", request_body = Object,
    params(("id" = String, Path, description = "The trunk")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Object), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn patch(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TrunkId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Tagged<Value>, ApiError> {
    edit(&state, &actor, id, &expected, change, Edit::Patch).await
}

async fn edit(
    state: &State,
    actor: &Actor,
    id: TrunkId,
    expected: &IfMatch,
    change: Change,
    how: Edit,
) -> Result<Tagged<Value>, ApiError> {
    actor.needs("trunks:write")?;
    let stored = state.app.store.trunk(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    expected.check(stored.version, actor.require_if_match)?;
    let known = secrets(state, &stored)?;
    let before = show(&stored, &known);
    let new: Trunk = how.read(change, &before, READ_ONLY)?;
    check(state, actor, &new, &known)?;
    let mut kept = known.clone();
    take(&new, &mut kept);
    let trunk = new.without_secrets();
    if trunk == stored.trunk && kept == known {
        return Ok(Tagged(stored.version, before));
    }
    // What has not changed keeps its seal.
    let sealed = if kept == known { stored.sealed } else { sealed(state, id, &kept)? };
    let row = TrunkRow { trunk, sealed, version: stored.version + 1, updated_at: now_ms(), ..stored };
    let mut tx = state.app.store.begin().await?;
    free(&mut tx, actor, &row.trunk).await?;
    if !trunks::update(&mut tx, actor.tenant, &row).await? {
        return Err(IfMatch::conflict());
    }
    let shown = show(&row, &kept);
    let diff = audit::diff(&before, &shown);
    audit::note(&mut tx, actor, "trunk.update", "trunk", &id.to_string(), Some(&diff)).await?;
    tx.commit().await?;
    state.app.store.changed();
    Ok(Tagged(row.version, shown))
}

/// Deletes a trunk that no number and no rule names.
#[utoipa::path(delete, path = "/api/v1/trunks/{id}", tag = "trunks", operation_id = "deleteTrunk",
    params(("id" = String, Path, description = "The trunk")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope),
        (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TrunkId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
) -> Result<StatusCode, ApiError> {
    actor.needs("trunks:write")?;
    let stored = state.app.store.trunk(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    expected.check(stored.version, actor.require_if_match)?;
    let mut tx = state.app.store.begin().await?;
    let users = trunks::users(&mut tx, actor.tenant, id).await?;
    if !users.is_empty() {
        return Err(in_use(users));
    }
    if !trunks::delete(&mut tx, actor.tenant, id, stored.version).await? {
        return Err(IfMatch::conflict());
    }
    audit::note(&mut tx, &actor, "trunk.delete", "trunk", &id.to_string(), None).await?;
    tx.commit().await?;
    state.app.store.changed();
    Ok(StatusCode::NO_CONTENT)
}

/// How a trunk is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrunkStatus {
    /// `up`, `degraded` (some gateways are down), `down`, or `unknown`: no node has looked yet.
    state: &'static str,
    gateways: Vec<GatewayStatus>,
    channels: Channels,
    /// Answered of all that left in the last day, percent; null when none did.
    asr_pct: Option<i64>,
    last_error: Option<String>,
}

/// One gateway.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GatewayStatus {
    host: String,
    /// `up`, `down` or `unknown`.
    state: String,
    rtt_ms: Option<i64>,
    detail: Option<String>,
    /// What it said last to OPTIONS or REGISTER; 408 when it said nothing.
    last_sip_status: Option<i64>,
    checked_at: Option<String>,
    registered_until: Option<String>,
}

/// Calls on a trunk.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Channels {
    /// On this node.
    now: usize,
    max: u32,
}

/// How a trunk is: its gateways as the nodes last saw them, its calls on this node, its answers of a day.
#[utoipa::path(get, path = "/api/v1/trunks/{id}/status", tag = "trunks", operation_id = "getTrunkStatus",
    params(("id" = String, Path, description = "The trunk")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = TrunkStatus), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn status(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TrunkId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<TrunkStatus>, ApiError> {
    actor.needs("trunks:read")?;
    let row = state.app.store.trunk(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    let health = state.app.store.trunk_health(id).await?;
    let (left, answered) = state.app.store.trunk_answers(id, now_ms() - DAY_MS).await?;
    let is = |wanted: &str| health.iter().filter(|gateway| gateway.state.as_deref() == Some(wanted)).count();
    let overall = match (is("up"), is("down")) {
        (0, 0) => "unknown",
        (_, 0) => "up",
        (0, _) => "down",
        _ => "degraded",
    };
    let last_error = health.iter().filter(|gateway| gateway.state.as_deref() == Some("down"));
    let last_error = last_error.max_by_key(|gateway| gateway.checked_at).and_then(|gateway| gateway.detail.clone());
    let now: usize = state.app.switchboard.live().iter().map(|call| call.channels(id)).sum();
    let gateways = health.into_iter().map(|gateway| GatewayStatus {
        host: gateway.host,
        state: gateway.state.unwrap_or_else(|| "unknown".into()),
        rtt_ms: gateway.rtt_ms,
        detail: gateway.detail,
        last_sip_status: gateway.sip_status,
        checked_at: gateway.checked_at.map(rfc3339),
        registered_until: gateway.registered_until.map(rfc3339),
    });
    Ok(Json(TrunkStatus {
        state: overall,
        gateways: gateways.collect(),
        channels: Channels { now, max: row.trunk.limits.max_channels },
        asr_pct: (left > 0).then(|| answered * 100 / left),
        last_error,
    }))
}

/// What a trunk says when it is asked.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrunkTest {
    /// The best answer of all gateways.
    options: Option<OptionsTest>,
    /// Each gateway that calls may go to, in the order of the document.
    gateways: Vec<GatewayTest>,
    /// What the registrar said last; null on a trunk that does not register.
    register: Option<RegisterTest>,
}

/// An answer to OPTIONS.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OptionsTest {
    /// 408 when nothing came.
    status: u16,
    rtt_ms: Option<u64>,
}

/// What a gateway said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GatewayTest {
    host: String,
    /// 408 when nothing came.
    status: u16,
    rtt_ms: Option<u64>,
    /// Why nothing came.
    detail: Option<String>,
}

/// What a registrar said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisterTest {
    /// 408 when nothing came, null before it was asked.
    status: Option<i64>,
}

/// Asks each gateway of a trunk by OPTIONS whether it lives, now, and says what came back within some seconds. One test of a trunk runs
/// at a time. No call is placed.
#[utoipa::path(post, path = "/api/v1/trunks/{id}/test", tag = "trunks", operation_id = "testTrunk",
    params(("id" = String, Path, description = "The trunk")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = TrunkTest), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn test(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<TrunkId>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Json<TrunkTest>, ApiError> {
    actor.needs("trunks:write")?;
    let row = state.app.store.trunk(actor.tenant, id).await?.ok_or_else(ApiError::not_found)?;
    let probed = state.app.switchboard.probe(id).await.map_err(|refused| {
        let code = match refused {
            ProbeRefused::NotInService => "not_in_service",
            ProbeRefused::Busy => "test_running",
        };
        ApiError::conflict(code, refused.to_string())
    })?;
    let rtt_ms = |probed: &Probed| probed.rtt.and_then(|rtt| u64::try_from(rtt.as_millis()).ok());
    let best = probed.iter().min_by_key(|probed| (probed.rtt.is_none(), probed.status >= 300, probed.rtt));
    let register = match row.trunk.register.enabled {
        true => {
            let seen = state.app.store.trunk_health(id).await?;
            let registrar = seen.into_iter().find(|seen| seen.host == trunks::REGISTRAR);
            Some(RegisterTest { status: registrar.and_then(|registrar| registrar.sip_status) })
        }
        false => None,
    };
    Ok(Json(TrunkTest {
        options: best.map(|best| OptionsTest { status: best.status, rtt_ms: rtt_ms(best) }),
        register,
        gateways: probed
            .iter()
            .map(|probed| GatewayTest {
                host: probed.host.clone(),
                status: probed.status,
                rtt_ms: rtt_ms(probed),
                detail: probed.detail.clone(),
            })
            .collect(),
    }))
}

/// What the document says of itself, and whether `password_set` came back as it was.
fn check(state: &State, actor: &Actor, new: &Trunk, known: &Secrets) -> Result<(), ApiError> {
    for (field, sent, stored) in [
        ("auth.inbound.password_set", new.auth.inbound.password_set, known.inbound.is_some()),
        ("auth.outbound.password_set", new.auth.outbound.password_set, known.outbound.is_some()),
    ] {
        if sent.is_some_and(|sent| sent != stored) {
            let message = format!("{field} is set by the server");
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "read_only_field", message).at(field));
        }
    }
    let powers = Powers { platform: actor.has("platform:admin"), private: state.app.directory.private() };
    sound(new.check(powers))
}

/// Takes the passwords that were sent.
fn take(new: &Trunk, secrets: &mut Secrets) {
    for (sent, kept) in
        [(&new.auth.inbound.password, &mut secrets.inbound), (&new.auth.outbound.password, &mut secrets.outbound)]
    {
        if let Some(sent) = sent {
            *kept = Some(sent.clone()).filter(|password| !password.is_empty());
        }
    }
}

/// Refuses a network that is another tenant's; whose it is, is not told. Agents that it names must be the tenant's.
async fn free(tx: &mut sqlx::AnyConnection, actor: &Actor, trunk: &Trunk) -> Result<(), ApiError> {
    let named: Vec<_> = trunk.default.iter().filter_map(|action| action.agent_id).collect();
    super::routing::agents(tx, actor.tenant, &named).await?;
    match trunks::overlap(tx, actor.tenant, trunk).await? {
        None => Ok(()),
        Some(network) => {
            let message = format!("calls from {network} are another trunk's already");
            Err(ApiError::conflict("cidr_overlaps", message).at("gateways"))
        }
    }
}
