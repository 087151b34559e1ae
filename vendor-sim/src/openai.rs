//! OpenAI `POST /v1/chat/completions`, scripted answers, whole or streamed, and then cut over TCP writes where it hurts most.

use std::{io, sync::Arc};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

use crate::{
    Fault, Knobs, Reply, Running,
    running::{Stage, anywhere, refuse},
};

/// Simulator of OpenAI-compatible chat completions.
#[derive(Debug)]
pub struct OpenAi;

impl OpenAi {
    /// Listens on a free port of the loopback.
    pub async fn start(knobs: Knobs) -> io::Result<Running> {
        let stage = Stage::new(knobs);
        Running::start(anywhere(), Self::router(stage.clone()), vec![stage]).await
    }

    pub(crate) fn router(stage: Arc<Stage>) -> Router {
        Router::new().route("/v1/chat/completions", post(complete)).with_state(stage)
    }
}

async fn complete(State(stage): State<Arc<Stage>>, headers: HeaderMap, body: Bytes) -> Response {
    let fault = stage.connection();
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    if !stage.admits(authorization.and_then(|value| value.strip_prefix("Bearer "))) {
        return refused(401, None, "invalid_api_key", "Incorrect API key provided.");
    }
    if let Fault::Refuse { status, retry_after, code } = &fault {
        return refused(*status, *retry_after, code, "The knob says so.");
    }
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return refused(400, None, "invalid_json", "We could not parse the JSON body of your request.");
    };
    stage.note(request.clone());
    if let Err(wrong) = check(&request) {
        return refused(400, None, "invalid_request", wrong);
    }
    if request["stream"] != json!(true) {
        let reply = choose(&request, &stage.knobs);
        sleep(stage.knobs.first_byte).await;
        return Json(whole(&request, &reply)).into_response();
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(answer(sender, request, stage, fault));
    // `Fault::Drop` ends the body by an error, which breaks the connection instead of ending the chunks.
    let body = ReceiverStream::new(receiver)
        .map(|piece: Option<Bytes>| piece.ok_or_else(|| io::Error::other("dropped by the knob")));
    ([("content-type", "text/event-stream"), ("x-request-id", "req_sim")], Body::from_stream(body)).into_response()
}

fn refused(status: u16, retry_after: Option<u32>, code: &str, message: &str) -> Response {
    refuse(
        status,
        retry_after,
        json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}}),
    )
}

/// What OpenAI answers with 400.
fn check(request: &Value) -> Result<(), &'static str> {
    if !request["model"].is_string() {
        return Err("you must provide a model parameter");
    }
    let messages =
        request["messages"].as_array().filter(|list| !list.is_empty()).ok_or("'messages' must not be empty")?;
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        match message["role"].as_str() {
            Some("tool") => {
                let id = message["tool_call_id"].as_str().unwrap_or_default();
                let at = open
                    .iter()
                    .position(|call| *call == id)
                    .ok_or("a tool message must follow a message with its tool_calls")?;
                open.remove(at);
            }
            Some("system" | "developer" | "user" | "assistant") => {
                if !open.is_empty() {
                    return Err("every tool_call_id must be followed by its tool message");
                }
                let calls = message["tool_calls"].as_array().into_iter().flatten();
                open.extend(calls.filter_map(|call| call["id"].as_str()));
            }
            _ => return Err("unknown role"),
        }
    }
    if open.is_empty() { Ok(()) } else { Err("every tool_call_id must be followed by its tool message") }
}

fn choose(request: &Value, knobs: &Knobs) -> Reply {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let user = messages.iter().rev().find(|message| message["role"] == "user");
    let said = user.and_then(|message| message["content"].as_str()).unwrap_or_default().to_lowercase();
    let reply = knobs.replies.iter().find(|reply| said.contains(&reply.when.to_lowercase())).cloned();
    let after_tool = messages.last().is_some_and(|message| message["role"] == "tool");
    match reply {
        Some(reply) if after_tool => {
            let text = if reply.then.is_empty() { "Done.".into() } else { with_result(&reply.then, messages) };
            Reply { text, ..Reply::default() }
        }
        Some(reply) => reply,
        None => Reply { text: knobs.default_reply.clone(), ..Reply::default() },
    }
}

/// `{result.NAME}` is that member of the last tool's result.
fn with_result(then: &str, messages: &[Value]) -> String {
    let result = messages.last().and_then(|message| message["content"].as_str()).unwrap_or_default();
    let result: Value = serde_json::from_str(result).unwrap_or_default();
    let mut text = then.to_owned();
    for (name, value) in result.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text = text.replace(&format!("{{result.{name}}}"), &value);
    }
    text
}

/// An answer in one piece.
fn whole(request: &Value, reply: &Reply) -> Value {
    let (read, written) = (request["messages"].to_string().len() / 4, reply.text.len() / 4);
    json!({"id": "chatcmpl-sim", "object": "chat.completion", "created": 1, "model": request["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": reply.text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}})
}

/// The events of an answer, without the `data: ` before them.
fn events(request: &Value, reply: &Reply, fault: &Fault) -> Vec<String> {
    let model = request["model"].clone();
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "chatcmpl-sim", "object": "chat.completion.chunk", "created": 1, "model": model, "system_fingerprint": "fp",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]})
        .to_string()
    };
    let mut list = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
    let tokens = reply.text.split_inclusive(' ');
    list.extend(tokens.map(|token| chunk(json!({"content": token}), Value::Null)));
    for (index, tool) in reply.tools.iter().enumerate() {
        let head = json!({"tool_calls": [{"index": index, "id": format!("call_{}", index + 1), "type": "function", "function": {"name": tool.name, "arguments": ""}}]});
        list.push(chunk(head, Value::Null));
        let mut arguments: Vec<char> = tool.arguments.to_string().chars().collect();
        if *fault == Fault::BadArguments {
            arguments.pop();
        }
        for part in arguments.chunks(5) {
            let part: String = part.iter().collect();
            list.push(chunk(json!({"tool_calls": [{"index": index, "function": {"arguments": part}}]}), Value::Null));
        }
    }
    list.push(chunk(json!({}), json!(if reply.tools.is_empty() { "stop" } else { "tool_calls" })));
    if request["stream_options"]["include_usage"] == json!(true) {
        let read = request["messages"].to_string().len() / 4;
        let written = list.len() - 2;
        list.push(
            json!({"id": "chatcmpl-sim", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [],
                "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}})
            .to_string(),
        );
    }
    list.push("[DONE]".into());
    list
}

async fn answer(body: mpsc::Sender<Option<Bytes>>, request: Value, stage: Arc<Stage>, fault: Fault) {
    let reply = choose(&request, &stage.knobs);
    let gone = || stage.cancelled();
    tokio::select! {
        () = sleep(stage.knobs.first_byte) => {}
        () = body.closed() => return gone(),
    }
    for (sent, event) in (0u32..).zip(events(&request, &reply, &fault)) {
        match fault {
            Fault::Drop { after } if sent >= after => {
                let _ = body.send(None).await;
                return;
            }
            Fault::Stall { after } if sent >= after => {
                body.closed().await;
                return gone();
            }
            Fault::Error { after } if sent >= after => {
                let error = json!({"error": {"message": "The server had an error.", "type": "server_error", "param": null, "code": null}});
                let _ = body.send(Some(format!("data: {error}\n\n").into())).await;
                return;
            }
            Fault::Garbage
                if body
                    .send(Some("data: {oops\n\n: a comment\nevent: surprise\ndata: [1,2]\n\n".into()))
                    .await
                    .is_err() =>
            {
                return gone();
            }
            _ => {}
        }
        let line = format!("data: {event}\n\n");
        let cut = cut(&line);
        let (head, tail) = line.as_bytes().split_at(cut);
        for part in [head, tail] {
            if body.send(Some(Bytes::copy_from_slice(part))).await.is_err() {
                return gone();
            }
        }
        if !stage.knobs.pace.is_zero() {
            tokio::select! {
                () = sleep(stage.knobs.pace) => {}
                () = body.closed() => return gone(),
            }
        }
    }
}

/// Where to break a line: inside a character of several bytes if there is one, else in the middle.
fn cut(line: &str) -> usize {
    line.char_indices().find(|(_, c)| c.len_utf8() > 1).map_or(line.len() / 2, |(at, _)| at + 1)
}
