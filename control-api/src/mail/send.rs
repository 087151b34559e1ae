//! The job `mail.send`: one mail to its end. What cannot go now is tried again by the queue; what never will is kept with its reason.

use domain::event::Name;
use serde_json::json;
use sqlx::Row as _;

use super::{
    GatewayError, MailSettings, SEND,
    gateway::{Gateway, Lasting, Letter},
    is_suppressed, masked, suppress,
};
use crate::{
    BoxFuture, Store,
    jobs::{Context, Fault, Handler, Job},
    outbox::{NewEvent, emit},
    store::storable,
};

/// Sends mails by the configured gateway.
pub struct Sender {
    gateway: Option<Gateway>,
}

impl Sender {
    /// Checks the settings; nothing is connected yet.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub fn new(settings: &MailSettings) -> Result<Self, GatewayError> {
        Ok(Self { gateway: Gateway::open(settings)? })
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("gateway", &self.gateway.is_some()).finish()
    }
}

/// A row that waits.
struct Waiting {
    id: String,
    tenant: Option<String>,
    lead_id: Option<String>,
    template: String,
    to: String,
    subject: String,
    text: String,
    html: Option<String>,
}

impl Handler for Sender {
    fn kind(&self) -> &'static str {
        SEND
    }

    fn run<'a>(&'a self, context: &'a Context, job: &'a Job) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let id = job.payload["email_id"].as_str().unwrap_or_default();
            let Some(mail) = waiting(&context.store, id).await? else { return Ok(()) };
            let now = context.clock.now_ms();
            let Some(gateway) = &self.gateway else {
                // An installation without mail is a choice; no job is to die of it.
                return close(&context.store, &mail, "failed", Err("no mail gateway is configured"), now).await;
            };
            if unwanted(&context.store, &mail).await? {
                return close(&context.store, &mail, "suppressed", Err("the address wants no mail"), now).await;
            }
            let letter = Letter {
                id: &mail.id,
                to: &mail.to,
                subject: &mail.subject,
                text: &mail.text,
                html: mail.html.as_deref(),
            };
            match gateway.send(&letter).await {
                Ok(reference) => close(&context.store, &mail, "sent", Ok(&reference), now).await,
                Err(refusal) if refusal.lasting == Lasting::Temporary && job.attempt < job.max_attempts => {
                    Err(Fault::Again(refusal.why))
                }
                Err(refusal) => {
                    if let (Lasting::Address, Some(tenant)) = (refusal.lasting, &mail.tenant) {
                        let mut tx = context.store.begin().await?;
                        suppress(&mut tx, tenant, &mail.to, &refusal.why).await?;
                        tx.commit().await?;
                    }
                    close(&context.store, &mail, "failed", Err(&refusal.why), now).await
                }
            }
        })
    }
}

async fn waiting(store: &Store, id: &str) -> Result<Option<Waiting>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id, tenant_id, lead_id, template, to_addr, subject, body_text, body_html FROM emails
         WHERE id = $1 AND state = 'queued'",
    )
    .bind(id.to_owned())
    .fetch_optional(store.pool())
    .await?;
    row.map(|row| {
        Ok(Waiting {
            id: row.try_get(0)?,
            tenant: row.try_get(1)?,
            lead_id: row.try_get(2)?,
            template: row.try_get(3)?,
            to: row.try_get(4)?,
            subject: row.try_get::<Option<_>, _>(5)?.unwrap_or_default(),
            text: row.try_get::<Option<_>, _>(6)?.unwrap_or_default(),
            html: row.try_get(7)?,
        })
    })
    .transpose()
}

/// Between queueing and sending lie up to seven days.
async fn unwanted(store: &Store, mail: &Waiting) -> Result<bool, sqlx::Error> {
    let Some(tenant) = mail.tenant.as_deref().and_then(|tenant| tenant.parse().ok()) else { return Ok(false) };
    is_suppressed(&mut *store.pool().acquire().await?, tenant, &mail.to).await
}

/// Ends a mail: its words go, the event tells. The first end wins.
async fn close(
    store: &Store,
    mail: &Waiting,
    state: &'static str,
    outcome: Result<&str, &str>,
    now_ms: i64,
) -> Result<(), Fault> {
    let mut tx = store.begin().await?;
    let closed = sqlx::query(
        "UPDATE emails SET state = $1, gateway_ref = $2, error = $3, sent_at = $4, subject = NULL, body_text = NULL, body_html = NULL
         WHERE id = $5 AND state = 'queued'",
    )
    .bind(state)
    .bind(outcome.ok().map(storable))
    .bind(outcome.err().map(storable))
    .bind(outcome.is_ok().then_some(now_ms))
    .bind(&mail.id)
    .execute(&mut *tx)
    .await?;
    if let (1, Some(tenant)) = (closed.rows_affected(), mail.tenant.as_deref().and_then(|tenant| tenant.parse().ok())) {
        let kind = if outcome.is_ok() { Name::EmailSent } else { Name::EmailFailed };
        let mut data = json!({"lead_id": mail.lead_id, "template": mail.template, "to_masked": masked(&mail.to)});
        if let Err(reason) = outcome {
            data["reason"] = reason.into();
        }
        emit(&mut tx, NewEvent { tenant, livemode: true, kind, data }).await?;
    }
    tx.commit().await?;
    store.ring();
    Ok(())
}
