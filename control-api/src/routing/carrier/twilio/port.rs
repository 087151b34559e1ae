//! Twilio's port-in requests (`numbers.twilio.com/v1/Porting/PortIn`). They carry no reference of ours: a request whose fate is unknown
//! is found among those of its day by its numbers. A port's name here is `KW…/PU…`, the request and the number in it.

use domain::phone::E164;
use reqwest::Method;
use serde_json::{Value, json};

use super::Twilio;
use crate::{
    BoxFuture,
    routing::carrier::{
        CarrierError, TwilioSettings, ask, odd,
        porting::{Bill, PortState, Porting, Request, Seen, Wanted},
    },
    time::rfc3339,
};

const DAY_MS: i64 = 86_400_000;
/// Twilio takes no day that is nearer than a week.
const SOONEST_DAYS: i64 = 8;
/// Requests that are looked through for one whose answer was lost.
const LOOKED_AT: usize = 50;

impl Porting for Twilio {
    fn port<'a>(&'a self, request: &'a Request<'a>) -> BoxFuture<'a, Result<Vec<Seen>, CarrierError>> {
        Box::pin(async move {
            let (mut found, gone) = self.known(request).await?;
            let lost = |number: &&Wanted| {
                number.port_ref.as_deref().is_some_and(|name| gone.contains(&sid_of(name).to_owned()))
            };
            let lost = request.numbers.iter().filter(lost).map(|number| {
                let lost = Seen::new(number.e164.as_str(), PortState::Canceled);
                lost.because("Twilio does not have the request any more".to_owned())
            });
            let mut seen: Vec<Seen> = lost.collect();
            let missing = request
                .numbers
                .iter()
                .filter(|number| number.port_ref.is_none() && !holds(&found, number.e164.as_str()));
            let (unwanted, wanted): (Vec<_>, Vec<_>) = missing.partition(|number| number.called_off);
            seen.extend(unwanted.iter().map(|number| Seen::new(number.e164.as_str(), PortState::Canceled)));
            let wanted: Vec<&str> = wanted.iter().map(|number| number.e164.as_str()).collect();
            if !wanted.is_empty() {
                match self.hand_in(request, &wanted).await {
                    Ok(made) => found.push(made),
                    Err(CarrierError::Refused(why)) if !locked_out(&why) => {
                        let refused = |e164: &&str| Seen::new(e164, PortState::Rejected).because(why.clone());
                        seen.extend(wanted.iter().map(refused));
                    }
                    Err(error) => return Err(error),
                }
            }
            for made in &found {
                let sid = made["port_in_request_sid"].as_str().ok_or_else(|| odd("port_in_request_sid"))?;
                seen.extend(numbers(made).filter_map(|number| read(sid, made, number)));
            }
            Ok(seen)
        })
    }

    fn call_off<'a>(&'a self, port_ref: &'a str, whole: bool) -> BoxFuture<'a, Result<(), CarrierError>> {
        Box::pin(async move {
            let path = match port_ref.split_once('/') {
                Some((request, number)) if !whole => format!("{request}/PhoneNumber/{number}"),
                Some((request, _)) => request.to_owned(),
                None => port_ref.to_owned(),
            };
            match self.porting(Method::DELETE, &path, None).await {
                Err(CarrierError::Refused(why)) if why.starts_with("404") => Ok(()),
                done => done.map(drop),
            }
        })
    }

    fn indivisible(&self) -> bool {
        false
    }

    fn owned<'a>(&'a self, number: &'a E164) -> BoxFuture<'a, Result<Option<String>, CarrierError>> {
        Box::pin(async move {
            let query = [("PhoneNumber", number.as_str())];
            let owned = self.call(Method::GET, "IncomingPhoneNumbers.json", &query, &[]).await?;
            Ok(owned["incoming_phone_numbers"][0]["sid"].as_str().map(str::to_owned))
        })
    }
}

impl Twilio {
    async fn porting(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CarrierError> {
        let TwilioSettings { account_sid, auth_token, porting_url, .. } = &self.settings;
        let url = format!("{}/v1/Porting/PortIn/{path}", porting_url.trim_end_matches('/'));
        let mut request =
            self.http.request(method, url.trim_end_matches('/')).basic_auth(account_sid, Some(auth_token));
        if let Some(body) = body {
            request = request.json(body);
        }
        ask(request, |_| false).await
    }

    /// The requests at Twilio that hold our numbers, and the names of those that are gone.
    async fn known(&self, request: &Request<'_>) -> Result<(Vec<Value>, Vec<String>), CarrierError> {
        let refs = request.numbers.iter().filter_map(|number| number.port_ref.as_deref());
        let mut sids: Vec<String> = refs.map(|name| sid_of(name).to_owned()).collect();
        sids.sort_unstable();
        sids.dedup();
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for sid in &sids {
            match self.porting(Method::GET, sid, None).await {
                Ok(one) => found.push(one),
                Err(CarrierError::Refused(why)) if why.starts_with("404") => gone.push(sid.clone()),
                Err(error) => return Err(error),
            }
        }
        let lost = |found: &[Value]| {
            request.numbers.iter().any(|number| number.port_ref.is_none() && !holds(found, number.e164.as_str()))
        };
        if !request.again || !lost(&found) {
            return Ok((found, gone));
        }
        // An answer may have been lost. A day more, because clocks and zones differ.
        let since = rfc3339(request.asked_at_ms - DAY_MS);
        let path = format!("PortInRequests?Size={LOOKED_AT}&CreatedAfter={}", since.get(..10).unwrap_or_default());
        let listed = self.porting(Method::GET, &path, None).await?;
        let listed = listed["port_in_requests"].as_array().ok_or_else(|| odd("port_in_requests"))?;
        for sid in listed.iter().filter_map(|one| one["port_in_request_sid"].as_str()).take(LOOKED_AT) {
            if sids.iter().any(|known| known == sid) {
                continue;
            }
            let one = self.porting(Method::GET, sid, None).await?;
            let ended = matches!(word(&one["port_in_request_status"]).as_str(), "canceled" | "expired");
            let ours = |number: &Value| {
                request
                    .numbers
                    .iter()
                    .any(|wanted| wanted.port_ref.is_none() && number["phone_number"] == wanted.e164.as_str())
            };
            if !ended && numbers(&one).any(ours) {
                found.push(one);
            }
            if !lost(&found) {
                break;
            }
        }
        Ok((found, gone))
    }

    /// Makes the request.
    async fn hand_in(&self, request: &Request<'_>, wanted: &[&str]) -> Result<Value, CarrierError> {
        let form = request.form;
        let address = &form.service_address;
        let documents = match request.bill {
            Some(bill) => vec![self.upload(bill, request.reference).await?],
            None => Vec::new(),
        };
        let soonest = rfc3339(request.asked_at_ms + SOONEST_DAYS * DAY_MS);
        let numbers: Vec<Value> = wanted.iter().map(|e164| json!({ "phone_number": e164, "pin": form.pin })).collect();
        let body = json!({
            "account_sid": self.settings.account_sid,
            "target_port_in_date": form.foc_date.as_deref().or_else(|| soonest.get(..10)),
            "losing_carrier_information": {
                "customer_type": "Business", "customer_name": form.authorized_name,
                "account_number": form.account_number, "account_telephone_number": wanted.first(),
                "authorized_representative": form.authorized_name,
                "authorized_representative_email": form.authorized_email,
                "address": { "street": address.street, "street_2": address.street2, "city": address.city,
                    "state": address.region, "zip": address.postal_code, "country": address.country },
            },
            "phone_numbers": numbers,
            "documents": documents,
        });
        self.porting(Method::POST, "", Some(&body)).await
    }

    async fn upload(&self, bill: &Bill, reference: &str) -> Result<String, CarrierError> {
        let TwilioSettings { account_sid, auth_token, upload_url, .. } = &self.settings;
        let mark = format!("sidetone{}", uuid::Uuid::new_v4().simple());
        let mut body = Vec::with_capacity(bill.bytes.len() + 512);
        for (name, value) in [("document_type", "utility_bill"), ("friendly_name", reference)] {
            body.extend(
                format!("--{mark}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
            );
        }
        let head = format!(
            "--{mark}\r\nContent-Disposition: form-data; name=\"File\"; filename=\"{}\"\r\nContent-Type: {}\r\n\r\n",
            bill.name, bill.content_type
        );
        body.extend(head.bytes());
        body.extend(&bill.bytes);
        body.extend(format!("\r\n--{mark}--\r\n").bytes());
        let request = self
            .http
            .post(format!("{}/v1/Documents", upload_url.trim_end_matches('/')))
            .basic_auth(account_sid, Some(auth_token))
            .header("content-type", format!("multipart/form-data; boundary={mark}"))
            .body(body);
        let document = ask(request, |_| false).await?;
        document["sid"].as_str().map(str::to_owned).ok_or_else(|| odd("sid"))
    }
}

/// The key is wrong or may not port: the operator's fault, not the request's.
fn locked_out(why: &str) -> bool {
    why.starts_with("401") || why.starts_with("403")
}

/// The request's part of a port's name.
fn sid_of(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

fn numbers(request: &Value) -> impl Iterator<Item = &Value> {
    request["phone_numbers"].as_array().into_iter().flatten()
}

fn holds(requests: &[Value], e164: &str) -> bool {
    requests.iter().any(|request| numbers(request).any(|number| number["phone_number"] == e164))
}

/// Twilio writes its words now with spaces, now with underscores, in any case.
fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().trim().to_lowercase().replace([' ', '-'], "_")
}

/// How a number of a request stands.
fn read(sid: &str, request: &Value, number: &Value) -> Option<Seen> {
    let e164 = number["phone_number"].as_str()?;
    let text = |value: &Value| value.as_str().map(|text| text.chars().take(300).collect::<String>());
    let date = number["port_date"].as_str().and_then(|at| at.get(..10)).map(str::to_owned);
    let whole = word(&request["port_in_request_status"]);
    let refused = || text(&number["rejection_reason"]).or_else(|| text(&number["not_portability_reason"]));
    let (state, reason) = match (word(&number["port_in_phone_number_status"]).as_str(), whole.as_str()) {
        ("completed", _) => (PortState::Completed, None),
        ("canceled" | "cancelled", _) | (_, "canceled" | "cancelled") => {
            (PortState::Canceled, text(&request["order_cancellation_reason"]))
        }
        (_, "expired") => (PortState::Rejected, Some("the letter of authorization was not signed in time".into())),
        _ if number["portable"] == false => (PortState::Rejected, refused()),
        // It can still be corrected at Twilio.
        ("rejected", "action_required") => (PortState::Exception, refused()),
        ("rejected", _) => (PortState::Rejected, refused()),
        (_, "waiting_for_signature") => {
            (PortState::Submitted, Some("the letter of authorization waits for its signature".into()))
        }
        (_, "action_required") => (PortState::Exception, text(&request["suggested_action"])),
        ("submitted", _) if date.is_some() => (PortState::FocConfirmed, None),
        ("submitted", _) => (PortState::Pending, None),
        _ => (PortState::Submitted, None),
    };
    let name = number["port_in_phone_number_sid"].as_str();
    let port_ref = Some(name.map_or_else(|| sid.to_owned(), |name| format!("{sid}/{name}")));
    Some(Seen { port_ref, foc_date: date, ..Seen::new(e164, state).because(reason) })
}
