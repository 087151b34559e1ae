//! Mail: written with the transaction that wants it, sent soon after by a job, at most once per reason.
//!
//! The row of `emails` holds the words until the mail has left or is given up; after that only to whom, when and why remain.

use domain::{Pii, TenantId};
use serde_json::json;
use sqlx::{AnyConnection, Row as _};

use crate::{
    jobs::{NewJob, enqueue},
    store::{fresh_id, storable},
    time::now_ms,
};

/// The job that sends.
const SEND: &str = "mail.send";

/// A mail to be sent.
#[derive(Clone, Debug)]
pub struct NewMail {
    /// In whose name; none for the installation's own (a password that was forgotten).
    pub tenant: Option<TenantId>,
    /// The lead it goes to, if it is one.
    pub lead_id: Option<String>,
    /// What kind of mail it is, or the id of the tenant's template.
    pub template: String,
    /// One address.
    pub to: Pii<String>,
    /// One line.
    pub subject: String,
    /// The body.
    pub text: String,
    /// The same for readers of HTML.
    pub html: Option<String>,
    /// Two mails with one key are one mail, for ever.
    pub dedupe_key: String,
    /// Not before this time, Unix ms.
    pub send_at_ms: i64,
}

/// What became of a mail that was to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queued {
    /// It will be sent; its id.
    New(String),
    /// It was queued before, under this id.
    Known(String),
    /// The address wants no mail, or none reaches it.
    Suppressed,
}

/// Leaves a mail in the caller's transaction: it is sent if and only if that commits.
pub async fn queue(tx: &mut AnyConnection, mail: NewMail) -> Result<Queued, sqlx::Error> {
    let (id, now) = (fresh_id(), now_ms());
    let to = storable(mail.to.expose());
    let suppressed = match mail.tenant {
        Some(tenant) => is_suppressed(tx, tenant, &to).await?,
        None => false,
    };
    let state = if suppressed { "suppressed" } else { "queued" };
    let words = |text: String| (!suppressed).then(|| storable(&text));
    let made = sqlx::query(
        "INSERT INTO emails (id, tenant_id, lead_id, template, to_addr, state, dedupe_key, subject, body_text, body_html, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (dedupe_key) DO NOTHING",
    )
    .bind(&id)
    .bind(mail.tenant.map(|tenant| tenant.to_string()))
    .bind(mail.lead_id)
    .bind(storable(&mail.template))
    .bind(to)
    .bind(state)
    .bind(storable(&mail.dedupe_key))
    .bind(words(mail.subject))
    .bind(words(mail.text))
    .bind(mail.html.and_then(words))
    .bind(now)
    .execute(&mut *tx)
    .await?;
    if made.rows_affected() == 0 {
        let known: String = sqlx::query("SELECT id FROM emails WHERE dedupe_key = $1")
            .bind(storable(&mail.dedupe_key))
            .fetch_one(tx)
            .await?
            .try_get(0)?;
        return Ok(Queued::Known(known));
    }
    if suppressed {
        return Ok(Queued::Suppressed);
    }
    let job = NewJob {
        tenant: mail.tenant,
        kind: SEND,
        dedupe_key: format!("{SEND}:{id}"),
        payload: json!({"email_id": id}),
        run_at_ms: mail.send_at_ms,
    };
    enqueue(tx, job).await?;
    Ok(Queued::New(id))
}

/// Whether an address wants no mail of a tenant.
async fn is_suppressed(db: &mut AnyConnection, tenant: TenantId, address: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT address FROM email_suppressions WHERE tenant_id = $1 AND address = $2")
        .bind(tenant.to_string())
        .bind(address.to_lowercase())
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}
