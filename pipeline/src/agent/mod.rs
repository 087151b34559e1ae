//! Builds a conversation of an agent: which recogniser, brain and voice its words mean on this machine.

mod check;
mod engines;
mod turns;

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::AgentSpec;
use domain::agent::fault::Fault;
use domain::agent::opening::FirstSpeaker;
use domain::agent::records::KnowledgeMode;
use domain::agent::template;
use domain::agent::tools::{Tool as ToolSpec, ToolKind, Transfer};
use domain::agent::turn::EndPolicy;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

pub use check::{Finding, check};
pub use turns::ear;

use crate::conversation::{Brain, Conversation, ConversationEvent, Lines, ModelParts, Order, Parts};
use crate::flow::{Facts, Flow, FlowError};
use crate::llm::Tool;
use crate::offline::Speech;
use crate::tts::TtsLink;

/// Why an agent cannot be run, with the path of what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A setting of one of our machines.
    #[error("{path}: {reason}")]
    Setting {
        /// Dotted path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A provider that this roster does not have, or settings that it refuses.
    #[error("{stage}: {reason}")]
    Provider {
        /// `stt`, `llm` or `tts`.
        stage: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// A stored credential, opened for this call.
#[derive(Clone, Default)]
pub struct Credential {
    /// The vendor's key.
    pub secret: String,
    /// Where the vendor is, if not at its usual place.
    pub base_url: Option<String>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// Credentials by id.
pub type Credentials = BTreeMap<String, Credential>;

/// What an agent knows. Looked up on a voice thread: it answers from memory, at once.
pub trait Library: Send + Sync {
    /// The passages that answer a question best, best first.
    fn look_up(&self, question: &str) -> Vec<String>;
}

/// What a call brings along.
pub struct Surroundings<'a> {
    /// The built-in engines, if their packages are installed.
    pub speech: Option<&'a Speech>,
    /// We have called, not been called.
    pub outbound: bool,
    /// Credentials that the agent names.
    pub credentials: &'a Credentials,
    /// The agent's documents, if it has any.
    pub library: Option<Arc<dyn Library>>,
    /// Facts for the flow and the prompt.
    pub facts: Facts,
    /// Where the conversation reports.
    pub events: UnboundedSender<ConversationEvent>,
    /// Where it takes orders from.
    pub orders: UnboundedReceiver<Order>,
}

/// Opens the agent's voice alone, for words that are no part of the conversation.
///
/// # Errors
/// The provider or its settings are refused.
pub fn voice(agent: &AgentSpec, credentials: &Credentials, speech: Option<&Speech>) -> Result<TtsLink, AgentError> {
    engines::open_voice(agent, credentials, speech)
}

/// Whether no model decides: such an agent needs a flow.
#[must_use]
pub fn needs_flow(agent: &AgentSpec) -> bool {
    engines::model(agent) == engines::NO_MODEL
}

/// Opens the links and begins the greeting.
///
/// # Errors
/// What is wrong with the agent, or missing on this machine.
pub fn build(agent: &AgentSpec, around: Surroundings<'_>) -> Result<Conversation, AgentError> {
    let mut facts = around.facts;
    let disclosure = if agent.disclosure.ai { fill(&agent.disclosure.text, &facts) } else { String::new() };
    facts.variables.insert("disclosure".into(), disclosure.clone());
    let greeting = greeting(agent, around.outbound, &disclosure, &facts);
    let brain = match engines::open_model(agent, around.credentials)? {
        Some(link) => {
            let knowledge = agent.knowledge.enabled.then_some(around.library).flatten();
            let asks = agent.knowledge.mode == KnowledgeMode::Tool && knowledge.is_some();
            Brain::model(ModelParts {
                link,
                system: fill(&agent.prompt.system, &facts),
                greeting,
                tools: tools(agent, asks),
                // A turn is the caller's line and the agent's.
                keep: usize::try_from(agent.llm.context_turns).unwrap_or(usize::MAX).saturating_mul(2),
                library: knowledge.filter(|_| !asks),
            })
        }
        None => match compile(agent)
            .map_err(|error| AgentError::Setting { path: "flow".into(), reason: error.to_string() })?
        {
            Some(flow) => Brain::flow(flow, facts, greeting),
            None => {
                let reason = "an agent without a model needs a flow".into();
                return Err(AgentError::Setting { path: "flow".into(), reason });
            }
        },
    };
    let tts = engines::open_voice(agent, around.credentials, around.speech)?;
    let stt = engines::open_recogniser(agent, around.credentials, around.speech)?;
    Ok(Conversation::new(Parts {
        brain,
        stt,
        tts,
        turns: turns::turns(agent),
        greeting_interruptible: agent.greeting.interruptible,
        lines: Lines {
            silence: agent.turn.silence.prompts.clone(),
            goodbye: agent.turn.silence.goodbye.clone(),
            fillers: agent.speech.fillers.clone(),
            of_tools: agent.tools.iter().map(|tool| (tool.name.clone(), tool.filler.text.clone())).collect(),
        },
        events: around.events,
        orders: around.orders,
    }))
}

/// What is said first, with its variables filled in.
fn greeting(agent: &AgentSpec, outbound: bool, disclosure: &str, facts: &Facts) -> String {
    if agent.first_speaker == FirstSpeaker::Caller {
        return String::new();
    }
    let outbound_text = agent.greeting.outbound_text.as_ref().filter(|_| outbound);
    let text = outbound_text.unwrap_or(&agent.greeting.text);
    let greeting = fill(text, facts).trim().to_owned();
    let says_it = template::names(text).any(|(name, _)| name == "disclosure");
    if greeting.is_empty() || disclosure.is_empty() || says_it { greeting } else { format!("{disclosure} {greeting}") }
}

fn compile(agent: &AgentSpec) -> Result<Option<Flow>, FlowError> {
    if agent.flow.is_null() { Ok(None) } else { Flow::compile(&agent.flow).map(Some) }
}

/// Where a flow is at fault, as a path of the agent.
fn flow_fault(error: &FlowError) -> Fault {
    let field = error.state.as_ref().map_or_else(|| "flow".to_owned(), |state| format!("flow.states.{state}"));
    Fault { field, code: Fault::FLOW, message: error.to_string() }
}

/// The agent's tools as a model sees them; tools that are switched off are not seen.
fn tools(agent: &AgentSpec, knowledge: bool) -> Vec<Tool> {
    let own = agent.tools.iter().filter(|tool| tool.enabled).map(|tool| Tool {
        name: tool.name.clone(),
        description: tool.description.clone(),
        parameters: if tool.parameters.is_null() { by_kind(agent, tool) } else { tool.parameters.clone() },
    });
    let ask = knowledge.then(|| Tool {
        name: SEARCH_KNOWLEDGE.into(),
        description: "Looks a question up in the documents that you have been given.".into(),
        parameters: serde_json::json!({"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}),
    });
    own.chain(ask).collect()
}

/// What a tool without a schema takes, as far as its kind says.
fn by_kind(agent: &AgentSpec, tool: &domain::agent::tools::Tool) -> serde_json::Value {
    let texts = |names: Vec<&str>, required: Vec<&str>| {
        let properties: serde_json::Map<_, _> =
            names.into_iter().map(|name| (name.to_owned(), json!({"type": "string"}))).collect();
        json!({"type": "object", "properties": properties, "required": required})
    };
    let listed = |key: &str| -> Vec<&str> {
        tool.config
            .get(key)
            .and_then(|list| list.as_array())
            .into_iter()
            .flatten()
            .filter_map(|one| one.as_str())
            .collect()
    };
    match tool.kind {
        ToolKind::TakeMessage => {
            let given = listed("fields");
            texts(if given.is_empty() { vec!["name", "phone", "text"] } else { given }, Vec::new())
        }
        ToolKind::CollectLead => {
            let given = listed("fields");
            let names = if given.is_empty() { agent.leads.fields.iter().map(String::as_str).collect() } else { given };
            let required = listed("required").into_iter().filter(|name| names.contains(name)).collect();
            texts(names, required)
        }
        ToolKind::BookSlot => json!({"type": "object", "required": ["at"], "properties": {
            "at": {"type": "string", "description": "Date and time, as 2026-11-24T10:00"}, "name": {"type": "string"}}}),
        ToolKind::SendDtmf => json!({"type": "object", "required": ["digits"], "properties": {
            "digits": {"type": "string", "description": "Keys to press: 0-9, * and #"}}}),
        ToolKind::Transfer if agent.transfers.is_empty() => texts(vec!["destination"], vec!["destination"]),
        ToolKind::Transfer => destinations(agent, tool),
        _ => texts(Vec::new(), Vec::new()),
    }
}

/// Where a transfer tool may lead: those that it names, or all that the agent has.
#[must_use]
pub fn leads_to<'a>(agent: &'a AgentSpec, tool: &'a ToolSpec) -> Vec<&'a Transfer> {
    let named = tool.config.get("destinations").and_then(|names| names.as_array());
    let may = |name: &str| named.is_none_or(|names| names.iter().any(|known| known == name));
    agent.transfers.iter().filter(|transfer| may(&transfer.name)).collect()
}

/// The arguments of a transfer tool, made of the agent's transfers.
fn destinations(agent: &AgentSpec, tool: &ToolSpec) -> serde_json::Value {
    let known = leads_to(agent, tool);
    let names: Vec<&str> = known.iter().map(|transfer| transfer.name.as_str()).collect();
    let told = known.iter().filter(|transfer| !transfer.description.is_empty());
    let told: Vec<String> = told.map(|transfer| format!("{}: {}", transfer.name, transfer.description)).collect();
    json!({
        "type": "object",
        "properties": {"destination": {"type": "string", "enum": names, "description": told.join("; ")}},
        "required": ["destination"],
    })
}

/// The tool by which a model asks for knowledge.
pub const SEARCH_KNOWLEDGE: &str = "search_knowledge";

fn fill(text: &str, facts: &Facts) -> String {
    template::fill(text, |name| facts.variables.get(name).cloned())
}

/// Whether the vendor ends turns.
fn vendor_ends(agent: &AgentSpec) -> bool {
    agent.turn.end.policy == EndPolicy::Vendor
}

#[cfg(test)]
mod tests;
