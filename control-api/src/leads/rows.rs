//! Rows of `leads` and `lead_notes`.

use std::collections::BTreeMap;

use domain::{TenantId, event::Name};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, any::AnyRow};
use utoipa::ToSchema;

use crate::{
    NewEvent, Store, emit,
    store::{
        fresh_id, json_text,
        page::{Bound, Page},
        storable,
    },
    time::{now_ms, rfc3339},
};

/// Where a lead stands.
pub(crate) const STAGES: [&str; 6] = ["new", "contacted", "qualified", "won", "lost", "spam"];

/// A lead as clients write it; what is left out is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({"name": "Ann Smith", "email": "ann@example.com", "stage": "qualified", "fields": {"budget": "5000"}}))]
pub(crate) struct LeadForm {
    /// At most 200 characters.
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    /// At most 40 characters.
    pub(crate) phone: Option<String>,
    /// At most 200 characters.
    pub(crate) business_type: Option<String>,
    /// The tenant's own: at most 40, each at most 2000 characters.
    pub(crate) fields: BTreeMap<String, String>,
    /// `new` (the default), `contacted`, `qualified`, `won`, `lost` or `spam`.
    #[serde(default = "new_stage")]
    pub(crate) stage: String,
    /// 0 to 100.
    pub(crate) score: Option<i64>,
    /// The member who looks after it.
    pub(crate) owner_id: Option<String>,
}

fn new_stage() -> String {
    STAGES[0].to_owned()
}

/// A lead as clients read it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Lead {
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) form: LeadForm,
    /// The call it came from.
    pub(crate) call_id: Option<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) notes_count: i64,
    pub(crate) version: i64,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    #[serde(skip)]
    pub(crate) created_at_ms: i64,
}

/// What the server sets.
pub(crate) const READ_ONLY: &[&str] =
    &["id", "call_id", "agent_id", "notes_count", "version", "created_at", "updated_at"];

/// A note on a lead.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Note {
    pub(crate) id: String,
    pub(crate) author: String,
    pub(crate) text: String,
    pub(crate) created_at: String,
    #[serde(skip)]
    pub(crate) created_at_ms: i64,
}

/// Which leads a list holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LeadFilter {
    /// One of the stages.
    pub(crate) stage: Option<String>,
    /// Part of name, e-mail, number or business.
    pub(crate) q: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) agent_id: Option<String>,
    pub(crate) owner_id: Option<String>,
}

const SELECT: &str = "SELECT l.id, l.call_id, l.agent_id, l.name, l.email, l.phone, l.business_type, l.fields, l.stage, l.score,
    l.owner_id, l.version, l.created_at, l.updated_at, (SELECT COUNT(*) FROM lead_notes n WHERE n.lead_id = l.id) AS notes
    FROM leads l WHERE l.deleted_at IS NULL";

impl Store {
    /// A page of leads, one more than asked if there are more.
    pub(crate) async fn leads(
        &self,
        tenant: TenantId,
        filter: &LeadFilter,
        page: &Page,
    ) -> Result<Vec<Lead>, sqlx::Error> {
        let mut conditions = vec![("l.tenant_id = {}".to_owned(), Bound::Text(tenant.to_string()))];
        let texts = [
            ("l.stage = {}", filter.stage.clone()),
            ("l.phone = {}", filter.phone.clone()),
            ("l.email = {}", filter.email.as_ref().map(|email| email.to_lowercase())),
            ("l.agent_id = {}", filter.agent_id.clone()),
            ("l.owner_id = {}", filter.owner_id.clone()),
            (
                "LOWER(COALESCE(l.name, '') || ' ' || COALESCE(l.email, '') || ' ' || COALESCE(l.phone, '') || ' ' || COALESCE(l.business_type, '')) LIKE {} ESCAPE '!'",
                filter.q.as_ref().map(|q| format!("%{}%", like(&q.to_lowercase()))),
            ),
        ];
        conditions.extend(texts.into_iter().filter_map(|(sql, value)| Some((sql.to_owned(), Bound::Text(value?)))));
        let (sql, values) = page.finish(SELECT.to_owned(), "l", conditions);
        self.fetch(sql, values).await?.iter().map(read).collect()
    }

    /// One lead of a tenant.
    pub(crate) async fn lead(&self, tenant: TenantId, id: &str) -> Result<Option<Lead>, sqlx::Error> {
        find(&mut *self.pool().acquire().await?, tenant, id).await
    }

    /// A page of a lead's notes, one more than asked if there are more.
    pub(crate) async fn notes(&self, lead: &str, page: &Page) -> Result<Vec<Note>, sqlx::Error> {
        let sql = "SELECT n.id, n.author, n.text, n.created_at FROM lead_notes n WHERE 1 = 1".to_owned();
        let (sql, values) = page.finish(sql, "n", vec![("n.lead_id = {}".to_owned(), Bound::Text(lead.to_owned()))]);
        let rows = self.fetch(sql, values).await?;
        rows.iter()
            .map(|row| {
                let created_at_ms = row.try_get("created_at")?;
                Ok(Note {
                    id: row.try_get("id")?,
                    author: row.try_get("author")?,
                    text: row.try_get("text")?,
                    created_at: rfc3339(created_at_ms),
                    created_at_ms,
                })
            })
            .collect()
    }
}

/// A text inside LIKE, whose own signs lose their meaning.
pub(crate) fn like(text: &str) -> String {
    text.replace('!', "!!").replace('%', "!%").replace('_', "!_")
}

/// One lead of a tenant, as a transaction sees it.
pub(crate) async fn find(db: &mut AnyConnection, tenant: TenantId, id: &str) -> Result<Option<Lead>, sqlx::Error> {
    let sql = format!("{SELECT} AND l.tenant_id = $1 AND l.id = $2");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.to_string()).bind(id.to_owned()).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

/// The lead that a call or one of these addresses already belongs to. A call that had a lead which was deleted gets none again.
pub(super) async fn known(
    db: &mut AnyConnection,
    tenant: TenantId,
    call: &str,
    email: Option<&str>,
    phone: Option<&str>,
) -> Result<Option<(String, bool)>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id, deleted_at FROM leads WHERE tenant_id = $1
           AND (call_id = $2 OR (deleted_at IS NULL AND (email = $3 OR phone = $4)))
         ORDER BY CASE WHEN call_id = $2 THEN 0 ELSE 1 END, created_at, id LIMIT 1",
    )
    .bind(tenant.to_string())
    .bind(call.to_owned())
    .bind(email.unwrap_or("-").to_owned())
    .bind(phone.unwrap_or("-").to_owned())
    .fetch_optional(db)
    .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get::<Option<i64>, _>(1)?.is_some()))).transpose()
}

/// Makes a lead, with its event.
pub(crate) async fn insert(
    tx: &mut AnyConnection,
    tenant: TenantId,
    livemode: bool,
    call: Option<&str>,
    agent: Option<&str>,
    form: &LeadForm,
) -> Result<Lead, sqlx::Error> {
    let (id, now) = (fresh_id(), now_ms());
    sqlx::query(
        "INSERT INTO leads (id, tenant_id, call_id, agent_id, name, email, phone, business_type, fields, stage, score, owner_id,
           created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13)",
    )
    .bind(&id)
    .bind(tenant.to_string())
    .bind(call.map(str::to_owned))
    .bind(agent.map(str::to_owned))
    .bind(form.name.as_deref().map(storable))
    .bind(form.email.as_deref().map(|email| email.to_lowercase()))
    .bind(form.phone.as_deref().map(storable))
    .bind(form.business_type.as_deref().map(storable))
    .bind(json_text(&form.fields))
    .bind(form.stage.clone())
    .bind(form.score)
    .bind(form.owner_id.clone())
    .bind(now)
    .execute(&mut *tx)
    .await?;
    tell(tx, tenant, livemode, &id, Name::LeadCreated).await
}

/// Changes a lead that is still at `version`; none when it has moved on.
pub(crate) async fn update(
    tx: &mut AnyConnection,
    tenant: TenantId,
    livemode: bool,
    id: &str,
    version: i64,
    form: &LeadForm,
) -> Result<Option<Lead>, sqlx::Error> {
    let changed = sqlx::query(
        "UPDATE leads SET name = $1, email = $2, phone = $3, business_type = $4, fields = $5, stage = $6, score = $7, owner_id = $8,
           updated_at = $9, version = version + 1 WHERE id = $10 AND tenant_id = $11 AND version = $12 AND deleted_at IS NULL",
    )
    .bind(form.name.as_deref().map(storable))
    .bind(form.email.as_deref().map(|email| email.to_lowercase()))
    .bind(form.phone.as_deref().map(storable))
    .bind(form.business_type.as_deref().map(storable))
    .bind(json_text(&form.fields))
    .bind(form.stage.clone())
    .bind(form.score)
    .bind(form.owner_id.clone())
    .bind(now_ms())
    .bind(id.to_owned())
    .bind(tenant.to_string())
    .bind(version)
    .execute(&mut *tx)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(None);
    }
    tell(tx, tenant, livemode, id, Name::LeadUpdated).await.map(Some)
}

async fn tell(
    tx: &mut AnyConnection,
    tenant: TenantId,
    livemode: bool,
    id: &str,
    kind: Name,
) -> Result<Lead, sqlx::Error> {
    let lead = find(tx, tenant, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    let data = serde_json::to_value(&lead).unwrap_or_default();
    emit(tx, NewEvent { tenant, livemode, kind, data }).await?;
    Ok(lead)
}

/// Erases a lead: personal data goes now, from the row, its notes, its mails and the turns of its call (API.md §4.3).
pub(crate) async fn erase(tx: &mut AnyConnection, lead: &Lead) -> Result<(), sqlx::Error> {
    let now = now_ms();
    sqlx::query(
        "UPDATE leads SET name = NULL, email = NULL, phone = NULL, business_type = NULL, fields = '{}', deleted_at = $1,
           version = version + 1 WHERE id = $2",
    )
    .bind(now)
    .bind(&lead.id)
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM lead_notes WHERE lead_id = $1").bind(&lead.id).execute(&mut *tx).await?;
    sqlx::query(
        "UPDATE emails SET to_addr = '', subject = NULL, body_text = NULL, body_html = NULL,
           state = CASE WHEN state = 'queued' THEN 'suppressed' ELSE state END WHERE lead_id = $1",
    )
    .bind(&lead.id)
    .execute(&mut *tx)
    .await?;
    let Some(call) = &lead.call_id else { return Ok(()) };
    let details: Vec<&str> =
        [&lead.form.name, &lead.form.email, &lead.form.phone].into_iter().filter_map(|text| text.as_deref()).collect();
    let turns = sqlx::query("SELECT n, text FROM turns WHERE call_id = $1").bind(call).fetch_all(&mut *tx).await?;
    for turn in turns {
        let text: String = turn.try_get("text")?;
        let blanked = blank(&text, &details);
        if blanked != text {
            // As long as it was, so that what was heard stays where it ended; the words and their times go.
            sqlx::query("UPDATE turns SET text = $1, words = NULL WHERE call_id = $2 AND n = $3")
                .bind(blanked)
                .bind(call)
                .bind(turn.try_get::<i64, _>("n")?)
                .execute(&mut *tx)
                .await?;
        }
    }
    Ok(())
}

/// The text with every word of the details, whatever its case, and every spoken address or number covered by dots of its length.
fn blank(text: &str, details: &[&str]) -> String {
    let parts: Vec<String> = details
        .iter()
        .flat_map(|detail| detail.split(|c: char| !c.is_alphanumeric()))
        .filter(|part| part.chars().count() >= 3 && !["com", "net", "org", "www"].contains(part))
        .map(str::to_lowercase)
        .collect();
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    let close = |word: &mut String, out: &mut String| {
        if parts.contains(&word.to_lowercase()) {
            out.extend(word.chars().map(|_| '•'));
        } else {
            out.push_str(word);
        }
        word.clear();
    };
    for letter in text.chars() {
        if letter.is_alphanumeric() {
            word.push(letter);
        } else {
            close(&mut word, &mut out);
            out.push(letter);
        }
    }
    close(&mut word, &mut out);
    out
}

fn read(row: &AnyRow) -> Result<Lead, sqlx::Error> {
    let created_at_ms: i64 = row.try_get("created_at")?;
    Ok(Lead {
        id: row.try_get("id")?,
        form: LeadForm {
            name: row.try_get("name")?,
            email: row.try_get("email")?,
            phone: row.try_get("phone")?,
            business_type: row.try_get("business_type")?,
            fields: serde_json::from_str(&row.try_get::<String, _>("fields")?).unwrap_or_default(),
            stage: row.try_get("stage")?,
            score: row.try_get("score")?,
            owner_id: row.try_get("owner_id")?,
        },
        call_id: row.try_get("call_id")?,
        agent_id: row.try_get("agent_id")?,
        notes_count: row.try_get("notes")?,
        version: row.try_get("version")?,
        created_at: rfc3339(created_at_ms),
        updated_at: rfc3339(row.try_get("updated_at")?),
        created_at_ms,
    })
}

/// The lead as GET shows it.
pub(crate) fn document(lead: &Lead) -> Value {
    serde_json::to_value(lead).unwrap_or_else(|_| json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_words_are_covered_and_nothing_moves() {
        let text = "My name is Ann Smith, mail ann.smith@example.com or 2125550123, the smithy is open";
        let covered = blank(text, &["Ann Smith", "ann.smith@example.com", "2125550123"]);
        assert_eq!(covered, "My name is ••• •••••, mail •••.•••••@•••••••.com or ••••••••••, the smithy is open");
        assert_eq!(covered.chars().count(), text.chars().count());
        assert_eq!(blank(text, &[]), text);
    }

    #[test]
    fn signs_of_like_are_only_letters() {
        assert_eq!(like("50%_a!"), "50!%!_a!!");
    }
}
