//! An agent as a tenant writes it, in JSON or TOML: one document, each field with its default and limits, so that `{"name":"x"}` is
//! a working agent. Unknown fields are refused. Source: API.md §2.
//!
//! Each block has its file; [`shape`] is how blocks are written, [`check`] what no field can know by itself, [`idle`] what this
//! version takes and does not act upon yet.

pub mod bounds;
pub mod check;
pub mod engines;
pub mod fault;
mod form;
pub mod idle;
pub mod opening;
pub mod records;
pub mod shape;
pub mod template;
pub mod tools;
pub mod turn;
pub mod variables;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::call::words;
use bounds::{Hooks, Limits, Sip, Voicemail};
use engines::{Llm, Realtime, Speech, Stt, Tts};
use fault::{Fault, Warning};
use opening::{Consent, Disclosure, FirstSpeaker, Greeting, Language, Prompt};
use records::{Analysis, Knowledge, Leads, Recording, Redaction};
use shape::{any, block, chars, choice};
use tools::{Degraded, Tool, Transfer};
use turn::{Dtmf, Turn, Vad};

words! {
    /// Who decides what is said.
    Mode {
        /// Recogniser, model, voice; a flow, if there is one, is guard rails around the model.
        Pipeline = "pipeline",
        /// A speech-to-speech model.
        Realtime = "realtime",
        /// The graph alone.
        Flow = "flow",
    }
}
choice!(Mode);

block! {
    /// The whole agent.
    AgentSpec {
        /// For people.
        name: String = String::new(), chars(1, 100).required();
        /// For people.
        description: String = String::new(), chars(0, 500);
        /// The tenant's own, for lists.
        labels: BTreeMap<String, String> = BTreeMap::new(), chars(0, 500).items(20);
        /// The tenant's own, copied to each call.
        metadata: BTreeMap<String, String> = BTreeMap::new(), chars(0, 500).items(20);
        /// Who decides what is said.
        mode: Mode = Mode::Pipeline, any();
        /// IANA name; the tenant's when null.
        timezone: Option<String> = None, chars(1, 64).form(form::timezone);
        /// Who speaks first.
        first_speaker: FirstSpeaker = FirstSpeaker::Agent, any();
        /// What is said first.
        greeting: Greeting = Greeting::default(), any();
        /// What the model is told.
        prompt: Prompt = Prompt::default(), any();
        /// What is spoken.
        language: Language = Language::default(), any();
        /// The recogniser.
        stt: Stt = Stt::default(), any();
        /// The model.
        llm: Llm = Llm::default(), any();
        /// The voice.
        tts: Tts = Tts::default(), any();
        /// A speech-to-speech model.
        realtime: Realtime = Realtime::default(), any();
        /// What is heard beside the answers.
        speech: Speech = Speech::default(), any();
        /// Whose turn it is.
        turn: Turn = Turn::default(), any();
        /// What counts as voice.
        vad: Vad = Vad::default(), any();
        /// Keys of the telephone.
        dtmf: Dtmf = Dtmf::default(), any();
        /// What it can do besides talking.
        tools: Vec<Tool> = Vec::new(), any().items(40);
        /// The graph of the conversation (API.md §2.4); null: the receptionist's where no model decides.
        flow: Value = Value::Null, any();
        /// What it knows.
        knowledge: Knowledge = Knowledge::default(), any();
        /// What is found out after the call.
        analysis: Analysis = Analysis::default(), any();
        /// Contact details that are kept.
        leads: Leads = Leads::default(), any();
        /// What is kept of the audio.
        recording: Recording = Recording::default(), any();
        /// That the call is recorded.
        consent: Consent = Consent::default(), any();
        /// That the caller talks to a machine.
        disclosure: Disclosure = Disclosure::default(), any();
        /// What is taken out.
        redaction: Redaction = Redaction::default(), any();
        /// Bounds of a call.
        limits: Limits = Limits::default(), any();
        /// What happens when a machine answers.
        voicemail: Voicemail = Voicemail::default(), any();
        /// Whom a call may be handed to.
        transfers: Vec<Transfer> = Vec::new(), any().items(50);
        /// What happens when vendors are down.
        degraded: Degraded = Degraded::default(), any();
        /// Servers of the tenant.
        hooks: Hooks = Hooks::default(), any();
        /// The telephone side.
        sip: Sip = Sip::default(), any();
    }
}

impl AgentSpec {
    /// The agent that a bare name makes: every default.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Reads and checks a document.
    ///
    /// # Errors
    /// Everything that is wrong with it, up to [`fault::FAULTS_TOLD`], never nothing.
    pub fn read(document: &Value) -> Result<Self, Vec<Fault>> {
        let agent: Self = shape::read(document)?;
        let faults = check::check(&agent);
        if faults.is_empty() { Ok(agent) } else { Err(faults) }
    }

    /// What somebody set that this version does not act upon.
    pub fn warnings(&self) -> Vec<Warning> {
        idle::warnings(self)
    }

    /// The whole document, every default written out.
    pub fn document(&self) -> Value {
        // Serialising plain structs with string keys cannot fail.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The JSON schema of the document.
    pub fn schema() -> Value {
        <Self as shape::Shape>::schema(&any())
    }
}

impl<'de> Deserialize<'de> for AgentSpec {
    /// Reads and checks; the message lists every fault, one per line.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let document = Value::deserialize(from)?;
        Self::read(&document).map_err(|faults| {
            let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
            D::Error::custom(lines.join("\n"))
        })
    }
}

#[cfg(test)]
mod tests;
