//! Carriers that sell numbers: search, order, point at us, give back. One trait; a carrier is a file.
//!
//! A carrier is asked again after any doubt (a time-out, a crash), so an order carries a reference by which the carrier, or we by
//! looking, find what was ordered before.

mod order;
mod port;
pub(crate) mod porting;
mod telnyx;
mod twilio;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::phone::E164;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use order::{begin, pay};
pub(crate) use port::{begin as begin_port, hurry as hurry_port, pay as pay_port};
use porting::Porting;
use telnyx::Telnyx;
use twilio::Twilio;

use crate::BoxFuture;

/// An account with a carrier.
pub(crate) trait Carrier: Porting {
    /// Numbers that can be bought.
    fn search<'a>(&'a self, wanted: &'a Search) -> BoxFuture<'a, Result<Vec<Offer>, CarrierError>>;

    /// Buys a number, or finds that it was bought under this reference before.
    fn order<'a>(&'a self, number: &'a E164, reference: &'a str) -> BoxFuture<'a, Result<Ordered, CarrierError>>;

    /// Sends the number's calls to us.
    fn point<'a>(&'a self, carrier_ref: &'a str) -> BoxFuture<'a, Result<(), CarrierError>>;

    /// Gives a number back. One that is not there any more is given back.
    fn release<'a>(&'a self, carrier_ref: &'a str) -> BoxFuture<'a, Result<(), CarrierError>>;

    /// What a number costs the tenant: at once, and each month.
    fn price(&self) -> Price;
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    /// ISO 3166 alpha-2.
    pub(crate) country: String,
    pub(crate) area_code: Option<String>,
    /// Digits and `*`.
    pub(crate) contains: Option<String>,
    /// `local`, `mobile`, `toll_free` or `national`.
    pub(crate) kind: Option<String>,
    pub(crate) limit: i64,
}

/// A number that can be bought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Offer {
    pub(crate) e164: String,
    pub(crate) kind: String,
    pub(crate) locality: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) voice: bool,
    pub(crate) sms: bool,
}

/// How an order stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ordered {
    /// The number is ours; this is its name at the carrier.
    Ready(String),
    /// The carrier is at it.
    Pending,
}

/// What a number costs the tenant, millionths of a dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Price {
    pub(crate) setup_micros: i64,
    pub(crate) monthly_micros: i64,
}

/// Why a carrier did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CarrierError {
    /// Somebody else has bought it.
    #[error("the number is not available any more")]
    Gone,
    /// It will not do it, however often it is asked.
    #[error("the carrier refuses: {0}")]
    Refused(String),
    /// It may do it later.
    #[error("the carrier does not answer well: {0}")]
    Busy(String),
}

/// `[carriers]` of the configuration. An account without its secret is no account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CarrierSettings {
    /// Twilio.
    pub twilio: TwilioSettings,
    /// Telnyx.
    pub telnyx: TelnyxSettings,
}

/// `[carriers.twilio]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwilioSettings {
    /// `AC…`.
    pub account_sid: String,
    /// From the environment, never from the file.
    pub auth_token: String,
    /// The elastic SIP trunk that bought numbers are pointed at, `TK…`.
    pub trunk_sid: String,
    /// Where its API is.
    pub base_url: String,
    /// Where its API for numbers of other carriers is.
    pub porting_url: String,
    /// Where it takes documents.
    pub upload_url: String,
    /// What a tenant pays for a number at once, millionths of a dollar.
    pub setup_micros: i64,
    /// What a tenant pays for a number each month.
    pub monthly_micros: i64,
}

impl Default for TwilioSettings {
    fn default() -> Self {
        Self {
            account_sid: String::new(),
            auth_token: String::new(),
            trunk_sid: String::new(),
            base_url: "https://api.twilio.com".into(),
            porting_url: "https://numbers.twilio.com".into(),
            upload_url: "https://numbers-upload.twilio.com".into(),
            setup_micros: 0,
            monthly_micros: 1_150_000,
        }
    }
}

/// `[carriers.telnyx]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelnyxSettings {
    /// From the environment, never from the file.
    pub api_key: String,
    /// The connection that bought numbers are pointed at.
    pub connection_id: String,
    /// Where its API is.
    pub base_url: String,
    /// What a tenant pays for a number at once, millionths of a dollar.
    pub setup_micros: i64,
    /// What a tenant pays for a number each month.
    pub monthly_micros: i64,
}

impl Default for TelnyxSettings {
    fn default() -> Self {
        Self {
            api_key: String::new(),
            connection_id: String::new(),
            base_url: "https://api.telnyx.com/v2".into(),
            setup_micros: 0,
            monthly_micros: 1_000_000,
        }
    }
}

/// The carriers that this installation has accounts with, by name.
#[derive(Clone, Default)]
pub(crate) struct Carriers(Arc<BTreeMap<&'static str, Arc<dyn Carrier>>>);

impl std::fmt::Debug for Carriers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Carriers {
    /// Those whose secrets are set.
    pub(crate) fn new(settings: &CarrierSettings) -> Self {
        let mut carriers: BTreeMap<&'static str, Arc<dyn Carrier>> = BTreeMap::new();
        if !settings.twilio.auth_token.is_empty() {
            carriers.insert("twilio", Arc::new(Twilio::new(settings.twilio.clone())));
        }
        if !settings.telnyx.api_key.is_empty() {
            carriers.insert("telnyx", Arc::new(Telnyx::new(settings.telnyx.clone())));
        }
        Self(Arc::new(carriers))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<dyn Carrier>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Arc<dyn Carrier>)> {
        self.0.iter().map(|(name, carrier)| (*name, carrier))
    }
}

/// Who does the orders of numbers, for the background of a node.
#[must_use]
pub fn number_orders(settings: &CarrierSettings) -> Arc<dyn crate::Handler> {
    Arc::new(order::NumberOrders(Carriers::new(settings)))
}

/// Who brings numbers over from other carriers, for the background of a node. Bills lie in the folder of files.
#[must_use]
pub fn number_ports(
    settings: &CarrierSettings,
    seal: crate::NodeKey,
    files: &crate::FilesSettings,
) -> Arc<dyn crate::Handler> {
    Arc::new(port::NumberPorts { carriers: Carriers::new(settings), seal, folder: files.dir.clone() })
}

/// A client that waits ten seconds and follows nobody elsewhere.
fn client() -> reqwest::Client {
    // The process has installed one already unless this is a test.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder =
        reqwest::Client::builder().timeout(Duration::from_secs(10)).redirect(reqwest::redirect::Policy::none());
    builder.build().unwrap_or_default()
}

/// Sends a request and reads the answer: `gone` says by the vendor's error whether the number is.
async fn ask(request: reqwest::RequestBuilder, gone: impl Fn(&Value) -> bool) -> Result<Value, CarrierError> {
    let answer = request.send().await.map_err(|error| CarrierError::Busy(error.without_url().to_string()))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| CarrierError::Busy(error.without_url().to_string()))?;
    let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or(Value::Null) };
    if status.is_success() {
        return Ok(body);
    }
    if gone(&body) {
        return Err(CarrierError::Gone);
    }
    let said = [&body["message"], &body["errors"][0]["detail"], &body["errors"][0]["title"]];
    let said = said.iter().find_map(|text| text.as_str()).unwrap_or("no reason given");
    let said: String = format!("{}: {said}", status.as_u16()).chars().take(200).collect();
    let later = status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 408;
    Err(if later { CarrierError::Busy(said) } else { CarrierError::Refused(said) })
}

/// An answer that has not what it must have.
fn odd(what: &str) -> CarrierError {
    CarrierError::Busy(format!("an answer without {what}"))
}
