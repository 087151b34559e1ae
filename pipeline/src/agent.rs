//! Builds a conversation of an agent: which recogniser, brain and voice its words mean on this machine.

use domain::{AgentSpec, agent::Mode};
use serde_json::{Map, Value};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::conversation::{Brain, Conversation, ConversationEvent, Order, Parts};
use crate::flow::{Facts, Flow};
use crate::llm::{LlmLink, Tool};
use crate::offline::Speech;
use crate::stt::SttLink;
use crate::tts::TtsLink;
use crate::turn::TurnConfig;
use crate::vad::VadConfig;
use crate::{llm, stt, tts};

/// Why an agent cannot be run, with the path of what is wrong.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A setting of one of our machines.
    #[error("{path}: {reason}")]
    Setting {
        /// Dotted path.
        path: &'static str,
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
    /// Nothing on this machine can speak.
    #[error("tts: {0}")]
    Mute(&'static str),
}

/// What a call brings along.
pub struct Surroundings<'a> {
    /// The built-in engines, if their packages are installed.
    pub speech: Option<&'a Speech>,
    /// Facts for the flow and the prompt.
    pub facts: Facts,
    /// Where the conversation reports.
    pub events: UnboundedSender<ConversationEvent>,
    /// Where it takes orders from.
    pub orders: UnboundedReceiver<Order>,
}

/// Checks everything that can be checked without opening anything.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(agent: &AgentSpec) -> Result<(), AgentError> {
    turns(agent)?;
    ear(agent)?;
    flow(agent)?;
    Ok(())
}

/// How to listen to this agent's callers.
///
/// # Errors
/// A setting that cannot work.
pub fn ear(agent: &AgentSpec) -> Result<VadConfig, AgentError> {
    let config: VadConfig = settings("vad", &agent.vad)?;
    config.check().map_err(|error| AgentError::Setting { path: "vad", reason: error.to_string() })?;
    Ok(config)
}

/// Opens the links and begins the greeting.
///
/// # Errors
/// What is wrong with the agent, or missing on this machine.
pub fn build(agent: &AgentSpec, around: Surroundings<'_>) -> Result<Conversation, AgentError> {
    let brain = match open_model(agent)? {
        Some(link) => {
            let greeting = fill(&agent.greeting.text, &around.facts);
            let system = fill(&agent.prompt.system, &around.facts);
            let keep = agent.llm.context_turns as usize * 2;
            Brain::model(link, system, greeting, tools(agent), keep)
        }
        None => match flow(agent)? {
            Some(flow) => Brain::flow(flow, around.facts.clone(), fill(&agent.greeting.text, &around.facts)),
            None => {
                return Err(AgentError::Setting {
                    path: "flow",
                    reason: "an agent without a model needs a flow".into(),
                });
            }
        },
    };
    let tts = open_voice(agent, around.speech)?;
    let stt = open_recogniser(agent, around.speech)?;
    Ok(Conversation::new(Parts {
        brain,
        stt,
        tts,
        turns: turns(agent)?,
        greeting_interruptible: agent.greeting.interruptible,
        events: around.events,
        orders: around.orders,
    }))
}

fn settings<T: serde::de::DeserializeOwned>(path: &'static str, map: &Map<String, Value>) -> Result<T, AgentError> {
    serde_json::from_value(Value::Object(map.clone()))
        .map_err(|error| AgentError::Setting { path, reason: error.to_string() })
}

fn turns(agent: &AgentSpec) -> Result<TurnConfig, AgentError> {
    let mut config: TurnConfig = settings("turn", &agent.turn)?;
    config.max_call = config.max_call.min(agent.limits.max_duration_ms);
    Ok(config)
}

fn flow(agent: &AgentSpec) -> Result<Option<Flow>, AgentError> {
    let Some(graph) = &agent.flow else { return Ok(None) };
    Flow::compile(graph).map(Some).map_err(|error| AgentError::Setting { path: "flow", reason: error.to_string() })
}

/// `auto` means the vendor if its key is set, else the built-in engine.
fn choose<'a>(provider: &'a str, vendor: &'a str, key: &str, builtin: &'a str) -> &'a str {
    match provider {
        "auto" if std::env::var(key).is_ok_and(|key| !key.is_empty()) => vendor,
        "auto" => builtin,
        named => named,
    }
}

fn open_model(agent: &AgentSpec) -> Result<Option<LlmLink>, AgentError> {
    let provider = match agent.mode {
        Mode::Flow => "flow",
        Mode::Pipeline | Mode::Realtime => choose(&agent.llm.provider, "openai", "OPENAI_API_KEY", "flow"),
    };
    if provider == "flow" {
        return Ok(None);
    }
    let mut given = agent.llm.settings.clone();
    put(&mut given, "model", agent.llm.model.as_deref());
    given.entry("temperature").or_insert_with(|| agent.llm.temperature.into());
    given.entry("max_output_tokens").or_insert_with(|| agent.llm.max_output_tokens.into());
    llm::roster::open(provider, &Value::Object(given)).map(Some).map_err(|error| refused("llm", error))
}

fn open_recogniser(agent: &AgentSpec, speech: Option<&Speech>) -> Result<Option<SttLink>, AgentError> {
    let provider = choose(&agent.stt.provider, "deepgram", "DEEPGRAM_API_KEY", "builtin");
    match provider {
        "none" => Ok(None),
        "builtin" => Ok(speech.map(Speech::stt)),
        vendor => {
            let mut given = agent.stt.settings.clone();
            put(&mut given, "model", agent.stt.model.as_deref());
            if !agent.stt.keywords.is_empty() {
                given.entry("keyterm").or_insert_with(|| agent.stt.keywords.clone().into());
            }
            stt::roster::open(vendor, &Value::Object(given)).map(Some).map_err(|error| refused("stt", error))
        }
    }
}

fn open_voice(agent: &AgentSpec, speech: Option<&Speech>) -> Result<TtsLink, AgentError> {
    let provider = choose(&agent.tts.provider, "elevenlabs", "ELEVENLABS_API_KEY", "builtin");
    if provider == "builtin" {
        let voice = agent.tts.voice.as_deref().map_or("", |voice| voice.strip_prefix("builtin:").unwrap_or(voice));
        return Ok(match speech {
            Some(speech) => speech.tts(voice),
            None => tts::beeps::open(),
        });
    }
    let mut given = agent.tts.settings.clone();
    put(&mut given, "model", agent.tts.model.as_deref());
    put(
        &mut given,
        "voice",
        agent.tts.voice.as_deref().map(|voice| voice.strip_prefix("elevenlabs:").unwrap_or(voice)),
    );
    tts::roster::open(provider, &Value::Object(given)).map_err(|error| refused("tts", error))
}

fn put(settings: &mut Map<String, Value>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        settings.entry(key).or_insert_with(|| value.into());
    }
}

fn refused(stage: &'static str, error: impl ToString) -> AgentError {
    AgentError::Provider { stage, reason: error.to_string() }
}

/// The agent's tools as a model sees them; tools that are switched off are not seen.
fn tools(agent: &AgentSpec) -> Vec<Tool> {
    agent
        .tools
        .iter()
        .filter(|tool| tool["enabled"].as_bool().unwrap_or(true))
        .filter_map(|tool| {
            let parameters = match &tool["parameters"] {
                Value::Null => serde_json::json!({"type": "object", "properties": {}}),
                schema => schema.clone(),
            };
            let name = tool["name"].as_str()?.to_owned();
            Some(Tool { name, description: tool["description"].as_str().unwrap_or_default().to_owned(), parameters })
        })
        .collect()
}

/// `{{name}}` becomes its value; an unknown one becomes nothing.
fn fill(text: &str, facts: &Facts) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let Some((name, tail)) = after.split_once("}}") else {
            filled.push_str("{{");
            rest = after;
            continue;
        };
        filled.push_str(facts.variables.get(name.trim()).map_or("", String::as_str));
        rest = tail;
    }
    filled.push_str(rest);
    filled
}
