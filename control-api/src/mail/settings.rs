//! `[mail]`: who carries the installation's mail. Without a gateway mails are kept as failed, with that reason.

use serde::Deserialize;

/// How mail leaves. Passwords and keys belong in the environment.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailSettings {
    /// The sender, `Name <address>` or an address.
    pub from: String,
    /// Where answers go; "" = to the sender.
    pub reply_to: String,
    /// `smtp`, `resend`, or "" for none.
    pub gateway: String,
    /// `host:port` of the SMTP relay.
    pub smtp: String,
    /// How the connection to the relay is protected.
    pub smtp_tls: SmtpTls,
    /// "" = the relay asks for no password.
    pub smtp_user: String,
    /// Of that user.
    pub smtp_password: String,
    /// Base URL of Resend's API.
    pub resend_url: String,
    /// Resend's key.
    pub resend_key: String,
}

/// How the connection to an SMTP relay is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// Begins in clear and must become TLS before anything is said (RFC 3207).
    #[default]
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// None: for a relay on this machine.
    Off,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            from: "Sidetone <sidetone@localhost>".into(),
            reply_to: String::new(),
            gateway: String::new(),
            smtp: "127.0.0.1:25".into(),
            smtp_tls: SmtpTls::default(),
            smtp_user: String::new(),
            smtp_password: String::new(),
            resend_url: "https://api.resend.com".into(),
            resend_key: String::new(),
        }
    }
}

impl std::fmt::Debug for MailSettings {
    /// Without password and key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailSettings")
            .field("from", &self.from)
            .field("gateway", &self.gateway)
            .field("smtp", &self.smtp)
            .finish_non_exhaustive()
    }
}
