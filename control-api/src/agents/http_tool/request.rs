//! A tool's words made a request: URL, headers and body with the arguments in them.

use domain::agent::template;
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::{Map, Value, json};

use super::{ToolCall, ToolFault};
use crate::{
    net::Guard,
    outbox::webhooks::sign::{Secret, signatures},
};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// A request that may be sent, also more than once.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) body: Option<Vec<u8>>,
    /// How often it may be repeated.
    pub(super) retries: u64,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Prepared {
    pub(super) fn of(guard: &Guard, call: &ToolCall<'_>) -> Result<Self, ToolFault> {
        let config = &call.tool.config;
        let wrong = |what: &str| ToolFault::Arguments(format!("the tool's {what} cannot be read"));
        let method = config.get("method").and_then(Value::as_str).unwrap_or("GET");
        let method: Method = method.parse().map_err(|_| wrong("method"))?;
        let url = place(guard, config.get("url").and_then(Value::as_str).unwrap_or_default(), call)?;
        let mut headers = Vec::new();
        for (name, value) in config.get("headers").and_then(Value::as_object).into_iter().flatten() {
            let look = |wanted: &str| match wanted {
                "secret" => call.secret.map(str::to_owned),
                _ => text(call, wanted),
            };
            let value = template::fill(value.as_str().unwrap_or_default(), look);
            let mut value = HeaderValue::from_str(&value).map_err(|_| wrong("headers"))?;
            value.set_sensitive(true);
            headers.push((HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong("headers"))?, value));
        }
        let given = headers.iter().find(|(name, _)| *name == CONTENT_TYPE).and_then(|(_, value)| value.to_str().ok());
        let kind = given.unwrap_or(JSON).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let bodyless = matches!(method, Method::GET | Method::DELETE);
        let body = (!bodyless).then(|| body(config.get("body"), &kind, call));
        if body.is_some() && given.is_none() {
            headers.push((CONTENT_TYPE, HeaderValue::from_static(JSON)));
        }
        let safe =
            matches!(method, Method::GET | Method::PUT) || headers.iter().any(|(name, _)| *name == "idempotency-key");
        let retries = if safe { config.get("retry").and_then(Value::as_u64).unwrap_or(1).min(3) } else { 0 };
        Ok(Self { method, url, body, retries, headers })
    }

    /// The headers with the signature of this moment, if there is a secret to sign with.
    pub(super) fn signed(&self, call: &ToolCall<'_>, now_s: i64) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = self.headers.clone();
        if let Some(secret) = call.secret {
            let body = self.body.as_deref().unwrap_or_default();
            let signature = signatures(&[Secret::read(secret)], call.invocation, now_s, body);
            let ours = [
                ("webhook-id", call.invocation.to_owned()),
                ("webhook-timestamp", now_s.to_string()),
                ("webhook-signature", signature),
            ];
            let header = |(name, value): (&'static str, String)| {
                Some((HeaderName::from_static(name), HeaderValue::from_str(&value).ok()?))
            };
            headers.extend(ours.into_iter().filter_map(header));
        }
        headers
    }

    /// For people.
    pub(super) fn shown(&self) -> Value {
        let headers: Map<String, Value> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
            .collect();
        let body = self.body.as_deref().map(|body| {
            serde_json::from_slice(body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()))
        });
        json!({"method": self.method.as_str(), "url": self.url.as_str(), "headers": headers, "body": body})
    }
}

/// What a name stands for: an argument, else what is known in the call.
fn value<'a>(call: &'a ToolCall<'_>, name: &str) -> Option<&'a Value> {
    call.arguments.get(name).or_else(|| call.variables.get(name)).filter(|value| !value.is_null())
}

fn text(call: &ToolCall<'_>, name: &str) -> Option<String> {
    match (value(call, name), name) {
        (Some(Value::String(text)), _) => Some(text.clone()),
        (Some(other), _) => Some(other.to_string()),
        (None, "invocation_id") => Some(call.invocation.to_owned()),
        (None, "call_id") => call.call.map(|call| call.to_string()),
        (None, _) => None,
    }
}

/// The URL with its arguments. They may fill a part of it, never lead to another one.
fn place(guard: &Guard, template: &str, call: &ToolCall<'_>) -> Result<Url, ToolFault> {
    let url = guard.read(&template::fill(template, |name| text(call, name).map(|text| encoded(&text))))?;
    let meant = guard.read(&template::fill(template, |_| Some("x".to_owned())))?;
    let segments = |url: &Url| url.path().split('/').count();
    let place = |url: &Url| (url.host_str().map(str::to_owned), url.port(), segments(url));
    if place(&url) == place(&meant) {
        Ok(url)
    } else {
        Err(ToolFault::Arguments("an argument leads to another place than the tool's URL".to_owned()))
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986 §2.3.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The body: everything about the call, the arguments alone, or the tool's own template.
fn body(template: Option<&Value>, kind: &str, call: &ToolCall<'_>) -> Vec<u8> {
    match template {
        None | Some(Value::Null) => json!({
            "type": "tool_call", "call_id": call.call, "tool": call.tool.name, "invocation_id": call.invocation,
            "arguments": call.arguments, "variables": call.variables,
        })
        .to_string()
        .into_bytes(),
        Some(Value::String(word)) if word == "args" => Value::Object(call.arguments.clone()).to_string().into_bytes(),
        Some(Value::String(words)) => {
            let inserted = |name: &str| {
                let text = text(call, name)?;
                Some(match kind {
                    FORM => encoded(&text),
                    kind if kind == JSON || kind.ends_with("+json") => inside_quotes(&text),
                    _ => text,
                })
            };
            template::fill(words, inserted).into_bytes()
        }
        Some(document) => filled(document, call).to_string().into_bytes(),
    }
}

/// The text as it stands between the quotes of a JSON string.
fn inside_quotes(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// A document with its texts filled; a text that is one name only becomes that value, whatever its type.
fn filled(document: &Value, call: &ToolCall<'_>) -> Value {
    match document {
        Value::String(words) => {
            let name = words.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).map(str::trim);
            match name.and_then(|name| value(call, name)) {
                Some(value) => value.clone(),
                None => template::fill(words, |name| text(call, name)).into(),
            }
        }
        Value::Array(list) => list.iter().map(|one| filled(one, call)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, one)| (key.clone(), filled(one, call))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use domain::agent::tools::{Tool, ToolKind};

    use super::*;

    fn prepared(config: Value, arguments: Value, secret: Option<&str>) -> Result<Prepared, ToolFault> {
        let tool = Tool {
            name: "order_status".into(),
            kind: ToolKind::Http,
            config: config.as_object().unwrap().clone(),
            ..Tool::default()
        };
        let variables = json!({"who": "Ann \"A\"", "order": "shadowed"});
        let (arguments, variables) = (arguments.as_object().unwrap(), variables.as_object().unwrap());
        let call = ToolCall { tool: &tool, arguments, variables, call: None, invocation: "i-1", secret };
        Prepared::of(&Guard::new(false), &call)
    }

    fn url(template: &str, order: &str) -> Result<String, ToolFault> {
        let prepared = prepared(json!({"method": "GET", "url": template}), json!({"order": order}), None);
        prepared.map(|prepared| prepared.url.to_string())
    }

    #[test]
    fn arguments_fill_their_place_in_the_url_and_no_other() {
        assert_eq!(
            url("https://a.example/o/{{order}}?q={{order}}", "1 2/3&b=?#").unwrap(),
            "https://a.example/o/1%202%2F3%26b%3D%3F%23?q=1%202%2F3%26b%3D%3F%23"
        );
        assert_eq!(url("https://a.example/o/{{none}}", "x").unwrap(), "https://a.example/o/");
        for order in ["..", "."] {
            assert!(matches!(url("https://a.example/o/{{order}}/x", order), Err(ToolFault::Arguments(_))), "{order}");
        }
        assert!(matches!(url("https://10.0.0.1/{{order}}", "1"), Err(ToolFault::Url(_))));
        assert!(matches!(url("http://a.example/{{order}}", "1"), Err(ToolFault::Url(_))));
    }

    #[test]
    fn a_body_is_everything_the_arguments_or_the_template() {
        let body = |template: Value, headers: Value| {
            let config = json!({"method": "POST", "url": "https://a.example/", "body": template, "headers": headers});
            let body = prepared(config, json!({"order": 7}), None).unwrap().body.unwrap();
            String::from_utf8(body).unwrap()
        };
        let whole: Value = serde_json::from_str(&body(Value::Null, json!({}))).unwrap();
        assert_eq!(
            (&whole["type"], &whole["arguments"], &whole["invocation_id"]),
            (&json!("tool_call"), &json!({"order": 7}), &json!("i-1"))
        );
        assert_eq!(whole["variables"]["who"], "Ann \"A\"");
        assert_eq!(body(json!("args"), json!({})), r#"{"order":7}"#);
        assert_eq!(body(json!({"n": "{{order}}", "for": "to {{who}}"}), json!({})), r#"{"for":"to Ann \"A\"","n":7}"#);
        assert_eq!(body(json!(r#"{"for":"{{who}}"}"#), json!({})), r#"{"for":"Ann \"A\""}"#);
        let form = json!({"Content-Type": FORM});
        assert_eq!(body(json!("n={{order}}&w={{who}}"), form), "n=7&w=Ann%20%22A%22");
    }

    #[test]
    fn the_secret_stands_in_headers_and_signs() {
        let config = json!({"method": "POST", "url": "https://a.example/{{secret}}", "body": "{{secret}}",
            "headers": {"Authorization": "Bearer {{secret}}"}});
        let prepared = prepared(config, json!({"secret": "mine"}), Some("s3cret")).unwrap();
        assert_eq!(prepared.url.as_str(), "https://a.example/mine");
        assert_eq!(prepared.body.as_deref(), Some(&b"mine"[..]));
        assert_eq!(prepared.shown()["headers"]["authorization"], "Bearer s3cret");
        assert!(!format!("{prepared:?}").contains("s3cret"));
    }

    #[test]
    fn only_what_may_be_repeated_is() {
        let retries = |method: &str, headers: Value| {
            let config = json!({"method": method, "url": "https://a.example/", "headers": headers, "retry": 2});
            prepared(config, json!({}), None).unwrap().retries
        };
        assert_eq!((retries("GET", json!({})), retries("PUT", json!({})), retries("POST", json!({}))), (2, 2, 0));
        assert_eq!(retries("POST", json!({"Idempotency-Key": "{{invocation_id}}"})), 2);
        assert!(
            prepared(
                json!({"method": "GET", "url": "https://a.example/", "headers": {"X-A": "{{o}}"}}),
                json!({"o": "a\r\nX-B: c"}),
                None
            )
            .unwrap()
            .shown()["headers"]["x-a"]
                .as_str()
                .unwrap()
                .contains("a X-B: c")
        );
    }
}
