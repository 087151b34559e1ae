//! Telnyx' REST API for numbers (v2, `number_orders`). Our reference is the order's `customer_reference`.

mod port;

use domain::phone::E164;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Carrier, CarrierError, Offer, Ordered, Price, Search, TelnyxSettings, ask, client, odd};
use crate::BoxFuture;

/// 10015 among others: the number was sold meanwhile.
const GONE: &str = "10015";

pub(super) struct Telnyx {
    settings: TelnyxSettings,
    http: reqwest::Client,
}

impl Telnyx {
    pub(super) fn new(settings: TelnyxSettings) -> Self {
        Self { settings, http: client() }
    }

    fn request(&self, method: Method, path: &str, body: Option<Value>) -> reqwest::RequestBuilder {
        let url = format!("{}/{path}", self.settings.base_url.trim_end_matches('/'));
        let request = self.http.request(method, url).bearer_auth(&self.settings.api_key);
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, CarrierError> {
        ask(self.request(method, path, body), |body| body["errors"][0]["code"] == GONE).await
    }
}

/// The words that Telnyx has for kinds of numbers.
fn kind(number: &Value) -> String {
    match number["phone_number_type"].as_str() {
        Some(kind @ ("mobile" | "toll_free" | "national")) => kind.into(),
        _ => "local".into(),
    }
}

impl Carrier for Telnyx {
    fn search<'a>(&'a self, wanted: &'a Search) -> BoxFuture<'a, Result<Vec<Offer>, CarrierError>> {
        Box::pin(async move {
            let mut path = format!(
                "available_phone_numbers?filter%5Bcountry_code%5D={}&filter%5Bfeatures%5D%5B%5D=voice&filter%5Blimit%5D={}",
                wanted.country, wanted.limit
            );
            // What comes here was checked to be letters, digits, _ and * by the route.
            for (name, value) in [("national_destination_code", &wanted.area_code), ("phone_number_type", &wanted.kind)]
            {
                if let Some(value) = value {
                    path.push_str(&format!("&filter%5B{name}%5D={value}"));
                }
            }
            if let Some(digits) = &wanted.contains {
                path.push_str(&format!("&filter%5Bphone_number%5D%5Bcontains%5D={}", digits.replace('*', "")));
            }
            let found = self.call(Method::GET, &path, None).await?;
            let numbers = found["data"].as_array().ok_or_else(|| odd("data"))?;
            let region = |number: &Value, of: &str| {
                let regions = number["region_information"].as_array()?;
                regions.iter().find(|region| region["region_type"] == of)?["region_name"].as_str().map(str::to_owned)
            };
            let has = |number: &Value, feature: &str| {
                number["features"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == feature))
            };
            let offers = numbers.iter().filter_map(|number| {
                Some(Offer {
                    e164: number["phone_number"].as_str()?.to_owned(),
                    kind: wanted.kind.clone().unwrap_or_else(|| kind(number)),
                    locality: region(number, "rate_center").or_else(|| region(number, "location")),
                    region: region(number, "state"),
                    voice: has(number, "voice"),
                    sms: has(number, "sms"),
                })
            });
            Ok(offers.collect())
        })
    }

    fn order<'a>(&'a self, number: &'a E164, reference: &'a str) -> BoxFuture<'a, Result<Ordered, CarrierError>> {
        Box::pin(async move {
            let before = format!("number_orders?filter%5Bcustomer_reference%5D={reference}");
            let before = self.call(Method::GET, &before, None).await?;
            let known = before["data"].as_array().and_then(|orders| orders.first().cloned());
            let order = match known {
                Some(order) => order,
                None => {
                    let body =
                        json!({"phone_numbers": [{"phone_number": number.as_str()}], "customer_reference": reference});
                    self.call(Method::POST, "number_orders", Some(body)).await?["data"].take()
                }
            };
            match order["status"].as_str() {
                Some("success") => {}
                Some("pending") => return Ok(Ordered::Pending),
                Some("failure") => return Err(CarrierError::Gone),
                _ => return Err(odd("status")),
            }
            let owned = format!("phone_numbers?filter%5Bphone_number%5D={}", number.as_str().replace('+', "%2B"));
            let owned = self.call(Method::GET, &owned, None).await?;
            match owned["data"][0]["id"].as_str() {
                Some(id) => Ok(Ordered::Ready(id.to_owned())),
                None => Ok(Ordered::Pending),
            }
        })
    }

    fn point<'a>(&'a self, carrier_ref: &'a str) -> BoxFuture<'a, Result<(), CarrierError>> {
        Box::pin(async move {
            let body = json!({ "connection_id": self.settings.connection_id });
            self.call(Method::PATCH, &format!("phone_numbers/{carrier_ref}"), Some(body)).await.map(drop)
        })
    }

    fn release<'a>(&'a self, carrier_ref: &'a str) -> BoxFuture<'a, Result<(), CarrierError>> {
        Box::pin(async move {
            match self.call(Method::DELETE, &format!("phone_numbers/{carrier_ref}"), None).await {
                Err(CarrierError::Refused(why)) if why.starts_with("404") => Ok(()),
                done => done.map(drop),
            }
        })
    }

    fn price(&self) -> Price {
        Price { setup_micros: self.settings.setup_micros, monthly_micros: self.settings.monthly_micros }
    }
}
