//! What an analysis found out about the caller becomes a lead, or fills the gaps of the lead that the caller already is.

use domain::TenantId;
use sqlx::AnyConnection;

use super::{
    follow_up::{FollowUp, follow_up, notify},
    rows::{self, Lead, LeadForm, STAGES},
};
use crate::after::{Analysis, Contact, Talk};

/// Writes the lead, its event and its mails into the transaction of the analysis.
pub(crate) async fn capture(
    tx: &mut AnyConnection,
    talk: &Talk,
    contact: &Contact,
    analysis: &Analysis,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    if !contact.is_worth_keeping() {
        return Ok(());
    }
    let call = talk.call.to_string();
    let of = Of { tenant: talk.tenant, livemode: talk.livemode, call: &call, agent: talk.agent_id.as_deref() };
    match keep(tx, &of, contact).await? {
        Some(lead) => mails(tx, talk, &lead, analysis, now_ms).await,
        None => Ok(()),
    }
}

/// Where a contact comes from.
pub(super) struct Of<'a> {
    pub(super) tenant: TenantId,
    pub(super) livemode: bool,
    pub(super) call: &'a str,
    pub(super) agent: Option<&'a str>,
}

/// Makes a lead or fills the gaps of the one that there is, with its event. None: that call's lead was deleted and stays so.
pub(super) async fn keep(tx: &mut AnyConnection, of: &Of<'_>, contact: &Contact) -> Result<Option<Lead>, sqlx::Error> {
    let known = rows::known(tx, of.tenant, of.call, contact.email.as_deref(), contact.phone.as_deref()).await?;
    match known {
        Some((_, true)) => Ok(None),
        Some((id, false)) => {
            let Some(before) = rows::find(tx, of.tenant, &id).await? else { return Ok(None) };
            let form = filled(&before.form, contact);
            if form == before.form {
                return Ok(Some(before));
            }
            let after = rows::update(tx, of.tenant, of.livemode, &id, before.version, &form).await?;
            Ok(Some(after.unwrap_or(before)))
        }
        None => {
            let form = filled(&LeadForm { stage: STAGES[0].into(), ..LeadForm::default() }, contact);
            rows::insert(tx, of.tenant, of.livemode, Some(of.call), of.agent, &form).await.map(Some)
        }
    }
}

/// The form with what it lacked; what somebody wrote before is not overruled by what a machine heard.
fn filled(before: &LeadForm, contact: &Contact) -> LeadForm {
    let mut form = before.clone();
    let fill = |place: &mut Option<String>, value: &Option<String>| {
        if place.as_deref().unwrap_or_default().trim().is_empty() {
            place.clone_from(value);
        }
    };
    fill(&mut form.name, &contact.name);
    fill(&mut form.email, &contact.email);
    fill(&mut form.phone, &contact.phone);
    fill(&mut form.business_type, &contact.business_type);
    for (name, value) in &contact.fields {
        form.fields.entry(name.clone()).or_insert_with(|| value.clone());
    }
    form
}

/// Test calls send nothing.
async fn mails(
    tx: &mut AnyConnection,
    talk: &Talk,
    lead: &Lead,
    analysis: &Analysis,
    now_ms: i64,
) -> Result<(), sqlx::Error> {
    if !talk.livemode {
        return Ok(());
    }
    let wishes = &talk.agent.leads;
    for address in &wishes.notify {
        notify(tx, talk, lead, analysis, address, now_ms).await?;
    }
    if let Some(template) = &wishes.follow_up_template_id {
        let delay = i64::try_from(wishes.follow_up_delay_ms).unwrap_or(0);
        let done = follow_up(tx, talk.tenant, lead, template, Some((talk, analysis)), now_ms + delay).await?;
        if let FollowUp::NoTemplate | FollowUp::NoAddress = done {
            tracing::info!(call_id = %talk.call, ?done, "no follow-up mail");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_stands_and_gaps_are_filled() {
        let before = LeadForm {
            name: Some("Ann".into()),
            email: Some(" ".into()),
            fields: [("a".to_owned(), "1".to_owned())].into(),
            ..LeadForm::default()
        };
        let contact = Contact {
            name: Some("Anne".into()),
            email: Some("ann@example.com".into()),
            fields: [("a".to_owned(), "2".to_owned()), ("b".to_owned(), "3".to_owned())].into(),
            ..Contact::default()
        };
        let after = filled(&before, &contact);
        assert_eq!((after.name.as_deref(), after.email.as_deref()), (Some("Ann"), Some("ann@example.com")));
        assert_eq!((after.fields["a"].as_str(), after.fields["b"].as_str()), ("1", "3"));
    }
}
