//! An agent as a tenant writes it, in JSON or TOML. Unknown keys are refused; `name` alone is a working agent.
//!
//! Stages, greeting and limits are typed here; what belongs to the machines of `pipeline` (turn settings, the flow, a provider's
//! own settings) stays JSON and is checked by whoever runs it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The whole agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// 1 to 100 characters.
    pub name: String,
    /// At most 500 characters.
    #[serde(default)]
    pub description: String,
    /// The tenant's own labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Copied to each call.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Who decides what is said.
    #[serde(default)]
    pub mode: Mode,
    /// IANA name; the tenant's when absent.
    #[serde(default)]
    pub timezone: Option<String>,
    /// What is said first.
    #[serde(default)]
    pub greeting: Greeting,
    /// What the model is told.
    #[serde(default)]
    pub prompt: Prompt,
    /// What is spoken.
    #[serde(default)]
    pub language: Language,
    /// The recogniser.
    #[serde(default)]
    pub stt: Stt,
    /// The model.
    #[serde(default)]
    pub llm: Llm,
    /// The voice.
    #[serde(default)]
    pub tts: Tts,
    /// Settings of the turn machine (`turn.end.…`, `turn.barge_in.…`, `turn.silence.…`).
    #[serde(default)]
    pub turn: Map<String, Value>,
    /// Settings of the voice activity detector.
    #[serde(default)]
    pub vad: Map<String, Value>,
    /// Settings of digit collection.
    #[serde(default)]
    pub dtmf: Map<String, Value>,
    /// Fillers, pronunciations, background.
    #[serde(default)]
    pub speech: Map<String, Value>,
    /// Tools, each `{name,kind,description,parameters,config,…}`.
    #[serde(default)]
    pub tools: Vec<Value>,
    /// The conversation graph `{start,vars,states}`.
    #[serde(default)]
    pub flow: Option<Value>,
    /// Whom calls may be handed to, each `{name,to,…}`.
    #[serde(default)]
    pub transfers: Vec<Value>,
    /// What is kept of the audio.
    #[serde(default)]
    pub recording: Recording,
    /// Bounds of a call.
    #[serde(default)]
    pub limits: Limits,
}

impl AgentSpec {
    /// The agent that a bare name makes: every default.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            labels: BTreeMap::new(),
            metadata: BTreeMap::new(),
            mode: Mode::default(),
            timezone: None,
            greeting: Greeting::default(),
            prompt: Prompt::default(),
            language: Language::default(),
            stt: Stt::default(),
            llm: Llm::default(),
            tts: Tts::default(),
            turn: Map::new(),
            vad: Map::new(),
            dtmf: Map::new(),
            speech: Map::new(),
            tools: Vec::new(),
            flow: None,
            transfers: Vec::new(),
            recording: Recording::default(),
            limits: Limits::default(),
        }
    }

    /// Checks lengths and ranges; the first breach is named by its dotted path.
    pub fn check(&self) -> Result<(), Breach> {
        length("name", &self.name, 1, 100)?;
        length("description", &self.description, 0, 500)?;
        length("greeting.text", &self.greeting.text, 0, 1000)?;
        length("prompt.system", &self.prompt.system, 0, 32_000)?;
        within("greeting.delay_ms", self.greeting.delay_ms, 0, 5_000)?;
        within("limits.max_duration_ms", self.limits.max_duration_ms, 10_000, 43_200_000)?;
        within("limits.ring_timeout_ms", self.limits.ring_timeout_ms, 5_000, 120_000)?;
        if self.tools.len() > 40 {
            return Err(Breach { field: "tools", rule: "at most 40 tools".into() });
        }
        if self.mode == Mode::Flow && self.flow.is_none() && self.llm.provider == "flow" {
            return Err(Breach { field: "flow", rule: "an agent of mode flow needs a flow".into() });
        }
        Ok(())
    }
}

fn length(field: &'static str, text: &str, min: usize, max: usize) -> Result<(), Breach> {
    let chars = text.chars().count();
    if (min..=max).contains(&chars) {
        return Ok(());
    }
    Err(Breach { field, rule: format!("{min} to {max} characters, not {chars}") })
}

fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Breach> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Breach { field, rule: format!("{min} to {max}, not {value}") })
}

/// A value outside its limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Breach {
    /// Dotted path of the value.
    pub field: &'static str,
    /// The limit it broke.
    pub rule: String,
}

/// Who decides what is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Recogniser, model, voice; a flow, if there is one, is guard rails around the model.
    #[default]
    Pipeline,
    /// The graph alone.
    Flow,
    /// A speech-to-speech model.
    Realtime,
}

impl Mode {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pipeline => "pipeline",
            Self::Flow => "flow",
            Self::Realtime => "realtime",
        }
    }
}

/// What is said first; synthesised while it rings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Greeting {
    /// At most 1000 characters, with variables.
    pub text: String,
    /// Said instead on calls that we place.
    pub outbound_text: Option<String>,
    /// May the caller talk over it? If not, what they say meanwhile is kept.
    pub interruptible: bool,
    /// Silence before it, 0 to 5000.
    pub delay_ms: u64,
}

/// What the model is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prompt {
    /// At most 32000 characters, with variables.
    pub system: String,
    /// Declared variables, `{name: {type, default, required, pii, …}}`.
    pub variables: Map<String, Value>,
}

/// What is spoken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Language {
    /// BCP 47.
    pub primary: String,
    /// Other languages that may be switched to.
    pub also: Vec<String>,
}

impl Default for Language {
    fn default() -> Self {
        Self { primary: "en-US".into(), also: Vec::new() }
    }
}

fn auto() -> String {
    "auto".into()
}

/// A fall-back of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Roster name of the provider.
    pub provider: String,
    /// The provider's default when absent.
    #[serde(default)]
    pub model: Option<String>,
    /// For voices.
    #[serde(default)]
    pub voice: Option<String>,
    /// A stored credential; the operator's key when absent.
    #[serde(default)]
    pub credential_id: Option<String>,
    /// The provider's own settings.
    #[serde(default)]
    pub settings: Map<String, Value>,
}

/// The recogniser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stt {
    /// Roster name, or `auto`: the operator's default if it has a key, else the offline engine.
    pub provider: String,
    /// The provider's default when absent.
    pub model: Option<String>,
    /// A stored credential; the operator's key when absent.
    pub credential_id: Option<String>,
    /// The provider's own settings.
    pub settings: Map<String, Value>,
    /// Words to expect.
    pub keywords: Vec<String>,
    /// Tried in order.
    pub fallbacks: Vec<Block>,
    /// The caller speaks but no partial comes for this long → fail over.
    pub no_progress_ms: u64,
}

impl Default for Stt {
    fn default() -> Self {
        Self {
            provider: auto(),
            model: None,
            credential_id: None,
            settings: Map::new(),
            keywords: Vec::new(),
            fallbacks: Vec::new(),
            no_progress_ms: 3_000,
        }
    }
}

/// The model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Llm {
    /// Roster name, `flow` for no model, or `auto`.
    pub provider: String,
    /// The provider's default when absent.
    pub model: Option<String>,
    /// A stored credential; the operator's key when absent.
    pub credential_id: Option<String>,
    /// 0 to 2.
    pub temperature: f64,
    /// Per turn.
    pub max_output_tokens: u32,
    /// Older turns are left out.
    pub context_turns: u32,
    /// The provider's own settings.
    pub settings: Map<String, Value>,
    /// Tried in order.
    pub fallbacks: Vec<Block>,
    /// No token for this long → fail over.
    pub first_token_ms: u64,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            provider: auto(),
            model: None,
            credential_id: None,
            temperature: 0.4,
            max_output_tokens: 400,
            context_turns: 40,
            settings: Map::new(),
            fallbacks: Vec::new(),
            first_token_ms: 2_500,
        }
    }
}

/// The voice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tts {
    /// Roster name, or `auto`.
    pub provider: String,
    /// Id of the voice.
    pub voice: Option<String>,
    /// The provider's default when absent.
    pub model: Option<String>,
    /// 0.5 to 2.
    pub speed: f64,
    /// A stored credential; the operator's key when absent.
    pub credential_id: Option<String>,
    /// The provider's own settings.
    pub settings: Map<String, Value>,
    /// Keep repeated phrases.
    pub cache: bool,
    /// Tried in order, each with its own voice.
    pub fallbacks: Vec<Block>,
    /// No byte for this long → fail over.
    pub first_byte_ms: u64,
}

impl Default for Tts {
    fn default() -> Self {
        Self {
            provider: auto(),
            voice: None,
            model: None,
            speed: 1.0,
            credential_id: None,
            settings: Map::new(),
            cache: true,
            fallbacks: Vec::new(),
            first_byte_ms: 1_500,
        }
    }
}

/// What is kept of the audio: stereo WAV, caller left, agent right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// Record calls of this agent.
    pub enabled: bool,
    /// Days it is kept; the tenant's setting when absent.
    pub retention_days: Option<u32>,
}

impl Default for Recording {
    fn default() -> Self {
        Self { enabled: true, retention_days: None }
    }
}

/// Bounds of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// 10 s to 12 h.
    pub max_duration_ms: u64,
    /// How long an outbound call rings, 5 to 120 s.
    pub ring_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_duration_ms: 3_600_000, ring_timeout_ms: 45_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_an_agent() {
        let agent: AgentSpec = serde_json::from_str(r#"{"name":"x"}"#).unwrap();
        assert_eq!(agent, AgentSpec::named("x"));
        agent.check().unwrap();
        assert_eq!((agent.stt.provider.as_str(), agent.llm.temperature, agent.recording.enabled), ("auto", 0.4, true));
    }

    #[test]
    fn unknown_keys_are_refused_at_every_depth() {
        for text in [
            r#"{"name":"x","promt":{}}"#,
            r#"{"name":"x","greeting":{"txt":""}}"#,
            r#"{"name":"x","stt":{"provider":"deepgram","modle":"nova"}}"#,
            r#"{"name":"x","tts":{"fallbacks":[{"provider":"a","speed":1}]}}"#,
        ] {
            let error = serde_json::from_str::<AgentSpec>(text).unwrap_err();
            assert!(error.to_string().contains("unknown field"), "{text}: {error}");
        }
    }

    #[test]
    fn limits_are_checked_and_named() {
        let mut agent = AgentSpec::named("");
        assert_eq!(agent.check().unwrap_err().field, "name");
        agent.name = "x".into();
        agent.limits.max_duration_ms = 1;
        assert_eq!(agent.check().unwrap_err().to_string(), "limits.max_duration_ms: 10000 to 43200000, not 1");
    }

    #[test]
    fn it_reads_back_what_it_writes() {
        let mut agent = AgentSpec::named("desk");
        agent.mode = Mode::Flow;
        agent.flow = Some(serde_json::json!({"start": "hello", "states": {}}));
        agent.stt.settings.insert("smart".into(), true.into());
        let text = serde_json::to_string(&agent).unwrap();
        assert_eq!(serde_json::from_str::<AgentSpec>(&text).unwrap(), agent);
    }
}
