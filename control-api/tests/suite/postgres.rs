//! A PostgreSQL of our own: a fresh cluster on a free port of 127.0.0.1, gone when the test process is gone. It can be stopped and
//! started again.

use std::{
    io::Write as _,
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Runs the server, stops and starts it at a word on its stdin, and ends when that closes, which happens when this process ends in
/// whatever way; then it stops the server and removes the cluster.
pub(crate) const KEEPER: &str = r#"folder=$1; shift
up() { "$@" >>"$folder/log" 2>&1 & pid=$!; }
up "$@"
while read -r word; do
    case $word in
    stop) kill -INT $pid; wait $pid; pid= ;;
    cut) kill -STOP $pid; kill -KILL $(cat /proc/$pid/task/$pid/children) $pid; wait $pid 2>/dev/null; pid= ;;
    start) up "$@" ;;
    esac
done
[ -z "$pid" ] || { kill -INT $pid; wait $pid; }
rm -rf "$folder""#;

/// A running server.
pub struct Cluster {
    port: u16,
    bin: PathBuf,
    folder: PathBuf,
    databases: AtomicU32,
    // Holding the child holds its stdin, and with it the server.
    keeper: Mutex<Child>,
}

static SHARED: OnceLock<Cluster> = OnceLock::new();

/// The port of the suite's server, and the URL of a fresh database on it.
pub(crate) fn fresh() -> (u16, String) {
    let cluster = SHARED.get_or_init(Cluster::start);
    (cluster.port, cluster.database())
}

impl Cluster {
    /// Makes and starts one.
    pub fn start() -> Self {
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let bin = binaries()
            .expect("PostgreSQL is not installed (Debian: apt-get install postgresql; scripts/setup does it)");
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sidetone-pg-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        if root() {
            run(Command::new("chown").arg("postgres").arg(&folder));
        }
        let data = folder.join("data");
        let mut initdb = as_server(&bin.join("initdb"));
        initdb.args(["-U", "sidetone", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]).arg(&data);
        run(&mut initdb);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let postgres = as_server(&bin.join("postgres"));
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(&folder).arg(postgres.get_program()).args(postgres.get_args());
        keeper.arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "synchronous_commit=off",
            "max_connections=300",
        ] {
            keeper.args(["-c", setting]);
        }
        // Its own process group: ^C in a terminal must reach the tests, not the keeper, which then tidies up.
        let keeper = Mutex::new(keeper.stdin(Stdio::piped()).process_group(0).spawn().unwrap());
        let cluster = Self { port, bin, folder, databases: AtomicU32::new(0), keeper };
        cluster.up();
        cluster
    }

    /// The URL of a fresh database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let made = Command::new(self.bin.join("createdb"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "sidetone", &name])
            .output()
            .unwrap();
        assert!(made.status.success(), "createdb: {}", String::from_utf8_lossy(&made.stderr));
        format!("postgres://sidetone@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a statement on a database behind everybody's back; gives what it found, a line for each row.
    pub fn sql(&self, url: &str, statement: &str) -> String {
        let ran = Command::new(self.bin.join("psql"))
            .args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statement, url])
            .output()
            .unwrap();
        assert!(ran.status.success(), "{statement}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    }

    /// Stops the server: connections are cut, new ones refused.
    pub fn stop(&self) {
        self.say("stop");
        self.wait(false);
    }

    /// Ends all of it at once, in the middle of whatever it does.
    pub fn cut_power(&self) {
        self.say("cut");
        self.wait(false);
    }

    /// Starts it again, on the same data.
    pub fn go_on(&self) {
        self.say("start");
        self.up();
    }

    fn say(&self, word: &str) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(keeper.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    fn up(&self) {
        self.wait(true);
    }

    fn wait(&self, up: bool) {
        for _ in 0..600 {
            let mut ask = Command::new(self.bin.join("pg_isready"));
            ask.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            if ask.status().is_ok_and(|status| status.success()) == up {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        panic!("PostgreSQL did not {}: {log}", if up { "come up" } else { "stop" });
    }
}

/// The newest installed version's programs, where Debian has them, else those of the path.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .max()
        .map(|(_, bin)| bin);
    newest.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
    })
}

/// The server refuses to run as root; then it runs as Debian's user for it.
fn as_server(program: &Path) -> Command {
    if !root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

fn run(command: &mut Command) {
    // initdb looks at where it stands, and the server's user may not.
    let output = command.current_dir("/").output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
