//! What can be said of an agent without opening anything: its flow compiles, its engines exist and take their settings.

use domain::AgentSpec;
use domain::agent::engines::Fallback;
use domain::agent::fault::{Fault, Warning};
use serde_json::Value;

use super::engines::{self, BUILTIN, NO_MODEL, Stage};
use super::{compile, flow_fault};
use crate::link::settings::OpenError;
use crate::{llm, stt, tts};

/// What was found.
#[derive(Debug, Default)]
pub struct Finding {
    /// It cannot be run so.
    pub faults: Vec<Fault>,
    /// It can, but not as somebody may expect.
    pub warnings: Vec<Warning>,
}

type Check = fn(&str, &Value) -> Result<(), OpenError>;

/// Checks everything that can be checked without opening anything.
#[must_use]
pub fn check(agent: &AgentSpec) -> Finding {
    let mut finding = Finding::default();
    match compile(agent) {
        Err(error) => finding.faults.push(flow_fault(&error)),
        Ok(Some(_)) => flow_tools(agent, &mut finding),
        Ok(None) => {}
    }
    finding.stage("stt", engines::recogniser_stage(agent), agent.stt.credential_id.as_deref(), stt::roster::check);
    finding.stage("llm", engines::model_stage(agent), agent.llm.credential_id.as_deref(), llm::roster::check);
    finding.stage("tts", engines::voice_stage(agent), agent.tts.credential_id.as_deref(), tts::roster::check);
    if engines::lacks_place(agent) {
        let message = "openai_compatible needs a credential that says where the server is (base_url)";
        finding.faults.push(Fault::invalid("llm.credential_id", message));
    }
    finding.fallbacks("stt", &agent.stt.fallbacks, stt::roster::PROVIDERS, BUILTIN);
    finding.fallbacks("llm", &agent.llm.fallbacks, llm::roster::PROVIDERS, NO_MODEL);
    finding.fallbacks("tts", &agent.tts.fallbacks, tts::roster::PROVIDERS, BUILTIN);
    finding
}

impl Finding {
    fn stage(&mut self, name: &'static str, stage: Option<Stage>, credential: Option<&str>, check: Check) {
        let Some(Stage { provider, mut settings }) = stage else { return };
        if credential.is_some() {
            // The key itself is looked for when a call begins.
            settings.insert("api_key".into(), "stands for the credential".into());
        }
        match check(&provider, &Value::Object(settings)) {
            Ok(()) => {}
            Err(OpenError::NoKey { provider, variable }) => {
                let message = format!("{provider} has no key: name a credential, or the operator sets {variable}");
                self.warnings.push(Warning::new(format!("{name}.credential_id"), message));
            }
            Err(OpenError::Unknown { known, .. }) => {
                let own = if name == "llm" { NO_MODEL } else { BUILTIN };
                let message = format!("this version has no {name} provider {provider}; it has {own}, {known}");
                self.faults.push(Fault::invalid(format!("{name}.provider"), message));
            }
            Err(OpenError::Settings { reason, .. }) => {
                self.faults.push(Fault::invalid(format!("{name}.settings"), reason));
            }
        }
    }

    fn fallbacks(&mut self, name: &str, fallbacks: &[Fallback], known: &[&str], own: &str) {
        for (n, fallback) in fallbacks.iter().enumerate() {
            if fallback.provider != own && !known.contains(&fallback.provider.as_str()) {
                let message = format!("this version has no {name} provider {}", fallback.provider);
                self.warnings.push(Warning::new(format!("{name}.fallbacks[{n}].provider"), message));
            }
        }
    }
}

/// A flow may call a tool that the agent does not have; the call then goes on by `on_error`.
fn flow_tools(agent: &AgentSpec, finding: &mut Finding) {
    for (state, node) in agent.flow["states"].as_object().into_iter().flatten() {
        let Some(name) = node["tool"]["name"].as_str() else { continue };
        if !agent.tools.iter().any(|tool| tool.name == name && tool.enabled) {
            let message = format!("the agent has no tool named {name}; the state will go on by on_error");
            finding.warnings.push(Warning::new(format!("flow.states.{state}.tool.name"), message));
        }
    }
}
