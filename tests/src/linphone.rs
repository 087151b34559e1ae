//! linphonec without a sound card: it plays files, and takes orders on its standard input.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};

use crate::Sidetone;

/// A linphonec that does what it is told.
#[derive(Debug)]
pub struct Linphone {
    // It runs as long as this lives.
    _process: Child,
    orders: ChildStdin,
    dir: PathBuf,
    host: String,
}

impl Linphone {
    /// Starts one that calls itself `from` and calls `address`, where the server must be, too ([`crate::Plan::also_at`]); over TLS if
    /// there is a port with its certificate, else over UDP.
    pub async fn start(server: &Sidetone, address: IpAddr, from: &str, tls: Option<(u16, &Path)>) -> Self {
        let dir = server.dir().join(format!("linphone-{from}"));
        // It wants a database there, and does not make the folder.
        fs::create_dir_all(dir.join(".local/share/linphone")).expect("the temporary folder can be written");
        let roots = tls.map(|(_, certificate)| format!("root_ca={}\n", certificate.display())).unwrap_or_default();
        // Its TLS compares names only, not addresses, with a certificate's; who signed it is judged. A network without a way out counts
        // as none unless it is told not to look.
        let settings = format!(
            "[sip]\ncontact=sip:{from}@{address}\nsip_port=-1\nsip_tcp_port=-1\nsip_tls_port=-1\nuse_ipv6=0\nguess_hostname=1\n\
             auto_net_state_mon=0\nmedia_encryption=none\nverify_server_certs=1\nverify_server_cn=0\n{roots}\
             [rtp]\naudio_rtp_port=36000-36999\n"
        );
        fs::write(dir.join("linphonerc"), settings).expect("the temporary folder can be written");
        let written = || fs::File::create(dir.join("written.txt")).expect("the temporary folder can be written");
        let mut command = Command::new("linphonec");
        command.arg("-c").arg(dir.join("linphonerc")).args(["-d", "6", "-l"]).arg(dir.join("linphone.log"));
        command.current_dir(&dir).env("HOME", &dir).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(written()).stderr(Stdio::null());
        let process = command.spawn();
        let mut process = process.unwrap_or_else(|error| panic!("linphonec: {error}; Debian has it in linphone-cli"));
        let orders = process.stdin.take().expect("it was given one");
        let host = match tls {
            Some((port, _)) => format!("{};transport=tls", SocketAddr::new(address, port)),
            None => SocketAddr::new(address, server.sip.port()).to_string(),
        };
        let mut phone = Self { _process: process, orders, dir, host };
        phone.tell("soundcard use files").await;
        phone
    }

    /// Calls somebody at the server.
    pub async fn call(&mut self, to: &str) {
        let order = format!("call sip:{to}@{}", self.host);
        self.tell(&order).await;
    }

    /// Gives it one of its orders, as `pause`, `resume 1`, `play FILE`, `terminate`.
    pub async fn tell(&mut self, order: &str) {
        self.orders.write_all(format!("{order}\n").as_bytes()).await.expect("linphonec reads orders");
    }

    /// What it said about its calls.
    #[must_use]
    pub fn written(&self) -> String {
        fs::read_to_string(self.dir.join("written.txt")).unwrap_or_default()
    }
}
