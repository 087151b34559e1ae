//! Mail: written with the transaction that wants it, sent soon after by a job, at most once per reason.
//!
//! The row of `emails` holds the words until the mail has left or is given up; after that only to whom, when and why remain.

mod gateway;
mod send;
mod settings;
mod template;

use domain::{Pii, TenantId};
use serde_json::json;
use sqlx::{AnyConnection, Row as _};

pub use gateway::GatewayError;
pub use send::Sender;
pub use settings::{MailSettings, SmtpTls};
pub(crate) use template::{Escape, Template, TemplateError};

use crate::{
    jobs::{NewJob, enqueue},
    store::{fresh_id, storable},
    time::now_ms,
};

/// The job that sends.
pub(crate) const SEND: &str = "mail.send";

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
pub(crate) async fn is_suppressed(
    db: &mut AnyConnection,
    tenant: TenantId,
    address: &str,
) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT address FROM email_suppressions WHERE tenant_id = $1 AND address = $2")
        .bind(tenant.to_string())
        .bind(address.to_lowercase())
        .fetch_optional(db)
        .await?;
    Ok(row.is_some())
}

/// Notes that an address wants no mail of a tenant, or that none reaches it.
pub(crate) async fn suppress(
    db: &mut AnyConnection,
    tenant: &str,
    address: &str,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO email_suppressions (tenant_id, address, reason, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, address) DO NOTHING",
    )
    .bind(tenant.to_owned())
    .bind(address.to_lowercase())
    .bind(storable(reason))
    .bind(now_ms())
    .execute(db)
    .await
    .map(drop)
}

/// `john@example.com` as others may see it: `j•••@example.com`.
pub(crate) fn masked(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((user, host)) => format!("{}•••@{host}", user.chars().next().map(String::from).unwrap_or_default()),
        None => "•••".into(),
    }
}

/// Whether a text is one address that a mail can go to: no display name, no list, nothing that could end a header line.
pub(crate) fn is_address(text: &str) -> bool {
    text.len() <= 254 && text.is_ascii() && text.parse::<lettre::Address>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_host_and_one_letter() {
        assert_eq!(masked("john@example.com"), "j•••@example.com");
        assert_eq!(masked("nobody"), "•••");
    }

    #[test]
    fn lists_names_and_line_ends_are_no_address() {
        assert!(is_address("john.smith+x@mail.example.com"));
        for wrong in
            ["", "john", "a@b@c", "John <a@example.com>", "a@example.com,b@example.com", "a@x.com\r\nBcc: b@x.com"]
        {
            assert!(!is_address(wrong), "{wrong}");
        }
    }
}
