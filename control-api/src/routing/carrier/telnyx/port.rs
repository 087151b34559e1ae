//! Telnyx' porting orders (v2, `porting_orders`). Our reference is the order's `customer_reference`; Telnyx may split one request into
//! several orders, each of which is filled in and confirmed by itself.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::phone::E164;
use reqwest::Method;
use serde_json::{Value, json};

use super::Telnyx;
use crate::{
    BoxFuture,
    routing::carrier::{
        CarrierError, ask, odd,
        porting::{Bill, PortState, Porting, Request, Seen},
    },
};

impl Porting for Telnyx {
    fn port<'a>(&'a self, request: &'a Request<'a>) -> BoxFuture<'a, Result<Vec<Seen>, CarrierError>> {
        Box::pin(async move {
            let mut orders = self.listed(request.reference).await?;
            let mut seen = self.unlisted(request, &mut orders).await?;
            let new = self.not_handed_in(request, &orders, &mut seen).await?;
            if !new.is_empty() {
                let body = json!({ "phone_numbers": new, "customer_reference": request.reference });
                match self.asked(Method::POST, "porting_orders", Some(body)).await {
                    Ok(mut made) => match made["data"].take() {
                        Value::Array(made) => orders.extend(made),
                        _ => return Err(odd("data")),
                    },
                    Err(CarrierError::Refused(why)) if !locked_out(&why) => {
                        let refused = |e164: &&str| Seen::new(e164, PortState::Rejected).because(why.clone());
                        seen.extend(new.iter().map(refused));
                    }
                    Err(error) => return Err(error),
                }
            }
            let mut invoice = None;
            for order in orders {
                seen.extend(self.bring_on(request, order, &mut invoice).await?);
            }
            Ok(seen)
        })
    }

    fn call_off<'a>(&'a self, port_ref: &'a str, _: bool) -> BoxFuture<'a, Result<(), CarrierError>> {
        Box::pin(async move {
            let order = self.asked(Method::GET, &format!("porting_orders/{port_ref}"), None).await?;
            match order["data"]["status"]["value"].as_str() {
                Some("cancelled" | "cancel-pending") => Ok(()),
                // What was never confirmed is thrown away.
                Some("draft") => {
                    self.asked(Method::DELETE, &format!("porting_orders/{port_ref}"), None).await.map(drop)
                }
                _ => {
                    self.asked(Method::POST, &format!("porting_orders/{port_ref}/actions/cancel"), None).await.map(drop)
                }
            }
        })
    }

    fn indivisible(&self) -> bool {
        true
    }

    fn owned<'a>(&'a self, number: &'a E164) -> BoxFuture<'a, Result<Option<String>, CarrierError>> {
        Box::pin(async move {
            let owned = format!("phone_numbers?filter%5Bphone_number%5D={}", number.as_str().replace('+', "%2B"));
            let owned = self.asked(Method::GET, &owned, None).await?;
            Ok(owned["data"][0]["id"].as_str().map(str::to_owned))
        })
    }
}

impl Telnyx {
    /// Here the code for a number that was sold means a body that is not taken.
    async fn asked(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, CarrierError> {
        ask(self.request(method, path, body), |_| false).await
    }

    /// What was handed in under a reference.
    async fn listed(&self, reference: &str) -> Result<Vec<Value>, CarrierError> {
        let path = format!("porting_orders?filter%5Bcustomer_reference%5D={reference}&page%5Bsize%5D=250");
        match self.asked(Method::GET, &path, None).await?["data"].take() {
            Value::Array(orders) => {
                Ok(orders.into_iter().filter(|order| order["customer_reference"] == reference).collect())
            }
            _ => Err(odd("data")),
        }
    }

    /// Orders whose names we know and that the list does not show, and of those that are gone, the numbers: a draft goes after a while.
    async fn unlisted(&self, request: &Request<'_>, orders: &mut Vec<Value>) -> Result<Vec<Seen>, CarrierError> {
        let mut seen = Vec::new();
        for number in request.numbers {
            let Some(id) = number.port_ref.as_deref() else { continue };
            if orders.iter().any(|order| order["id"] == id) {
                continue;
            }
            match self.asked(Method::GET, &format!("porting_orders/{id}"), None).await {
                Ok(mut order) => orders.push(order["data"].take()),
                Err(CarrierError::Refused(why)) if why.starts_with("404") => {
                    let gone = Seen::new(number.e164.as_str(), PortState::Canceled);
                    seen.push(gone.because("Telnyx does not have the request any more".to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(seen)
    }

    /// Numbers that are in no order yet and can be; of the others it notes why not.
    async fn not_handed_in<'a>(
        &self,
        request: &'a Request<'_>,
        orders: &[Value],
        seen: &mut Vec<Seen>,
    ) -> Result<Vec<&'a str>, CarrierError> {
        let handed_in = |e164: &str| orders.iter().any(|order| numbers(order).any(|number| number == e164));
        let missing =
            request.numbers.iter().filter(|number| number.port_ref.is_none() && !handed_in(number.e164.as_str()));
        let (gone, wanted): (Vec<_>, Vec<_>) = missing.partition(|number| number.called_off);
        seen.extend(gone.iter().map(|number| Seen::new(number.e164.as_str(), PortState::Canceled)));
        let mut new: Vec<&str> = wanted.iter().map(|number| number.e164.as_str()).collect();
        if new.is_empty() {
            return Ok(new);
        }
        // One number that cannot be ported would spoil the order of all.
        let check = self.asked(Method::POST, "portability_checks", Some(json!({ "phone_numbers": new }))).await?;
        let check = check["data"].as_array().ok_or_else(|| odd("data"))?;
        new.retain(|e164| {
            let verdict = check.iter().find(|one| one["phone_number"] == **e164 && one["portable"] == false);
            if let Some(verdict) = verdict {
                let why = verdict["not_portable_reason"].as_str().unwrap_or("the number cannot be ported");
                seen.push(Seen::new(e164, PortState::Rejected).because(why.replace('_', " ")));
            }
            verdict.is_none()
        });
        Ok(new)
    }

    /// Fills in and confirms what is a draft, and tells how the numbers of an order stand.
    async fn bring_on(
        &self,
        request: &Request<'_>,
        mut order: Value,
        invoice: &mut Option<String>,
    ) -> Result<Vec<Seen>, CarrierError> {
        let id = order["id"].as_str().ok_or_else(|| odd("id"))?.to_owned();
        let off = |e164: &str| request.numbers.iter().any(|number| number.called_off && number.e164.as_str() == e164);
        let mut state = read(&order);
        if order["status"]["value"] == "draft" && !numbers(&order).all(off) {
            // What is filled in stays as it is: somebody may have mended it at Telnyx.
            if order["end_user"]["admin"]["account_number"].is_null() {
                match self.fill(request, &order, &id, invoice).await {
                    Ok(()) => {}
                    Err(CarrierError::Refused(why)) if !locked_out(&why) => {
                        // What is wrong with it cannot be mended from here: the draft goes, the numbers are free for a better one.
                        self.asked(Method::DELETE, &format!("porting_orders/{id}"), None).await?;
                        let refused = |e164| Seen::new(e164, PortState::Rejected).because(why.clone());
                        return Ok(numbers(&order).map(refused).collect());
                    }
                    Err(error) => return Err(error),
                }
            }
            match self.asked(Method::POST, &format!("porting_orders/{id}/actions/confirm"), None).await {
                Ok(mut confirmed) => {
                    let numbers = order["phone_numbers"].take();
                    order = confirmed["data"].take();
                    if order["phone_numbers"].is_null() {
                        order["phone_numbers"] = numbers;
                    }
                    state = read(&order);
                }
                // It lacks something that the operator adds at Telnyx, a letter of authorization most of all.
                Err(CarrierError::Refused(why)) if !locked_out(&why) => state = (PortState::Exception, Some(why)),
                Err(error) => return Err(error),
            }
        }
        let date = &order["activation_settings"]["foc_datetime_actual"];
        let foc_date = date.as_str().and_then(|at| at.get(..10)).map(str::to_owned);
        let leaving = order["status"]["value"] == "cancel-pending";
        let seen = |e164| Seen {
            port_ref: Some(id.clone()),
            foc_date: foc_date.clone(),
            leaving,
            ..Seen::new(e164, state.0).because(state.1.clone())
        };
        Ok(numbers(&order).map(seen).collect())
    }

    /// Tells Telnyx what the losing carrier wants to know.
    async fn fill(
        &self,
        request: &Request<'_>,
        order: &Value,
        id: &str,
        invoice: &mut Option<String>,
    ) -> Result<(), CarrierError> {
        if let (None, Some(bill)) = (&*invoice, request.bill) {
            *invoice = Some(self.upload(bill, request.reference).await?);
        }
        let form = request.form;
        let address = &form.service_address;
        let mut filled = json!({
            "customer_reference": request.reference,
            "end_user": {
                "admin": {
                    "entity_name": form.authorized_name, "auth_person_name": form.authorized_name,
                    "account_number": form.account_number, "pin_passcode": form.pin,
                    "billing_phone_number": numbers(order).next(),
                },
                "location": {
                    "street_address": address.street, "extended_address": address.street2, "locality": address.city,
                    "administrative_area": address.region, "postal_code": address.postal_code, "country_code": address.country,
                },
            },
            // The number is ours from its first moment.
            "phone_number_configuration": { "connection_id": self.settings.connection_id },
        });
        if let Some(invoice) = &*invoice {
            filled["documents"] = json!({ "invoice": invoice });
        }
        if let Some(day) = &form.foc_date {
            // Only moments within Telnyx' windows are taken; a day without one is left to Telnyx.
            let windows = self.asked(Method::GET, &format!("porting_orders/{id}/allowed_foc_windows"), None).await?;
            let starts = windows["data"].as_array().into_iter().flatten();
            let mut starts = starts.filter_map(|window| window["started_at"].as_str());
            if let Some(start) = starts.find(|start| start.starts_with(day.as_str())) {
                filled["activation_settings"] = json!({ "foc_datetime_requested": start });
            }
        }
        self.asked(Method::PATCH, &format!("porting_orders/{id}"), Some(filled)).await.map(drop)
    }

    async fn upload(&self, bill: &Bill, reference: &str) -> Result<String, CarrierError> {
        let body =
            json!({ "file": STANDARD.encode(&bill.bytes), "filename": bill.name, "customer_reference": reference });
        let document = self.asked(Method::POST, "documents", Some(body)).await?;
        document["data"]["id"].as_str().map(str::to_owned).ok_or_else(|| odd("id"))
    }
}

/// The key is wrong or may not port: the operator's fault, not the request's.
fn locked_out(why: &str) -> bool {
    why.starts_with("401") || why.starts_with("403")
}

fn numbers(order: &Value) -> impl Iterator<Item = &str> {
    order["phone_numbers"].as_array().into_iter().flatten().filter_map(|number| number["phone_number"].as_str())
}

/// What an order's status means, and what it says about it.
fn read(order: &Value) -> (PortState, Option<String>) {
    let details = order["status"]["details"].as_array().into_iter().flatten();
    let details: Vec<&str> = details.filter_map(|detail| detail["description"].as_str()).collect();
    let state = match order["status"]["value"].as_str() {
        Some("submitted" | "cancel-pending") => PortState::Pending,
        Some("exception") => PortState::Exception,
        Some("foc-date-confirmed" | "activation-in-progress") => PortState::FocConfirmed,
        Some("ported") => PortState::Completed,
        Some("cancelled") => PortState::Canceled,
        // `draft`, `in-process`, and what Telnyx may think of later.
        _ => PortState::Submitted,
    };
    let details = details.join("; ").chars().take(300).collect::<String>();
    (state, (!details.is_empty()).then_some(details))
}
