//! Telnyx' porting orders: a draft is filled in and confirmed, and goes on as `POST /sim/ports` says:
//! `{"e164", "status", "reason"?, "foc"?}` moves the order that holds a number, `{"down": true}` lets everything answer 503,
//! `{"lose": true}` makes the next order and loses the answer, `{"unportable": e164}` lets a number fail its check, and
//! `{"lacking": true}` refuses to confirm anything.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};

use super::{Pairs, Shop, error, field, own};

/// What the simulator knows of ports.
#[derive(Default)]
pub(super) struct Ports {
    orders: Vec<Value>,
    unportable: Vec<String>,
    pub(super) down: bool,
    lose: bool,
    lacking: bool,
}

pub(super) fn routes() -> Router<Arc<Shop>> {
    Router::new()
        .route("/v2/portability_checks", post(check))
        .route("/v2/porting_orders", get(list).post(create))
        .route("/v2/porting_orders/{id}", get(one).patch(fill).delete(drop_draft))
        .route("/v2/porting_orders/{id}/allowed_foc_windows", get(windows))
        .route("/v2/porting_orders/{id}/actions/{action}", post(act))
        .route("/v2/documents", post(document))
        .route("/sim/ports", post(control))
}

async fn control(State(shop): State<Arc<Shop>>, Json(wish): Json<Value>) -> StatusCode {
    let mut books = shop.books();
    let super::Books { owned, ports, .. } = &mut *books;
    for (name, flag) in [("down", &mut ports.down), ("lose", &mut ports.lose), ("lacking", &mut ports.lacking)] {
        *flag = wish[name].as_bool().unwrap_or(*flag);
    }
    ports.unportable.extend(wish["unportable"].as_str().map(str::to_owned));
    let Some(e164) = wish["e164"].as_str() else { return StatusCode::NO_CONTENT };
    let Some(order) = ports.orders.iter_mut().find(|order| holds(order, e164)) else { return StatusCode::NOT_FOUND };
    let details = wish["reason"].as_str().map(|reason| json!({"code": "SIM", "description": reason}));
    order["status"] = json!({"value": wish["status"], "details": details.into_iter().collect::<Vec<_>>()});
    if let Some(day) = wish["foc"].as_str() {
        order["activation_settings"]["foc_datetime_actual"] = json!(format!("{day}T15:00:00Z"));
    }
    if wish["status"] == "ported" {
        for number in order["phone_numbers"].as_array().into_iter().flatten() {
            own(owned, number["phone_number"].clone());
        }
    }
    StatusCode::NO_CONTENT
}

fn holds(order: &Value, e164: &str) -> bool {
    order["phone_numbers"].as_array().into_iter().flatten().any(|number| number["phone_number"] == e164)
}

async fn check(State(shop): State<Arc<Shop>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let unportable = &shop.books().ports.unportable;
    let verdicts = body["phone_numbers"].as_array().into_iter().flatten().map(|number| {
        let fails = unportable.iter().any(|one| number == one.as_str());
        json!({"phone_number": number, "portable": !fails, "not_portable_reason": fails.then_some("no_coverage"),
            "record_type": "portability_check_result"})
    });
    Json(json!({"data": verdicts.collect::<Vec<_>>()})).into_response()
}

async fn list(State(shop): State<Arc<Shop>>, Query(query): Query<Pairs>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let wanted = field(&query, "filter[customer_reference]");
    let books = shop.books();
    let orders = books.ports.orders.iter();
    let found: Vec<_> =
        orders.filter(|order| wanted.is_none_or(|wanted| order["customer_reference"] == wanted)).collect();
    Json(json!({ "data": found })).into_response()
}

async fn create(State(shop): State<Arc<Shop>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({ "port": body }));
    let mut books = shop.books();
    let numbers = body["phone_numbers"].as_array().cloned().unwrap_or_default();
    if numbers.is_empty()
        || numbers.iter().any(|number| books.ports.unportable.iter().any(|one| number == one.as_str()))
    {
        return error(422, "10027", "A number is not portable");
    }
    let id = format!("port-{}", books.ports.orders.len() + 1);
    let numbers: Vec<Value> = numbers.iter().map(|number| json!({ "phone_number": number })).collect();
    let order = json!({"id": id, "customer_reference": body["customer_reference"], "phone_numbers": numbers,
        "status": {"value": "draft", "details": []}, "activation_settings": {"foc_datetime_actual": null}});
    books.ports.orders.push(order.clone());
    if std::mem::take(&mut books.ports.lose) {
        return error(503, "10007", "The answer was lost");
    }
    (StatusCode::CREATED, Json(json!({ "data": [order] }))).into_response()
}

/// Answers with what `work` makes of an order.
fn with(shop: &Shop, id: &str, work: impl FnOnce(&mut Value, bool) -> Option<Response>) -> Response {
    let mut books = shop.books();
    let lacking = books.ports.lacking;
    match books.ports.orders.iter_mut().find(|order| order["id"] == id) {
        Some(order) => work(order, lacking).unwrap_or_else(|| Json(json!({ "data": order })).into_response()),
        None => error(404, "10005", "Resource not found"),
    }
}

async fn one(State(shop): State<Arc<Shop>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    shop.admit(&headers).unwrap_or_else(|| with(&shop, &id, |_, _| None))
}

async fn fill(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({"fill": id, "body": body}));
    with(&shop, &id, |order, _| {
        if body["end_user"]["admin"]["account_number"] == "WRONG-ACCOUNT" {
            return Some(error(422, "10015", "The account number WRONG-ACCOUNT is not one of the losing carrier"));
        }
        order["end_user"] = body["end_user"].clone();
        order["phone_number_configuration"] = body["phone_number_configuration"].clone();
        None
    })
}

async fn drop_draft(State(shop): State<Arc<Shop>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let mut books = shop.books();
    books.ports.orders.retain(|order| order["id"] != id.as_str() || order["status"]["value"] != "draft");
    StatusCode::NO_CONTENT.into_response()
}

async fn windows(State(shop): State<Arc<Shop>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    let _ = id;
    let window = json!({"started_at": "2099-03-01T15:00:00Z", "ended_at": "2099-03-01T23:00:00Z"});
    Json(json!({ "data": [window] })).into_response()
}

async fn act(
    State(shop): State<Arc<Shop>>,
    Path((id, action)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({"port_action": action, "id": id}));
    with(&shop, &id, |order, lacking| {
        let status = order["status"]["value"].as_str().unwrap_or_default().to_owned();
        match (action.as_str(), status.as_str()) {
            ("confirm", _) if lacking => {
                Some(error(422, "10027", "The requirement letter of authorization is not met"))
            }
            ("confirm", "draft") if !order["end_user"].is_null() => {
                order["status"] = json!({"value": "in-process", "details": []});
                None
            }
            // Within two days of its date nothing is called off.
            ("cancel", "in-process" | "submitted" | "exception") => {
                order["status"] = json!({"value": "cancelled", "details": []});
                None
            }
            _ => Some(error(422, "10027", "The order cannot do that any more")),
        }
    })
}

async fn document(State(shop): State<Arc<Shop>>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if let Some(answer) = shop.admit(&headers) {
        return answer;
    }
    shop.stage.note(json!({"document": body["filename"], "base64": body["file"]}));
    (StatusCode::CREATED, Json(json!({"data": {"id": "doc-1", "record_type": "document"}}))).into_response()
}
