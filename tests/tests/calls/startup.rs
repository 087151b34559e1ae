//! A server that cannot start says why in one line, and its exit code says whether the configuration is to blame.

use std::net::{TcpListener, UdpSocket};

use tests::{Plan, Sidetone};

/// `EX_CONFIG` of sysexits.h.
const CONFIG: i32 = 78;

async fn gives_up(plan: Plan, code: i32, named: &[&str]) {
    let (exit, lines) = plan.fails().await;
    assert_eq!(exit, Some(code), "{lines:?}");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("sidetone: "), "{}", lines[0]);
    for name in named {
        assert!(lines[0].contains(name), "{name} is not in {:?}", lines[0]);
    }
    let _ = std::fs::remove_dir_all(plan.dir());
}

#[tokio::test]
async fn a_wrong_key_is_named() {
    gives_up(Sidetone::plan().set("SIP__UPD", "127.0.0.1:5060"), CONFIG, &["sip", "upd"]).await;
}

#[tokio::test]
async fn a_wrong_value_is_named_with_its_key() {
    gives_up(Sidetone::plan().set("RTP__PORTS", "9000"), CONFIG, &["rtp.ports", "9000"]).await;
    gives_up(Sidetone::plan().set("LIMITS__CALLS", "many"), CONFIG, &["calls", "many"]).await;
}

#[tokio::test]
async fn a_broken_agent_is_named_with_its_file() {
    let broken = |toml: &str| Sidetone::plan().agent("broken", toml);
    gives_up(broken("name = \"Broken\"\ngreetings = 1\n"), CONFIG, &["broken.toml", "greetings"]).await;
    gives_up(broken("name = \"Broken\"\nprompt = \"x\n"), CONFIG, &["broken.toml", "line 2"]).await;
}

#[tokio::test]
async fn an_occupied_port_is_named() {
    tests::enter();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap().to_string();
    gives_up(Sidetone::plan().set("SIP__UDP", &address), 1, &["udp", &address]).await;
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    gives_up(Sidetone::plan().set("SIP__TCP", &address), 1, &["tcp", &address]).await;
    gives_up(Sidetone::plan().set("HTTP__LISTEN", &address), 1, &["http.listen", &address]).await;
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_named() {
    let plan = Sidetone::plan();
    let file = plan.dir().join("a-file");
    std::fs::write(&file, "").unwrap();
    let below = format!("sqlite://{}/sidetone.db", file.display());
    gives_up(plan.set("STORE__URL", &below), 1, &["store.url", "a-file"]).await;
    let plan = Sidetone::plan();
    let folder = format!("sqlite://{}", plan.dir().display());
    gives_up(plan.set("STORE__URL", &folder), 1, &["store.url"]).await;
}
