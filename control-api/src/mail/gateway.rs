//! Who carries a mail: an SMTP relay (RFC 5321) or Resend over HTTP. Both are told apart only here.

use std::time::Duration;

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{Mailbox, MultiPart, SinglePart},
    transport::smtp::{authentication::Credentials, client::Tls, client::TlsParameters},
};
use serde_json::{Value, json};

use super::settings::{MailSettings, SmtpTls};

/// A gateway that says nothing for so long is asked again later.
const PATIENCE: Duration = Duration::from_secs(15);

/// A mail as it leaves.
pub(super) struct Letter<'a> {
    /// The same at each attempt, so that a receiver who got it twice can tell.
    pub(super) id: &'a str,
    pub(super) to: &'a str,
    pub(super) subject: &'a str,
    pub(super) text: &'a str,
    pub(super) html: Option<&'a str>,
}

/// Why a mail did not leave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) lasting: Lasting,
}

/// For how long a refusal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    /// Later it may work.
    Temporary,
    /// This mail will never go.
    Letter,
    /// No mail will ever reach this address.
    Address,
}

impl Refusal {
    fn temporary(why: impl ToString) -> Self {
        Self { why: why.to_string(), lasting: Lasting::Temporary }
    }
}

/// Why mail cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// An address that is none.
    #[error("mail.{key} = {value:?}: not an address like Name <name@example.com>")]
    Address {
        /// Which key.
        key: &'static str,
        /// What was given.
        value: String,
    },
    /// A gateway that does not exist.
    #[error("mail.gateway = {0:?}: must be \"smtp\", \"resend\" or \"\"")]
    Unknown(String),
    /// A relay without a port, or whose TLS cannot be set up.
    #[error("mail.smtp = {value:?}: {reason}")]
    Smtp {
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Resend without a key.
    #[error("mail.resend_key is empty: set SIDETONE__MAIL__RESEND_KEY")]
    NoKey,
    /// The HTTP client cannot be made.
    #[error("mail.gateway = \"resend\": {0}")]
    Http(#[from] reqwest::Error),
}

/// The configured carrier.
pub(super) struct Gateway {
    from: Mailbox,
    reply_to: Option<Mailbox>,
    carrier: Carrier,
}

enum Carrier {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Resend { client: reqwest::Client, url: String, key: String },
}

impl Gateway {
    /// None when no gateway is configured.
    pub(super) fn open(settings: &MailSettings) -> Result<Option<Self>, GatewayError> {
        // The process has one TLS backend; whoever needs it first installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let carrier = match settings.gateway.as_str() {
            "" => return Ok(None),
            "smtp" => Carrier::Smtp(relay(settings)?),
            "resend" if settings.resend_key.is_empty() => return Err(GatewayError::NoKey),
            "resend" => Carrier::Resend {
                client: reqwest::Client::builder().timeout(PATIENCE).build()?,
                url: format!("{}/emails", settings.resend_url.trim_end_matches('/')),
                key: settings.resend_key.clone(),
            },
            other => return Err(GatewayError::Unknown(other.to_owned())),
        };
        let mailbox = |key, value: &str| {
            value.parse::<Mailbox>().map_err(|_| GatewayError::Address { key, value: value.to_owned() })
        };
        let reply_to = match settings.reply_to.as_str() {
            "" => None,
            some => Some(mailbox("reply_to", some)?),
        };
        Ok(Some(Self { from: mailbox("from", &settings.from)?, reply_to, carrier }))
    }

    /// Sends, and returns the carrier's own reference.
    pub(super) async fn send(&self, letter: &Letter<'_>) -> Result<String, Refusal> {
        match &self.carrier {
            Carrier::Smtp(relay) => {
                let message = self.message(letter)?;
                let answer = relay.send(message).await.map_err(|error| smtp_refusal(&error))?;
                Ok(answer.message().collect::<Vec<_>>().join(" ").chars().take(200).collect())
            }
            Carrier::Resend { client, url, key } => {
                let mut body = json!({"from": self.from.to_string(), "to": [letter.to], "subject": letter.subject,
                    "text": letter.text});
                if let Some(html) = letter.html {
                    body["html"] = html.into();
                }
                if let Some(reply_to) = &self.reply_to {
                    body["reply_to"] = reply_to.to_string().into();
                }
                let request = client.post(url).bearer_auth(key).header("Idempotency-Key", letter.id);
                let answer =
                    request.json(&body).send().await.map_err(|error| Refusal::temporary(error.without_url()))?;
                let status = answer.status().as_u16();
                let said: Value = answer.json().await.unwrap_or(Value::Null);
                resend_outcome(status, &said)
            }
        }
    }

    fn message(&self, letter: &Letter<'_>) -> Result<Message, Refusal> {
        let never = |error: &dyn std::fmt::Display| Refusal { why: error.to_string(), lasting: Lasting::Letter };
        let to = letter.to.parse::<Mailbox>().map_err(|error| never(&error))?;
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(letter.subject)
            .message_id(Some(format!("<{}@{}>", letter.id, self.from.email.domain())));
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        let text = letter.text.to_owned();
        match letter.html {
            Some(html) => message.multipart(MultiPart::alternative_plain_html(text, html.to_owned())),
            None => message.singlepart(SinglePart::plain(text)),
        }
        .map_err(|error| never(&error))
    }
}

fn relay(settings: &MailSettings) -> Result<AsyncSmtpTransport<Tokio1Executor>, GatewayError> {
    let wrong = |reason: String| GatewayError::Smtp { value: settings.smtp.clone(), reason };
    let (host, port) = settings
        .smtp
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse::<u16>().ok()?)))
        .ok_or_else(|| wrong("must be host:port".into()))?;
    let parameters = || TlsParameters::new(host.to_owned()).map_err(|error| wrong(error.to_string()));
    let tls = match settings.smtp_tls {
        SmtpTls::Starttls => Tls::Required(parameters()?),
        SmtpTls::Tls => Tls::Wrapper(parameters()?),
        SmtpTls::Off => Tls::None,
    };
    let mut relay =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(port).tls(tls).timeout(Some(PATIENCE));
    if !settings.smtp_user.is_empty() {
        relay = relay.credentials(Credentials::new(settings.smtp_user.clone(), settings.smtp_password.clone()));
    }
    Ok(relay.build())
}

/// What the relay's code means (RFC 5321 §4.2, RFC 3463): a wrong password is the operator's to mend and no fault of the mail.
fn smtp_refusal(error: &lettre::transport::smtp::Error) -> Refusal {
    let code = error.status().map(|code| code.to_string().parse::<u16>().unwrap_or(0)).unwrap_or(0);
    // The source holds what the relay said.
    let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let why = format!("{error} {said}").trim().chars().take(500).collect();
    Refusal { lasting: smtp_lasting(code, &said), why }
}

fn smtp_lasting(code: u16, said: &str) -> Lasting {
    match code {
        530 | 534 | 535 | 538 => Lasting::Temporary,
        550 | 551 | 553 if !said.contains("5.7.") => Lasting::Address,
        500..=599 => Lasting::Letter,
        _ => Lasting::Temporary,
    }
}

fn resend_outcome(status: u16, said: &Value) -> Result<String, Refusal> {
    if (200..300).contains(&status) {
        return Ok(said["id"].as_str().unwrap_or_default().chars().take(200).collect());
    }
    let message = said["message"].as_str().unwrap_or("no reason given");
    let why = format!("resend {status}: {}", message.chars().take(400).collect::<String>());
    let lasting = match status {
        400 | 422 => Lasting::Letter,
        _ => Lasting::Temporary,
    };
    Err(Refusal { why, lasting })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whose_fault_it_is_and_for_how_long() {
        for (code, said, lasting) in [
            (451, "4.3.0 try later", Lasting::Temporary),
            (535, "5.7.8 bad credentials", Lasting::Temporary),
            (550, "5.1.1 no such user", Lasting::Address),
            (550, "5.7.1 refused by policy", Lasting::Letter),
            (552, "5.2.2 mailbox full", Lasting::Letter),
            (0, "", Lasting::Temporary),
        ] {
            assert_eq!(smtp_lasting(code, said), lasting, "{code} {said}");
        }
        assert_eq!(resend_outcome(200, &json!({"id": "x"})), Ok("x".into()));
        assert_eq!(resend_outcome(422, &json!({"message": "bad"})).unwrap_err().lasting, Lasting::Letter);
        assert_eq!(resend_outcome(429, &Value::Null).unwrap_err().lasting, Lasting::Temporary);
    }

    #[test]
    fn a_gateway_that_cannot_be_is_named_by_its_key() {
        let settings = |gateway: &str| MailSettings { gateway: gateway.into(), ..MailSettings::default() };
        let wrong = |settings| Gateway::open(&settings).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(Gateway::open(&settings("")).unwrap().is_none());
        assert!(wrong(settings("pigeon")).contains("\"pigeon\""));
        assert!(wrong(settings("resend")).contains("RESEND_KEY"));
        assert!(wrong(MailSettings { smtp: "localhost".into(), ..settings("smtp") }).contains("host:port"));
        let off = MailSettings { smtp_tls: SmtpTls::Off, ..settings("smtp") };
        assert!(wrong(MailSettings { from: "nobody".into(), ..off }).starts_with("mail.from"));
    }
}
