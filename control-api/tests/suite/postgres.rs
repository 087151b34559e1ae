//! A PostgreSQL of our own: a fresh cluster on a free port of 127.0.0.1, gone when the test process is gone.

use std::{
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Waits for its stdin to close, which happens when this process ends in whatever way; then stops the server and removes the cluster.
const KEEPER: &str = r#"folder=$1; shift; "$@" >"$folder/log" 2>&1 & pid=$!; cat >/dev/null; kill -INT $pid; wait $pid; rm -rf "$folder""#;

struct Server {
    port: u16,
    bin: PathBuf,
    // Holding the child holds its stdin, and with it the server.
    _keeper: Child,
}

static SERVER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The port of the suite's server, and the URL of a fresh database on it.
pub(crate) fn fresh() -> (u16, String) {
    let server = SERVER.get_or_init(start);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let made = Command::new(server.bin.join("createdb"))
        .args(["-h", "127.0.0.1", "-p", &server.port.to_string(), "-U", "sidetone", &name])
        .output()
        .unwrap();
    assert!(made.status.success(), "createdb: {}", String::from_utf8_lossy(&made.stderr));
    (server.port, format!("postgres://sidetone@127.0.0.1:{}/{name}", server.port))
}

fn start() -> Server {
    let bin =
        binaries().expect("PostgreSQL is not installed (Debian: apt-get install postgresql; scripts/setup does it)");
    let folder = std::env::temp_dir().join(format!("sidetone-pg-{}", std::process::id()));
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
    let server = Server { port, bin, _keeper: keeper.stdin(Stdio::piped()).process_group(0).spawn().unwrap() };
    let ready = || {
        let mut ask = Command::new(server.bin.join("pg_isready"));
        ask.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status().is_ok_and(|status| status.success())
    };
    for _ in 0..600 {
        if ready() {
            return server;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("PostgreSQL did not come up: {log}");
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
