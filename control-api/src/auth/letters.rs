//! The letters that accounts need: their words, and the links in them.

use domain::{Pii, TenantId};

use crate::{mail::NewMail, time::now_ms};

fn letter(kind: &str, to: &str, token_hash: &str, subject: String, text: String) -> NewMail {
    NewMail {
        tenant: None,
        lead_id: None,
        template: kind.to_owned(),
        to: Pii::from(to.to_owned()),
        subject,
        text,
        html: None,
        dedupe_key: format!("{kind}:{token_hash}"),
        send_at_ms: now_ms(),
    }
}

fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// How to choose a new password.
pub(crate) fn password_reset(base: &str, to: &str, name: &str, token: &str) -> NewMail {
    let link = format!("{base}/reset-password?token={token}");
    let text = fill(include_str!("letters/password_reset.txt"), &[("name", name), ("link", &link)]);
    letter("auth.password_reset", to, &crate::seal::sha256_hex(token.as_bytes()), "Choose a new password".into(), text)
}

/// How to prove that an address is one's own.
pub(crate) fn verify_email(base: &str, to: &str, name: &str, token: &str) -> NewMail {
    let link = format!("{base}/verify-email?token={token}");
    let text = fill(include_str!("letters/verify_email.txt"), &[("name", name), ("link", &link)]);
    letter(
        "auth.verify_email",
        to,
        &crate::seal::sha256_hex(token.as_bytes()),
        "Confirm your e-mail address".into(),
        text,
    )
}

/// An invitation to a tenant.
pub(crate) fn invitation(tenant: TenantId, tenant_name: &str, role: &str, to: &str, link: &str, id: &str) -> NewMail {
    let values = [("tenant", tenant_name), ("role", role), ("link", link)];
    let text = fill(include_str!("letters/invitation.txt"), &values);
    // One line, whatever the tenant calls itself.
    let one_line: String = tenant_name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let subject = format!("Join {one_line} on Sidetone");
    NewMail { tenant: Some(tenant), ..letter("auth.invitation", to, id, subject, text) }
}
