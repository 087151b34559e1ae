//! Telnyx' REST API for numbers: orders that are pending for a while, owned numbers, and the errors of the original.

mod port;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use crate::{
    Fault, Knobs, Running,
    running::{Stage, anywhere, refuse},
};

/// Numbers for sale.
const FOR_SALE: [&str; 2] = ["+13125550170", "+13125550171"];

/// Simulator of Telnyx' number routes. `Fault::Stall` leaves an order pending for the first look at it. How ports go on is said by
/// `POST /sim/ports`, see `telnyx/port.rs`.
#[derive(Debug)]
pub struct Telnyx;

#[derive(Default)]
struct Books {
    orders: Vec<Value>,
    owned: Vec<Value>,
    ports: port::Ports,
}

struct Shop {
    stage: Arc<Stage>,
    books: Mutex<Books>,
}

type Pairs = Vec<(String, String)>;

impl Telnyx {
    /// Listens on a free port of the loopback.
    pub async fn start(knobs: Knobs) -> io::Result<Running> {
        let stage = Stage::new(knobs);
        Running::start(anywhere(), Self::router(stage.clone()), vec![stage]).await
    }

    fn router(stage: Arc<Stage>) -> Router {
        Router::new()
            .route("/v2/available_phone_numbers", get(search))
            .route("/v2/number_orders", get(orders).post(order))
            .route("/v2/phone_numbers", get(owned))
            .route("/v2/phone_numbers/{id}", axum::routing::patch(change).delete(release))
            .merge(port::routes())
            .with_state(Arc::new(Shop { stage, books: Mutex::default() }))
    }
}

impl Shop {
    fn admit(&self, headers: &HeaderMap) -> Option<Response> {
        let fault = self.stage.connection();
        if self.books().ports.down {
            return Some(error(503, "10007", "Service unavailable"));
        }
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if !self.stage.admits(shown) {
            return Some(error(401, "10009", "Authentication failed"));
        }
        match fault {
            Fault::Refuse { status, retry_after, code } => {
                Some(refuse(status, retry_after, json!({"errors": [{"code": code, "title": "Refused."}]})))
            }
            _ => None,
        }
    }

    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn error(status: u16, code: &str, title: &str) -> Response {
    refuse(status, None, json!({"errors": [{"code": code, "title": title, "detail": title}]}))
}

fn field<'a>(query: &'a Pairs, name: &str) -> Option<&'a str> {
    query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

async fn search(State(shop): State<Arc<Shop>>, Query(query): Query<Pairs>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let code = field(&query, "filter[national_destination_code]").unwrap_or_default();
    let found: Vec<Value> = FOR_SALE
        .iter()
        .filter(|number| field(&query, "filter[country_code]") == Some("US") && number[2..].starts_with(code))
        .map(|number| {
            json!({"record_type": "available_phone_number", "phone_number": number, "features": [{"name": "voice"}, {"name": "sms"}],
                "cost_information": {"monthly_cost": "1.00", "upfront_cost": "0.00", "currency": "USD"},
                "region_information": [{"region_type": "state", "region_name": "IL"}, {"region_type": "rate_center", "region_name": "CHICAGO"}]})
        })
        .collect();
    Json(json!({"data": found, "meta": {"total_results": found.len()}})).into_response()
}

async fn orders(State(shop): State<Arc<Shop>>, Query(query): Query<Pairs>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let reference = field(&query, "filter[customer_reference]").map(str::to_owned);
    let mut books = shop.books();
    let Books { orders, owned, .. } = &mut *books;
    let mut found = Vec::new();
    for order in orders
        .iter_mut()
        .filter(|order| reference.as_deref().is_none_or(|wanted| order["customer_reference"] == wanted))
    {
        if order["status"] == "pending" {
            // It was pending when it was made; by the next look it is done.
            order["status"] = json!("success");
            own(owned, order["phone_numbers"][0]["phone_number"].clone());
        }
        found.push(order.clone());
    }
    Json(json!({ "data": found })).into_response()
}

fn own(owned: &mut Vec<Value>, number: Value) {
    let id = format!("17{:016}", owned.len() + 1);
    owned.push(json!({"id": id, "phone_number": number, "connection_id": null, "status": "active"}));
}

async fn order(State(shop): State<Arc<Shop>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    shop.stage.note(json!({ "order": body }));
    let stalls = matches!(shop.stage.knobs.fault, Fault::Stall { .. });
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let number = body["phone_numbers"][0]["phone_number"].clone();
    let mut books = shop.books();
    let taken = books.owned.iter().any(|owned| owned["phone_number"] == number);
    if taken || !FOR_SALE.iter().any(|sold| number == *sold) {
        return error(400, "10015", "The number is not available any more");
    }
    let status = if stalls { "pending" } else { "success" };
    if !stalls {
        own(&mut books.owned, number.clone());
    }
    let order = json!({"id": format!("order-{}", books.orders.len() + 1), "status": status, "customer_reference": body["customer_reference"],
        "phone_numbers": [{"id": "p", "phone_number": number, "status": status, "requirements_met": true}]});
    books.orders.push(order.clone());
    Json(json!({ "data": order })).into_response()
}

async fn owned(State(shop): State<Arc<Shop>>, Query(query): Query<Pairs>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let wanted = field(&query, "filter[phone_number]");
    let books = shop.books();
    let found: Vec<&Value> =
        books.owned.iter().filter(|owned| wanted.is_none_or(|wanted| owned["phone_number"] == wanted)).collect();
    Json(json!({ "data": found })).into_response()
}

async fn change(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({"change": id, "body": body}));
    match shop.books().owned.iter_mut().find(|owned| owned["id"] == id.as_str()) {
        Some(owned) => {
            owned["connection_id"] = body["connection_id"].clone();
            Json(json!({ "data": owned })).into_response()
        }
        None => error(404, "10005", "Resource not found"),
    }
}

async fn release(State(shop): State<Arc<Shop>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({ "release": id }));
    let mut books = shop.books();
    match books.owned.iter().position(|owned| owned["id"] == id.as_str()) {
        Some(at) => Json(json!({ "data": books.owned.remove(at) })).into_response(),
        None => error(404, "10005", "Resource not found"),
    }
}
