//! What the process is made of before anything opens: the configuration, checked, and the agents, compiled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::{AgentSpec, BootId};

use crate::config::{Checked, Config, ConfigError};

/// Configuration and agents.
#[derive(Debug)]
pub struct House {
    /// As read.
    pub config: Config,
    /// As parsed.
    pub checked: Checked,
    /// By the name of their file.
    pub agents: BTreeMap<String, Arc<AgentSpec>>,
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
        let agents = read_agents(&config.agents.dir)?;
        if !agents.contains_key(&config.agents.demo) {
            return Err(ConfigError::Value {
                key: "agents.demo",
                value: config.agents.demo,
                reason: format!("no {}/*.toml has this name", config.agents.dir.display()),
            });
        }
        let node =
            std::fs::read_to_string("/etc/hostname").map_or_else(|_| "node".into(), |name| name.trim().to_owned());
        Ok(Self { config, checked, agents, node, boot: BootId(uuid::Uuid::now_v7()) })
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

fn read_agents(dir: &Path) -> Result<BTreeMap<String, Arc<AgentSpec>>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: dir.to_owned(), source };
    let mut agents = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        agents.insert(name, Arc::new(read_agent(&path)?));
    }
    Ok(agents)
}

fn read_agent(path: &Path) -> Result<AgentSpec, ConfigError> {
    let malformed = |reason: String| ConfigError::Malformed { path: path.to_owned(), reason };
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    let agent: AgentSpec = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    agent.check().map_err(|breach| malformed(breach.to_string()))?;
    pipeline::agent::check(&agent).map_err(|error| malformed(error.to_string()))?;
    Ok(agent)
}
