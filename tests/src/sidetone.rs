//! The server under test: the built binary with the shipped configuration, on free ports, in a folder of its own.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::{Api, elsewhere};

/// The API key of every server here.
pub(crate) const KEY: &str = "st_live_Ab12Cd34_00000000000000000000000000000000";
/// RTP ports of one server: no two servers of one test binary share any.
const RTP_PORTS: u16 = 400;
/// A server that is not ready by then never will be.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The top of the workspace; the server runs there.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// What the shipped receptionist says first, as it is heard.
pub const GREETING: &str = "Hillside clinic. This is the automated receptionist. How can I help?";

/// A built binary of the workspace, in the profile of this test.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let us = std::env::current_exe().expect("a running process has a file");
    let built = us.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps").join(name);
    assert!(built.exists(), "{} is not built; run: cargo build --workspace --bins", built.display());
    built
}

/// What a server is started with, beside the shipped configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    dir: PathBuf,
    env: Vec<(String, String)>,
}

impl Plan {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        crate::enter();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("sidetone-tests-{}-{number}", std::process::id()));
        fs::create_dir_all(dir.join("agents")).expect("the temporary folder can be written");
        for agent in fs::read_dir(workspace().join("conf/agents")).expect("conf/agents is there") {
            let agent = agent.expect("a folder can be listed").path();
            fs::copy(&agent, dir.join("agents").join(agent.file_name().unwrap_or_default()))
                .expect("agents can be copied");
        }
        let (sip, http, rtp) = (free_port(), free_port(), rtp_block());
        let mut plan = Self { dir: dir.clone(), env: Vec::new() };
        for (name, value) in [
            ("SIP__UDP", format!("127.0.0.1:{sip}")),
            ("SIP__TCP", format!("127.0.0.1:{sip}")),
            ("HTTP__LISTEN", format!("127.0.0.1:{http}")),
            ("HTTP__BOOTSTRAP_KEY", KEY.into()),
            ("RTP__PORTS", format!("{rtp}-{}", rtp + RTP_PORTS - 1)),
            ("STORE__URL", format!("sqlite://{}", dir.join("sidetone.db").display())),
            ("STORE__SEAL_FILE", dir.join("seal.key").display().to_string()),
            ("RECORDING__DIR", dir.join("recordings").display().to_string()),
            ("AGENTS__DIR", dir.join("agents").display().to_string()),
            ("DEV__BENCH", "true".into()),
        ] {
            plan = plan.set(name, &value);
        }
        plan
    }

    /// Sets a key, as `("LIMITS__CALLS", "3")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        let name = format!("SIDETONE__{key}");
        self.env.retain(|(known, _)| *known != name);
        self.env.push((name, value.to_owned()));
        self
    }

    /// Adds an agent, which `sip:NAME@` reaches. Its recordings stay as they were written unless it says otherwise: samples are compared.
    #[must_use]
    pub fn agent(self, name: &str, toml: &str) -> Self {
        let wav = if toml.contains("recording") { "" } else { "\n[recording]\nformat = \"wav\"\n" };
        fs::write(self.dir.join("agents").join(format!("{name}.toml")), format!("{toml}{wav}"))
            .expect("the temporary folder can be written");
        self
    }

    /// Takes SIP on this address, too, and trusts it.
    #[must_use]
    pub fn also_at(self, address: IpAddr) -> Self {
        let home = self.get("SIP__UDP");
        let both = format!("{home},{}", SocketAddr::new(address, home.port()));
        self.set("SIP__UDP", &both).set("SIP__TCP", &both).set("AGENTS__TRUSTED", &format!("[\"{address}\"]"))
    }

    /// Takes SIP on this address, too, and does not trust it.
    #[must_use]
    pub fn heard_at(self, address: IpAddr) -> Self {
        self.also_at(address).set("AGENTS__TRUSTED", "[]")
    }

    /// Takes SIP over TLS on this address, with a certificate of its own in the server's folder; gives the port and the certificate.
    #[must_use]
    pub fn secure(self, address: IpAddr) -> (Self, u16, PathBuf) {
        let made = rcgen::generate_simple_self_signed([address.to_string()]).expect("a certificate can be made");
        let (certificate, key) = (self.dir.join("server.pem"), self.dir.join("server.key"));
        fs::write(&certificate, made.cert.pem()).expect("the temporary folder can be written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("the temporary folder can be written");
        let port = free_port();
        let plan = self
            .set("SIP__TLS", &SocketAddr::new(address, port).to_string())
            .set("SIP__TLS_CERTIFICATE", &certificate.display().to_string())
            .set("SIP__TLS_KEY", &key.display().to_string());
        (plan, port, certificate)
    }

    /// The server's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn get(&self, key: &str) -> SocketAddr {
        let name = format!("SIDETONE__{key}");
        let value = self.env.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        let first = value.split(',').next().unwrap_or_default();
        first.parse().unwrap_or_else(|_| panic!("{name}={value} is no address"))
    }

    /// The process, not waited for; its words go to `server.log`.
    #[must_use]
    pub fn spawn(&self) -> Child {
        let log =
            File::options().create(true).append(true).open(self.dir.join("server.log")).expect("a log can be written");
        let mut command = Command::new(binary("sidetone"));
        let _ = binary("speech-worker"); // beside it; without it the server would only beep
        command
            .args(["serve", "--config", "conf/sidetone.toml"])
            .current_dir(workspace())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be copied"))
            .stderr(log)
            .kill_on_drop(true);
        command.spawn().expect("the server can be started")
    }

    /// Runs the server where it is expected to give up at once: its exit code, and its lines on standard error.
    pub async fn fails(&self) -> (Option<i32>, Vec<String>) {
        let mut command = Command::new(binary("sidetone"));
        command
            .args(["serve", "--config", "conf/sidetone.toml"])
            .current_dir(workspace())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .kill_on_drop(true);
        let ended = tokio::time::timeout(READY_WITHIN, command.output()).await;
        let ended = ended.expect("the server gives up instead of serving").expect("the server can be started");
        let lines = String::from_utf8_lossy(&ended.stderr).lines().map(str::to_owned).collect();
        (ended.status.code(), lines)
    }
}

/// A running server; it is killed and its folder removed when this is dropped, unless the test failed.
pub struct Sidetone {
    plan: Plan,
    process: Child,
    /// Its API.
    pub api: Api,
    /// Where it takes SIP, on UDP and TCP.
    pub sip: SocketAddr,
}

impl Sidetone {
    /// Starts one as it ships.
    pub async fn start() -> Self {
        Self::with(|plan| plan).await
    }

    /// A plan that nobody has started yet.
    #[must_use]
    pub fn plan() -> Plan {
        Plan::new()
    }

    /// Starts one with changes.
    pub async fn with(change: impl FnOnce(Plan) -> Plan) -> Self {
        let plan = change(Plan::new());
        let (process, api, sip) = (plan.spawn(), Api::new(plan.get("HTTP__LISTEN")), plan.get("SIP__UDP"));
        let mut server = Self { plan, process, api, sip };
        server.ready().await;
        server
    }

    async fn ready(&mut self) {
        let began = Instant::now();
        while !self.api.is_ready().await {
            if let Ok(Some(status)) = self.process.try_wait() {
                panic!("the server ended ({status}) before it was ready:\n{}", self.log());
            }
            assert!(began.elapsed() < READY_WITHIN, "the server does not become ready:\n{}", self.log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs `sidetone check --ledger` beside it: what it says.
    pub async fn check_ledger(&self) -> String {
        let mut command = Command::new(binary("sidetone"));
        command
            .args(["check", "--ledger", "--config", "conf/sidetone.toml"])
            .current_dir(workspace())
            .envs(self.plan.env.iter().map(|(name, value)| (name, value)));
        let checked = command.output().await.expect("the binary can be run");
        String::from_utf8_lossy(&checked.stdout).into_owned()
    }

    /// Runs `sidetone admin …` beside it, with that on its standard input: whether it worked, and what it said.
    pub async fn admin(&self, arguments: &[&str], input: &str) -> (bool, String) {
        use tokio::io::AsyncWriteExt as _;
        let mut command = Command::new(binary("sidetone"));
        command
            .arg("admin")
            .args(arguments)
            .args(["--config", "conf/sidetone.toml"])
            .current_dir(workspace())
            .envs(self.plan.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be run");
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.expect("its input can be written");
        }
        let done = child.wait_with_output().await.expect("the binary ends");
        let said = [done.stdout, done.stderr].concat();
        (done.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
    }

    /// Ends it in peace and starts it with another database.
    pub async fn move_to(&mut self, url: &str) {
        self.kill().await;
        self.plan = self.plan.clone().set("STORE__URL", url);
        self.restart().await;
    }

    /// `sip:user@` this server.
    #[must_use]
    pub fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.sip)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id().expect("the server runs")
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.plan.dir
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.plan.dir.join("server.log")).unwrap_or_default()
    }

    /// Kills it with SIGKILL, as the kernel does when memory runs out.
    pub async fn kill(&mut self) {
        self.process.kill().await.expect("a child can be killed");
    }

    /// One that listens elsewhere too, with TLS there: its address, port and certificate.
    pub async fn secure_elsewhere() -> (Self, IpAddr, u16, PathBuf) {
        let address = elsewhere();
        let mut tls = None;
        let server = Self::with(|plan| {
            let (plan, port, certificate) = plan.also_at(address).secure(address);
            tls = Some((port, certificate));
            plan
        })
        .await;
        let (port, certificate) = tls.expect("the plan was made");
        (server, address, port, certificate)
    }

    /// Starts it again on the same data.
    pub async fn restart(&mut self) {
        self.process = self.plan.spawn();
        self.ready().await;
    }
}

impl Drop for Sidetone {
    fn drop(&mut self) {
        if std::thread::panicking() {
            use std::io::Write as _;
            let _ = writeln!(std::io::stderr(), "tests: what the server left is in {}", self.plan.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.plan.dir);
        }
    }
}

/// A port that is free on UDP and TCP, below those that the system gives away by itself.
///
/// # Panics
/// When there is none left.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(7000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = (Ipv4Addr::LOCALHOST, port);
        if UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok() {
            return port;
        }
    }
}

fn rtp_block() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    NEXT.fetch_add(RTP_PORTS, Ordering::Relaxed)
}
