//! Invitations to a tenant: made, listed, taken back, accepted (API §1.2).

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::{TenantId, event::Name};
use serde::Deserialize;
use serde_json::json;
use sqlx::Row as _;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{admit, within_rank};
use crate::{
    audit,
    auth::{letters, users},
    http::{
        State,
        actor::Actor,
        body::Json as Body,
        change::Change,
        error::{ApiError, ErrorEnvelope},
        ids::{Id, Ids},
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
        routes::auth::{account::faults_of, told},
    },
    mail,
    people::{
        invitations::{self, Invitation, LIVES_MS, OPEN},
        members::{self, Member},
        tenants,
    },
    scope::Role,
    seal,
    store::page::Bound,
    time::{now_ms, rfc3339},
};

/// Who is invited, as what.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "janet@example.com", "role": "developer"}))]
pub(crate) struct Invite {
    email: String,
    /// `developer` when absent; nobody gives more than they are.
    #[serde(default = "developer")]
    role: Role,
}

fn developer() -> Role {
    Role::Developer
}

/// Invite somebody. They get a letter, and the answer has the link too.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/invitations", tag = "people", operation_id = "invite", request_body = Invite,
    params(("id" = String, Path, description = "The tenant")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Invitation), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(tenant): Id<TenantId>,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("members:write")?;
    let actor = admit(&state, &actor, tenant).await?;
    let invite: Invite = change.create(&["id", "expires_at", "accept_url", "created_at"])?;
    faults_of(Some(&invite.email), None, &[])?;
    within_rank(&actor, invite.role)?;
    let (id, place, token) = (Uuid::now_v7().to_string(), tenant.to_string(), seal::fresh_token("iv_"));
    let mut tx = state.app.store.begin().await?;
    // The hundredth and the hundred-and-first do not arrive together.
    members::in_turn(&mut tx, &place).await?;
    let shown = tenants::get(&mut tx, &place).await?.ok_or_else(ApiError::not_found)?.shown;
    if let Some(user) = users::by_email(&mut tx, &invite.email).await?
        && members::get(&mut tx, &place, &user.id).await?.is_some()
    {
        return Err(ApiError::conflict("already_member", "this address belongs to a member").at("email"));
    }
    invitations::close_expired(&mut tx, &place).await?;
    if invitations::open(&mut tx, &place).await? >= OPEN {
        let message = format!("at most {OPEN} invitations are open at once");
        return Err(ApiError::conflict("too_many_invitations", message));
    }
    let (_, by) = actor.named();
    if !invitations::create(&mut tx, &id, &place, &invite.email, invite.role, &token, &by).await? {
        return Err(ApiError::conflict("already_invited", "this address has an open invitation").at("email"));
    }
    let link = format!("{}/accept-invitation?token={token}", state.app.settings.auth.base());
    let letter = letters::invitation(tenant, &shown.name, invite.role.as_str(), invite.email.trim(), &link, &id);
    mail::queue(&mut tx, letter).await?;
    let diff = json!({ "email": users::email_key(&invite.email), "role": invite.role });
    audit::note(&mut tx, &actor, "member.invite", "invitation", &id, Some(&diff)).await?;
    told(&mut tx, tenant, Name::MemberInvited, json!({ "invitation_id": id, "role": invite.role })).await?;
    tx.commit().await?;
    let now = now_ms();
    let location = format!("/api/v1/tenants/{tenant}/invitations/{id}");
    let made = Invitation {
        id,
        email: users::email_key(&invite.email),
        role: invite.role,
        expires_at: rfc3339(now + LIVES_MS),
        created_at: rfc3339(now),
        accept_url: Some(link),
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// Open invitations, newest first.
#[utoipa::path(get, path = "/api/v1/tenants/{id}/invitations", tag = "people", operation_id = "listInvitations",
    params(("id" = String, Path, description = "The tenant"), PageQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Invitation>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(tenant): Id<TenantId>,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<Invitation>>, ApiError> {
    actor.needs("members:read")?;
    let actor = admit(&state, &actor, tenant).await?;
    let listing = Listing::open(&state, &actor, "invitations", &page).await?;
    let conditions = vec![
        ("i.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string())),
        ("i.expires_at > {}".to_owned(), Bound::Number(now_ms())),
    ];
    let (sql, values) = listing.page.finish(invitations::SELECT.to_owned(), "i", conditions);
    let rows = state.app.store.fetch(sql, values).await?;
    let rows = rows.iter().map(|row| Ok((row.try_get("created_at")?, invitations::read(row)?)));
    let rows: Vec<(i64, Invitation)> = rows.collect::<Result<_, sqlx::Error>>()?;
    Ok(Json(listing.close(rows, |(at, one)| (*at, one.id.clone()), |(_, one)| one)))
}

/// Take an invitation back.
#[utoipa::path(delete, path = "/api/v1/tenants/{id}/invitations/{iid}", tag = "people", operation_id = "revokeInvitation",
    params(("id" = String, Path, description = "The tenant"), ("iid" = String, Path, description = "The invitation")),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn revoke(
    Extract(state): Extract<State>,
    actor: Actor,
    Ids(tenant, id): Ids<TenantId, Uuid>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<StatusCode, ApiError> {
    actor.needs("members:write")?;
    let actor = admit(&state, &actor, tenant).await?;
    let mut tx = state.app.store.begin().await?;
    if !invitations::revoke(&mut tx, &tenant.to_string(), &id.to_string()).await? {
        return Err(ApiError::not_found());
    }
    audit::note(&mut tx, &actor, "member.uninvite", "invitation", &id.to_string(), None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What came by mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accept {
    token: String,
}

/// Accept an invitation to one's own address.
#[utoipa::path(post, path = "/api/v1/invitations/accept", tag = "people", operation_id = "acceptInvitation", request_body = Accept,
    security(("bearer" = [])),
    responses((status = 200, body = Member), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 410, body = ErrorEnvelope)))]
pub(crate) async fn accept(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    Body(accept): Body<Accept>,
) -> Result<Json<Member>, ApiError> {
    let (id, _) = actor.user()?;
    let user = id.to_string();
    let mut tx = state.app.store.begin().await?;
    let me = users::by_id(&mut tx, &user).await?.ok_or_else(ApiError::unauthenticated)?;
    let offer = invitations::by_token(&mut tx, &accept.token).await?.ok_or_else(|| {
        ApiError::new(StatusCode::BAD_REQUEST, "token_invalid", "there is no such invitation").at("token")
    })?;
    if offer.email_key != users::email_key(&me.email) {
        return Err(ApiError::forbidden("email_mismatch", "the invitation is for another e-mail address"));
    }
    if !offer.is_open || !invitations::take(&mut tx, &offer).await? {
        return Err(ApiError::new(StatusCode::GONE, "gone", "the invitation is over; ask for another"));
    }
    if !members::add(&mut tx, &offer.tenant, &user, offer.role).await? {
        return Err(ApiError::conflict("already_member", "you belong to this tenant already"));
    }
    let tenant: TenantId = offer.tenant.parse().map_err(ApiError::internal)?;
    let diff = json!({ "invitation_id": offer.id, "role": offer.role });
    audit::note(&mut tx, &actor.inside(tenant), "member.join", "user", &user, Some(&diff)).await?;
    told(&mut tx, tenant, Name::MemberJoined, json!({ "user_id": id, "role": offer.role })).await?;
    let member = members::get(&mut tx, &offer.tenant, &user).await?.ok_or_else(ApiError::not_found)?;
    tx.commit().await?;
    state.forget_user(id);
    Ok(Json(member))
}
