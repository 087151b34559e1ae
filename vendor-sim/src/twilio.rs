//! Twilio's REST API for numbers: a handful for sale, a list of those bought, and the errors of the original.

mod port;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    Fault, Knobs, Running,
    running::{Stage, anywhere, refuse},
};

/// Numbers for sale.
const FOR_SALE: [&str; 3] = ["+12125550160", "+12125550161", "+13125550162"];

/// Simulator of Twilio's number routes. The key of its knobs is `SID:TOKEN`. How ports go on is said by `POST /sim/ports`, see
/// `twilio/port.rs`.
#[derive(Debug)]
pub struct Twilio;

struct Shop {
    stage: Arc<Stage>,
    bought: Mutex<Vec<Value>>,
    ports: Mutex<port::Ports>,
}

type Form = Vec<(String, String)>;

impl Twilio {
    /// Listens on a free port of the loopback.
    pub async fn start(knobs: Knobs) -> io::Result<Running> {
        let stage = Stage::new(knobs);
        Running::start(anywhere(), Self::router(stage.clone()), vec![stage]).await
    }

    fn router(stage: Arc<Stage>) -> Router {
        let account = "/2010-04-01/Accounts/{account}";
        Router::new()
            .route(&format!("{account}/AvailablePhoneNumbers/{{country}}/{{list}}"), get(search))
            .route(&format!("{account}/IncomingPhoneNumbers.json"), get(list).post(buy))
            .route(&format!("{account}/IncomingPhoneNumbers/{{sid}}"), axum::routing::post(change).delete(release))
            .merge(port::routes())
            .with_state(Arc::new(Shop { stage, bought: Mutex::default(), ports: Mutex::default() }))
    }
}

impl Shop {
    /// Lets the request in, or answers it.
    fn admit(&self, headers: &HeaderMap) -> Option<Response> {
        let fault = self.stage.connection();
        if self.ports().down {
            return Some(error(503, 20503, "Service unavailable"));
        }
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| STANDARD.decode(value.strip_prefix("Basic ")?).ok());
        let shown = shown.and_then(|bytes| String::from_utf8(bytes).ok());
        if !self.stage.admits(shown.as_deref()) {
            return Some(error(401, 20003, "Authenticate"));
        }
        match fault {
            Fault::Refuse { status, retry_after, code } => {
                let body =
                    json!({"code": code.parse::<i64>().unwrap_or(20500), "message": "Refused.", "status": status});
                Some(refuse(status, retry_after, body))
            }
            _ => None,
        }
    }

    fn bought(&self) -> std::sync::MutexGuard<'_, Vec<Value>> {
        self.bought.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error(status: u16, code: i64, message: &str) -> Response {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    refuse(status, None, json!({"code": code, "message": message, "more_info": more, "status": status}))
}

fn form(body: &str) -> Form {
    let decode = |text: &str| {
        let (mut out, bytes) = (Vec::new(), text.as_bytes());
        let mut at = 0;
        while at < bytes.len() {
            let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
            match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
                (b'%', Some(byte)) => {
                    out.push(byte);
                    at += 3;
                }
                (b'+', _) => {
                    out.push(b' ');
                    at += 1;
                }
                (byte, _) => {
                    out.push(byte);
                    at += 1;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    body.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decode(name), decode(value))).collect()
}

fn field<'a>(form: &'a Form, name: &str) -> Option<&'a str> {
    form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

async fn search(
    State(shop): State<Arc<Shop>>,
    Path((_, country, kind)): Path<(String, String, String)>,
    Query(query): Query<Form>,
    headers: HeaderMap,
) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({"search": query, "country": country, "kind": kind}));
    let area = field(&query, "AreaCode").map_or("+1".to_owned(), |area| format!("+1{area}"));
    let size = field(&query, "PageSize").and_then(|size| size.parse().ok()).unwrap_or(50);
    let sold = |number: &str| shop.bought().iter().any(|bought| bought["phone_number"] == number);
    let numbers: Vec<Value> = FOR_SALE
        .iter()
        .filter(|number| country == "US" && number.starts_with(&area) && !sold(number))
        .take(size)
        .map(|number| {
            json!({"friendly_name": number, "phone_number": number, "iso_country": "US", "region": "NY", "locality": "New York",
                "capabilities": {"voice": true, "sms": true, "mms": false}, "address_requirements": "none", "beta": false})
        })
        .collect();
    Json(json!({"available_phone_numbers": numbers})).into_response()
}

async fn list(State(shop): State<Arc<Shop>>, Query(query): Query<Form>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let wanted = field(&query, "PhoneNumber");
    let found: Vec<Value> = shop
        .bought()
        .iter()
        .filter(|number| wanted.is_none_or(|wanted| number["phone_number"] == wanted))
        .cloned()
        .collect();
    Json(json!({"page": 0, "page_size": 50, "next_page_uri": null, "incoming_phone_numbers": found})).into_response()
}

async fn buy(State(shop): State<Arc<Shop>>, headers: HeaderMap, body: String) -> Response {
    let form = form(&body);
    shop.stage.note(json!({ "buy": form }));
    let number = field(&form, "PhoneNumber").unwrap_or_default().to_owned();
    let taken = shop.bought().iter().any(|bought| bought["phone_number"] == number.as_str());
    let lost = matches!(shop.stage.knobs.fault, Fault::Drop { .. });
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    if taken || !FOR_SALE.contains(&number.as_str()) {
        return error(400, 21422, "The phone number is not available.");
    }
    let sid = format!("PN{:032x}", shop.bought().len() + 1);
    let bought = json!({"sid": sid, "phone_number": number, "friendly_name": field(&form, "FriendlyName"), "trunk_sid": null,
        "capabilities": {"voice": true, "sms": true}, "status": "in-use"});
    shop.bought().push(bought.clone());
    if lost && shop.stage.next_line() == 0 {
        // Bought, and the answer never arrives: what a client must survive.
        return error(503, 20500, "The answer was lost.");
    }
    (StatusCode::CREATED, Json(bought)).into_response()
}

async fn change(
    State(shop): State<Arc<Shop>>,
    Path((_, sid)): Path<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let form = form(&body);
    shop.stage.note(json!({"change": sid, "form": form}));
    if field(&form, "TrunkSid").is_none_or(|trunk| !trunk.starts_with("TK")) {
        return error(400, 21701, "The trunk does not exist.");
    }
    let sid = sid.trim_end_matches(".json");
    match shop.bought().iter_mut().find(|bought| bought["sid"] == sid) {
        Some(bought) => {
            bought["trunk_sid"] = json!(field(&form, "TrunkSid"));
            Json(bought.clone()).into_response()
        }
        None => error(404, 20404, "The requested resource was not found"),
    }
}

async fn release(
    State(shop): State<Arc<Shop>>,
    Path((_, sid)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({ "release": sid }));
    let sid = sid.trim_end_matches(".json").to_owned();
    let mut bought = shop.bought();
    let before = bought.len();
    bought.retain(|number| number["sid"] != sid.as_str());
    if bought.len() == before {
        return error(404, 20404, "The requested resource was not found");
    }
    StatusCode::NO_CONTENT.into_response()
}
