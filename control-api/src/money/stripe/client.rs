//! The requests to Stripe: form bodies out, JSON back, every write with an idempotency key.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use serde_json::Value;

use crate::money::BillingSettings;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CashierError {
    /// No secret key is configured.
    #[error("payments are not configured: billing.stripe_secret_key is empty")]
    NotConfigured,
    /// The gateway says no, and would say so again.
    #[error("stripe refuses: {0}")]
    Refused(String),
    /// The gateway is away or busy.
    #[error("stripe does not answer: {0}")]
    Away(String),
}

/// A page of the gateway's where somebody pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// `cs_…`
    pub reference: String,
    /// Where to send the payer.
    pub url: String,
    /// Unix seconds.
    pub expires_at_s: i64,
}

/// A client of the gateway. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cashier {
    /// Made with the first request: without a key there is none, and nothing to prepare.
    http: Arc<OnceLock<Option<reqwest::Client>>>,
    settings: BillingSettings,
}

impl Cashier {
    /// A client by these settings; without a secret key every request fails with [`CashierError::NotConfigured`].
    pub fn new(settings: BillingSettings) -> Self {
        Self { http: Arc::default(), settings }
    }

    /// The settings it works by.
    pub fn settings(&self) -> &BillingSettings {
        &self.settings
    }

    /// Whether the key moves real money; none if there is no key.
    pub fn livemode(&self) -> Option<bool> {
        self.settings.stripe_secret_key.reveal().map(|key| !key.contains("_test_"))
    }

    /// Opens a page where `payment` is paid.
    pub async fn checkout(
        &self,
        payment: &str,
        amount_minor: i64,
        currency: &str,
        success_url: &str,
        cancel_url: &str,
    ) -> Result<Checkout, CashierError> {
        let amount = amount_minor.to_string();
        let form = [
            ("mode", "payment"),
            ("client_reference_id", payment),
            ("success_url", success_url),
            ("cancel_url", cancel_url),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price_data][currency]", currency),
            ("line_items[0][price_data][unit_amount]", &amount),
            ("line_items[0][price_data][product_data][name]", "Call credit"),
        ];
        let answer = self.post("/v1/checkout/sessions", &form, payment).await?;
        checkout_of(&answer)
    }

    /// Opens a page where a subscription is begun.
    pub async fn subscribe(
        &self,
        tenant: &str,
        price: &str,
        success_url: &str,
        cancel_url: &str,
        key: &str,
    ) -> Result<Checkout, CashierError> {
        let form = [
            ("mode", "subscription"),
            ("client_reference_id", tenant),
            ("subscription_data[metadata][tenant_id]", tenant),
            ("success_url", success_url),
            ("cancel_url", cancel_url),
            ("line_items[0][quantity]", "1"),
            ("line_items[0][price]", price),
        ];
        let answer = self.post("/v1/checkout/sessions", &form, key).await?;
        checkout_of(&answer)
    }

    /// Closes a page on which nobody has paid, so that nobody will.
    pub async fn expire(&self, checkout_ref: &str, key: &str) -> Result<(), CashierError> {
        self.post(&format!("/v1/checkout/sessions/{}/expire", encode(checkout_ref)), &[], key).await.map(drop)
    }

    /// Moves a subscription to another price: at once, and paid pro rata before this returns; or from its next period on.
    pub async fn change_price(
        &self,
        subscription: &str,
        price: &str,
        at_once: bool,
        key: &str,
    ) -> Result<(), CashierError> {
        let path = format!("/v1/subscriptions/{}", encode(subscription));
        let present = self.send(self.http()?.get(self.url(&path))).await?;
        let item = present.pointer("/items/data/0/id").and_then(Value::as_str);
        let item = item.ok_or_else(|| CashierError::Away("a subscription without an item".into()))?;
        let mut form = vec![
            ("items[0][id]", item),
            ("items[0][price]", price),
            ("cancel_at_period_end", "false"),
            ("proration_behavior", if at_once { "always_invoice" } else { "none" }),
        ];
        if at_once {
            form.push(("payment_behavior", "error_if_incomplete"));
        }
        self.post(&path, &form, key).await.map(drop)
    }

    /// Lets a subscription end with its period, or go on after all.
    pub async fn end_with_period(&self, subscription: &str, ends: bool, key: &str) -> Result<(), CashierError> {
        let ends = if ends { "true" } else { "false" };
        let path = format!("/v1/subscriptions/{}", encode(subscription));
        self.post(&path, &[("cancel_at_period_end", ends)], key).await.map(drop)
    }

    /// Ends a subscription now; one that is over already is as good.
    pub async fn cancel(&self, subscription: &str) -> Result<(), CashierError> {
        let path = format!("/v1/subscriptions/{}", encode(subscription));
        match self.send(self.http()?.delete(self.url(&path))).await {
            Err(CashierError::Refused(reason)) if reason.starts_with("404 ") => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Charges a stored card; the result comes by event. Returns `pi_…`.
    pub async fn charge(
        &self,
        payment: &str,
        amount_minor: i64,
        currency: &str,
        customer: Option<&str>,
        payment_method: &str,
    ) -> Result<String, CashierError> {
        let amount = amount_minor.to_string();
        let mut form = vec![
            ("amount", amount.as_str()),
            ("currency", currency),
            ("payment_method", payment_method),
            ("off_session", "true"),
            ("confirm", "true"),
            ("metadata[payment_id]", payment),
        ];
        form.extend(customer.map(|customer| ("customer", customer)));
        let answer = self.post("/v1/payment_intents", &form, payment).await?;
        text(&answer, "id")
    }

    /// Gives money back.
    pub async fn refund(&self, payment_ref: &str, amount_minor: i64, key: &str) -> Result<(), CashierError> {
        let amount = amount_minor.to_string();
        let form = [("payment_intent", payment_ref), ("amount", &amount)];
        self.post("/v1/refunds", &form, key).await.map(drop)
    }

    fn http(&self) -> Result<&reqwest::Client, CashierError> {
        let http = self.http.get_or_init(|| {
            reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build().ok()
        });
        http.as_ref().ok_or_else(|| CashierError::Away("no TLS on this machine".into()))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.settings.stripe_url.trim_end_matches('/'))
    }

    async fn post(&self, path: &str, form: &[(&str, &str)], key: &str) -> Result<Value, CashierError> {
        let body = form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>();
        let request = self.http()?.post(self.url(path)).header("idempotency-key", key);
        self.send(request.header("content-type", "application/x-www-form-urlencoded").body(body.join("&"))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, CashierError> {
        let secret = self.settings.stripe_secret_key.reveal().ok_or(CashierError::NotConfigured)?;
        let away = |error: reqwest::Error| CashierError::Away(error.without_url().to_string());
        let response = request.bearer_auth(secret).send().await.map_err(away)?;
        let status = response.status();
        let answer: Value = response.json().await.map_err(away)?;
        if status.is_success() {
            return Ok(answer);
        }
        let said = answer.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
        let reason = format!("{status}: {said}");
        let later = status.is_server_error() || status.as_u16() == 429 || status.as_u16() == 409;
        Err(if later { CashierError::Away(reason) } else { CashierError::Refused(reason) })
    }
}

fn checkout_of(answer: &Value) -> Result<Checkout, CashierError> {
    let expires_at_s = answer.get("expires_at").and_then(Value::as_i64).unwrap_or(0);
    Ok(Checkout { reference: text(answer, "id")?, url: text(answer, "url")?, expires_at_s })
}

fn text(answer: &Value, key: &str) -> Result<String, CashierError> {
    let found = answer.get(key).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| CashierError::Away(format!("an answer without {key}")))
}

/// Percent-encoding of a form (RFC 3986 §2.3 leaves these alone).
fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
