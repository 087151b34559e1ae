//! The built-in test phone as a process: `sidetone call`.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use codecs::wav::Reader;
use serde_json::Value;
use tokio::process::Command;

use crate::Sidetone;
use crate::sidetone::{binary, workspace};
use crate::sound::Stereo;

/// A call to be made.
#[derive(Debug)]
pub struct Phone {
    command: Command,
    save: PathBuf,
}

/// A call that was made, as the phone heard it.
#[derive(Debug)]
pub struct Spoken {
    /// The phone's exit code.
    pub code: Option<i32>,
    /// Its report.
    pub report: Value,
    /// `caller` is what the phone said, `agent` what it heard.
    pub sound: Stereo,
}

impl Phone {
    /// A call to `sip:to@server` from `sip:from@…`.
    #[must_use]
    pub fn new(server: &Sidetone, to: &str, from: &str) -> Self {
        Self::to(server, &server.uri(to), from)
    }

    /// A call to any URI from `sip:from@…`; what it hears is kept in the server's folder.
    #[must_use]
    pub fn to(server: &Sidetone, uri: &str, from: &str) -> Self {
        let save = server.dir().join(format!("phone-{from}.wav"));
        let mut command = Command::new(binary("sidetone"));
        command
            .args(["call", uri, "--json", "--from", from, "--save"])
            .arg(&save)
            .current_dir(workspace())
            .env_remove("SIDETONE_API_KEY")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        Self { command, save }
    }

    /// Adds one of its options, as `("--say", "yes")`.
    #[must_use]
    pub fn with(mut self, option: &str, value: &str) -> Self {
        self.command.args([option, value]);
        self
    }

    /// Says something when the agent has finished.
    #[must_use]
    pub fn say(self, words: &str) -> Self {
        self.with("--say", words)
    }

    /// Presses keys when the agent has finished.
    #[must_use]
    pub fn keys(self, digits: &str) -> Self {
        self.with("--dtmf", digits)
    }

    /// Starts the call and leaves it alone.
    #[must_use]
    pub fn start(mut self) -> tokio::process::Child {
        self.command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the phone can be started")
    }

    /// Makes the call to its end.
    pub async fn call(mut self) -> Spoken {
        let made = tokio::time::timeout(Duration::from_secs(200), self.command.output()).await;
        let made = made.expect("the phone has a limit of its own").expect("the phone can be started");
        let (said, wrong) = (String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
        let report = serde_json::from_str(&said).unwrap_or_else(|_| panic!("the phone reports nothing: {said}{wrong}"));
        let saved = std::fs::read(&self.save).unwrap_or_else(|error| panic!("{}: {error}", self.save.display()));
        let wav = Reader::parse(&saved).expect("the phone saves a WAV file");
        Spoken { code: made.status.code(), report, sound: Stereo { caller: wav.channel(0), agent: wav.channel(1) } }
    }
}
