//! Resend `POST /emails`: takes mails, and sends none twice under one `Idempotency-Key`.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

use crate::{
    Fault, Knobs, Running,
    running::{Stage, anywhere, refuse},
};

/// Simulator of Resend's mail API.
#[derive(Debug)]
pub struct Resend;

struct Desk {
    stage: Arc<Stage>,
    known: Mutex<HashMap<String, String>>,
}

impl Resend {
    /// Listens on a free port of the loopback.
    ///
    /// # Errors
    /// When the system gives none.
    pub async fn start(knobs: Knobs) -> io::Result<Running> {
        let stage = Stage::new(knobs);
        let desk = Arc::new(Desk { stage: Arc::clone(&stage), known: Mutex::default() });
        let router = Router::new().route("/emails", post(take)).with_state(desk);
        Running::start(anywhere(), router, vec![stage]).await
    }
}

async fn take(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let fault = desk.stage.connection();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let wrong = |status: u16, name: &str, message: &str| {
        refuse(status, None, json!({"statusCode": status, "name": name, "message": message}))
    };
    if !desk.stage.admits(header("authorization").and_then(|value| value.strip_prefix("Bearer "))) {
        return wrong(401, "invalid_api_key", "API key is invalid");
    }
    if let Fault::Refuse { status, code, .. } = &fault {
        return wrong(*status, code, "The knob says so.");
    }
    let Ok(mail) = serde_json::from_slice::<Value>(&body) else {
        return wrong(400, "validation_error", "The body is no JSON");
    };
    let addressed = mail["to"].as_array().is_some_and(|to| !to.is_empty()) || mail["to"].is_string();
    if !(addressed && mail["from"].is_string() && mail["subject"].is_string()) {
        return wrong(422, "missing_required_field", "Missing `to`, `from` or `subject`");
    }
    let mut known = desk.known.lock().unwrap_or_else(PoisonError::into_inner);
    let fresh = format!("sim-{}", known.len() + 1);
    let id = match header("idempotency-key") {
        Some(key) if known.contains_key(key) => known[key].clone(),
        key => {
            desk.stage.note(mail);
            known.insert(key.unwrap_or(&fresh).to_owned(), fresh.clone());
            fresh
        }
    };
    Json(json!({"id": id})).into_response()
}
