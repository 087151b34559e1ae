//! Leads, their notes, and mail to them (API.md §1.10).

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::LeadId;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        body,
        change::Change,
        error::{ApiError, Detail, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    leads::{
        FollowUp, follow_up,
        rows::{self, Lead, LeadFilter, LeadForm, Note, READ_ONLY, STAGES},
    },
    mail::{self, NewMail, queue},
    store::{fresh_id, storable},
    time::{now_ms, rfc3339},
};

/// Leads, newest first.
#[utoipa::path(get, path = "/api/v1/leads", tag = "leads", operation_id = "listLeads", params(PageQuery, LeadFilter),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Lead>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, filter): Paged<LeadFilter>,
) -> Result<Json<List<Lead>>, ApiError> {
    actor.needs("leads:read")?;
    check_filter(&filter)?;
    let listing = Listing::open(&state, &actor, ("leads", &filter), &page).await?;
    let rows = state.app.store.leads(actor.tenant, &filter, &listing.page).await?;
    Ok(Json(listing.close(rows, |lead| (lead.created_at_ms, lead.id.clone()), |lead| lead)))
}

pub(super) fn check_filter(filter: &LeadFilter) -> Result<(), ApiError> {
    match &filter.stage {
        Some(stage) if !STAGES.contains(&stage.as_str()) => {
            Err(ApiError::invalid("stage", format!("stage is one of {}", STAGES.join(", "))))
        }
        _ => Ok(()),
    }
}

/// Makes a lead by hand.
#[utoipa::path(post, path = "/api/v1/leads", tag = "leads", operation_id = "createLead", request_body = LeadForm,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Lead), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 403, body = ErrorEnvelope)))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("leads:write")?;
    let form = checked(change.create(READ_ONLY)?)?;
    let mut tx = state.app.store.begin().await?;
    owner(&mut tx, &actor, &form).await?;
    let lead = rows::insert(&mut tx, actor.tenant, actor.livemode, None, None, &form).await?;
    audit::note(&mut tx, &actor, "lead.create", "lead", &lead.id, None).await?;
    tx.commit().await?;
    state.app.store.ring();
    let location = format!("/api/v1/leads/{}", lead.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(lead.version, lead)).into_response())
}

/// One lead.
#[utoipa::path(get, path = "/api/v1/leads/{id}", tag = "leads", operation_id = "getLead",
    params(("id" = String, Path, description = "The lead")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Lead), (status = 304), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<LeadId>,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("leads:read")?;
    let lead = find(&state, &actor, id).await?;
    Ok(known.answer(lead.version, lead))
}

/// Replaces a lead; what is left out is emptied.
#[utoipa::path(put, path = "/api/v1/leads/{id}", tag = "leads", operation_id = "replaceLead", request_body = LeadForm,
    params(("id" = String, Path, description = "The lead")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Lead), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn replace(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<LeadId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Response, ApiError> {
    edit(&state, &actor, id, &expected, |stored| change.replace(stored, READ_ONLY)).await
}

/// Changes what the body names; `null` empties.
#[utoipa::path(patch, path = "/api/v1/leads/{id}", tag = "leads", operation_id = "patchLead", request_body = LeadForm,
    params(("id" = String, Path, description = "The lead")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Lead), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn patch(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<LeadId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Response, ApiError> {
    edit(&state, &actor, id, &expected, |stored| change.patch(stored, READ_ONLY)).await
}

async fn edit(
    state: &State,
    actor: &Actor,
    id: LeadId,
    expected: &IfMatch,
    wanted: impl FnOnce(&serde_json::Value) -> Result<LeadForm, ApiError>,
) -> Result<Response, ApiError> {
    actor.needs("leads:write")?;
    let before = find(state, actor, id).await?;
    expected.check(before.version, actor.require_if_match)?;
    let stored = rows::document(&before);
    let form = checked(wanted(&stored)?)?;
    if form == before.form {
        return Ok(Tagged(before.version, before).into_response());
    }
    let mut tx = state.app.store.begin().await?;
    owner(&mut tx, actor, &form).await?;
    let after = rows::update(&mut tx, actor.tenant, actor.livemode, &before.id, before.version, &form).await?;
    let after = after.ok_or_else(IfMatch::conflict)?;
    // The log says which fields moved; a person's details stay out of what is kept for years.
    let changed: Vec<_> = audit::diff(&stored, &rows::document(&after))
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, _)| field.clone())
        .collect();
    audit::note(&mut tx, actor, "lead.update", "lead", &after.id, Some(&json!({"changed": changed}))).await?;
    tx.commit().await?;
    state.app.store.ring();
    Ok(Tagged(after.version, after).into_response())
}

/// Erases a lead: its details go from here, from its notes and mails, and from the transcript of its call.
#[utoipa::path(delete, path = "/api/v1/leads/{id}", tag = "leads", operation_id = "deleteLead",
    params(("id" = String, Path, description = "The lead")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 403, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<LeadId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
) -> Result<StatusCode, ApiError> {
    actor.needs("leads:write")?;
    let mut tx = state.app.store.begin().await?;
    let lead = rows::find(&mut tx, actor.tenant, &id.to_string()).await?.ok_or_else(ApiError::not_found)?;
    expected.check(lead.version, actor.require_if_match)?;
    rows::erase(&mut tx, &lead).await?;
    audit::note(&mut tx, &actor, "lead.delete", "lead", &lead.id, None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What was noted about a lead, newest first.
#[utoipa::path(get, path = "/api/v1/leads/{id}/notes", tag = "leads", operation_id = "listLeadNotes",
    params(("id" = String, Path, description = "The lead"), PageQuery), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<Note>), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn notes(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<LeadId>,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<Note>>, ApiError> {
    actor.needs("leads:read")?;
    let lead = find(&state, &actor, id).await?;
    let listing = Listing::open(&state, &actor, ("notes", &lead.id), &page).await?;
    let rows = state.app.store.notes(&lead.id, &listing.page).await?;
    Ok(Json(listing.close(rows, |note| (note.created_at_ms, note.id.clone()), |note| note)))
}

/// A note to be written.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"text": "Called back, wants the offer in writing"}))]
pub(crate) struct NewNote {
    /// 1 to 4000 characters.
    text: String,
}

/// Writes a note.
#[utoipa::path(post, path = "/api/v1/leads/{id}/notes", tag = "leads", operation_id = "createLeadNote", request_body = NewNote,
    params(("id" = String, Path, description = "The lead")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = Note), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn note(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<LeadId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(NewNote { text }): body::Json<NewNote>,
) -> Result<Response, ApiError> {
    actor.needs("leads:write")?;
    let lead = find(&state, &actor, id).await?;
    text_of("text", &text, 1, 4000).map_err(|fault| ApiError::faults(vec![fault]))?;
    let (kind, author) = actor.named();
    let now = now_ms();
    let note =
        Note { id: fresh_id(), author: format!("{kind}:{author}"), text, created_at: rfc3339(now), created_at_ms: now };
    sqlx::query(
        "INSERT INTO lead_notes (id, lead_id, tenant_id, author, text, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&note.id)
    .bind(&lead.id)
    .bind(actor.tenant.to_string())
    .bind(&note.author)
    .bind(storable(&note.text))
    .bind(now)
    .execute(state.app.store.writers())
    .await?;
    Ok((StatusCode::CREATED, Json(note)).into_response())
}

/// A mail to a lead: a template, or words.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"subject": "Your visit", "body": "Hello Ann, see you on Friday."}))]
pub(crate) struct LeadMail {
    /// The template; goes to each lead at most once.
    template_id: Option<String>,
    /// 1 to 300 characters, without a template.
    subject: Option<String>,
    /// 1 to 50000 characters, without a template.
    body: Option<String>,
}

/// Sends a mail to a lead.
#[utoipa::path(post, path = "/api/v1/leads/{id}/email", tag = "leads", operation_id = "mailLead", request_body = LeadMail,
    params(("id" = String, Path, description = "The lead")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 202, description = "`{\"id\",\"state\":\"queued\"}`"), (status = 400, body = ErrorEnvelope),
        (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`no_email`, `suppressed`")))]
pub(crate) async fn email(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<LeadId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(wanted): body::Json<LeadMail>,
) -> Result<Response, ApiError> {
    actor.needs("leads:write")?;
    let lead = find(&state, &actor, id).await?;
    let mut tx = state.app.store.begin().await?;
    let done = match (wanted.template_id, wanted.subject, wanted.body) {
        (Some(template), None, None) => follow_up(&mut tx, actor.tenant, &lead, &template, None, now_ms()).await?,
        (None, Some(subject), Some(body)) => {
            let faults: Vec<_> = [text_of("subject", &subject, 1, 300), text_of("body", &body, 1, 50_000)]
                .into_iter()
                .filter_map(Result::err)
                .collect();
            if !faults.is_empty() {
                return Err(ApiError::faults(faults));
            }
            match lead.form.email.clone() {
                None => FollowUp::NoAddress,
                Some(to) => {
                    let mail = NewMail {
                        tenant: Some(actor.tenant),
                        lead_id: Some(lead.id.clone()),
                        template: "words".into(),
                        to: to.into(),
                        subject: subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
                        text: body,
                        html: None,
                        dedupe_key: format!("words:{}", fresh_id()),
                        send_at_ms: now_ms(),
                    };
                    queue(&mut tx, mail).await?.into()
                }
            }
        }
        _ => return Err(ApiError::invalid("template_id", "either template_id, or subject and body")),
    };
    let conflict = |code, message| Err(ApiError::conflict(code, message));
    match done {
        FollowUp::Mail(id) => {
            audit::note(&mut tx, &actor, "lead.email", "lead", &lead.id, Some(&json!({"email_id": id}))).await?;
            tx.commit().await?;
            state.app.store.ring();
            Ok((StatusCode::ACCEPTED, Json(json!({"id": id, "state": "queued"}))).into_response())
        }
        FollowUp::NoAddress => conflict("no_email", "the lead has no e-mail address"),
        FollowUp::Suppressed => conflict("suppressed", "the address wants no mail, or none reaches it"),
        FollowUp::NoTemplate => Err(ApiError::not_found().at("template_id")),
    }
}

async fn find(state: &State, actor: &Actor, id: LeadId) -> Result<Lead, ApiError> {
    state.app.store.lead(actor.tenant, &id.to_string()).await?.ok_or_else(ApiError::not_found)
}

/// An owner is a member.
async fn owner(tx: &mut sqlx::AnyConnection, actor: &Actor, form: &LeadForm) -> Result<(), ApiError> {
    let Some(owner) = &form.owner_id else { return Ok(()) };
    let member = sqlx::query("SELECT user_id FROM memberships WHERE tenant_id = $1 AND user_id = $2")
        .bind(actor.tenant.to_string())
        .bind(owner)
        .fetch_optional(tx)
        .await?;
    member.map(drop).ok_or_else(|| ApiError::not_found().at("owner_id"))
}

/// The form with everything that is wrong with it named, its e-mail in lower case.
fn checked(mut form: LeadForm) -> Result<LeadForm, ApiError> {
    let mut faults = Vec::new();
    let texts = [("name", &form.name, 200), ("phone", &form.phone, 40), ("business_type", &form.business_type, 200)];
    for (field, text, most) in texts {
        faults.extend(text.as_ref().and_then(|text| text_of(field, text, 1, most).err()));
    }
    let mut fault =
        |field: String, message: String| faults.push(Detail { field, code: "out_of_range".into(), message });
    if form.email.as_ref().is_some_and(|email| !mail::is_address(email)) {
        fault("email".into(), "email is an address like name@example.com".into());
    }
    if !STAGES.contains(&form.stage.as_str()) {
        fault("stage".into(), format!("stage is one of {}", STAGES.join(", ")));
    }
    if form.score.is_some_and(|score| !(0..=100).contains(&score)) {
        fault("score".into(), "score is from 0 to 100".into());
    }
    if form.fields.len() > 40 {
        fault("fields".into(), "at most 40 fields".into());
    }
    for (name, value) in &form.fields {
        if !(1..=40).contains(&name.chars().count())
            || value.chars().count() > 2000
            || name.contains('\0')
            || value.contains('\0')
        {
            fault(format!("fields.{name}"), "a name has 1 to 40 characters, a value at most 2000, neither NUL".into());
        }
    }
    if !faults.is_empty() {
        return Err(ApiError::faults(faults));
    }
    form.email = form.email.map(|email| email.to_lowercase());
    Ok(form)
}

/// A text within its length; NUL, which PostgreSQL cannot hold, is refused rather than changed.
pub(super) fn text_of(field: &str, text: &str, least: usize, most: usize) -> Result<(), Detail> {
    let fits = (least..=most).contains(&text.chars().count()) && !text.contains('\0');
    if fits {
        return Ok(());
    }
    let message = format!("{field} has {least} to {most} characters and no NUL");
    Err(Detail { field: field.into(), code: "out_of_range".into(), message })
}
