//! `[billing]` and `[billing.vendor_prices]`: what the operator says about money.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::Used;

/// Text that is never shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the header or the signature that needs it.
    pub fn reveal(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|text| !text.is_empty())
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(…)" })
    }
}

/// `[billing]`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct BillingSettings {
    /// Stripe's secret key; from the environment, never from the file. Without one nothing can be bought.
    pub stripe_secret_key: Secret,
    /// The secret of the webhook endpoint `/webhooks/stripe`; from the environment.
    pub stripe_webhook_secret: Secret,
    /// Stripe's API, or a simulator of it.
    pub stripe_url: String,
    /// Millionths of a dollar for a millionth of the currency: 1 085 000 for €1 = $1.085. Dollars need none.
    pub fx_ppm: BTreeMap<String, i64>,
    /// Who is told of disputed payments; nobody when empty.
    pub operator_mail: String,
    /// The plans on offer. What is not here any more is offered to nobody and goes on for those who have it.
    pub plans: Vec<PlanSettings>,
    /// What vendors take, in millionths of a dollar for 1000 pieces, by "provider:item"; the longest provider name that begins the
    /// name of a link counts.
    pub vendor_prices: BTreeMap<String, i64>,
}

/// `[[billing.plans]]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PlanSettings {
    /// Never changes.
    pub id: String,
    /// What payers read.
    pub name: String,
    /// Its price a month, as payers read it; what they pay is the gateway's.
    #[serde(default)]
    pub monthly_micros: i64,
    /// Credit given each month.
    #[serde(default)]
    pub included_micros: i64,
    /// The name of the rate plan; the default one when absent.
    #[serde(default)]
    pub rate_plan: Option<String>,
    /// Calls at once; the tenant's own number when absent.
    #[serde(default)]
    pub max_calls: Option<i64>,
    /// Calls a second.
    #[serde(default)]
    pub max_cps: Option<i64>,
    /// `price_…` of the gateway, for a plan that costs something.
    #[serde(default)]
    pub stripe_price: Option<String>,
}

impl Default for BillingSettings {
    fn default() -> Self {
        // List prices of November 2026, pay as you go.
        let prices = [
            ("deepgram:stt_s", 128_333),
            ("openai:llm_in_token", 400),
            ("openai:llm_out_token", 1_600),
            ("elevenlabs:tts_char", 60_000),
        ];
        Self {
            stripe_secret_key: Secret::default(),
            stripe_webhook_secret: Secret::default(),
            stripe_url: "https://api.stripe.com".into(),
            fx_ppm: BTreeMap::new(),
            operator_mail: String::new(),
            plans: Vec::new(),
            vendor_prices: prices.into_iter().map(|(name, price)| (name.to_owned(), price)).collect(),
        }
    }
}

impl BillingSettings {
    /// What so much of a thing costs the house, rounded up.
    pub fn used(&self, item: &'static str, provider: &str, quantity: u64) -> Used {
        let quantity = i64::try_from(quantity).unwrap_or(i64::MAX);
        let price = self
            .vendor_prices
            .iter()
            .filter_map(|(name, price)| {
                let (prefix, of) = name.rsplit_once(':')?;
                (of == item && provider.starts_with(prefix)).then_some((prefix.len(), *price))
            })
            .max_by_key(|(length, _)| *length)
            .map_or(0, |(_, price)| price);
        let vendor = (i128::from(quantity) * i128::from(price.max(0)) + 999) / 1000;
        let vendor_micros = i64::try_from(vendor).unwrap_or(i64::MAX);
        Used { item, provider: provider.to_owned(), quantity, vendor_micros }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_provider_name_has_the_price() {
        let mut settings = BillingSettings::default();
        settings.vendor_prices.insert("openai/gpt-4.1-nano:llm_in_token".into(), 100);
        assert_eq!(settings.used("llm_in_token", "openai/gpt-4.1-mini", 18_210).vendor_micros, 7_284);
        assert_eq!(settings.used("llm_in_token", "openai/gpt-4.1-nano", 18_210).vendor_micros, 1_821);
        assert_eq!(settings.used("stt_s", "builtin/pocketsphinx", 60).vendor_micros, 0);
        assert_eq!(settings.used("tts_char", "elevenlabs/rachel", 1).vendor_micros, 60);
    }

    #[test]
    fn secrets_do_not_show() {
        let settings = BillingSettings { stripe_secret_key: "sk_test_hunter2".into(), ..BillingSettings::default() };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
