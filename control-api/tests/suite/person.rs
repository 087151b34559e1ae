//! Somebody with a browser: their own address, their cookies, their access token.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{body::Body, extract::ConnectInfo, http::Request};
use control_api::{AuthSettings, Hub, Settings};
use serde_json::{Value, json};

use crate::{
    db::Db,
    fake::{Answer, Client},
};

pub(crate) const PASSWORD: &str = "summer rain on tin";
/// A signing key, so that a test does not wait for one to be drawn.
pub(crate) const SIGNING_KEY: &str = include_str!("signing.b64");

static ADDRESSES: AtomicU32 = AtomicU32::new(1);

pub(crate) fn settings() -> Settings {
    let auth = AuthSettings { signing_key: SIGNING_KEY.into(), ..AuthSettings::default() };
    Settings { auth, ..Settings::default() }
}

/// A node as people meet it.
pub(crate) fn node(db: &Db) -> Arc<Client> {
    Arc::new(Client::with(db, &Hub::new(0), settings()))
}

#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) client: Arc<Client>,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    pub(crate) refresh: String,
    pub(crate) tenant: String,
    pub(crate) id: String,
}

impl Person {
    pub(crate) fn stranger(client: &Arc<Client>) -> Self {
        let n = ADDRESSES.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + n), 40_000));
        let none = String::new;
        Self { client: client.clone(), address, token: none(), refresh: none(), tenant: none(), id: none() }
    }

    pub(crate) async fn registered(client: &Arc<Client>, email: &str) -> Self {
        let mut person = Self::stranger(client);
        let name = email.split('@').next().unwrap();
        let body = json!({"email": email, "password": PASSWORD, "name": name});
        let answer = person.send("POST", "/api/v1/auth/register", Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let body = answer.json();
        person.id = body["user"]["id"].as_str().unwrap().into();
        person.holds(&body["tokens"]);
        person
    }

    pub(crate) fn holds(&mut self, tokens: &Value) {
        self.token = tokens["access_token"].as_str().unwrap().into();
        self.refresh = tokens["refresh_token"].as_str().unwrap().into();
        self.tenant = tokens["tenant_id"].as_str().unwrap().into();
    }

    /// The same person at another address: limits are per address.
    pub(crate) fn elsewhere(&self) -> Self {
        Self { address: Self::stranger(&self.client).address, ..self.clone() }
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.send_with(method, path, body, &[]).await
    }

    pub(crate) async fn send_with(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            None => Body::empty(),
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
        };
        let mut request = request.body(body).unwrap();
        request.extensions_mut().insert(ConnectInfo(self.address));
        self.client.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body)).await
    }

    pub(crate) async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/login", json!({"email": email, "password": password})).await
    }
}

/// The token in the newest letter of a kind to an address.
pub(crate) async fn letter(db: &Db, template: &str, to: &str) -> Option<String> {
    // The letter is queued in its own time, after the answer.
    for _ in 0..200 {
        let text: Option<String> = sqlx::query_scalar(
            "SELECT body_text FROM emails WHERE template = $1 AND to_addr = $2 ORDER BY created_at DESC, id DESC LIMIT 1",
        )
        .bind(template.to_owned())
        .bind(to.to_owned())
        .fetch_optional(&db.raw)
        .await
        .unwrap();
        if let Some(text) = text {
            let link = text.lines().find(|line| line.starts_with("http")).unwrap();
            return Some(link.split_once("token=").unwrap().1.to_owned());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    None
}
