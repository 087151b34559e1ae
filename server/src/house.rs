//! What the process is made of before anything opens: the configuration, checked, and the agents, compiled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::agent::fault::{Fault, Warning};
use domain::{AgentSpec, BootId};

use crate::config::{Checked, Config, ConfigError, toml_reason};

/// Configuration and agents.
#[derive(Debug)]
pub struct House {
    /// As read.
    pub config: Config,
    /// As parsed.
    pub checked: Checked,
    /// By the name of their file.
    pub agents: BTreeMap<String, Arc<AgentSpec>>,
    /// What somebody set in an agent's file that this version does not act upon.
    pub warnings: Vec<String>,
    /// This machine's name.
    pub node: String,
    /// This run of the process.
    pub boot: BootId,
}

impl House {
    /// Reads everything and opens nothing.
    ///
    /// # Errors
    /// Names what cannot be used, where it stands and why.
    pub fn read(path: Option<&Path>) -> Result<Self, ConfigError> {
        let config = Config::load(path, std::env::vars())?;
        let checked = config.check()?;
        let (agents, warnings) = read_agents(&config.agents.dir)?;
        if !agents.contains_key(&config.agents.demo) {
            return Err(ConfigError::Value {
                key: "agents.demo",
                value: config.agents.demo,
                reason: format!("no {}/*.toml has this name", config.agents.dir.display()),
            });
        }
        let node =
            std::fs::read_to_string("/etc/hostname").map_or_else(|_| "node".into(), |name| name.trim().to_owned());
        Ok(Self { config, checked, agents, warnings, node, boot: BootId(uuid::Uuid::now_v7()) })
    }

    /// Where the speech worker is.
    #[must_use]
    pub fn worker(&self) -> PathBuf {
        match self.config.speech.worker.as_str() {
            "" => worker_beside_us(),
            path => path.into(),
        }
    }
}

/// The speech worker's usual place: beside this binary.
#[must_use]
pub fn worker_beside_us() -> PathBuf {
    let us = std::env::current_exe().unwrap_or_default();
    us.parent().unwrap_or(Path::new(".")).join("speech-worker")
}

/// Agents by the name of their file, and what is to be told about them.
type Agents = (BTreeMap<String, Arc<AgentSpec>>, Vec<String>);

fn read_agents(dir: &Path) -> Result<Agents, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: dir.to_owned(), source };
    let (mut agents, mut told) = Agents::default();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (agent, warnings) = read_agent(&path)?;
        told.extend(
            warnings.iter().map(|warning| format!("{}: {}: {}", path.display(), warning.field, warning.message)),
        );
        agents.insert(name, Arc::new(agent));
    }
    Ok((agents, told))
}

fn read_agent(path: &Path) -> Result<(AgentSpec, Vec<Warning>), ConfigError> {
    let malformed = |reason: String| ConfigError::Malformed { path: path.to_owned(), reason };
    let told = |faults: Vec<Fault>| malformed(faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("; "));
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let document: serde_json::Value = toml::from_str(&text).map_err(|error| malformed(toml_reason(&text, &error)))?;
    let agent = AgentSpec::read(&document).map_err(told)?;
    let finding = pipeline::agent::check(&agent);
    if !finding.faults.is_empty() {
        return Err(told(finding.faults));
    }
    let warnings = agent.warnings().into_iter().chain(finding.warnings).collect();
    Ok((agent, warnings))
}
