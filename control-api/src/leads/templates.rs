//! Rows of `email_templates`.

use std::collections::BTreeMap;

use domain::TenantId;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use utoipa::ToSchema;

use crate::{
    Store,
    mail::{Escape, Template, TemplateError},
    store::{
        fresh_id,
        page::{Bound, Page},
        storable,
    },
    time::{now_ms, rfc3339},
};

/// A template as clients write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "follow up", "subject": "Thank you, {{lead.name|and hello}}", "body_text": "Hello {{lead.name|there}},\n\nthank you for your call."}))]
pub(crate) struct TemplateForm {
    /// 1 to 100 characters, unique in the tenant.
    pub(crate) name: String,
    /// 1 to 300 characters.
    pub(crate) subject: String,
    /// At most 50000 characters.
    pub(crate) body_text: String,
    /// At most 200000 characters; values are escaped in it.
    #[serde(default)]
    pub(crate) body_html: Option<String>,
}

/// A template as clients read it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EmailTemplate {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) form: TemplateForm,
    pub(crate) version: i64,
    pub(crate) updated_at: String,
    #[serde(skip)]
    pub(crate) updated_at_ms: i64,
}

/// What the server sets.
pub(crate) const READ_ONLY: &[&str] = &["id", "version", "updated_at"];

const SELECT: &str =
    "SELECT t.id, t.name, t.subject, t.body_text, t.body_html, t.version, t.updated_at FROM email_templates t";

/// Subject, text and HTML with their values; none when a template of an earlier version no longer parses.
pub(crate) fn rendered(form: &TemplateForm, values: &BTreeMap<String, String>) -> Option<[Option<String>; 3]> {
    let render = |text: &str, escape| Template::parse(text).ok().map(|template| template.render(values, escape));
    let html = match &form.body_html {
        Some(html) => Some(render(html, Escape::Html)?),
        None => None,
    };
    Some([Some(render(&form.subject, Escape::Line)?), Some(render(&form.body_text, Escape::Text)?), html])
}

/// Which part of a template cannot be read, and why.
pub(crate) fn fault(form: &TemplateForm) -> Option<(&'static str, TemplateError)> {
    let parts = [
        ("subject", Some(&form.subject)),
        ("body_text", Some(&form.body_text)),
        ("body_html", form.body_html.as_ref()),
    ];
    parts.into_iter().find_map(|(field, text)| Some((field, Template::parse(text?).err()?)))
}

impl Store {
    /// A page of templates, newest change first, one more than asked if there are more.
    pub(crate) async fn templates(&self, tenant: TenantId, page: &Page) -> Result<Vec<EmailTemplate>, sqlx::Error> {
        let sql = "SELECT t.id, t.name, t.subject, t.body_text, t.body_html, t.version, t.created_at AS updated_at FROM
            (SELECT id, tenant_id, name, subject, body_text, body_html, version, updated_at AS created_at FROM email_templates) t WHERE 1 = 1";
        let conditions = vec![("t.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let (sql, values) = page.finish(sql.to_owned(), "t", conditions);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }
}

/// One template of a tenant.
pub(crate) async fn find(
    db: &mut AnyConnection,
    tenant: TenantId,
    id: &str,
) -> Result<Option<EmailTemplate>, sqlx::Error> {
    let sql = format!("{SELECT} WHERE t.tenant_id = $1 AND t.id = $2");
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.to_string()).bind(id.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// Makes a template; none when the name is taken.
pub(crate) async fn insert(
    tx: &mut AnyConnection,
    tenant: TenantId,
    form: &TemplateForm,
) -> Result<Option<String>, sqlx::Error> {
    let id = fresh_id();
    let made = sqlx::query(
        "INSERT INTO email_templates (id, tenant_id, name, subject, body_text, body_html, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant_id, name) DO NOTHING",
    )
    .bind(&id)
    .bind(tenant.to_string())
    .bind(storable(&form.name))
    .bind(storable(&form.subject))
    .bind(storable(&form.body_text))
    .bind(form.body_html.as_deref().map(storable))
    .bind(now_ms())
    .execute(tx)
    .await?;
    Ok((made.rows_affected() == 1).then_some(id))
}

/// What a change of a template met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Done,
    Stale,
    NameTaken,
}

/// Changes a template that is still at `version`.
pub(crate) async fn update(
    tx: &mut AnyConnection,
    tenant: TenantId,
    id: &str,
    version: i64,
    form: &TemplateForm,
) -> Result<Changed, sqlx::Error> {
    let other = sqlx::query("SELECT id FROM email_templates WHERE tenant_id = $1 AND name = $2 AND id <> $3")
        .bind(tenant.to_string())
        .bind(storable(&form.name))
        .bind(id.to_owned())
        .fetch_optional(&mut *tx)
        .await?;
    if other.is_some() {
        return Ok(Changed::NameTaken);
    }
    let changed = sqlx::query(
        "UPDATE email_templates SET name = $1, subject = $2, body_text = $3, body_html = $4, updated_at = $5, version = version + 1
         WHERE id = $6 AND tenant_id = $7 AND version = $8",
    )
    .bind(storable(&form.name))
    .bind(storable(&form.subject))
    .bind(storable(&form.body_text))
    .bind(form.body_html.as_deref().map(storable))
    .bind(now_ms())
    .bind(id.to_owned())
    .bind(tenant.to_string())
    .bind(version)
    .execute(tx)
    .await?;
    Ok(if changed.rows_affected() == 1 { Changed::Done } else { Changed::Stale })
}

/// Removes a template.
pub(crate) async fn delete(tx: &mut AnyConnection, tenant: TenantId, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM email_templates WHERE tenant_id = $1 AND id = $2")
        .bind(tenant.to_string())
        .bind(id.to_owned())
        .execute(tx)
        .await
        .map(drop)
}

fn read(row: &AnyRow) -> Result<EmailTemplate, sqlx::Error> {
    let updated_at_ms = row.try_get("updated_at")?;
    Ok(EmailTemplate {
        id: row.try_get("id")?,
        form: TemplateForm {
            name: row.try_get("name")?,
            subject: row.try_get("subject")?,
            body_text: row.try_get("body_text")?,
            body_html: row.try_get("body_html")?,
        },
        version: row.try_get("version")?,
        updated_at: rfc3339(updated_at_ms),
        updated_at_ms,
    })
}
