//! Clients of others: sipp with our scenarios, baresip with a configuration of its own.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::Sidetone;
use crate::sidetone::{free_port, workspace};

/// Nothing here takes longer.
const ENDS_WITHIN: Duration = Duration::from_secs(150);

/// sipp with a scenario of `tests/sipp`.
#[derive(Debug)]
pub struct Sipp {
    command: Command,
    errors: PathBuf,
}

impl Sipp {
    /// Calls `sip:to@server`, as often as [`Sipp::calls`] says or once.
    #[must_use]
    pub fn new(server: &Sidetone, scenario: &str, to: &str) -> Self {
        Self::between(server, server.sip, IpAddr::from([127, 0, 0, 1]), scenario, to)
    }

    /// The same between two addresses of one's choice.
    #[must_use]
    pub fn between(server: &Sidetone, remote: SocketAddr, local: IpAddr, scenario: &str, to: &str) -> Self {
        let mut sipp = Self::playing(server, local, scenario);
        sipp.command.arg(remote.to_string()).args(["-s", to]);
        sipp
    }

    /// Waits for one call at this address.
    #[must_use]
    pub fn called(server: &Sidetone, at: SocketAddr, scenario: &str) -> Self {
        let mut sipp = Self::playing(server, at.ip(), scenario);
        sipp.command.args(["-p", &at.port().to_string(), "-m", "1"]);
        sipp
    }

    fn playing(server: &Sidetone, local: IpAddr, scenario: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let local = local.to_string();
        let errors = format!("sipp-{}-{scenario}.log", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new("sipp");
        // Its own log names lie where it runs.
        command
            .arg("-sf")
            .arg(workspace().join("tests/sipp").join(scenario))
            .args(["-i", &local, "-mi", &local, "-nostdin", "-trace_err", "-error_file", &errors, "-timeout", "140"])
            .current_dir(server.dir())
            .kill_on_drop(true);
        Self { command, errors: server.dir().join(errors) }
    }

    /// Gives a scenario a word that it asks for.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.command.args(["-key", key, value]);
        self
    }

    /// Neither repeats nor passes over what is repeated: the scenario sees every message.
    #[must_use]
    pub fn seeing_all(mut self) -> Self {
        self.command.arg("-nr");
        self
    }

    /// So many calls, all at the same time.
    #[must_use]
    pub fn calls(mut self, count: u32) -> Self {
        self.command.args(["-m", &count.to_string(), "-l", &count.to_string(), "-r", "10"]);
        self
    }

    /// So many calls within a second, which stay on the line for so long where the scenario leaves that open.
    #[must_use]
    pub fn at_once(mut self, count: u32, stay: Duration) -> Self {
        let (count, stay) = (count.to_string(), stay.as_millis().to_string());
        self.command.args(["-m", &count, "-l", &count, "-r", &count, "-d", &stay]);
        self
    }

    /// Runs the scenario; any call that does not follow it fails the test.
    pub async fn run(mut self) {
        let (output, errors) = finish("sipp", "sip-tester", &mut self.command).await;
        let wrong = fs::read_to_string(&self.errors).unwrap_or_default();
        let log = self.errors.display();
        assert_eq!(output, Some(0), "{log}: calls failed (1) or could not be made:\n{errors}\n{wrong}");
    }
}

/// baresip with a WAV file for a microphone; what it hears it throws away.
#[derive(Debug)]
pub struct Baresip {
    dir: PathBuf,
    uri: String,
    account: String,
    control: SocketAddr,
}

/// A baresip on the line, which does what it is told.
#[derive(Debug)]
pub struct Handset {
    // It is on the line as long as this lives.
    _process: Child,
    control: SocketAddr,
}

impl Handset {
    /// Presses one of its buttons, by the name that its menu has for it: `hold`, `resume`, `transfer`, `hangup`.
    pub async fn press(&self, button: &str, with: &str) {
        let order = serde_json::json!({"command": button, "params": with, "token": button}).to_string();
        let mut control = TcpStream::connect(self.control).await.expect("baresip takes orders");
        // A netstring each way.
        control.write_all(format!("{}:{order},", order.len()).as_bytes()).await.expect("baresip reads orders");
        let mut answer = vec![0; 4096];
        let length = tokio::time::timeout(Duration::from_secs(10), control.read(&mut answer)).await;
        let length = length.expect("baresip answers").expect("baresip answers");
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.contains("\"ok\":true") || answer.contains("\"event\":true"), "{button}: {answer}");
    }
}

impl Baresip {
    /// Will call `sip:to@address`, where the server must be, too ([`crate::Plan::also_at`]), as `sip:from@…`, and play `microphone`
    /// (8 kHz, mono) from the answer on.
    #[must_use]
    pub fn new(server: &Sidetone, address: IpAddr, to: &str, from: &str, microphone: &Path) -> Self {
        let dir = server.dir().join(format!("baresip-{from}"));
        fs::create_dir_all(&dir).expect("the temporary folder can be written");
        let write =
            |name: &str, text: String| fs::write(dir.join(name), text).expect("the temporary folder can be written");
        let modules = modules();
        let loaded: String =
            ["account", "contact", "ctrl_tcp", "menu"].iter().map(|name| format!("module_app {name}.so\n")).collect();
        let control = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let sound: String = ["g711", "aufile"].iter().map(|name| format!("module {name}.so\n")).collect();
        write(
            "config",
            format!(
                "call_max_calls 2\naudio_source aufile,{}\nausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n\
                 rtp_ports 34000-34999\nctrl_tcp_listen {control}\nmodule_path {modules}\n{sound}{loaded}",
                microphone.display(),
            ),
        );
        let account = format!("<sip:{from}@{address}>;regint=0;audio_codecs=PCMU,PCMA\n");
        write("accounts", account.clone());
        write("contacts", String::new());
        let uri = format!("sip:{to}@{}", SocketAddr::new(address, server.sip.port()));
        Self { dir, uri, account, control }
    }

    /// Speaks TCP; it adds that to what it calls by itself.
    #[must_use]
    pub fn over_tcp(self) -> Self {
        fs::write(self.dir.join("accounts"), self.account.replace(">;", ";transport=tcp>;"))
            .expect("the temporary folder can be written");
        self
    }

    /// Speaks TLS to this port, and believes this certificate.
    #[must_use]
    pub fn over_tls(mut self, port: u16, certificate: &Path) -> Self {
        let write = |name: &str, text: String| {
            fs::write(self.dir.join(name), text).expect("the temporary folder can be written");
        };
        let config = fs::read_to_string(self.dir.join("config")).unwrap_or_default();
        write("config", format!("sip_cafile {}\n{config}", certificate.display()));
        write("accounts", self.account.replace(">;", ";transport=tls>;"));
        let host = self.uri.rsplit_once(':').map_or(self.uri.as_str(), |(host, _)| host);
        self.uri = format!("{host}:{port};transport=tls");
        self
    }

    /// Calls and stays on the line until the handset is dropped, or two minutes.
    #[must_use]
    pub fn dial(&self) -> Handset {
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&self.dir).args(["-e", &format!("d{}", self.uri), "-t", "120"]);
        command.current_dir(&self.dir).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("baresip: {error}; Debian has it in baresip-core"));
        Handset { _process: process, control: self.control }
    }

    /// Calls and stays on the line for so long; gives what baresip wrote.
    pub async fn call(&self, seconds: u32) -> String {
        let mut command = Command::new("baresip");
        command.arg("-f").arg(&self.dir).args(["-e", &format!("d{}", self.uri), "-t", &seconds.to_string()]);
        command.current_dir(&self.dir).kill_on_drop(true);
        finish("baresip", "baresip-core", &mut command).await.1
    }
}

fn modules() -> String {
    // Debian's multiarch did not reach it; others put it under lib64.
    let known = ["/usr/lib/baresip/modules", "/usr/lib64/baresip/modules", "/usr/local/lib/baresip/modules"];
    known.into_iter().find(|path| Path::new(path).is_dir()).unwrap_or(known[0]).to_owned()
}

/// Exit code and everything written.
async fn finish(name: &str, package: &str, command: &mut Command) -> (Option<i32>, String) {
    let ended = tokio::time::timeout(ENDS_WITHIN, command.stdin(Stdio::null()).output()).await;
    let ended = ended.unwrap_or_else(|_| panic!("{name} does not end"));
    let ended = ended.unwrap_or_else(|error| panic!("{name}: {error}; Debian has it in {package}"));
    let written = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (ended.status.code(), written)
}
