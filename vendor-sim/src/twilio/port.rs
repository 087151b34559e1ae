//! Twilio's port-in requests, which go on as `POST /sim/ports` says: `{"e164", "status", "request_status"?, "reason"?, "date"?}` moves a
//! number, `{"down": true}` lets everything answer 503, `{"lose": true}` makes the next request and loses the answer,
//! `{"unportable": e164}` lets a number be refused from the beginning.

use std::sync::{Arc, PoisonError};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde_json::{Value, json};

use super::{Shop, error};

/// What the simulator knows of ports.
#[derive(Default)]
pub(super) struct Ports {
    requests: Vec<Value>,
    unportable: Vec<String>,
    pub(super) down: bool,
    lose: bool,
}

pub(super) fn routes() -> Router<Arc<Shop>> {
    Router::new()
        .route("/v1/Porting/PortIn", post(create))
        .route("/v1/Porting/PortIn/PortInRequests", get(list))
        .route("/v1/Porting/PortIn/{sid}", get(one).delete(cancel))
        .route("/v1/Porting/PortIn/{sid}/PhoneNumber/{number}", delete(cancel_number))
        .route("/v1/Documents", post(document))
        .route("/sim/ports", post(control))
}

impl Shop {
    pub(super) fn ports(&self) -> std::sync::MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn numbers(request: &mut Value) -> impl Iterator<Item = &mut Value> {
    request["phone_numbers"].as_array_mut().into_iter().flatten()
}

async fn control(State(shop): State<Arc<Shop>>, Json(wish): Json<Value>) -> StatusCode {
    let mut ports = shop.ports();
    ports.down = wish["down"].as_bool().unwrap_or(ports.down);
    ports.lose = wish["lose"].as_bool().unwrap_or(ports.lose);
    ports.unportable.extend(wish["unportable"].as_str().map(str::to_owned));
    let Some(e164) = wish["e164"].as_str() else { return StatusCode::NO_CONTENT };
    for request in &mut ports.requests {
        let Some(number) = numbers(request).find(|number| number["phone_number"] == e164) else { continue };
        number["port_in_phone_number_status"] = wish["status"].clone();
        number["rejection_reason"] = wish["reason"].clone();
        number["port_date"] = wish["date"].as_str().map(|day| json!(format!("{day}T10:15:00Z"))).unwrap_or_default();
        if let Some(status) = wish["request_status"].as_str() {
            request["port_in_request_status"] = json!(status);
        }
        if wish["status"] == "Completed" {
            let mut bought = shop.bought();
            let sid = format!("PN{:032x}", bought.len() + 1);
            bought.push(json!({"sid": sid, "phone_number": e164, "friendly_name": e164, "trunk_sid": null,
                "capabilities": {"voice": true, "sms": true}, "status": "in-use"}));
        }
        return StatusCode::NO_CONTENT;
    }
    StatusCode::NOT_FOUND
}

async fn create(State(shop): State<Arc<Shop>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({ "port": body }));
    let mut ports = shop.ports();
    let carrier = &body["losing_carrier_information"];
    if !carrier["authorized_representative_email"].is_string() || !carrier["address"]["zip"].is_string() {
        return error(400, 22100, "authorized_representative_email and address are required");
    }
    let n = ports.requests.len() + 1;
    let numbers = body["phone_numbers"].as_array().into_iter().flatten().enumerate().map(|(at, number)| {
        let fails = ports.unportable.iter().any(|one| number["phone_number"] == one.as_str());
        json!({"phone_number": number["phone_number"], "port_in_phone_number_sid": format!("PU{n:016x}{at:016x}"), "portable": !fails,
            "not_portability_reason": fails.then_some("The number is in a rate center that is not covered"),
            "port_in_phone_number_status": "Pending", "rejection_reason": null, "port_date": null})
    });
    let request = json!({"port_in_request_sid": format!("KW{n:032x}"), "port_in_request_status": "In Review",
        "phone_numbers": numbers.collect::<Vec<_>>(), "order_cancellation_reason": null, "target_port_in_date": body["target_port_in_date"]});
    ports.requests.push(request.clone());
    if std::mem::take(&mut ports.lose) {
        return error(503, 20500, "The answer was lost.");
    }
    (StatusCode::CREATED, Json(request)).into_response()
}

async fn list(State(shop): State<Arc<Shop>>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let ports = shop.ports();
    let short = ports.requests.iter().map(|request| {
        json!({"port_in_request_sid": request["port_in_request_sid"], "port_in_request_status": request["port_in_request_status"]})
    });
    Json(json!({"port_in_requests": short.collect::<Vec<_>>()})).into_response()
}

async fn one(State(shop): State<Arc<Shop>>, Path(sid): Path<String>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    match shop.ports().requests.iter().find(|request| request["port_in_request_sid"] == sid.as_str()) {
        Some(request) => Json(request.clone()).into_response(),
        None => error(404, 20404, "The requested resource was not found"),
    }
}

async fn cancel(State(shop): State<Arc<Shop>>, Path(sid): Path<String>, headers: HeaderMap) -> Response {
    shop.admit(&headers).unwrap_or_else(|| cancel_all(&shop, &sid, None))
}

async fn cancel_number(
    State(shop): State<Arc<Shop>>,
    Path((sid, number)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    shop.admit(&headers).unwrap_or_else(|| cancel_all(&shop, &sid, Some(&number)))
}

fn cancel_all(shop: &Shop, sid: &str, only: Option<&str>) -> Response {
    shop.stage.note(json!({"cancel": sid, "number": only}));
    let mut ports = shop.ports();
    let Some(request) = ports.requests.iter_mut().find(|request| request["port_in_request_sid"] == sid) else {
        return error(404, 20404, "The requested resource was not found");
    };
    let meant = |number: &&mut Value| only.is_none_or(|only| number["port_in_phone_number_sid"] == only);
    // What has a date is not called off any more.
    if numbers(request).filter(meant).any(|number| !number["port_date"].is_null()) {
        return error(409, 22102, "The port in phone number can no longer be canceled");
    }
    numbers(request).filter(meant).for_each(|number| number["port_in_phone_number_status"] = json!("Canceled"));
    StatusCode::NO_CONTENT.into_response()
}

async fn document(State(shop): State<Arc<Shop>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({ "document": String::from_utf8_lossy(&body) }));
    (StatusCode::CREATED, Json(json!({"sid": "RD1", "document_type": "utility_bill"}))).into_response()
}
