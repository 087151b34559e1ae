//! The guarded way out: tools that ask servers of tenants, documents that lie at a URL, the voices of vendors.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use vendor_sim::{ElevenLabs, Fault, Knobs};

use crate::{
    agents::{become_another_tenant, made},
    db::on_both,
    fake::Client,
    invariants,
};

/// A tenant's own server.
struct Shop {
    base: String,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Shop {
    async fn open() -> Self {
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = seen.clone();
        let router = Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let headers: serde_json::Map<String, Value> = headers
                .iter()
                .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
                .collect();
            kept.lock().unwrap().push(json!({"method": method.as_str(), "path": uri.to_string(), "headers": headers,
                "body": serde_json::from_slice::<Value>(&body).unwrap_or_default()}));
            answer(uri.path().to_owned())
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, seen }
    }

    fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}

async fn answer(path: String) -> Response {
    match path.as_str() {
        "/slow" => {
            tokio::time::sleep(Duration::from_secs(5)).await;
            StatusCode::OK.into_response()
        }
        "/elsewhere" => (StatusCode::FOUND, [(header::LOCATION, "http://169.254.169.254/")]).into_response(),
        "/large" => "x".repeat(300 << 10).into_response(),
        "/down" => (StatusCode::SERVICE_UNAVAILABLE, "closed").into_response(),
        "/hours.md" => ([(header::CONTENT_TYPE, "text/markdown")], "# Hours\n\nOpen on Sundays.").into_response(),
        "/picture.png" => ([(header::CONTENT_TYPE, "image/png")], "png").into_response(),
        _ => axum::Json(json!({"order": {"status": "shipped"}})).into_response(),
    }
}

/// An agent with one tool; the tool's path.
async fn with_tool(client: &Client, config: Value, credential: Option<&Value>) -> String {
    let mut config = config;
    if let Some(credential) = credential {
        config["credential_id"] = credential.clone();
    }
    let tool = json!({"name": "order_status", "kind": "http", "description": "Status of an order", "timeout_ms": 800,
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}, "config": config});
    let (path, agent) = made(client, json!({"name": "Shop", "tools": [tool]})).await;
    format!("{path}/tools/{}", agent["tools"][0]["id"].as_str().unwrap())
}

async fn invoke(client: &Client, tool: &str, order: &str) -> crate::fake::Answer {
    client.post(&format!("{tool}/invoke"), json!({"arguments": {"order": order}})).await
}

on_both! {
    async fn a_tool_is_tried_with_its_arguments_its_secret_and_a_signature(db) {
        let (client, shop) = (Client::new(&db), Shop::open().await);
        let key = json!({"provider": "webhook", "name": "shop", "secret": "shop-secret-0123456789"});
        let key = client.post("/api/v1/credentials", key).await.json()["id"].clone();
        let config = json!({"method": "POST", "url": format!("{}/orders/{{{{order}}}}?q={{{{order}}}}", shop.base),
            "headers": {"Authorization": "Bearer {{secret}}"}});
        let tool = with_tool(&client, config, Some(&key)).await;
        let done = invoke(&client, &tool, "a/../b c").await;
        assert_eq!(done.status, 200, "{}", done.text());
        assert_eq!((&done.json()["ok"], &done.json()["status"], &done.json()["result"]), (&json!(true), &json!(200), &json!({"order": {"status": "shipped"}})));
        let seen = shop.seen();
        assert_eq!((&seen[0]["method"], &seen[0]["path"]), (&json!("POST"), &json!("/orders/a%2F..%2Fb%20c?q=a%2F..%2Fb%20c")));
        assert_eq!(seen[0]["headers"]["authorization"], "Bearer shop-secret-0123456789");
        assert!(seen[0]["headers"]["webhook-signature"].as_str().unwrap().starts_with("v1,"));
        assert_eq!((&seen[0]["body"]["type"], &seen[0]["body"]["arguments"]), (&json!("tool_call"), &json!({"order": "a/../b c"})));
        assert_eq!(seen[0]["body"]["invocation_id"], seen[0]["headers"]["webhook-id"]);
        // A rehearsal sends nothing and shows no secret.
        let rehearsed = client.post(&format!("{tool}/invoke"), json!({"arguments": {"order": "1"}, "dry_run": true})).await;
        assert_eq!(rehearsed.json()["result"]["url"], format!("{}/orders/1?q=1", shop.base));
        assert!(!rehearsed.text().contains("shop-secret") && shop.seen().len() == 1, "{}", rehearsed.text());
        invariants::hold(&db).await;
    }

    async fn what_a_tools_server_does_wrong_is_said(db) {
        let (client, shop) = (Client::new(&db), Shop::open().await);
        for (path, status, code) in [("/slow", 504, "vendor_timeout"), ("/elsewhere", 502, "vendor_failed"), ("/large", 502, "vendor_failed"), ("/down", 502, "vendor_failed")] {
            let tool = with_tool(&client, json!({"method": "GET", "url": format!("{}{path}", shop.base)}), None).await;
            let (got, word, _) = invoke(&client, &tool, "1").await.error();
            assert_eq!((got, word.as_str()), (status, code), "{path}");
        }
        // Only what may pass is tried again, and nobody went where the redirect points.
        let paths: Vec<Value> = shop.seen().iter().map(|seen| seen["path"].clone()).collect();
        assert_eq!(paths.iter().filter(|path| **path == "/down").count(), 2);
        assert_eq!(paths.len(), 5, "{paths:?}");
        let tool = with_tool(&client, json!({"method": "GET", "url": "http://127.0.0.1:59997/x"}), None).await;
        assert_eq!(invoke(&client, &tool, "1").await.error().0, 502);
    }

    async fn arguments_must_fit_the_tools_schema(db) {
        let (client, shop) = (Client::new(&db), Shop::open().await);
        let tool = with_tool(&client, json!({"method": "GET", "url": format!("{}/o/{{{{order}}}}", shop.base)}), None).await;
        for arguments in [json!({}), json!({"order": 7}), json!({"order": ".."})] {
            let refused = client.post(&format!("{tool}/invoke"), json!({"arguments": arguments})).await;
            assert_eq!(refused.error(), (400, "validation_failed".into(), Some("arguments".into())), "{arguments}");
        }
        assert!(shop.seen().is_empty());
    }

    async fn a_tool_that_works_in_calls_only_says_so_and_a_foreign_one_is_none(db) {
        let client = Client::new(&db);
        let (path, agent) = made(&client, json!({"name": "Desk", "tools": [{"name": "bye", "kind": "hang_up"}]})).await;
        let tool = format!("{path}/tools/{}/invoke", agent["tools"][0]["id"].as_str().unwrap());
        assert_eq!(client.post(&tool, json!({})).await.error(), (409, "needs_call".into(), None));
        let foreign_call = json!({"call_id": "0193481e-7a10-7000-8000-0000000000c1"});
        assert_eq!(client.post(&tool, foreign_call).await.error(), (404, "not_found".into(), Some("call_id".into())));
        become_another_tenant(&db).await;
        let client = Client::new(&db);
        assert_eq!(client.post(&tool, json!({})).await.error().0, 404);
    }

    async fn tools_lead_only_where_requests_of_tenants_may_go(db) {
        let client = Client::strict(&db);
        for url in ["https://10.0.0.1/x", "https://[::ffff:169.254.169.254]/", "http://127.0.0.1:8080/", "https://localhost:8443/{{order}}"] {
            let tool = json!({"name": "t", "kind": "http", "config": {"method": "GET", "url": url}});
            let (status, code, field) = client.post("/api/v1/agents", json!({"name": "x", "tools": [tool]})).await.error();
            assert_eq!((status, code.as_str(), field.as_deref()), (400, "url_forbidden", Some("tools[0].config.url")), "{url}");
        }
        // What was allowed once is judged again when it is used.
        let shop = Shop::open().await;
        let tool = with_tool(&Client::new(&db), json!({"method": "GET", "url": format!("{}/o", shop.base)}), None).await;
        assert_eq!(invoke(&client, &tool, "1").await.error(), (400, "url_forbidden".into(), None));
        assert!(shop.seen().is_empty());
    }

    async fn a_vendors_key_goes_to_no_tool_and_secrets_are_for_those_who_may_change_agents(db) {
        let client = Client::new(&db);
        let key = |provider: &str| json!({"provider": provider, "name": "x", "secret": "s3cret-0123456789"});
        let openai = client.post("/api/v1/credentials", key("openai")).await.json()["id"].clone();
        let own = client.post("/api/v1/credentials", key("webhook")).await.json()["id"].clone();
        let agent = |credential: &Value| json!({"name": "x", "tools": [{"name": "t", "kind": "http",
            "config": {"method": "GET", "url": "https://8.8.8.8/", "credential_id": credential, "headers": {"X-Key": "{{secret}}"}}}]});
        let refused = client.post("/api/v1/agents", agent(&openai)).await;
        assert_eq!(refused.error(), (400, "validation_failed".into(), Some("tools[0].config.credential_id".into())));
        assert_eq!(client.post("/api/v1/agents", agent(&own)).await.status, 201);
        // A key that may only call takes no secret along.
        let caller = client.post("/api/v1/api-keys", json!({"name": "caller", "scopes": ["calls:write", "calls:read"]})).await;
        let caller = Client { key: caller.json()["key"].as_str().unwrap().into(), ..Client::new(&db) };
        let call = |who: Value| { let mut body = json!({"to": "sip:a@127.0.0.1"}); body.as_object_mut().unwrap().extend(who.as_object().unwrap().clone()); body };
        let inline = caller.post("/api/v1/calls", call(json!({"agent": agent(&own)}))).await;
        assert_eq!(inline.error(), (403, "missing_scope".into(), Some("agents:write".into())));
        let overridden = caller.post("/api/v1/calls", call(json!({"agent_id": "receptionist", "overrides": {"tools": agent(&own)["tools"]}}))).await;
        assert_eq!(overridden.error(), (403, "missing_scope".into(), Some("agents:write".into())));
        assert_eq!(caller.post("/api/v1/calls", call(json!({"agent_id": "receptionist"}))).await.status, 201);
    }

    async fn a_document_at_a_url_is_read_and_known(db) {
        let (client, shop) = (Client::new(&db), Shop::open().await);
        let (agent, _) = made(&client, json!({"name": "Desk"})).await;
        let path = format!("{agent}/knowledge");
        let added = client.post(&path, json!({"url": format!("{}/hours.md", shop.base)})).await;
        assert_eq!((added.status.as_u16(), added.json()["kind"].clone(), added.json()["status"].clone()), (202, json!("markdown"), json!("ready")), "{}", added.text());
        let found = client.post(&format!("{path}/search"), json!({"query": "open on sunday"})).await.json();
        assert!(found["data"][0]["text"].as_str().unwrap().contains("Open on Sundays"), "{found}");
        for (url, status, code) in [
            (format!("{}/picture.png", shop.base), 415, "unsupported_media_type"),
            (format!("{}/elsewhere", shop.base), 502, "vendor_failed"),
            (format!("{}/down", shop.base), 502, "vendor_failed"),
            ("https://10.0.0.1/a.txt".into(), 400, "url_forbidden"),
        ] {
            let refused = client.post(&path, json!({"url": url})).await;
            assert_eq!(refused.error(), (status, code.into(), Some("url".into())), "{url}");
        }
        let both = client.post(&path, json!({"title": "x", "text": "y", "url": "https://example.com/a.txt"})).await;
        assert_eq!(both.error().0, 400);
    }

    async fn the_voices_of_a_vendor_are_listed_with_the_tenants_key_and_kept(db) {
        let client = Client::new(&db);
        let before = client.get("/api/v1/voices").await.json();
        assert_eq!((&before["incomplete"], before["data"].as_array().unwrap().len()), (&json!(["elevenlabs"]), 2));
        let vendor = ElevenLabs::start(Knobs { key: Some("voices-key".into()), ..Knobs::default() }).await.unwrap();
        let key = json!({"provider": "elevenlabs", "name": "own", "secret": "voices-key", "base_url": format!("http://{}", vendor.addr())});
        assert_eq!(client.post("/api/v1/credentials", key).await.status, 201);
        for _ in 0..2 {
            let listed = client.get("/api/v1/voices?provider=elevenlabs&language=en").await.json();
            assert_eq!((&listed["incomplete"], listed["data"].as_array().unwrap().len()), (&json!([]), 1), "{listed}");
            assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["gender"]), (&json!("elevenlabs:21m00Tcm4TlvDq8ikWAM"), &json!("female")));
        }
        assert_eq!(vendor.connections(), 1);
    }

    async fn a_vendor_that_is_down_is_missing_and_named(db) {
        let client = Client::new(&db);
        let down = Knobs { fault: Fault::Refuse { status: 503, retry_after: None, code: "down".into() }, ..Knobs::default() };
        let vendor = ElevenLabs::start(down).await.unwrap();
        let key = json!({"provider": "elevenlabs", "name": "own", "secret": "voices-key", "base_url": format!("http://{}", vendor.addr())});
        assert_eq!(client.post("/api/v1/credentials", key).await.status, 201);
        for _ in 0..2 {
            let listed = client.get("/api/v1/voices").await.json();
            assert_eq!((&listed["incomplete"], listed["data"].as_array().unwrap().len()), (&json!(["elevenlabs"]), 2));
        }
        assert_eq!(vendor.connections(), 1);
    }
}
