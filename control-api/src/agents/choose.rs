//! Who speaks on a call that is placed: a stored agent at one of its versions, an agent of this node's files, or one that comes with
//! the request; with what the request changes of it, and the variables that it declares.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::{
    AgentId, AgentSpec,
    agent::{fault::Fault, variables},
};
use serde_json::{Map, Value};

use super::{
    credentials, document,
    edit::{self, refused},
};
use crate::http::{State, actor::Actor, change::merge, error::ApiError};

/// What of an agent spends the tenant's money elsewhere, hands its calls away or shows its secrets to a server: only those who may
/// change agents change it.
const GUARDED: [&str; 7] = ["stt", "llm", "tts", "realtime", "hooks", "transfers", "tools"];

/// What a request says about who speaks.
pub(crate) struct Wish<'a> {
    pub(crate) agent_id: Option<&'a str>,
    pub(crate) agent: Option<&'a Value>,
    /// A number, or `latest`.
    pub(crate) agent_version: Option<&'a Value>,
    pub(crate) overrides: Option<&'a Value>,
    pub(crate) variables: &'a Map<String, Value>,
}

/// Who speaks.
pub(crate) struct Chosen {
    pub(crate) agent: Arc<AgentSpec>,
    pub(crate) id: Option<AgentId>,
    pub(crate) version: Option<i64>,
    /// Given and defaulted.
    pub(crate) variables: Map<String, Value>,
}

/// Finds the agent and lays the request's changes over it.
pub(crate) async fn choose(state: &State, actor: &Actor, wish: &Wish<'_>) -> Result<Chosen, ApiError> {
    let version = version(wish.agent_version)?;
    let nobody = || ApiError::not_found().at("agent_id");
    let (mut id, mut at) = (None, None);
    let found = match (wish.agent_id, wish.agent) {
        (Some(text), None) => match text.parse::<AgentId>() {
            Ok(wanted) => {
                let stored = state.app.store.agent(actor.tenant, wanted, version).await?.ok_or_else(nobody)?;
                (id, at) = (Some(wanted), Some(stored.version));
                Some(Arc::new(stored.spec()?))
            }
            Err(_) => state.app.agents.file(text),
        },
        (None, Some(document)) => {
            let good =
                document::fresh(document.clone(), &*state.app.agents).map_err(|faults| refused("agent", faults))?;
            if !credentials::named(&good.spec).is_empty() && actor.needs("agents:write").is_err() {
                let message = "an agent that names credentials needs the scope agents:write";
                return Err(ApiError::new(StatusCode::FORBIDDEN, "missing_scope", message).at("agents:write"));
            }
            Some(Arc::new(good.spec))
        }
        _ => return Err(ApiError::invalid("agent_id", "exactly one of agent_id and agent is needed")),
    };
    let mut agent = found.ok_or_else(nobody)?;
    if version.is_some() && id.is_none() {
        return Err(ApiError::invalid("agent_version", "only stored agents have versions"));
    }
    if let Some(changes) = wish.overrides {
        agent = Arc::new(overridden(state, actor, &agent, changes)?);
    }
    edit::credentials_exist(state, actor, &agent).await?;
    let variables = variables::bind(&agent.prompt.variables, wish.variables).map_err(|faults| refused("", faults))?;
    Ok(Chosen { agent, id, version: at, variables })
}

fn version(text: Option<&Value>) -> Result<Option<i64>, ApiError> {
    match text {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) if word == "latest" => Ok(None),
        Some(value) => match value.as_i64().filter(|n| *n > 0) {
            Some(n) => Ok(Some(n)),
            None => Err(ApiError::invalid("agent_version", "agent_version is a number or \"latest\"")),
        },
    }
}

fn overridden(state: &State, actor: &Actor, agent: &AgentSpec, changes: &Value) -> Result<AgentSpec, ApiError> {
    let Some(map) = changes.as_object() else {
        return Err(ApiError::invalid("overrides", "overrides is an object"));
    };
    if let Some(key) = GUARDED.iter().find(|key| map.contains_key(**key))
        && actor.needs("agents:write").is_err()
    {
        let message = format!("overrides.{key} needs the scope agents:write");
        return Err(ApiError::new(StatusCode::FORBIDDEN, "missing_scope", message).at("agents:write"));
    }
    let mut whole = agent.document();
    // Ids of tools are the server's own; the call's copy of the document does without.
    for tool in whole["tools"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        tool.remove("id");
    }
    merge(&mut whole, changes.clone());
    let checked = document::fresh(whole, &*state.app.agents);
    checked.map(|good| good.spec).map_err(|faults: Vec<Fault>| refused("overrides", faults))
}
