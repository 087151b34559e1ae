//! An agent made over the API: a call keeps the version it began with, and a tool of its asks a server of the tenant.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Phone, Sidetone};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vendor_sim::{Deepgram, ElevenLabs, Knobs, OpenAi, Reply, Running, ToolCall};

const STATUS: &str = "shipped this morning";

/// A tenant's own server: answers every request with the same words and keeps what it was asked.
async fn shop() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut chunk = [0; 4096];
                // The requests here have no body.
                while !request.ends_with(b"\r\n\r\n") {
                    match socket.read(&mut chunk).await {
                        Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                        _ => return,
                    }
                }
                kept.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                let body = json!({"order": {"status": STATUS}}).to_string();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = socket.write_all(answer.as_bytes()).await;
            });
        }
    });
    (base, asked)
}

struct Vendors {
    deepgram: Running,
    openai: Running,
    elevenlabs: Running,
}

async fn vendors() -> Vendors {
    let asks = "Where is order one two three four five six?";
    let ears = Knobs { transcripts: vec![asks.into()], ..Knobs::default() };
    let tool = ToolCall { name: "order_status".into(), arguments: json!({"order": "123456"}) };
    let reply = Reply {
        when: "order".into(),
        tools: vec![tool],
        then: "Your order has {result.status}.".into(),
        ..Reply::default()
    };
    let mind = Knobs { replies: vec![reply], ..Knobs::default() };
    Vendors {
        deepgram: Deepgram::start(ears).await.unwrap(),
        openai: OpenAi::start(mind).await.unwrap(),
        elevenlabs: ElevenLabs::start(Knobs::default()).await.unwrap(),
    }
}

/// Stores a credential that says where a simulator is.
async fn credential(server: &Sidetone, provider: &str, place: &str) -> Value {
    let body = json!({"provider": provider, "name": "simulated", "secret": "key-of-the-tenant", "base_url": place});
    server.api.post("credentials", &body).await["id"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_keeps_its_version_and_a_tools_answer_is_spoken() {
    tests::enter();
    let sims = vendors().await;
    let (shop, asked) = shop().await;
    let server = Sidetone::with(|plan| plan.set("EVENTS__WEBHOOK_LOOPBACK", "true")).await;
    let ear = credential(&server, "deepgram", &format!("http://{}", sims.deepgram.addr())).await;
    let mind = credential(&server, "openai", &sims.openai.http()).await;
    let voice = credential(&server, "elevenlabs", &format!("http://{}", sims.elevenlabs.addr())).await;
    let key = json!({"provider": "webhook", "name": "shop", "secret": "shop-secret"});
    let key = server.api.post("credentials", &key).await["id"].clone();
    let agent = json!({
        "name": "Shop", "disclosure": {"ai": false}, "greeting": {"text": "Hello, this is version one."},
        "prompt": {"system": "You are version one."},
        "stt": {"provider": "deepgram", "credential_id": ear},
        "llm": {"provider": "openai", "credential_id": mind},
        "tts": {"provider": "elevenlabs", "voice": "elevenlabs:21m00Tcm4TlvDq8ikWAM", "credential_id": voice},
        "tools": [{"name": "order_status", "kind": "http", "description": "Status of an order by its number",
            "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
            "config": {"method": "GET", "url": format!("{shop}/orders/{{{{order}}}}"), "credential_id": key,
                "headers": {"Authorization": "Bearer {{secret}}"}, "extract": {"status": "$.order.status"}}}],
    });
    let made = server.api.post("agents", &agent).await;
    assert_eq!((&made["version"], &made["warnings"]), (&json!(1), &Value::Null), "{made:#}");
    let id = made["id"].as_str().unwrap().to_owned();

    let first =
        Phone::new(&server, &id, "first").say("where is order one two three four five six").with("--linger", "6");
    let first = tokio::spawn(first.call());
    let live = loop {
        match server.api.call_from("first").await {
            Some(call) if call["status"] == "in_progress" => break call,
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    };
    assert_eq!(live["agent"]["version"], 1, "{live:#}");
    // Changed while it talks.
    let change =
        json!({"greeting": {"text": "Hello, this is version two."}, "prompt": {"system": "You are version two."}});
    assert_eq!(server.api.patch(&format!("agents/{id}"), &change).await["version"], 2);
    let spoken = first.await.unwrap();
    assert_eq!(spoken.code, Some(0), "{:#}\n{}", spoken.report, server.log());
    let call = server.api.ended("first").await;
    assert_eq!((&call["agent"]["version"], &call["agent"]["id"]), (&json!(1), &json!(id)), "{call:#}");
    let turns = server.api.transcript(call["id"].as_str().unwrap()).await;
    let said: Vec<&str> =
        turns.iter().filter(|turn| turn["speaker"] == "agent").filter_map(|turn| turn["heard_text"].as_str()).collect();
    assert_eq!(said[0], "Hello, this is version one.");
    assert!(said[1..].iter().any(|words| words.contains(STATUS)), "{turns:#?}\n{}", server.log());
    let prompts: Vec<Value> = sims.openai.seen();
    assert!(
        !prompts.is_empty() && prompts.iter().all(|asked| asked["messages"].to_string().contains("version one")),
        "{prompts:#?}"
    );

    // What the tenant's server saw: the argument in its place, the secret, and a signature.
    let seen = asked.lock().unwrap().first().cloned().unwrap();
    assert!(seen.starts_with("GET /orders/123456 HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.contains("authorization: Bearer shop-secret\r\n") && seen.contains("webhook-signature: v1,"),
        "{seen}"
    );
    let events = server.api.events(call["id"].as_str().unwrap()).await;
    let kinds: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).collect();
    let started = kinds.iter().position(|kind| *kind == "call.tool.started").unwrap();
    let finished = events.iter().find(|event| event["type"] == "call.tool.finished").unwrap();
    assert!(kinds[started..].contains(&"call.tool.finished") && finished["data"]["ok"] == true, "{events:#?}");
    assert!(!json!(events).to_string().contains("shop-secret"));

    // The next call speaks with the newest version.
    let second = Phone::new(&server, &id, "second").with("--linger", "4").call().await;
    assert_eq!(second.code, Some(0), "{:#}", second.report);
    let call = server.api.ended("second").await;
    assert_eq!(call["agent"]["version"], 2, "{call:#}");
    let turns = server.api.transcript(call["id"].as_str().unwrap()).await;
    assert_eq!(turns[0]["heard_text"], "Hello, this is version two.");
}
