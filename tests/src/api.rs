//! The API of a server, as its users see it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use codecs::wav::Reader;
use futures_util::StreamExt as _;
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

use crate::sidetone::KEY;
use crate::sound::Stereo;

/// A client with the server's key.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    base: String,
    key: String,
}

impl Api {
    pub(crate) fn new(at: SocketAddr) -> Self {
        // Plain HTTP only, but the client wants to know who would do TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(15)).build();
        Self {
            client: client.expect("a client without files can be built"),
            base: format!("http://{at}"),
            key: KEY.to_owned(),
        }
    }

    /// The same API to somebody else: their key, or the token of their session.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Where it is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let asked = self.client.get(format!("{}/ready", self.base)).send().await;
        asked.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Vec<u8>) {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let status = answer.status();
        (status, answer.bytes().await.unwrap_or_else(|error| panic!("{path}: {error}")).to_vec())
    }

    /// GET below `/api/v1/`; anything but 200 fails the test.
    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask(Method::GET, &format!("/api/v1/{path}"), None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// GET below `/api/v1/`, whatever the status.
    pub async fn fetch(&self, path: &str) -> Value {
        let (_, body) = self.ask(Method::GET, &format!("/api/v1/{path}"), None).await;
        serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// POST below `/api/v1/`; anything but success fails the test.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask(Method::POST, &format!("/api/v1/{path}"), Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// POST below `/api/v1/` under an Idempotency-Key; anything but success fails the test.
    pub async fn post_once(&self, path: &str, key: &str, body: &Value) -> Value {
        let request = self.client.post(format!("{}/api/v1/{path}", self.base)).header("idempotency-key", key);
        self.succeed(path, request.json(body)).await
    }

    /// PUT below `/api/v1/`; anything but success fails the test.
    pub async fn put(&self, path: &str, content_type: &str, body: &str) -> Value {
        let request = self.client.put(format!("{}/api/v1/{path}", self.base)).header("content-type", content_type);
        self.succeed(path, request.body(body.to_owned())).await
    }

    async fn succeed(&self, path: &str, request: reqwest::RequestBuilder) -> Value {
        let answer = request.bearer_auth(&self.key).send().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let status = answer.status();
        let body = answer.text().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(status.is_success(), "{path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// PATCH below `/api/v1/`; anything but success fails the test.
    pub async fn patch(&self, path: &str, body: &Value) -> Value {
        self.succeed(path, self.client.patch(format!("{}/api/v1/{path}", self.base)).json(body)).await
    }

    /// A number of our own whose callers hear some words.
    pub async fn number(&self, e164: &str, trunk: &Value, words: &str) {
        let number = json!({"e164": e164, "carrier": "none", "trunk_id": trunk});
        let number = self.post("numbers", &number).await;
        let routing = json!({"fallback": {"kind": "message", "text": words}});
        let path = format!("numbers/{}/routing", number["id"].as_str().unwrap_or_default());
        self.put(&path, "application/json", &routing.to_string()).await;
    }

    /// A request below `/api/v1/` that is refused: its status and code.
    pub async fn refused(&self, method: Method, path: &str, body: &Value) -> (u16, String) {
        let (status, answer) = self.ask(method, &format!("/api/v1/{path}"), Some(body)).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_else(|error| panic!("{path}: {error}"));
        (status.as_u16(), answer["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// A request to a path of the root: its status, `Retry-After` and body.
    pub async fn root(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Option<String>, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let status = answer.status().as_u16();
        let later = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = answer.text().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        (status, later, serde_json::from_str(&body).unwrap_or_default())
    }

    /// DELETE below `/api/v1/`; anything but success fails the test.
    pub async fn delete(&self, path: &str) {
        let (status, answer) = self.ask(Method::DELETE, &format!("/api/v1/{path}"), None).await;
        assert!(status.is_success(), "{path}: {status} {}", String::from_utf8_lossy(&answer));
    }

    /// An event of a call, once it has happened.
    pub async fn event(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let events = self.events(id).await;
            if let Some(found) = events.iter().find(|event| wanted(event)) {
                return found.clone();
            }
            assert!(began.elapsed() < Duration::from_secs(25), "it does not happen: {events:#?}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// An event of a call by its type, once it has happened.
    pub async fn told(&self, id: &str, kind: &str) -> Value {
        self.event(id, |event| event["type"] == kind).await
    }

    /// GET below `/api/v1/` of what is no JSON; anything but 200 fails the test.
    pub async fn bytes(&self, path: &str) -> Vec<u8> {
        let (status, body) = self.ask(Method::GET, &format!("/api/v1/{path}"), None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// All calls, newest first; at most 200.
    pub async fn calls(&self) -> Vec<Value> {
        list(self.get("calls?limit=200").await)
    }

    /// The newest call from `sip:name@…`.
    pub async fn call_from(&self, name: &str) -> Option<Value> {
        let address = format!("sip:{name}@");
        let is_from = |call: &Value| call["from"]["address"].as_str().is_some_and(|from| from.starts_with(&address));
        self.calls().await.into_iter().find(is_from)
    }

    /// A call, once `done` says that it is as the test wants it.
    pub async fn until(&self, id: &str, done: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let call = self.get(&format!("calls/{id}")).await;
            if done(&call) {
                return call;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "the call stays as it is: {call:#}");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The newest call from `sip:name@…`, once it has ended and its recording is closed.
    pub async fn ended(&self, name: &str) -> Value {
        let began = Instant::now();
        let call = loop {
            if let Some(call) = self.call_from(name).await {
                break call;
            }
            assert!(began.elapsed() < Duration::from_secs(5), "no call from {name}");
            sleep(Duration::from_millis(50)).await;
        };
        let closed = |call: &Value| call["ended_at"].is_string() && call["recording"]["state"] != "writing";
        self.until(id(&call), closed).await
    }

    /// The turns of a call, in order.
    pub async fn transcript(&self, id: &str) -> Vec<Value> {
        list_of(self.get(&format!("calls/{id}/transcript")).await, "turns")
    }

    /// The events of a call, oldest first.
    pub async fn events(&self, id: &str) -> Vec<Value> {
        list(self.get(&format!("calls/{id}/events?limit=200")).await)
    }

    /// The SIP messages of a call that has ended, once they are stored.
    pub async fn trace(&self, id: &str) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let mut trace = self.fetch(&format!("calls/{id}/trace")).await;
            if let Value::Array(messages) = trace["messages"].take() {
                return messages;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "no trace: {trace:#}");
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// What callers booked.
    pub async fn bookings(&self) -> Vec<Value> {
        list(self.get("bookings").await)
    }

    /// What callers left.
    pub async fn messages(&self) -> Vec<Value> {
        list(self.get("messages?limit=200").await)
    }

    /// Listens to a live call until it ends: both sides, without a gap, from the last gap on if there was one.
    pub async fn listen(&self, id: &str) -> Stereo {
        let url = format!("{}/api/v1/calls/{id}/listen?side=stereo", self.base.replace("http", "ws"));
        let mut request = url.into_client_request().expect("a URL");
        let key = format!("Bearer {}", self.key).parse().expect("a key has no strange characters");
        request.headers_mut().insert("authorization", key);
        let (mut socket, _) = connect_async(request).await.unwrap_or_else(|error| panic!("listen: {error}"));
        let mut heard = Stereo { caller: Vec::new(), agent: Vec::new() };
        while let Some(Ok(frame)) = socket.next().await {
            match frame {
                Message::Binary(frame) => {
                    for pair in frame.chunks_exact(4) {
                        heard.caller.push(i16::from_le_bytes([pair[0], pair[1]]));
                        heard.agent.push(i16::from_le_bytes([pair[2], pair[3]]));
                    }
                }
                Message::Text(_) => heard = Stereo { caller: Vec::new(), agent: Vec::new() },
                Message::Close(frame) => {
                    assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1000));
                    return heard;
                }
                _ => {}
            }
        }
        panic!("the connection broke before the call was over");
    }

    /// A call's recording, as WAV whatever it is stored as: caller left, agent right.
    pub async fn recording(&self, id: &str) -> Stereo {
        let path = format!("{}/api/v1/calls/{id}/recording?format=wav", self.base);
        let answer = self.client.get(&path).bearer_auth(&self.key).header("accept", "audio/*").send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let bytes = answer.bytes().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        let wav = Reader::parse(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!((wav.rate, wav.channels), (8000, 2), "{path}");
        Stereo { caller: wav.channel(0), agent: wav.channel(1) }
    }

    /// One of the node's metrics.
    pub async fn metric(&self, name: &str) -> u64 {
        let (status, body) = self.ask(Method::GET, "/metrics", None).await;
        assert_eq!(status, StatusCode::OK, "/metrics");
        let text = String::from_utf8_lossy(&body);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no metric {name} in:\n{text}"))
    }
}

/// The id of a call as the API shows it.
#[must_use]
pub(crate) fn id(call: &Value) -> &str {
    call["id"].as_str().unwrap_or_else(|| panic!("a call without an id: {call}"))
}

fn list(answer: Value) -> Vec<Value> {
    list_of(answer, "data")
}

fn list_of(mut answer: Value, field: &str) -> Vec<Value> {
    match answer[field].take() {
        Value::Array(list) => list,
        other => panic!("{field} is no list: {other}"),
    }
}
