//! Which engine a stage means, and the settings it is opened with: the agent's, a credential's, and our defaults.

use domain::AgentSpec;
use domain::agent::Mode;
use serde_json::{Map, Value};

use super::{AgentError, Credentials, vendor_ends};
use crate::link::settings::OpenError;
use crate::llm::LlmLink;
use crate::offline::Speech;
use crate::stt::SttLink;
use crate::tts::TtsLink;
use crate::{llm, stt, tts};

/// No model: the flow decides.
pub(super) const NO_MODEL: &str = "flow";
/// The engines of this machine.
pub(super) const BUILTIN: &str = "builtin";
/// ElevenLabs' own example voice, for agents that name the vendor and no voice of it.
const ELEVENLABS_VOICE: &str = "21m00Tcm4TlvDq8ikWAM";

/// A stage as it would be opened.
pub(super) struct Stage {
    pub(super) provider: String,
    pub(super) settings: Map<String, Value>,
}

/// `auto` means the vendor if its key is set, else what this machine does by itself.
fn choose<'a>(provider: &'a str, vendor: &'a str, key: &str, own: &'a str) -> &'a str {
    match provider {
        "auto" if std::env::var(key).is_ok_and(|key| !key.trim().is_empty()) => vendor,
        "auto" => own,
        named => named,
    }
}

pub(super) fn model(agent: &AgentSpec) -> &str {
    match agent.mode {
        Mode::Flow => NO_MODEL,
        Mode::Pipeline | Mode::Realtime => choose(&agent.llm.provider, "openai", "OPENAI_API_KEY", NO_MODEL),
    }
}

pub(super) fn recogniser(agent: &AgentSpec) -> &str {
    choose(&agent.stt.provider, "deepgram", "DEEPGRAM_API_KEY", BUILTIN)
}

pub(super) fn voice(agent: &AgentSpec) -> &str {
    choose(&agent.tts.provider, "elevenlabs", "ELEVENLABS_API_KEY", BUILTIN)
}

pub(super) fn model_stage(agent: &AgentSpec) -> Option<Stage> {
    let provider = model(agent);
    if provider == NO_MODEL {
        return None;
    }
    let mut settings = agent.llm.settings.clone();
    put(&mut settings, "model", agent.llm.model.as_deref().unwrap_or("gpt-4.1-mini"));
    settings.entry("temperature").or_insert_with(|| agent.llm.temperature.into());
    settings.entry("max_tokens").or_insert_with(|| agent.llm.max_output_tokens.into());
    Some(Stage { provider: provider.to_owned(), settings })
}

pub(super) fn recogniser_stage(agent: &AgentSpec) -> Option<Stage> {
    let provider = recogniser(agent);
    if provider == BUILTIN {
        return None;
    }
    let mut settings = agent.stt.settings.clone();
    put(&mut settings, "model", agent.stt.model.as_deref().unwrap_or("nova-3"));
    if agent.language.primary != "en-US" {
        put(&mut settings, "language", &agent.language.primary);
    }
    if !agent.stt.keywords.is_empty() {
        settings.entry("keyterms").or_insert_with(|| agent.stt.keywords.clone().into());
    }
    if vendor_ends(agent) {
        settings.entry("turns").or_insert(true.into());
    }
    Some(Stage { provider: provider.to_owned(), settings })
}

pub(super) fn voice_stage(agent: &AgentSpec) -> Option<Stage> {
    let provider = voice(agent);
    if provider == BUILTIN {
        return None;
    }
    let mut settings = agent.tts.settings.clone();
    if let Some(model) = &agent.tts.model {
        put(&mut settings, "model", model);
    }
    // The default voice of the document is a built-in one, which no vendor has.
    let named = Some(agent.tts.voice.as_str()).filter(|voice| !voice.starts_with("builtin:"));
    let named =
        named.map(|voice| voice.strip_prefix(provider).and_then(|rest| rest.strip_prefix(':')).unwrap_or(voice));
    put(&mut settings, "voice", named.unwrap_or(ELEVENLABS_VOICE));
    if (agent.tts.speed - 1.0).abs() > f64::EPSILON
        && let Some(tuning) = settings.entry("voice_settings").or_insert_with(|| Map::new().into()).as_object_mut()
    {
        tuning.entry("speed").or_insert_with(|| agent.tts.speed.into());
    }
    Some(Stage { provider: provider.to_owned(), settings })
}

/// Settings with the credential's key and place.
fn with(
    stage: &'static str,
    mut settings: Map<String, Value>,
    id: Option<&str>,
    all: &Credentials,
) -> Result<Value, AgentError> {
    if let Some(id) = id {
        let missing =
            || AgentError::Setting { path: format!("{stage}.credential_id"), reason: "no such credential".into() };
        let credential = all.get(id).ok_or_else(missing)?;
        settings.insert("api_key".into(), credential.secret.clone().into());
        if let Some(url) = &credential.base_url {
            settings.insert("base_url".into(), url.clone().into());
        }
    }
    Ok(Value::Object(settings))
}

/// A compatible server may be anywhere; without its place the request would go to the vendor that it is compatible with.
pub(super) fn lacks_place(agent: &AgentSpec) -> bool {
    let llm = &agent.llm;
    model(agent) == "openai_compatible" && llm.credential_id.is_none() && !llm.settings.contains_key("base_url")
}

pub(super) fn open_model(agent: &AgentSpec, all: &Credentials) -> Result<Option<LlmLink>, AgentError> {
    let Some(stage) = model_stage(agent) else { return Ok(None) };
    let placed =
        agent.llm.credential_id.as_ref().and_then(|id| all.get(id)).is_some_and(|found| found.base_url.is_some());
    if stage.provider == "openai_compatible" && !placed && !stage.settings.contains_key("base_url") {
        let reason = "openai_compatible needs the base_url of its server".into();
        return Err(AgentError::Provider { stage: "llm", reason });
    }
    let settings = with("llm", stage.settings, agent.llm.credential_id.as_deref(), all)?;
    llm::roster::open(&stage.provider, &settings).map(Some).map_err(|error| refused("llm", &error))
}

pub(super) fn open_recogniser(
    agent: &AgentSpec,
    all: &Credentials,
    speech: Option<&Speech>,
) -> Result<Option<SttLink>, AgentError> {
    let Some(stage) = recogniser_stage(agent) else { return Ok(speech.map(Speech::stt)) };
    let settings = with("stt", stage.settings, agent.stt.credential_id.as_deref(), all)?;
    stt::roster::open(&stage.provider, &settings).map(Some).map_err(|error| refused("stt", &error))
}

pub(super) fn open_voice(agent: &AgentSpec, all: &Credentials, speech: Option<&Speech>) -> Result<TtsLink, AgentError> {
    let Some(stage) = voice_stage(agent) else {
        return Ok(speech.map_or_else(tts::beeps::open, |speech| speech.tts(&agent.tts.voice)));
    };
    let settings = with("tts", stage.settings, agent.tts.credential_id.as_deref(), all)?;
    tts::roster::open(&stage.provider, &settings).map_err(|error| refused("tts", &error))
}

fn put(settings: &mut Map<String, Value>, key: &str, value: &str) {
    settings.entry(key).or_insert_with(|| value.into());
}

fn refused(stage: &'static str, error: &OpenError) -> AgentError {
    AgentError::Provider { stage, reason: error.to_string() }
}
