//! A network namespace of the tests' own: nobody else's ports, nobody else's packets, and raw sockets for sipp.
//!
//! The first test that needs the network runs this whole test binary again inside the namespace, with the same arguments, and
//! ends with its result; so server, clients and test all live in there.

use std::process::{Command, Stdio};
use std::sync::Once;

/// Set inside the namespace, and where there can be none.
const INSIDE: &str = "SIDETONE_TESTS_INSIDE";
/// Brings up the loopback, then becomes the test binary.
const ENTRANCE: &str = r#"ip link set lo up && exec "$@""#;

/// Moves into the namespace; comes back only inside it, or where the system refuses one.
pub fn enter() {
    static ENTERED: Once = Once::new();
    ENTERED.call_once(|| {
        if std::env::var_os(INSIDE).is_some() {
            return;
        }
        // As root directly; else as the root of a user namespace.
        match ["-n", "-rn"].into_iter().find(|flags| allowed(flags)) {
            Some(flags) => again(flags),
            None => say("no private network namespace (unshare -n and unshare -rn are refused): on the plain loopback"),
        }
    });
}

fn allowed(flags: &str) -> bool {
    let mut probe = Command::new("unshare");
    probe.args([flags, "sh", "-c", ENTRANCE, "sh", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn again(flags: &str) {
    let us = std::env::current_exe().expect("a running process has a file");
    let mut inside = Command::new("unshare");
    inside.args([flags, "sh", "-c", ENTRANCE, "sh"]).arg(us).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    let status = inside.status().expect("unshare ran a moment ago");
    std::process::exit(status.code().unwrap_or(1));
}

fn say(text: &str) {
    use std::io::Write as _;
    // Past the capture of the test runner: it concerns the whole run.
    let _ = writeln!(std::io::stderr(), "tests: {text}");
}
