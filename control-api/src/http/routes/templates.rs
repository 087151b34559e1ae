//! Mail templates (API.md §1.10).

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use domain::EmailTemplateId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::leads::text_of;
use crate::{
    audit,
    http::{
        State,
        actor::Actor,
        body,
        change::Change,
        error::{ApiError, ErrorEnvelope},
        etag::{IfMatch, IfNoneMatch, Tagged},
        ids::Id,
        list::{List, Listing},
        query::{NoParameters, PageQuery, Paged, Query},
    },
    leads::{
        templates::{self, Changed, EmailTemplate, READ_ONLY, TemplateForm},
        values,
    },
};

/// The tenant's templates, last changed first.
#[utoipa::path(get, path = "/api/v1/email-templates", tag = "leads", operation_id = "listEmailTemplates", params(PageQuery),
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = List<EmailTemplate>), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope)))]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    actor: Actor,
    Paged(page, NoParameters {}): Paged<NoParameters>,
) -> Result<Json<List<EmailTemplate>>, ApiError> {
    actor.needs("leads:read")?;
    let listing = Listing::open(&state, &actor, "email-templates", &page).await?;
    let rows = state.app.store.templates(actor.tenant, &listing.page).await?;
    Ok(Json(listing.close(rows, |row| (row.updated_at_ms, row.id.clone()), |row| row)))
}

/// Makes a template.
#[utoipa::path(post, path = "/api/v1/email-templates", tag = "leads", operation_id = "createEmailTemplate", request_body = TemplateForm,
    security(("bearer" = []), ("api_key" = [])),
    responses((status = 201, body = EmailTemplate), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 409, body = ErrorEnvelope, description = "`name_taken`")))]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    actor: Actor,
    Query(NoParameters {}): Query<NoParameters>,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("leads:write")?;
    let form = checked(change.create(READ_ONLY)?)?;
    let mut tx = state.app.store.begin().await?;
    let id = templates::insert(&mut tx, actor.tenant, &form).await?.ok_or_else(name_taken)?;
    audit::note(&mut tx, &actor, "email_template.create", "email_template", &id, None).await?;
    let made = templates::find(&mut tx, actor.tenant, &id).await?.ok_or_else(ApiError::not_found)?;
    tx.commit().await?;
    let location = format!("/api/v1/email-templates/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Tagged(made.version, made)).into_response())
}

/// One template.
#[utoipa::path(get, path = "/api/v1/email-templates/{id}", tag = "leads", operation_id = "getEmailTemplate",
    params(("id" = String, Path, description = "The template")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = EmailTemplate), (status = 304), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<EmailTemplateId>,
    Query(NoParameters {}): Query<NoParameters>,
    known: IfNoneMatch,
) -> Result<Response, ApiError> {
    actor.needs("leads:read")?;
    let template = find(&state, &actor, id).await?;
    Ok(known.answer(template.version, template))
}

/// Replaces a template; mails that wait keep the words they were queued with.
#[utoipa::path(put, path = "/api/v1/email-templates/{id}", tag = "leads", operation_id = "replaceEmailTemplate", request_body = TemplateForm,
    params(("id" = String, Path, description = "The template")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = EmailTemplate), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope),
        (status = 404, body = ErrorEnvelope), (status = 409, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn replace(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<EmailTemplateId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
    change: Change,
) -> Result<Response, ApiError> {
    actor.needs("leads:write")?;
    let before = find(&state, &actor, id).await?;
    expected.check(before.version, actor.require_if_match)?;
    let stored = serde_json::to_value(&before).unwrap_or_default();
    let form = checked(change.replace(&stored, READ_ONLY)?)?;
    if form == before.form {
        return Ok(Tagged(before.version, before).into_response());
    }
    let mut tx = state.app.store.begin().await?;
    match templates::update(&mut tx, actor.tenant, &before.id, before.version, &form).await? {
        Changed::Done => {}
        Changed::Stale => return Err(IfMatch::conflict()),
        Changed::NameTaken => return Err(name_taken()),
    }
    let after = templates::find(&mut tx, actor.tenant, &before.id).await?.ok_or_else(ApiError::not_found)?;
    let diff = audit::diff(&stored, &serde_json::to_value(&after).unwrap_or_default());
    audit::note(&mut tx, &actor, "email_template.update", "email_template", &after.id, Some(&diff)).await?;
    tx.commit().await?;
    Ok(Tagged(after.version, after).into_response())
}

/// Removes a template; agents that name it send nothing further.
#[utoipa::path(delete, path = "/api/v1/email-templates/{id}", tag = "leads", operation_id = "deleteEmailTemplate",
    params(("id" = String, Path, description = "The template")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 204), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope), (status = 412, body = ErrorEnvelope)))]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<EmailTemplateId>,
    Query(NoParameters {}): Query<NoParameters>,
    expected: IfMatch,
) -> Result<StatusCode, ApiError> {
    actor.needs("leads:write")?;
    let template = find(&state, &actor, id).await?;
    expected.check(template.version, actor.require_if_match)?;
    let mut tx = state.app.store.begin().await?;
    templates::delete(&mut tx, actor.tenant, &template.id).await?;
    audit::note(&mut tx, &actor, "email_template.delete", "email_template", &template.id, None).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// With whose details to try.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"variables": {"lead.name": "Ann"}}))]
pub(crate) struct Trial {
    /// A lead of the tenant.
    lead_id: Option<String>,
    /// Values that take the place of the lead's.
    #[serde(default)]
    variables: BTreeMap<String, String>,
}

/// A mail as it would be.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Preview {
    subject: Option<String>,
    body_text: Option<String>,
    body_html: Option<String>,
}

/// Shows a template with values in it; nothing is sent.
#[utoipa::path(post, path = "/api/v1/email-templates/{id}/preview", tag = "leads", operation_id = "previewEmailTemplate", request_body = Trial,
    params(("id" = String, Path, description = "The template")), security(("bearer" = []), ("api_key" = [])),
    responses((status = 200, body = Preview), (status = 400, body = ErrorEnvelope), (status = 401, body = ErrorEnvelope), (status = 404, body = ErrorEnvelope)))]
pub(crate) async fn preview(
    Extract(state): Extract<State>,
    actor: Actor,
    Id(id): Id<EmailTemplateId>,
    Query(NoParameters {}): Query<NoParameters>,
    body::Json(trial): body::Json<Trial>,
) -> Result<Json<Preview>, ApiError> {
    actor.needs("leads:write")?;
    let template = find(&state, &actor, id).await?;
    let mut known = BTreeMap::new();
    if let Some(lead) = trial.lead_id {
        let lead =
            state.app.store.lead(actor.tenant, &lead).await?.ok_or_else(|| ApiError::not_found().at("lead_id"))?;
        let mut connection = state.app.store.pool().acquire().await?;
        known = values(&mut connection, actor.tenant, &lead, None).await?;
    }
    known.extend(trial.variables);
    let [subject, body_text, body_html] = templates::rendered(&template.form, &known).unwrap_or_default();
    Ok(Json(Preview { subject, body_text, body_html }))
}

async fn find(state: &State, actor: &Actor, id: EmailTemplateId) -> Result<EmailTemplate, ApiError> {
    let mut connection = state.app.store.pool().acquire().await?;
    templates::find(&mut connection, actor.tenant, &id.to_string()).await?.ok_or_else(ApiError::not_found)
}

fn name_taken() -> ApiError {
    let mut error = ApiError::conflict("name_taken", "the tenant has a template of that name");
    error.field = Some("name".into());
    error
}

fn checked(form: TemplateForm) -> Result<TemplateForm, ApiError> {
    let html = form.body_html.as_deref().unwrap_or_default();
    let texts = [
        text_of("name", &form.name, 1, 100),
        text_of("subject", &form.subject, 1, 300),
        text_of("body_text", &form.body_text, 0, 50_000),
        text_of("body_html", html, 0, 200_000),
    ];
    let faults: Vec<_> = texts.into_iter().filter_map(Result::err).collect();
    if !faults.is_empty() {
        return Err(ApiError::faults(faults));
    }
    if form.subject.chars().any(char::is_control) {
        return Err(ApiError::invalid("subject", "subject is one line"));
    }
    match templates::fault(&form) {
        Some((field, error)) => Err(ApiError::invalid(field, error.to_string())),
        None => Ok(form),
    }
}
