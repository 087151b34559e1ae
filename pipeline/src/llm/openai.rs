//! OpenAI-compatible `POST /chat/completions`, streamed, with tools.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Line, Tool};
use crate::link::{
    Answer, Ask, Door, Fault, Limits, Model, Outbox, Said,
    settings::{self, OpenError, Secret},
};

const NAME: &str = "openai";
/// The most that the arguments of one answer's tool calls may hold together.
const LARGEST: usize = 256 << 10;
/// What a model reads of a tool that has not answered yet: each call must have a result, or the request is refused.
const RUNNING: &str = r#"{"status":"running"}"#;

/// Settings of this provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The model's name.
    pub model: String,
    /// 0 to 2; the vendor's default when it is missing.
    pub temperature: Option<f64>,
    /// Longest answer, tokens.
    pub max_tokens: Option<u32>,
    /// Further keys of the request's body, such as `reasoning_effort`.
    #[serde(default)]
    pub extra: Map<String, Value>,
    /// Up to the version, such as `https://api.openai.com/v1`.
    #[serde(default = "vendor")]
    pub base_url: String,
    /// Else from `OPENAI_API_KEY`.
    pub api_key: Option<Secret>,
    /// Waits.
    #[serde(default)]
    pub limits: Limits,
}

fn vendor() -> String {
    "https://api.openai.com/v1".into()
}

/// The protocol of OpenAI and of the many servers that speak it.
#[derive(Debug)]
pub struct OpenAi {
    settings: Settings,
    key: Secret,
}

impl OpenAi {
    /// Checks the settings and finds the key.
    pub fn new(mut settings: Settings) -> Result<Self, OpenError> {
        settings.base_url = settings::base_url(NAME, &settings.base_url, false)?;
        let key = settings::key(NAME, "OPENAI_API_KEY", settings.api_key.as_ref(), &settings.base_url)?;
        Ok(Self { settings, key })
    }

    /// For logs and metrics.
    pub fn name(&self) -> String {
        format!("{NAME}/{}", self.settings.model)
    }

    /// The waits that the settings ask for.
    pub fn limits(&self) -> Limits {
        self.settings.limits.clone()
    }
}

impl Model for OpenAi {
    type Answer = Reader;

    fn ask(&self, lines: &[Line], tools: &[Tool]) -> Ask {
        let settings = &self.settings;
        let mut body = json!({"model": settings.model, "stream": true, "stream_options": {"include_usage": true}, "messages": messages(lines)});
        if let Some(temperature) = settings.temperature {
            body["temperature"] = json!(temperature);
        }
        if let Some(most) = settings.max_tokens {
            // OpenAI's newer models refuse the older name, most compatible servers know only that.
            let newer = settings.base_url.starts_with("https://api.openai.com/");
            body[if newer { "max_completion_tokens" } else { "max_tokens" }] = json!(most);
        }
        if !tools.is_empty() {
            let function = |tool: &Tool| json!({"type": "function", "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters}});
            body["tools"] = tools.iter().map(function).collect();
        }
        for (key, value) in &settings.extra {
            body[key] = value.clone();
        }
        let key = self.key.reveal();
        let headers = if key.is_empty() { Vec::new() } else { vec![("authorization", format!("Bearer {key}"))] };
        Ask { door: Door { url: format!("{}/chat/completions", settings.base_url), headers }, body }
    }

    fn answer(&self) -> Reader {
        Reader::default()
    }
}

/// Tool calls belong to the assistant's message before them, and their results follow it at once.
fn messages(lines: &[Line]) -> Vec<Value> {
    let mut list: Vec<Value> = Vec::new();
    let mut results: Vec<Value> = Vec::new();
    for line in lines {
        if let Line::Tool { id, name, arguments, result } = line {
            let call = json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
            match list.last_mut().filter(|last| last["role"] == "assistant") {
                Some(last) => match last["tool_calls"].as_array_mut() {
                    Some(calls) => calls.push(call),
                    None => last["tool_calls"] = json!([call]),
                },
                None => list.push(json!({"role": "assistant", "content": null, "tool_calls": [call]})),
            }
            results.push(json!({"role": "tool", "tool_call_id": id, "content": result.as_deref().unwrap_or(RUNNING)}));
            continue;
        }
        list.append(&mut results);
        let (role, text) = match line {
            Line::System(text) => ("system", text),
            Line::Caller(text) => ("user", text),
            Line::Agent(text) => ("assistant", text),
            Line::Tool { .. } => continue,
        };
        if !text.is_empty() {
            list.push(json!({"role": role, "content": text}));
        }
    }
    list.append(&mut results);
    list
}

/// Reads the chunks of one answer.
#[derive(Debug, Default)]
pub struct Reader {
    calls: Vec<Call>,
    size: usize,
    finished: bool,
    input_tokens: u32,
    output_tokens: u32,
}

#[derive(Debug)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl Reader {
    fn fragment(&mut self, fragment: &Value) -> Result<(), Fault> {
        let index = fragment["index"].as_u64();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, function) = (text(&fragment["id"]), &fragment["function"]);
        // Some servers leave the index out, others give the same one to every call: a new id begins a new call.
        let same = |call: &Call| {
            (index.is_none() || call.index == index) && (id.is_empty() || call.id.is_empty() || call.id == id)
        };
        let arguments = text(&function["arguments"]);
        self.size += arguments.len();
        if self.size > LARGEST || self.calls.len() > 64 {
            return Err(Fault::passing("tool calls without end"));
        }
        match self.calls.iter_mut().rev().find(|call| same(call)) {
            Some(call) => {
                call.arguments.push_str(&arguments);
                if call.id.is_empty() {
                    call.id = id;
                }
                if call.name.is_empty() {
                    call.name = text(&function["name"]);
                }
            }
            None => self.calls.push(Call { index, id, name: text(&function["name"]), arguments }),
        }
        Ok(())
    }

    fn complete(&mut self, out: &mut Outbox<Said>) -> Result<(), Fault> {
        for mut call in self.calls.drain(..) {
            if call.arguments.trim().is_empty() {
                call.arguments = "{}".into();
            }
            if call.name.is_empty()
                || !serde_json::from_str::<Value>(&call.arguments).is_ok_and(|arguments| arguments.is_object())
            {
                return Err(Fault::passing(format!("the call of tool {:?} has no valid arguments", call.name)));
            }
            if call.id.is_empty() {
                // Servers without ids; the number keeps calls of one conversation apart.
                static NEXT: AtomicU64 = AtomicU64::new(1);
                call.id = format!("call_local_{}", NEXT.fetch_add(1, Relaxed));
            }
            out.events.push(Said::ToolCall { id: call.id, name: call.name, arguments: call.arguments });
        }
        Ok(())
    }
}

impl Answer for Reader {
    fn handle_event(&mut self, data: &str, out: &mut Outbox<Said>) -> Result<(), Fault> {
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            out.strange += 1;
            return Ok(());
        };
        if let Some(error) = chunk.get("error").filter(|error| !error.is_null()) {
            return Err(judge(error));
        }
        if !chunk.is_object() {
            out.strange += 1;
            return Ok(());
        }
        if let Some(usage) = chunk.get("usage").filter(|usage| usage.is_object()) {
            let count =
                |name: &str| usage[name].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or_default();
            self.input_tokens = count("prompt_tokens");
            self.output_tokens = count("completion_tokens");
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        for name in ["content", "refusal"] {
            if let Some(text) = delta[name].as_str().filter(|text| !text.is_empty()) {
                out.events.push(Said::Token(text.into()));
            }
        }
        for fragment in delta["tool_calls"].as_array().into_iter().flatten() {
            self.fragment(fragment)?;
        }
        if choice["finish_reason"].is_string() {
            self.finished = true;
            self.complete(out)?;
        }
        Ok(())
    }

    fn handle_end(&mut self, out: &mut Outbox<Said>) -> Result<(), Fault> {
        if !self.finished {
            return Err(Fault::passing("the answer ended before its end"));
        }
        out.events.push(Said::Done { input_tokens: self.input_tokens, output_tokens: self.output_tokens });
        Ok(())
    }
}

/// An error inside a stream that began with 200.
fn judge(error: &Value) -> Fault {
    let code = error["code"].as_str().or_else(|| error["type"].as_str()).unwrap_or_default();
    let reason = error["message"].as_str().or_else(|| error.as_str()).unwrap_or_default();
    let reason: String = format!("{code} {reason}").chars().filter(|c| !c.is_control()).take(200).collect();
    let permanent =
        ["insufficient_quota", "invalid_request_error", "invalid_api_key", "context_length_exceeded", "content_filter"]
            .contains(&code);
    if permanent { Fault::permanent(reason) } else { Fault::passing(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::sse::Events;

    fn read(stream: &str) -> (Vec<Said>, Result<(), Fault>) {
        let (mut reader, mut out, mut result) = (Reader::default(), Outbox::default(), Ok(()));
        Events::default()
            .push(stream.as_bytes(), |data| {
                if result.is_ok() && data != "[DONE]" {
                    result = reader.handle_event(data, &mut out);
                }
            })
            .unwrap();
        let result = result.and_then(|()| reader.handle_end(&mut out));
        (out.events, result)
    }

    fn call(id: &str, name: &str, arguments: &str) -> Said {
        Said::ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() }
    }

    #[test]
    fn a_recorded_answer_is_read_with_its_usage() {
        let (said, result) = read(include_str!("../../fixtures/openai_text.sse"));
        assert_eq!(
            said,
            [Said::Token("Hel".into()), Said::Token("lo é".into()), Said::Done { input_tokens: 12, output_tokens: 5 }]
        );
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn fragments_of_two_tool_calls_are_put_together_by_index() {
        let (said, result) = read(include_str!("../../fixtures/openai_tools.sse"));
        let expected = [
            Said::Token("One moment.".into()),
            call("call_1", "transfer_call", r#"{"to":"+1415"}"#),
            call("call_2", "note", "{}"),
            Said::Done { input_tokens: 0, output_tokens: 0 },
        ];
        assert_eq!(said, expected);
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn calls_that_share_an_index_or_have_none_are_told_apart_by_id() {
        for index in [r#""index":0,"#, ""] {
            let part = |id: &str| {
                format!(
                    "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{{index}\"id\":\"{id}\",\"function\":{{\"name\":\"f\",\"arguments\":\"{{}}\"}}}}]}}}}]}}\n\n"
                )
            };
            let stream = format!(
                "{}{}data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"tool_calls\"}}]}}\n\n",
                part("a"),
                part("b")
            );
            let (said, _) = read(&stream);
            assert_eq!(said[..2], [call("a", "f", "{}"), call("b", "f", "{}")]);
        }
    }

    #[test]
    fn an_error_inside_the_stream_says_whether_it_passes() {
        let fault = |code: &str| {
            read(&format!("data: {{\"error\":{{\"message\":\"m\",\"code\":\"{code}\"}}}}\n\n")).1.unwrap_err()
        };
        assert!(fault("server_error").retry);
        assert!(!fault("insufficient_quota").retry);
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        let (said, result) = read("data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n");
        assert_eq!(said, [Said::Token("Hi".into())]);
        assert!(result.unwrap_err().retry);
    }

    #[test]
    fn a_context_with_tools_is_written_as_the_vendor_wants_it() {
        let tool = |id: &str, result: Option<&str>| Line::Tool {
            id: id.into(),
            name: "f".into(),
            arguments: "{}".into(),
            result: result.map(Into::into),
        };
        let lines = [
            Line::System("Be brief.".into()),
            Line::Caller("Book it.".into()),
            Line::Agent("Sure.".into()),
            tool("a", Some("ok")),
            tool("b", None),
            Line::Agent(String::new()),
            Line::Caller("And?".into()),
            tool("c", Some("x")),
        ];
        let function = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let expected = [
            json!({"role": "system", "content": "Be brief."}),
            json!({"role": "user", "content": "Book it."}),
            json!({"role": "assistant", "content": "Sure.", "tool_calls": [function("a"), function("b")]}),
            json!({"role": "tool", "tool_call_id": "a", "content": "ok"}),
            json!({"role": "tool", "tool_call_id": "b", "content": RUNNING}),
            json!({"role": "user", "content": "And?"}),
            json!({"role": "assistant", "content": null, "tool_calls": [function("c")]}),
            json!({"role": "tool", "tool_call_id": "c", "content": "x"}),
        ];
        assert_eq!(messages(&lines), expected);
    }
}
