//! A request's document: what the server sets is taken out and compared, a merge patch is laid over what is stored, and tools keep
//! their ids.

use domain::{
    AgentSpec, TenantId,
    agent::fault::{Fault, Warning},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{AgentCheck, rows::Stored};
use crate::{http::change::merge, time::rfc3339};

/// Characters of a stored document at most.
const LONGEST: usize = 256 << 10;

/// What only the server sets.
const READ_ONLY: [&str; 6] = ["id", "tenant_id", "version", "created_at", "updated_at", "warnings"];

/// A document that may be stored.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) spec: AgentSpec,
    pub(crate) warnings: Vec<Warning>,
    /// Why it was changed, if somebody said.
    pub(crate) note: Option<String>,
}

/// The agent as the API shows it: the document and what the server sets beside it.
pub(crate) fn view(tenant: TenantId, agent: &Stored, warnings: &[Warning]) -> Value {
    let mut view = json!({
        "id": agent.id, "tenant_id": tenant, "version": agent.version,
        "created_at": rfc3339(agent.created_at), "updated_at": rfc3339(agent.updated_at),
    });
    if let (Value::Object(view), Value::Object(config)) = (&mut view, &agent.config) {
        view.extend(config.clone());
        if !warnings.is_empty() {
            view.insert("warnings".into(), json!(warnings));
        }
    }
    view
}

/// Reads the whole document of a new agent.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn fresh(body: Value, check: &dyn AgentCheck) -> Result<Good, Vec<Fault>> {
    let Value::Object(mut map) = body else { return Err(vec![Fault::invalid("", "must be an object")]) };
    let mut faults: Vec<Fault> =
        READ_ONLY.iter().filter(|key| map.contains_key(**key)).map(|key| read_only(key)).collect();
    let given = map.get("tools").and_then(Value::as_array).into_iter().flatten();
    faults.extend(
        given.enumerate().filter(|(_, tool)| !tool["id"].is_null()).map(|(n, _)| read_only(&format!("tools[{n}].id"))),
    );
    if !faults.is_empty() {
        return Err(faults);
    }
    let note = note(&mut map)?;
    finish(Value::Object(map), &Value::Null, note, check)
}

/// Reads the whole document that replaces a stored one.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn replacement(
    body: Value,
    tenant: TenantId,
    stored: &Stored,
    check: &dyn AgentCheck,
) -> Result<Good, Vec<Fault>> {
    let Value::Object(mut map) = body else { return Err(vec![Fault::invalid("", "must be an object")]) };
    let shown = view(tenant, stored, &[]);
    let mut faults = Vec::new();
    for key in READ_ONLY {
        // Warnings are made anew for each answer: what comes back of them is not looked at.
        if let Some(given) = map.remove(key)
            && key != "warnings"
            && given != shown[key]
        {
            faults.push(read_only(key));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let note = note(&mut map)?;
    finish(Value::Object(map), &stored.config, note, check)
}

/// Lays a merge patch over the stored document.
///
/// # Errors
/// Everything that is wrong with what comes of it.
pub(crate) fn patched(
    patch: Value,
    tenant: TenantId,
    stored: &Stored,
    check: &dyn AgentCheck,
) -> Result<Good, Vec<Fault>> {
    if !patch.is_object() {
        return Err(vec![Fault::invalid("", "must be an object")]);
    }
    let mut whole = view(tenant, stored, &[]);
    merge(&mut whole, patch);
    replacement(whole, tenant, stored, check)
}

fn read_only(field: &str) -> Fault {
    Fault { field: field.to_owned(), code: Fault::READ_ONLY, message: format!("{field} is set by the server") }
}

fn note(map: &mut Map<String, Value>) -> Result<Option<String>, Vec<Fault>> {
    match map.remove("version_note") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(note)) if note.chars().count() <= 200 => Ok(Some(note)),
        Some(_) => Err(vec![Fault::invalid("version_note", "must be text of at most 200 characters")]),
    }
}

fn finish(document: Value, before: &Value, note: Option<String>, check: &dyn AgentCheck) -> Result<Good, Vec<Fault>> {
    let mut spec = AgentSpec::read(&document)?;
    let mut faults = Vec::new();
    keep_ids(&mut spec, before, &mut faults);
    places(&spec, &mut faults);
    let found = check.check(&spec);
    faults.extend(found.faults);
    if spec.document().to_string().len() > LONGEST {
        faults.push(Fault::invalid("", "the whole agent has at most 256 KiB"));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut warnings = spec.warnings();
    warnings.extend(found.warnings);
    Ok(Good { spec, warnings, note })
}

/// A tool keeps its id by its id or, without one, by its name; a new one gets one.
fn keep_ids(spec: &mut AgentSpec, before: &Value, faults: &mut Vec<Fault>) {
    let before = before["tools"].as_array().map_or(&[][..], Vec::as_slice);
    for (n, tool) in spec.tools.iter_mut().enumerate() {
        let known = |key: &str, value: &str| before.iter().find(|tool| tool[key] == value);
        match &tool.id {
            Some(id) if known("id", id).is_none() => faults.push(read_only(&format!("tools[{n}].id"))),
            Some(_) => {}
            None => {
                let same = known("name", &tool.name).and_then(|tool| tool["id"].as_str()).map(str::to_owned);
                tool.id = Some(same.unwrap_or_else(|| Uuid::now_v7().to_string()));
            }
        }
    }
}

/// Where a vendor is and with which key comes from a credential: an agent that named a place could make us ask anything anywhere.
fn places(spec: &AgentSpec, faults: &mut Vec<Fault>) {
    let mut judge = |at: String, settings: &Map<String, Value>| {
        for key in ["base_url", "api_key"].into_iter().filter(|key| settings.contains_key(*key)) {
            faults.push(Fault::invalid(
                format!("{at}.{key}"),
                format!("{key} comes from a credential, not from the agent"),
            ));
        }
    };
    judge("stt.settings".into(), &spec.stt.settings);
    judge("llm.settings".into(), &spec.llm.settings);
    judge("tts.settings".into(), &spec.tts.settings);
    judge("realtime.settings".into(), &spec.realtime.settings);
    let stages = [
        ("stt", &spec.stt.fallbacks),
        ("llm", &spec.llm.fallbacks),
        ("tts", &spec.tts.fallbacks),
        ("realtime", &spec.realtime.fallbacks),
    ];
    for (stage, fallbacks) in stages {
        for (n, fallback) in fallbacks.iter().enumerate() {
            judge(format!("{stage}.fallbacks[{n}].settings"), &fallback.settings);
        }
    }
}
