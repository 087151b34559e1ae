//! Mail to a lead by a template, at most once per lead and template; and word of a lead to the team.

use std::collections::BTreeMap;

use domain::TenantId;
use sqlx::{AnyConnection, Row as _};

use super::{rows::Lead, templates};
use crate::{
    after::{Analysis, Talk},
    mail::{Escape, NewMail, Queued, Template, queue},
    time::{now_ms, rfc3339},
};

/// What became of a mail to a lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FollowUp {
    /// It goes, or went before; its id.
    Mail(String),
    /// The lead has no address.
    NoAddress,
    /// The address wants no mail, or none reaches it.
    Suppressed,
    /// The template is gone.
    NoTemplate,
}

impl From<Queued> for FollowUp {
    fn from(queued: Queued) -> Self {
        match queued {
            Queued::New(id) | Queued::Known(id) => Self::Mail(id),
            Queued::Suppressed => Self::Suppressed,
        }
    }
}

/// Leaves the mail of a template to a lead.
pub(crate) async fn follow_up(
    tx: &mut AnyConnection,
    tenant: TenantId,
    lead: &Lead,
    template_id: &str,
    after: Option<(&Talk, &Analysis)>,
    send_at_ms: i64,
) -> Result<FollowUp, sqlx::Error> {
    let Some(to) = lead.form.email.clone() else { return Ok(FollowUp::NoAddress) };
    let Some(template) = templates::find(tx, tenant, template_id).await? else { return Ok(FollowUp::NoTemplate) };
    let values = values(tx, tenant, lead, after).await?;
    let Some([subject, text, html]) = templates::rendered(&template.form, &values) else {
        return Ok(FollowUp::NoTemplate);
    };
    let mail = NewMail {
        tenant: Some(tenant),
        lead_id: Some(lead.id.clone()),
        template: template_id.to_owned(),
        to: to.into(),
        subject: subject.unwrap_or_default(),
        text: text.unwrap_or_default(),
        html,
        dedupe_key: format!("follow_up:{}:{template_id}", lead.id),
        send_at_ms,
    };
    queue(tx, mail).await.map(FollowUp::from)
}

/// What a template may name.
pub(crate) async fn values(
    db: &mut AnyConnection,
    tenant: TenantId,
    lead: &Lead,
    after: Option<(&Talk, &Analysis)>,
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let tenant_name: String = sqlx::query("SELECT name FROM tenants WHERE id = $1")
        .bind(tenant.to_string())
        .fetch_one(db)
        .await?
        .try_get(0)?;
    let form = &lead.form;
    let mut values: BTreeMap<String, String> = [
        ("tenant_name", Some(tenant_name)),
        ("today", Some(rfc3339(now_ms())[..10].to_owned())),
        ("lead.name", form.name.clone()),
        ("lead.email", form.email.clone()),
        ("lead.phone", form.phone.clone()),
        ("lead.business_type", form.business_type.clone()),
        ("lead.stage", Some(form.stage.clone())),
        ("call_id", lead.call_id.clone()),
        ("agent_name", after.map(|(talk, _)| talk.agent.name.clone())),
        ("caller", after.map(|(talk, _)| talk.person.clone())),
        ("summary", after.and_then(|(_, analysis)| analysis.findings.summary.clone())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect();
    values.extend(form.fields.iter().map(|(name, value)| (format!("lead.fields.{name}"), value.clone())));
    Ok(values)
}

const TEAM_SUBJECT: &str = "New lead: {{lead.name|a caller}}";
const TEAM_TEXT: &str = "{{agent_name}} spoke with {{lead.name|a caller}}.\n\nName: {{lead.name|-}}\nE-mail: {{lead.email|-}}\nPhone: {{lead.phone|-}}\nBusiness: {{lead.business_type|-}}\n\n{{summary}}\n\nCall {{call_id}}\n";

/// Tells one of the team, once per call and address.
pub(super) async fn notify(
    tx: &mut AnyConnection,
    talk: &Talk,
    lead: &Lead,
    analysis: &Analysis,
    address: &str,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    let mut values = values(tx, talk.tenant, lead, Some((talk, analysis))).await?;
    values.insert("call_id".into(), talk.call.to_string());
    let render =
        |text: &str, escape| Template::parse(text).map(|template| template.render(&values, escape)).unwrap_or_default();
    let mail = NewMail {
        tenant: Some(talk.tenant),
        lead_id: Some(lead.id.clone()),
        template: "lead_notify".into(),
        to: address.to_owned().into(),
        subject: render(TEAM_SUBJECT, Escape::Line),
        text: render(TEAM_TEXT, Escape::Text),
        html: None,
        dedupe_key: format!("lead_notify:{}:{address}", talk.call),
        send_at_ms: now_ms,
    };
    queue(tx, mail).await.map(drop)
}
