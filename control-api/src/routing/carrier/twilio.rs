//! Twilio's REST API for numbers (v2010, `IncomingPhoneNumbers`). Our reference is the number's `FriendlyName`.

mod port;

use domain::phone::E164;
use reqwest::Method;
use serde_json::Value;

use super::{Carrier, CarrierError, Offer, Ordered, Price, Search, TwilioSettings, ask, client, odd};
use crate::BoxFuture;

/// 21422: the number is not available; 21452: none found for the area code.
const GONE: [i64; 2] = [21422, 21452];

pub(super) struct Twilio {
    settings: TwilioSettings,
    http: reqwest::Client,
}

impl Twilio {
    pub(super) fn new(settings: TwilioSettings) -> Self {
        Self { settings, http: client() }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Result<Value, CarrierError> {
        let TwilioSettings { account_sid, auth_token, base_url, .. } = &self.settings;
        let mut url = format!("{}/2010-04-01/Accounts/{account_sid}/{path}", base_url.trim_end_matches('/'));
        url.push_str(&pairs('?', query));
        let mut request = self.http.request(method, url).basic_auth(account_sid, Some(auth_token));
        if !form.is_empty() {
            let form = pairs(' ', form).trim_start().to_owned();
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        ask(request, |body| body["code"].as_i64().is_some_and(|code| GONE.contains(&code))).await
    }
}

/// `lead` and the pairs, percent-encoded; nothing for none.
fn pairs(lead: char, pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        out.push(if out.is_empty() { lead } else { '&' });
        out.push_str(name);
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    out
}

impl Carrier for Twilio {
    fn search<'a>(&'a self, wanted: &'a Search) -> BoxFuture<'a, Result<Vec<Offer>, CarrierError>> {
        Box::pin(async move {
            let (kind, list) = match wanted.kind.as_deref() {
                Some("toll_free") => ("toll_free", "TollFree"),
                Some("mobile") => ("mobile", "Mobile"),
                Some("national") => ("national", "National"),
                _ => ("local", "Local"),
            };
            let size = wanted.limit.to_string();
            let mut query = vec![("PageSize", size.as_str()), ("VoiceEnabled", "true")];
            query.extend(wanted.area_code.as_deref().map(|code| ("AreaCode", code)));
            query.extend(wanted.contains.as_deref().map(|digits| ("Contains", digits)));
            let path = format!("AvailablePhoneNumbers/{}/{list}.json", wanted.country);
            let found = match self.call(Method::GET, &path, &query, &[]).await {
                Err(CarrierError::Gone) => return Ok(Vec::new()),
                found => found?,
            };
            let numbers = found["available_phone_numbers"].as_array().ok_or_else(|| odd("available_phone_numbers"))?;
            let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
            let offers = numbers.iter().filter_map(|number| {
                Some(Offer {
                    e164: text(&number["phone_number"])?,
                    kind: kind.into(),
                    locality: text(&number["locality"]),
                    region: text(&number["region"]),
                    voice: number["capabilities"]["voice"] == true,
                    sms: number["capabilities"]["sms"] == true,
                })
            });
            Ok(offers.collect())
        })
    }

    fn order<'a>(&'a self, number: &'a E164, reference: &'a str) -> BoxFuture<'a, Result<Ordered, CarrierError>> {
        Box::pin(async move {
            let list = "IncomingPhoneNumbers.json";
            // Twilio has no idempotency key, so what was bought before is looked for first.
            let ours = self.call(Method::GET, list, &[("PhoneNumber", number.as_str())], &[]).await?;
            let ours = ours["incoming_phone_numbers"].as_array().ok_or_else(|| odd("incoming_phone_numbers"))?;
            if let Some(known) = ours.iter().find(|known| known["phone_number"] == number.as_str()) {
                return match known["sid"].as_str() {
                    Some(sid) if known["friendly_name"] == reference => Ok(Ordered::Ready(sid.to_owned())),
                    // It is in the account for another reason; it is not this order's to sell.
                    _ => Err(CarrierError::Gone),
                };
            }
            let form = [("PhoneNumber", number.as_str()), ("FriendlyName", reference)];
            let bought = self.call(Method::POST, list, &[], &form).await?;
            bought["sid"].as_str().map(|sid| Ordered::Ready(sid.to_owned())).ok_or_else(|| odd("sid"))
        })
    }

    fn point<'a>(&'a self, carrier_ref: &'a str) -> BoxFuture<'a, Result<(), CarrierError>> {
        Box::pin(async move {
            let path = format!("IncomingPhoneNumbers/{carrier_ref}.json");
            self.call(Method::POST, &path, &[], &[("TrunkSid", &self.settings.trunk_sid)]).await.map(drop)
        })
    }

    fn release<'a>(&'a self, carrier_ref: &'a str) -> BoxFuture<'a, Result<(), CarrierError>> {
        Box::pin(async move {
            let path = format!("IncomingPhoneNumbers/{carrier_ref}.json");
            match self.call(Method::DELETE, &path, &[], &[]).await {
                Err(CarrierError::Refused(why)) if why.starts_with("404") => Ok(()),
                done => done.map(drop),
            }
        })
    }

    fn price(&self) -> Price {
        Price { setup_micros: self.settings.setup_micros, monthly_micros: self.settings.monthly_micros }
    }
}
