//! A network namespace of the tests' own: nobody else's ports, nobody else's packets, and raw sockets for sipp.
//!
//! The first test that needs the network turns the process into this whole test binary anew, inside the namespace and with the
//! same arguments; so server, clients and test all live in there.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Once;

/// Set inside the namespace, and where there can be none.
const INSIDE: &str = "SIDETONE_TESTS_INSIDE";
/// Brings up the loopback, with an address that looks like another machine's (RFC 5737), then becomes the test binary.
const ENTRANCE: &str = r#"ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec "$@""#;

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

/// An address of this machine beside the loopback: clients that refuse to live on 127.0.0.1 have it.
#[must_use]
pub fn elsewhere() -> IpAddr {
    enter();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("there is a free port");
    // Nothing is sent: the route alone says which address would be the source.
    let address = socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr());
    address.expect("without a private network namespace this test needs an address beside 127.0.0.1").ip()
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
    // This process becomes the one inside; only a failure comes back.
    let error = inside.exec();
    panic!("unshare ran a moment ago: {error}");
}

fn say(text: &str) {
    use std::io::Write as _;
    // Past the capture of the test runner: it concerns the whole run.
    let _ = writeln!(std::io::stderr(), "tests: {text}");
}
