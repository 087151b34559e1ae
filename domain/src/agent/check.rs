//! What no field can know by itself: names that must exist or be unique, variables that must be declared, schemas, tools.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fault::{Fault, Faults};
use super::tools::{Tool, ToolKind};
use super::variables::fits;
use super::{AgentSpec, form, template};

/// Nesting of a tool's schema at most.
const SCHEMA_DEPTH: usize = 8;

/// Everything that is wrong between the fields.
pub(super) fn check(agent: &AgentSpec) -> Vec<Fault> {
    let mut faults = Faults::default();
    variables(agent, &mut faults);
    turns(agent, &mut faults);
    tools(agent, &mut faults);
    transfers(agent, &mut faults);
    extraction(&agent.analysis.schema, &mut faults);
    if !(agent.flow.is_null() || agent.flow.is_object()) {
        faults.invalid("flow", "must be an object {start, states}");
    }
    for (header, variable) in &agent.sip.headers_to_variables {
        let at = format!("sip.headers_to_variables.{header}");
        if !header.to_ascii_lowercase().starts_with("x-") {
            faults.invalid(at, "only headers that begin with X- can be mapped");
        } else if form::name(variable).is_err() {
            faults.invalid(at, "must be the name of a variable");
        }
    }
    faults.list()
}

fn variables(agent: &AgentSpec, faults: &mut Faults) {
    for (name, variable) in &agent.prompt.variables {
        let at = format!("prompt.variables.{name}");
        if form::name(name).is_err() || template::ALWAYS.contains(&name.as_str()) {
            faults.invalid(&at, "a variable is lower-case letters, digits and _, and not one that always exists");
        }
        if !variable.default.is_null()
            && let Err(wrong) = fits(variable, &variable.default)
        {
            faults.invalid(format!("{at}.default"), wrong);
        }
    }
    let texts = [
        ("greeting.text", agent.greeting.text.as_str()),
        ("greeting.outbound_text", agent.greeting.outbound_text.as_deref().unwrap_or_default()),
        ("prompt.system", &agent.prompt.system),
        ("voicemail.message", &agent.voicemail.message),
        ("voicemail.screening_text", &agent.voicemail.screening_text),
        ("consent.text", &agent.consent.text),
    ];
    for (at, text) in texts {
        for (name, has_default) in template::names(text) {
            if !has_default && !is_known(agent, name) {
                faults.invalid(at, format!("{{{{{name}}}}} is not declared in prompt.variables"));
            }
        }
    }
}

fn is_known(agent: &AgentSpec, name: &str) -> bool {
    agent.prompt.variables.contains_key(name)
        || template::ALWAYS.contains(&name)
        || name.starts_with("lead.")
        || name.starts_with("sip.")
        || agent.sip.headers_to_variables.values().any(|variable| variable == name)
}

fn turns(agent: &AgentSpec, faults: &mut Faults) {
    let end = &agent.turn.end;
    if end.min_ms > end.max_ms {
        faults.invalid("turn.end.min_ms", format!("must not be above turn.end.max_ms, which is {}", end.max_ms));
    }
    let silence = &agent.turn.silence;
    if (1..5_000).contains(&silence.hang_up_after_ms) {
        faults.invalid("turn.silence.hang_up_after_ms", "must be 0 (never) or 5000 to 600000");
    }
    if silence.hang_up_after_ms != 0 && silence.hang_up_after_ms <= silence.prompt_after_ms {
        faults.invalid("turn.silence.hang_up_after_ms", "must be above turn.silence.prompt_after_ms, or 0");
    }
}

fn tools(agent: &AgentSpec, faults: &mut Faults) {
    let mut names = BTreeSet::new();
    for (n, tool) in agent.tools.iter().enumerate() {
        if !names.insert(tool.name.as_str()) {
            faults.invalid(format!("tools[{n}].name"), format!("there are two tools named {:?}", tool.name));
        }
        one_tool(agent, tool, &format!("tools[{n}]"), faults);
    }
}

/// Checks one tool as part of this agent.
pub fn tool(agent: &AgentSpec, tool: &Tool) -> Vec<Fault> {
    let mut faults = Faults::default();
    one_tool(agent, tool, "", &mut faults);
    faults.list()
}

fn one_tool(agent: &AgentSpec, tool: &Tool, at: &str, faults: &mut Faults) {
    let at = |key: &str| super::shape::join(at, key);
    if !tool.parameters.is_null() {
        let mut wrong = Vec::new();
        schema(&tool.parameters, &at("parameters"), 0, &mut wrong);
        if wrong.is_empty() && tool.parameters["type"] != "object" {
            wrong.push((at("parameters.type"), "must be \"object\"".to_owned()));
        }
        for (at, wrong) in wrong {
            faults.invalid(at, wrong);
        }
    }
    let known = tool.kind.config_keys();
    for key in tool.config.keys().filter(|key| !known.contains(&key.as_str())) {
        faults.unknown(at(&format!("config.{key}")), known);
    }
    match tool.kind {
        ToolKind::Http => http(tool, &at, faults),
        ToolKind::Transfer => {
            let wanted = tool.config.get("destinations").and_then(Value::as_array).into_iter().flatten();
            for name in wanted.filter_map(Value::as_str) {
                if !agent.transfers.iter().any(|transfer| transfer.name == name) {
                    faults.invalid(at("config.destinations"), format!("there is no transfer named {name:?}"));
                }
            }
        }
        _ => {}
    }
}

/// Headers that belong to the connection.
const HOPS: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "trailer", "proxy-authorization"];

fn http(tool: &Tool, at: &dyn Fn(&str) -> String, faults: &mut Faults) {
    let config = |key: &str| tool.config.get(key).and_then(Value::as_str);
    match config("method") {
        Some("GET" | "POST" | "PUT" | "PATCH" | "DELETE") => {}
        _ => faults.invalid(at("config.method"), "must be GET, POST, PUT, PATCH or DELETE"),
    }
    let url = config("url").unwrap_or_default();
    let host = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    if host.contains("{{") {
        faults.invalid(at("config.url"), "the host is fixed: arguments may stand in path and query only");
    } else if url.chars().count() > 2_048 || form::url(&template::fill(url, |_| None)).is_err() {
        faults.invalid(at("config.url"), "must be an https URL");
    }
    let headers = tool.config.get("headers");
    if headers.is_some_and(|headers| !headers.as_object().is_some_and(|map| map.values().all(Value::is_string))) {
        faults.invalid(at("config.headers"), "must be an object of strings");
    }
    for name in headers.and_then(Value::as_object).into_iter().flat_map(|map| map.keys()) {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            faults.invalid(at("config.headers"), format!("{name:?} is no name of a header"));
        } else if HOPS.iter().any(|own| name.eq_ignore_ascii_case(own))
            || name.to_ascii_lowercase().starts_with("webhook-")
        {
            faults.invalid(at("config.headers"), format!("{name} is set by the server"));
        }
    }
    if let Some(body) = tool.config.get("body")
        && !(body.is_null() || body.is_string() || body.is_object() || body.is_array())
    {
        faults.invalid(at("config.body"), "must be \"args\", a text, an object or a list");
    }
    let extract = tool.config.get("extract");
    let is_path = |path: &Value| path.as_str().is_some_and(|path| path.starts_with('$'));
    if extract
        .is_some_and(|extract| !extract.as_object().is_some_and(|map| map.len() <= 32 && map.values().all(is_path)))
    {
        faults.invalid(at("config.extract"), "must be an object of at most 32 paths like $.order.status");
    }
    if tool
        .config
        .get("credential_id")
        .is_some_and(|id| !id.is_null() && id.as_str().is_none_or(|id| form::uuid(id).is_err()))
    {
        faults.invalid(at("config.credential_id"), "must be a lower-case uuid");
    }
    if tool.config.get("retry").is_some_and(|retry| retry.as_u64().is_none_or(|n| n > 3)) {
        faults.invalid(at("config.retry"), "must be 0 to 3");
    }
}

/// The subset of JSON Schema that tools and models share: its keywords must have their shapes.
fn schema(value: &Value, at: &str, depth: usize, wrong: &mut Vec<(String, String)>) {
    let Some(map) = value.as_object() else {
        return wrong.push((at.to_owned(), "must be a JSON schema object".to_owned()));
    };
    if depth > SCHEMA_DEPTH {
        return wrong.push((at.to_owned(), format!("is nested deeper than {SCHEMA_DEPTH}")));
    }
    const TYPES: [&str; 7] = ["object", "array", "string", "number", "integer", "boolean", "null"];
    let is_type = |word: &Value| word.as_str().is_some_and(|word| TYPES.contains(&word));
    for (key, value) in map {
        let at = format!("{at}.{key}");
        match (key.as_str(), value) {
            ("type", Value::Array(words)) if !words.is_empty() && words.iter().all(is_type) => {}
            ("type", word) if is_type(word) => {}
            ("type", _) => wrong.push((at, format!("must be one of {}", TYPES.join(", ")))),
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    schema(property, &format!("{at}.{name}"), depth + 1, wrong);
                }
            }
            ("properties", _) => wrong.push((at, "must be an object".to_owned())),
            ("items", items) => schema(items, &at, depth + 1, wrong),
            ("required", Value::Array(names)) => {
                let properties = map.get("properties").and_then(Value::as_object);
                for name in names {
                    let known = name.as_str().zip(properties).is_some_and(|(name, known)| known.contains_key(name));
                    if !known {
                        wrong.push((at.clone(), format!("{name} is not among the properties")));
                    }
                }
            }
            ("required", _) => wrong.push((at, "must be a list of names".to_owned())),
            ("enum", values) if values.as_array().is_none_or(Vec::is_empty) => {
                wrong.push((at, "must be a list with at least one value".to_owned()));
            }
            _ => {}
        }
    }
}

fn transfers(agent: &AgentSpec, faults: &mut Faults) {
    let mut names = BTreeSet::new();
    for (n, transfer) in agent.transfers.iter().enumerate() {
        if !names.insert(transfer.name.as_str()) {
            faults
                .invalid(format!("transfers[{n}].name"), format!("there are two transfers named {:?}", transfer.name));
        }
    }
    let missing = |name: &str| format!("there is no transfer named {name:?}");
    if let Some(name) = agent.degraded.transfer.as_deref().filter(|name| !names.contains(name)) {
        faults.invalid("degraded.transfer", missing(name));
    }
    for (key, name) in &agent.degraded.menu {
        let at = format!("degraded.menu.{key}");
        if let Err(wrong) = form::digit(key) {
            faults.invalid(&at, wrong);
        } else if !names.contains(name.as_str()) {
            faults.invalid(&at, missing(name));
        }
    }
}

/// `analysis.schema`: an object, at most 40 properties, 4 deep.
fn extraction(wanted: &Value, faults: &mut Faults) {
    if wanted.is_null() {
        return;
    }
    let mut wrong = Vec::new();
    schema(wanted, "analysis.schema", SCHEMA_DEPTH - 4, &mut wrong);
    if wanted["type"] != "object" {
        wrong.push(("analysis.schema.type".to_owned(), "must be \"object\"".to_owned()));
    }
    if wanted["properties"].as_object().is_some_and(|properties| properties.len() > 40) {
        wrong.push(("analysis.schema.properties".to_owned(), "has at most 40 properties".to_owned()));
    }
    for (at, wrong) in wrong {
        faults.invalid(at, wrong);
    }
}
