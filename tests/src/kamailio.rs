//! Kamailio as a carrier: a registrar that asks for passwords, and a proxy that stays in the way of every call.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use crate::sidetone::free_port;

/// Our account there.
pub const USER: &str = "line";
/// Its password.
pub const PASSWORD: &str = "correct-horse";
/// What Kamailio calls itself in challenges.
pub const REALM: &str = "carrier.test";
/// The number that leads to our account.
pub const NUMBER: &str = "+12125550123";

/// A running Kamailio; it goes when this is dropped.
#[derive(Debug)]
pub struct Kamailio {
    /// Where it takes SIP, on UDP and TCP.
    pub sip: SocketAddr,
    dir: PathBuf,
    process: Option<Child>,
}

impl Kamailio {
    /// A place for one that [`Kamailio::start`] starts: the customer's configuration names it before.
    #[must_use]
    pub fn place() -> Self {
        crate::enter();
        let port = free_port();
        let dir = std::env::temp_dir().join(format!("sidetone-kamailio-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir).expect("the temporary folder can be written");
        Self { sip: SocketAddr::from(([127, 0, 0, 1], port)), dir, process: None }
    }

    /// Starts it: calls of `customer` must show the password and go on to `outside`, calls of anybody to [`NUMBER`] go to wherever the
    /// account is registered.
    pub async fn start(&mut self, customer: SocketAddr, outside: &str) {
        let (port, customer) = (self.sip.port(), customer.port());
        let modules = ["/usr/lib/x86_64-linux-gnu/kamailio/modules", "/usr/lib/aarch64-linux-gnu/kamailio/modules"];
        let modules =
            modules.into_iter().find(|path| std::path::Path::new(path).is_dir()).unwrap_or("/usr/lib/kamailio/modules");
        let loaded: String = [
            "kex",
            "corex",
            "tm",
            "tmx",
            "sl",
            "rr",
            "pv",
            "maxfwd",
            "usrloc",
            "registrar",
            "siputils",
            "textops",
            "auth",
        ]
        .iter()
        .map(|module| format!("loadmodule \"{module}.so\"\n"))
        .collect();
        let configuration = format!(
            r#"#!KAMAILIO
debug=2
log_stderror=yes
children=2
tcp_children=2
auto_aliases=no
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
mpath="{modules}"
{loaded}
modparam("usrloc", "db_mode", 0)
modparam("registrar", "default_expires", 60)
modparam("registrar", "max_expires", 120)

request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (has_totag()) {{
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
        sl_send_reply("404", "Not Here");
        exit;
    }}
    if (is_method("CANCEL")) {{ if (t_check_trans()) {{ t_relay(); }} exit; }}
    if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
    t_check_trans();
    if (is_method("REGISTER")) {{
        if (!pv_www_authenticate("{REALM}", "{PASSWORD}", "0")) {{ www_challenge("{REALM}", "1"); exit; }}
        if ($au != "{USER}") {{ sl_send_reply("403", "Forbidden"); exit; }}
        save("location");
        exit;
    }}
    if (!is_method("INVITE")) {{ sl_send_reply("405", "Method Not Allowed"); exit; }}
    record_route();
    if ($sp == {customer}) {{
        if (!pv_proxy_authenticate("{REALM}", "{PASSWORD}", "0")) {{ proxy_challenge("{REALM}", "1"); exit; }}
        consume_credentials();
        $ru = "{outside}";
        t_relay();
        exit;
    }}
    if ($rU != "{NUMBER}") {{ sl_send_reply("404", "Not Found"); exit; }}
    $ru = "sip:{USER}@{REALM}";
    if (!lookup("location")) {{ sl_send_reply("480", "Not Registered"); exit; }}
    t_relay();
    exit;
}}
"#
        );
        let file = self.dir.join("kamailio.cfg");
        fs::write(&file, configuration).expect("the temporary folder can be written");
        let log = fs::File::create(self.dir.join("kamailio.log")).expect("a log can be written");
        let mut command = Command::new("/usr/sbin/kamailio");
        command.arg("-f").arg(&file).args(["-DD", "-E", "-m", "32", "-M", "4", "-Y"]).arg(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        self.process = Some(command.spawn().expect("kamailio can be started; Debian has it in kamailio"));
        self.answers().await;
    }

    /// Waits until it answers OPTIONS.
    async fn answers(&mut self) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("there is a free port");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket takes a time-out");
        let at = socket.local_addr().expect("a bound socket has an address");
        let ping = crate::request("OPTIONS", &format!("sip:{}", self.sip), at, "");
        let began = Instant::now();
        let mut buffer = [0; 2048];
        loop {
            let _ = socket.send_to(ping.as_bytes(), self.sip);
            if socket.recv(&mut buffer).is_ok() {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "kamailio does not answer:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("kamailio.log")).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // Its children end with it only when it is asked to end.
        if let Some(id) = self.process.as_ref().and_then(Child::id) {
            let _ = std::process::Command::new("kill").arg(id.to_string()).status();
        }
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
