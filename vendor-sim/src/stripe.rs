//! Stripe as far as credit is bought: checkout sessions, payments with a stored card, refunds; and its events, signed, sent, and sent
//! again as the real one does.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// An event as it goes over the wire: the same bytes may be sent again with a fresh signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripeEvent {
    /// The raw body.
    pub body: String,
}

impl StripeEvent {
    /// The header `Stripe-Signature` for this body, made at `at_s` (Unix seconds) with the endpoint's secret.
    pub fn signature(&self, secret: &str, at_s: i64) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        format!("t={at_s},v1={}", hex(&hmac(secret.as_bytes(), format!("{at_s}.{}", self.body).as_bytes())))
    }
}

/// Where events go, and how often each.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host and port.
    pub address: SocketAddr,
    /// `/webhooks/stripe`
    pub path: String,
    /// `whsec_…`
    pub secret: String,
    /// 1 for a well-behaved day.
    pub times: u32,
}

#[derive(Debug, Default)]
struct Books {
    made: u64,
    /// Sessions and payments by their id.
    objects: BTreeMap<String, Value>,
    /// Answers by idempotency key.
    answers: BTreeMap<String, Value>,
    /// Form fields of every request, in order.
    requests: Vec<BTreeMap<String, String>>,
    /// The next request is refused with this status.
    refusal: Option<u16>,
}

#[derive(Debug)]
struct Shared {
    books: Mutex<Books>,
    key: String,
    address: SocketAddr,
    endpoint: Option<Endpoint>,
}

/// A simulator that listens on the loopback until this is dropped.
#[derive(Debug)]
pub struct Stripe {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for Stripe {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Stripe {
    /// Starts it. `key` is the secret key that clients must show; a key with `_test_` in it makes test objects. With an endpoint, the
    /// page of a session (`GET /pay/{id}`) pays it and sends what follows.
    pub async fn start(listen: SocketAddr, key: &str, endpoint: Option<Endpoint>) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { books: Mutex::default(), key: key.to_owned(), address, endpoint });
        let router = Router::new()
            .route("/v1/checkout/sessions", post(sessions))
            .route("/v1/checkout/sessions/{id}/expire", post(expire))
            .route("/v1/subscriptions/{id}", get(subscription).post(change).delete(cancel))
            .route("/v1/payment_intents", post(intents))
            .route("/v1/refunds", post(refunds))
            .route("/pay/{id}", get(page))
            .with_state(shared.clone());
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { shared, server })
    }

    /// `http://…`, in place of `https://api.stripe.com`.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.address)
    }

    /// The form fields of every request so far.
    pub fn requests(&self) -> Vec<BTreeMap<String, String>> {
        self.shared.books().requests.clone()
    }

    /// How something of the gateway's stands, `active` or `canceled`.
    pub fn status_of(&self, id: &str) -> Option<String> {
        self.shared.books().objects.get(id)?["status"].as_str().map(str::to_owned)
    }

    /// Refuses the next request with this status.
    pub fn refuse_next(&self, status: u16) {
        self.shared.books().refusal = Some(status);
    }

    /// The payer pays: the events that follow, in the order in which they are sent.
    pub fn pay(&self, session: &str) -> Vec<StripeEvent> {
        self.shared.pay(session)
    }

    /// An event about an object of ours or of the caller's making.
    pub fn event(&self, kind: &str, object: &Value) -> StripeEvent {
        self.shared.event(kind, object)
    }
}

impl Shared {
    fn books(&self) -> std::sync::MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, prefix: &str) -> String {
        let mut books = self.books();
        books.made += 1;
        format!("{prefix}_sim{:08}", books.made)
    }

    fn event(&self, kind: &str, object: &Value) -> StripeEvent {
        let event = json!({
            "id": self.fresh("evt"), "object": "event", "type": kind, "livemode": !self.key.contains("_test_"),
            "api_version": "2025-09-30.clover", "created": now_s(), "data": {"object": object},
        });
        StripeEvent { body: event.to_string() }
    }

    fn pay(&self, session: &str) -> Vec<StripeEvent> {
        let known = self.books().objects.get(session).cloned();
        let Some(mut object) = known else { return Vec::new() };
        object["status"] = "complete".into();
        object["payment_status"] = "paid".into();
        if object["mode"] == "subscription" {
            object["subscription"] = self.fresh("sub").into();
            let invoice = json!({
                "id": self.fresh("in"), "object": "invoice", "subscription": object["subscription"],
                "billing_reason": "subscription_create",
                "lines": {"data": [{"period": {"start": now_s(), "end": now_s() + 30 * 86_400}}]},
            });
            let subscription = json!({
                "id": object["subscription"], "object": "subscription", "status": "active", "cancel_at_period_end": false,
                "items": {"data": [{"id": self.fresh("si"), "price": {"id": object["price"]}}]},
            });
            let mut books = self.books();
            books.objects.insert(object["subscription"].as_str().unwrap_or_default().to_owned(), subscription);
            books.objects.insert(session.to_owned(), object.clone());
            drop(books);
            return vec![self.event("checkout.session.completed", &object), self.event("invoice.paid", &invoice)];
        }
        let reference = self.fresh("pi");
        object["payment_intent"] = reference.clone().into();
        let intent = json!({
            "id": reference, "object": "payment_intent", "amount": object["amount_total"], "amount_received": object["amount_total"],
            "currency": object["currency"], "status": "succeeded",
        });
        self.books().objects.insert(reference, intent.clone());
        vec![self.event("checkout.session.completed", &object), self.event("payment_intent.succeeded", &intent)]
    }

    async fn send(&self, events: Vec<StripeEvent>) -> io::Result<()> {
        let Some(endpoint) = &self.endpoint else { return Ok(()) };
        for event in events {
            for _ in 0..endpoint.times {
                deliver(endpoint, &event).await?;
            }
        }
        Ok(())
    }
}

/// Sends one event, signed now; the status of the answer.
pub async fn deliver(endpoint: &Endpoint, event: &StripeEvent) -> io::Result<u16> {
    let mut stream = TcpStream::connect(endpoint.address).await?;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nStripe-Signature: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        endpoint.path,
        endpoint.address,
        event.signature(&endpoint.secret, now_s()),
        event.body.len(),
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(event.body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("an answer that is no HTTP"))
}

type Answer = (StatusCode, Json<Value>);

/// The form of a request that may be answered; or the answer that was given to its key before; or a refusal.
fn admit(shared: &Shared, headers: &HeaderMap, body: &Bytes) -> Result<(BTreeMap<String, String>, String), Answer> {
    let refuse = |status, message: &str| Err((status, Json(json!({"error": {"message": message}}))));
    let shown = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if shown != format!("Bearer {}", shared.key) {
        return refuse(StatusCode::UNAUTHORIZED, "Invalid API Key provided");
    }
    let form: BTreeMap<String, String> = String::from_utf8_lossy(body)
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect();
    let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut books = shared.books();
    if let Some(known) = books.answers.get(&key).filter(|_| !key.is_empty()) {
        return Err((StatusCode::OK, Json(known.clone())));
    }
    books.requests.push(form.clone());
    if let Some(status) = books.refusal.take() {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return refuse(status, "simulated refusal");
    }
    Ok((form, key))
}

fn keep(shared: &Shared, key: String, object: Value) -> Answer {
    let mut books = shared.books();
    if let Some(id) = object["id"].as_str() {
        books.objects.insert(id.to_owned(), object.clone());
    }
    books.answers.insert(key, object.clone());
    (StatusCode::OK, Json(object))
}

async fn sessions(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Answer {
    let (form, key) = match admit(&shared, &headers, &body) {
        Ok(admitted) => admitted,
        Err(answer) => return answer,
    };
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let id = shared.fresh("cs");
    let amount = field("line_items[0][price_data][unit_amount]").parse::<i64>().ok();
    let object = json!({
        "id": id, "object": "checkout.session", "mode": field("mode"), "status": "open", "payment_status": "unpaid",
        "amount_total": amount, "currency": field("line_items[0][price_data][currency]"),
        "client_reference_id": field("client_reference_id"), "url": format!("http://{}/pay/{id}", shared.address),
        "expires_at": now_s() + 86_400, "payment_intent": null, "subscription": null,
        "price": field("line_items[0][price]"),
    });
    keep(&shared, key, object)
}

async fn intents(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Answer {
    let (form, key) = match admit(&shared, &headers, &body) {
        Ok(admitted) => admitted,
        Err(answer) => return answer,
    };
    let amount = form.get("amount").and_then(|amount| amount.parse::<i64>().ok());
    let object = json!({
        "id": shared.fresh("pi"), "object": "payment_intent", "amount": amount, "amount_received": amount,
        "currency": form.get("currency"), "status": "succeeded",
        "metadata": {"payment_id": form.get("metadata[payment_id]")},
    });
    let event = shared.event("payment_intent.succeeded", &object);
    let sender = shared.clone();
    tokio::spawn(async move { sender.send(vec![event]).await });
    keep(&shared, key, object)
}

async fn expire(State(shared): State<Arc<Shared>>, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Answer {
    let (_, key) = match admit(&shared, &headers, &body) {
        Ok(admitted) => admitted,
        Err(answer) => return answer,
    };
    let known = shared.books().objects.get(&id).cloned();
    match known {
        Some(mut object) if object["status"] == "open" => {
            object["status"] = "expired".into();
            keep(&shared, key, object)
        }
        _ => missing("Only Checkout Sessions with a status in [\"open\"] can be expired"),
    }
}

async fn subscription(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let known = shared.books().objects.get(&id).cloned();
    known.map_or_else(|| missing("No such subscription"), |object| (StatusCode::OK, Json(object)))
}

async fn change(State(shared): State<Arc<Shared>>, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Answer {
    let (form, key) = match admit(&shared, &headers, &body) {
        Ok(admitted) => admitted,
        Err(answer) => return answer,
    };
    let known = shared.books().objects.get(&id).cloned();
    let Some(mut object) = known else { return missing("No such subscription") };
    if let Some(price) = form.get("items[0][price]") {
        if form.get("items[0][id]").map(String::as_str) != object["items"]["data"][0]["id"].as_str() {
            return missing("No such subscription item");
        }
        object["items"]["data"][0]["price"]["id"] = price.clone().into();
    }
    if let Some(ends) = form.get("cancel_at_period_end") {
        object["cancel_at_period_end"] = (ends == "true").into();
    }
    keep(&shared, key, object)
}

async fn cancel(State(shared): State<Arc<Shared>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    if let Err(answer) = admit(&shared, &headers, &Bytes::new()) {
        return answer;
    }
    let mut books = shared.books();
    match books.objects.get_mut(&id) {
        Some(object) if object["status"] != "canceled" => {
            object["status"] = "canceled".into();
            (StatusCode::OK, Json(object.clone()))
        }
        _ => (
            StatusCode::NOT_FOUND,
            Json(json!({"error": {"code": "resource_missing", "message": "No such subscription"}})),
        ),
    }
}

fn missing(message: &str) -> Answer {
    (StatusCode::BAD_REQUEST, Json(json!({"error": {"message": message}})))
}

async fn refunds(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Answer {
    let (form, key) = match admit(&shared, &headers, &body) {
        Ok(admitted) => admitted,
        Err(answer) => return answer,
    };
    let object =
        json!({"id": shared.fresh("re"), "object": "refund", "amount": form.get("amount"), "status": "succeeded"});
    keep(&shared, key, object)
}

async fn page(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> (StatusCode, String) {
    match shared.send(shared.pay(&id)).await {
        Ok(()) => (StatusCode::OK, format!("{id} is paid\n")),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{id} is paid, and nobody hears of it: {error}\n")),
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
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
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// RFC 2104 with SHA-256.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut padded = [0_u8; 64];
    if key.len() > 64 {
        padded[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        padded[..key.len()].copy_from_slice(key);
    }
    let (inner, outer) = (padded.map(|byte| byte ^ 0x36), padded.map(|byte| byte ^ 0x5c));
    let inside = Sha256::digest([&inner[..], message].concat());
    Sha256::digest([&outer[..], &inside].concat()).into()
}
