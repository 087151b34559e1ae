//! What the API asks about agents, answered by the conversation's machines on this node.

use std::collections::BTreeMap;
use std::sync::Arc;

use control_api::{AgentCheck, BoxFuture, Engine, Engines, Found, Voice};
use domain::AgentSpec;
use domain::agent::fault::Fault;
use pipeline::offline::{Speech, VOICES};
use pipeline::roster::Provider;
use pipeline::tts::{TtsCommand, TtsEvent};

/// A sample is given up after this long.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// The generation of a sample: there is only one.
const SAMPLE: pipeline::Gen = 1;

/// The engines of this node.
pub struct Machines {
    /// Agents by the names of their files.
    pub files: BTreeMap<String, Arc<AgentSpec>>,
    /// The file that `demo` stands for.
    pub demo: String,
    /// Built-in engines, if their packages are installed.
    pub speech: Option<Speech>,
}

impl AgentCheck for Machines {
    fn check(&self, agent: &AgentSpec) -> Found {
        let found = pipeline::agent::check(agent);
        let mut faults = found.faults;
        if let Some(zone) = agent.timezone.as_deref().filter(|zone| jiff::tz::TimeZone::get(zone).is_err()) {
            faults.push(Fault::invalid("timezone", format!("there is no time zone {zone}")));
        }
        Found { faults, warnings: found.warnings }
    }

    fn engines(&self) -> Engines {
        let all = |providers: Vec<Provider>| providers.into_iter().map(engine).collect();
        Engines {
            stt: all(pipeline::roster::stt()),
            llm: all(pipeline::roster::llm()),
            tts: all(pipeline::roster::tts()),
            realtime: Vec::new(),
        }
    }

    fn voices(&self) -> Vec<Voice> {
        let voice = |name: &&str| {
            let gender = if *name == "slt" { "female" } else { "male" };
            Voice {
                id: format!("builtin:{name}"),
                provider: "builtin".into(),
                name: name.to_uppercase(),
                languages: vec!["en-US".into()],
                gender: Some(gender.to_owned()),
                sample_url: None,
                native_ulaw: false,
            }
        };
        VOICES.iter().map(voice).collect()
    }

    fn speak<'a>(&'a self, voice: &'a str, text: &'a str) -> BoxFuture<'a, Result<Vec<i16>, String>> {
        Box::pin(async move {
            let name = voice.strip_prefix("builtin:").filter(|name| VOICES.contains(name));
            let name = name.ok_or_else(|| format!("there is no voice {voice} on this machine"))?;
            let speech = self.speech.as_ref().ok_or("the built-in voices are not installed on this machine")?;
            tokio::time::timeout(PATIENCE, sample(speech, name, text)).await.map_err(|_| "the voice did not answer")?
        })
    }

    fn operator_key(&self, provider: &str) -> Option<String> {
        let variable = match provider {
            "elevenlabs" => "ELEVENLABS_API_KEY",
            _ => return None,
        };
        std::env::var(variable).ok().map(|key| key.trim().to_owned()).filter(|key| !key.is_empty())
    }

    fn file(&self, name: &str) -> Option<Arc<AgentSpec>> {
        self.files.get(if name == "demo" { self.demo.as_str() } else { name }).cloned()
    }
}

async fn sample(speech: &Speech, voice: &str, text: &str) -> Result<Vec<i16>, String> {
    let mut link = speech.tts(voice);
    let gone = |_| "the voice is gone".to_owned();
    link.commands.send(TtsCommand::Speak { r#gen: SAMPLE, text: text.to_owned() }).await.map_err(gone)?;
    link.commands.send(TtsCommand::Finish { r#gen: SAMPLE }).await.map_err(gone)?;
    let mut samples = Vec::new();
    while let Some(event) = link.events.recv().await {
        match event {
            TtsEvent::Audio { pcm, .. } => samples.extend_from_slice(&pcm),
            TtsEvent::Piece { .. } => {}
            TtsEvent::Done { .. } => return Ok(samples),
            TtsEvent::Error { reason, .. } | TtsEvent::Down { reason, .. } => return Err(reason),
        }
    }
    Err("the voice is gone".to_owned())
}

fn engine(provider: Provider) -> Engine {
    Engine {
        id: provider.id.to_owned(),
        name: provider.name.to_owned(),
        needs_key: provider.needs_key,
        settings_schema: provider.settings,
        models: provider.models.iter().map(|model| (*model).to_owned()).collect(),
    }
}
